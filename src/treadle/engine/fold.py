"""The fold: what each event does to a workflow's memory. Live operations and replay both go through here.

`settle` and `settle_failure` take the unit that an event answers; replay finds it by node and scope, a live
operation has it at hand. No user code runs here, and nothing is asked that the log does not say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle.engine import deliver as route
from treadle.engine.memory import (
    Memory,
    count_down,
    drop_unit,
    hand_out,
    new_root,
    put_back,
    retire,
    scope_at,
    sort_tail,
    unit_at,
    units_of,
    walk,
)
from treadle.engine.state import leave_cell
from treadle.engine.waits import (
    leave_wait,
    lie_down,
    opened,
    signalled,
    timer_fired,
    timer_set,
    wait_at,
    waits_of,
)
from treadle.engine.watch import watch_of
from treadle.errors import LogError, TreadleBug
from treadle.model import nodes as kinds
from treadle.model.errordata import ErrorData
from treadle.model.events import (
    Applied,
    AttemptFailed,
    Event,
    Expanded,
    Failed,
    InputAccepted,
    Orphaned,
    Path,
    Planned,
    ScopeCancelled,
    Signalled,
    Skipped,
    TimerFired,
    TimerSet,
    WaitOpened,
    positions,
)
from treadle.model.facts import Failure
from treadle.model.program import Node
from treadle.model.sentinels import INPUT_KEY
from treadle.model.work import (
    OUT,
    WAITING,
    Mark,
    Root,
    Scope,
    Unit,
    Unplanned,
    UnplannedWait,
    Wait,
)


def accept(memory: Memory, event: InputAccepted) -> None:
    """Open the root scope of an input and give its value to all roots of the graph."""
    if event.scope != (memory.next_number,):
        raise LogError(
            f"input {event.scope} was accepted where input {memory.next_number} should.",
            hint="the log is damaged.",
        )
    forget_quiet(memory)
    number = event.scope[0]
    root = new_root(memory, number, event.key)
    root.events.append(event)
    memory.next_number = number + 1
    if event.key is not None:
        memory.keys[event.key] = number
    start = len(memory.ready)
    route.deliver(memory, memory.program.input, root, event.value, event.position)
    _finish(memory, root, start)


def forget_quiet(memory: Memory) -> None:
    """Let go of finished inputs beyond what `retain` keeps; done when the next input is accepted."""
    retain = memory.retain
    if retain == "all":
        return
    if retain == "results":
        while memory.quiet:
            _keep_results(memory, memory.roots[memory.quiet.popleft()])
        return
    while len(memory.quiet) > int(retain):
        root = memory.roots.pop(memory.quiet.popleft())
        memory.forgotten += len(root.events)
        if root.key is not None:
            memory.keys.pop(root.key, None)
        if memory.withdrawn:
            memory.withdrawn = {
                work: None for work in memory.withdrawn if work[2][0] != root.number
            }


def _keep_results(memory: Memory, root: Root) -> None:
    outputs = {memory.program.components[name].output for name in memory.program.outputs()}
    root.fired = frozenset([event.node for event in root.events if isinstance(event, Expanded)])
    gates = [key for key in outputs if memory.program.by_key[key].kind == kinds.GATE]
    planned_facts = {
        (event.node, event.scope)
        for event in root.events
        if gates and isinstance(event, Planned) and event.held
    }
    kept: list[Event] = [
        event
        for event in root.events
        if (isinstance(event, Applied) and event.node in outputs) or gives_any(event, planned_facts)
    ]
    memory.forgotten += len(root.events) - len(kept)
    root.events = kept
    root.absents = []
    root.folded = True


def gives_any(event: Event, facts: set[tuple[str, Path]]) -> bool:
    """Whether an event gives one of some facts, or says what conditions held for one."""
    if isinstance(event, InputAccepted):
        return (INPUT_KEY, event.scope) in facts
    if isinstance(event, Expanded):
        inside = [(node, scope[:-1]) for node, scope in facts]
        return (event.node, event.scope) in inside
    return isinstance(event, (Applied, Planned)) and (event.node, event.scope) in facts


def settle(memory: Memory, unit: Unit, event: Applied | Expanded | Skipped) -> None:
    """A unit's outcome was applied: its fact goes on its way, its work is over."""
    if type(event) is Applied and unit.cell is None and unit.node.kind != kinds.CHECK:
        settle_value(memory, unit, event)
        return
    node, scope, root = unit.node, unit.scope, unit.scope.root
    drop_unit(scope, unit)
    root.events.append(event)
    if isinstance(event, Skipped) and event.error is not None:
        root.has_failed = True
    start = len(memory.ready)
    if not root.halted:
        _give(memory, unit, event)
    if unit.cell is not None:
        if isinstance(event, Applied):
            unit.cell.value, unit.cell.started = event.value, True
        leave_cell(memory, unit)
    retire(memory, node, scope)
    opens = isinstance(event, Expanded) and not memory.program.receivers.get(node.index)
    _finish(memory, root, start, is_mixed=not opens)


