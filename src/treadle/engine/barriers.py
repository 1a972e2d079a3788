"""Barriers: nodes that fire once, when nothing upstream of them can add anything any more.

A settled join, a reduce, and an `any`/k join that was given an ABSENT are *armed* by an arrival and *clear* when
no live work upstream of them is left in their scope, the scopes around it, or the scopes inside it. An armed
barrier is itself live work for the barriers behind it. The counts are kept by `memory.count_up`/`count_down`.
"""

from __future__ import annotations

from treadle.engine.memory import Memory, enliven, retire
from treadle.model.program import Node
from treadle.model.work import Root, Scope


def arm(memory: Memory, barrier: Node, scope: Scope) -> None:
    """Make a barrier wait for its scope; does nothing if it already does."""
    root = scope.root
    if root.armed is None:
        root.armed = {}
    armed = root.armed.setdefault(barrier.index, {})
    if scope in armed:
        return
    armed[scope] = None
    enliven(barrier, scope)
    memory.checks.append((barrier, scope))


def disarm(memory: Memory, barrier: Node, scope: Scope) -> bool:
    """Stop a barrier from waiting; says whether it did."""
    armed = (scope.root.armed or {}).get(barrier.index)
    if armed is None or scope not in armed:
        return False
    del armed[scope]
    retire(memory, barrier, scope)
    return True


def clear_scopes(barrier: Node, scope: Scope) -> list[Scope]:
    """The scopes at or below `scope` where the barrier is armed and nothing upstream is live."""
    root: Root = scope.root
    armed = (root.armed or {}).get(barrier.index)
    if not armed or root.halted:
        return []
    if scope.depth == barrier.depth:
        return [scope] if scope in armed and is_clear(barrier, scope) else []
    inside = [each for each in armed if each.path[: len(scope.path)] == scope.path]
    return [each for each in inside if is_clear(barrier, each)]


def is_clear(barrier: Node, scope: Scope | None) -> bool:
    """Whether no live work upstream of the barrier is in this scope, inside it, or around it."""
    while scope is not None:
        if scope.counts is not None and barrier.index in scope.counts:
            return False
        scope = scope.parent
    return True


def reachable_barriers(node: Node) -> list[Node]:
    """All barriers downstream of a node, near and far."""
    found = dict.fromkeys(node.near)
    stack = list(node.near)
    while stack:
        for barrier in stack.pop().near:
            if barrier not in found:
                found[barrier] = None
                stack.append(barrier)
    return list(found)
