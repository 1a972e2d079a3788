"""Runs that take their process with them, each time, and those that were in it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import treadle as td
from tests.durability.places import end_leases

PATIENCE_S = 30
CROWD = [f"innocent {number}" for number in range(50)]
ALL_ARE_FED = threading.Event()


def kill(_: int) -> None:
    """The end of this process, once all that is to be in it is there."""
    ALL_ARE_FED.wait(PATIENCE_S)
    os._exit(9)


def killing() -> td.Workflow:
    """One step, which is the end of its process."""
    return td.workflow("killing").add(td.step(kill))


def harmless() -> td.Workflow:
    """Another one."""
    return td.workflow("harmless").add(td.step(abs))


def runner_on(url: str, most: int, **options: object) -> td.Runner:
    """A runner that knows both."""
    return td.Runner(
        store=url,
        workflows=[killing(), harmless()],
        restarts=td.Restarts(most),
        poll_s=0.01,
        **options,  # type: ignore[arg-type]
    )


def live(url: str) -> None:
    """Begin both runs if they are not there, and wait for the first."""
    ALL_ARE_FED.set()
    with runner_on(url, 2) as runner:
        runner.start(harmless(), "good", if_exists="resume")
        if not runner.runs(workflow="killing"):
            runner.start(killing(), "bad")
            runner.run("bad", 1)
        runner.wait("bad", PATIENCE_S)


def live_in_a_crowd(url: str) -> None:
    """Begin or go on with all of them, one thread for all, and wait for them; the killer is there first."""
    with runner_on(url, 3, executor="threads:1") as runner:
        for id in ("bad", *CROWD):
            is_bad = id == "bad"
            try:
                runner.start(killing() if is_bad else harmless(), id, if_exists="resume")
                runner.run(id, -7, key="once")
            except td.errors.RunEnded:
                assert is_bad, id
        ALL_ARE_FED.set()
        for id in (*CROWD, "bad"):
            runner.wait(id, PATIENCE_S)


def lives(url: str, most: int, *how: str) -> list[int]:
    """How each of so many processes ended, one after the other, up to the first that ended well."""
    words = [sys.executable, "-m", "tests.durability.test_poison", url, *how]
    codes: list[int] = []
    while len(codes) < most and 0 not in codes:
        done = subprocess.run(words, cwd=Path(__file__).parents[2], check=False, timeout=60)
        codes.append(done.returncode)
        end_leases(url)
    return codes


@pytest.mark.slow
def test_a_run_that_kills_its_process_is_parked(url: str) -> None:
    """After so many processes as its runner allows; the other run goes on, and the note says why."""
    assert lives(url, 6) == [9, 9, 9, 0]

    with runner_on(url, 2) as runner:
        (bad,) = runner.runs(workflow="killing")
        assert bad.status == "parked"
        assert "poisoned" in str(bad.note)
        assert "3 runners in a row died" in str(bad.note)
        assert runner.run("good", -3).result(PATIENCE_S) == {"abs": 3}


@pytest.mark.slow
def test_one_killer_among_many_is_found_and_no_other_is_parked(url: str) -> None:
    """All of them were at work each time that it killed their process; all but it come to their end."""
    assert lives(url, 8, "crowd") == [9, 9, 9, 9, 0]

    with runner_on(url, 3) as runner:
        statuses = {info.id: info.status for info in runner.runs()}
        assert statuses == {"bad": "parked", **dict.fromkeys(CROWD, "idle")}
        assert "2 of them when it had its turn" in str(runner.runs(status="parked")[0].note)
        assert all(runner.get_results(id) == {"abs": 7} for id in CROWD)


if __name__ == "__main__":
    (live_in_a_crowd if sys.argv[2:] else live)(sys.argv[1])
