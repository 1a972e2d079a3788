"""Edits to a workflow under way: what adding, replacing and removing a component does to its memory."""

from __future__ import annotations

from msgspec import Struct

from treadle.engine import deliver as route
from treadle.engine.backfill import feed
from treadle.engine.joins import waiting_at
from treadle.engine.memory import (
    Memory,
    count_up,
    drop_unit,
    forget_ready,
    keep_unit,
    sort_tail,
    units_of,
    walk,
)
from treadle.engine.state import cell_of
from treadle.engine.waits import forget_waits, to_planning, waits_of
from treadle.errors import DefinitionError, LogError
from treadle.model import nodes as kinds
from treadle.model.events import (
    Applied,
    ComponentAdded,
    ComponentRemoved,
    ComponentReplaced,
)
from treadle.model.nodes import Lowered
from treadle.model.program import Node, Program, compile_program
from treadle.model.work import QUEUED, READY, WAITING, Root, Scope, Unit, UnplannedWait, Wait

EditEvent = ComponentAdded | ComponentReplaced | ComponentRemoved


class Edit(Struct, frozen=True):
    """A journal entry: the event, and the functions that it does not carry."""

    event: EditEvent
    lowered: tuple[Lowered, ...] = ()


def own_program(memory: Memory) -> Program:
    """A program that this memory alone uses, with the same indices as the one it shared."""
    program = memory.program
    if program.sealed:
        program = compile_program(memory.definition.components())
        rebind(memory, program)
    return program


def rebind(memory: Memory, program: Program) -> None:
    """Point all live work at the nodes of another program of the same graph."""
    memory.program = program
    units = [*memory.ready, *memory.out, *[entry[3] for entry in memory.released]]
    for cells in memory.cells.values():
        for cell in cells.values():
            units.extend(cell.queue)
    if memory.waits is not None:
        units.extend(memory.waits.units)
    for unit in units:
        unit.node = _same(program, unit.node)
    for entry in memory.unplanned:
        entry.node = _same(program, entry.node)


def _same(program: Program, node: Node) -> Node:
    found = program.nodes[node.index]
    if found is None or found.key != node.key:
        raise LogError(f"the node {node.key!r} changed its place in the graph.")
    return found


def apply_edit(memory: Memory, edit: Edit) -> None:
    """Fold one edit: change the program, then what is live."""
    event = edit.event
    program = own_program(memory)
    start = len(memory.ready)
    if isinstance(event, ComponentAdded):
        added = program.add(edit.lowered[0])
        program.settle()
        _keep_from(memory, {node.index for node in added})
        _track_anew(memory)
        recount(memory)
        if event.backfill:
            feed(memory, added)
            recount(memory)
    elif isinstance(event, ComponentReplaced):
        _replace(memory, program, edit.lowered[0], reset=event.reset)
    else:
        _remove(memory, program, event.name, edit.lowered)
    if memory.absents or memory.checks:
        route.drain(memory)
    sort_tail(memory, start)
    memory.definition = memory.definition.following(list(program.components.values()))
    memory.position += 1
    for root in list(memory.roots.values()):
        route.close_if_quiet(memory, root)


def _keep_from(memory: Memory, fresh: set[int]) -> None:
    """Facts from before an addition that are still unplanned are not for the new watchers.

    Where they are wanted, a backfill asks for them on its own.
    """
    for entry in memory.unplanned:
        watchers = {watcher.index for watcher in entry.node.watchers}
        if entry.only is None and watchers & fresh and type(entry) is not UnplannedWait:
            entry.only = frozenset(watchers - fresh)


def _replace(memory: Memory, program: Program, lowered: Lowered, *, reset: bool) -> None:
    """Pending work of the old code is withdrawn and ready again under the new, as a new generation."""
    old = {program.by_key[spec.shape.key].index for spec in program.components[lowered.name].specs}
    pending = _pending(memory, old)
    nodes = {node.index: node for node in program.replace(lowered)}
    program.settle()
    for unit in pending:
        _withdraw(memory, unit)
    if reset:
        for index in old:
            memory.cells.pop(index, None)
            memory.partners.pop(index, None)
        _drop_signals(memory, lowered.name)
    for unit in pending:
        if unit.node.index in nodes:
            _again(memory, nodes[unit.node.index], unit)
    _forget(memory, old - set(nodes))
    _track_anew(memory)
    recount(memory)


