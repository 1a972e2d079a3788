"""What the oracle knows: the parts of a graph, and everything that has happened so far."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.oracle.graph import INPUT, Graph, Node, fan_out_of, origin, places

Scope = tuple[int, ...]
Place = tuple[str, ...]


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()


# --- the graph, one part for each thing that is evaluated -----------------------------------


@dataclass(frozen=True)
class Part:
    """A rule is a gate and a call, a map an expansion and a call; all others are one part."""

    name: str
    kind: str  # gate, call, fan, fold, acc
    node: Node
    parents: tuple[str, ...]
    place: Place
    join: str | int = "all"
    correlate: str | None = None
    closes: str | None = None  # the expansion whose items a fold gathers


def lower(graph: Graph) -> dict[str, Part]:
    """The parts of a graph by name, in declared order."""
    at = places(graph)
    parts: dict[str, Part] = {}
    for node in graph.nodes:
        for part in _parts_of(node, at):
            parts[part.name] = part
    return parts


def _parts_of(node: Node, at: dict[str, Place]) -> Iterator[Part]:
    here = at[node.name]
    plain = Part(node.name, "call", node, node.to, here, node.join, node.correlate)
    if node.kind == "condition":
        yield replace(plain, kind="gate")
    elif node.kind == "accumulator":
        yield replace(plain, kind="acc")
    elif node.kind == "rule":
        yield replace(plain, name=f"{node.name}?", kind="gate")
        yield replace(plain, parents=(f"{node.name}?",), join="all")
    elif node.kind == "map":
        yield replace(
            plain, name=f"{node.name}[]", kind="fan", parents=node.to[:1], place=here[:-1]
        )
        yield replace(plain, parents=(f"{node.name}[]", *node.to[1:]))
    elif node.kind in ("reduce", "collect"):
        closed = fan_out_of(node, at[origin(node.to[0])])
        yield replace(plain, kind="fold", closes=closed and f"{closed}[]")
    else:
        yield plain


def ancestors(parts: dict[str, Part], name: str, behind: str | None = None) -> set[str]:
    """All parts upstream of this one, error ports standing for the node they belong to.

    With `behind`, only those reached without going through that part.
    """
    found: set[str] = set()
    ahead = [origin(parent) for parent in parts[name].parents]
    while ahead:
        parent = ahead.pop()
        if parent in parts and parent not in found and parent != behind:
            found.add(parent)
            ahead += [origin(each) for each in parts[parent].parents]
    return found


# --- what has happened so far ---------------------------------------------------------------


@dataclass(frozen=True)
class Error:
    """The error of a failure; `type` as the library gives it."""

    type: str


@dataclass(frozen=True)
class Failure:
    """A recorded failure; `place` says which fan-outs the numbers of its scope belong to."""

    component: str
    scope: Scope
    error: Error
    place: Place


@dataclass(frozen=True)
class Joined:
    """The ports of a rule, handed from its gate to its reaction."""

    args: tuple[Any, ...]


@dataclass
class World:
    """Everything that has happened: facts by (part, scope) in log order, and the rest."""

    parts: dict[str, Part]
    inputs: list[Any]
    accepted: int = 0
    facts: dict[tuple[str, Scope], Any] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    groups: dict[tuple[str, Scope], int] = field(default_factory=dict)
    running: dict[tuple[str, Scope], tuple[Any, ...]] = field(default_factory=dict)
    done: set[tuple[str, Scope]] = field(default_factory=set)
    states: dict[str, dict[str | None, Any]] = field(default_factory=dict)
    halted: set[int] = field(default_factory=set)

    def record(self, name: str, scope: Scope, value: Any) -> None:
        """Adds a fact. S5: a node gives at most one in a scope."""
        assert (name, scope) not in self.facts, f"two facts of {name} in {scope}"
        self.facts[name, scope] = value

    def position(self, name: str, scope: Scope) -> int:
        """Where in the log the fact lies."""
        return list(self.facts).index((name, scope))

    def place_of(self, parent: str) -> Place:
        """The place a parent's facts lie at."""
        if parent == INPUT:
            return ()
        part = self.parts[origin(parent)]
        return (*part.place, part.node.name) if part.kind == "fan" else part.place


def scopes(world: World, place: Place) -> list[Scope]:
    """Every scope there is at a place, in order."""
    if not place:
        return [(number,) for number in range(world.accepted)]
    opener = place[-1]
    if f"{opener}[]" in world.parts:
        groups = [(s, n) for (name, s), n in world.groups.items() if name == f"{opener}[]"]
        return sorted((*scope, item) for scope, count in groups for item in range(count))
    return sorted(scope for scope, _ in firings(world, world.parts[opener]))


def firings(world: World, part: Part) -> list[tuple[Scope, tuple[Any, ...]]]:
    """The firings of a correlated join, worked out anew from the whole log: scope and ports."""
    seen: dict[str, list[Any]] = {parent: [] for parent in part.parents}
    waiting: list[Any] = []
    fired: list[tuple[Scope, tuple[Any, ...]]] = []
    under: Counter[Scope] = Counter()
    for (name, scope), value in world.facts.items():
        if name not in seen or value is ABSENT:
            continue
        seen[name].append(value)
        if part.correlate == "latest":
            waiting += [value] if name == part.parents[0] else []
            if not all(seen.values()):
                continue
            newest = tuple(seen[parent][-1] for parent in part.parents[1:])
            pairs = [(first, *newest) for first in waiting]
            waiting = []
        else:
            k = len(seen[name])
            complete = all(len(values) >= k for values in seen.values())
            pairs = [tuple(values[k - 1] for values in seen.values())] if complete else []
        for args in pairs:
            fired.append(((*scope, under[scope]), args))
            under[scope] += 1
    return fired
