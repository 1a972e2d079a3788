"""Facts as users see them, made from events when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from treadle.engine.memory import Memory
from treadle.engine.watch import holds
from treadle.model.events import Applied, Event, Expanded, InputAccepted, Planned
from treadle.model.facts import Fact, FactId
from treadle.model.program import Node
from treadle.model.sentinels import ABSENT, INPUT_KEY
from treadle.model.work import Root
from treadle.views.reading import events_of


class FactReader:
    """Turns events into facts, resolving the positions of their sources.

    `roots` are the inputs asked about: their events are looked at first, and those of all others only if a source
    is not among them.
    """

    def __init__(self, memory: Memory, roots: Iterable[Root] = ()) -> None:
        self.memory = memory
        self.by_position = {event.position: event for root in roots for event in root.events}
        self.has_all = False
        self.of_input: dict[int, dict[tuple[str, tuple[int, ...]], Fact]] = {}

    def fact_planned(self, event: Planned) -> Fact | None:
        """The fact that a `Planned` is about; an input's facts are gone through once for all of them."""
        number = event.scope[0]
        if number not in self.of_input:
            root = self.memory.roots.get(number)
            events = root.events if root is not None else []
            facts = [fact for each in events for fact in self.of(each)]
            self.of_input[number] = {(fact.id[0], fact.scope): fact for fact in facts}
        node = self.memory.program.by_key.get(event.node)
        while node is not None and node.kind == "gate" and node.sources:
            node = node.sources[0][0]  # what a gate lets through is the fact that came to it
        key = event.node if node is None else node.key
        return self.of_input[number].get((key, event.scope))

    def facts(self, roots: Iterable[Root]) -> Iterator[Fact]:
        """All facts of some inputs, in log order."""
        for event in events_of(roots):
            yield from self.of(event)

    def of(self, event: Event) -> Iterator[Fact]:
        """The facts that one event recorded."""
        if isinstance(event, InputAccepted):
            yield Fact("INPUT", None, event.scope, event.value, (), 0, event.position)
        elif isinstance(event, Applied):
            if event.value is not ABSENT:
                component, part = self.split(event.node)
                sources = self.sources(event.sources, event.scope)
                yield Fact(
                    component,
                    part,
                    event.scope,
                    event.value,
                    sources,
                    event.generation,
                    event.position,
                )
        elif isinstance(event, Expanded):
            yield from self._items(event)

    def _items(self, event: Expanded) -> Iterator[Fact]:
        component, part = self.split(event.node)
        sources = self.sources(event.sources, event.scope)
        for index, value in enumerate(event.values):
            scope = (*event.scope, index)
            yield Fact(component, part, scope, value, sources, event.generation, event.position)

    def split(self, key: str) -> tuple[str, str | None]:
        """A node's component and its part of it."""
        node = self.memory.program.by_key.get(key)
        if node is not None:
            return node.component, node.part
        component, _, part = key.partition("/")
        return component, part or None

    def sources(self, positions: Iterable[int], scope: tuple[int, ...]) -> tuple[FactId, ...]:
        """The ids of the facts at some positions; those that were forgotten are left out."""
        found = []
        for position in positions:
            event = self.event_at(position)
            if event is not None:
                found.append(fact_id(event, scope))
        return tuple(found)

    def event_at(self, position: int) -> Any:
        """The event of a position, if it is remembered."""
        event = self.by_position.get(position)
        if event is None and not self.has_all:
            self.has_all = True
            for root in self.memory.roots.values():
                self.by_position.update((event.position, event) for event in root.events)
            event = self.by_position.get(position)
        return event


def fact_id(event: Any, scope: tuple[int, ...]) -> FactId:
    """The id of an event's fact, as it was given to a node in `scope` (which tells a fan-out's element)."""
    if isinstance(event, InputAccepted):
        return (INPUT_KEY, 0, event.scope)
    if isinstance(event, Expanded):
        return (event.node, event.generation, scope[: len(event.scope) + 1])
    if isinstance(event, Planned):
        return (event.node, 0, event.scope)
    return (event.node, event.generation, event.scope)


def gate_facts(node: Node, roots: Iterable[Root], reader: FactReader) -> list[Fact]:
    """What a condition let through: the very facts of its parent, under the condition's name."""
    found = []
    for root in roots:
        for event in root.events:
            expression = node.shape.expression
            if not isinstance(event, Planned) or expression is None:
                continue
            asked = _asked_first(node, event.node)
            if asked is None or (event.asked and asked not in event.asked):
                continue
            if holds(expression, set(event.held)):
                fact = reader.fact_planned(event)
                if fact is not None:
                    found.append(
                        Fact(
                            node.component,
                            node.part,
                            event.scope,
                            fact.value,
                            (fact.id,),
                            0,
                            event.position,
                        )
                    )
    return sorted(found, key=lambda fact: fact.position)


def _asked_first(node: Node, key: str) -> str | None:
    """The gate that watches a node's facts for the sake of this one: itself, or a gate above it; None if none does."""
    gate = node
    while gate.sources:
        above = gate.sources[0][0]
        if above.key == key:
            return gate.key
        if above.kind != "gate":
            return None
        gate = above
    return None