def settle_value(memory: Memory, unit: Unit, event: Applied) -> None:
    """`settle` for the usual case, a plain value: the same steps without the questions."""
    node = unit.node
    scope = unit.scope
    root = scope.root
    if scope.unit is unit:
        scope.unit = None
    else:
        drop_unit(scope, unit)
    root.events.append(event)
    start = len(memory.ready)
    if not root.halted:
        if node.tracked:
            route.track(memory, node, event.value)
        if node.children or node.plans:
            route.deliver(memory, node, scope, event.value, event.position)
    root.live -= 1
    if node.near:
        for barrier in node.near:
            above = scope
            while above.depth > barrier.depth:
                above = above.parent
            counts = above.counts
            if counts is not None and counts.get(barrier.index, 0) > 1:
                counts[barrier.index] -= 1
            else:
                count_down(memory, barrier, above)
        if (memory.absents or memory.checks) and route.drain(memory):
            sort_tail(memory, start)
    memory.position += 1
    if not root.live:
        route.close_if_quiet(memory, root)


def _give(memory: Memory, unit: Unit, event: Applied | Expanded | Skipped) -> None:
    node, scope = unit.node, unit.scope
    if isinstance(event, Applied):
        if node.kind == kinds.CHECK:
            if event.value:
                route.deliver(memory, node, scope, unit.args[0], positions(unit.made_from)[0])
            return
        if node.tracked:
            route.track(memory, node, event.value)
        route.deliver(memory, node, scope, event.value, event.position)
    elif isinstance(event, Expanded):
        route.expand(memory, node, scope, event.values, event.position)
    elif event.error is not None:
        route.fail(memory, node, scope, failure_of(unit, event, "skip"), event.position)
    else:
        route.give_absent(memory, node, scope)


def settle_failure(memory: Memory, unit: Unit, event: Failed) -> None:
    """A unit failed for good: it gives nothing on its value port."""
    node, scope, root = unit.node, unit.scope, unit.scope.root
    drop_unit(scope, unit)
    root.events.append(event)
    root.has_failed = True
    start = len(memory.ready)
    if not root.halted:
        failure = failure_of(unit, event, event.on_failure)
        route.fail(memory, node, scope, failure, event.position, event.in_flight)
    leave_cell(memory, unit)
    retire(memory, node, scope)
    _finish(memory, root, start)


def failure_of(unit: Unit, event: Failed | Skipped, on_failure: str) -> Failure:
    """What the error port gives: the component, its inputs and the error.

    It names no position: a value must not depend on the order in which outcomes came.
    """
    error = event.error or ErrorData("", "")
    return Failure(
        unit.node.component,
        unit.node.part,
        unit.scope.path,
        unit.args,
        error,
        event.attempt,
        event.generation,
        on_failure,
    )


def planned(memory: Memory, entry: Unplanned, event: Planned) -> None:
    """Let a fact through the gates that held, and on to keyed nodes under their keys."""
    root = entry.scope.root
    root.events.append(event)
    start = len(memory.ready)
    held, keys, failed = set(event.held), dict(event.keys), dict(event.failed)
    stack = [entry.node]
    while stack and not root.halted:
        node = stack.pop()
        watch = watch_of(memory.program, node)
        only = entry.only if node is entry.node else None
        for gate in watch.through(held, failed):
            if only is None or gate.index in only:
                _let_through(memory, entry, gate)
                if gate.watchers:
                    stack.append(gate)
        for keyed in watch.keyed:
            if keyed.key in keys:
                port = next(i for i, (parent, _) in enumerate(keyed.sources) if parent is node)
                arrival = (entry.value, entry.position)
                route.arrive(memory, keyed, port, entry.scope, arrival, keys[keyed.key])
    for key, error in event.failed:
        root.has_failed = True
        _watcher_failed(memory, entry, memory.program.by_key[key], error, event)
    retire(memory, entry.node, entry.scope)
    _finish(memory, root, start)


