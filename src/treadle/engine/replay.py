"""Replay: a memory from a journal, without running any user code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import structs

from treadle.engine.baseline import load
from treadle.engine.edit import Edit, apply_edit
from treadle.engine.fold import check_position, replay
from treadle.engine.memory import Memory, scope_at, unit_at
from treadle.engine.prepare import read_again
from treadle.errors import DefinitionError, LogError
from treadle.model.definition import Definition, shape_of
from treadle.model.events import (
    AttemptFailed,
    Baseline,
    ComponentAdded,
    ComponentRemoved,
    ComponentReplaced,
    Defined,
    Event,
)
from treadle.model.fingerprints import REACHING, scheme_of
from treadle.model.lowering import relower
from treadle.model.nodes import Atom, ComponentShape, Lowered, NodeCode, NodeShape, NodeSpec, Wiring
from treadle.model.placing import conditions_in
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
    entries = list(journal)
    reads = reads_of_attempts(entries)
    for entry in entries:
        if reads:
            for failed in reads.pop(memory.position, ()):
                read_for(memory, failed)
        if isinstance(entry, Edit):
            check_position(memory, entry.event)
            apply_edit(memory, entry)
        else:
            replay(memory, entry)
    return memory


def reads_of_attempts(entries: list[Event | Mark | Edit]) -> dict[int, list[AttemptFailed]]:
    """The failed attempts whose markers read history, by where: later attempts are to see the same."""
    reads: dict[int, list[AttemptFailed]] = {}
    for entry in entries:
        if isinstance(entry, AttemptFailed) and entry.read_at is not None:
            reads.setdefault(entry.read_at, []).append(entry)
    return reads


def read_for(memory: Memory, failed: AttemptFailed) -> None:
    """Read what an attempt read that will fail further on in the log."""
    node = memory.program.by_key.get(failed.node)
    if node is None:
        return
    unit = unit_at(scope_at(memory, failed.scope, node.place), node.index)
    if unit is not None and unit.generation == failed.generation and unit.kept is None:
        read_again(memory, unit)


Functions = Mapping[str, list[Lowered]]
"""Where functions come from: for each name, the components that may be meant, most likely first."""


def with_functions(
    shape: ComponentShape, functions: Functions, instead_of: str = "", *, exact: bool = False
) -> Lowered:
    """A shape from a log with the functions of the component of its name, node by node.

    Of several the one with the log's fingerprint is taken. Code that is known to be what was replaced
    (`instead_of`, a fingerprint) is not taken for its replacement: then the function is missing. With `exact`
    only the log's own fingerprint will do.
    """
    wiring = Wiring(shape.sources, shape.join, shape.correlate)
    found = _chosen(shape, functions.get(shape.name, []), instead_of, exact=exact)
    if found is None:
        bare = _without_code(shape)
        recorded = shape.fingerprint
        return Lowered(shape.name, shape.kind, bare, wiring, None, shape.prefix, recorded)
    if found.wiring.sources != wiring.sources or found.wiring.join != wiring.join:
        found = _lowered_anew(found, wiring)
    code = {spec.shape.key: spec.code for spec in found.specs}
    specs = tuple(
        [NodeSpec(node, code.get(node.key) or missing_code(node)) for node in shape.nodes]
    )
    component, wiring = found.component, found.wiring
    recorded = earlier_mark(shape, found)
    return Lowered(shape.name, shape.kind, specs, wiring, component, shape.prefix, recorded)


def earlier_mark(shape: ComponentShape, found: Lowered) -> str:
    """The fingerprint of a log, where it is of an earlier scheme and by that the same: the log goes on saying it."""
    recorded = shape.fingerprint
    if not recorded or scheme_of(recorded) == REACHING:
        return ""
    return recorded if shape_of(found, recorded).fingerprint == recorded else ""


def _chosen(
    shape: ComponentShape, given: list[Lowered], instead_of: str, *, exact: bool
) -> Lowered | None:
    candidates = [each for each in given if each.component is not None]
    if len(candidates) == 1 and not instead_of and not exact:
        return candidates[0]
    recorded = shape.fingerprint
    for candidate in candidates:
        if shape_of(candidate, recorded).fingerprint == recorded:
            return candidate
    for candidate in candidates:
        if not exact and shape_of(candidate, instead_of).fingerprint != instead_of:
            return candidate
    return None


def _lowered_anew(found: Lowered, wiring: Wiring) -> Lowered:
    """The component under the log's wiring; where its ports no longer fit, its own code is kept as it is."""
    correlate_by = found.wiring.correlate_by
    try:
        return relower(found, structs.replace(wiring, correlate_by=correlate_by))
    except DefinitionError:
        return found


