"""Histories without some of their events: what a component gave, and all that was made from it, left out.

A log is never changed; these give another one, for a fork, whose events are numbered anew. Whatever a component below
the named ones did is left out too, so what is kept was made only from what is kept, and a fold of it leaves exactly
the rest to be done.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import structs

from treadle.errors import Forgotten, UsageError
from treadle.model import nodes as kinds
from treadle.model.events import (
    Baseline,
    ComponentAdded,
    ComponentRemoved,
    ComponentReplaced,
    Defined,
    Event,
    Failed,
    Orphaned,
    Planned,
    ScopeCancelled,
    Signalled,
    positions,
)
from treadle.model.markers import READS_HISTORY
from treadle.model.nodes import ComponentShape, Lowered
from treadle.model.placing import conditions_in, markers_of

Parents = Mapping[str, set[str]]
"""By component: the components that it takes from, asks, or reads."""


def component_of(key: str) -> str:
    """The component that a node belongs to: a slash in a name is reserved for inner parts."""
    return key.partition("/")[0]


def taken_by(shape: ComponentShape) -> set[str]:
    """The components that a shape takes something from: values, failures, conditions asked by name."""
    keys = {key for node in shape.nodes for key, _ in node.sources}
    keys.update(name for node in shape.nodes for name in conditions_in(node.expression))
    keys.update(node.over for node in shape.nodes if node.over is not None)
    return {component_of(key) for key in keys} - {shape.name}


def read_by(lowered: Lowered) -> set[str]:
    """The components whose history or state a component's functions read."""
    markers = [marker for spec in lowered.specs for marker in markers_of(spec.code)]
    return {marker.name for marker in markers if marker.kind in READS_HISTORY}


def shapes_in(events: Iterable[Event]) -> list[ComponentShape]:
    """Every shape that a log speaks of, in its order: those that were replaced or removed later, too."""
    found: list[ComponentShape] = []
    for event in events:
        if isinstance(event, (Defined, Baseline)):
            found.extend((event.defined if isinstance(event, Baseline) else event).components)
        elif isinstance(event, (ComponentAdded, ComponentReplaced)):
            found.append(event.component)
        elif isinstance(event, ComponentRemoved):
            found.extend(event.rewired)
    return found


def parents_in(shapes: Iterable[ComponentShape], lowered: Iterable[Lowered]) -> Parents:
    """Who takes from whom, in any of these graphs."""
    parents: dict[str, set[str]] = {}
    for shape in shapes:
        parents.setdefault(shape.name, set()).update(taken_by(shape))
    for each in lowered:
        parents.setdefault(each.name, set()).update(taken_by(each.shape()) | read_by(each))
    return parents


def below(parents: Parents, names: Iterable[str]) -> set[str]:
    """These components and all that takes something from them, directly or not."""
    children: dict[str, list[str]] = {}
    for name, above in parents.items():
        for parent in above:
            children.setdefault(parent, []).append(name)
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(children.get(name, ()))
    return found


def joins_inputs(lowered: Lowered) -> bool:
    """Whether what a component gives for one input depends on other inputs."""
    return bool(read_by(lowered)) or any(
        spec.shape.kind == kinds.STATE or spec.shape.correlate is not None for spec in lowered.specs
    )


def edits_of(events: Iterable[Event], names: set[str]) -> list[str]:
    """The components among these that were edited while inputs were there already, but for a backfilled addition."""
    found: list[str] = []
    for event in events:
        if isinstance(event, ComponentRemoved):
            found.extend([event.name, *[shape.name for shape in event.rewired]])
        elif isinstance(event, ComponentReplaced) or (
            isinstance(event, ComponentAdded) and not event.backfill
        ):
            found.append(event.component.name)
    return sorted(names.intersection(found))


def checked(
    workflow: str, events: list[Event], lowered: list[Lowered], name: str, input: int | None
) -> set[str]:
    """The components that are to work again, with what is below the named one; or why they cannot.

    Errors: `Forgotten`, `UsageError`.
    """
    names = below(parents_in(shapes_in(events), lowered), [name])
    head = events[0]
    if isinstance(head, Baseline) and (input is None or input < head.state["next_number"]):
        raise Forgotten(
            f"{name!r} cannot work again: the log of {workflow!r} begins at {head.position}, and what was before "
            "is folded.",
            hint='keep more with `retain="all"`, or name an `input=` accepted since.',
        )
    across = [each.name for each in lowered if each.name in names and joins_inputs(each)]
    if input is not None and across:
        raise UsageError(
            f"{name!r} cannot work again for input {input} alone: {_listed(across)} below it made facts of other "
            "inputs from what it gave.",
            hint="leave `input=` out: all inputs are then computed again.",
        )
    edited = edits_of(events, names)
    if edited:
        raise UsageError(
            f"{name!r} cannot work again: {_listed(edited)} was added, replaced or rewired while inputs were "
            "there, and it would do over what it did before in another way.",
            hint="start a new run with the same inputs.",
        )
    return names


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def without_work(
    events: list[Event], names: set[str], input: int | None, run_key: str | None
) -> list[Event]:
    """A log without what these components did, for one input or for all: on a fold of it, they have it to do."""

    def keep(event: Any) -> Event | None:
        node = getattr(event, "node", None)
        is_theirs = isinstance(event, Orphaned) or (
            node is not None and component_of(node) in names
        )
        if is_theirs and (input is None or event.scope[0] == input):
            return None
        return event  # type: ignore[no-any-return]

    return _numbered(events, keep, run_key)


