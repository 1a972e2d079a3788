"""What happens downstream of a fact, a failure or an ABSENT: the routing from ports to nodes."""

from __future__ import annotations

from typing import Any

from treadle.engine import barriers, joins
from treadle.engine.correlate import arrive_at_correlation
from treadle.engine.fanout import (
    arm_closers,
    arrive_at_reduce,
    note_failure,
    open_scopes,
    release_reduce,
)
from treadle.engine.joins import arrive_at_join, fill_all
from treadle.engine.memory import (
    Memory,
    count_up,
    drop_unit,
    enliven,
    forget_ready,
    keep_unit,
    sort_tail,
    spawn,
    units_of,
    walk,
)
from treadle.engine.state import arrive_at_state, leave_cells
from treadle.engine.waits import arrive_at_wait, forget_waits
from treadle.model import nodes as kinds
from treadle.model.events import Path, Work
from treadle.model.facts import Failure
from treadle.model.program import ALL, CORRELATE, DIRECT, GROUP, RACE, SETTLED, STATE, WAIT, Node
from treadle.model.sentinels import ABSENT
from treadle.model.work import READY, Arrival, Root, Scope, Track, Unit, Unplanned


def deliver(memory: Memory, node: Node, scope: Scope, value: Any, position: int) -> None:
    """Give a node's fact to all that take it: the hottest loop of the engine, so its usual cases are in line."""
    for child, port in node.children:
        arrival = child.arrival
        if arrival is DIRECT:
            unit = Unit(child, scope, (value,), position, position, READY, child.generation)
            if scope.unit is None:
                scope.unit = unit
            else:
                keep_unit(scope, unit)
            scope.root.live += 1
            if child.near:
                for barrier in child.near:
                    count_up(barrier, scope)
            memory.ready.append(unit)
        elif arrival is ALL and child.depth == scope.depth:
            fill_all(memory, child, port, scope, value, position)
        elif arrival is GROUP and child.depth + 1 == scope.depth:
            group = (scope.parent.groups or {}).get(child.index)
            if group is not None:
                group.values.append((scope.path, value, position))
        else:
            arrive(memory, child, port, scope, (value, position))
    if node.plans:
        memory.unplanned.append(Unplanned(node, scope, value, position))
        enliven(node, scope)


def arrive(
    memory: Memory, node: Node, port: int, scope: Scope, arrival: Arrival, key: Any = None
) -> None:
    """One value (which may be ABSENT) for one port of a node of any kind."""
    how = node.arrival
    if how == DIRECT:
        if arrival[0] is ABSENT:
            _absent_at(memory, node, scope)
        else:
            spawn(memory, node, scope, (arrival[0],), arrival[1])
    elif how in (ALL, RACE, SETTLED):
        arrive_at_join(memory, node, port, scope, arrival)
    elif how == GROUP:
        arrive_at_reduce(node, scope, *arrival)
    elif how == STATE:
        if arrival[0] is ABSENT:
            memory.absents.append((node, scope))
        else:
            arrive_at_state(memory, node, scope, arrival, key)
    elif how == CORRELATE:
        arrive_at_correlation(memory, node, port, scope, arrival, key)
    elif how == WAIT:
        arrive_at_wait(memory, node, scope, arrival)


def _absent_at(memory: Memory, node: Node, scope: Scope) -> None:
    """A node whose ports are all ABSENT is not called and gives ABSENT; a fan-out or check gives nothing."""
    if node.kind in (kinds.STEP, kinds.REDUCE):
        memory.absents.append((node, scope))


def give_absent(memory: Memory, node: Node, scope: Scope) -> None:
    """Give ABSENT to all that take this node's value; conditions are false on it, and no key is asked."""
    scope.root.absents.append((node.key, scope.path, memory.position))
    for child, port in node.children:
        arrive(memory, child, port, scope, (ABSENT, memory.position))
    for watcher in node.watchers:
        if watcher.arrival is STATE:
            memory.absents.append((watcher, scope))


def expand(
    memory: Memory, node: Node, scope: Scope, values: tuple[Any, ...], position: int
) -> None:
    """Open a scope per element and give each element to the nodes inside."""
    opened = open_scopes(memory, node, scope, len(values))
    for child, port in node.children:
        if child.arrival is DIRECT:
            _spawn_items(memory, child, opened, values, position)
            continue
        for inside, value in zip(opened, values, strict=True):
            arrive(memory, child, port, inside, (value, position))
    if node.plans:
        for inside, value in zip(opened, values, strict=True):
            memory.unplanned.append(Unplanned(node, inside, value, position))
            enliven(node, inside)
    arm_closers(memory, node, scope, len(values))


