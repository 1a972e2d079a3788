"""The oracle: runs a test graph by rescanning everything at every turn.

There are no queues, no counters and nothing incremental here: a dict of facts, a dict of failures,
and after each action a look at all nodes in all scopes. What may happen next is a list of actions
(accept an input, evaluate a condition, start a runnable, finish one in flight); a chooser picks.
It follows `DESIGN.md` S4 to S25 and shares no code with the engine.

Where the contract is silent this reading was chosen. A letter in brackets is a choice of the
engine's author, taken over.

 1. A condition passes on the very fact it was given, so it has no fact of its own in a `Result`.
    A condition with several parents is left out, except under `join="any"`, where one fact comes.
 2. A rule with several parents joins them once; its predicate and its reaction both get all ports.
    With some ports ABSENT the predicate is called; with all of them ABSENT it is false, and a false
    or ABSENT condition gives nothing at all, not ABSENT.
 3. (i) A raising condition is a failure of the condition, or of the rule it belongs to. Its error
    port gets the `Failure`, and for a settled join downstream it ran.
 4. (b) An ABSENT among the ports of an all-join is passed as that port's value. When all ports are
    ABSENT the node is not called and gives ABSENT, at once and without an event; so does a node
    without ports, or one that unpacks.
 5. An accumulator given ABSENT folds nothing and gives ABSENT in that scope, as other nodes do. A
    map gives nothing at all.
 6. (d) A map with several parents fans out the first one's value; the others are ports of the
    per-item step and must not lie deeper than the first. It always joins with "all". An element is
    unpacked only when the map has one parent and its function more than one port.
 7. A failed expansion is a failure of the map in the enclosing scope. It feeds no error port,
    opens no scope, and arms no reduce.
 8. A reduce or collect outside any fan-out is an ordinary node of one port, not a barrier: it
    is called when its parent gave a fact, and gives ABSENT when the parent gave ABSENT.
 9. A group is empty when nothing arrived, whether the fan-out had no elements or all were filtered
    out or skipped. A reduce without `initial` starts from the first item that arrived.
10. A failure in an enclosing scope fails the reduce if nothing at all arrived (not even ABSENT), the
    fan-out had elements, and the failure lies on a way to the reduce that does not lead through
    the fan-out. One behind the fan-out did no harm, since the fan-out fired (a handler stood in for
    it); nor did any if there were no elements: then `initial` is given. A raising condition counts
    among the failures, here and in 11.
11. An item failed for a reduce if nothing arrived from anywhere inside the item and something
    upstream failed in the item or inside it; a failure that is skipped (`on_failure="skip"`) counts
    neither here nor in 10, for the user chose to go on without it. Scopes of other fan-outs that
    happen to have the same numbers are other scopes. With `over=`, an element of which anything arrived did not fail.
12. `on_item_failure="collect"` with several failures in one item takes that of the node declared
    first, then of the lowest scope: an order of the graph, since S10 forbids one of the log.
13. (g) A reduce that must fail is a runnable whose execution fails; its error port gets that.
14. (e) A settled join with all ports ABSENT is not called and gives ABSENT, when its time has come.
    With one parent it is still a barrier. If no parent ran it never fires and gives nothing.
15. (f) An error port ran only if it gave a `Failure`.
16. (c) An any or k-join that got an ABSENT is a barrier from then on: when nothing upstream is live
    and it has not fired, it gives ABSENT. Without any ABSENT it gives nothing. Arrivals at an item
    that were there before the item (broadcast) come first, in log order.
17. Under "k" the node has a port for each parent, filled with the first k arrivals.
18. A join is left over (starved) if something arrived at it, ABSENT and broadcast facts included,
    and it never got the rest: once for each item where a broadcast fact waited in vain, and for a
    map's per-item step too, under the map's name. An armed barrier is never left over, nor is a
    correlated join: its partner may come with a later input. In a halted input partial joins are
    listed; what was complete and withdrawn is not.
19. (a) A correlated join needs all its parents at one place and has a place of its own. (h) ABSENT
    is no arrival for it. It pairs across all scopes of that place, items of one input included.
20. "latest" fires exactly once for each fact of the first parent: at its arrival, or, while another
    parent has nothing yet, when the last of those gets its first fact. Then all that waited fire, in
    log order, each in a scope of its own under the fact that came last.
21. The last part of a correlated scope counts the node's firings under that one completing scope.
22. A reduce does not close the place of a correlated join, nor a map above one.
23. An accumulator takes one parent, or several under `join="any"`. First come is the order in which
    the values came to it, item order within one fan-out. Each key has its own queue. What is queued
    is live work of its own scope only.
24. `halt` ends its input at once: ready work is withdrawn, conditions are not evaluated, no barrier
    fires, the handler of that failure is not called either, and nothing of that input ever becomes
    ready again. What is in flight may finish and its fact is kept. Other inputs go on, and a fact of
    the halted one may still be the partner that a correlated join of theirs was waiting with.
25. Live work "of a scope inside or enclosing" is told by place and path together: two sibling
    fan-outs both have an item 0, and those are not one scope.
26. `states` holds only what was folded; a state that still is its `initial` is not compared.
27. ABSENT inside a value (an element of a list) is not considered, nor ABSENT from a reducer.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

from tests.oracle.graph import (
    INPUT,
    MISSING,
    Graph,
    Node,
    act,
    check,
    error_kind,
    faults,
    key_of,
    ports_of,
    shown,
)
from tests.oracle.orders import Action, Diverged, Follow, Order, chooser
from tests.oracle.world import (
    ABSENT,
    Error,
    Failure,
    Joined,
    Part,
    Scope,
    World,
    ancestors,
    firings,
    lower,
    scopes,
)


@dataclass(frozen=True)
class Result:
    """All that is compared of a finished run, as plain data."""

    facts: dict[tuple[str, Scope], Any]
    failures: set[tuple[str, Scope, str]]
    starved: set[tuple[str, Scope]]
    states: dict[str, dict[str | None, Any]]


# --- what is there to do --------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """A node in a scope that is live. `state` says why:

    "ready" and "absent" (its ports are complete: to be called, or to pass ABSENT on), "queued"
    (behind another value of its key), "running" (in flight), "armed" (a barrier).
    """

    part: Part
    scope: Scope
    state: str
    args: tuple[Any, ...] = ()
    since: int = 0  # the log position of the fact that completed it


def arrival(world: World, parent: str, scope: Scope) -> tuple[str, Scope]:
    """The key of the parent's fact for a node in this scope; a broadcast one lies further out."""
    return parent, scope[: 1 + len(world.place_of(parent))]


