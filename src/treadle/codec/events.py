"""Which fields of an event hold values of the user, and how to put others in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, get_args

from msgspec import msgpack
from msgspec.structs import replace

from treadle.model import events
from treadle.model.events import Event
from treadle.model.nodes import ComponentShape, NodeShape


def _simple(field: Any) -> Any:
    """A name, key or time of a class of its own is written as the text or number that it is."""
    for kind, simple in SIMPLE.items():
        if isinstance(field, kind):
            return simple(field)
    raise TypeError(f"{type(field).__name__} cannot stand there")


SIMPLE: Final[dict[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
}

event_to_bytes: Final = msgpack.Encoder(enc_hook=_simple).encode

Change = Callable[[str, Any], Any]
"""What to put in the place of a value: called with how a path names it, and the value."""

HAS_VALUE: Final[frozenset[type]] = frozenset(
    {events.Applied, events.InputAccepted, events.Signalled, events.Orphaned}
)
"""One value, in the field of that name."""

HAS_NONE: Final[frozenset[type]] = frozenset(
    {
        events.AttemptFailed,
        events.Failed,
        events.Skipped,
        events.WaitOpened,
        events.TimerSet,
        events.TimerFired,
        events.ScopeCancelled,
    }
)
EVENTS: Final[frozenset[type]] = frozenset(get_args(Event))


def with_values(event: Any, change: Change) -> Any:
    """The event, with each value of the user's changed."""
    kind = type(event)
    if kind in HAS_VALUE:
        return replace(event, value=change("value", event.value))
    if kind in HAS_NONE:
        return event
    return OTHERS[kind](event, change)


def values_in(event: Any) -> Iterator[tuple[str, Any]]:
    """The values of the user's in an event, with how a path names each."""
    found: list[tuple[str, Any]] = []

    def note(label: str, value: Any) -> Any:
        found.append((label, value))
        return value

    with_values(event, note)
    return iter(found)


def _planned(event: events.Planned, change: Change) -> events.Planned:
    if not event.keys:
        return event
    keys = tuple((node, change(f"keys[{node!r}]", key)) for node, key in event.keys)
    return replace(event, keys=keys)


def _expanded(event: events.Expanded, change: Change) -> events.Expanded:
    values = tuple(change(f"values[{index}]", value) for index, value in enumerate(event.values))
    return replace(event, values=values)


def _defined(event: events.Defined, change: Change) -> events.Defined:
    return replace(event, components=_components(event.components, change))


def _added(event: Any, change: Change) -> Any:
    return replace(event, component=_components((event.component,), change)[0])


def _removed(event: events.ComponentRemoved, change: Change) -> events.ComponentRemoved:
    return replace(event, rewired=_components(event.rewired, change))


def _baseline(event: events.Baseline, change: Change) -> events.Baseline:
    state = {name: change(f"state[{name!r}]", part) for name, part in event.state.items()}
    return replace(event, defined=_defined(event.defined, change), state=state)


def _components(shapes: tuple[ComponentShape, ...], change: Change) -> tuple[ComponentShape, ...]:
    """Shapes hold no values, but expressions, whose parts are tuples where they are not text."""
    return tuple(
        replace(shape, nodes=tuple(_node(node, change) for node in shape.nodes))
        if any(_is_nested(node) for node in shape.nodes)
        else shape
        for shape in shapes
    )


def _is_nested(node: NodeShape) -> bool:
    return node.expression is not None and not all(type(part) is str for part in node.expression)


def _node(node: NodeShape, change: Change) -> NodeShape:
    if not _is_nested(node):
        return node
    return replace(
        node, expression=tuple(change("expression", part) for part in node.expression or ())
    )


OTHERS: Final[dict[type, Callable[[Any, Change], Any]]] = {
    events.Planned: _planned,
    events.Expanded: _expanded,
    events.Defined: _defined,
    events.ComponentAdded: _added,
    events.ComponentReplaced: _added,
    events.ComponentRemoved: _removed,
    events.Baseline: _baseline,
}
