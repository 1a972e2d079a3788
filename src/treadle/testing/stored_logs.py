"""Logs to store, for kits: of workflows that do a bit of everything, and one event of each kind.

All values in them are such as any codec can write: nothing, truths, numbers, text, lists and dicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from treadle.components.accumulator import accumulator
from treadle.components.condition import condition
from treadle.components.fan_in import collect
from treadle.components.fan_out import map
from treadle.components.rule import rule
from treadle.components.step import step
from treadle.engine.execute import execute_runnable
from treadle.model import events as logged
from treadle.model.definition import Definition
from treadle.model.errordata import ErrorData, Frame
from treadle.model.events import Baseline, Event
from treadle.value import Workflow


class Piece(Struct, frozen=True):
    """What one operation added to a log that was `expected` long, and the workflow that came of it."""

    expected: int
    events: tuple[Event, ...]
    workflow: Workflow

    @property
    def position(self) -> int:
        """How long the log is after it."""
        return self.workflow.position


class Story(Struct, frozen=True):
    """All that happened to one workflow, piece by piece. `template`: where its functions are."""

    template: Workflow
    pieces: tuple[Piece, ...]

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self.template.name


def long_story(run_key: str = "kit") -> Story:
    """Joins, conditions, items that fail, states by key; each operation is a piece of its own."""
    template = workflow_of("kit", "all").with_run_key(run_key)
    return Story(template, tuple(cut(by_hand(template, [[3, 1], [], [0, 4, 0, 2]]))))


def folded_story(run_key: str = "kit") -> Story:
    """A workflow that forgets: now and then a piece begins with a baseline."""
    template = workflow_of("forgetful kit", 2).with_run_key(run_key)
    return Story(template, tuple(cut(in_line(template, [[n, n % 3] for n in range(36)]))))


def workflow_of(name: str, retain: str | int) -> Workflow:
    """A bit of everything, with functions that any process finds again."""
    made = Workflow(Definition(name, retain, [], 0))
    made = made.add(step(len, name="size"))
    made = made.add(condition(bool, name="is_any"), to="size")
    made = made.add(rule(name="some", condition="is_any", reaction=str), to="size")
    made = made.add(map(reciprocal, name="each"))
    made = made.add(collect(name="all", on_item_failure="skip"), to="each")
    made = made.add(accumulator(plus, initial=0, name="total", key=parity), to="size")
    made = made.add(step(pair, name="both"), to=["total", "all"])
    return made.add(step(listed, name="settled"), to=["some", "both"], join="settled")


def reciprocal(number: int) -> float:
    """Fails for 0."""
    return 1 / number


def plus(total: int, number: int) -> int:
    """Add up."""
    return total + number


def parity(number: int) -> str:
    """A key."""
    return "odd" if number % 2 else "even"


def pair(total: int, items: list[float]) -> dict[str, Any]:
    """Both in a dict."""
    return {"total": total, "items": items, "none": None}


def listed(*values: Any) -> list[str]:
    """What came, as text."""
    return [repr(value) for value in values]


def by_hand(workflow: Workflow, inputs: Iterable[Any]) -> Iterator[Workflow]:
    """All handles on the way, each runnable handed out alone."""
    for value in inputs:
        workflow = workflow.plan_eagerly(value)
        yield workflow
        while workflow.is_runnable():
            workflow, runnables = workflow.prepare_for_dispatch(1)
            for runnable in runnables:
                workflow = workflow.apply_runnable(execute_runnable(runnable))
                yield workflow


def in_line(workflow: Workflow, inputs: Iterable[Any]) -> Iterator[Workflow]:
    """The handle after each input."""
    for value in inputs:
        workflow = workflow.react_until_satisfied(value)
        yield workflow


def cut(handles: Iterable[Workflow]) -> Iterator[Piece]:
    """What each handle's log has that the one before had not."""
    stored, head = 0, -1
    for workflow in handles:
        log = workflow.log()
        first = log[0]
        new = tuple(event for event in log if event.position >= stored)
        if isinstance(first, Baseline):
            begins_anew = first.position != head
            new = tuple(log) if begins_anew else tuple(each for each in new if each is not first)
            head = first.position
        if new:
            yield Piece(stored, new, workflow)
            stored = workflow.position


def every_event() -> tuple[Event, ...]:
    """One event of each kind but `Baseline`, each field with something in it. They tell no story."""
    error = ErrorData(
        type="somewhere.OddError",
        text="'quoted' \N{SNOWMAN}\n\ttext",
        frames=(Frame("file.py", 7, "function"),),
        causes=(ErrorData(type="KeyError", text="'k'"),),
    )
    value: dict[str, Any] = {
        "none": None,
        "truth": True,
        "number": -(2**62),
        "part": 0.1,
        "text": '"\\ü\x00',
        "": [],
    }
    tried: dict[str, Any] = {"generation": 2, "attempt": 3, "read_at": 4, "seconds": 0.25}
    defined = workflow_of("kit", "all").plan_eagerly([1]).log()[0]
    shape = defined.components[0]
    place = ("each", (1, 0))
    return (
        defined,
        logged.InputAccepted(1, (0,), value, "key", 1_700_000_000.125),
        logged.Planned(
            2,
            "size",
            (0,),
            held=("is_any",),
            keys=(("total/key", "odd"), ("other", 7)),
            failed=(("is_any", error),),
            read_at=1,
            in_flight=(place,),
            asked=("is_any",),
        ),
        logged.Applied(3, "both", (0, 1), [1, [2, [3]]], (1, 2), **tried),
        logged.Applied(4, "size", (1,), None, 1),
        logged.AttemptFailed(
            5, "each", (1, 0), error, **tried, retry_at=2.5, deadline_at=60.0, fallback=True
        ),
        logged.Failed(6, "each", (1, 0), error, 1, on_failure="halt", **tried, in_flight=(place,)),
        logged.Skipped(7, "each", (1, 1), (1,), error, **tried),
        logged.Expanded(8, "each", (1,), (1, "two", None, [3]), 1, 0, 1, 0.5),
        logged.Expanded(9, "each", (2,), (), (1, 4)),
        logged.WaitOpened(10, "wait", (1,), "approval", "key", 3.5),
        logged.Signalled(11, "approval", value, "key", 4.5),
        logged.TimerFired(12, "wait", (1,), 5.5),
        logged.ScopeCancelled(13, (1,), "because 'so'"),
        logged.ComponentAdded(14, shape, backfill=True),
        logged.ComponentReplaced(15, shape, reset=True),
        logged.ComponentRemoved(16, "gone", (shape,)),
        logged.Orphaned(17, "each", (1, 0), 2, 3, error, "late"),
        logged.TimerSet(18, "wait", (1,), 5.5, 2.0),
    )