def look(world: World, part: Part, scope: Scope) -> Unit | None:
    """The part in this scope, if it is live and not yet in flight."""
    if part.correlate:
        return Unit(part, scope, "ready", dict(firings(world, part))[scope])
    if part.closes:
        fired = (part.closes, scope) in world.groups
        return Unit(part, scope, "armed") if fired else None
    if part.join == "settled":
        return _look_settled(world, part, scope)
    if part.join != "all":
        return _look_first(world, part, scope)
    keys = [arrival(world, parent, scope) for parent in part.parents]
    if not all(key in world.facts for key in keys):
        return None
    args = tuple(world.facts[key] for key in keys)
    state = "absent" if all(each is ABSENT for each in args) else "ready"
    return Unit(part, scope, state, args, max(world.position(*key) for key in keys))


def _look_settled(world: World, part: Part, scope: Scope) -> Unit | None:
    keys = [arrival(world, parent, scope) for parent in part.parents]
    failed = {(f.component, f.scope) for f in world.failures}
    if not any(key in world.facts or key in failed for key in keys):
        return None
    return Unit(part, scope, "armed", tuple(world.facts.get(key, ABSENT) for key in keys))


def _look_first(world: World, part: Part, scope: Scope) -> Unit | None:
    wanted = 1 if part.join == "any" else int(part.join)
    keys = [arrival(world, parent, scope) for parent in part.parents]
    there = sorted((world.position(*key), key) for key in keys if key in world.facts)
    came = [(pos, key) for pos, key in there if world.facts[key] is not ABSENT][:wanted]
    if len(came) < wanted:
        return Unit(part, scope, "armed") if len(came) < len(there) else None
    taken = {key for _, key in came}
    args = tuple(world.facts[key] if key in taken else ABSENT for key in keys)
    if part.join == "any":
        args = (world.facts[came[0][1]],)
    return Unit(part, scope, "ready", args, came[-1][0])


