"""Bookkeeping of a memory, shared by the other modules of the engine: scopes, the ready queue, counts of live work.

Nothing here decides anything.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Any

from treadle.errors import LogError
from treadle.model.events import Path, Positions, Work
from treadle.model.program import Node
from treadle.model.work import OUT, READY, Memory, Root, Scope, Unit

__all__ = ["Memory"]  # re-exported: whoever uses this bookkeeping uses it on a memory


def new_root(memory: Memory, number: int, key: str | None) -> Root:
    """Open the root scope of an input."""
    root = Root(None, None, (number,), 0, number=number, key=key)  # type: ignore[arg-type]
    root.root = root
    memory.roots[number] = root
    memory.open_count += 1
    return root


def keep_unit(scope: Scope, unit: Unit) -> None:
    """Note a unit of work in its scope."""
    if scope.unit is None:
        scope.unit = unit
    elif scope.units is None:
        scope.units = {unit.node.index: unit}
    else:
        scope.units[unit.node.index] = unit


def drop_unit(scope: Scope, unit: Unit) -> None:
    """A unit of work is done with, or withdrawn."""
    if scope.unit is unit:
        scope.unit = None
    elif scope.units is not None:
        del scope.units[unit.node.index]


def unit_at(scope: Scope, index: int) -> Unit | None:
    """The unit of a node, by its index, in a scope."""
    unit = scope.unit
    if unit is not None and unit.node.index == index:
        return unit
    return None if scope.units is None else scope.units.get(index)


def units_of(scope: Scope) -> list[Unit]:
    """All units of a scope, in no particular order."""
    units = [] if scope.unit is None else [scope.unit]
    return units if scope.units is None else [*units, *scope.units.values()]


def spawn(
    memory: Memory, node: Node, scope: Scope, args: tuple[Any, ...], made_from: Positions
) -> Unit:
    """Make a unit of work and put it at the end of the ready queue."""
    unit = Unit(node, scope, args, made_from, memory.position, READY, node.generation)
    keep_unit(scope, unit)
    scope.root.live += 1
    for barrier in node.near:
        count_up(barrier, scope)
    memory.ready.append(unit)
    return unit


def retire(memory: Memory, node: Node, scope: Scope) -> None:
    """Some live work of `node` in `scope` is over: a unit, an unplanned fact, an armed barrier."""
    scope.root.live -= 1
    for barrier in node.near:
        count_down(memory, barrier, scope)


def enliven(node: Node, scope: Scope) -> None:
    """Count live work of `node` in `scope` that is no unit."""
    scope.root.live += 1
    for barrier in node.near:
        count_up(barrier, scope)


def count_up(barrier: Node, scope: Scope, by: int = 1) -> None:
    """Count live work upstream of a barrier, in the scope where the barrier looks for it.

    Only the nearest barriers count a unit of work; a barrier with work upstream of it counts, once, in the
    barriers behind it. So a step costs as many counts as it has barriers right below it, however many follow.
    """
    while scope.depth > barrier.depth:
        scope = scope.parent
    counts = scope.counts
    if counts is None:
        counts = scope.counts = {}
    before = counts.get(barrier.index, 0)
    counts[barrier.index] = before + by
    if before or not barrier.near:
        return
    behind = [(each, scope) for each in barrier.near]
    while behind:  # by hand, for a chain of barriers may be longer than the stack
        barrier, scope = behind.pop()
        while scope.depth > barrier.depth:
            scope = scope.parent
        if scope.counts is None:
            scope.counts = {}
        before = scope.counts.get(barrier.index, 0)
        scope.counts[barrier.index] = before + 1
        if not before:
            behind.extend((each, scope) for each in barrier.near)


def count_down(memory: Memory, barrier: Node, scope: Scope) -> None:
    """Undo one `count_up`; a barrier with nothing left upstream is to be looked at."""
    behind = [(barrier, scope)]
    while behind:
        barrier, scope = behind.pop()
        while scope.depth > barrier.depth:
            scope = scope.parent
        counts = scope.counts
        before = 0 if counts is None else counts.get(barrier.index, 0)
        if counts is None or not before:
            continue
        if before > 1:
            counts[barrier.index] = before - 1
            continue
        del counts[barrier.index]
        memory.checks.append((barrier, scope))
        behind.extend((each, scope) for each in barrier.near)


def ancestor(scope: Scope, depth: int) -> Scope:
    """The scope of this depth at or above `scope`."""
    while scope.depth > depth:
        scope = scope.parent
    return scope


def scopes_below(scope: Scope, place: tuple[int, ...]) -> list[Scope]:
    """The existing scopes at a place at or below the place of `scope`."""
    found = [scope]
    for opener in place[scope.depth :]:
        found = [kid for above in found for kid in (above.children or {}).get(opener, ())]
    return found


def scope_at(memory: Memory, path: Path, place: tuple[int, ...]) -> Scope:
    """The scope of a path, for a node that stands at `place`."""
    scope: Scope | None = memory.roots.get(path[0]) if path else None
    if scope is not None and len(path) == len(place) + 1:
        for opener, index in zip(place, path[1:], strict=True):
            kids = (scope.children or {}).get(opener, [])
            if not 0 <= index < len(kids):
                break
            scope = kids[index]
        else:
            return scope
    raise LogError(
        f"the log speaks of a scope {path} that was never opened.", hint="it is damaged."
    )


def walk(scope: Scope) -> list[Scope]:
    """A scope and all the scopes inside it."""
    found = [scope]
    for one in found:
        for kids in (one.children or {}).values():
            found.extend(kids)
    return found


def sort_tail(memory: Memory, start: int) -> None:
    """Put what one event made ready in order (node, item), where it was made in another order."""
    ready = memory.ready
    count = len(ready) - start
    if count < 2:
        return
    tail = [ready.pop() for _ in range(count)]
    tail.sort(key=lambda unit: (unit.node.index, unit.scope.path))
    ready.extend(tail)


def take_ready(memory: Memory) -> Unit | None:
    """The next unit in order: the oldest of what is ready and what was put back."""
    ready, released = memory.ready, memory.released
    if not released:
        return ready.popleft() if ready else None
    if ready:
        first = ready[0]
        if (first.made_at, first.node.index, first.scope.path) < released[0][:3]:
            return ready.popleft()
    return heapq.heappop(released)[3]


def put_back(memory: Memory, unit: Unit) -> None:
    """Make a unit that was handed out ready again, in its old place in the order."""
    memory.out.pop(unit, None)
    unit.status = READY
    heapq.heappush(memory.released, (unit.made_at, unit.node.index, unit.scope.path, unit))


def hand_out(memory: Memory, unit: Unit) -> None:
    """Note that a unit is in flight."""
    unit.status = OUT
    memory.out[unit] = None


def in_flight_of(memory: Memory, root: Root) -> tuple[Work, ...]:
    """The work of one input that is out: a halt leaves it alone, and the log says which it was."""
    return tuple(
        [(unit.node.key, unit.scope.path) for unit in memory.out if unit.scope.root is root]
    )


def forget_ready(memory: Memory, gone: set[Unit]) -> None:
    """Take units out of the queues; rare, so the queues are simply gone through."""
    memory.ready = deque(unit for unit in memory.ready if unit not in gone)
    memory.released = [entry for entry in memory.released if entry[3] not in gone]
    heapq.heapify(memory.released)
    for unit in gone:
        memory.out.pop(unit, None)
