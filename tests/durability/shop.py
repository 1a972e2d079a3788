"""A workflow in which all that has to survive happens: joins, fan-outs, rules, state, failures and retries.

Each body notes in a ledger that it ran, for whom, and with what, before it does anything else.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import treadle as td


class Ledger:
    """A file that survives the process, as what bodies do in the world does."""

    def __init__(self) -> None:
        self._file = -1

    def open(self, path: Path) -> None:
        """Go on writing to this one."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, component: str, key: str, attempt: int, given: Any) -> None:
        """One line, written at one go."""
        if self._file >= 0:
            line = json.dumps({"of": component, "key": key, "attempt": attempt, "given": given})
            os.write(self._file, line.encode() + b"\n")


LEDGER = Ledger()


def check(order, *, key=td.idempotency_key(), attempt=td.attempt()):
    """The first step: fails at its first attempt for every fifth order."""
    LEDGER.note("check", key, attempt, order)
    if order["number"] % 5 == 0 and attempt == 1:
        raise ConnectionError("the stock is busy")
    return order["number"]


def items(order):
    """What is to be packed."""
    return order["items"]


def pack(item, *, key=td.idempotency_key(), attempt=td.attempt()):
    """One item of the fan-out."""
    LEDGER.note("pack", key, attempt, item)
    return item * 10


def total(sums, packed):
    """Close the fan-out."""
    return sums + packed


def is_odd(number):
    """A rule's condition."""
    return number % 2 == 1


def ship(number, packed, *, key=td.idempotency_key(), attempt=td.attempt()):
    """The join."""
    LEDGER.note("ship", key, attempt, [number, packed])
    return [number, packed]


def count(so_far, number):
    """State over all inputs."""
    return so_far + number


def gift(number, *, key=td.idempotency_key(), attempt=td.attempt()):
    """What is added to a run that is at work."""
    LEDGER.note("gift", key, attempt, number)
    return -number


def edited_shop() -> td.Workflow:
    """The workflow as a run that is at work is made to be: the next process finds the functions here."""
    return shop().add(td.step(gift), to="check")


def number_of(number):
    """Whom an approval is for."""
    return number


def pay(word, *, key=td.idempotency_key(), attempt=td.attempt()):
    """What comes after the wait."""
    LEDGER.note("pay", key, attempt, word)
    return word


def patient_shop() -> td.Workflow:
    """A workflow that sleeps, and waits for somebody's word."""
    return (
        td.workflow("patient-shop")
        .add(td.step(check))
        .add(td.sleep(0.004, name="rest"), to="check")
        .add(td.wait_for("approval", key=number_of, timeout_s=3600.0), to="rest")
        .add(td.step(pay), to="approval")
        .with_policies({"check": td.Policy(max_retries=2, base_delay_s=0.001)})
    )


def short_shop() -> td.Workflow:
    """The workflow with a short memory: now and then its log begins anew."""
    return shop("short-shop", retain=4)


def shop(name: str = "shop", retain: int | str = "all") -> td.Workflow:
    """The workflow."""
    return (
        td.workflow(name, retain=retain)
        .add(td.step(check))
        .add(td.step(items))
        .add(td.map(pack), to="items")
        .add(td.reduce(total, initial=0), to="pack")
        .add(td.step(ship), to=["check", "total"])
        .add(td.accumulator(count, initial=0), to="check")
        .add(td.rule(name="odd", condition=is_odd, reaction=lambda number: number), to="check")
        .with_policies({"check": td.Policy(max_retries=2, base_delay_s=0.001)})
    )
