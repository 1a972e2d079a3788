"""Failures: what failed for good, what it was given, and whether it was taken care of.

A failure counts as handled where a handler on the error port made its own fact, and where a reduce that was told to
go on without failed items did.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from msgspec import structs

from treadle.engine.barriers import reachable_barriers
from treadle.engine.memory import Memory
from treadle.model.events import Applied, Expanded, Failed, InputAccepted, Planned, Skipped
from treadle.model.facts import Failure
from treadle.model.program import Node
from treadle.model.work import Root
from treadle.views.facts import FactReader
from treadle.views.reading import events_of, roots_of

if TYPE_CHECKING:
    from treadle.value import Workflow


def failures(workflow: Workflow, input: Any) -> list[Failure]:
    """The failures of all inputs or of one, in log order."""
    with workflow.inspect() as (memory, _):
        return listed(memory, list(roots_of(memory, input)))


def listed(memory: Memory, roots: list[Root]) -> list[Failure]:
    """The failures among the events of some inputs."""
    if not any(root.has_failed for root in roots):
        return []
    events = events_of(roots)
    reader = FactReader(memory, roots)
    handled = _handled(memory, events) | _gone_without(memory, events)
    return [
        structs.replace(failure, handled=(failure.position, failure.component) in handled)
        for event in events
        for failure in _of(memory, event, reader)
    ]


def _failed(event: Any) -> bool:
    return (
        isinstance(event, Failed)
        or (isinstance(event, Skipped) and event.error is not None)
        or (isinstance(event, Planned) and bool(event.failed))
    )


def _handled(memory: Memory, events: Iterable[Any]) -> set[tuple[int, str]]:
    """The failures, by position and component, from which a handler on an error port made its own fact.

    A handler may have inner nodes (a rule's join, say): what counts is that the component itself gave something.
    """
    listed = list(events)
    by_position = {event.position: event for event in listed}
    handlers = _handlers(memory)
    handled: set[tuple[int, str]] = set()
    for event in listed:
        if isinstance(event, Applied) and event.node in handlers:
            stack = list(event.sources)
            while stack:
                position = stack.pop()
                source = by_position.get(position)
                if isinstance(source, Applied) and source.node.startswith(f"{event.node}/"):
                    stack.extend(source.sources)
                handled.update((position, component) for component in handlers[event.node])
    return handled


def _gone_without(memory: Memory, events: Iterable[Any]) -> set[tuple[int, str]]:
    """Failures in items that a reduce was told to go on without (`"skip"`, `"collect"`), and did."""
    tolerant = [
        node
        for node in memory.program.by_key.values()
        if node.closes is not None and node.shape.on_item_failure != "fail"
    ]
    if not tolerant:
        return set()
    listed = list(events)
    done = {(event.node, event.scope) for event in listed if isinstance(event, Applied)}
    found: set[tuple[int, str]] = set()
    for event in listed:
        for node, component in _failed_nodes(memory, event):
            for reduce in tolerant:
                inside = node.place[reduce.depth : reduce.depth + 1]
                went_on = (reduce.key, event.scope[: reduce.depth + 1]) in done
                if (
                    reduce.closes is not None
                    and inside == (reduce.closes.index,)
                    and went_on
                    and reduce in reachable_barriers(node)
                ):
                    found.add((event.position, component))
    return found


def _failed_nodes(memory: Memory, event: Any) -> list[tuple[Node, str]]:
    """The nodes that an event says failed, each with its component."""
    keys = [key for key, _ in event.failed] if isinstance(event, Planned) else []
    if isinstance(event, (Failed, Skipped)) and event.error is not None:
        keys = [event.node]
    nodes = [memory.program.by_key.get(key) for key in keys]
    return [(node, node.component) for node in nodes if node is not None]


def _handlers(memory: Memory) -> dict[str, set[str]]:
    """By component that stands on an error port: whose failures it is given."""
    handlers: dict[str, set[str]] = {}
    for node in memory.program.by_key.values():
        for child, _ in node.error_children:
            handlers.setdefault(child.component, set()).add(node.component)
    return handlers


def _of(memory: Memory, event: Any, reader: FactReader) -> list[Failure]:
    if isinstance(event, Planned):
        return _conditions(memory, event, reader)
    if not _failed(event):
        return []
    component, part = reader.split(event.node)
    return [
        Failure(
            component,
            part,
            event.scope,
            inputs_of(event, reader),
            event.error,
            event.attempt,
            event.generation,
            "skip" if isinstance(event, Skipped) else event.on_failure,
            position=event.position,
        )
    ]


def _conditions(memory: Memory, event: Planned, reader: FactReader) -> list[Failure]:
    """A condition that raised is a failure of each component that uses it."""
    found = []
    fact = reader.fact_planned(event)
    value = () if fact is None else (fact.value,)
    for key, error in event.failed:
        component, _ = reader.split(key)
        known = component in memory.program.components
        on_failure = memory.program.output_of(component).shape.on_failure if known else "block"
        found.append(
            Failure(
                component,
                None,
                event.scope,
                value,
                error,
                on_failure=on_failure,
                position=event.position,
            )
        )
    return found


def inputs_of(event: Any, reader: FactReader) -> tuple[Any, ...]:
    """The values that the sources of an event gave, as far as they are remembered."""
    values = []
    for position in event.sources:
        source = reader.event_at(position)
        if isinstance(source, (Applied, InputAccepted)):
            values.append(source.value)
        elif isinstance(source, Expanded):
            values.append(source.values[event.scope[len(source.scope)]])
    return tuple(values)
