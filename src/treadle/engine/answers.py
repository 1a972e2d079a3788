"""What comes to waits, as events: how one is opened, whom a signal answers, whose moment has come, what it gives.

Here the user's functions are asked; what they said is in the events, and replay asks nobody.
"""

from __future__ import annotations

import math
from typing import Any

from treadle.engine.execute import CAUGHT, ENGINE
from treadle.engine.memory import Memory
from treadle.engine.prepare import missing_function
from treadle.engine.waits import first_kept, waits_of
from treadle.errors import AmbiguousSignal, BadValue, TimedOut
from treadle.model import nodes as kinds
from treadle.model.errordata import ErrorData, describe
from treadle.model.events import Signalled, WaitOpened
from treadle.model.runnables import FAILED, OK, Outcome
from treadle.model.work import Wait


def open_wait(memory: Memory, unit: Wait, at: float | None) -> WaitOpened:
    """How a wait is opened: its key, how long it waits, and until when, if the time is known."""
    node, value = unit.node, unit.args[0]
    if node.code.missing:
        raise missing_function(node.component)
    key = timeout_s = None
    error: ErrorData | None = None
    try:
        if node.kind == kinds.WAIT:
            key = key_of(unit)
        timeout_s = None if node.code.call is None else duration(node.code.call(value))
        if timeout_s is None and node.kind == kinds.SLEEP:
            raise BadValue("a sleep needs a number of seconds, and its function gave None.")
    except CAUGHT as caught:
        unit.problem, error = caught, describe(caught, skip=ENGINE)
    kept = None if key is None or error else first_kept(memory.waits, node.component, key)
    return WaitOpened(
        memory.position,
        node.key,
        unit.scope.path,
        node.component,
        key,
        None if at is None or timeout_s is None else at + timeout_s,
        unit.made_from,
        timeout_s,
        at,
        unit.generation,
        None if kept is None else kept.position,
        error,
    )


def key_of(unit: Wait) -> str:
    """The key that a signal names this wait by: by default where it stands, as in `0` or `0.2`."""
    if unit.node.code.key_of is None:
        return ".".join(map(str, unit.scope.path))
    return key_text(unit.node.code.key_of(unit.args[0]))


def key_text(key: Any) -> str:
    """A key as the log has it: text, or a whole number as text."""
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if isinstance(key, str):
        return key
    raise BadValue(f"the key of a signal is text or a whole number, and this is {key!r:.80}.")


def duration(seconds: Any) -> float | None:
    """A number of seconds, at least 0; None is without end."""
    if seconds is None:
        return None
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool):
        counted = float(seconds)
        if math.isfinite(counted) and counted >= 0:
            return counted
    raise BadValue(f"a time is a number of seconds of at least 0, and this is {seconds!r:.80}.")


def signal_for(
    memory: Memory, name: str, value: Any, key: str | None, at: float | None
) -> Signalled:
    """A signal as an event: for the oldest wait of its key; without a key, for the only one.

    Errors: `AmbiguousSignal` if there is no key and several wait.
    """
    by_key = waits_of(memory).open.get(name, {})
    listed = [unit for units in by_key.values() for unit in units] if key is None else []
    if len(listed) > 1:
        shown = ", ".join(map(repr, list(by_key)[:8])) + (", ..." if len(by_key) > 8 else "")
        raise AmbiguousSignal(
            f"{len(listed)} waits of {name!r} are open, and the signal names none of them.",
            hint=f"give key=, one of {shown}; waiting() tells them apart.",
        )
    unit = next(iter(listed if key is None else by_key.get(key, ())), None)
    if unit is None:
        return Signalled(memory.position, name, value, key, at)
    return Signalled(memory.position, name, value, key, at, unit.node.key, unit.scope.path)


def outcome_of(unit: Wait) -> Outcome:
    """What a wait that was ended gives: what the signal brought, what it slept on, its default; or its failure."""
    answer, opened, node = unit.answer, unit.opened, unit.node
    if isinstance(answer, Signalled):
        return _outcome(unit, OK, value=answer.value)
    if opened is not None and opened.error is not None:
        return _outcome(unit, FAILED, error=opened.error, exception=unit.problem)
    if node.kind == kinds.SLEEP:
        return _outcome(unit, OK, value=unit.args[0])
    if node.shape.on_timeout == "default" and node.code.initial is None:
        raise missing_function(node.component)
    try:
        if node.code.initial is not None:
            return _outcome(unit, OK, value=node.code.initial())
        raise late(unit)
    except CAUGHT as error:
        described = describe(error, skip=ENGINE)
        return _outcome(unit, FAILED, error=described, exception=error)


def late(unit: Wait) -> TimedOut:
    """Nobody answered in time."""
    lasted = None if unit.opened is None else unit.opened.timeout_s
    return TimedOut(f"nobody answered within {lasted or 0:g} s.")


def _outcome(
    unit: Wait,
    status: str,
    value: Any = None,
    error: ErrorData | None = None,
    exception: BaseException | None = None,
) -> Outcome:
    return Outcome(
        component=unit.node.component,
        node=unit.node.key,
        scope=unit.scope.path,
        status=status,
        value=value,
        error=error,
        exception=exception,
        generation=unit.generation,
    )