def check_form(memory: Memory, lowered: Lowered, *, reset: bool) -> None:
    """A component with work pending can be replaced only by one whose nodes take that work as it is."""
    old = memory.program.components[lowered.name]
    if form(old) == form(lowered):
        return
    indices = {memory.program.by_key[spec.shape.key].index for spec in old.specs}
    gates = {memory.program.by_key[key] for key, _ in old.wiring.sources}
    busy = is_busy(memory, indices, gates)
    if busy or (not reset and any(memory.cells.get(index) for index in indices)):
        raise DefinitionError(
            f"{lowered.name!r} has work pending or a state, which a {lowered.kind} made in another way cannot "
            "take over.",
            hint="let the work finish first, or remove the component and add the new one"
            f"{'' if busy else ' (reset=True drops the state)'}.",
        )


def is_busy(memory: Memory, indices: set[int], parents: set[Node]) -> bool:
    """Whether nodes have something to do: work, what waits for more, or facts of their parents to be planned."""
    return (
        bool(_pending(memory, indices))
        or any(entry.node in parents for entry in memory.unplanned)
        or any(index in memory.partners for index in indices)
        or any(holds_for(root, indices) for root in memory.roots.values() if not root.done)
    )


def form(lowered: Lowered) -> list[tuple[object, ...]]:
    """What pending work depends on: the nodes, their kinds, and how they join."""
    return [
        (shape.key, shape.kind, shape.sources, shape.join, shape.correlate, shape.keyed, shape.over)
        for shape in (spec.shape for spec in lowered.specs)
    ]


def holds_for(root: Root, indices: set[int]) -> bool:
    """Whether an input has something that waits at some nodes."""
    if any((root.armed or {}).get(index) for index in indices):
        return True
    return any(
        any(index in (held or ()) for held in (scope.waiting, scope.groups) for index in indices)
        or any(at[0] in indices for at in scope.broadcasts or ())
        for scope in walk(root)
    )


def _pending(memory: Memory, indices: set[int]) -> list[Unit]:
    """Live units of some nodes, in the order in which they were made."""
    found = [
        unit
        for root in memory.roots.values()
        if not root.done
        for scope in walk(root)
        for unit in units_of(scope)
        if unit.node.index in indices
    ]
    return sorted(found, key=lambda unit: (unit.made_at, unit.node.index, unit.scope.path))


def _withdraw(memory: Memory, unit: Unit) -> None:
    """Take a unit out; should an outcome of it come, the first will be recorded as orphaned.

    Whether it is in flight is not asked: the log does not say, and a fold must not depend on it. A wait never is.
    """
    if isinstance(unit, Wait):
        forget_waits(memory, [unit])
    else:
        memory.withdrawn[unit.node.key, unit.generation, unit.scope.path] = None
        forget_ready(memory, {unit})
    drop_unit(unit.scope, unit)
    unit.scope.root.live -= 1
    cell = unit.cell
    if cell is not None:
        if cell.busy is unit:
            cell.busy = None
        elif unit in cell.queue:
            cell.queue.remove(unit)


def _again(memory: Memory, node: Node, old: Unit) -> None:
    """The same work under new code."""
    if isinstance(old, Wait):
        _wait_again(memory, node, old)
        return
    unit = Unit(node, old.scope, old.args, old.made_from, memory.position, READY, node.generation)
    unit.problem = old.problem
    keep_unit(old.scope, unit)
    old.scope.root.live += 1
    if node.kind == kinds.STATE:
        cell = unit.cell = cell_of(memory, node, None if old.cell is None else old.cell.key)
        if cell.busy is not None:
            unit.status = QUEUED
            cell.queue.append(unit)
            return
        cell.busy = unit
    memory.ready.append(unit)


def _wait_again(memory: Memory, node: Node, old: Wait) -> None:
    """A wait under new code is opened anew, unless it was ended already; what was to be planned still is."""
    unit = Wait(node, old.scope, old.args, old.made_from, memory.position, WAITING, node.generation)
    keep_unit(old.scope, unit)
    old.scope.root.live += 1
    waits_of(memory).units[unit] = None
    if old.answer is not None:
        unit.opened, unit.answer = old.opened, old.answer
    elif old.opened is not None and old.opened.error is None:
        to_planning(memory, unit)


