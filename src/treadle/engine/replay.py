"""Replay: a memory from a journal, without running any user code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import structs

from treadle.engine.baseline import load
from treadle.engine.edit import Edit, apply_edit
from treadle.engine.fold import check_position, replay
from treadle.engine.memory import Memory
from treadle.errors import DefinitionError, LogError
from treadle.model.definition import Definition
from treadle.model.events import (
    Baseline,
    ComponentAdded,
    ComponentRemoved,
    ComponentReplaced,
    Defined,
    Event,
)
from treadle.model.lowering import relower
from treadle.model.nodes import NO_CODE, ComponentShape, Lowered, NodeSpec, Wiring
from treadle.model.work import Mark


def fresh(definition: Definition) -> Memory:
    """The memory of a run that is about to begin: only `Defined` has happened."""
    return Memory(definition.program(seal=True), definition, definition.retain, 1)


def at_rest(definition: Definition) -> Memory:
    """The memory of a template, to look at: nothing will run in it, so its program stays open to `add`."""
    return Memory(definition.program(), definition, definition.retain, 0)


def rebuild(
    definition: Definition, baseline: Baseline | None, journal: Iterable[Event | Mark | Edit]
) -> Memory:
    """Fold a journal's prefix into a memory of its own."""
    memory = fresh(definition) if baseline is None else load(definition, baseline)
    for entry in journal:
        if isinstance(entry, Edit):
            check_position(memory, entry.event)
            apply_edit(memory, entry)
        else:
            replay(memory, entry)
    return memory


Functions = Mapping[str, Lowered]
"""Where functions come from: lowered components by name."""


def with_functions(shape: ComponentShape, functions: Functions) -> Lowered:
    """A shape from a log with the functions of the component of its name, node by node."""
    wiring = Wiring(shape.sources, shape.join, shape.correlate)
    found = functions.get(shape.name)
    if found is None:
        return Lowered(shape.name, shape.kind, _without_code(shape), wiring, None, shape.prefix)
    if found.wiring.sources != wiring.sources or found.wiring.join != wiring.join:
        found = _lowered_anew(found, wiring)
    code = {spec.shape.key: spec.code for spec in found.specs}
    specs = tuple([NodeSpec(node, code.get(node.key, NO_CODE)) for node in shape.nodes])
    return Lowered(shape.name, shape.kind, specs, found.wiring, found.component, shape.prefix)


def _lowered_anew(found: Lowered, wiring: Wiring) -> Lowered:
    """The component under the log's wiring; where its ports no longer fit, its own code is kept as it is."""
    correlate_by = found.wiring.correlate_by
    try:
        return relower(found, structs.replace(wiring, correlate_by=correlate_by))
    except DefinitionError:
        return found


def _without_code(shape: ComponentShape) -> tuple[NodeSpec, ...]:
    return tuple(NodeSpec(node, NO_CODE) for node in shape.nodes)


def definition_from(defined: Defined, definition: Definition, functions: Functions) -> Definition:
    """The graph's shape from the log, its functions from the definition given."""
    if defined.name != definition.name:
        raise LogError(
            f"the log is of a workflow named {defined.name!r}, and the definition is {definition.name!r}.",
            hint="give the definition that made the log.",
        )
    lowered = [with_functions(shape, functions) for shape in defined.components]
    base = Definition(defined.name, defined.retain, [], 0)
    try:
        return base.with_components(lowered)
    except DefinitionError as error:
        raise LogError(
            f"the log's graph cannot be: {error.message}", hint="it is damaged."
        ) from error


def entries_from(events: Iterable[Event], functions: Functions) -> list[Event | Mark | Edit]:
    """A log's events as journal entries: edits get their functions back."""
    return [_entry(event, functions) for event in events]


def _entry(event: Any, functions: Functions) -> Event | Edit:
    if isinstance(event, (ComponentAdded, ComponentReplaced)):
        return Edit(event, (with_functions(event.component, functions),))
    if isinstance(event, ComponentRemoved):
        return Edit(event, tuple(with_functions(shape, functions) for shape in event.rewired))
    return event  # type: ignore[no-any-return]
