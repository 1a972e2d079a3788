"""How components are fitted into a graph: parents, joins, and what removing one does to its children."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import structs

from treadle.components.component import Component, refuse_async
from treadle.errors import ArityMismatch, DefinitionError
from treadle.model import nodes as kinds
from treadle.model.lowering import relower
from treadle.model.nodes import Lowered, Source, Wiring
from treadle.model.placing import conditions_in, markers_of
from treadle.model.program import Program


class ErrorOf:
    """The error port of a component, as a parent."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"error_of({self.name!r})"


def error_of(component: str | Component[Any, Any]) -> ErrorOf:
    """Name a component's error port as a parent: `add(handler, to=td.error_of("charge"))`.

    The handler gets a `Failure` in the scope of what failed.

    >>> error_of("charge")
    error_of('charge')
    """
    if isinstance(component, str):
        return ErrorOf(component)
    name = getattr(component, "name", None)
    if not isinstance(name, str):
        raise DefinitionError(
            f"error_of takes a component or its name, and was given {component!r:.80}."
        )
    return ErrorOf(name)


class TimeoutOf:
    """The timeout port of a wait, as a parent."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"timeout_of({self.name!r})"


def timeout_of(component: str | Component[Any, Any]) -> TimeoutOf:
    """Name the path of a wait that nobody answered in time: `add(remind, to=td.timeout_of("approval"))`.

    It gives what the wait was waiting with: the fact of its parent. Where somebody takes it, a timeout is no failure.

    >>> timeout_of("approval")
    timeout_of('approval')
    """
    name = component if isinstance(component, str) else getattr(component, "name", None)
    if not isinstance(name, str):
        raise DefinitionError(
            f"timeout_of takes a wait_for or its name, and was given {component!r:.80}."
        )
    return TimeoutOf(name)


def make_wiring(
    name: str,
    sources: tuple[Source, ...],
    join: str | int,
    correlate: str | Callable[[Any], Any] | None,
) -> Wiring:
    """Check how parents are to be joined."""
    counted = isinstance(join, int) and not isinstance(join, bool)
    if counted and not 1 <= int(join) <= len(sources):
        raise ArityMismatch(
            f"{name!r}: join={join} of {len(sources)} parents cannot be.",
            hint="join=k fires on the k-th arrival, for k from 1 to the number of parents.",
        )
    if not counted and join not in ("all", "any", "settled"):
        raise DefinitionError(
            f"{name!r}: join={join!r} is not one of 'all', 'any', 'settled', or a number."
        )
    if correlate is None:
        return Wiring(sources, join)
    if join != "all" or len(sources) < 2:
        raise DefinitionError(
            f"{name!r}: correlate= joins several parents across inputs, and goes with join='all' only.",
            hint=f"it has {len(sources)} parents and join={join!r}.",
        )
    if callable(correlate):
        refuse_async(f"{name!r}: correlate=", correlate)
        return Wiring(sources, join, "key", correlate)
    if correlate not in ("latest", "arrival"):
        raise DefinitionError(
            f"{name!r}: correlate={correlate!r} is not 'latest', 'arrival' or a key function."
        )
    return Wiring(sources, join, correlate)


def rewire_children(program: Program, old: Lowered) -> tuple[Lowered, ...]:
    """The children of a component that is to go, wired to its parents; refused where they do not fit."""
    rewired: list[Lowered] = []
    faults: list[str] = []
    for child in program.components.values():
        ports = [port for key, port in child.wiring.sources if key == old.output]
        if child.name == old.name or not ports:
            continue
        if kinds.ERROR in ports:
            faults.append(f"{child.name!r} handles its failures")
            continue
        if kinds.TIMEOUT in ports:
            faults.append(f"{child.name!r} takes its timeouts")
            continue
        try:
            rewired.append(_rewired(child, old))
        except DefinitionError as error:
            faults.append(f"{child.name!r}: {error.message}")
    if faults:
        raise DefinitionError(
            f"{old.name!r} cannot be removed: {'; '.join(fault.rstrip('.') for fault in faults)}.",
            hint="remove or replace these first.",
        )
    _check_together(program, old, rewired)
    return tuple(rewired)


def _rewired(child: Lowered, old: Lowered) -> Lowered:
    sources: list[Source] = []
    for source in child.wiring.sources:
        sources.extend(old.wiring.sources if source[0] == old.output else [source])
    if len(set(sources)) != len(sources):
        raise DefinitionError("it would have the same parent twice.")
    return relower(child, structs.replace(child.wiring, sources=tuple(sources)))


def _check_together(program: Program, old: Lowered, rewired: list[Lowered]) -> None:
    """Build the graph as it would be: places and types are checked where they always are."""
    swapped = {lowered.name: lowered for lowered in rewired}
    trial = Program()
    for name, lowered in program.components.items():
        if name == old.name:
            continue
        try:
            trial.add(swapped.get(name, lowered))
        except DefinitionError as error:
            raise DefinitionError(
                f"{old.name!r} cannot be removed: {name!r} would not fit: {error.message}",
                hint="remove or replace it first.",
            ) from error
    moved = [name for name in trial.components if place_of(trial, name) != place_of(program, name)]
    if moved:
        raise DefinitionError(
            f"{old.name!r} cannot be removed: {', '.join(map(repr, moved))} would move into or out of a "
            "fan-out.",
            hint="remove these first, and add them again as you want them.",
        )


def place_of(program: Program, name: str) -> list[str]:
    """The keys of the openers around what a component gives."""
    openers = [program.nodes[index] for index in program.output_of(name).inner]
    return ["" if opener is None else opener.key for opener in openers]


def check_unreferenced(program: Program, old: Lowered) -> None:
    """What other components refer to by name cannot go before them."""
    for name, lowered in program.components.items():
        if name == old.name:
            continue
        for spec in lowered.specs:
            named = [*conditions_in(spec.shape.expression), spec.shape.over]
            named += [marker.name for marker in markers_of(spec.code) if marker.kind != "context"]
            if old.name in named:
                raise DefinitionError(
                    f"{old.name!r} cannot be removed: {name!r} refers to it.",
                    hint=f"remove {name!r} first.",
                )
