"""Baselines: a memory as plain data, and back. What `retain` folds the past into, and how two memories compare.

Everything is said by node key and scope path, never by index, so a baseline can be loaded into a program that
was compiled anew. In-flight marks and counts are left out: the first are no part of a log, the second follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from treadle.engine.edit import recount
from treadle.engine.memory import Memory, keep_unit, new_root, units_of, walk
from treadle.engine.state import cell_of
from treadle.engine.waits import keep, stand, waits_in_order, waits_of
from treadle.errors import ItemsFailed
from treadle.model.definition import Definition
from treadle.model.events import Baseline, Path, Signalled
from treadle.model.markers import READS_HISTORY
from treadle.model.program import Node, compile_program
from treadle.model.work import (
    QUEUED,
    READY,
    WAITING,
    Group,
    Partners,
    Root,
    Scope,
    Track,
    Unit,
    Unplanned,
    UnplannedWait,
    Wait,
    Waiting,
)

TRIM_AFTER = 128
"""How many forgotten events are worth a baseline; more where the baseline itself is larger."""


def snapshot(memory: Memory, roots: Iterable[Root] | None = None) -> dict[str, Any]:
    """All that later events need of the past, as data that two memories can be compared by; of these inputs, or all."""
    chosen = list(memory.roots.values() if roots is None else roots)
    numbers = {root.number for root in chosen}
    return {
        "next_number": memory.next_number,
        "keys": dict(memory.keys),
        "quiet": [number for number in memory.quiet if number in numbers],
        "forgotten": memory.forgotten,
        "roots": [_root(memory, root) for root in chosen],
        "cells": _cells(memory),
        "partners": _partners(memory),
        "tracks": _tracks(memory),
        "withdrawn": sorted(memory.withdrawn),
        "generations": {
            node.key: node.generation for node in memory.program.by_key.values() if node.generation
        },
        "retired": dict(sorted(memory.program.retired.items())),
        "signals": _signals(memory),
        "unplanned": [
            (
                entry.node.key,
                entry.scope.path,
                entry.value,
                entry.position,
                _only(memory, entry),
                isinstance(entry, UnplannedWait),
            )
            for entry in memory.unplanned
        ],
    }


def fold_past(memory: Memory, run_key: str | None) -> Baseline:
    """A baseline of this memory as it stands."""
    baseline = Baseline(memory.position, memory.definition.defined(run_key), snapshot(memory))
    memory.forgotten = 0
    baseline.state["forgotten"] = 0
    return baseline


def shortened(memory: Memory, run_key: str | None) -> Baseline:
    """A baseline that leaves out the inputs that are finished, except the last: what they led to can wait in a store.

    What goes on from it behaves as this memory would; what was before it is `Forgotten`.
    """
    roots = [root for root in memory.roots.values() if not root.done]
    if memory.quiet:
        last = memory.roots[memory.quiet[-1]]
        roots = sorted([*roots, last], key=lambda root: root.number)
    return Baseline(memory.position, memory.definition.defined(run_key), snapshot(memory, roots))


def is_worth_folding(memory: Memory) -> bool:
    """Whether enough was forgotten to pay for a baseline of what is left.

    What is left is counted only now and then: each time it is found too large, the next look waits for as much
    more to be forgotten. So looking costs nothing that grows, and a long log is folded at a rate that does not.
    """
    if memory.retain == "all" or memory.forgotten < max(TRIM_AFTER, memory.fold_after):
        return False
    kept = sum(len(root.events) for root in memory.roots.values())
    kept += sum(len(cells) for cells in memory.cells.values())
    memory.fold_after = kept
    return memory.forgotten >= kept


def _key(memory: Memory, index: int) -> str:
    node = memory.program.nodes[index]
    return "" if node is None else node.key


def _only(memory: Memory, entry: Unplanned) -> list[str] | None:
    return None if entry.only is None else sorted(_key(memory, index) for index in entry.only)


def _root(memory: Memory, root: Root) -> dict[str, Any]:
    scopes = [] if root.done else [_scope(memory, scope) for scope in walk(root)]
    armed = [
        (_key(memory, index), scope.path)
        for index, scopes_armed in (root.armed or {}).items()
        for scope in scopes_armed
    ]
    return {
        "number": root.number,
        "key": root.key,
        "live": root.live,
        "has_failed": root.has_failed,
        "halted": root.halted,
        "done": root.done,
        "folded": root.folded,
        "fired": sorted(root.fired),
        "starved": root.starved,
        "events": list(root.events),
        **({"absents": list(root.absents)} if root.absents else {}),
        "scopes": scopes,
        "armed": sorted(armed),
    }


def _scope(memory: Memory, scope: Scope) -> dict[str, Any]:
    units = sorted(units_of(scope), key=lambda unit: unit.node.key)
    return {
        "path": scope.path,
        "openers": _openers(memory, scope),
        "units": [_unit(unit) for unit in units],
        "waiting": {
            _key(memory, index): (
                list(waiting.values),
                list(waiting.sources),
                waiting.missing,
                waiting.is_done,
                waiting.has_absent,
            )
            for index, waiting in (scope.waiting or {}).items()
        },
        "broadcasts": {
            (_key(memory, index), port): arrival
            for (index, port), arrival in (scope.broadcasts or {}).items()
        },
        "groups": {
            _key(memory, index): (
                group.size,
                sorted(group.values, key=lambda entry: entry[0]),
                sorted(group.passed),
                {
                    item: ((_key(memory, rank[0]), rank[1]), failure, position)
                    for item, (rank, failure, position) in sorted(group.failed.items())
                },
            )
            for index, group in (scope.groups or {}).items()
        },
        "broken": sorted(_key(memory, index) for index in scope.broken or ()),
    }


def _openers(memory: Memory, scope: Scope) -> list[str]:
    """The keys of the nodes that opened this scope and those around it, outermost first."""
    keys: list[str] = []
    inside = scope
    while inside.parent is not None:
        for index, kids in (inside.parent.children or {}).items():
            if inside.path[-1] < len(kids) and kids[inside.path[-1]] is inside:
                keys.append(_key(memory, index))
        inside = inside.parent
    return keys[::-1]


def _unit(unit: Unit) -> dict[str, Any]:
    problem = unit.problem
    return {
        "node": unit.node.key,
        "args": unit.args,
        "made_from": unit.made_from,
        "made_at": unit.made_at,
        "queued": unit.status == QUEUED,
        "generation": unit.generation,
        "attempt": unit.attempt,
        "key": None if unit.cell is None else unit.cell.key,
        "problem": (problem.message, problem.items) if isinstance(problem, ItemsFailed) else None,
        "failed": unit.failed,
        "kept": _kept(unit),
        "wait": (unit.opened, unit.due_at, unit.answer) if isinstance(unit, Wait) else None,
    }


def _kept(unit: Unit) -> dict[str, Any] | None:
    """What the markers of work that failed before read of history: its next attempt is to see the same."""
    if unit.failed is None or unit.failed.read_at is None:
        return None
    if unit.injected is None:
        return unit.kept
    return {
        name: unit.injected[name]
        for name, marker in unit.node.code.injected
        if marker.kind in READS_HISTORY and not callable(marker.key)
    }


def _signals(memory: Memory) -> list[Signalled]:
    """The signals that nobody waits for yet, in the order in which they came."""
    kept = {} if memory.waits is None else memory.waits.kept
    found = [event for by_key in kept.values() for events in by_key.values() for event in events]
    return sorted(found, key=lambda event: event.position)


def _cells(memory: Memory) -> dict[str, dict[Any, tuple[bool, Any, list[Path]]]]:
    """By accumulator and key: whether it was ever updated, its value, the scopes that queue for it."""
    told = {}
    for index, cells in memory.cells.items():
        used = {
            key: (cell.started, cell.value, [unit.scope.path for unit in cell.queue])
            for key, cell in cells.items()
            if cell.started or cell.queue
        }
        if used:
            told[_key(memory, index)] = used
    return told


def _partners(memory: Memory) -> dict[str, Any]:
    found = {}
    for index, partners in memory.partners.items():
        waiting = {
            key: [list(lane) for lane in lanes]
            for key, lanes in partners.waiting.items()
            if any(lanes)
        }
        if waiting or partners.newest:
            found[_key(memory, index)] = (waiting, dict(partners.newest))
    return found


def _tracks(memory: Memory) -> dict[str, Any]:
    found = {}
    for index, track in memory.tracks.items():
        values = None if track.values is None else list(track.values)  # the run's own grows
        found[_key(memory, index)] = (track.count, track.newest, values)
    return found


def load(definition: Definition, baseline: Baseline) -> Memory:
    """A memory that goes on from a baseline."""
    state = baseline.state
    program = definition.program(seal=True)
    if (
        state["generations"] or state["retired"]
    ):  # these are the run's own, so its program must be too
        program = compile_program(definition.components())
        program.settle()
        program.retired.update(state["retired"])
    for key, generation in state["generations"].items():
        program.by_key[key].generation = generation
    memory = Memory(program, definition, baseline.defined.retain, baseline.position)
    memory.next_number = state["next_number"]
    memory.keys.update(state["keys"])
    memory.quiet.extend(state["quiet"])
    memory.forgotten = state["forgotten"]
    memory.withdrawn.update(dict.fromkeys(state["withdrawn"]))
    units: list[tuple[Unit, bool]] = []
    for told in state["roots"]:
        _load_root(memory, told, units)
    _load_cells(memory, state, units)
    for key, (waiting, newest) in state["partners"].items():
        lanes = {lane: [deque(part) for part in parts] for lane, parts in waiting.items()}
        memory.partners[program.by_key[key].index] = Partners(lanes, dict(newest))
    for key, (count, latest, values) in state["tracks"].items():
        kept = None if values is None else list(values)
        memory.tracks[program.by_key[key].index] = Track(count, latest, kept)
    _load_waits(memory, state)
    _load_unplanned(memory, state)
    ready = [unit for unit, queued in units if not queued]
    ready.sort(key=lambda unit: (unit.made_at, unit.node.index, unit.scope.path))
    memory.ready.extend(ready)
    recount(memory)
    memory.checks.clear()
    return memory


def _load_root(memory: Memory, told: dict[str, Any], units: list[tuple[Unit, bool]]) -> None:
    root = new_root(memory, told["number"], told["key"])
    for name in ("live", "has_failed", "halted", "done", "folded", "starved"):
        setattr(root, name, told[name])
    memory.open_count -= root.done
    root.events = list(told["events"])
    root.absents = list(told.get("absents", ()))
    root.fired = frozenset(told["fired"])
    found: dict[tuple[Path, tuple[str, ...]], Scope] = {((root.number,), ()): root}
    for entry in told["scopes"]:
        scope = _open(memory, found, entry["path"], tuple(entry["openers"]))
        _load_scope(memory, scope, entry, units)
    by_path = {(scope.path, openers): scope for (_, openers), scope in found.items()}
    for key, path in told["armed"]:
        barrier = memory.program.by_key[key]
        openers = tuple(_key(memory, index) for index in barrier.place)
        if root.armed is None:
            root.armed = {}
        root.armed.setdefault(barrier.index, {})[by_path[path, openers]] = None


def _open(
    memory: Memory,
    found: dict[tuple[Path, tuple[str, ...]], Scope],
    path: Path,
    openers: tuple[str, ...],
) -> Scope:
    if (path, openers) in found:
        return found[path, openers]
    above = found[path[:-1], openers[:-1]]
    scope = Scope(above.root, above, path, above.depth + 1)
    if above.children is None:
        above.children = {}
    above.children.setdefault(memory.program.by_key[openers[-1]].index, []).append(scope)
    found[path, openers] = scope
    return scope


def _load_scope(
    memory: Memory, scope: Scope, told: dict[str, Any], units: list[tuple[Unit, bool]]
) -> None:
    nodes = memory.program.by_key
    for entry in told["units"]:
        node = nodes[entry["node"]]
        if entry["wait"] is not None:
            _load_wait(memory, scope, node, entry)
            continue
        unit = Unit(
            node,
            scope,
            tuple(entry["args"]),
            entry["made_from"],
            entry["made_at"],
            QUEUED if entry["queued"] else READY,
            entry["generation"],
            entry["attempt"],
        )
        if entry["problem"] is not None:
            unit.problem = ItemsFailed(entry["problem"][0], items=entry["problem"][1])
        unit.failed, unit.kept = entry["failed"], entry["kept"]
        if node.kind == "state":
            unit.cell = cell_of(memory, node, entry["key"])
            if not entry["queued"]:
                unit.cell.busy = unit
        keep_unit(scope, unit)
        units.append((unit, entry["queued"]))
    for key, (values, sources, *rest) in told["waiting"].items():
        if scope.waiting is None:
            scope.waiting = {}
        scope.waiting[nodes[key].index] = Waiting(list(values), list(sources), *rest)
    for (key, port), arrival in told["broadcasts"].items():
        if scope.broadcasts is None:
            scope.broadcasts = {}
        scope.broadcasts[nodes[key].index, port] = arrival
    for key, (size, values, passed, failed) in told["groups"].items():
        if scope.groups is None:
            scope.groups = {}
        ranked = {
            item: ((nodes[rank[0]].index, rank[1]), failure, position)
            for item, (rank, failure, position) in failed.items()
            if rank[0] in nodes
        }
        group = Group(size, list(values), set(passed), ranked)
        scope.groups[nodes[key].index] = group
    if told["broken"]:
        scope.broken = {nodes[key].index for key in told["broken"]}


def _load_wait(memory: Memory, scope: Scope, node: Node, told: dict[str, Any]) -> None:
    unit = Wait(
        node,
        scope,
        tuple(told["args"]),
        told["made_from"],
        told["made_at"],
        WAITING,
        told["generation"],
    )
    unit.opened, unit.due_at, unit.answer = told["wait"]
    keep_unit(scope, unit)
    waits_of(memory).units[unit] = None


def _load_waits(memory: Memory, state: dict[str, Any]) -> None:
    for event in state["signals"]:
        keep(waits_of(memory), event)
    for unit in waits_in_order(memory):
        stand(waits_of(memory), unit, unit.due_at)


def _load_cells(memory: Memory, state: dict[str, Any], units: list[tuple[Unit, bool]]) -> None:
    by_place = {(unit.node.key, unit.scope.path): unit for unit, _ in units}
    for name, cells in state["cells"].items():
        for key, (started, value, queue) in cells.items():
            cell = cell_of(memory, memory.program.by_key[name], key)
            cell.started, cell.value = started, value
            cell.queue.extend(by_place[name, path] for path in queue)


def _load_unplanned(memory: Memory, state: dict[str, Any]) -> None:
    by_key = memory.program.by_key
    for key, path, value, position, only, is_wait in state["unplanned"]:
        node = by_key[key]
        scope: Scope = memory.roots[path[0]]
        for opener, index in zip(node.inner, path[1:], strict=True):
            scope = (scope.children or {})[opener][index]
        indices = None if only is None else frozenset(by_key[name].index for name in only)
        kind = UnplannedWait if is_wait else Unplanned
        memory.unplanned.append(kind(node, scope, value, position, indices))
