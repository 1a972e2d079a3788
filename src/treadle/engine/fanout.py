"""Fan-outs and the reduces that close them."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from treadle.engine.barriers import arm, disarm, reachable_barriers
from treadle.engine.joins import catch_up, is_broadcast_to
from treadle.engine.memory import Memory, ancestor, spawn
from treadle.errors import ItemsFailed, TreadleBug
from treadle.model.facts import Failure
from treadle.model.placing import below
from treadle.model.program import RACE, SETTLED, Node, Program
from treadle.model.sentinels import ABSENT
from treadle.model.work import Group, Scope


def open_scopes(memory: Memory, opener: Node, scope: Scope, count: int) -> list[Scope]:
    """Open `count` scopes below `scope`, after those that the opener opened before."""
    if scope.children is None:
        scope.children = {}
    kids = scope.children.setdefault(opener.index, [])
    first = len(kids)
    root, path, depth = scope.root, scope.path, scope.depth + 1
    opened = [Scope(root, scope, (*path, first + index), depth) for index in range(count)]
    kids.extend(opened)
    for join in receivers(memory.program, opener):
        for kid in opened:
            catch_up(memory, join, kid)
    return opened


def receivers(program: Program, opener: Node) -> list[Node]:
    """Race and settled joins inside an opener that have a parent outside it."""
    found = program.receivers.get(opener.index)
    if found is None:
        found = [
            node
            for node in program.nodes
            if node is not None
            and node.arrival in (RACE, SETTLED)
            and node.place[-1:] == (opener.index,)
            and is_broadcast_to(node)
        ]
        program.receivers[opener.index] = found
    return found


def closers(program: Program, opener: Node) -> list[Node]:
    """The reduces that close a fan-out."""
    found = program.closers.get(opener.index)
    if found is None:
        found = [node for node in program.nodes if node is not None and node.closes is opener]
        program.closers[opener.index] = found
    return found


def arm_closers(memory: Memory, opener: Node, scope: Scope, size: int) -> None:
    """A fan-out fired: each reduce that closes it waits for its items, also if there are none."""
    for reduce in closers(memory.program, opener):
        open_group(memory, reduce, scope, size)


def open_group(memory: Memory, reduce: Node, scope: Scope, size: int) -> None:
    """A reduce waits for the items of one fan-out."""
    if scope.groups is None:
        scope.groups = {}
    scope.groups[reduce.index] = Group(size)
    arm(memory, reduce, scope)


def arrive_at_reduce(node: Node, scope: Scope, value: Any, position: int) -> None:
    """Something of an item arrived; ABSENT is noted and passed over."""
    outer = scope
    while outer.depth > node.depth:
        outer = outer.parent
    group = (outer.groups or {}).get(node.index)
    if group is None:  # the reduce joined the graph after this fan-out had fired
        return
    if value is ABSENT:
        group.passed.add(scope.path[node.depth + 1])
    else:
        group.values.append((scope.path, value, position))


def note_failure(
    node: Node,
    scope: Scope,
    failure: Failure,
    position: int,
    only: frozenset[int] | None = None,
) -> None:
    """A runnable failed: reduces downstream (or `only` some) may have lost an item, or all of them."""
    for barrier in reachable_barriers(node):
        if barrier.closes is not None and (only is None or barrier.index in only):
            _note_failure_for(barrier, barrier.closes, node, scope, (failure, position))


def _note_failure_for(
    reduce: Node, closes: Node, node: Node, scope: Scope, arrival: tuple[Failure, int]
) -> None:
    if node.place[reduce.depth : reduce.depth + 1] == (closes.index,):
        group = (ancestor(scope, reduce.depth).groups or {}).get(reduce.index)
        if group is not None:
            # Of several failures in one item the first in the graph is kept, in whatever order they came.
            rank = (node.index, scope.path)
            item = scope.path[reduce.depth + 1]
            if item not in group.failed or rank < group.failed[item][0]:
                group.failed[item] = (rank, *arrival)
    elif node.place == reduce.place[: node.depth] and _bypasses(node, closes, reduce):
        if scope.broken is None:
            scope.broken = set()
        scope.broken.add(reduce.index)


def _bypasses(node: Node, fan_out: Node, reduce: Node) -> bool:
    """Whether a value of `node` reaches the reduce other than through the fan-out that it closes.

    A failure whose only way leads through the fan-out did not keep it from firing: something stood in for it.
    """
    seen = {fan_out}
    stack = [node]
    while stack:
        for child in below(stack.pop()):
            if child is reduce:
                return True
            if child not in seen:
                seen.add(child)
                stack.append(child)
    return False


def release_reduce(memory: Memory, node: Node, scope: Scope) -> None:
    """All is in: fold what arrived in item order, or fail for the items that did not."""
    if scope.groups is None:
        raise TreadleBug(f"the reduce {node.key!r} was armed without a group.")
    group = scope.groups.pop(node.index)
    item_at = node.depth + 1
    lost = []
    if group.failed:
        arrived = group.passed.union(path[item_at] for path, _, _ in group.values)
        lost = sorted(set(group.failed) - arrived)
    entries = group.values
    problem: ItemsFailed | None = None
    because: list[int] = []
    """For `why`: the failures that are the reason of this one."""
    if group.size and not entries and not group.passed and _is_broken(node, scope):
        problem = ItemsFailed(
            "nothing could arrive: something upstream, outside the items, failed."
        )
    elif lost and node.shape.on_item_failure == "fail":
        problem = _lost_items(lost, group.size)
        because = [group.failed[item][2] for item in lost]
    elif lost and node.shape.on_item_failure == "collect":
        entries += [((*scope.path, item), *group.failed[item][1:]) for item in lost]
    entries.sort(key=itemgetter(0))
    values = tuple([value for _, value, _ in entries])
    sources = [position for _, _, position in entries]
    unit = spawn(memory, node, scope, (values,), (*sources, *because))
    unit.problem = problem
    disarm(memory, node, scope)


def _is_broken(node: Node, scope: Scope | None) -> bool:
    while scope is not None:
        if scope.broken is not None and node.index in scope.broken:
            return True
        scope = scope.parent
    return False


def _lost_items(lost: list[int], size: int) -> ItemsFailed:
    shown = ", ".join(map(str, lost[:20])) + (", ..." if len(lost) > 20 else "")
    text = f"{len(lost)} of {size} items failed: {shown}."
    return ItemsFailed(text, items=tuple((item,) for item in lost))