def _without_code(shape: ComponentShape) -> tuple[NodeSpec, ...]:
    return tuple([NodeSpec(node, missing_code(node)) for node in shape.nodes])


def missing_code(shape: NodeShape) -> NodeCode:
    """Stands in for functions that were not given: asked for, it says so."""
    own = [name for name in conditions_in(shape.expression) if _is_own(name, shape.key)]
    return NodeCode(missing=True, atoms=tuple([Atom(name) for name in own]))


def _is_own(condition: str, key: str) -> bool:
    """Whether a gate's expression asks a condition of its own, and not one known by name."""
    return condition == key or condition.startswith(f"{key}.")


def definition_from(
    head: Defined | Baseline,
    definition: Definition,
    functions: Functions,
    *,
    exact: bool = False,
    more: bool = True,
) -> Definition:
    """The graph's shape from the log, its functions from the definition given.

    `more`: there are functions of other definitions, too, and one of those may be the one that a name stands for.
    What a baseline says was replaced must be found by its fingerprint: the old code is not the new. With `exact`
    everything must.
    """
    defined = head.defined if isinstance(head, Baseline) else head
    replaced = set(head.state["generations"]) if isinstance(head, Baseline) else set()
    if defined.name != definition.name:
        raise LogError(
            f"the log is of a workflow named {defined.name!r}, and the definition is {definition.name!r}.",
            hint="give the definition that made the log.",
        )
    if not replaced and not more and is_of(defined, definition):
        return definition  # and its compiled program, which all its runs share
    lowered = [
        with_functions(shape, functions, exact=exact or shape.name in replaced)
        for shape in defined.components
    ]
    base = Definition(defined.name, defined.retain, [], 0)
    try:
        return base.with_components(lowered)
    except DefinitionError as error:
        raise LogError(
            f"the log's graph cannot be: {error.message}", hint="it is damaged."
        ) from error


def is_of(defined: Defined, definition: Definition) -> bool:
    """Whether a log's graph is this very definition: the same components, wired alike, of the same code."""
    if len(defined.components) != len(definition) or defined.retain != definition.retain:
        return False
    return definition.defined(None).components == defined.components


def entries_from(
    events: Iterable[Event], functions: Functions, defined: Defined, *, exact: bool = False
) -> list[Event | Mark | Edit]:
    """A log's events as journal entries: edits get their functions back."""
    latest = {shape.name: shape.fingerprint for shape in defined.components}
    return [_entry(event, functions, latest, exact=exact) for event in events]


EDITS: Final = frozenset({ComponentAdded, ComponentReplaced, ComponentRemoved})


def _entry(
    event: Any, functions: Functions, latest: dict[str, str], *, exact: bool
) -> Event | Edit:
    if type(event) not in EDITS:
        return event  # type: ignore[no-any-return]
    if isinstance(event, ComponentAdded):
        latest[event.component.name] = event.component.fingerprint
        return Edit(event, (with_functions(event.component, functions, exact=exact),))
    if isinstance(event, ComponentReplaced):
        shape = event.component
        before = latest.get(shape.name, "")
        latest[shape.name] = shape.fingerprint
        changed = before if before != shape.fingerprint else ""
        return Edit(event, (with_functions(shape, functions, changed, exact=exact),))
    if isinstance(event, ComponentRemoved):
        again = [with_functions(shape, functions, exact=exact) for shape in event.rewired]
        return Edit(event, tuple(again))
    return event  # type: ignore[no-any-return]
