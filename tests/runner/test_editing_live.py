"""Editing live runs: while bodies are in flight, over restarts, and when a run comes back from the store."""

from collections.abc import Callable
from typing import Any

import pytest

import treadle as td
from tests.runner.running import (
    PATIENCE_S,
    Body,
    FaultyStore,
    Flaky,
    double,
    fail,
    increment,
    of_kind,
    plus,
    same,
    status_of,
    steps,
    until,
)
from treadle import errors
from treadle.model.events import ComponentAdded, ComponentReplaced, Orphaned
from treadle.stores.memory import MemoryStore


class Writer(MemoryStore):
    """A store whose calls are made in the writer's thread."""

    is_instant = False


STORES: dict[str, Callable[[], Any]] = {
    "instant": MemoryStore,
    "writer": Writer,
    "none": lambda: None,
}


@pytest.fixture(params=list(STORES.values()), ids=list(STORES))
def runner(request: pytest.FixtureRequest):
    """A runner over each kind of store."""
    with td.Runner(store=request.param()) as runner:
        yield runner


def test_a_component_is_added_while_its_parent_is_in_flight(runner: td.Runner):
    """It sees what its parent gives from then on."""
    body, after = Body(is_open=False), Body()
    runner.start(steps(td.step(body, name="body")), "a")
    ticket = runner.run("a", 1)
    body.wait_for_calls()
    runner.add("a", td.step(after, name="after"), to="body")
    body.let_go()

    assert ticket.result(PATIENCE_S) == {"after": 1}
    assert (body.calls, after.calls) == ([1], [1])


def test_without_backfill_nothing_old_is_seen(runner: td.Runner):
    """With it, what is there is fed to the new one, input by input."""
    runner.start(steps(increment), "a")
    for n in range(3):
        runner.run("a", n).result(PATIENCE_S)
    runner.add("a", td.step(same, name="late"), to="increment")
    assert runner.wait("a") == "idle"
    assert runner.get_workflow("a").raw_productions("late") == []
    runner.add("a", td.step(double, name="filled"), to="increment", backfill=True)
    assert runner.wait("a") == "idle"

    assert sorted(runner.get_workflow("a").raw_productions("filled")) == [2, 4, 6]
    assert runner.run("a", 9).result(PATIENCE_S) == {"late": 10, "filled": 20}
    assert len(of_kind(runner, "a", ComponentAdded)) == 2


def test_a_backfill_keeps_the_order_of_states(runner: td.Runner):
    """An accumulator that comes late counts what went by."""
    runner.start(steps(increment), "a")
    for n in range(5):
        runner.run("a", n).result(PATIENCE_S)
    total = td.accumulator(plus, initial=0, name="total")
    runner.add("a", total, to="increment", backfill=True)
    runner.wait("a")

    assert runner.get_workflow("a").states() == {"total": {None: 15}}


def test_a_component_is_replaced_while_it_is_in_flight(runner: td.Runner):
    """Its work is done anew by the new code; what the old one gives is recorded as orphaned, once."""
    old, new = Body(is_open=False, gives=lambda _: "old"), Body(gives=lambda _: "new")
    runner.start(steps((td.step(old, name="body"), [same])), "a")
    ticket = runner.run("a", 1)
    old.wait_for_calls()
    runner.replace("a", "body", td.step(new, name="body"))

    assert ticket.result(PATIENCE_S) == {"same": "new"}
    old.let_go()
    until(lambda: of_kind(runner, "a", Orphaned) or runner.wait("a") == "idle")
    assert len(of_kind(runner, "a", ComponentReplaced)) == 1
    assert runner.run("a", 2).result(PATIENCE_S) == {"same": "new"}
    assert (old.calls, new.calls) == ([1], [1, 2])


