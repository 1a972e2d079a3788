"""The graph, compiled: integer-indexed nodes that all runs of a definition share.

A program grows in place, by one component at a time, until a run starts from it; from then on it is sealed,
and whoever wants to change the graph compiles a program of their own from the same components. Nodes are
never re-numbered: what is removed leaves its place empty, so indices mean the same in the program of a run
before and after an edit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from treadle.errors import DuplicateName, TreadleBug
from treadle.model import nodes as kinds
from treadle.model import placing
from treadle.model.nodes import Atom, Lowered, NodeCode, NodeShape, NodeSpec
from treadle.model.sentinels import INPUT_KEY

DIRECT: Final = "direct"
"""One parent, same place: ready as soon as that parent gave."""
ALL: Final = "all"
RACE: Final = "race"
"""`any` and k-of-n joins."""
SETTLED: Final = "settled"
CORRELATE: Final = "correlate"
GROUP: Final = "group"
"""A reduce that closes a fan-out."""
STATE: Final = "state"
GATE: Final = "gate"
WAIT: Final = "wait"
"""A wait or a sleep: what arrives is work for planning, and never ready."""


NO_EDGES: Final[list[Any]] = []
NO_NODES: Final[list[Any]] = []
"""What most nodes have of error handlers and watchers: shared by all of them, and never appended to."""


class Node:
    """One compiled node. `place` is the stack of openers (fan-outs, correlated joins) above its work."""

    __slots__ = (
        "arrival",
        "bare",
        "call",
        "children",
        "closes",
        "code",
        "component",
        "depth",
        "error_children",
        "generation",
        "index",
        "inner",
        "is_async",
        "is_barrier",
        "key",
        "kind",
        "near",
        "part",
        "place",
        "plans",
        "quick",
        "shape",
        "sources",
        "timeout_children",
        "tracked",
        "tracks_all",
        "watchers",
        "width",
    )

    def __init__(self, index: int, spec: NodeSpec, component: str) -> None:
        shape = spec.shape
        self.index = index
        self.key = shape.key
        self.component = component
        self.part: str | None = shape.key[len(component) + 1 :] or None
        self.kind = shape.kind
        self.generation = 0
        self.sources: list[tuple[Node, str]] = []
        self.children: list[tuple[Node, int]] = []
        self.error_children: list[tuple[Node, int]] = NO_EDGES
        self.timeout_children: list[tuple[Node, int]] = NO_EDGES
        self.watchers: list[Node] = NO_NODES
        """Gates and keyed children: what must be planned when this node gives a fact."""
        self.tracked = False
        """Some injection marker asks for this component's values; `tracks_all`: for all of them."""
        self.tracks_all = False
        self.near: tuple[Node, ...] = ()
        """The barriers that can be reached from here without passing another barrier."""
        self.closes: Node | None = None
        self.place: tuple[int, ...] = ()
        self.inner: tuple[int, ...] = ()
        """The place of what this node gives: its own, or one deeper for a fan-out."""
        self.depth = 0
        self.width = 1
        self.plans = False
        self.arrival = DIRECT
        self.is_barrier = False
        self.take(shape, spec.code)

    def take(self, shape: NodeShape, code: NodeCode) -> None:
        """Take on (new) code; the wiring is the program's business."""
        self.shape = shape
        self.code = code
        self.call = code.call
        self.is_async = code.is_async
        self.bare = (
            shape.kind in (kinds.STEP, kinds.REDUCE) and not code.injected and code.call is not None
        )
        """Nothing is to be looked up before the function can be called."""
        self.quick = self.bare and not code.is_async
        """Nor is anything to be awaited then."""

    def settle(self) -> None:
        """Derive from the wiring how facts arrive here."""
        self.width = len(self.sources)
        self.arrival = _arrival(self)
        self.is_barrier = self.arrival in (RACE, SETTLED, GROUP)
        self.depth = len(self.place)

    def __repr__(self) -> str:
        return f"<Node {self.index} {self.key!r}>"


def _arrival(node: Node) -> str:
    if node.kind == kinds.GATE:
        return GATE
    if node.kind == kinds.STATE:
        return STATE
    if node.kind in (kinds.WAIT, kinds.SLEEP):
        return WAIT
    if node.closes is not None:
        return GROUP
    if node.shape.correlate is not None:
        return CORRELATE
    if node.shape.join == "settled":
        return SETTLED
    if node.shape.join != "all":
        return RACE
    return ALL if node.width > 1 else DIRECT


