"""A tiny description of a test graph, the functions its nodes run, and the real workflow made of it.

Every function here is pure and follows from its node alone. What it returns names the node and
its arguments, so that a value tells its whole causal history: two runs that agree on the values
agree on what was joined with what.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

INPUT = "INPUT"
WAIT = "wait"  # a step that somebody outside takes: what it gives is signalled, where it raises nobody answers
KINDS = ("step", "condition", "rule", "map", "reduce", "collect", "accumulator")
LONG = 70  # a longer argument is told by its checksum, or values would double at every diamond


class Boom(Exception):
    """What a node raises on purpose."""


class Bang(ValueError):
    """Another one, so that a mixed-up error shows."""


USER_ERRORS = {"Boom", "Bang"}


class Late(Exception):
    """Nobody answered a wait."""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()

# When something happens: "never", "always", n (for one in n argument lists, by a stable
# checksum), or a tuple of the argument tuples it happens for.
When = Any


@dataclass(frozen=True)
class Behaviour:
    """What the functions of a node do.

    `give`: "tell" (name and arguments), "none", "list" (of `size` or 0 to 3 elements), "dict",
    "mixed" (now one of these, now a number or a string, which no map can take).
    `ports`: None for one port a parent, a number, or "*" for a `*values` parameter.
    """

    give: str = "tell"
    size: int | None = None
    raises: When = "never"
    skips: When = "never"
    holds: When = "always"  # the predicate of a condition or rule
    check_raises: When = "never"  # that predicate raising
    ports: int | str | None = None
    keys: int = 0  # an accumulator's number of keys; 0: it has none
    seed: int = 0


@dataclass(frozen=True)
class Node:
    """One component and its wiring. "INPUT" and "!name" (an error port) may stand in `to`."""

    name: str
    kind: str
    to: tuple[str, ...] = (INPUT,)
    join: str | int = "all"
    correlate: str | None = None
    over: str | None = None
    initial: Any = MISSING
    on_failure: str = "block"
    on_item_failure: str = "fail"
    behaviour: Behaviour = Behaviour()


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which every parent comes before its children."""

    nodes: tuple[Node, ...]

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)


# --- what the functions do ------------------------------------------------------------------


def checksum(*parts: Any) -> int:
    """A hash that is the same in every process, unlike `hash`."""
    return zlib.crc32(repr(parts).encode())


def error_kind(name: str) -> str:
    """The type name of an error of ours; one word for all errors of the library's own."""
    short = name.rsplit(".", 1)[-1]
    return short if short in USER_ERRORS else "engine"


def shown(value: Any, absent: Any) -> Any:
    """The value as plain data: ABSENT and failures, which each side has its own objects for, as text."""
    if value is absent:
        return "ABSENT"
    if hasattr(value, "error") and hasattr(value, "component"):
        return ("FAILURE", value.component, tuple(value.scope), error_kind(value.error.type))
    if isinstance(value, list):
        return [shown(each, absent) for each in value]
    if isinstance(value, tuple):
        return tuple(shown(each, absent) for each in value)
    if isinstance(value, dict):
        return {key: shown(each, absent) for key, each in value.items()}
    return value


def told(args: tuple[Any, ...], absent: Any) -> tuple[Any, ...]:
    """The arguments as a node tells them: plain, and each of bounded length."""
    plain = (shown(each, absent) for each in args)
    return tuple(p if len(repr(p)) <= LONG else f"#{checksum(p):08x}" for p in plain)


def happens(when: When, node: Node, what: str, args: tuple[Any, ...]) -> bool:
    """Whether `when` picks these arguments."""
    if isinstance(when, tuple):
        return args in when
    if isinstance(when, int):
        return checksum(what, node.behaviour.seed, node.name, args) % when == 0
    return bool(when == "always")


