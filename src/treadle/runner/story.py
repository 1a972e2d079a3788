"""What led to what: the rows that a machine keeps of its latest stimuli, without the values that went by."""

from __future__ import annotations

from typing import Any, TypeAlias

from treadle.runner import stimuli as say

Row: TypeAlias = tuple[int, float, type, Any, str, tuple[tuple[type, Any], ...]]
"""Ordinal, moment, stimulus, what it was about, the status after it, and the instructions it led to."""


def row_of(count: int, stimulus: say.Stimulus, status: str, told: list[say.Instruction]) -> Row:
    """One row; cheap, since it is made for each stimulus: what can be found out later is found out later."""
    if len(told) == 1:
        led_to: tuple[tuple[type, Any], ...] = ((type(told[0]), _about(told[0])),)
    else:
        led_to = tuple([(type(each), _about(each)) for each in told])
    return (count, stimulus.at, type(stimulus), _mark(stimulus), status, led_to)


def shown(row: Row) -> dict[str, Any]:
    """A row as JSON-ready data."""
    count, at, stimulus, mark, status, led_to = row
    told = [f"{kind.__name__} {_text(about)}".strip() for kind, about in led_to]
    return {
        "n": count,
        "at": at,
        "stimulus": stimulus.__name__,
        "of": list(mark) if isinstance(mark, tuple) else mark,
        "status": status,
        "led_to": told,
    }


def _mark(stimulus: Any) -> Any:
    kind = type(stimulus)
    if kind is say.Finished:
        bundles = stimulus.bundles
        if len(bundles) == 1:
            return (bundles[0][0],)
        return tuple([number for number, _ in bundles[:8]])
    if kind is say.Began:
        return stimulus.number
    if kind is say.Stored:
        return stimulus.position
    return getattr(stimulus, "request", None)


def _about(told: Any) -> Any:
    kind = type(told)
    if kind is say.Execute:
        first = told.bundle.runnables[0]
        size = len(told.bundle.runnables) + len(told.bundle.links)
        return (told.number, first.node, first.scope, first.attempt, size)
    name = _NAMES.get(kind)
    return None if name is None else getattr(told, name)


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


def _text(about: Any) -> str:
    if isinstance(about, tuple):
        number, node, scope, attempt, size = about
        more = "" if size == 1 else f" and {size - 1} more"
        tries = "" if attempt == 1 else f" attempt {attempt}"
        return f"{number}: {node}@{'.'.join(map(str, scope))}{tries}{more}"
    return "" if about is None else str(about)
