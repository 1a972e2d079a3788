"""A process with a runner on a shared database: `python -m tests.stores.postgres.worker CONNINFO SCHEMA [RUN ...]`.

It feeds the runs that it is given, takes over what nobody has, says when it is ready, and ends when its input does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from threading import Event

import treadle as td
from treadle.codec import Codec
from treadle.stores.postgres import PostgresStore

TOTAL = 8
GATED = 3
"""The work on this input waits until somebody opens the gate."""

LEASE_S = 1.0
FOLDER = Path(os.environ.get("TREADLE_TEST_FOLDER", "."))


def check(number, *, key=td.idempotency_key()):
    """Note that it ran; one waits at the gate."""
    line = json.dumps({"process": os.getpid(), "number": number, "key": key})
    file = os.open(FOLDER / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode() + b"\n")
    os.close(file)
    pause = Event()
    while number == GATED and not FOLDER.joinpath("gate").exists():
        pause.wait(0.01)
    return number


def double(number):
    """What follows."""
    return number * 2


def flow() -> td.Workflow:
    """The workflow."""
    return td.workflow("shared").add(td.step(check)).add(td.step(double), to="check")


def main(conninfo: str, schema: str, *runs: str) -> None:
    """Live."""
    store = PostgresStore(conninfo, Codec(), schema=schema)
    with td.Runner(
        store=store,
        workflows=[flow()],
        restarts=td.Restarts(100),
        lease_s=LEASE_S,
        poll_s=0.02,
        drain_s=5.0,
    ) as runner:
        for run_id in runs:
            runner.start(flow(), run_id)
            for number in range(TOTAL):
                runner.run(run_id, number, key=f"{run_id} {number}")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
