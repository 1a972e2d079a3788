"""Joins across inputs, on request: the newest with the newest, the k-th with the k-th, or equal keys.

Each firing opens a scope under the scope of the fact that completed it, and counts there. A fact that waits for
its partner keeps no input open.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from treadle.engine.fanout import open_scopes
from treadle.engine.memory import Memory, spawn
from treadle.model.program import Node
from treadle.model.sentinels import ABSENT
from treadle.model.work import Arrival, Partners, Scope


def arrive_at_correlation(
    memory: Memory, node: Node, port: int, scope: Scope, arrival: Arrival, key: Any
) -> None:
    """A fact of one parent came; fire for each set of partners it completes."""
    if arrival[0] is ABSENT:
        return
    partners = memory.partners.setdefault(node.index, Partners())
    if node.shape.correlate == "latest":
        complete = _newest(node, partners, port, arrival)
    else:
        complete = _in_turn(node, partners, port, arrival, key)
    for arrivals in complete:
        (inside,) = open_scopes(memory, node, scope, 1)
        values = tuple([value for value, _ in arrivals])
        spawn(memory, node, inside, values, tuple([position for _, position in arrivals]))


def _newest(node: Node, partners: Partners, port: int, arrival: Arrival) -> list[list[Arrival]]:
    """Once per fact of the first parent, with the newest of the others."""
    leading = partners.waiting.setdefault(None, [deque()])[0]
    if port == 0:
        leading.append(arrival)
    else:
        partners.newest[port] = arrival
    if len(partners.newest) < node.width - 1:
        return []
    others = [partners.newest[other] for other in range(1, node.width)]
    complete = [[first, *others] for first in leading]
    leading.clear()
    return complete


def _in_turn(
    node: Node, partners: Partners, port: int, arrival: Arrival, key: Any
) -> list[list[Arrival]]:
    """The k-th fact of each parent with the k-th of the others, among those of one key."""
    lanes = partners.waiting.get(key)
    if lanes is None:
        lanes = partners.waiting[key] = [deque() for _ in range(node.width)]
    lanes[port].append(arrival)
    if not all(lanes):
        return []
    complete = [lane.popleft() for lane in lanes]
    if not any(lanes):
        del partners.waiting[key]
    return [complete]
