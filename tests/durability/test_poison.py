"""A run that takes its process with it, each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import treadle as td
from tests.durability.places import end_leases

PATIENCE_S = 30


def killing() -> td.Workflow:
    """One step, which is the end of its process."""
    return td.workflow("killing").add(td.step(lambda _: os._exit(9), name="kill"))


def harmless() -> td.Workflow:
    """Another one."""
    return td.workflow("harmless").add(td.step(abs))


def runner_on(url: str) -> td.Runner:
    """A runner that knows both."""
    return td.Runner(
        store=url,
        workflows=[killing(), harmless()],
        restarts=td.Restarts(2),
        poll_s=0.01,
    )


def live(url: str) -> None:
    """Begin both runs if they are not there, and wait for the first."""
    with runner_on(url) as runner:
        runner.start(harmless(), "good", if_exists="resume")
        if not runner.runs(workflow="killing"):
            runner.start(killing(), "bad")
            runner.run("bad", 1)
        runner.wait("bad", PATIENCE_S)


@pytest.mark.slow
def test_a_run_that_kills_its_process_is_parked(url: str) -> None:
    """After so many processes as its runner allows; the other run goes on, and the note says why."""
    words = [sys.executable, "-m", "tests.durability.test_poison", url]
    codes = []
    for _ in range(4):
        done = subprocess.run(words, cwd=Path(__file__).parents[2], check=False, timeout=60)
        codes.append(done.returncode)
        end_leases(url)

    assert codes == [9, 9, 9, 0]
    with runner_on(url) as runner:
        (bad,) = runner.runs(workflow="killing")
        assert bad.status == "parked"
        assert "poisoned" in str(bad.note)
        assert "3 runners in a row died" in str(bad.note)
        assert runner.run("good", -3).result(PATIENCE_S) == {"abs": 3}


if __name__ == "__main__":
    live(sys.argv[1])
