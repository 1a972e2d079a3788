"""What differs between the graph that a log recorded and the definition of today, component by component."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct, json, structs

from treadle.engine.edit import is_busy
from treadle.engine.memory import Memory
from treadle.engine.rerun import component_of
from treadle.errors import LogError
from treadle.model import nodes as kinds
from treadle.model.definition import shape_of
from treadle.model.events import (
    Baseline,
    ComponentAdded,
    ComponentRemoved,
    ComponentReplaced,
    Defined,
    Event,
    Planned,
)
from treadle.model.fingerprints import scheme_of
from treadle.model.nodes import ComponentShape, Lowered
from treadle.model.program import Node
from treadle.upgrade import rules
from treadle.value import Workflow

Change: TypeAlias = Literal["same", "code_changed", "shape_changed", "missing", "new"]

CHANGES: Final = ("same", "code_changed", "shape_changed", "missing", "new")


class Difference(Struct, frozen=True):
    """How one component of the log stands to the definition of today.

    `change`: `"same"`, `"code_changed"` (another fingerprint), `"shape_changed"` (other nodes, ports or parents),
    `"missing"` (in the log alone) or `"new"` (in the definition alone). `used`: it gave facts, holds state, or was
    asked. `pending`: work of it is ready, waits for more, or is still to be planned. `has_code`: the code that the
    log names is at hand. `first` is the first event that it has a part in, as far as the log goes back. `detail` says
    in words what differs.
    """

    component: str
    kind: str
    change: Change
    recorded: str = ""
    today: str = ""
    used: bool = False
    pending: bool = False
    has_code: bool = False
    has_state: bool = False
    first: int | None = None
    detail: str = ""

    @property
    def is_same(self) -> bool:
        """Nothing is to be decided about it."""
        return self.change == "same"

    def would(self, policy: str) -> str:
        """What a policy would do, in words."""
        return _WORDS[policy](self)

    def __str__(self) -> str:
        state = [word for word, holds in (("used", self.used), ("pending", self.pending)) if holds]
        told = f" ({', '.join(state)})" if state else ""
        return f"{self.component!r}{told}: {self.detail}"


def compare(
    definition: Workflow,
    events: Iterable[Event],
    *,
    earlier: Iterable[Workflow] = (),
    components: Mapping[str, Any] | None = None,
) -> list[Difference]:
    """How each component of a log stands to the definition of today: those of the log first, in its order.

    `earlier`: definitions as they once were. `components`: what was given to this run alone, by name; a
    component whose code is among them is the same.

    Errors: `LogError` if the log is damaged or of another workflow.
    """
    logged = list(events)
    if not logged:
        return [_same(lowered) for lowered in definition.lowered()]
    run = recorded_run(definition, logged, earlier, components)
    return compare_run(definition, logged, run, components)


def recorded_run(
    definition: Workflow,
    events: list[Event],
    earlier: Iterable[Workflow],
    components: Mapping[str, Any] | None,
) -> Workflow:
    """The run as its log tells it, with no code but that which the log names."""
    return Workflow.from_log(definition, events, components=components, earlier=earlier, exact=True)


def compare_run(
    definition: Workflow,
    events: list[Event],
    run: Workflow,
    components: Mapping[str, Any] | None,
) -> list[Difference]:
    """`compare`, where the log is folded already."""
    recorded = recorded_shapes(events)
    at_hand = {lowered.name: lowered for lowered in run.lowered()}
    today = {lowered.name: lowered for lowered in definition.lowered()}
    use = Use(events, run)
    own = components or {}
    known = {shape.name: shape for shape in definition.definition.defined(None).components}
    found = []
    for name, shape in recorded.items():
        now = known.get(name)
        if now is not None and scheme_of(now.fingerprint) != scheme_of(shape.fingerprint):
            now = shape_of(today[name], shape.fingerprint)
        found.append(_difference(shape, at_hand[name], now, use, is_own=name in own))
    rewired = before_rewiring(events)
    found = [
        structs.replace(each, change="same", detail="")
        if each.change == "shape_changed" and _is_own_wiring(each, rewired, today)
        else each
        for each in found
    ]
    gone = {event.name for event in events if isinstance(event, ComponentRemoved)}
    found.extend(
        _new(lowered)
        for name, lowered in today.items()
        if name not in recorded and name not in gone
    )
    return found


def recorded_shapes(events: list[Event]) -> dict[str, ComponentShape]:
    """The graph at the end of a log, by component, with the fingerprints that it recorded."""
    head: Any = events[0]
    if not isinstance(head, (Defined, Baseline)):
        raise LogError(f"a log begins with Defined or Baseline, not with {type(head).__name__}.")
    defined = head.defined if isinstance(head, Baseline) else head
    shapes = {shape.name: shape for shape in defined.components}
    for event in events:
        if isinstance(event, (ComponentAdded, ComponentReplaced)):
            shapes[event.component.name] = event.component
        elif isinstance(event, ComponentRemoved):
            shapes.pop(event.name, None)
            shapes.update((shape.name, shape) for shape in event.rewired)
    return shapes


def before_rewiring(events: list[Event]) -> dict[str, ComponentShape]:
    """The components that a removal wired anew, as they were before the first of these."""
    shapes = recorded_shapes(events[:1])
    found: dict[str, ComponentShape] = {}
    for event in events:
        if isinstance(event, (ComponentAdded, ComponentReplaced)):
            shapes[event.component.name] = event.component
            found.pop(event.component.name, None)
        elif isinstance(event, ComponentRemoved):
            for shape in event.rewired:
                found.setdefault(shape.name, shapes.get(shape.name, shape))
    return found


def _is_own_wiring(
    difference: Difference, rewired: Mapping[str, ComponentShape], today: Mapping[str, Lowered]
) -> bool:
    """Whether the run alone removed something above a component, and the definition stayed what it was."""
    before = rewired.get(difference.component)
    if before is None:
        return False
    now = shape_of(today[difference.component], difference.recorded)
    return _form(before) == _form(now) and difference.recorded == now.fingerprint


class Use:
    """Which components of a run were used, and which have something pending."""

    def __init__(self, events: list[Event], run: Workflow) -> None:
        self.facts: dict[str, int] = {}
        """Components that an event names, with the first that does."""
        self.planned: dict[str, int] = {}
        """Nodes whose facts were planned, with the first event that says so."""
        for event in events:
            node = getattr(event, "node", None)
            if node is None:
                continue
            if isinstance(event, Planned):
                self.planned.setdefault(node, event.position)
            self.facts.setdefault(component_of(node), event.position)
        head = events[0]
        self.unknown: set[str] = set()
        """A baseline tells of no facts that were forgotten, so any of its components may have been used."""
        if isinstance(head, Baseline) and head.state["next_number"]:
            self.unknown = {shape.name for shape in head.defined.components}
        self.watched: dict[str, set[str]] = {}
        """By component: the nodes whose facts its conditions and key functions are asked about."""
        self.busy: set[str] = set()
        self.states: set[str] = set()
        with run.inspect() as (memory, _):
            for lowered in memory.program.components.values():
                self._look(memory, lowered)

    def _look(self, memory: Memory, lowered: Lowered) -> None:
        nodes = [memory.program.by_key[spec.shape.key] for spec in lowered.specs]
        indices = {node.index for node in nodes}
        watched = {
            origin
            for node in nodes
            if node.kind == kinds.GATE or node.shape.keyed
            for parent, _ in node.sources
            for origin in (parent, *gates_above(parent))
        }
        if is_busy(memory, indices, watched):
            self.busy.add(lowered.name)
        self.watched[lowered.name] = {node.key for node in watched}
        cells = [cell for index in indices for cell in memory.cells.get(index, {}).values()]
        if any(cell.started for cell in cells):
            self.states.add(lowered.name)

    def is_used(self, name: str) -> bool:
        """Whether it gave facts, holds state, or was asked."""
        is_known = name in self.facts or name in self.states or name in self.unknown
        return is_known or not self.watched[name].isdisjoint(self.planned)

    def first(self, name: str) -> int | None:
        """The first event that it gave, or that says what it was asked; None where the log tells of none."""
        found = [self.planned[key] for key in self.watched[name] if key in self.planned]
        if name in self.facts:
            found.append(self.facts[name])
        return min(found, default=None)


def gates_above(node: Node) -> list[Node]:
    """What lies above a gate: facts pass through gates unchanged, so those below are asked about the same."""
    found = []
    while node.kind == kinds.GATE and node.sources:
        node = node.sources[0][0]
        found.append(node)
    return found


def _same(lowered: Lowered) -> Difference:
    digest = shape_of(lowered).fingerprint
    return Difference(lowered.name, lowered.kind, "same", digest, digest, has_code=True)


def _new(lowered: Lowered) -> Difference:
    digest = shape_of(lowered).fingerprint
    return Difference(
        lowered.name,
        lowered.kind,
        "new",
        today=digest,
        detail="the definition has it, and the run was begun without it",
    )


def _difference(
    shape: ComponentShape, at_hand: Lowered, now: ComponentShape | None, use: Use, *, is_own: bool
) -> Difference:
    """`now`: its shape of today, if there is one."""
    digest = "" if now is None else now.fingerprint
    has_code = at_hand.component is not None
    if is_own and has_code:  # it was added to this run, or replaced in it, and is here
        change: Change = "same"
    elif now is None:
        change = "missing"
    else:
        change = _change(shape, now)
    detail = "" if change == "same" else _detail(shape, now)
    return Difference(
        shape.name,
        shape.kind,
        change,
        shape.fingerprint,
        digest,
        used=use.is_used(shape.name),
        pending=shape.name in use.busy,
        has_code=has_code,
        has_state=shape.name in use.states,
        first=use.first(shape.name),
        detail=detail,
    )


def _change(old: ComponentShape, new: ComponentShape) -> Change:
    if _form(old) != _form(new):
        return "shape_changed"
    if old.fingerprint != new.fingerprint or not old.fingerprint:
        return "code_changed"
    return "same"


def _form(shape: ComponentShape) -> tuple[Any, ...]:
    """A shape without the fingerprint; a log that was read back may have lists where there were tuples."""
    wiring = (shape.name, shape.kind, shape.sources, shape.join, shape.correlate, shape.prefix)
    return (*wiring, shape.output, shape.nodes)


def _detail(old: ComponentShape, new: ComponentShape | None) -> str:
    if new is None:
        return "the run has it, and the definition has it no more"
    if old.kind != new.kind:
        return f"it was a {old.kind}, and is a {new.kind}"
    if old.sources != new.sources:
        return f"it took from {_told(old.sources)}, and takes from {_told(new.sources)}"
    if (old.join, old.correlate) != (new.join, new.correlate):
        return f"it joined its parents by {_joined(old)}, and joins them by {_joined(new)}"
    if _form(old) != _form(new):
        return _parts(old, new)
    if not old.fingerprint:
        return "the log does not say which code it had"
    return f"its code was {old.fingerprint}, and is {new.fingerprint}"


def _parts(old: ComponentShape, new: ComponentShape) -> str:
    """Which options of its nodes are others, as far as that can be said."""
    today = {node.key: node for node in new.nodes}
    options = {
        name: None
        for node in old.nodes
        if node.key in today
        for name in structs.asdict(node)
        if json.encode(getattr(node, name)) != json.encode(getattr(today[node.key], name))
    }
    if not options or today.keys() != {node.key for node in old.nodes}:
        return "it is made of other parts"
    return f"its {', '.join(options)} {'is another' if len(options) == 1 else 'are others'}"


def _told(sources: tuple[kinds.Source, ...]) -> str:
    return ", ".join(
        repr(key) if port == kinds.VALUE else f"the failures of {key!r}" for key, port in sources
    )


def _joined(shape: ComponentShape) -> str:
    return repr(shape.join) if shape.correlate is None else f"correlate={shape.correlate!r}"


def _refused(difference: Difference) -> str:
    return "nothing changed" if difference.is_same else "the run is not continued"


def _kept(difference: Difference) -> str:
    if difference.is_same:
        return "nothing changed"
    if difference.change == "new":
        return "the run goes on without it"
    if difference.has_code:
        return "the run goes on with the code it has"
    return (
        f"the run waits for a runner that has its code, {difference.recorded or 'which is unknown'}"
    )


def _adopted(difference: Difference) -> str:
    if difference.is_same:
        return "nothing changed"
    if difference.change == "new":
        return "it is added, and sees what is applied from then on"
    if difference.change == "missing":
        work = ", what it has pending is dropped" if difference.pending else ""
        state = ", its state is dropped" if difference.has_state else ""
        return f"it is removed where its children fit its parents{work}{state}; its facts stay"
    if difference.change == "shape_changed" and (difference.pending or difference.has_state):
        holds = "work is pending" if difference.pending else "it holds state"
        return f"it is replaced only if it takes work in the same way as before, since {holds}"
    to_do = "what is pending and what comes is" if difference.pending else "what comes is"
    stays = ["its facts"] if difference.used else []
    stays += ["its state"] if difference.has_state else []
    told = f"; {' and '.join(stays)} stay" if stays else ""
    return f"{to_do} done by the new code{told}"


def _recomputed(difference: Difference) -> str:
    if difference.is_same:
        return "nothing changed"
    if difference.change == "missing":
        return "a fork goes on without it and what it gave; what was below it is computed again"
    if difference.change == "new":
        return "it is added, and fed the facts that there are"
    if not difference.used:
        return _adopted(difference)
    return "a fork computes what it and all below it gave again, with the new code"


_WORDS = {
    rules.REFUSE: _refused,
    rules.KEEP: _kept,
    rules.ADOPT: _adopted,
    rules.RECOMPUTE: _recomputed,
}
