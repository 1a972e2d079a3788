"""A runner whose whole process has no memory left: a body takes all that there is, under a limit that is real."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from tests.durability.backlog import PATIENCE_S, Watched, until
from treadle.codec import Codec
from treadle.stores.sqlite import SqliteStore

MARGIN = 96 << 20
"""How much more than it has already the process may have."""

TAKEN: list[Any] = []
RESERVE = [bytearray(1 << 22)]
"""Enough to say that there is none left."""

NEVER = threading.Lock()
NEVER.acquire()


def take_all(keep: list[Any]) -> None:
    """Take memory until there is none, in ever smaller pieces."""
    for size in (1 << 20, 1 << 14, 1 << 9, 64):
        try:
            while True:
                keep.append(bytearray(size))
        except MemoryError:
            continue
    raise MemoryError("there is none left")


def eat(word: str) -> str:
    """Take all memory: give it back by failing, or keep it and never return; in a later life do neither."""
    if word == "fails":
        take_all([])
    if word == "keeps" and limited():
        with suppress(MemoryError):
            take_all(TAKEN)
        RESERVE.clear()
        say("full")
        with suppress(MemoryError):
            take_all(TAKEN)
        NEVER.acquire()  # which takes no memory
    return word


def say(word: str) -> None:
    """Tell whoever started this process."""
    os.write(1, f"{word}\n".encode())


def limited() -> bool:
    """Whether this process has a limit."""
    return "TREADLE_TEST_LIMIT" in os.environ


def hungry() -> td.Workflow:
    """One step."""
    return td.workflow("hungry").add(td.step(eat))


def hold(number: int) -> int:
    """Not return from a positive number; in a later life do."""
    if number > 0 and limited():
        threading.Event().wait()
    return number


def other() -> td.Workflow:
    """One step."""
    return td.workflow("other").add(td.step(hold))


def runner_on(store: Any) -> td.Runner:
    """A runner that knows both."""
    return td.Runner(store=store, workflows=[hungry(), other()], poll_s=0.01)


def live(path: str) -> None:
    """Do a few things under a limit; then have all memory taken while another run is at work."""
    import resource

    with runner_on(SqliteStore(path, Codec())) as runner:
        runner.start(other(), "good")
        runner.start(hungry(), "bad")
        runner.run("good", 3)
        runner.run("bad", "first").result(PATIENCE_S)
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MARGIN, now + MARGIN))
        ticket = runner.run("bad", "fails")
        failed: Any = ticket.exception(PATIENCE_S)
        say(type(failed.__cause__).__name__)
        say(str(runner.run("good", -2).result(PATIENCE_S)))
        runner.run("bad", "keeps").result(PATIENCE_S)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are kept elsewhere, too")
def test_a_runner_out_of_memory_is_one_that_was_killed(tmp_path: Path) -> None:
    """A body that gives back what it took only fails; one that keeps it costs the process.

    The next runner counts a crash of both runs, and finishes them; what was stored is whole.
    """
    path = str(tmp_path / "runs.db")
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.durability.test_out_of_memory", path],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TREADLE_TEST_LIMIT": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "MemoryError\n"
        assert child.stdout.readline() == "{'hold': -2}\n"
        assert child.stdout.readline() == "full\n"
    finally:
        child.kill()  # as the kernel would
        child.communicate()

    store = SqliteStore(path, Codec())
    watched = Watched(store)
    with runner_on(store) as runner:
        until(lambda: runner.get_results("bad") == {"eat": "keeps"})
        until(lambda: runner.get_results("good", input=0) == {"hold": 3})
        assert [each.component for each in runner.get_workflow("bad").failures()] == ["eat"]
        assert runner.run("good", -4).result(PATIENCE_S) == {"hold": -4}
        taken = [info for bite in watched.bites for info in bite]
        assert {info.id: info.crashes for info in taken} == {"bad": 1, "good": 1}
        assert store.verify() == []


if __name__ == "__main__":
    live(sys.argv[1])
