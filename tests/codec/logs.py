"""An event of every kind, with values of many kinds."""

from typing import Any

from treadle.model import events as ev
from treadle.model.errordata import ErrorData, Frame
from treadle.model.nodes import ComponentShape, NodeShape

ERROR = ErrorData(
    "app.Broken", "it broke", (Frame("app.py", 3, "f"),), (ErrorData("KeyError", "'k'"),)
)
SHAPE = ComponentShape(
    "rule",
    "rule",
    (
        NodeShape(
            "rule/when",
            "gate",
            (("a", "value"),),
            expression=("all", ("is", "c"), ("not", ("is", "d"))),
        ),
        NodeShape("rule", "step", (("rule/when", "value"),), join=2, on_failure="skip"),
    ),
    "rule",
    (("a", "value"),),
)
DEFINED = ev.Defined(0, "flow", (SHAPE,), 10, "f00d", "run-1")

EVENTS: dict[str, ev.Event] = {
    "defined": DEFINED,
    "input-accepted": ev.InputAccepted(1, (0,), {"id": 7, "tags": ["a"]}, "key", 1.5, 2.5),
    "planned": ev.Planned(
        2, "a", (0,), ("c",), (("total", (1, "x")),), (("d", ERROR),), 1, (("b", (0, 1)),), ("c",)
    ),
    "applied": ev.Applied(3, "a", (0, 2), {"id": 1, "total": 2.5}, 1, 0, 1, None, 0.25),
    "applied-join": ev.Applied(4, "b", (0,), (1, 2), (1, 3), 2, 3, 1),
    "attempt-failed": ev.AttemptFailed(5, "a", (0,), ERROR, 0, 2, 1, 0.5, 9.5, 20.0, fallback=True),
    "failed": ev.Failed(6, "a", (0,), ERROR, (1, 2), "halt", 0, 3, None, 0.5, (("b", (0,)),)),
    "skipped": ev.Skipped(7, "a", (0,), 1, ERROR, 0, 1, 5, 0.125),
    "skipped-plain": ev.Skipped(8, "a", (0,), 1),
    "expanded": ev.Expanded(9, "items", (0,), (1, "x", (2,), None), 1, 0, 1, 0.5),
    "wait-opened": ev.WaitOpened(10, "w", (0,), "approved", "k", 100.0),
    "signalled": ev.Signalled(11, "approved", {"by": {"me"}}, "k", 50.0),
    "wait-opened-full": ev.WaitOpened(
        10, "w", (0,), "approved", "k", 100.0, 9, 50.0, 50.0, 1, 8, ERROR
    ),
    "signalled-wait": ev.Signalled(11, "approved", True, None, 50.0, "w", (0, 2)),
    "timer-set": ev.TimerSet(12, "w", (0,), 100.0, 50.0),
    "timer-fired": ev.TimerFired(12, "w", (0,), 100.0),
    "scope-cancelled": ev.ScopeCancelled(13, (0, 1), "no need", 101.0),
    "component-added": ev.ComponentAdded(14, SHAPE, backfill=True),
    "component-replaced": ev.ComponentReplaced(15, SHAPE, reset=True),
    "component-removed": ev.ComponentRemoved(16, "rule", (SHAPE,)),
    "orphaned": ev.Orphaned(17, "a", (0,), 1, 2, ERROR, [b"x"]),
    "baseline": ev.Baseline(
        18,
        DEFINED,
        {
            "next_number": 3,
            "keys": {"k": 0},
            "cells": {"sum": {(1, "x"): (True, 5, [(0,)])}},
            "roots": [
                {"events": [ev.Applied(3, "a", (0,), {1}, 1)], "starved": (("j", (0,), ("a",)),)}
            ],
        },
    ),
}


def nothing(digest: bytes) -> bytes:
    """A store that has no large values."""
    raise KeyError(digest)


def kind_of(event: Any) -> str:
    """The name of an event's class."""
    return type(event).__name__
