"""The process that is killed: a runner on a SQLite file, which goes on where the one before it was stopped."""

from __future__ import annotations

import os
import random
import traceback
from pathlib import Path
from typing import Any

import treadle as td
from tests.durability.shop import LEDGER, shop

RUNS = ("left", "middle", "right")
"""Their ids."""

KEEP_S = 60.0


def live(place: Path, seed: int, total: int) -> bool:
    """Feed each run its inputs, from the first that nobody acknowledged; whether all of them are finished."""
    LEDGER.open(place / "ledger")
    draw = random.Random(seed)
    with open(place / "acknowledged", "ab", buffering=0) as acknowledged:
        with td.Runner(
            store=f"sqlite:///{place / 'shop.db'}",
            workflows=[shop()],
            restarts=td.Restarts(1000),  # it is nobody's fault that the runners die
        ) as runner:
            for run_id in RUNS:
                runner.start(shop(), run_id, if_exists="resume")
            tickets = []
            for number in range(total):
                for run_id in RUNS:
                    key = f"order-{number}"
                    tickets.append(runner.run(run_id, order(number), key=key))
                    acknowledged.write(f"{run_id} {key}\n".encode())
                if draw.random() < 0.3:
                    tickets.pop(draw.randrange(len(tickets))).result(KEEP_S)
            for ticket in tickets:
                ticket.result(KEEP_S)
    return True


def order(number: int) -> dict[str, Any]:
    """An order; some lists are empty, some items fail."""
    return {"number": number, "items": list(range(number % 4))}


def fork(place: Path, seed: int, total: int, ready: int) -> int:
    """A child that lives; its exit status is 0 if it came to the end. `ready` is told when it begins."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.write(ready, b"!")
        status = 0 if live(place, seed, total) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
