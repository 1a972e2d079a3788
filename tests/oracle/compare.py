"""Drives the real workflow by its public API, in an order a chooser decides, and reads what came.

What it gives is the oracle's own `Result`, so the two can be compared with `==`. With `trace=[]`
the actions are written down, and conditions are evaluated as soon as there are any; then
`run(graph, inputs, Follow(tuple(trace)))` makes the oracle do the same in the same order, which
compares graphs whose results depend on it, and raises `Diverged` where the oracle would not do it.
"""

from typing import Any

from tests.oracle.graph import INPUT, Graph, act, error_kind, shown
from tests.oracle.interpreter import Result
from tests.oracle.orders import Action, chooser


def label(runnable: Any) -> Action:
    """Name a runnable as the oracle does."""
    return runnable.component, tuple(runnable.scope)


def run_engine(
    workflow: Any,
    inputs: list[Any],
    order: Any,
    *,
    leave_out: frozenset[str] = frozenset(),
    trace: list[Action] | None = None,
    waits_of: Graph | None = None,
) -> Result:
    """Run all inputs, in flight together; facts of the components in `leave_out` do not count.

    What the waits of the graph `waits_of` are to give is signalled, and those that raise are left to end by themselves.
    """
    import treadle as td

    choose, followed = chooser(order), [] if trace is None else trace
    w, accepted = workflow, 0
    hand: dict[Action, Any] = {}  # what was handed out and not yet applied
    while True:
        possible: list[Action] = [("finish", *name) for name in hand]
        if w.is_runnable():
            possible += [("dispatch", 1), ("dispatch", 2), ("dispatch", None)]
        if accepted < len(inputs):
            possible.append(("accept", accepted))
        possible += [] if waits_of is None else waits_to_end(w)
        if not possible:
            break
        action = choose(possible)
        if action[0] == "accept":
            w, accepted = w.plan_eagerly(inputs[accepted]), accepted + 1
            followed.append(action)
        elif action[0] in ("signal", "tick"):
            before, w = w.position, end_wait(w, action, waits_of, td.ABSENT)
            followed += ended_since(w, before)
        elif action[0] == "finish":
            w = w.apply_runnable(td.execute_runnable(hand.pop(action[1:])))
            w = w if trace is None else w.plan_eagerly()
            followed.append(action)
        else:
            limit = {} if action[1] is None else {"limit": action[1]}
            w, runnables = w.prepare_for_dispatch(**limit)
            assert runnables or not w.is_runnable(), "runnable, but nothing was handed out"
            hand |= {label(runnable): runnable for runnable in runnables}
            followed += [("start", *label(runnable)) for runnable in runnables]
    assert w.is_satisfied(), "nothing is left to do, yet it is not satisfied"
    return read(w, td.ABSENT, {*leave_out, INPUT, td.INPUT, None})


def waits_to_end(w: Any) -> list[Action]:
    """What may be said to the waits of a workflow, and whether time may pass."""
    waiting = w.waiting()
    said = [("signal", each["name"], each["key"]) for each in waiting if each["timeout_s"] is None]
    return said + ([("tick", None)] if len(said) < len(waiting) else [])


def end_wait(w: Any, action: Action, graph: Graph | None, absent: Any) -> Any:
    """Let all that nobody answers end, or say to one wait what its node gives."""
    if action[0] == "tick":
        return w.tick(w.position)
    (value,) = [
        each["value"]
        for each in w.waiting()
        if (each["name"], each["key"]) == (action[1], action[2])
    ]
    assert graph is not None
    return w.signal(action[1], act(graph[action[1]], (value,), absent), action[2])


def ended_since(w: Any, position: int) -> list[Action]:
    """What came of waits, as the oracle names it."""
    waits = {name for name in w.components() if w[name].kind == "wait_for"}
    return [
        (verb, event.node, event.scope)
        for event in w.log()[position:]
        if type(event).__name__ in ("Applied", "Failed", "Skipped") and event.node in waits
        for verb in ("start", "finish")
    ]


def read(w: Any, absent: Any, leave_out: set[Any]) -> Result:
    """Give what a workflow holds, as plain data."""
    own = [f for f in w.facts() if f.part is None and f.component not in leave_out]
    facts = [
        ((f.component, tuple(f.scope)), shown(f.value, absent))
        for f in own
        if f.value is not absent
    ]
    assert len(dict(facts)) == len(facts), "two facts of one component in one scope"
    states = {
        name: {
            key: shown(state, absent)
            for key, state in by_key.items()
            if state != ("initial", name)  # nothing was folded yet
        }
        for name, by_key in w.states().items()
    }
    return Result(
        facts=dict(facts),
        failures={(f.component, tuple(f.scope), error_kind(f.error.type)) for f in w.failures()},
        starved={(each["component"], tuple(each["scope"])) for each in w.starved()},
        states={name: by_key for name, by_key in states.items() if by_key},
    )