def _let_through(memory: Memory, entry: Unplanned, gate: Node) -> None:
    for child, port in gate.children:
        route.arrive(memory, child, port, entry.scope, (entry.value, entry.position))
    if gate.tracked:
        route.track(memory, gate, entry.value)


def _watcher_failed(
    memory: Memory, entry: Unplanned, watcher: Node, error: ErrorData, event: Planned
) -> None:
    """A condition or key function raised: that is a failure of the component that uses it."""
    output = memory.program.output_of(watcher.component)
    failure = watcher_failure(watcher, output, entry.scope, entry.value, error)
    route.fail(memory, output, entry.scope, failure, event.position, event.in_flight)


def watcher_failure(
    watcher: Node, output: Node, scope: Scope, value: Any, error: ErrorData
) -> Failure:
    """What the error port gives of a component whose condition or key function raised."""
    on_failure = output.shape.on_failure
    return Failure(watcher.component, None, scope.path, (value,), error, on_failure=on_failure)


def orphaned(memory: Memory, event: Orphaned) -> None:
    """The first outcome of withdrawn work came: it is noted, and no more is expected."""
    memory.withdrawn.pop((event.node, event.generation, event.scope), None)
    root = memory.roots.get(event.scope[0])
    if root is not None:
        root.events.append(event)
    memory.position += 1


def retry(memory: Memory, unit: Unit, event: AttemptFailed) -> None:
    """An attempt failed and another follows: the same work is ready again, in its old place."""
    unit.scope.root.events.append(event)
    unit.attempt = event.attempt + 1
    unit.failed = event
    memory.position += 1
    put_back(memory, unit)


def fire(memory: Memory, unit: Wait, event: TimerFired) -> None:
    """The moment of a wait has come: where somebody takes its timeouts, the fact it waited with goes on there."""
    node, scope, root = unit.node, unit.scope, unit.scope.root
    if not node.timeout_children:
        timer_fired(memory, unit, event)
        return
    root.events.append(event)
    waits = waits_of(memory)
    waits.units.pop(unit, None)
    lie_down(waits, unit)
    drop_unit(scope, unit)
    start = len(memory.ready)
    arrival = (unit.args[0], positions(unit.made_from)[0])
    for child, port in node.timeout_children:
        route.arrive(memory, child, port, scope, arrival)
    route.give_nothing(memory, node, scope)
    retire(memory, node, scope)
    _finish(memory, root, start)


def cancel(memory: Memory, event: ScopeCancelled) -> None:
    """Withdraw all that is left to do for an input; the first outcome of each piece will be orphaned."""
    root = memory.roots.get(event.scope[0]) if len(event.scope) == 1 else None
    if root is None or root.done:
        raise LogError(
            f"event {event.position} cancels scope {event.scope}, which is not an open input's.",
            hint="the log is damaged.",
        )
    root.events.append(event)
    root.has_failed = True
    for scope in walk(root):
        for unit in units_of(scope):
            if unit.status != WAITING:
                memory.withdrawn[unit.node.key, unit.generation, scope.path] = None
    route.halt(memory, root, set())
    _finish(memory, root, len(memory.ready))


def _finish(memory: Memory, root: Root, start: int, *, is_mixed: bool = True) -> None:
    """The end of every event: follow-ups, order, and whether the input is done.

    `is_mixed`: what became ready may stand in another order than (node, item).
    """
    drained = bool(memory.absents or memory.checks) and route.drain(memory)
    if drained or is_mixed:
        sort_tail(memory, start)
    memory.position += 1
    if not root.live:
        route.close_if_quiet(memory, root)


def replay(memory: Memory, entry: Event | Mark) -> None:
    """Fold one entry of a journal."""
    if isinstance(entry, Mark):
        _replay_mark(memory, entry)
        return
    handler = _REPLAY.get(type(entry))
    if handler is None:
        raise LogError(f"a log cannot go on with {type(entry).__name__}.", hint="it is damaged.")
    check_position(memory, entry)
    handler(memory, entry)


def check_position(memory: Memory, event: Event) -> None:
    """Events follow one another without gaps."""
    if event.position != memory.position:
        raise LogError(
            f"event {event.position} stands where {memory.position} should.",
            hint="the log lacks an event or has one twice.",
        )


