"""The process that is killed: a runner, which goes on where the one before it was stopped."""

from __future__ import annotations

import os
import random
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import treadle as td
from tests.durability.shop import LEDGER, edited_shop, gift, patient_shop, shop, short_shop
from treadle.errors import Cancelled, Forgotten
from treadle.runner import keeping

RUNS = {
    "left": "full",
    "middle": "normal",
    "right": "relaxed",
    "cut": "full",
    "short": "full",
    "patient": "normal",
}
"""Their ids, and how durable they are. "middle" is edited while it is at work; of "cut", some inputs are cancelled;
"short" forgets, and "patient" waits for words: these two are told only what nobody acknowledged."""

TEMPLATES: dict[str, Callable[[], td.Workflow]] = {"short": short_shop, "patient": patient_shop}

KEEP_S = 60.0


def live(place: Path, url: str, seed: int, total: int) -> bool:
    """Feed each run its inputs, those that are there already as well; whether all of them are finished."""
    LEDGER.open(place / "ledger")
    draw = random.Random(seed)
    settings: Any = keeping
    settings.SNAPSHOT_EVERY = draw.choice([20, 2_000])
    told = place / "acknowledged"
    known = told.read_text() if told.exists() else ""
    fed = known.count("short order-")
    with open(place / "acknowledged", "ab", buffering=0) as acknowledged:

        def acknowledge(run_id: str, what: str) -> None:
            acknowledged.write(f"{run_id} {what}\n".encode())

        with td.Runner(
            store=url,
            workflows=[shop(), edited_shop(), short_shop(), patient_shop()],
            restarts=td.Restarts(1000),  # it is nobody's fault that the runners die
            keep_warm=draw.choice([1, 2, 256]),
            poll_s=draw.choice([0.005, 0.25]),
        ) as runner:
            for run_id, durability in RUNS.items():
                made = TEMPLATES.get(run_id, shop)
                runner.start(made(), run_id, if_exists="resume", durability=durability)
            tickets = []
            for number in range(total):
                for run_id in RUNS:
                    if run_id == "short" and number < fed:
                        continue
                    key = f"order-{number}"
                    ticket = runner.run(run_id, order(number), key=key)
                    acknowledge(run_id, key)
                    tickets.append(ticket)
                    if run_id == "cut" and is_cut(number):
                        runner.cancel(run_id, input=ticket.input, reason="hunted")
                        acknowledge(run_id, f"cancel-{ticket.input}")
                    if run_id == "patient" and f"patient signal-{number}\n" not in known:
                        runner.signal(run_id, "approval", f"yes {number}", key=number)
                        acknowledge(run_id, f"signal-{number}")
                if number == total // 2 and "gift" not in runner.get_workflow("middle"):
                    runner.add("middle", td.step(gift), to="check")
                    acknowledge("middle", "gift")
                if draw.random() < 0.3:
                    wait_for(tickets.pop(draw.randrange(len(tickets))))
            for ticket in tickets:
                wait_for(ticket)
    return True


def wait_for(ticket: td.Ticket) -> None:
    """Wait until an input is finished, cancelled, or so long finished that it was forgotten."""
    with suppress(Cancelled, Forgotten):
        ticket.result(KEEP_S)


def is_cut(number: int) -> bool:
    """Whether an input of "cut" is cancelled as soon as it was taken."""
    return number % 4 == 2


def order(number: int) -> dict[str, Any]:
    """An order; some lists are empty, some items fail."""
    return {"number": number, "items": list(range(number % 4))}


def fork(place: Path, url: str, seed: int, total: int, ready: int) -> int:
    """A child that lives; its exit status is 0 if it came to the end. `ready` is told when it begins."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.write(ready, b"!")
        status = 0 if live(place, url, seed, total) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
