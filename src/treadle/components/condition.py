"""`condition` and the algebra over conditions: `all_of`, `any_of`, `not_`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, overload

from msgspec import Struct

from treadle.components.component import Component, Maker, OnFailure, single
from treadle.errors import ArityMismatch, DefinitionError
from treadle.model import nodes as kinds
from treadle.model.fingerprints import sharing_key
from treadle.model.nodes import (
    Atom,
    Expression,
    Lowered,
    NodeCode,
    NodeShape,
    NodeSpec,
    Wiring,
)
from treadle.model.patterns import Pattern
from treadle.model.portable import from_reference, to_reference
from treadle.model.ports import Signature, annotations_of, read_signature

P = ParamSpec("P")


class Condition(Component[P, bool]):
    """A named predicate or pattern. As a component it is a gate: its children get the fact where it holds."""

    kind = "condition"

    def __init__(
        self,
        predicate: Callable[P, Any] | Pattern,
        *,
        name: str | None = None,
        on_failure: str = "block",
    ) -> None:
        self.pattern = predicate if isinstance(predicate, Pattern) else None
        function: Any = predicate.matches if isinstance(predicate, Pattern) else predicate
        if self.pattern is not None and name is None:
            name = self.kind
        super().__init__(function, name=name, on_failure=on_failure)
        if self.pattern is None:
            check_predicate(self.kind, self.name, self.signature)

    def parts(self) -> tuple[Any, ...]:
        """What its fingerprint is made of."""
        return (self.function if self.pattern is None else self.pattern, self.on_failure)

    def atom(self, key: str) -> Atom:
        """This condition under the name it has in a workflow."""
        return make_atom(key, self.pattern if self.pattern is not None else self.function)

    def lower(self, name: str, wiring: Wiring) -> Lowered:
        """This component as nodes."""
        before, source = single(name, wiring)
        shape = NodeShape(
            name, kinds.GATE, (source,), expression=("is", name), on_failure=self.on_failure
        )
        specs = (*before, NodeSpec(shape, NodeCode(atoms=(self.atom(name),))))
        return Lowered(name, self.kind, specs, wiring, self)


class Compound(Struct, frozen=True):
    """Conditions under `all`, `any` or `not`."""

    operator: str
    parts: tuple[Any, ...]

    def fingerprint_data(self) -> list[Any]:
        """What makes it what it is."""
        return [self.operator, *self.parts]

    def __reduce__(self) -> Any:
        return (_load_compound, (self.operator, tuple(to_reference(part) for part in self.parts)))


def _load_compound(operator: str, parts: tuple[Any, ...]) -> Compound:
    return Compound(operator, tuple(from_reference(part) for part in parts))


Asked: TypeAlias = "str | Pattern | Condition[Any] | Compound | Callable[..., Any]"
"""What can be asked of a fact: a condition's name, a pattern, a predicate, or a compound of these."""


def all_of(*conditions: Asked) -> Compound:
    """Hold where all of these hold: names of conditions, patterns, predicates, or further compounds."""
    return Compound("all", _several("all_of", conditions))


def any_of(*conditions: Asked) -> Compound:
    """Hold where at least one of these holds."""
    return Compound("any", _several("any_of", conditions))


def not_(condition: Asked) -> Compound:
    """Hold where this does not. A condition that raises holds neither way."""
    return Compound("not", _several("not_", (condition,)))


def _several(name: str, conditions: tuple[Any, ...]) -> tuple[Any, ...]:
    if not conditions:
        raise DefinitionError(f"{name}() needs at least one condition.")
    for condition in conditions:
        if not isinstance(condition, (str, Pattern, Compound)) and not callable(condition):
            raise DefinitionError(
                f"{name}() takes names of conditions, patterns and predicates, and was given "
                f"{condition!r:.80}."
            )
    return conditions


class Asking(Struct):
    """An expression being built: the conditions of its own that it holds, by key."""

    key: str
    atoms: list[Atom] = []

    def expression(self, asked: Any) -> Expression:
        """The expression for what a rule was given as its condition."""
        if isinstance(asked, str):
            return ("is", asked)
        if isinstance(asked, Compound):
            return (asked.operator, *[self.expression(part) for part in asked.parts])
        key = self.key if not self.atoms else f"{self.key}.{len(self.atoms)}"
        self.atoms.append(
            asked.atom(key) if isinstance(asked, Condition) else make_atom(key, asked)
        )
        return ("is", key)


def make_atom(key: str, asked: Any) -> Atom:
    """One condition: a pattern, or a predicate with the type its parameter is annotated with."""
    if isinstance(asked, Pattern):
        return Atom(key, pattern=asked, sharing_key=asked.sharing_key())
    signature = read_signature(asked)
    check_predicate("condition", key, signature)
    hint = None
    if signature.ports == 1 and getattr(asked, "__annotations__", None):
        hint = annotations_of(asked).get(signature.names[0])
    ports = 1 if signature.ports is None else signature.ports
    shared = None if signature.injected else sharing_key(asked)
    return Atom(key, asked, hint, signature.injected, ports, shared)


def check_predicate(kind: str, name: str, signature: Signature) -> None:
    """Conditions are plain, quick and synchronous: they are asked while planning."""
    if signature.is_async:
        raise DefinitionError(
            f"{kind} {name!r} is async, and conditions are asked while planning.",
            hint="use rule(..., dispatch=True): its predicate is dispatched like a step.",
        )
    if signature.is_generator:
        raise DefinitionError(f"{kind} {name!r} is a generator function, which is always true.")
    if signature.rest and signature.ports:
        raise ArityMismatch(f"{kind} {name!r} takes a fixed number of values, not *values.")


@overload
def condition(
    predicate: Callable[P, Any], /, *, name: str | None = ..., on_failure: OnFailure = ...
) -> Condition[P]: ...
@overload
def condition(
    predicate: Pattern, /, *, name: str | None = ..., on_failure: OnFailure = ...
) -> Condition[[Any]]: ...
@overload
def condition(
    *, name: str | None = ..., on_failure: OnFailure = ...
) -> Callable[[Callable[P, Any]], Condition[P]]: ...
def condition(
    predicate: Any = None,
    /,
    *,
    name: str | None = None,
    on_failure: OnFailure = "block",
) -> Any:
    """Name a predicate or pattern, as a gate of its own and for rules to refer to.

    A predicate is quick and synchronous; it is asked once per fact, in planning. If its parameter is annotated,
    a value of another type is just false.

    >>> @condition
    ... def is_large(amount: int) -> bool:
    ...     return amount > 1000
    >>> is_large(2000)
    True
    """

    def make(asked: Any) -> Condition[Any]:
        return Condition(asked, name=name, on_failure=on_failure)

    return Maker("condition", name, make) if predicate is None else make(predicate)
