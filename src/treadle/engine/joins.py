"""Joins within a lineage: all, any, k of n, settled. How values arrive at the ports of one node.

A parent in an enclosing scope is broadcast: its value is kept in that scope, for the joins of all scopes
inside it, those that exist and those to come.
"""

from __future__ import annotations

from typing import Any

from treadle.engine.barriers import arm, disarm
from treadle.engine.memory import Memory, ancestor, scopes_below, spawn
from treadle.model.events import Path
from treadle.model.nodes import ERROR
from treadle.model.program import ALL, RACE, SETTLED, Node, Program
from treadle.model.sentinels import ABSENT
from treadle.model.work import Arrival, Scope, Waiting


def arrive_at_join(
    memory: Memory, node: Node, port: int, scope: Scope, arrival: Arrival | None
) -> None:
    """A value (or ABSENT) for one port; `None` says the parent ran and gave nothing (it failed)."""
    if scope.depth == node.depth:
        _fill(memory, node, port, scope, arrival)
        return
    if scope.broadcasts is None:
        scope.broadcasts = {}
    scope.broadcasts[node.index, port] = arrival
    for inside in scopes_below(scope, node.place):
        if node.arrival != ALL or node.index in (inside.waiting or ()):
            _fill(memory, node, port, inside, arrival)


def catch_up(memory: Memory, node: Node, scope: Scope) -> None:
    """In a scope just opened, give a race or settled join what was broadcast before."""
    for port, arrival in _broadcasts(node, scope):
        _fill(memory, node, port, scope, arrival)


def _broadcasts(node: Node, scope: Scope) -> list[tuple[int, Arrival | None]]:
    """What enclosing scopes hold for the ports of this join, in the order in which it came."""
    found: list[tuple[int, Arrival | None]] = []
    for port, (parent, gives) in enumerate(node.sources):
        depth = depth_of(parent, gives)
        if depth < node.depth:
            kept = ancestor(scope, depth).broadcasts
            if kept is not None and (node.index, port) in kept:
                found.append((port, kept[node.index, port]))
    found.sort(key=lambda entry: -1 if entry[1] is None else entry[1][1])
    return found


def depth_of(parent: Node, gives: str) -> int:
    """How deep in fan-outs a parent's value (or its failures) lies."""
    return parent.depth if gives == ERROR else len(parent.inner)


def is_broadcast_to(node: Node) -> bool:
    """Whether a join has a parent outside the innermost scope that it stands in."""
    return any(depth_of(parent, gives) < node.depth for parent, gives in node.sources)


def broadcast_joins(program: Program, opener: int) -> list[Node]:
    """The `all` joins inside an opener that have a parent outside it."""
    found = program.broadcast_joins.get(opener)
    if found is None:
        found = [
            node
            for node in program.by_key.values()
            if node.arrival == ALL and node.place[-1:] == (opener,) and is_broadcast_to(node)
        ]
        program.broadcast_joins[opener] = found
    return found


def join_record(node: Node, scope: Scope) -> None:
    """Make the record of a join that only broadcasts came to, unless it has one."""
    if scope.waiting is not None and node.index in scope.waiting:
        return
    waiting = waiting_at(node, scope)
    for port, kept in _broadcasts(node, scope):
        if kept is not None:
            _set(waiting, port, kept)


def waiting_at(node: Node, scope: Scope) -> Waiting:
    """The join's record in this scope, made on the first arrival."""
    if scope.waiting is None:
        scope.waiting = {}
    found = scope.waiting.get(node.index)
    if found is None:
        width = node.width
        found = Waiting([ABSENT] * width, [None] * width, width)
        scope.waiting[node.index] = found
    return found


def _fill(memory: Memory, node: Node, port: int, scope: Scope, arrival: Arrival | None) -> None:
    if node.arrival == ALL:
        if arrival is not None:
            fill_all(memory, node, port, scope, *arrival)
    elif node.arrival == RACE:
        if arrival is not None:
            _fill_race(memory, node, port, scope, arrival)
    else:
        _fill_settled(memory, node, port, scope, arrival)