def _drop_signals(memory: Memory, name: str) -> None:
    """Signals that were kept for a component are gone with it."""
    if memory.waits is not None:
        memory.waits.kept.pop(name, None)


def _remove(memory: Memory, program: Program, name: str, rewired: tuple[Lowered, ...]) -> None:
    """Drop a component with its work; its children take from its parents from now on."""
    names = [name, *[lowered.name for lowered in rewired]]
    before = {
        spec.shape.key: (program.by_key[spec.shape.key].index, program.by_key[spec.shape.key].width)
        for each in names
        for spec in program.components[each].specs
    }
    program.remove(name, rewired)
    program.settle()
    _drop_signals(memory, name)
    stale = {
        index
        for key, (index, width) in before.items()
        if key not in program.by_key or program.by_key[key].width != width
    }
    withdrawn = _pending(memory, stale)
    for unit in withdrawn:
        _withdraw(memory, unit)
    fired = _fired(memory, stale) - {(unit.node.index, unit.scope) for unit in withdrawn}
    _forget(memory, stale)
    for index, scope in fired:
        node = program.nodes[index]
        if node is not None:
            waiting_at(node, scope).is_done = True
    for index in stale:
        if program.nodes[index] is None:
            memory.cells.pop(index, None)
            memory.tracks.pop(index, None)
        memory.partners.pop(index, None)
    recount(memory)


def _fired(memory: Memory, indices: set[int]) -> set[tuple[int, Scope]]:
    """Where the joins among these nodes gave all that they give, so that nothing that still arrives is for them."""
    return {
        (index, scope)
        for root in memory.roots.values()
        for scope in walk(root)
        for index, waiting in (scope.waiting or {}).items()
        if index in indices and waiting.is_done
    }


def _forget(memory: Memory, indices: set[int]) -> None:
    """Drop what is held for nodes that are gone, or whose ports changed."""
    for entry in list(memory.unplanned):
        if entry.node.index in indices and memory.program.nodes[entry.node.index] is None:
            memory.unplanned.remove(entry)
            entry.scope.root.live -= 1
    for root in memory.roots.values():
        for index in indices:
            root.live -= len((root.armed or {}).pop(index, ()))
        for scope in walk(root):
            for held in (scope.waiting, scope.groups):
                for index in indices:
                    if held is not None:
                        held.pop(index, None)
            for index in indices:
                if memory.program.nodes[index] is None and scope.children is not None:
                    scope.children.pop(index, None)
                if scope.broken is not None:
                    scope.broken.discard(index)
            if scope.broadcasts is not None:
                scope.broadcasts = {
                    at: kept for at, kept in scope.broadcasts.items() if at[0] not in indices
                }


def recount(memory: Memory) -> None:
    """Count live work above each barrier anew, after the wiring changed."""
    if not memory.program.has_barriers:
        return
    for root in memory.roots.values():
        if root.done:
            continue
        scopes = walk(root)
        for scope in scopes:
            scope.counts = None
        for scope in scopes:
            for unit in units_of(scope):
                _count(unit.node, scope)
        for index, armed in (root.armed or {}).items():
            barrier = memory.program.nodes[index]
            for scope in armed:
                if barrier is not None:
                    _count(barrier, scope)
                    memory.checks.append((barrier, scope))
    for entry in memory.unplanned:
        _count(entry.node, entry.scope)


def _count(node: Node, scope: Scope) -> None:
    for barrier in node.near:
        count_up(barrier, scope)


def _track_anew(memory: Memory) -> None:
    """Gather what a new marker asks of components that nobody asked about before."""
    program = memory.program
    asked = {
        node.key: node
        for node in program.by_key.values()
        if node.tracked
        and (
            node.index not in memory.tracks
            or (node.tracks_all and memory.tracks[node.index].values is None)
        )
    }
    if not asked:
        return
    for node in asked.values():
        memory.tracks.pop(node.index, None)
    events = [
        event
        for root in memory.roots.values()
        for event in root.events
        if isinstance(event, Applied) and event.node in asked
    ]
    for event in sorted(events, key=lambda event: event.position):
        route.track(memory, asked[event.node], event.value)
