"""What follows in sequence, and that running it elsewhere does what dispatching it singly would have done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

import treadle as td
from tests.oracle.compare import read
from tests.oracle.graph import build
from tests.oracle.strategies import CONFLUENT, cases
from treadle.engine.chains import chain_links
from treadle.engine.jobs import aexecute_bundle, execute_bundle, follow
from treadle.model.bundles import Bundle


def stopped() -> float:
    """A clock that stands still."""
    return 0.0


def anything(_: Any) -> bool:
    """Let every node follow."""
    return True


def links(workflow: td.Workflow, node: str, may_follow: Any = anything) -> list[str]:
    """The nodes that follow a node."""
    with workflow._program() as program:
        return [link.node for link in chain_links(program, node, may_follow)]


def line(*names: str, **wiring: Any) -> td.Workflow:
    """A workflow of plain steps, each below the one before it."""
    workflow, above = td.workflow("line"), None
    for name in names:
        workflow = workflow.add(td.step(lambda x: x, name=name), to=above, **wiring)
        above = name
    return workflow


def a_step(name: str) -> Any:
    """A plain step."""
    return td.step(lambda x: x, name=name)


# ------------------------------------------------------------------------- what makes a chain


def test_steps_in_a_line_follow_one_another():
    """All that follows is given, whatever it is asked from."""
    workflow = line("a", "b", "c", "d")

    assert links(workflow, "a") == ["b", "c", "d"]
    assert links(workflow, "c") == ["d"]
    assert links(workflow, "d") == []


def test_a_link_carries_all_that_a_worker_needs():
    """A link has the function, its kind, and the generation of its node."""

    async def later(x):
        return x

    workflow = line("a", "b").add(td.step(later), to="b").plan_eagerly(0)
    workflow = workflow.replace("b", abs)
    with workflow._reading() as memory:
        b, last = chain_links(memory, "a", anything)

    assert (b.component, b.node, b.call, b.is_async, b.generation) == ("b", "b", abs, False, 1)
    assert (last.component, last.is_async, last.generation) == ("later", True, 0)


ENDS: dict[str, Any] = {
    "two takers": lambda w: w.add(a_step("x"), to="b").add(a_step("y"), to="b"),
    "a rule": lambda w: w.add(td.rule(name="x", condition=bool, reaction=abs), to="b"),
    "a condition beside a step": lambda w: w.add(a_step("x"), to="b").add(
        td.condition(bool), to="b"
    ),
    "a dispatched check": lambda w: w.add(
        td.rule(name="x", condition=bool, reaction=abs, dispatch=True), to="b"
    ),
    "a keyed state beside a step": lambda w: w.add(a_step("x"), to="b").add(
        td.accumulator(max, initial=0, name="y", key=str), to="b"
    ),
    "a state": lambda w: w.add(td.accumulator(max, initial=0, name="x"), to="b"),
    "a fan-out": lambda w: w.add(td.map(abs, name="x"), to="b"),
    "a fold": lambda w: w.add(td.reduce(max, name="x"), to="b"),
    "a join": lambda w: w.add(a_step("s")).add(td.step(max, name="x"), to=["b", "s"]),
    "a race": lambda w: w.add(a_step("s")).add(a_step("x"), to=["b", "s"], join="any"),
    "a correlated join": lambda w: w.add(a_step("s")).add(
        td.step(lambda x, y: x, name="x"), to=["b", "s"], correlate="latest"
    ),
    "a marker": lambda w: w.add(td.step(lambda x, n=td.attempt(): x, name="x"), to="b"),
    "a broadcast into a fan-out": lambda w: w.add(td.map(abs, name="m")).add(
        td.step(lambda x, y: x, name="x"), to=["m", "b"]
    ),
}


@pytest.mark.parametrize("extended", ENDS.values(), ids=ENDS)
def test_whatever_needs_more_than_one_value_ends_a_chain(extended: Any):
    """Nothing follows where a fact has several takers, is planned, joined, folded, spread or read in passing."""
    assert links(extended(line("a", "b")), "a") == ["b"]


GOES_ON: dict[str, Any] = {
    "a handler": lambda w: w.add(a_step("handler"), to=td.error_of("b")),
    "being read by a marker": lambda w: w.add(
        td.step(lambda x, seen=td.latest("b"): seen, name="reader")
    ),
    "skipping failures": lambda w: w.replace("b", td.step(abs, name="b", on_failure="skip")),
    "halting on failure": lambda w: w.replace("b", td.step(abs, name="b", on_failure="halt")),
    "unpacking its value": lambda w: w.replace("b", td.step(lambda x, y: x, name="b")),
}


@pytest.mark.parametrize("extended", GOES_ON.values(), ids=GOES_ON)
def test_what_is_decided_when_outcomes_are_applied_ends_no_chain(extended: Any):
    """Error handlers, tracking and `on_failure` matter only afterwards."""
    assert links(extended(line("a", "b", "c")), "a") == ["b", "c"]


def test_a_chain_begins_below_steps_and_folds_only():
    """A fan-out, a check and a state give something else than their function does, or hold up others."""
    workflow = (
        td.workflow("heads")
        .add(td.map(abs, name="each"))
        .add(a_step("item"), to="each")
        .add(a_step("again"), to="item")
        .add(td.collect(name="all"), to="again")
        .add(a_step("after"), to="all")
        .add(td.accumulator(max, initial=0, name="most"))
        .add(a_step("below"), to="most")
        .add(td.rule(name="if", condition=bool, reaction=abs, dispatch=True))
        .add(a_step("then"), to="if")
    )
    with workflow._program() as program:
        keys = list(program.by_key)
    found = {key: links(workflow, key) for key in keys}

    assert {key: names for key, names in found.items() if names} == {
        "each": ["item", "again"],
        "item": ["again"],
        "all": ["after"],
        "if": ["then"],
    }


def test_who_asks_may_end_a_chain():
    """The first node that may not follow is the end, also if a later one might."""
    asked = []

    def not_c(node):
        asked.append(node.component)
        return node.component != "c"

    assert links(line("a", "b", "c", "d"), "a", not_c) == ["b"]
    assert asked == ["b", "c"]


def test_no_function_and_no_node_mean_no_chain():
    """A log may name a step whose function was not given; and a node may have been removed."""
    workflow = line("a", "b").plan_eagerly(0).add(a_step("c"), to="b")
    replayed = td.Workflow.from_log(line("a", "b"), workflow.log())

    assert links(workflow, "a") == ["b", "c"]
    assert links(replayed, "a") == ["b"]
    assert links(workflow, "gone") == []


# ----------------------------------------------------------------- what comes of running one


class Driver:
    """Drives a workflow by chains, and beside it another one by the same work, one runnable at a time."""

    def __init__(self, workflow: td.Workflow) -> None:
        self.chained = self.single = workflow
        self.out: list[tuple[Bundle, td.Runnable]] = []

    def accept(self, value: Any) -> None:
        """Feed an input to both."""
        self.chained = self.chained.plan_eagerly(value)
        self.single = self.single.plan_eagerly(value)

    def dispatch(self, limit: int | None) -> None:
        """Take ready work out of both, and see what follows each piece."""
        self.chained, ours = self.chained.prepare_for_dispatch(limit)
        self.single, theirs = self.single.prepare_for_dispatch(limit)
        for mine, other in zip(ours, theirs, strict=True):
            with self.chained._reading() as memory:
                chain = chain_links(memory, mine.node, anything)
            self.out.append((Bundle(runnables=(mine,), links=chain), other))

    def finish(self, number: int) -> None:
        """Execute a bundle in one go, and the same runnables singly as the other workflow prepares them."""
        bundle, other = self.out.pop(number % len(self.out))
        before, value = bundle.runnables[0], None
        for place, outcome in enumerate(execute_bundle(bundle, stopped)):
            if place:
                ready = [each for each in self.single.next_runnables() if each.id == outcome.id]
                if not ready:  # its input was halted while the chain ran
                    assert self.chained.apply_runnable(outcome) == self.chained
                    return
                other = ready[0]
                before = follow(bundle.links[place - 1], before, value)
                assert as_prepared(before) == as_prepared(other)
            value = outcome.value
            alone = structs.replace(td.execute_runnable(other), seconds=0.0)
            self.chained = self.chained.apply_runnable(outcome)
            self.single = self.single.apply_runnable(alone)


def as_prepared(runnable: td.Runnable) -> Any:
    """All of a runnable but where in which log it was prepared."""
    return structs.replace(runnable, branch=(), position=0)


@pytest.mark.slow
@given(case=cases(), draws=st.lists(st.integers(0, 99), min_size=1, max_size=40))
def test_a_chain_does_what_its_runnables_would_have_done(case: Any, draws: list[int]):
    """Head and links, applied one after the other, give the very same workflow: values, positions, failures."""
    graph, inputs, _ = case
    driver = Driver(build(graph, td))
    waiting, turn = list(inputs), 0
    while True:
        turn += 1
        draw = draws[turn % len(draws)]
        if waiting and (draw % 3 == 0 or not (driver.out or driver.chained.is_runnable())):
            driver.accept(waiting.pop(0))
        elif driver.chained.is_runnable() and (draw % 3 == 1 or not driver.out):
            driver.dispatch((None, 1, 2)[draw % 3])
        elif driver.out:
            driver.finish(draw)
        else:
            break

    assert driver.chained == driver.single
    assert driver.chained.is_satisfied()


@pytest.mark.slow
@given(case=cases(**CONFLUENT))
def test_driving_by_chains_gives_the_results_of_the_bare_loop(case: Any):
    """Over graphs whose results do not depend on order, chains give what `react_until_satisfied` gives."""
    graph, inputs, _ = case
    bare = build(graph, td)
    for value in inputs:
        bare = bare.react_until_satisfied(value)
    driver = Driver(build(graph, td))
    for value in inputs:
        driver.accept(value)
    while driver.chained.is_runnable():
        driver.dispatch(None)
        while driver.out:
            driver.finish(0)

    assert read(driver.chained, td.ABSENT, {td.INPUT}) == read(bare, td.ABSENT, {td.INPUT})


LINKS = st.sampled_from(["add", "list", "none", "fail", "absent", "exit"])


def acting(what: str) -> Any:
    """A function of some kind, made for a chain."""

    def act(value):
        if what == "fail":
            raise ValueError(value)
        if what == "exit":
            raise SystemExit(value)
        return {"list": [value], "none": None, "absent": td.ABSENT}.get(what, f"{value}.")

    return act


@given(kinds=st.lists(LINKS, min_size=2, max_size=6), handled=st.booleans())
def test_a_line_run_as_one_chain_equals_the_bare_loop(kinds: list[str], handled: bool):
    """A line of any outcomes, run by one worker at a go, is equal to the same line under the bare loop."""
    workflow, above = td.workflow("line"), None
    for number, kind in enumerate(kinds):
        name = f"s{number}"
        workflow = workflow.add(td.step(acting(kind), name=name), to=above)
        above = name
    if handled:
        workflow = workflow.add(td.step(str, name="handler"), to=td.error_of(above or ""))
    driven, (head,) = workflow.plan_eagerly("x").prepare_for_dispatch()
    with driven._reading() as memory:
        chain = chain_links(memory, head.node, anything)
    for outcome in execute_bundle(Bundle(runnables=(head,), links=chain), stopped):
        driven = driven.apply_runnable(structs.replace(outcome, seconds=None))

    assert len(chain) == len(kinds) - 1
    assert driven.react_until_satisfied() == workflow.react_until_satisfied("x")


def test_what_a_head_read_is_not_read_by_its_links():
    """A head with markers notes how far it read; the steps after it read nothing."""
    workflow = (
        td.workflow("reading")
        .add(td.step(abs, name="zeroth"))
        .add(td.step(lambda x, n=td.count("zeroth"): x + n, name="first"), to="zeroth")
        .add(td.step(abs, name="second"), to="first")
    )
    driven, (head,) = workflow.react(1).prepare_for_dispatch()
    with driven._reading() as memory:
        chain = chain_links(memory, "first", anything)
    for outcome in execute_bundle(Bundle(runnables=(head,), links=chain), stopped):
        driven = driven.apply_runnable(structs.replace(outcome, seconds=None))

    assert head.read_at is not None
    assert driven == workflow.react_until_satisfied(1)


def test_an_async_chain_is_awaited_link_by_link():
    """Async and plain steps mix in a chain where it is awaited."""

    async def double(x):
        await asyncio.sleep(0)
        return x * 2

    workflow = td.workflow("waiting").add(td.step(double, name="a"))
    workflow = workflow.add(td.step(abs, name="b"), to="a").add(td.step(double, name="c"), to="b")
    driven, (head,) = workflow.plan_eagerly(-3).prepare_for_dispatch()
    with driven._reading() as memory:
        bundle = Bundle(runnables=(head,), links=chain_links(memory, "a", anything))
    for outcome in asyncio.run(aexecute_bundle(bundle, stopped)):
        driven = driven.apply_runnable(structs.replace(outcome, seconds=None))

    assert bundle.is_async
    assert driven.results() == {"c": 12}
    assert driven == asyncio.run(workflow.areact_until_satisfied(-3))


def test_links_of_a_halted_input_change_nothing():
    """What a worker still did for an input that was halted meanwhile is ignored, as late work is."""

    def halting(x):
        raise ValueError(x)

    workflow = line("a", "b").add(td.step(halting, name="h", on_failure="halt"))
    driven, runnables = workflow.plan_eagerly(1).prepare_for_dispatch()
    head = next(each for each in runnables if each.component == "a")
    other = next(each for each in runnables if each.component == "h")
    with driven._reading() as memory:
        bundle = Bundle(runnables=(head,), links=chain_links(memory, "a", anything))
    first, second = execute_bundle(bundle, stopped)
    halted = driven.apply_runnable(td.execute_runnable(other)).apply_runnable(first)

    assert halted.apply_runnable(second) == halted
    assert halted.is_satisfied()
