"""Waits: work that is neither ready nor out, but stands until a signal comes or its time is over.

A value that arrives at a wait is work for planning: the wait is *opened* there, since its key and its time are asked
of the user's functions. What ends it, a signal or a moment, is recorded first; then it is work for planning once
more, which records what came of it (`engine/answers.py`). Nothing here asks anybody anything.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from treadle.engine.memory import Memory, enliven, keep_unit, retire, scope_at, unit_at
from treadle.errors import LogError
from treadle.model import nodes as kinds
from treadle.model.events import Path, Signalled, TimerFired, TimerSet, WaitOpened
from treadle.model.program import Node
from treadle.model.sentinels import ABSENT
from treadle.model.work import WAITING, Arrival, Scope, Unit, UnplannedWait, Wait, Waits

STALE_MAX = 64
"""How many more moments than waits may be remembered before they are gone through."""


def waits_of(memory: Memory) -> Waits:
    """What waits, made when first needed: most workflows never wait."""
    if memory.waits is None:
        memory.waits = Waits()
    return memory.waits


def arrive_at_wait(memory: Memory, node: Node, scope: Scope, arrival: Arrival) -> None:
    """A value to wait with."""
    value, position = arrival
    if value is ABSENT:
        memory.absents.append((node, scope))
        return
    unit = Wait(node, scope, (value,), position, memory.position, WAITING, node.generation)
    keep_unit(scope, unit)
    enliven(node, scope)
    waits_of(memory).units[unit] = None
    to_planning(memory, unit)


def to_planning(memory: Memory, unit: Wait) -> None:
    """The wait is to be opened, or to be brought to its end."""
    position = unit.made_from if isinstance(unit.made_from, int) else unit.made_from[0]
    memory.unplanned.append(UnplannedWait(unit.node, unit.scope, unit.args[0], position))
    enliven(unit.node, unit.scope)


def opened(memory: Memory, unit: Wait, event: WaitOpened) -> None:
    """It stands from now on; where a signal came before it, or it failed, it is to be brought to its end."""
    waits = waits_of(memory)
    unit.scope.root.events.append(event)
    unit.opened = event
    if event.signal is not None:
        unit.answer = take_kept(waits, event)
    if unit.answer is not None or event.error is not None:
        to_planning(memory, unit)
    else:
        stand(waits, unit, event.due_at)
    retire(memory, unit.node, unit.scope)
    memory.position += 1


def stand(waits: Waits, unit: Wait, due_at: float | None) -> None:
    """Let an opened wait be found by its signal and its moment."""
    event = unit.opened
    if event is None:
        return
    if unit.node.kind == kinds.WAIT:
        by_key = waits.open.setdefault(event.name, {})
        by_key.setdefault(event.key or "", {})[unit] = None
    if event.timeout_s is None:
        return
    if due_at is None:
        waits.unset[unit] = None
        return
    unit.due_at = due_at
    heapq.heappush(waits.timers, (due_at, event.position, unit))


def lie_down(waits: Waits, unit: Wait) -> None:
    """Let it be found no more."""
    event = unit.opened
    waits.unset.pop(unit, None)
    by_key = None if event is None else waits.open.get(event.name)
    if event is not None and by_key is not None:
        listed = by_key.get(event.key or "", {})
        listed.pop(unit, None)
        if not listed:
            by_key.pop(event.key or "", None)
        if not by_key:
            del waits.open[event.name]
    if len(waits.timers) > 2 * len(waits.units) + STALE_MAX:
        waits.timers = [entry for entry in waits.timers if is_pending(waits, entry[2])]
        heapq.heapify(waits.timers)


def is_pending(waits: Waits, unit: Wait) -> bool:
    """Whether nothing has ended this wait yet."""
    return unit.answer is None and unit in waits.units


def signalled(memory: Memory, event: Signalled) -> None:
    """A signal came: it ends the wait it names, or is kept."""
    waits = waits_of(memory)
    if event.node is None:
        keep(waits, event)
    else:
        unit = wait_at(memory, event.node, event.scope, event.position)
        unit.scope.root.events.append(event)
        unit.answer = event
        lie_down(waits, unit)
        to_planning(memory, unit)
    memory.position += 1


def keep(waits: Waits, event: Signalled) -> None:
    """Nobody waits for this signal yet."""
    waits.kept.setdefault(event.name, {}).setdefault(event.key, deque()).append(event)


def timer_set(memory: Memory, event: TimerSet) -> None:
    """The clock of a wait begins."""
    unit = wait_at(memory, event.node, event.scope, event.position)
    unit.scope.root.events.append(event)
    waits = waits_of(memory)
    waits.unset.pop(unit, None)
    stand(waits, unit, event.due_at)
    memory.position += 1


def timer_fired(memory: Memory, unit: Wait, event: TimerFired) -> None:
    """The moment of a wait has come, and nobody takes its timeouts: it is to be brought to its end."""
    unit.scope.root.events.append(event)
    unit.answer = event
    lie_down(waits_of(memory), unit)
    to_planning(memory, unit)
    memory.position += 1


def wait_at(memory: Memory, key: str, path: Path, position: int) -> Wait:
    """The wait that an event speaks of: opened, and not ended yet."""
    node = memory.program.by_key.get(key)
    unit = None if node is None else unit_at(scope_at(memory, path, node.place), node.index)
    if isinstance(unit, Wait) and unit.answer is None:
        event = unit.opened
        if event is not None and event.error is None:
            return unit
    raise LogError(
        f"event {position} speaks of a wait of {key!r} in {path} that was not open.",
        hint="the log is damaged, or belongs to another definition.",
    )


def first_kept(waits: Waits | None, name: str, key: str) -> Signalled | None:
    """The signal that came first of those that a wait of this name and key may take."""
    by_key = None if waits is None else waits.kept.get(name)
    if not by_key:
        return None
    firsts = [by_key[each][0] for each in (None, key) if each in by_key]
    return min(firsts, key=lambda event: event.position, default=None)


def take_kept(waits: Waits, event: WaitOpened) -> Signalled:
    """The kept signal that a wait was opened with."""
    by_key = waits.kept.get(event.name, {})
    for key in (None, event.key):
        kept = by_key.get(key)
        if kept and kept[0].position == event.signal:
            found = kept.popleft()
            if not kept:
                del by_key[key]
            if not by_key:
                del waits.kept[event.name]
            return found
    raise LogError(
        f"event {event.position} takes a signal from position {event.signal} that was not kept.",
        hint="the log is damaged.",
    )


def leave_wait(memory: Memory, unit: Wait) -> None:
    """What came of a wait is about to be recorded: it waits no more, and planning is done with it."""
    waits_of(memory).units.pop(unit, None)
    retire(memory, unit.node, unit.scope)


def forget_waits(memory: Memory, gone: Iterable[Unit]) -> None:
    """Waits were withdrawn."""
    waits = memory.waits
    if waits is None:
        return
    for unit in gone:
        if isinstance(unit, Wait):
            waits.units.pop(unit, None)
            lie_down(waits, unit)


def next_timer(memory: Memory) -> Wait | None:
    """The wait whose moment comes first."""
    waits = memory.waits
    if waits is None:
        return None
    while waits.timers:
        unit = waits.timers[0][2]
        if is_pending(waits, unit):
            return unit
        heapq.heappop(waits.timers)
    return None


def next_due(memory: Memory) -> float | None:
    """The moment that comes first, if there is one."""
    unit = next_timer(memory)
    return None if unit is None else unit.due_at


def waits_in_order(memory: Memory) -> list[Wait]:
    """All waits that stand, in the order of opening."""
    waits = memory.waits
    if waits is None:
        return []
    standing = [
        (unit.opened.position, unit)
        for unit in waits.units
        if unit.opened is not None and unit.opened.error is None and unit.answer is None
    ]
    return [unit for _, unit in sorted(standing, key=lambda entry: entry[0])]
