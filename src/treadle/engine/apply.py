"""Apply: turn an outcome into the one event that records it, and fold that event in."""

from __future__ import annotations

from typing import TypeAlias

from treadle.engine.fold import orphaned, retry, settle, settle_failure, settle_value
from treadle.engine.memory import Memory, in_flight_of, unit_at
from treadle.model import nodes as kinds
from treadle.model.errordata import ErrorData, describe
from treadle.model.events import Applied, AttemptFailed, Expanded, Failed, Orphaned, Skipped, Work
from treadle.model.runnables import OK, SKIPPED, Again, Outcome, Runnable
from treadle.model.work import Scope, Unit

Settled: TypeAlias = Applied | Expanded | Skipped | Failed


def pending_unit(memory: Memory, outcome: Outcome | Runnable) -> Unit | None:
    """The unit that an outcome (or runnable) is of, if it is still pending."""
    path = outcome.scope
    node = memory.program.by_key.get(outcome.node)
    root = memory.roots.get(path[0]) if path else None
    if node is None or root is None or root.done:
        return None
    scope: Scope = root
    place = node.place
    if len(path) != len(place) + 1:
        return None
    if place:
        for opener, index in zip(place, path[1:], strict=False):
            kids = (scope.children or {}).get(opener, [])
            if not 0 <= index < len(kids):
                return None
            scope = kids[index]
    unit = scope.unit
    if unit is None or unit.node is not node:
        unit = unit_at(scope, node.index)
    if unit is None or unit.generation != outcome.generation:
        return None
    return unit


def conclude(
    memory: Memory, unit: Unit, outcome: Outcome, on_failure: str | None = None
) -> Settled:
    """Record an outcome of pending work for good, and follow up what it sets off.

    `on_failure`: what a failure does to the rest, where a policy says otherwise than the component.
    """
    memory.out.pop(unit, None)
    event = event_of(memory, unit, outcome, on_failure)
    if type(event) is Applied and unit.cell is None and unit.node.kind != kinds.CHECK:
        settle_value(memory, unit, event)
    elif isinstance(event, Failed):
        settle_failure(memory, unit, event)
    else:
        settle(memory, unit, event)
    return event


def event_of(
    memory: Memory, unit: Unit, outcome: Outcome, on_failure: str | None = None
) -> Settled:
    """The event that an outcome becomes; what a failure does is said by the policy, else by the node."""
    position = memory.position
    node, path, sources = unit.node, unit.scope.path, unit.made_from
    generation, attempt, seconds = unit.generation, outcome.attempt, outcome.seconds
    if outcome.status == OK:
        if node.kind == kinds.ITEMS:
            return Expanded(
                position, node.key, path, outcome.value, sources, generation, attempt, seconds
            )
        return Applied(
            position,
            node.key,
            path,
            outcome.value,
            sources,
            generation,
            attempt,
            outcome.read_at,
            seconds,
        )
    if outcome.status == SKIPPED:
        error: ErrorData | None = None
    else:
        error = error_of(outcome)
        on_failure = on_failure or node.shape.on_failure
        if on_failure != "skip":
            return Failed(
                position,
                node.key,
                path,
                error,
                sources,
                on_failure,
                generation,
                attempt,
                outcome.read_at,
                seconds,
                spared(memory, unit, on_failure),
            )
    return Skipped(
        position, node.key, path, sources, error, generation, attempt, outcome.read_at, seconds
    )


def error_of(outcome: Outcome) -> ErrorData:
    """A failed outcome's error; one made by hand may have the exception alone, or nothing to say."""
    if outcome.error is not None:
        return outcome.error
    if outcome.exception is not None:
        return describe(outcome.exception)
    return ErrorData("treadle.errors.WorkError", "the outcome says that it failed, and not how.")


def spared(memory: Memory, unit: Unit, on_failure: str) -> tuple[Work, ...]:
    """What a failure leaves in flight, if it is the one that halts its input."""
    root = unit.scope.root
    return in_flight_of(memory, root) if on_failure == "halt" and not root.halted else ()


NOW = Again()
"""Another attempt, at once."""


def try_again(memory: Memory, unit: Unit, outcome: Outcome, again: Again = NOW) -> AttemptFailed:
    """Record a failed attempt and make the same work ready again."""
    event = AttemptFailed(
        memory.position,
        unit.node.key,
        unit.scope.path,
        error_of(outcome),
        unit.generation,
        outcome.attempt,
        outcome.read_at,
        outcome.seconds,
        again.retry_at,
        again.deadline_at,
        again.fallback,
    )
    retry(memory, unit, event)
    return event


def orphan(memory: Memory, outcome: Outcome) -> Orphaned | None:
    """Record the first outcome of work that was withdrawn; later ones leave no trace."""
    if (outcome.node, outcome.generation, outcome.scope) not in memory.withdrawn:
        return None
    event = Orphaned(
        memory.position,
        outcome.node,
        outcome.scope,
        outcome.generation,
        outcome.attempt,
        outcome.error,
        outcome.value,
    )
    orphaned(memory, event)
    return event
