"""Processes that are killed: before each statement, and at random moments."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def output_of(module, *given):
    """What a module prints, run in a process of its own: it forks, and this one has threads."""
    done = subprocess.run(
        [sys.executable, "-m", module, *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_kill_before_any_statement_leaves_what_was_acknowledged():
    """Each act of a store is there wholly or not at all, and all that was told to be there is."""
    assert output_of("tests.durability.crash_points") > 100


@pytest.mark.slow
def test_kills_at_random_moments_lose_and_double_nothing():
    """Inputs, outcomes, epochs and results are what they would be on a calm day."""
    seed = random.randrange(1_000_000)

    seen = output_of("tests.durability.hunt", "--cycles", "40", "--seed", str(seed))

    assert seen["kills"] == 40, seen
    assert seen["inputs"] > 0


@pytest.mark.slow
def test_a_kill_around_a_cached_result_leaves_it_whole_or_absent():
    """Once it is kept it is not computed again, also where its run never heard of it."""
    seen = output_of("tests.durability.cache_deaths", "2")

    assert seen["nothing"] > 0, seen
    assert seen["kept only"] > 0, seen
    assert seen["stored"] == 2, seen


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_kills_of_runners_on_a_database_lose_and_double_nothing():
    """The server lives on, and may still be busy with what a dead runner asked of it when the next one comes."""
    seed = random.randrange(1_000_000)

    seen = output_of("tests.durability.hunt", "--cycles", "10", "--seed", str(seed), "--postgres")

    assert seen["kills"] == 10, seen
    assert seen["inputs"] > 0