def fill_all(
    memory: Memory, node: Node, port: int, scope: Scope, value: Any, position: int
) -> None:
    """`join="all"`: ready when each port has something; all ABSENT gives ABSENT."""
    table = scope.waiting
    if table is None:
        table = scope.waiting = {}
    waiting = table.get(node.index)
    if waiting is None:
        width = node.width
        waiting = table[node.index] = Waiting([ABSENT] * width, [None] * width, width)
        if node.depth:
            for broadcast_port, kept in _broadcasts(node, scope):
                if kept is not None and broadcast_port != port:
                    _set(waiting, broadcast_port, kept)
    waiting.values[port] = value
    waiting.sources[port] = position
    waiting.missing -= 1
    if value is ABSENT:
        waiting.has_absent = True
    if waiting.missing:
        return
    if node.depth:
        waiting.is_done = True  # a broadcast that is still to come must not begin it anew
    else:
        del table[node.index]
    if waiting.has_absent:
        _fire(memory, node, scope, waiting)
    else:
        spawn(memory, node, scope, tuple(waiting.values), tuple(waiting.sources))  # type: ignore[arg-type]


def _set(waiting: Waiting, port: int, arrival: Arrival) -> None:
    value, position = arrival
    waiting.values[port] = value
    waiting.sources[port] = position
    waiting.missing -= 1
    if value is ABSENT:
        waiting.has_absent = True


def _fire(memory: Memory, node: Node, scope: Scope, waiting: Waiting) -> None:
    """Make the join's unit of work, or pass ABSENT on if nothing else came."""
    values = waiting.values
    sources = tuple(
        source
        for value, source in zip(values, waiting.sources, strict=True)
        if source is not None and value is not ABSENT
    )
    if not sources:
        memory.absents.append((node, scope))
        return
    spawn(memory, node, scope, tuple(values), sources)


def _fill_race(memory: Memory, node: Node, port: int, scope: Scope, arrival: Arrival) -> None:
    """`join="any"` and `join=k`: fires on the first or k-th value; ABSENT only arms the barrier."""
    waiting = waiting_at(node, scope)
    if waiting.is_done:
        return
    value, position = arrival
    if value is ABSENT:
        arm(memory, node, scope)
        return
    wanted = 1 if node.shape.join == "any" else int(node.shape.join)
    _set(waiting, port, arrival)
    if node.width - waiting.missing < wanted:
        return
    waiting.is_done = True
    if node.shape.join == "any":
        spawn(memory, node, scope, (value,), position)
    else:
        _fire(memory, node, scope, waiting)
    disarm(memory, node, scope)


def release_race(memory: Memory, node: Node, scope: Scope) -> None:
    """Nothing else can come: the join gives ABSENT."""
    waiting_at(node, scope).is_done = True
    memory.absents.append((node, scope))
    disarm(memory, node, scope)


def _fill_settled(
    memory: Memory, node: Node, port: int, scope: Scope, arrival: Arrival | None
) -> None:
    waiting = waiting_at(node, scope)
    if waiting.is_done:
        return
    if arrival is not None and arrival[0] is not ABSENT:
        _set(waiting, port, arrival)
    arm(memory, node, scope)


def release_settled(memory: Memory, node: Node, scope: Scope) -> None:
    """Fire with what came; the ports of parents that gave nothing hold ABSENT."""
    waiting = waiting_at(node, scope)
    waiting.is_done = True
    _fire(memory, node, scope, waiting)
    disarm(memory, node, scope)


def partial_joins(program: Program, scope: Scope) -> list[tuple[str, Path, tuple[str, ...]]]:
    """The joins of a scope that were given something and did not fire: whose, where, who gave nothing."""
    found = []
    for index, waiting in (scope.waiting or {}).items():
        node = program.nodes[index]
        if node is not None and is_partial(node, waiting):
            found.append((node.component, scope.path, missing_parents(node, waiting)))
    return found


def missing_parents(node: Node, waiting: Waiting) -> tuple[str, ...]:
    """The parents of a half-full join that gave nothing."""
    return tuple(
        [
            parent.component
            for (parent, _), source in zip(node.sources, waiting.sources, strict=True)
            if source is None
        ]
    )


def is_partial(node: Node, waiting: Waiting) -> bool:
    """Whether a join was given something and did not fire; a settled join that did not was withdrawn."""
    return (
        node.arrival != SETTLED
        and not waiting.is_done
        and any(source is not None for source in waiting.sources)
    )
