"""Watches: the conditions and key functions that look at one node's facts, and what hangs on them.

Made from the wiring alone when first needed, and dropped when the wiring changes. The conditions are kept in an
index, so that a fact costs what the conditions that can match it cost, not what all of them cost; and what held is
followed to the gates that use it, so that the same is true of folding.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Any

from treadle.model import nodes as kinds
from treadle.model.nodes import Atom
from treadle.model.placing import conditions_in
from treadle.model.program import Node, Program

if TYPE_CHECKING:
    from treadle.engine.index import Index


class Watch:
    """The conditions over one node's facts, each once, and the gates that use them."""

    __slots__ = ("asking", "atoms", "by_name", "eager", "index", "keyed", "users")

    def __init__(self, node: Node, conditions: dict[str, Atom]) -> None:
        self.atoms: list[Atom] = []
        self.by_name: dict[str, int] = {}
        self.index: Index | None = None
        """Finds the patterns that may match; what none of a gate's patterns can match is never asked."""
        self.users: list[list[Node]] = []
        """By condition: the gates whose expression asks for it."""
        self.eager: list[Node] = []
        """Gates that may hold although none of their conditions does."""
        self.asking: list[Node] = []
        """Gates that are asked about every fact: no index can rule them out."""
        self.keyed = [watcher for watcher in node.watchers if watcher.kind != kinds.GATE]
        shared: dict[Any, int] = {}
        for gate in node.watchers:
            if gate.kind == kinds.GATE:
                self._watch(gate, conditions, shared)

    def _watch(self, gate: Node, conditions: dict[str, Atom], shared: dict[Any, int]) -> None:
        expression = gate.shape.expression
        own = {atom.key: atom for atom in gate.code.atoms}
        indexed = True
        for name in conditions_in(expression):
            atom = own.get(name) or conditions.get(name) or Atom(name)
            number = self._number(name, atom, shared)
            indexed = indexed and is_indexed(atom)
            if self.users[number][-1:] != [gate]:
                self.users[number].append(gate)
        if expression is None or holds(expression, set()):
            self.eager.append(gate)
        if not indexed or gate in self.eager:
            self.asking.append(gate)

    def _number(self, name: str, atom: Atom, shared: dict[Any, int]) -> int:
        """The condition's number here; conditions that say the same are one."""
        if name in self.by_name:
            return self.by_name[name]
        number = shared.get(atom.sharing_key) if atom.sharing_key is not None else None
        if number is None:
            number = len(self.atoms)
            self.atoms.append(atom)
            self.users.append([])
            if atom.sharing_key is not None:
                shared[atom.sharing_key] = number
            if is_indexed(atom):
                if self.index is None:
                    self.index = new_index()
                self.index.add(number, atom.pattern)
        self.by_name[name] = number
        return number

    def atom(self, name: str) -> Atom:
        """The condition of a name."""
        return self.atoms[self.by_name[name]]

    def through(self, names: set[str], failed: Container[str]) -> list[Node]:
        """The gates that let a fact through for which these conditions held, in the order of the graph."""
        touched = dict.fromkeys(self.eager)
        smaller, larger = sorted((names, self.by_name), key=len)
        for number in {self.by_name[name] for name in smaller if name in larger}:
            touched.update(dict.fromkeys(self.users[number]))
        found = [
            gate
            for gate in touched
            if gate.key not in failed
            and (gate.shape.expression is None or holds(gate.shape.expression, names))
        ]
        return sorted(found, key=lambda gate: gate.index) if len(found) > 1 else found


def is_indexed(atom: Atom) -> bool:
    """Whether a condition is a pattern, asked without loading what patterns are."""
    return getattr(type(atom.pattern), "is_indexed", False)


def new_index() -> Index:
    """An index without patterns, loaded when there is a pattern to file."""
    from treadle.engine.index import Index

    return Index()


def watch_of(program: Program, node: Node) -> Watch:
    """The node's watch, made on first use."""
    watches: dict[int, Watch] = program.watches
    watch = watches.get(node.index)
    if watch is None:
        watch = watches[node.index] = Watch(node, program.conditions)
    return watch


def holds(expression: kinds.Expression, held: set[str]) -> bool:
    """Whether an expression over conditions is true, given those that held."""
    operator = expression[0]
    if operator == "is":
        return expression[1] in held
    if operator == "not":
        return not holds(expression[1], held)
    parts = (holds(part, held) for part in expression[1:])
    return all(parts) if operator == "all" else any(parts)
