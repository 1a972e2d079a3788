"""A process that has runs: `python -m tests.durability.owner FOLDER POLL_S LEASE_S STORE [RUN ...]`.

STORE is a URL, or the connection string and the schema of a PostgreSQL with a space between. It begins the runs that
are named, says when they are there, takes over what nobody has, and ends when its input does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import treadle as td
from treadle.codec import Codec

GUARD_S = 30.0


def flow(folder: Path) -> td.Workflow:
    """One step, which notes each execution; on a negative number it waits for the gate, on 0 it fails."""

    def work(number: int) -> float:
        file = os.open(folder / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, json.dumps([os.getpid(), number]).encode() + b"\n")
        os.close(file)
        pause = Event()
        while number < 0 and not (folder / "gate").exists():
            pause.wait(0.01)
        return 10 / number

    return td.workflow("owned").add(td.step(work))


def store_of(place: str) -> Any:
    """A store at a place."""
    if not place.startswith("postgresql:"):
        return place
    from treadle.stores.postgres import PostgresStore

    conninfo, _, schema = place.partition(" ")
    return PostgresStore(conninfo, Codec(), schema=schema)


@contextmanager
def owning(
    folder: Path, place: str, *runs: str, poll_s: float = 0.01, lease_s: float = 30.0
) -> Iterator[subprocess.Popen[str]]:
    """Such a process, which has the runs; killed at the end, if it lives."""
    words = [sys.executable, "-m", "tests.durability.owner", str(folder)]
    words += [str(poll_s), str(lease_s)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [*words, place, *runs],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(root), *sys.path]))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def until(is_so: Any, what: str) -> None:
    """Wait for something that comes by itself."""
    pause = Event()
    for _ in range(int(GUARD_S / 0.01)):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError(f"it did not come to pass: {what}")


def main(folder: str, poll_s: str, lease_s: str, place: str, *runs: str) -> None:
    """Live."""
    made = flow(Path(folder))
    with td.Runner(
        store=store_of(place),
        workflows=[made],
        poll_s=float(poll_s),
        lease_s=float(lease_s),
        drain_s=1.0,
    ) as runner:
        for run_id in runs:
            runner.start(made, run_id)
            runner.checkpoint(run_id)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
