"""Stateful nodes: one runnable at a time per key, first come first served, so that no update is lost."""

from __future__ import annotations

from typing import Any

from treadle.engine.memory import Memory, enliven, keep_unit
from treadle.model.program import Node
from treadle.model.work import QUEUED, READY, Arrival, Cell, Scope, Unit


def cell_of(memory: Memory, node: Node, key: Any) -> Cell:
    """The state of this key, made when first needed; its value is computed when first prepared."""
    cells = memory.cells.setdefault(node.index, {})
    cell = cells.get(key)
    if cell is None:
        cell = cells[key] = Cell(key, None)
    return cell


def arrive_at_state(memory: Memory, node: Node, scope: Scope, arrival: Arrival, key: Any) -> None:
    """A value to fold: ready if nobody is at work on this state, else it queues."""
    value, position = arrival
    cell = cell_of(memory, node, key)
    unit = Unit(node, scope, (value,), position, memory.position, generation=node.generation)
    unit.cell = cell
    keep_unit(scope, unit)
    enliven(node, scope)
    if cell.busy is None:
        cell.busy = unit
        memory.ready.append(unit)
    else:
        unit.status = QUEUED
        cell.queue.append(unit)


def leave_cell(memory: Memory, unit: Unit) -> None:
    """A unit is done with its state (or was withdrawn): the next in line becomes ready."""
    cell = unit.cell
    if cell is None:
        return
    if cell.busy is not unit:
        cell.queue.remove(unit)
        return
    cell.busy = None
    if cell.queue:
        following = cell.queue.popleft()
        following.status = READY
        following.made_at = memory.position
        cell.busy = following
        memory.ready.append(following)


def leave_cells(memory: Memory, gone: set[Unit]) -> None:
    """Several units were withdrawn at once: none of them may be next in line."""
    stateful = [unit for unit in gone if unit.cell is not None]
    for unit in sorted(stateful, key=lambda unit: unit.status != QUEUED):
        leave_cell(memory, unit)