def test_a_replaced_accumulator_keeps_its_state(runner: td.Runner):
    """Unless it is reset."""
    runner.start(
        td.workflow("sum", components=[td.accumulator(plus, initial=0, name="total")]), "a"
    )
    for n in (1, 2):
        runner.run("a", n).result(PATIENCE_S)
    minus = td.accumulator(lambda state, x: state - x, initial=0, name="total")
    runner.replace("a", minus)
    assert runner.run("a", 1).result(PATIENCE_S) == {"total": 2}
    runner.replace("a", minus, reset=True)

    assert runner.run("a", 1).result(PATIENCE_S) == {"total": -1}


def test_a_component_is_removed_while_it_is_in_flight(runner: td.Runner):
    """Its children take what it took; its input goes on without it."""
    body = Body(is_open=False)
    workflow = steps((increment, [td.step(body, name="body")]))
    workflow = workflow.add(td.step(double), to="body")
    runner.start(workflow, "a")
    first = runner.run("a", 1)
    body.wait_for_calls()
    runner.remove("a", "body")
    assert first.result(PATIENCE_S) == {}
    body.let_go()

    assert runner.run("a", 2).result(PATIENCE_S) == {"double": 6}
    assert body.calls == [2]


def test_an_edit_that_is_refused_changes_nothing(runner: td.Runner):
    """Unknown names, names twice, wiring that does not fit: the run goes on as it was."""
    runner.start(steps((increment, [double])), "a")
    runner.run("a", 1).result(PATIENCE_S)
    for edit in (
        lambda: runner.add("a", td.step(same, name="double")),
        lambda: runner.add("a", same, to="nobody"),
        lambda: runner.replace("a", "nobody", td.step(same, name="nobody")),
        lambda: runner.remove("a", "nobody"),
        lambda: runner.add("a", 5),
    ):
        with pytest.raises(errors.UsageError):
            edit()

    assert status_of(runner, "a") == "idle"
    assert runner.get_workflow("a").components() == ["increment", "double"]
    assert runner.run("a", 2).result(PATIENCE_S) == {"double": 6}


def test_work_that_waits_for_its_next_attempt_is_edited_too(runner: td.Runner):
    """A retry whose moment has not come is done at once by the new code, or not at all."""
    patient = td.Policy(max_retries=5, backoff="linear", base_delay_s=3600, max_delay_s=3600)
    policies = {"body": patient, "other": patient}
    workflow = steps(td.step(fail, name="body"), td.step(fail, name="other"))
    runner.start(workflow, "a", policies=policies)
    ticket = runner.run("a", 7)
    until(lambda: runner.get_workflow("a").position >= 4)
    runner.replace("a", "body", td.step(same, name="body"))
    runner.remove("a", "other")

    assert ticket.result(PATIENCE_S) == {"body": 7}
    assert runner.wait("a") == "idle"


def test_work_that_waits_for_a_slot_is_edited_too(runner: td.Runner):
    """What was planned and not dispatched is done by the new code."""
    gate, old, new = Body(is_open=False), Body(), Body(gives=lambda x: -x)
    workflow = steps(td.step(gate, name="gate"), td.step(old, name="body"))
    runner.start(workflow, "a", max_concurrency=1)
    tickets = [runner.run("a", n) for n in range(3)]
    gate.wait_for_calls()
    runner.replace("a", "body", td.step(new, name="body"))
    runner.add("a", td.step(same, name="extra"), to="body")
    gate.let_go()

    assert [ticket.result(PATIENCE_S) for ticket in tickets] == [
        {"gate": n, "extra": -n} for n in range(3)
    ]
    assert old.calls == []


def test_many_edits_while_inputs_come_and_go(runner: td.Runner):
    """Each input is done by the code of its moment, and none is lost."""
    runner.start(steps(td.step(same, name="body")), "a")
    tickets = []
    for n in range(30):
        tickets.append((n, runner.run("a", n)))
        version = td.step(lambda x, n=n: (n, x), name="body")
        runner.replace("a", "body", version)

    for n, ticket in tickets:
        body = ticket.result(PATIENCE_S)["body"]
        assert body == n or body == (body[0], n)
    assert runner.run("a", "last").result(PATIENCE_S) == {"body": (29, "last")}