def _insert(edges: list[tuple[Node, int]], node: Node, port: int) -> None:
    """Keep edges in the order of their nodes, which is the order in which work becomes ready."""
    edges.append((node, port))
    if len(edges) > 1 and edges[-2][0].index > node.index:
        edges.sort(key=lambda edge: edge[0].index)


class Program:
    """Nodes by index, names by component, conditions by name."""

    __slots__ = (
        "_outputs",
        "broadcast_joins",
        "by_key",
        "can_starve",
        "closers",
        "components",
        "conditions",
        "has_barriers",
        "near_is_stale",
        "nodes",
        "receivers",
        "retired",
        "sealed",
        "stopwatch",
        "watches",
    )

    def __init__(self) -> None:
        self.nodes: list[Node | None] = []
        self.by_key: dict[str, Node] = {}
        self.components: dict[str, Lowered] = {}
        self.conditions: dict[str, Atom] = {}
        self.has_barriers = False
        self.can_starve = False
        """Some join may be left half full."""
        self.near_is_stale = False
        self.sealed = False
        """Some run uses this program: whoever wants to change it makes one of their own."""
        self.retired: dict[str, int] = {}
        """The generation that a node would have if one of its key came back after it was removed."""
        self.closers: dict[int, list[Node]] = {}
        self.receivers: dict[int, list[Node]] = {}
        self.broadcast_joins: dict[int, list[Node]] = {}
        self.watches: dict[int, Any] = {}
        """What the engine derived from the wiring, by node; dropped when the wiring changes."""
        self.stopwatch: Any = None
        """Times conditions and key functions (`engine.plan.Stopwatch`), once planning has been found to be slow."""
        self._outputs: list[str] | None = None
        root = NodeSpec(NodeShape(INPUT_KEY, kinds.INPUT, ()), kinds.NO_CODE)
        self._append(root, INPUT_KEY)

    @property
    def input(self) -> Node:
        """The node that every root hangs on."""
        node = self.nodes[0]
        if node is None:
            raise TreadleBug("a program lost its input node.")
        return node

    def add(self, lowered: Lowered) -> list[Node]:
        """Add a lowered component; raises `DefinitionError` and changes nothing if it does not fit."""
        if lowered.name in self.components:
            raise DuplicateName(
                f"a component named {lowered.name!r} is already in this workflow.",
                hint="give the new one a `name=` of its own, or use `replace` to change the old one.",
            )
        placed = placing.place(self, lowered)
        added = [self._append(spec, lowered.name) for spec in lowered.specs]
        for node, spot in zip(added, placed, strict=True):
            self._wire(node, spot)
        self.components[lowered.name] = lowered
        self._register(lowered, added)
        return added

    def _append(self, spec: NodeSpec, component: str) -> Node:
        node = Node(len(self.nodes), spec, component)
        node.generation = self.retired.get(node.key, 0)
        self.nodes.append(node)
        self.by_key[node.key] = node
        return node

    def _wire(self, node: Node, spot: placing.Spot) -> None:
        """Connect a node to its parents, at the place that was found for it."""
        node.sources = [(self.by_key[key], port) for key, port in node.shape.sources]
        node.closes = None if spot.closes is None else self.by_key[spot.closes]
        node.place = tuple(self.by_key[key].index for key in spot.place)
        opens = node.kind == kinds.ITEMS
        node.inner = (*node.place, node.index) if opens else node.place
        node.settle()
        for port, (parent, gives) in enumerate(node.sources):
            if gives == kinds.ERROR:
                parent.error_children = [*parent.error_children]
                _insert(parent.error_children, node, port)
            elif gives == kinds.TIMEOUT:
                parent.timeout_children = [*parent.timeout_children]
                _insert(parent.timeout_children, node, port)
            elif node.kind == kinds.GATE or node.shape.keyed:
                if parent.watchers is NO_NODES:
                    parent.watchers = []
                parent.watchers.append(node)
                parent.plans = True
            else:
                _insert(parent.children, node, port)
        if node.arrival in (ALL, RACE):
            self.can_starve = True
        if node.is_barrier or self.has_barriers:
            self.has_barriers = self.near_is_stale = True

        self._forget_derived()

    def _forget_derived(self) -> None:
        self._outputs = None
        if self.closers or self.receivers or self.watches or self.broadcast_joins:
            self.closers, self.receivers, self.watches, self.broadcast_joins = {}, {}, {}, {}

    def _register(self, lowered: Lowered, added: Iterable[Node]) -> None:
        """Note named conditions and the components whose history some marker reads."""
        if lowered.kind == "condition":
            for spec in lowered.specs:
                for atom in spec.code.atoms:
                    self.conditions[atom.key] = atom
        for node in added:
            for marker in placing.markers_of(node.code):
                target = self.components.get(marker.name)
                if marker.kind in ("latest", "all_values", "count", "ran") and target is not None:
                    output = self.by_key[target.output]
                    output.tracked = True
                    output.tracks_all = output.tracks_all or marker.kind == "all_values"

    def settle(self) -> None:
        """Bring the derived barrier lists up to date; called before anything runs."""
        if self.near_is_stale:
            placing.find_near_barriers([node for node in self.nodes if node is not None])
            self.near_is_stale = False

    def replace(self, lowered: Lowered) -> list[Node]:
        """Put a component in the place of the one of its name; its nodes become a new generation."""
        placing.check_replacement(self, self.components[lowered.name], lowered)
        changed = self._exchange(lowered)
        for node in changed:
            node.generation += 1
        return changed

    def _exchange(self, lowered: Lowered) -> list[Node]:
        """New nodes for a component: those of the same key keep their index, others come and go."""
        old = self.components[lowered.name]
        kept = {spec.shape.key for spec in lowered.specs}
        for spec in old.specs:
            self._unwire(self.by_key[spec.shape.key])
        for spec in old.specs:
            if spec.shape.key not in kept:
                self._drop(self.by_key[spec.shape.key])
        placed = placing.place(self, lowered, replacing=True)
        changed: list[Node] = []
        for spec in lowered.specs:
            node = self.by_key.get(spec.shape.key)
            if node is None:
                node = self._append(spec, lowered.name)
            else:
                node.kind = spec.shape.kind
                node.take(spec.shape, spec.code)
            changed.append(node)
        for node, spot in zip(changed, placed, strict=True):
            self._wire(node, spot)
        for spec in old.specs:
            for atom in spec.code.atoms if old.kind == "condition" else ():
                self.conditions.pop(atom.key, None)
        self.components[lowered.name] = lowered
        self._register(lowered, changed)
        self.near_is_stale = self.has_barriers
        return changed

    def remove(self, name: str, rewired: Iterable[Lowered]) -> None:
        """Take a component out, after its children were lowered anew onto its parents."""
        old = self.components[name]
        for lowered in rewired:
            self._exchange(lowered)
        gone = [self.by_key[spec.shape.key] for spec in old.specs]
        for node in gone:
            self._unwire(node)
            self._drop(node)
        del self.components[name]
        self._outputs = None
        self.conditions.pop(name, None)
        self.near_is_stale = self.has_barriers

    def _unwire(self, node: Node) -> None:
        for parent, _ in node.sources:
            parent.children = [edge for edge in parent.children if edge[0] is not node]
            parent.error_children = [edge for edge in parent.error_children if edge[0] is not node]
            if parent.timeout_children:
                edges = [edge for edge in parent.timeout_children if edge[0] is not node]
                parent.timeout_children = edges
            parent.watchers = [watcher for watcher in parent.watchers if watcher is not node]
            parent.plans = bool(parent.watchers)
        node.sources = []
        self._forget_derived()

    def _drop(self, node: Node) -> None:
        self.nodes[node.index] = None
        self.retired[node.key] = node.generation + 1
        del self.by_key[node.key]

    def output_of(self, name: str) -> Node:
        """The node whose facts are the component's own."""
        return self.by_key[self.components[name].output]

    def is_output(self, name: str) -> bool:
        """Whether nothing takes this component's value (handlers on its error port do not count)."""
        return not self.outgoing(self.output_of(name))

    def outputs(self) -> list[str]:
        """The components whose value nothing takes, in the order of adding."""
        if self._outputs is None:
            self._outputs = [name for name in self.components if self.is_output(name)]
        return self._outputs

    def outgoing(self, node: Node) -> list[Node]:
        """All nodes that take this node's value."""
        return [child for child, _ in node.children] + node.watchers


def compile_program(components: Iterable[Lowered]) -> Program:
    """A fresh program of these components, in this order."""
    program = Program()
    for lowered in components:
        program.add(lowered)
    return program
