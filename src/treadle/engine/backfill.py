"""Backfill: feed a component that was just added the facts that exist, in their scopes and order.

Each old event is given once more to the new nodes alone, as if they had been there, and so is what was given as ABSENT
with it; scopes that were let go are opened again.
"""

from __future__ import annotations

from typing import Any

from treadle.engine import deliver as route
from treadle.engine.fanout import closers, note_failure, open_group
from treadle.engine.fold import failure_of, watcher_failure
from treadle.engine.joins import arrive_at_join, catch_up
from treadle.engine.memory import Memory, enliven
from treadle.engine.watch import holds
from treadle.model import nodes as kinds
from treadle.model.events import (
    Applied,
    Expanded,
    Failed,
    InputAccepted,
    Path,
    Planned,
    Skipped,
    TimerFired,
    WaitOpened,
)
from treadle.model.facts import Failure
from treadle.model.program import RACE, SETTLED, STATE, Node
from treadle.model.sentinels import ABSENT, INPUT_KEY
from treadle.model.work import Root, Scope, Unit, Unplanned


def feed(memory: Memory, added: list[Node]) -> None:
    """Go through the events that are remembered, in log order, for the sake of the new nodes."""
    feeding = Feeding(memory, added)
    roots = [root for root in memory.roots.values() if not root.folded and not root.halted]
    remembered: list[tuple[int, bool, Any, Root]] = [
        (event.position, False, event, root) for root in roots for event in root.events
    ]
    feeding.gave = {
        (event.node, event.scope)
        for _, _, event, _ in remembered
        if isinstance(event, (Applied, Failed, Skipped))
    }
    for root in roots:
        remembered.extend((entry[2], True, entry, root) for entry in root.absents)
    remembered.sort(
        key=lambda entry: entry[:2]
    )  # what is given as ABSENT comes of the event that it stands with
    for _, is_absent, entry, root in remembered:
        if is_absent:
            feeding.absent(root, *entry)
        else:
            feeding.feed(entry, root)


