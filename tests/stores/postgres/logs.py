"""Appends for tests, and a writer that does not give up."""

from __future__ import annotations

from threading import Event
from typing import Any

from treadle.interfaces import Append, RunInfo
from treadle.model.events import Applied, InputAccepted
from treadle.runner.writer import PASSING


def info(run_id: str, **fields: Any) -> RunInfo:
    """A run."""
    return RunInfo(
        id=run_id, workflow=fields.pop("workflow", "w"), run_key=f"key of {run_id}", **fields
    )


def accepted(position: int, value: Any = None) -> InputAccepted:
    """An event."""
    return InputAccepted(position, (position,), value)


def applied(position: int, node: str = "step", value: Any = None) -> Applied:
    """An outcome; of each node there may be one."""
    return Applied(position, node, (0,), value, 1)


def add(run_id: str, expected: int, *events: Any, **fields: Any) -> Append:
    """An append; without events, one input."""
    return Append(
        run_id=run_id, expected=expected, events=events or (accepted(expected),), **fields
    )


def insist(store: Any, batch: list[Append], give_up: Event | None = None) -> list[Exception | None]:
    """Append as a runner does: what may be over is tried again, with the same appends."""
    pause = Event()
    for _ in range(2_000):
        try:
            faults: list[Exception | None] = store.append(batch)
        except PASSING:
            (give_up or pause).wait(0.01)
        else:
            return faults
    raise AssertionError("the store does not come back")
