"""Hypothesis strategies for valid graphs of interesting shapes, their inputs, and orders.

A graph is grown by moves. Each move adds one shape (a diamond, a fan-out with a broadcast into it,
a failing branch beside a settled join, ...) somewhere below what is there. Unlike nodes picked at
random, shapes meet the rules of the contract that matter. A move does nothing where the graph is
full, or where one of its kinds, joins or policies is not wanted.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.oracle.graph import (
    INPUT,
    KINDS,
    MISSING,
    Behaviour,
    Graph,
    Node,
    When,
    faults,
    origin,
    places,
)
from tests.oracle.orders import Order

JOINS = ("all", "settled", "any", "k", "latest", "arrival")
ON_FAILURE = ("block", "skip", "halt")

# What makes a graph whose every order gives the same result (S10); halting is a race by nature.
CONFLUENT: dict[str, Any] = {
    "kinds": tuple(kind for kind in KINDS if kind != "accumulator"),
    "joins": ("all", "settled"),
    "on_failure": ("block", "skip"),
}

DEEPEST = 2  # fan-outs inside one another: more only makes runs long


@dataclass
class Bench:
    """A graph in the making, and what it may be made of."""

    draw: Any
    max_nodes: int
    kinds: tuple[str, ...]
    joins: tuple[str, ...]
    on_failure: tuple[str, ...]
    nodes: list[Node] = field(default_factory=list)

    def room(self, count: int, *kinds: str, joins: Iterable[str] = ()) -> bool:
        """Whether there is room for so many nodes, of kinds and joins that are wanted."""
        return (
            len(self.nodes) + count <= self.max_nodes
            and all(kind in self.kinds for kind in kinds)
            and all(join in self.joins for join in joins)
        )

    def one(self, *choices: Any) -> Any:
        """One of these, drawn; the first is the simplest."""
        return self.draw(st.sampled_from(choices))

    def place(self, parent: str) -> tuple[str, ...]:
        """The place of a parent that is there."""
        return places(Graph(tuple(self.nodes)))[origin(parent)]

    def parent(self, at: tuple[str, ...] | None = None) -> str:
        """Something to build on, drawn; the newest first, or shapes would seldom meet."""
        names = [node.name for node in reversed(self.nodes)] + [INPUT]
        fits = [name for name in names if at is None or self.place(name) == at]
        return self.one(*fits)

    def outer(self, inner: str) -> list[str]:
        """All that may be joined with this parent: what lies at its place or further out."""
        here = self.place(inner)
        names = [INPUT, *(node.name for node in self.nodes)]
        return [
            name
            for name in names
            if name != inner and here[: len(self.place(name))] == self.place(name)
        ]

    def add(self, kind: str, *to: str, **more: Any) -> str:
        """Adds a node and gives its name."""
        more["behaviour"] = more.get("behaviour") or self.behaviour(kind)
        if kind == "accumulator" or (
            kind == "reduce" and "initial" not in more and self.one(True, False)
        ):
            more["initial"] = ("initial", f"n{len(self.nodes)}")
        if kind in ("reduce", "collect"):
            more.setdefault("on_item_failure", self.one("fail", "skip", "collect"))
        if kind == "step":
            more.setdefault("on_failure", self.one("block", "block", "block", *self.on_failure))
        name = f"n{len(self.nodes)}"
        self.nodes.append(Node(name, kind, to, **more))
        return name

    def sometimes(self) -> When:
        """When something bad happens: mostly never."""
        return self.one(*["never"] * 12, 3, 2)

    def often(self) -> When:
        """When something that this shape is about happens."""
        return self.one("always", 2, 2, 3)

    def behaviour(self, kind: str, **fixed: Any) -> Behaviour:
        """What a node of the kind does, with some of it fixed by its shape."""
        drawn: dict[str, Any] = {"seed": self.draw(st.integers(0, 7)), "raises": self.sometimes()}
        if kind in ("step", "map", "rule"):
            drawn["skips"] = self.sometimes()
            drawn["give"] = self.one("tell", "tell", "tell", "list", "none", "mixed")
        if kind in ("condition", "rule"):
            drawn["holds"] = self.one(2, "always", 3)
            drawn["check_raises"] = self.sometimes()
        if kind == "accumulator":
            drawn["keys"] = self.one(0, 0, 2, 3)
        return Behaviour(**{**drawn, **fixed})

    def join(self, *wanted: str, ports: int = 2) -> dict[str, Any]:
        """The wiring of a join of so many parents, drawn from the wanted ones that are allowed."""
        allowed = [join for join in wanted if join in self.joins] or ["all"]
        join = self.one(*allowed)
        if join in ("latest", "arrival"):
            return {"correlate": join}
        return {"join": self.draw(st.integers(1, ports)) if join == "k" else join}

    def joined(self, *to: str, wanted: tuple[str, ...] = ("all", "settled", "any", "k")) -> str:
        """A step that joins these."""
        wiring = self.join(*wanted, ports=len(to))
        fixed = {"ports": self.one(None, None, "*")} if wiring.get("join") != "any" else {}
        return self.add("step", *to, **wiring, behaviour=self.behaviour("step", **fixed))


# --- the moves ------------------------------------------------------------------------------


def single(bench: Bench) -> None:
    """A step, condition or rule below anything."""
    kinds = [kind for kind in ("step", "rule", "condition") if kind in bench.kinds]
    if kinds and bench.room(1):
        bench.add(bench.one(*kinds), bench.parent())


def any_join(bench: Bench) -> None:
    """Two or three parents of one lineage, inner and outer ones mixed."""
    inner = bench.parent()
    others = bench.outer(inner)
    if others and bench.room(1, "step"):
        chosen = bench.draw(st.lists(st.sampled_from(others), min_size=1, max_size=2, unique=True))
        if "rule" in bench.kinds and bench.one(False, False, True):
            bench.add("rule", inner, *chosen)
        else:
            bench.joined(inner, *chosen)


def diamond(bench: Bench) -> None:
    """Two branches of one parent that meet again."""
    if bench.room(3, "step"):
        top = bench.parent()
        left, right = bench.add("step", top), bench.add("step", top)
        bench.joined(left, right)


def unpacking(bench: Bench) -> None:
    """One parent whose value fills several ports, or none at all."""
    if bench.room(2, "step"):
        top = bench.parent()
        pair = bench.add("step", top, behaviour=bench.behaviour("step", give="list", size=2))
        ports = bench.one(2, 2, 3, 0)
        bench.add("step", pair, behaviour=bench.behaviour("step", ports=ports))


def expansion(bench: Bench) -> str | None:
    """A map below a step that gives lists (or the raw input), perhaps with a broadcast port."""
    top = bench.one(INPUT, bench.parent())
    if not bench.room(1, "map") or len(bench.place(top)) >= DEEPEST:
        return None
    if bench.room(2, "map", "step") and bench.one(True, True, True, False):
        give = bench.one("list", "list", "list", "mixed", "dict")
        top = bench.add("step", top, behaviour=bench.behaviour("step", give=give))
    others = bench.outer(top)
    broadcast = [bench.one(*others)] if others and bench.one(False, False, True) else []
    ports = bench.one(None, None, None, 2) if not broadcast else None
    give = bench.one("tell", "tell", "list")
    return bench.add(
        "map", top, *broadcast, behaviour=bench.behaviour("map", ports=ports, give=give)
    )


def inside(bench: Bench, item: str) -> str:
    """Something done to each item: a filter, a step that may fail, a join with what is outside."""
    if not bench.room(1, "step"):
        return item
    what = bench.one("nothing", "rule", "condition", "step", "broadcast", "handled")
    if what in ("rule", "condition") and what in bench.kinds:
        return bench.add(what, item, behaviour=bench.behaviour(what, holds=bench.often()))
    if what == "step":
        return bench.add("step", item, behaviour=bench.behaviour("step", raises=bench.often()))
    if what == "broadcast" and bench.outer(item):
        return bench.joined(item, bench.one(*bench.outer(item)))
    if what == "handled" and bench.room(2):
        handler = bench.add("step", f"!{item}", behaviour=Behaviour())
        return bench.joined(item, handler, wanted=("settled", "any"))
    return item


def close(bench: Bench, item: str, over: str | None = None) -> None:
    """A reduce or collect over the innermost fan-out, or the named one."""
    kinds = [kind for kind in ("reduce", "collect") if kind in bench.kinds]
    if kinds and bench.room(1) and closable(bench, item, over):
        bench.add(bench.one(*kinds), item, over=over)


def closable(bench: Bench, item: str, over: str | None) -> bool:
    """A reduce closes maps only, not the place of a correlated join."""
    place = bench.place(item)
    if not place:
        return True
    inner = place[place.index(over) :] if over else place[-1:]
    return all(node.kind == "map" for node in bench.nodes if node.name in inner)


def fan(bench: Bench) -> None:
    """A fan-out, something inside, and what gathers it."""
    item = expansion(bench)
    if item:
        item = inside(bench, item)
        if bench.one(True, True, False):
            close(bench, item)


def nested(bench: Bench) -> None:
    """A fan-out inside a fan-out, gathered inside, outside, or over both at once."""
    if not bench.room(3, "map"):
        return
    top = bench.one(INPUT, *(n.name for n in bench.nodes if not bench.place(n.name)))
    outer = bench.add("map", top, behaviour=bench.behaviour("map", give="list"))
    filtered = inside(bench, outer) if bench.one(False, True) else outer
    if not bench.room(2):
        return
    broadcast = [INPUT] if bench.one(False, False, True) else []
    inner = bench.add("map", filtered, *broadcast)
    inner = inside(bench, inner) if bench.room(2) else inner
    close(bench, inner, over=bench.one(None, outer, inner_map(bench, inner)))


def inner_map(bench: Bench, item: str) -> str:
    """The innermost fan-out around an item, by name: `over=` may name it too."""
    return bench.place(item)[-1]


def gather(bench: Bench) -> None:
    """A reduce or collect anywhere, also where there is no fan-out."""
    close(bench, bench.parent())


def settled_beside_failure(bench: Bench) -> None:
    """A settled join next to a branch that fails, and one that is filtered or skipped."""
    if bench.room(3, "step", joins=["settled"]):
        top = bench.parent()
        risky = bench.add("step", top, behaviour=bench.behaviour("step", raises=bench.often()))
        kind = bench.one(*(kind for kind in ("step", "rule", "condition") if kind in bench.kinds))
        other = bench.add(kind, top)
        bench.joined(risky, other, wanted=("settled",))


def first_of(bench: Bench) -> None:
    """An any or k-join of branches that skip or fail."""
    if bench.room(3, "step") and ("any" in bench.joins or "k" in bench.joins):
        top, count = bench.parent(), bench.one(2, 3) if bench.room(4) else 2
        branches = [
            bench.add("step", top, behaviour=bench.behaviour("step", skips=bench.often()))
            for _ in range(count)
        ]
        bench.joined(*branches, wanted=("any", "k"))


def handler(bench: Bench) -> None:
    """A failing step, what handles its failure, and perhaps a join of both."""
    if not bench.room(2, "step"):
        return
    risky = bench.add(
        "step", bench.parent(), behaviour=bench.behaviour("step", raises=bench.often())
    )
    handled = bench.add("step", f"!{risky}")
    if bench.room(1) and bench.one(True, True, False):
        bench.joined(risky, handled, wanted=("settled", "any"))


def error_port(bench: Bench) -> None:
    """A handler on any node's error port: a map's, a reduce's, a condition's."""
    if bench.nodes and bench.room(1, "step"):
        bench.add("step", f"!{bench.one(*(n.name for n in reversed(bench.nodes)))}")


def correlated(bench: Bench) -> None:
    """A join across inputs (and items) of two or three parents at one place."""
    wanted = [join for join in ("latest", "arrival") if join in bench.joins]
    if not wanted or not bench.room(2, "step"):
        return
    first = bench.parent()
    place = bench.place(first)
    if len(place) >= DEEPEST:
        return
    kind = bench.one(*(kind for kind in ("rule", "step", "condition") if kind in bench.kinds))
    other = bench.add(kind, bench.parent(at=place))
    if other != first:
        bench.joined(first, other, wanted=tuple(wanted))


def accumulating(bench: Bench) -> None:
    """An accumulator below anything, and perhaps a step that takes its state."""
    if bench.room(1, "accumulator"):
        state = bench.add("accumulator", bench.parent())
        if bench.room(1, "step") and bench.one(False, True):
            bench.add("step", state)


MOVES: tuple[Callable[[Bench], Any], ...] = (
    single,
    any_join,
    diamond,
    unpacking,
    fan,
    fan,
    fan,
    fan,
    nested,
    nested,
    gather,
    settled_beside_failure,
    first_of,
    handler,
    error_port,
    correlated,
    correlated,
    accumulating,
)


# --- the strategies -------------------------------------------------------------------------


@st.composite
def graphs(
    draw: Any,
    max_nodes: int = 8,
    kinds: tuple[str, ...] = KINDS,
    joins: tuple[str, ...] = JOINS,
    on_failure: tuple[str, ...] = ON_FAILURE,
) -> Graph:
    """Valid graphs. `graphs(**CONFLUENT)` draws only those whose every order gives the same."""
    bench = Bench(draw, max_nodes, tuple(kinds), tuple(joins), tuple(on_failure))
    least = draw(st.sampled_from([1, 3, 5, 5]))  # left to itself, most lists are short
    for move in draw(st.lists(st.sampled_from(MOVES), min_size=least, max_size=max(8, least))):
        move(bench)
    if not bench.nodes:
        bench.nodes.append(Node("n0", bench.kinds[0], initial=("initial", "n0")))
    graph = Graph(tuple(bench.nodes))
    assert not faults(graph), faults(graph)
    return graph


PLAIN = st.one_of(st.integers(0, 5), st.sampled_from(["", "a", "b"]), st.none())
LISTS = st.lists(PLAIN, max_size=3) | st.tuples(PLAIN, PLAIN)
DICTS = st.dictionaries(st.sampled_from(["x", "y"]), PLAIN, max_size=2)


def inputs_for(graph: Graph, max_inputs: int = 3) -> st.SearchStrategy[list[Any]]:
    """Some inputs for a graph: mostly lists where the raw input is fanned out or folded."""
    hungry = ("map", "reduce", "collect")
    feeds = any(node.to[0] == INPUT and node.kind in hungry for node in graph.nodes)
    value = (
        st.one_of(LISTS, LISTS, LISTS, DICTS, PLAIN) if feeds else st.one_of(PLAIN, LISTS, DICTS)
    )
    return st.lists(value, min_size=1, max_size=max_inputs)


def orders(graph: Graph | None = None) -> st.SearchStrategy[Order]:
    """Orders of a run; with a graph, some in which one of its nodes comes late."""
    draws = st.lists(st.integers(0, 99), min_size=1, max_size=30).map(tuple)
    late = st.sampled_from([None, *(node.name for node in graph.nodes)]) if graph else st.none()
    return st.builds(Order, draws, late)


@st.composite
def cases(draw: Any, /, max_inputs: int = 3, **wanted: Any) -> tuple[Graph, list[Any], Order]:
    """A graph, inputs for it, and an order."""
    graph = draw(graphs(**wanted))
    return graph, draw(inputs_for(graph, max_inputs)), draw(orders(graph))


__all__ = ["CONFLUENT", "JOINS", "MISSING", "cases", "graphs", "inputs_for", "orders"]