def live(world: World) -> list[Unit]:
    """All live units, in declared order, then scope order."""
    found: list[Unit] = []
    for part in world.parts.values():
        here: list[Unit] = []
        for scope in scopes(world, part.place):
            if (part.name, scope) in world.running:
                here.append(Unit(part, scope, "running", world.running[part.name, scope]))
            elif (part.name, scope) not in world.done and scope[0] not in world.halted:
                unit = look(world, part, scope)
                here += [unit] if unit else []
        found += _queue(here) if part.kind == "acc" else here
    return found


def _queue(units: list[Unit]) -> list[Unit]:
    """S22: of an accumulator's values only the first of each key is ready, and only if none is in flight."""

    def key(unit: Unit) -> str | None:
        return key_of(unit.part.node, unit.args[-1], ABSENT)

    busy = {key(unit) for unit in units if unit.state == "running"}
    queued: list[Unit] = []
    for unit in sorted(units, key=lambda unit: (unit.since, unit.scope)):
        if unit.state == "ready":
            queued.append(replace(unit, state="queued") if key(unit) in busy else unit)
            busy.add(key(unit))
        else:
            queued.append(unit)
    return queued


def prefixes(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether one of them begins with the other."""
    return one[: len(other)] == other[: len(one)]


def blocked(world: World, barrier: Unit, units: list[Unit]) -> bool:
    """S19: whether live work of its scope, one inside or one enclosing it, lies upstream of it."""
    upstream = ancestors(world.parts, barrier.part.name)
    return any(
        unit.part.name in upstream
        and prefixes(unit.part.place, barrier.part.place)
        and prefixes(unit.scope, barrier.scope)
        for unit in units
    )


def settled(world: World, units: list[Unit]) -> list[Unit]:
    """The units once more, with each barrier whose time has come made ready or absent."""
    return [
        replace(unit, state=_fires(unit))
        if unit.state == "armed" and not blocked(world, unit, units)
        else unit
        for unit in units
    ]


def _fires(barrier: Unit) -> str:
    if barrier.part.closes:
        return "ready"
    return "absent" if all(each is ABSENT for each in barrier.args) else "ready"


# --- what an action does --------------------------------------------------------------------


def pass_absent_on(world: World) -> list[Unit]:
    """Lets every node that needs no call give its ABSENT, until none is left; then what is live."""
    while True:
        units = settled(world, live(world))
        absent = [unit for unit in units if unit.state == "absent"]
        if not absent:
            return units
        for unit in absent:
            world.done.add((unit.part.name, unit.scope))
            if unit.part.kind not in ("gate", "fan"):
                world.record(unit.part.name, unit.scope, ABSENT)


def actions(world: World, units: list[Unit]) -> dict[Action, Unit | None]:
    """All that may happen next, by label; finishing first, so that the first choice always ends."""
    labelled: dict[Action, Unit | None] = {}
    for verb, state in (("finish", "running"), ("plan", "ready"), ("start", "ready")):
        for unit in units:
            if unit.state == state and (
                verb == "finish" or (unit.part.kind == "gate") == (verb == "plan")
            ):
                labelled[verb, unit.part.node.name, unit.scope] = unit
    if world.accepted < len(world.inputs):
        labelled["accept", world.accepted] = None
    return labelled


def perform(world: World, action: Action, unit: Unit | None) -> None:
    """Does one action."""
    if unit is None:
        world.record(INPUT, (world.accepted,), world.inputs[world.accepted])
        world.accepted += 1
        return
    key = (unit.part.name, unit.scope)
    if action[0] == "start":
        world.running[key] = _at_start(world, unit)
        return
    world.running.pop(key, None)
    world.done.add(key)
    try:
        value = evaluate(world, unit)
    except Exception as error:  # a user's error, or one that says what the library refuses
        fail(world, unit, type(error).__name__)
        return
    give(world, unit, value)


def _at_start(world: World, unit: Unit) -> tuple[Any, ...]:
    """What a runnable carries with it: its ports, or the state before and the value to fold."""
    if unit.part.kind != "acc":
        return unit.args
    node = unit.part.node
    states = world.states.get(node.name, {})
    key = key_of(node, unit.args[0], ABSENT)
    return (states[key] if key in states else copy.deepcopy(node.initial), unit.args[0])


def evaluate(world: World, unit: Unit) -> Any:
    """What the part gives for these ports; a gate says whether it holds."""
    part, args = unit.part, unit.args
    if part.kind == "gate":
        return check(part.node, args, ABSENT)
    if part.kind == "fan":
        return elements(args[0])
    if part.kind == "acc":
        return act(part.node, args, ABSENT)
    if part.kind == "fold":
        items = arrived(world, part, unit.scope) if part.closes else elements(args[0])
        return fold(part.node, items)
    if isinstance(args[0] if args else None, Joined):
        args = args[0].args
    return act(part.node, unpacked(part.node, args), ABSENT)


def unpacked(node: Node, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """S16: the ports as the function wants them."""
    ports = ports_of(node)
    if ports in ("*", len(args)):
        return args
    if ports == 0:
        return ()
    value = args[0]
    if not isinstance(value, (list, tuple)) or len(value) != ports:
        raise TypeError(f"{node.name} wants {ports} values")
    return tuple(value)


def elements(value: Any) -> list[Any]:
    """S21: the elements of a value; a string has none."""
    if isinstance(value, (str, bytes)):
        raise TypeError("a string is not a collection here")
    return list(value)


def fold(node: Node, items: list[Any]) -> Any:
    """The items, in order, as one value."""
    if node.kind == "collect":
        return list(items)
    if node.initial is MISSING and not items:
        raise ValueError("nothing to reduce")
    state, *rest = items if node.initial is MISSING else [copy.deepcopy(node.initial), *items]
    for item in rest:
        state = act(node, (state, item), ABSENT)
    return state


def arrived(world: World, part: Part, scope: Scope) -> list[Any]:
    """The items of a group for a fold, in element order, by its policy; raises if it must fail."""
    count = world.groups[part.closes or "", scope]
    parent, depth = part.parents[0], len(scope)
    came = {s: v for (n, s), v in world.facts.items() if n == parent and s[:depth] == scope}
    if count and not came and failed_around(world, part, scope):
        raise RuntimeError("nothing could arrive")
    broken = failed_items(world, part, scope, came)
    if broken and part.node.on_item_failure == "fail":
        raise RuntimeError(f"items failed: {sorted(broken)}")
    if part.node.on_item_failure == "collect":
        came.update({(*scope, item): failure for item, failure in broken.items()})
    return [came[s] for s in sorted(came) if came[s] is not ABSENT]


def failures_of(world: World, names: set[str]) -> list[Failure]:
    """The failures of the components these parts belong to; what is skipped is nobody's loss."""
    nodes = [world.parts[name].node for name in names]
    components = {node.name for node in nodes if node.on_failure != "skip"}
    return [failure for failure in world.failures if failure.component in components]


def failed_around(world: World, part: Part, scope: Scope) -> bool:
    """Whether something on the way from a fan-out to its fold failed in a scope around the items."""
    on_the_way = ancestors(world.parts, part.name, behind=part.closes)
    return any(
        part.place[: len(f.place)] == f.place and scope[: len(f.scope)] == f.scope
        for f in failures_of(world, on_the_way)
    )


def failed_items(
    world: World, part: Part, scope: Scope, came: dict[Scope, Any]
) -> dict[int, Failure]:
    """The items of a group that failed for this fold, each with the failure to show for it."""
    closed = world.parts[part.closes or ""]
    inside = world.place_of(closed.name)
    failures = failures_of(world, ancestors(world.parts, part.name))
    order = [each.node.name for each in world.parts.values()]
    broken: dict[int, Failure] = {}
    for item in range(world.groups[closed.name, scope]):
        of_item = (*scope, item)
        here = [
            f
            for f in failures
            if f.place[: len(inside)] == inside and f.scope[: len(of_item)] == of_item
        ]
        if here and not any(s[: len(of_item)] == of_item for s in came):
            broken[item] = min(here, key=lambda f: (order.index(f.component), f.scope))
    return broken


def give(world: World, unit: Unit, value: Any) -> None:
    """Records what a part gave."""
    part, scope = unit.part, unit.scope
    if part.kind == "gate":
        if value:
            passed = Joined(unit.args) if part.node.kind == "rule" else unit.args[0]
            world.record(part.name, scope, passed)
    elif part.kind == "fan":
        world.groups[part.name, scope] = len(value)
        for item, element in enumerate(value):
            world.record(part.name, (*scope, item), element)
    else:
        if part.kind == "acc":
            key = key_of(part.node, unit.args[-1], ABSENT)
            world.states.setdefault(part.name, {})[key] = value
        world.record(part.name, scope, value)


def fail(world: World, unit: Unit, error: str) -> None:
    """Records a failure and what follows from the node's `on_failure`."""
    node, scope = unit.part.node, unit.scope
    failure = Failure(node.name, scope, Error(error), unit.part.place)
    world.failures.append(failure)
    if node.on_failure == "halt":
        world.halted.add(scope[0])
    elif unit.part.kind != "fan":
        if node.on_failure == "skip":
            world.record(node.name, scope, ABSENT)
        world.record(f"!{node.name}", scope, failure)


# --- a whole run ----------------------------------------------------------------------------


def run(graph: Graph, inputs: list[Any], order: Any = None) -> Result:
    """Runs all inputs, in flight together, in the given order."""
    wrong = faults(graph)
    if wrong:
        raise ValueError(f"not a graph the contract gives a meaning: {wrong}")
    world, choose, followed = World(lower(graph), list(inputs)), chooser(order or Order()), 0
    while possible := actions(world, pass_absent_on(world)):
        action = choose(list(possible))
        perform(world, action, possible[action])
        followed += action[0] != "plan"
    if isinstance(order, Follow) and followed < len(order.trace):
        raise Diverged(f"the oracle was done, it went on with {order.trace[followed]}")
    return Result(*_plain_facts(world), starved(world), _plain_states(world))


def _plain_facts(world: World) -> tuple[dict[tuple[str, Scope], Any], set[tuple[str, Scope, str]]]:
    own = {name for name, part in world.parts.items() if part.kind in ("call", "fold", "acc")}
    facts = {
        (name, scope): shown(value, ABSENT)
        for (name, scope), value in world.facts.items()
        if name in own and value is not ABSENT
    }
    failures = {(f.component, f.scope, error_kind(f.error.type)) for f in world.failures}
    return facts, failures


def _plain_states(world: World) -> dict[str, dict[str | None, Any]]:
    return {
        name: {key: shown(value, ABSENT) for key, value in states.items()}
        for name, states in world.states.items()
    }


def starved(world: World) -> set[tuple[str, Scope]]:
    """S20: joins at which something arrived, but never the rest."""
    left: set[tuple[str, Scope]] = set()
    for part in world.parts.values():
        if len(part.parents) < 2 or part.correlate or part.join in ("settled", "any"):
            continue
        for scope in scopes(world, part.place):
            keys = [arrival(world, parent, scope) for parent in part.parents]
            came = [key for key in keys if key in world.facts]
            if part.join != "all":
                came = [key for key in came if world.facts[key] is not ABSENT]
            wanted = len(keys) if part.join == "all" else int(part.join)
            if (part.name, scope) not in world.done and 0 < len(came) < wanted:
                left.add((part.node.name, scope))
    return left
