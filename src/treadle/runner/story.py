"""What led to what: the rows that a machine keeps of its latest stimuli, without the values that went by."""

from __future__ import annotations

from itertools import islice
from typing import Any, TypeAlias

from treadle.model.events import Path
from treadle.runner import stimuli as say

Row: TypeAlias = tuple[Any, ...]
"""Ordinal, moment, stimulus, what it was about, the status after it; then the instructions it led to: the type of each,
and what it was about. All in one tuple, since most rows are thrown away unread."""

StepRow: TypeAlias = tuple[int, float, int, int, int, str, Path, int]
"""The row of by far the commonest case, where all but this is clear: a bundle came back, what happened was stored, and
another one went. Ordinal, moment, bundle, how much was stored, and of what went: number, node, scope, attempt."""


def row_of(count: int, stimulus: say.Stimulus, status: str, told: list[say.Instruction]) -> Row:
    """One row; cheap, since it is made for each stimulus: what can be found out later is found out later."""
    row: list[Any] = [count, stimulus.at, type(stimulus), _mark(stimulus), status]
    for each in told:
        kind = type(each)
        if kind is say.Execute:
            row += (kind, *_work_of(each))
        else:
            name = _NAMES.get(kind)
            row += (kind, None if name is None else getattr(each, name))
    return tuple(row)


def row_of_step(count: int, at: float, number: int, stored: int, order: say.Execute) -> StepRow:
    """One row, of a bundle that came back while the run went on, of its being stored, and of the one that went then."""
    first = order.bundle.runnables[0]
    return (count, at, number, stored, order.number, first.node, first.scope, first.attempt)


def in_full(row: StepRow) -> Row:
    """The row of a step as `row_of` would have made it."""
    count, at, came, stored, number, node, scope, attempt = row
    led_to = (say.Store, stored, say.Execute, number, node, scope, attempt, 1)
    return (count, at, say.Finished, came, say.RUNNING, *led_to)


def shown(row: Row | StepRow) -> dict[str, Any]:
    """A row as JSON-ready data."""
    whole: Row = row if isinstance(row[2], type) else in_full(row)
    count, at, stimulus, mark, status, *led_to = whole
    parts, told = iter(led_to), []
    for kind in parts:
        about = _work_text(*islice(parts, 5)) if kind is say.Execute else _text(next(parts))
        told.append(f"{kind.__name__} {about}".strip())
    return {
        "n": count,
        "at": at,
        "stimulus": stimulus.__name__,
        "of": _listed(mark) if stimulus is say.Finished else mark,
        "status": status,
        "led_to": told,
    }


def _mark(stimulus: Any) -> Any:
    kind = type(stimulus)
    if kind is say.Finished:
        bundles = stimulus.bundles
        if len(bundles) == 1:
            return bundles[0][0]
        return tuple([number for number, _ in bundles[:8]])
    if kind is say.Began:
        return stimulus.number
    if kind is say.Stored:
        return stimulus.position
    return getattr(stimulus, "request", None)


def _listed(numbers: Any) -> list[int]:
    return list(numbers) if isinstance(numbers, tuple) else [numbers]


def _work_of(order: Any) -> tuple[int, str, Path, int, int]:
    bundle = order.bundle
    first = bundle.runnables[0]
    size = len(bundle.runnables) + len(bundle.links)
    return (order.number, first.node, first.scope, first.attempt, size)


_NAMES: dict[type, str] = {
    say.Withdraw: "number",
    say.Accepted: "input",
    say.InputFinished: "input",
    say.Became: "status",
    say.WakeAt: "at",
    say.Store: "position",
    say.Reply: "request",
    say.Tell: "then",
    say.Warn: "text",
}


def _work_text(number: int, node: str, scope: Path, attempt: int, size: int) -> str:
    more = "" if size == 1 else f" and {size - 1} more"
    tries = "" if attempt == 1 else f" attempt {attempt}"
    return f"{number}: {node}@{'.'.join(map(str, scope))}{tries}{more}"


def _text(about: Any) -> str:
    return "" if about is None else str(about)