def given(node: Node, args: tuple[Any, ...]) -> Any:
    """What the node returns when it neither raises nor skips."""
    give, number = node.behaviour.give, checksum(node.behaviour.seed, node.name, args)
    if give == "mixed":
        give = ("list", "dict", "number", "text", "tell", "list")[number // 8 % 6]
    size = node.behaviour.size if node.behaviour.size is not None else number % 4
    if give == "list":
        return [(node.name, i, *args) for i in range(size)]
    if give == "dict":
        return {f"{node.name}{i}": args for i in range(size)}
    if give == "number":
        return number % 10
    if give == "text":
        return f"{node.name}:{number:08x}"
    return None if give == "none" else (node.name, *args)


def act(node: Node, args: tuple[Any, ...], absent: Any) -> Any:
    """The body of a step, a reaction, a map's function, a reducer: raise, skip or give."""
    if is_late(node, args, absent):
        raise Late(node.name)
    args = told(args, absent)
    if happens(node.behaviour.raises, node, "raises", args):
        error = Boom if checksum("error", node.name, args) % 2 else Bang
        raise error(f"{node.name}{args}")
    if happens(node.behaviour.skips, node, "skips", args):
        return absent
    return given(node, args)


def is_late(node: Node, args: tuple[Any, ...], absent: Any) -> bool:
    """Whether this is a wait that nobody answers."""
    return node.kind == WAIT and happens(node.behaviour.raises, node, "raises", told(args, absent))


def check(node: Node, args: tuple[Any, ...], absent: Any) -> bool:
    """The predicate of a condition or rule."""
    args = told(args, absent)
    if happens(node.behaviour.check_raises, node, "check", args):
        raise Boom(f"{node.name}{args}")
    return happens(node.behaviour.holds, node, "holds", args)


def key_of(node: Node, value: Any, absent: Any) -> str | None:
    """The key a keyed accumulator folds this value under; None without keys."""
    keys = node.behaviour.keys
    return f"k{checksum('key', told((value,), absent)) % keys}" if keys else None


# --- what may be built ----------------------------------------------------------------------


def origin(parent: str) -> str:
    """The node a parent stands for: its own name, or the one whose error port it is."""
    return parent.removeprefix("!")


def ports_of(node: Node) -> int | str:
    """How many parameters the node's function takes."""
    if node.behaviour.ports is not None:
        return node.behaviour.ports
    return 1 if node.join == "any" else len(node.to)


def fan_out_of(node: Node, place: tuple[str, ...]) -> str | None:
    """The fan-out a reduce or collect under a parent at `place` closes; None outside of any."""
    return node.over or (place[-1] if place else None)


def places(graph: Graph) -> dict[str, tuple[str, ...]]:
    """The static place of every node: the maps and correlated joins it is inside of, outermost first."""
    at: dict[str, tuple[str, ...]] = {INPUT: ()}
    for node in graph.nodes:
        above = [at[origin(parent)] for parent in node.to]
        deepest = max(above, key=len)
        if node.kind == "map":
            at[node.name] = (*above[0], node.name)
        elif node.correlate:
            at[node.name] = (*deepest, node.name)
        elif node.kind in ("reduce", "collect") and deepest:
            at[node.name] = deepest[: deepest.index(fan_out_of(node, deepest))]
        else:
            at[node.name] = deepest
    return at


def faults(graph: Graph) -> list[str]:
    """Why the library would refuse this graph, or why the contract does not say what it means."""
    found: list[str] = []
    known = {INPUT}
    for node in graph.nodes:
        strangers = [p for p in node.to if origin(p) not in known or p == "!INPUT"]
        if node.name in known or strangers or len(set(node.to)) < len(node.to) or not node.to:
            return [*found, f"{node.name}: name or parents"]
        known.add(node.name)
        over_fault = _over_fault(node, graph, known)
        if over_fault:
            return [*found, over_fault]  # its place cannot be told
        found += [f"{node.name}: {fault}" for fault in _node_faults(node, graph)]
    return found


def _upto(graph: Graph, name: str) -> Graph:
    names = [node.name for node in graph.nodes]
    return Graph(graph.nodes[: names.index(name)])


def _over_fault(node: Node, graph: Graph, known: set[str]) -> str | None:
    """A reduce closes a map; what closing a correlated join would mean is not said."""
    if node.kind not in ("reduce", "collect"):
        return f"{node.name}: over" if node.over else None
    above = _upto(graph, node.name)
    place = places(above)[origin(node.to[0])]
    closed = fan_out_of(node, place)
    if closed is None:
        return None
    inside = place[place.index(closed) :] if closed in place else ()
    maps_only = inside and all(above[name].kind == "map" for name in inside)
    return None if maps_only else f"{node.name}: closes {closed}"


def _node_faults(node: Node, graph: Graph) -> list[str]:
    at = places(_upto(graph, node.name))
    above = [at[origin(parent)] for parent in node.to]
    deepest, many, ports = max(above, key=len), len(node.to) > 1, ports_of(node)
    rules = {
        "kind": node.kind in (*KINDS, WAIT),
        "a wait": node.kind != WAIT
        or (not many and ports == 1 and node.join == "all" and node.behaviour.skips == "never"),
        "parents' places": all(deepest[: len(place)] == place for place in above),
        "a map's other parents": node.kind != "map" or deepest == above[0],
        "one parent": not many
        or node.kind in ("step", "rule", "map")
        or (node.kind in ("condition", "accumulator") and node.join == "any"),
        "join": node.join in ("all", "any", "settled")
        or (isinstance(node.join, int) and many and 1 <= node.join <= len(node.to)),
        "a join of this kind": node.join == "all"
        or node.kind == "step"
        or (node.join == "any" and node.kind in ("condition", "accumulator")),
        "correlate": node.correlate is None
        or (
            node.correlate in ("latest", "arrival")
            and (node.kind, node.join, many) == ("step", "all", True)
            and len(set(above)) == 1
        ),
        "ports": ports in ("*", 1 if node.join == "any" else len(node.to))
        or (not many and node.kind in ("step", "map")),
        "on_failure": node.on_failure == "block" or node.kind in ("step", WAIT),
    }
    return [name for name, kept in rules.items() if not kept]


# --- the real workflow ----------------------------------------------------------------------

# Functions whose signatures say how many ports they have.
_ARITIES: dict[int | str, Callable[[Any], Any]] = {
    0: lambda f: lambda: f(),
    1: lambda f: lambda a: f(a),
    2: lambda f: lambda a, b: f(a, b),
    3: lambda f: lambda a, b, c: f(a, b, c),
    4: lambda f: lambda a, b, c, d: f(a, b, c, d),
    5: lambda f: lambda a, b, c, d, e: f(a, b, c, d, e),
    "*": lambda f: lambda *values: f(*values),
}


def component(node: Node, td: Any) -> Any:
    """The node as a component of the library."""
    name, absent = node.name, td.ABSENT

    def body(*args: Any) -> Any:
        return act(node, args, absent)

    def predicate(*args: Any) -> bool:
        return check(node, args, absent)

    def ends(value: Any) -> int | None:
        return 0 if is_late(node, (value,), absent) else None

    with_ports = _ARITIES[ports_of(node)]
    if node.kind == "step":
        return td.step(with_ports(body), name=name, on_failure=node.on_failure)
    if node.kind == WAIT:
        return td.wait_for(name, timeout_s=ends, on_failure=node.on_failure)
    if node.kind == "condition":
        return td.condition(with_ports(predicate), name=name)
    if node.kind == "rule":
        return td.rule(name=name, condition=with_ports(predicate), reaction=with_ports(body))
    if node.kind == "map":
        return td.map(with_ports(body), name=name)
    if node.kind == "accumulator":
        keyed = {"key": lambda value: key_of(node, value, absent)} if node.behaviour.keys else {}
        return td.accumulator(_ARITIES[2](body), initial=node.initial, name=name, **keyed)
    closing: dict[str, Any] = {"on_item_failure": node.on_item_failure, "name": name}
    if node.over:
        closing["over"] = node.over
    if node.kind == "collect":
        return td.collect(list, **closing)
    if node.initial is not MISSING:
        closing["initial"] = node.initial
    return td.reduce(_ARITIES[2](body), **closing)


def parent_of(parent: str, td: Any) -> Any:
    """A parent as `add` wants it."""
    if parent == INPUT:
        return td.INPUT
    return td.error_of(parent[1:]) if parent.startswith("!") else parent


def build(graph: Graph, td: Any, name: str = "oracle") -> Any:
    """The real workflow of the graph, by the public API only."""
    workflow = td.workflow(name)
    for node in graph.nodes:
        parents = [parent_of(parent, td) for parent in node.to]
        wiring: dict[str, Any] = {"to": parents if len(parents) > 1 else parents[0]}
        if node.join != "all":
            wiring["join"] = node.join
        if node.correlate:
            wiring["correlate"] = node.correlate
        workflow = workflow.add(component(node, td), **wiring)
    return workflow
