"""A process with a runner on a shared database: `python -m tests.stores.postgres.worker CONNINFO SCHEMA [RUN ...]`.

It feeds the runs that it is given, takes over what nobody has, says when it is ready, and ends when its input does.
Before that, each line of its input is the id of one of its runs: it says what it can still do with it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
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


def say(text: str) -> None:
    """Tell whoever began this process."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def asked(runner: td.Runner, run_id: str, ticket: td.Ticket) -> dict[str, str]:
    """What each call says of a run: the name of its error, or what it gives."""
    calls: dict[str, Callable[[], object]] = {
        "ticket": lambda: ticket.result(10),
        "run": lambda: runner.run(run_id, 1, f"{run_id} 1").result(10),
        "wait": lambda: runner.wait(run_id),
        "resume": lambda: runner.resume(run_id),
        "stop": lambda: runner.stop(run_id),
        "forget": lambda: runner.stop(run_id, persist=False),
        "remove": lambda: runner.remove(run_id, "double"),
        "start": lambda: runner.start(flow(), run_id, if_exists="resume"),
        "results": lambda: runner.get_results(run_id, input=GATED),
        "status": lambda: [each.status for each in runner.runs() if each.id == run_id],
        "new": lambda: runner.run(runner.start(flow(), f"{run_id} again"), 1).result(10),
    }
    answers = {}
    for name, call in calls.items():
        try:
            answers[name] = repr(call())
        except Exception as error:  # whatever it is, it is the answer
            answers[name] = type(error).__name__
            if name == "ticket":
                answers["why"] = str(error)
    return answers


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
        gated = {}
        for run_id in runs:
            runner.start(flow(), run_id)
            for number in range(TOTAL):
                ticket = runner.run(run_id, number, key=f"{run_id} {number}")
                if number == GATED:
                    gated[run_id] = ticket
        say("ready")
        for line in sys.stdin:
            run_id = line.strip()
            say(json.dumps(asked(runner, run_id, gated[run_id])))


if __name__ == "__main__":
    main(*sys.argv[1:])
