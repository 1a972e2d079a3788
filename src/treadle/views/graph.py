"""What is drawn: the graph of components with how far each has come, and who gave what to whom.

Inner nodes (`name/when`, `name/items`, `name/join`) collapse into their component: a picture shows what was added.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict

from treadle.engine.memory import Memory
from treadle.engine.watch import holds
from treadle.model import nodes as kinds
from treadle.model.events import (
    Applied,
    AttemptFailed,
    Expanded,
    Failed,
    InputAccepted,
    Path,
    Planned,
    Skipped,
)
from treadle.model.markers import READS_HISTORY
from treadle.model.nodes import Lowered
from treadle.model.placing import conditions_in, markers_of
from treadle.model.program import Node, Program
from treadle.model.sentinels import INPUT_KEY
from treadle.model.work import Root
from treadle.views import failures as failing
from treadle.views import status
from treadle.views.facts import FactReader
from treadle.views.reading import events_of, roots_of

if TYPE_CHECKING:
    from treadle.value import Workflow

STATE: Final = "state"
"""The kind of an edge along which nothing flows: a marker such as `state_of` reads the component."""
CONDITION: Final = "condition"
"""The kind of an edge from a named condition to a rule that asks it."""

COUNTS: Final = ("done", "failed", "skipped", "ready", "in_flight", "waiting")

PASSING: Final = (kinds.GATE, kinds.CHECK, kinds.WAIT)
"""Nodes that pass on what is not their own (a wait, on its timeout port)."""

FEW_EVENTS: Final = 40
"""A story of at most so many events is told from the first input; of a longer one, the last input."""


class ComponentEntry(TypedDict):
    """One component; `inside` names the fan-outs around it, outermost first."""

    name: str
    kind: str
    inside: list[str]
    parents: list[str]
    is_output: bool
    prefix: str
    counts: NotRequired[dict[str, int]]
    status: NotRequired[str]


class EdgeEntry(TypedDict):
    """An edge between components (or from the raw input, `"INPUT"`)."""

    source: str
    target: str
    kind: str


class Graph(TypedDict):
    """A workflow as a picture needs it, JSON-ready."""

    name: str
    components: list[ComponentEntry]
    edges: list[EdgeEntry]


def graph(workflow: Workflow, *, state: bool = False, input: Any = None) -> Graph:
    """The components in the order of adding, and the edges between them.

    Kinds of edges: `"value"`, `"error"` (from an error port), `"timeout"` (from that of a wait), `"state"` (a marker
    reads the source), and `"condition"` (the target's condition names the source). With `state`, each component has
    `counts` over all remembered inputs, or for one (`failed` as in `failures()`, `skipped`: gave ABSENT without
    failing), and the `status` that matters most: `"failed"`, `"ready"` (or in flight), `"waiting"`, `"done"`, `"idle"`.
    """
    pending = status.work(workflow, input) if state else {}
    with workflow.inspect() as (memory, _):
        program = memory.program
        components = [_component(program, lowered) for lowered in program.components.values()]
        edges = [edge for name in program.components for edge in _edges(program, name)]
        if state:
            roots = list(roots_of(memory, input, results_only=input is None))
            _add_state(memory, components, pending, roots)
    return {"name": workflow.name, "components": components, "edges": edges}


def _component(program: Program, lowered: Lowered) -> ComponentEntry:
    around = [program.nodes[index] for index in program.output_of(lowered.name).place]
    parents = [program.by_key[key].component for key, _ in lowered.wiring.sources]
    return {
        "name": lowered.name,
        "kind": lowered.kind,
        "inside": [
            opener.component
            for opener in around
            if opener is not None
            and opener.kind == kinds.ITEMS
            and opener.component != lowered.name
        ],
        "parents": list(dict.fromkeys(parents)),
        "is_output": program.is_output(lowered.name),
        "prefix": lowered.prefix,
    }


def _edges(program: Program, name: str) -> Iterator[EdgeEntry]:
    """The edges into one component, each once."""
    found: dict[tuple[str, str], None] = {}
    nodes = [program.by_key[spec.shape.key] for spec in program.components[name].specs]
    for node in nodes:
        for parent, port in node.sources:
            if parent.component != name:
                found[parent.component, port] = None
    for node in nodes:
        for asked in conditions_in(node.shape.expression):
            if asked in program.components and asked != name:
                found[asked, CONDITION] = None
        for marker in markers_of(node.code):
            if marker.kind in READS_HISTORY and marker.name in program.components:
                found[marker.name, STATE] = None
    for source, kind in found:
        yield {"source": source, "target": name, "kind": kind}


# -------------------------------------------------------------------------------------- how far it has come


def _add_state(
    memory: Memory,
    components: list[ComponentEntry],
    pending: dict[str, dict[str, int]],
    roots: list[Root],
) -> None:
    counted: dict[str, dict[str, int]] = {}
    for name, work in pending.items():
        waiting = work["waiting"] + work["queued"]
        active = {"ready": work["ready"], "in_flight": work["in_flight"], "waiting": waiting}
        counted[name] = {**dict.fromkeys(COUNTS, 0), **active}
    for failure in failing.listed(memory, roots):
        if failure.component in counted:
            counted[failure.component]["failed"] += 1
    came_of = {one for event in events_of(roots) for one in _came_of(memory.program, event)}
    for name, what, _ in came_of:
        counted[name][what] += 1
    for entry in components:
        entry["counts"] = counted[entry["name"]]
        entry["status"] = _status(counted[entry["name"]])


def _came_of(program: Program, event: Any) -> Iterator[tuple[str, str, Path]]:
    """The components that an event says are done or skipped, and the scope (a backfill plans a fact twice)."""
    if isinstance(event, Planned):
        for gate in _gates_passed(program, event):
            if gate.part is None:
                yield gate.component, "done", event.scope
    elif isinstance(event, Applied) and event.node in program.components:
        yield event.node, "done", event.scope
    elif isinstance(event, Skipped) and event.error is None and event.node in program.components:
        yield event.node, "skipped", event.scope


def _gates_passed(program: Program, event: Planned) -> list[Node]:
    """The gates that let a planned fact through, each after those above it."""
    held, failed = set(event.held), dict(event.failed)
    node = program.by_key.get(event.node)
    passed: list[Node] = []
    above = [] if node is None else [node]
    for gate in above:
        for watcher in gate.watchers:
            expression = watcher.shape.expression
            if watcher.kind != kinds.GATE or watcher.key in failed:
                continue
            if expression is None or holds(expression, held):
                passed.append(watcher)
                above.append(watcher)
    return passed


def _status(counts: dict[str, int]) -> str:
    if counts["failed"]:
        return "failed"
    if counts["ready"] or counts["in_flight"]:
        return "ready"
    if counts["waiting"]:
        return "waiting"
    return "done" if counts["done"] else "idle"


# ---------------------------------------------------------------------------------------- what happened


class Message(TypedDict):
    """One thing that happened between components.

    `kind`: `"value"` and `"error"` were given by `source` to `target`; `"result"` is the value of an output;
    `"retried"`, `"failed"` and `"skipped"` happened to `source` (which is the target too). `value` is the user's
    value, or the error as text.
    """

    kind: str
    source: str
    target: str
    value: Any


def messages(workflow: Workflow, input: Any = None) -> list[Message]:
    """Who gave what to whom, in log order: for one input; or for all if little has happened, else the last."""
    with workflow.inspect() as (memory, _):
        roots = [root for root in roots_of(memory, input) if not root.folded]
        events = events_of(roots)
        if input is None and len(events) > FEW_EVENTS:
            events = events_of(roots[-1:])
        story = _Story(memory)
        return [message for event in events for message in story.tell(event)]


class _Story:
    """The log being told as messages; what a component was given is told once, also if it took it in parts."""

    def __init__(self, memory: Memory) -> None:
        self.program = memory.program
        self.reader = FactReader(memory)
        self.told: set[tuple[Any, str]] = set()
        self.values: dict[tuple[str, Path], Any] = {}
        """By node and scope: what conditions may be asked about."""

    def tell(self, event: Any) -> Iterator[Message]:
        """The messages that one event stands for."""
        if isinstance(event, Planned):
            yield from self._planned(event)
        elif isinstance(event, InputAccepted):
            self.values[INPUT_KEY, event.scope] = event.value
        elif isinstance(event, (Applied, Expanded, Failed, Skipped, AttemptFailed)):
            component, _ = self.reader.split(event.node)
            for position in getattr(event, "sources", ()):
                yield from self._given(component, position, event)
            yield from self._ended(component, event)

    def _given(self, target: str, position: int, event: Any) -> Iterator[Message]:
        source = self.reader.event_at(position)
        if source is None or (position, target) in self.told:
            return
        giver = self._giver(target, event.node, source)
        if giver == target:
            return
        self.told.add((position, target))
        if isinstance(source, (Applied, InputAccepted)):
            yield _message("value", giver, target, source.value)
        elif not isinstance(source, Expanded):
            error = source.failed[0][1] if isinstance(source, Planned) else source.error
            yield _message("error", giver, target, str(error))

    def _giver(self, target: str, key: str, source: Any) -> str:
        """The component that a value came through last: gates and checks pass on what is not their own."""
        node = self.program.by_key.get(key)
        origin = INPUT_KEY if isinstance(source, InputAccepted) else source.node
        for parent, port in () if node is None else node.sources:
            if isinstance(source, Planned) and port == kinds.ERROR:
                return parent.component
            giver, above = target, parent
            while True:
                giver = above.component if giver == target else giver
                if above.key == origin:
                    return giver
                if above.kind not in PASSING or not above.sources:
                    break
                above = above.sources[0][0]
        return self.reader.split(origin)[0]

    def _planned(self, event: Planned) -> Iterator[Message]:
        fact = (event.node, event.scope)
        for gate in _gates_passed(self.program, event):
            giver, target = gate.sources[0][0].component, gate.component
            if gate.part is None and giver != target and (fact, target) not in self.told:
                self.told.add((fact, target))
                yield _message("value", giver, target, self.values.get(fact))
        for key, error in event.failed:
            component, _ = self.reader.split(key)
            yield _message("failed", component, component, str(error))

    def _ended(self, component: str, event: Any) -> Iterator[Message]:
        if isinstance(event, Applied):
            self.values[event.node, event.scope] = event.value
            if event.node in self.program.components and self.program.is_output(event.node):
                yield _message("result", component, INPUT_KEY, event.value)
        elif not isinstance(event, Expanded):
            kind = "retried" if isinstance(event, AttemptFailed) else "failed"
            error = None if event.error is None else str(event.error)
            yield _message("skipped" if error is None else kind, component, component, error)


def _message(kind: str, source: str, target: str, value: Any) -> Message:
    return {"kind": kind, "source": source, "target": target, "value": value}