def _spawn_items(
    memory: Memory, node: Node, opened: list[Scope], values: tuple[Any, ...], position: int
) -> None:
    """`spawn` for each element, with the counting done once for all of them."""
    if not opened:
        return
    generation = node.generation
    ready = memory.ready
    for inside, value in zip(opened, values, strict=True):
        unit = Unit(node, inside, (value,), position, position, READY, generation)
        if inside.unit is None:
            inside.unit = unit
        else:
            keep_unit(inside, unit)
        ready.append(unit)
    opened[0].root.live += len(opened)
    for barrier in node.near:
        if barrier.depth < opened[0].depth:
            count_up(barrier, opened[0], len(opened))
        else:
            for inside in opened:
                count_up(barrier, inside)


def fail(
    memory: Memory,
    node: Node,
    scope: Scope,
    failure: Failure,
    position: int,
    in_flight: tuple[Work, ...] = (),
) -> None:
    """Record what a failure means for the rest: the error port, barriers, and its `on_failure`."""
    if failure.on_failure == "halt":
        halt(memory, scope.root, set(in_flight))
        return
    for child, port in node.error_children:
        arrive(memory, child, port, scope, (failure, position))
    if failure.on_failure == "skip":
        give_absent(memory, node, scope)
        return
    note_failure(node, scope, failure, position)
    give_nothing(memory, node, scope)


def give_nothing(memory: Memory, node: Node, scope: Scope) -> None:
    """The node ran and gives nothing on its value port: settled joins are to know."""
    for child, port in node.children:
        if child.arrival == SETTLED:
            arrive_at_join(memory, child, port, scope, None)


def halt(memory: Memory, root: Root, in_flight: set[Work]) -> None:
    """Withdraw the work of an input that is not in flight; nothing in it becomes ready any more."""
    root.halted = True
    gone: set[Unit] = set()
    for scope in walk(root):
        for unit in units_of(scope):
            if (unit.node.key, scope.path) not in in_flight:
                gone.add(unit)
                drop_unit(scope, unit)
    root.live -= len(gone)
    forget_ready(memory, gone)
    forget_waits(memory, gone)
    start = len(memory.ready)
    leave_cells(memory, gone)
    sort_tail(memory, start)
    for armed in (root.armed or {}).values():
        root.live -= len(armed)
    root.armed = None
    left = [entry for entry in memory.unplanned if entry.scope.root is not root]
    root.live -= len(memory.unplanned) - len(left)
    memory.unplanned.clear()
    memory.unplanned.extend(left)


def drain(memory: Memory) -> bool:
    """Follow up what an event set off: ABSENTs first, then barriers that may be clear now.

    Says whether anything came of it, which then stands in no particular order in the ready queue.
    """
    absents, checks = memory.absents, memory.checks
    made = False
    while absents or checks:
        if absents:
            node, scope = absents.popleft()
            give_absent(memory, node, scope)
            made = True
            continue
        barrier, scope = checks.popleft()
        for clear in barriers.clear_scopes(barrier, scope):
            release(memory, barrier, clear)
            made = True
    return made


def release(memory: Memory, barrier: Node, scope: Scope) -> None:
    """Nothing upstream of an armed barrier can add anything any more: it fires."""
    if barrier.arrival is GROUP:
        release_reduce(memory, barrier, scope)
    elif barrier.arrival is SETTLED:
        joins.release_settled(memory, barrier, scope)
    else:
        joins.release_race(memory, barrier, scope)


def track(memory: Memory, node: Node, value: Any) -> None:
    """Keep what injection markers may ask of this component."""
    seen = memory.tracks.get(node.index)
    if seen is None:
        seen = memory.tracks[node.index] = Track(values=[] if node.tracks_all else None)
    seen.count += 1
    seen.newest = value
    if seen.values is not None:
        seen.values.append(value)


def close_if_quiet(memory: Memory, root: Root) -> None:
    """An input with nothing left to do is finished: note what starved, let its scopes go."""
    if root.live or root.done:
        return
    root.done = True
    memory.open_count -= 1
    if memory.closed is not None:
        memory.closed.append(root.number)
    memory.quiet.append(root.number)
    if memory.program.can_starve and (root.waiting or root.children):
        root.starved = tuple(_starved(memory, root))
    root.unit = root.units = None
    root.waiting = root.broadcasts = root.children = root.counts = root.groups = None
    root.armed = None


def _starved(memory: Memory, root: Root) -> list[tuple[str, Path, tuple[str, ...]]]:
    """Joins that some parent, broadcast ones included, gave to and that never fired."""
    found = []
    scopes: list[Scope] = [root]
    for scope in scopes:
        if scope.waiting:
            found.extend(joins.partial_joins(memory.program, scope))
        if not scope.children:
            continue
        for opener, kids in scope.children.items():
            for join in joins.broadcast_joins(memory.program, opener):
                for kid in kids:
                    joins.join_record(join, kid)
            scopes.extend(kids)
    return sorted(found)