# ----------------------------------------------------------------------------- coming back


def test_an_edit_outlives_a_restart():
    """A run that crashes comes back with the graph it had."""
    store, body = FaultyStore(), Body(is_open=False)
    with td.Runner(store=store) as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        ticket = runner.run("a", 1)
        body.wait_for_calls()
        runner.add("a", td.step(double), to="body")
        runner.replace("a", td.step(lambda x: x * 3, name="double"))
        store.fail_next()
        body.let_go()

        assert ticket.result(PATIENCE_S) == {"double": 3}
        assert body.calls == [1]


def test_an_edit_that_could_not_be_stored_was_not_made():
    """Its caller is told; the run goes on as it was."""
    store = FaultyStore()
    with td.Runner(store=store) as runner:
        runner.start(steps(increment), "a")
        runner.run("a", 1).result(PATIENCE_S)
        store.fail_next()
        with pytest.raises(errors.PlugError, match="the disk is gone"):
            runner.add("a", td.step(double), to="increment")
        assert runner.run("a", 2).result(PATIENCE_S) == {"increment": 3}
        runner.add("a", td.step(double), to="increment")

        assert runner.run("a", 2).result(PATIENCE_S) == {"double": 6}


def test_an_edit_outlives_being_put_away_and_stopped():
    """The functions that came with it are found again by the same runner."""
    with td.Runner(keep_warm=1) as runner:
        for id in ("a", "b", "c"):
            runner.start(steps(increment), id)
        runner.add("a", td.step(double), to="increment")
        sub = td.workflow("sub", steps=[td.step(same, name="inner")])
        runner.add("b", sub, to="increment")
        for id in ("a", "b", "c", "a", "b"):
            runner.run(id, 1).result(PATIENCE_S)
        for id in ("a", "b"):
            runner.stop(id)
            runner.resume(id)

        assert runner.run("a", 2).result(PATIENCE_S) == {"double": 6}
        assert runner.run("b", 2).result(PATIENCE_S) == {"sub.inner": 3}


def test_another_runner_needs_the_functions_of_an_edit():
    """It parks the run and names what is missing; with a definition that has them it goes on."""
    store = MemoryStore()
    with td.Runner(store=store) as runner:
        runner.start(steps(increment), "a")
        runner.add("a", td.step(double), to="increment")
        runner.run("a", 1).result(PATIENCE_S)
    with td.Runner(store=store, workflows=[steps(increment)]) as runner:
        with pytest.raises(errors.RunEnded, match="unknown_definition.*'double'"):
            runner.resume("a")
    with td.Runner(store=store, workflows=[steps((increment, [double]))]) as runner:
        runner.resume("a")

        assert runner.run("a", 2).result(PATIENCE_S) == {"double": 6}


def test_an_edit_of_one_run_is_no_edit_of_another():
    """Nor of the template."""
    template = steps(increment)
    with td.Runner() as runner:
        runner.start(template, "a")
        runner.start(template, "b")
        runner.add("a", td.step(double), to="increment")

        assert runner.run("a", 1).result(PATIENCE_S) == {"double": 4}
        assert runner.run("b", 1).result(PATIENCE_S) == {"increment": 2}
        assert template.components() == ["increment"]


def test_a_policy_speaks_of_a_component_that_comes_later():
    """It is asked when the component is there."""
    flaky = Flaky(ValueError())
    with td.Runner(policies={"late": td.Policy(max_retries=1)}) as runner:
        runner.start(steps(increment), "a")
        runner.add("a", td.step(flaky, name="late"), to="increment")

        assert runner.run("a", 1).result(PATIENCE_S) == {"late": 2}
        assert len(flaky.calls) == 2
