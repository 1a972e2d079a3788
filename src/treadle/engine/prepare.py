"""Prepare: take ready work out of a memory as self-contained runnables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from treadle.engine.memory import Memory
from treadle.engine.state import cell_of
from treadle.errors import MissingFunction, UsageError
from treadle.model.markers import NOT_GIVEN, READS_HISTORY, TRANSACTION, Marker, NoTransaction
from treadle.model.nodes import Context
from treadle.model.runnables import Branch, Runnable, idempotency_key
from treadle.model.work import Unit


class Contexts(dict[str, Mapping[str, Any]]):
    """Context values of a run, with those of single inputs on top."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.by_input: dict[int, Context] = {}
        """By input: its own values over the run's."""

    def add(self, number: int, context: Context) -> None:
        """Give one input values of its own."""
        merged: dict[str, Mapping[str, Any]] = dict(self)
        for name, values in context.items():
            merged[name] = {**self.get(name, {}), **values}
        self.by_input[number] = merged

    def drop(self, number: int) -> None:
        """The input is finished."""
        self.by_input.pop(number, None)


def context_for(context: Context, number: int) -> Context:
    """The values that hold for one input."""
    if type(context) is Contexts:
        return context.by_input.get(number, context)
    return context


def make_runnable(
    memory: Memory, unit: Unit, run_key: str | None, branch: Branch, context: Context
) -> Runnable:
    """All that is needed to execute a unit anywhere; what its markers cannot give becomes its failure.

    Errors: `MissingFunction` if the definition lacks the component; nothing is lost by that.
    """
    node = unit.node
    args, problem = unit.args, unit.problem
    if node.code.missing:
        raise missing_function(node.component)
    try:
        if node.code.injected:
            fill_in(memory, unit, run_key, context)
        if unit.cell is not None:
            args = (state_value(unit), *args)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a factory or key function may raise anything
        problem = error
    if unit.failed is None:
        return Runnable(
            component=node.component,
            node=node.key,
            scope=unit.scope.path,
            call=node.call,
            args=args,
            injected=unit.injected,
            is_async=node.is_async,
            generation=unit.generation,
            attempt=unit.attempt,
            run_key=run_key,
            branch=branch,
            position=memory.position,
            read_at=unit.read_at,
            problem=problem,
        )
    return Runnable(
        component=node.component,
        node=node.key,
        scope=unit.scope.path,
        call=node.call,
        args=args,
        injected=unit.injected,
        is_async=node.is_async,
        generation=unit.generation,
        attempt=unit.attempt,
        run_key=run_key,
        branch=branch,
        position=memory.position,
        read_at=unit.read_at,
        problem=problem,
        retry_at=unit.failed.retry_at,
        deadline_at=unit.failed.deadline_at,
        last_error=unit.failed.error,
        is_fallback=unit.failed.fallback,
    )


def peek_runnable(
    memory: Memory, unit: Unit, run_key: str | None, branch: Branch, context: Context
) -> Runnable:
    """What preparing a unit would give now; the unit's markers are not read for good."""
    injected, read_at = unit.injected, unit.read_at
    runnable = make_runnable(memory, unit, run_key, branch, context)
    unit.injected, unit.read_at = injected, read_at
    return runnable


def missing_function(component: str) -> MissingFunction:
    """The log names a component that the definition lacks."""
    return MissingFunction(
        f"the log holds work of {component!r}, whose function was not given.",
        hint=f"give it: from_log(definition, log, components={{{component!r}: component}}).",
    )


def state_value(unit: Unit) -> Any:
    """The state that a unit folds into; the first time, the accumulator's initial value."""
    cell = unit.cell
    if cell is None:
        return None
    if not cell.started and unit.node.code.initial is not None:
        return unit.node.code.initial()
    return cell.value


def fill_in(memory: Memory, unit: Unit, run_key: str | None, context: Context) -> None:
    """Read a unit's markers, once for all its attempts (except the attempt itself)."""
    node = unit.node
    if unit.injected is None:
        markers = [entry for entry in node.code.injected if entry[1].kind != "attempt"]
        context = context_for(context, unit.scope.path[0])
        filled = inject(memory, markers, node.component, unit.args, context)
        filled.update(unit.kept or {})
        for name, marker in markers:
            if marker.kind == "idempotency_key":
                filled[name] = idempotency_key(run_key, node.key, unit.generation, unit.scope.path)
            elif marker.kind in READS_HISTORY:
                unit.read_at = memory.position
        if unit.kept and unit.failed is not None:
            unit.read_at = unit.failed.read_at
        unit.injected = filled
    attempts = {n: unit.attempt for n, marker in node.code.injected if marker.kind == "attempt"}
    if attempts:
        unit.injected = {**(unit.injected or {}), **attempts}


def read_again(memory: Memory, unit: Unit) -> None:
    """Read a unit's markers as of now, for later: a replay has come to where its first attempt was prepared.

    Only what history says: a key function of the user's is not asked again.
    """
    markers = [
        (name, marker)
        for name, marker in unit.node.code.injected
        if marker.kind in READS_HISTORY and not callable(marker.key)
    ]
    unit.kept = inject(memory, markers, unit.node.component, unit.args, {})


def inject(
    memory: Memory,
    markers: Iterable[tuple[str, Marker]],
    component: str,
    inputs: tuple[Any, ...],
    context: Context,
) -> dict[str, Any]:
    """The values that markers ask for, by parameter name."""
    return {
        name: read_marker(memory, marker, component, inputs, context) for name, marker in markers
    }


def read_marker(
    memory: Memory, marker: Marker, component: str, inputs: tuple[Any, ...], context: Context
) -> Any:
    """The value that one marker asks for, as of now."""
    kind = marker.kind
    if kind == "context":
        return read_context(marker, component, context)
    if kind == "state_of":
        return read_state(memory, marker, inputs)
    if kind == TRANSACTION:
        return NoTransaction()
    if kind not in READS_HISTORY:
        return None
    node = memory.program.output_of(marker.name)
    track = memory.tracks.get(node.index)
    if kind == "latest":
        return None if track is None else track.newest
    if kind == "count":
        return 0 if track is None else track.count
    if kind == "ran":
        return track is not None
    return () if track is None or track.values is None else tuple(track.values)


def read_context(marker: Marker, component: str, context: Context) -> Any:
    """A run-time value: the component's own, else the global one, else the default."""
    for scope in (component, "_global"):
        values = context.get(scope)
        if values is not None and marker.name in values:
            return values[marker.name]
    if marker.default is NOT_GIVEN:
        raise UsageError(
            f"{component!r} asks for context({marker.name!r}), and nothing was given.",
            hint=f"pass run_context={{{component!r}: {{{marker.name!r}: ...}}}}, or give the marker a default.",
        )
    return marker.default() if callable(marker.default) else marker.default


def read_state(memory: Memory, marker: Marker, inputs: tuple[Any, ...]) -> Any:
    """An accumulator's state; before its first update, its initial value."""
    node = memory.program.output_of(marker.name)
    if not node.shape.keyed:
        cell = cell_of(memory, node, None)
        return cell.value if cell.started else _initial(node)
    cells = memory.cells.get(node.index, {})
    if marker.key is None:
        return {key: cell.value for key, cell in cells.items() if cell.started}
    key = marker.key(*inputs) if callable(marker.key) else marker.key
    found = cells.get(key)
    return found.value if found is not None and found.started else _initial(node)


def _initial(node: Any) -> Any:
    return None if node.code.initial is None else node.code.initial()