def without_components(
    events: list[Event], names: set[str], run_key: str | None
) -> tuple[list[Event], list[ScopeCancelled]]:
    """A log as if these components had never been there, and the cancellations, which are to come after.

    An input that somebody cancelled may have nothing left to cancel without them.
    """
    cut = Cut(names)
    kept = _numbered(events, cut.keep, run_key)
    return kept, cut.cancelled


class Cut:
    """The events of a log, one after the other, with some components left out."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.watched: dict[str, set[str]] = {}
        """By component that is left: the nodes whose facts are planned for its sake."""
        self.cancelled: list[ScopeCancelled] = []

    def is_out(self, key: str) -> bool:
        return component_of(key) in self.names

    def keep(self, event: Any) -> Event | None:
        """The event as it would have been, or None where it would not."""
        if isinstance(event, Defined):
            left = tuple([each for each in event.components if each.name not in self.names])
            for shape in left:
                self._note(shape)
            return structs.replace(event, components=left)
        if isinstance(event, (ComponentAdded, ComponentReplaced, ComponentRemoved)):
            return self._edit(event)
        if isinstance(event, Planned):
            return self._planned(event)
        if isinstance(event, ScopeCancelled):
            self.cancelled.append(event)
            return None
        node = getattr(event, "node", None)
        if isinstance(event, Orphaned) or (node is not None and self.is_out(node)):
            return None
        if isinstance(event, Signalled) and event.name in self.names:
            return None
        if isinstance(event, Failed):
            out = tuple([work for work in event.in_flight if not self.is_out(work[0])])
            return structs.replace(event, in_flight=out)
        return event  # type: ignore[no-any-return]

    def _note(self, shape: ComponentShape) -> None:
        watching = [node for node in shape.nodes if node.kind == kinds.GATE or node.keyed]
        self.watched[shape.name] = {key for node in watching for key, _ in node.sources}

    def _edit(self, event: ComponentAdded | ComponentReplaced | ComponentRemoved) -> Event | None:
        if isinstance(event, ComponentRemoved):
            if event.name in self.names:
                return None
            left = tuple([shape for shape in event.rewired if shape.name not in self.names])
            self.watched.pop(event.name, None)
            for shape in left:
                self._note(shape)
            return structs.replace(event, rewired=left)
        if event.component.name in self.names:
            return None
        self._note(event.component)
        return event

    def _planned(self, event: Planned) -> Event | None:
        asked = tuple([key for key in event.asked if not self.is_out(key)])
        is_watched = any(event.node in keys for keys in self.watched.values())
        if self.is_out(event.node) or not is_watched or (event.asked and not asked):
            return None
        return structs.replace(
            event,
            held=tuple([key for key in event.held if not self.is_out(key)]),
            keys=tuple([entry for entry in event.keys if not self.is_out(entry[0])]),
            failed=tuple([entry for entry in event.failed if not self.is_out(entry[0])]),
            in_flight=tuple([work for work in event.in_flight if not self.is_out(work[0])]),
            asked=asked,
        )


def _numbered(
    events: list[Event], keep: Callable[[Any], Event | None], run_key: str | None
) -> list[Event]:
    """What is kept of a log, without gaps, as a log of its own."""
    head: Any = events[0]
    first = head.position if isinstance(head, Baseline) else 1
    if isinstance(head, Baseline):
        head = structs.replace(head, defined=structs.replace(head.defined, run_key=run_key))
    else:
        head = structs.replace(keep(head) or head, run_key=run_key)
    kept: list[Event] = [head]
    old: list[int] = []
    """Where each event that was kept stood."""

    def moved(position: int) -> int:
        return position if position < first else first + bisect_left(old, position)

    for event in events[1:]:
        found: Any = keep(event)
        if found is None:
            continue
        changes: dict[str, Any] = {"position": first + len(old)}
        sources = getattr(found, "made_from", None)
        if sources is not None:
            new = tuple([moved(position) for position in positions(sources)])
            changes["made_from"] = new[0] if isinstance(sources, int) else new
        if getattr(found, "read_at", None) is not None:
            changes["read_at"] = moved(found.read_at)
        if getattr(found, "signal", None) is not None:
            changes["signal"] = moved(found.signal)
        kept.append(structs.replace(found, **changes))
        old.append(event.position)
    return kept