class Feeding:
    """One backfill at work."""

    def __init__(self, memory: Memory, added: list[Node]) -> None:
        self.memory = memory
        self.fresh = frozenset(node.index for node in added)
        self.joins = [node for node in added if node.arrival in (RACE, SETTLED)]
        self.events: dict[int, Any] = {}
        self.facts: dict[tuple[str, tuple[int, ...]], tuple[Any, int]] = {}
        self.gave: set[tuple[str, Path]] = set()
        """What gave or failed: a wait that did neither when its time was over took its timeout path."""
        self.waits: dict[tuple[str, Path], WaitOpened] = {}

    def feed(self, event: Any, root: Root) -> None:
        """Give one old event to the new nodes."""
        self.events[event.position] = event
        key = INPUT_KEY if isinstance(event, InputAccepted) else getattr(event, "node", "")
        node = self.memory.program.by_key.get(key)
        if node is None:
            return
        if isinstance(event, (InputAccepted, Applied)):
            self.value(node, self.scope(root, event.scope, node.place), event.value, event.position)
        elif isinstance(event, Expanded):
            self.items(node, self.scope(root, event.scope, node.place), event)
        elif isinstance(event, Planned):
            self.gates(node, root, event)
        elif isinstance(event, WaitOpened):
            self.waits[event.node, event.scope] = event
        elif isinstance(event, TimerFired) and (event.node, event.scope) not in self.gave:
            self.timeout(node, self.scope(root, event.scope, node.place), event)
        elif isinstance(event, (Failed, Skipped)) and event.error is not None:
            self.failure(node, self.scope(root, event.scope, node.place), event)

    def given(self, position: int, path: tuple[int, ...]) -> Any:
        """The value that the event of a position gave to a node in a scope."""
        event = self.events[position]
        if isinstance(event, Expanded):
            return event.values[path[len(event.scope)]]
        return getattr(event, "value", None)

    def scope(self, root: Root, path: tuple[int, ...], place: tuple[int, ...]) -> Scope:
        """The scope of a path; where it was let go it is opened again."""
        if root.done:
            root.done = False
            self.memory.open_count += 1
            self.memory.quiet.remove(root.number)
        scope: Scope = root
        for opener, index in zip(place, path[1:], strict=False):
            if scope.children is None:
                scope.children = {}
            kids = scope.children.setdefault(opener, [])
            while len(kids) <= index:
                kid = Scope(root, scope, (*scope.path, len(kids)), scope.depth + 1)
                kids.append(kid)
                for join in self.joins:
                    if join.place[-1:] == (opener,):
                        catch_up(self.memory, join, kid)
            scope = kids[index]
        return scope

    def value(self, node: Node, scope: Scope, value: Any, position: int) -> None:
        """A fact, for the new children and watchers of the node that gave it."""
        self.facts[node.key, scope.path] = (value, position)
        for child, port in node.children:
            if child.index in self.fresh:
                route.arrive(self.memory, child, port, scope, (value, position))
        if any(watcher.index in self.fresh for watcher in node.watchers):
            self.memory.unplanned.append(Unplanned(node, scope, value, position, self.fresh))
            enliven(node, scope)

    def absent(self, root: Root, key: str, path: Path, position: int) -> None:
        """What a node gave as ABSENT, for its new children and states."""
        node = self.memory.program.by_key.get(key)
        if node is None:
            return
        takers = [(child, port) for child, port in node.children if child.index in self.fresh]
        states = [each for each in node.watchers if each.index in self.fresh]
        if not takers and not states:
            return
        scope = self.scope(root, path, node.place)
        for child, port in takers:
            route.arrive(self.memory, child, port, scope, (ABSENT, position))
        self.memory.absents.extend((each, scope) for each in states if each.arrival is STATE)

    def nothing(self, node: Node, scope: Scope) -> None:
        """A node ran and gave nothing: new settled joins are to know."""
        for child, port in node.children:
            if child.index in self.fresh and child.arrival is SETTLED:
                arrive_at_join(self.memory, child, port, scope, None)

    def items(self, node: Node, scope: Scope, event: Expanded) -> None:
        """The elements of a fan-out, and the fan-out itself for a reduce that closes it."""
        for index, value in enumerate(event.values):
            inside = self.scope(scope.root, (*scope.path, index), (*node.place, node.index))
            self.value(node, inside, value, event.position)
        for reduce in closers(self.memory.program, node):
            if reduce.index in self.fresh:
                open_group(self.memory, reduce, scope, len(event.values))

    def gates(self, node: Node, root: Root, event: Planned) -> None:
        """New children of old gates: what held then stands in the log."""
        fact = self.facts.get((event.node, event.scope))
        if fact is None:
            return
        held, failed = set(event.held), {key for key, _ in event.failed}
        scope = self.scope(root, event.scope, node.inner)
        stack = [node]
        while stack:
            for gate in stack.pop().watchers:
                old = gate.kind == kinds.GATE and gate.index not in self.fresh
                if event.asked and gate.key not in event.asked and gate in node.watchers:
                    continue
                expression = gate.shape.expression
                if old and gate.key not in failed and expression and holds(expression, held):
                    self.value(gate, scope, *fact)
                    stack.append(gate)
        for key, error in event.failed:
            watcher = self.memory.program.by_key.get(key)
            if watcher is not None and watcher.index not in self.fresh:
                output = self.memory.program.output_of(watcher.component)
                told = watcher_failure(watcher, output, scope, fact[0], error)
                self.failed(output, scope, told, event.position)

    def timeout(self, node: Node, scope: Scope, event: TimerFired) -> None:
        """What a wait waited with, for new takers of its timeouts."""
        opened = self.waits.get((event.node, event.scope))
        if opened is None:
            return
        (position,) = opened.sources
        for child, port in node.timeout_children:
            if child.index in self.fresh:
                value = self.given(position, scope.path)
                route.arrive(self.memory, child, port, scope, (value, position))
        self.nothing(node, scope)

    def failure(self, node: Node, scope: Scope, event: Failed | Skipped) -> None:
        """A failure, for new handlers."""
        inputs = tuple([self.given(position, scope.path) for position in event.sources])
        args = (inputs,) if node.closes is not None else inputs
        unit = Unit(node, scope, args, event.made_from, event.position)
        told = failure_of(unit, event, getattr(event, "on_failure", "skip"))
        self.failed(node, scope, told, event.position)

    def failed(self, node: Node, scope: Scope, told: Failure, position: int) -> None:
        """A failure as data, for new handlers, and for what is to know that nothing comes."""
        for child, port in node.error_children:
            if child.index in self.fresh:
                route.arrive(self.memory, child, port, scope, (told, position))
        if told.on_failure != "skip":
            note_failure(node, scope, told, position, only=self.fresh)
            self.nothing(node, scope)