def _replay_mark(memory: Memory, mark: Mark) -> None:
    for key, paths in mark.work:
        node = memory.program.by_key[key]
        for path in paths:
            unit = unit_at(scope_at(memory, path, node.place), node.index)
            if unit is None:
                raise TreadleBug(f"a mark speaks of {key!r} in {path}, which was not pending.")
            if mark.out:
                take_out(memory, unit)
            else:
                put_back(memory, unit)


def take_out(memory: Memory, unit: Unit) -> None:
    """Hand out a unit that may stand anywhere in the queue (on replay it is nearly always the first)."""
    ready = memory.ready
    if ready and ready[0] is unit:
        ready.popleft()
    elif any(entry[3] is unit for entry in memory.released):
        memory.released = sorted(entry for entry in memory.released if entry[3] is not unit)
    else:
        ready.remove(unit)
    hand_out(memory, unit)


def _unit_of(memory: Memory, event: Any) -> Unit:
    """The pending unit that an event answers, taken out of the queues."""
    node = memory.program.by_key.get(event.node)
    unit = None
    if node is not None:
        unit = unit_at(scope_at(memory, event.scope, node.place), node.index)
    if unit is None or unit.generation != event.generation:
        raise LogError(
            f"event {event.position} answers work of {event.node!r} in {event.scope} that was not pending.",
            hint="the log is damaged, or belongs to another definition.",
        )
    if isinstance(unit, Wait):
        _take_entry(memory, unit, event)
        leave_wait(memory, unit)
    elif unit in memory.out:
        del memory.out[unit]
    elif (
        memory.ready and memory.ready[0] is unit
    ):  # as nearly always: it need not go out to come back
        memory.ready.popleft()
        unit.status = OUT
    else:
        take_out(memory, unit)
        del memory.out[unit]
    return unit


def _take_entry(memory: Memory, unit: Wait, event: Any) -> None:
    """Planning did with a wait what an event says: it is no longer to be planned."""
    for entry in memory.unplanned:
        if type(entry) is UnplannedWait and entry.node is unit.node and entry.scope is unit.scope:
            memory.unplanned.remove(entry)
            return
    raise LogError(
        f"event {event.position} is about a wait of {event.node!r} in {event.scope} that had nothing to do.",
        hint="the log is damaged, or belongs to another definition.",
    )


def _replay_opened(memory: Memory, event: WaitOpened) -> None:
    node = memory.program.by_key.get(event.node)
    unit = None
    if node is not None:
        unit = unit_at(scope_at(memory, event.scope, node.place), node.index)
    if not isinstance(unit, Wait) or unit.opened is not None or unit.generation != event.generation:
        raise LogError(
            f"event {event.position} opens a wait of {event.node!r} in {event.scope} that was not there.",
            hint="the log is damaged, or belongs to another definition.",
        )
    _take_entry(memory, unit, event)
    opened(memory, unit, event)


def _replay_fired(memory: Memory, event: TimerFired) -> None:
    fire(memory, wait_at(memory, event.node, event.scope, event.position), event)


def _replay_settled(memory: Memory, event: Any) -> None:
    settle(memory, _unit_of(memory, event), event)


def _replay_failed(memory: Memory, event: Failed) -> None:
    settle_failure(memory, _unit_of(memory, event), event)


def _replay_retry(memory: Memory, event: AttemptFailed) -> None:
    retry(memory, _unit_of(memory, event), event)


def _replay_planned(memory: Memory, event: Planned) -> None:
    for entry in memory.unplanned:
        same = entry.node.key == event.node and entry.scope.path == event.scope
        if same and type(entry) is not UnplannedWait:
            memory.unplanned.remove(entry)
            planned(memory, entry, event)
            return
    raise LogError(
        f"event {event.position} plans a fact of {event.node!r} in {event.scope} that was not there.",
        hint="the log is damaged, or belongs to another definition.",
    )


_REPLAY: dict[type, Callable[[Memory, Any], None]] = {
    InputAccepted: accept,
    Planned: _replay_planned,
    Applied: _replay_settled,
    Expanded: _replay_settled,
    Skipped: _replay_settled,
    Failed: _replay_failed,
    AttemptFailed: _replay_retry,
    WaitOpened: _replay_opened,
    Signalled: signalled,
    TimerSet: timer_set,
    TimerFired: _replay_fired,
    ScopeCancelled: cancel,
    Orphaned: orphaned,
}
