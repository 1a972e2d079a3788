"""Supervision: a crash of one run, a store that fails, a definition that is missing."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import treadle as td
from tests.runner.running import (
    PATIENCE_S,
    Body,
    FaultyStore,
    Out,
    SetClock,
    double,
    increment,
    log_of,
    note_of,
    of_kind,
    status_of,
    steps,
)
from treadle import errors
from treadle.model.events import Defined
from treadle.stores.memory import MemoryStore

SPEEDS = {"instant": True, "writer": False}


class Switch:
    """A condition that raises until it is mended."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error

    def __call__(self, _: Any) -> bool:
        """True, or not at all."""
        if self.error is not None:
            raise self.error
        return True


def guarded(condition: Any, body: Any = increment) -> td.Workflow:
    """A step, and a rule on what it gives."""
    rule = td.rule(name="guard", condition=condition, reaction=double)
    return td.workflow("guarded", steps=[td.step(body, name="body")]).add(rule, to="body")


# ------------------------------------------------------------------------------------ crashes


def test_a_crash_over_an_input_is_told_to_its_caller():
    """A condition that raises no ordinary error refuses that input; nothing of it is kept, and the run goes on."""
    switch = Switch(Out("odd"))
    rule = td.rule(name="odd", condition=switch, reaction=increment)
    with td.Runner() as runner:
        runner.start(td.workflow("odd", rules=[rule]), "a")
        with pytest.raises(errors.PlugError, match="crashed over this") as refused:
            runner.run("a", 1)
        switch.error = None
        results = runner.run("a", 5).result(PATIENCE_S)

        assert isinstance(refused.value.__cause__, Out)
        assert results == {"odd": 6}
        assert [each["value"] for each in runner.get_workflow("a").inputs()] == [5]


def test_a_run_that_keeps_crashing_is_parked_with_the_evidence():
    """What led to it stays to be seen: the note, the story, and the ticket's error with its cause."""
    body = Body()
    switch = Switch(Out("over and over"))
    with td.Runner() as runner:
        runner.start(guarded(switch, body), "a")
        runner.start(steps(), "b")
        error = runner.run("a", 1).exception(PATIENCE_S)

        assert isinstance(error, errors.RunEnded)
        assert "parked (poisoned: Out: over and over) before its input 0" in str(error)
        assert isinstance(error.__cause__, Out)
        assert (status_of(runner, "a"), note_of(runner, "a")) == (
            "parked",
            "poisoned: Out: over and over",
        )
        story = [(row["stimulus"], row["status"]) for row in runner.story("a")]
        assert story.count(("Finished", "crashed")) == 4
        assert body.calls == [1]
        assert runner.run("b", 1).result(PATIENCE_S) == {"increment": 2}
        with pytest.raises(errors.RunEnded, match="poisoned"):
            runner.run("a", 2)


def test_a_parked_run_goes_on_when_what_was_wrong_is_mended():
    """Nothing that was stored is done again."""
    body = Body()
    switch = Switch(Out("for now"))
    with td.Runner() as runner:
        runner.start(guarded(switch, body), "a")
        runner.run("a", 1).exception(PATIENCE_S)
        switch.error = None
        assert runner.resume("a") == "a"
        assert runner.wait("a") == "idle"

        assert runner.get_results("a") == {"guard": 2}
        assert len(of_kind(runner, "a", Defined)) == 1
        assert note_of(runner, "a") is None


def test_what_had_come_back_is_not_executed_again_after_a_crash():
    """A body whose outcome made the run crash is called once, whatever comes of its outcome."""
    body = Body()
    switch = Switch(Out("once"))

    def once(_: Any) -> bool:
        error, switch.error = switch.error, None
        if error is not None:
            raise error
        return True

    with td.Runner() as runner:
        runner.start(guarded(once, body), "a")

        assert runner.run("a", 1).result(PATIENCE_S) == {"guard": 2}
        assert body.calls == [1]
        assert len(of_kind(runner, "a", Defined)) == 1


def test_what_is_in_flight_outlives_a_crash():
    """A restart lets bodies that still run go on, and takes their outcomes."""
    quick, slow = Body(), Body(is_open=False)
    store = FaultyStore()
    with td.Runner(store=store) as runner:
        runner.start(steps(td.step(quick, name="quick"), td.step(slow, name="slow")), "a")
        quick.shut()
        ticket = runner.run("a", 1)
        quick.wait_for_calls()
        slow.wait_for_calls()
        store.fail_next()
        quick.let_go()
        runner.checkpoint("a")
        slow.let_go()

        assert ticket.result(PATIENCE_S) == {"quick": 1, "slow": 1}
        assert (quick.calls, slow.calls) == ([1], [1])


def test_restarts_are_counted_within_their_period():
    """As many as are allowed within the period go well; old ones do not count."""
    switch, clock = Switch(Out()), SetClock()
    rule = td.rule(name="odd", condition=switch, reaction=increment)
    with td.Runner(clock=clock, restarts=td.Restarts(1, period_s=60)) as runner:
        runner.start(td.workflow("odd", rules=[rule]), "a")
        for _ in range(4):
            with pytest.raises(errors.PlugError):
                runner.run("a", 1)
            assert status_of(runner, "a") == "idle"
            clock.go_on(61)
        with pytest.raises(errors.PlugError):
            runner.run("a", 1)
        with pytest.raises(errors.PlugError):
            runner.run("a", 1)
        assert status_of(runner, "a") == "parked"
        runner.resume("a")
        with pytest.raises(errors.PlugError):
            runner.run("a", 1)

        assert status_of(runner, "a") == "idle"


def test_no_restart_at_all():
    """`Restarts(0)` parks a run at its first crash."""
    with td.Runner(restarts=td.Restarts(0)) as runner:
        runner.start(guarded(Switch(Out())), "a")
        runner.run("a", 1).exception(PATIENCE_S)

        assert status_of(runner, "a") == "parked"


def test_a_key_function_that_raises_crashes_its_run_only():
    """An ordinary error of it is a failure of the accumulator; anything else parks the run."""

    def key(value: Any) -> Any:
        if value == "odd":
            raise Out
        return value["key"]

    total = td.accumulator(lambda state, value: state + 1, initial=0, name="total", key=key)
    workflow = td.workflow("keyed", components=[total])
    with td.Runner() as runner:
        runner.start(workflow, "a")
        runner.start(steps(), "b")
        assert isinstance(runner.run("a", {}).exception(PATIENCE_S), errors.StepFailed)
        for _ in range(4):
            with pytest.raises(errors.PlugError):
                runner.run("a", "odd")

        assert status_of(runner, "a") == "parked"
        assert runner.run("b", 1).result(PATIENCE_S) == {"increment": 2}


class Planner:
    """A scheduler that raises."""

    def __init__(self, plan: BaseException | None = None, observe: Any = None) -> None:
        self.plan_error = plan
        self.observe_error = observe

    def plan(self, ready: Any, view: Any) -> Any:
        """Each alone, or nothing."""
        if self.plan_error is not None:
            raise self.plan_error
        return [td.Bundle(runnables=(each,)) for each in ready]

    def observe(self, outcome: Any) -> None:
        """Learn nothing."""
        if self.observe_error is not None:
            raise self.observe_error


@pytest.mark.parametrize(
    "scheduler", [Planner(plan=ValueError()), Planner(observe=ValueError())], ids=["plan", "learn"]
)
def test_a_scheduler_that_fails_is_done_without(scheduler: Planner, caplog):
    """Work is dispatched one by one, and the log says so."""
    with td.Runner(scheduler=scheduler) as runner:
        runner.start(steps(increment, double), "a")

        assert runner.run("a", 1).result(PATIENCE_S) == {"increment": 2, "double": 2}
    assert "run a: " in caplog.text


def test_a_scheduler_that_ends_the_world_ends_its_run_only():
    """What is no ordinary error parks the run that has the scheduler."""
    with td.Runner() as runner:
        runner.start(steps(), "a", scheduler=Planner(plan=Out()))
        runner.start(steps(), "b")
        for _ in range(4):
            with pytest.raises(errors.PlugError):
                runner.run("a", 1)

        assert status_of(runner, "a") == "parked"
        assert runner.run("b", 1).result(PATIENCE_S) == {"increment": 2}


MISTAKES: dict[str, Any] = {
    "context": lambda runner: runner.run("a", 1, run_context=5),
    "context of a component": lambda runner: runner.run("a", 1, run_context={"body": 5}),
    "policies": lambda runner: runner.run("a", 1, policies=5),
    "field": lambda runner: runner.run("a", 1, policies={"body": {"retries": 1}}),
    "executor": lambda runner: runner.run("a", 1, policies=td.Policy(executor="moon")),
    "matcher": lambda runner: runner.run("a", 1, policies={len: td.Policy()}),
    "key": lambda runner: runner.run("a", 1, 5),
    "deadline": lambda runner: runner.run("a", 1, deadline_s=0),
    "edit": lambda runner: runner.remove("a", "nobody"),
    "input": lambda runner: runner.cancel("a", input=7),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_caller_s_mistake_is_no_crash(mistake: Any):
    """However often it is made: it is refused, and harms nothing."""
    with td.Runner() as runner:
        runner.start(steps(td.step(increment, name="body")), "a")
        for _ in range(5):
            with pytest.raises(errors.UsageError):
                mistake(runner)

        assert runner.run("a", 1).result(PATIENCE_S) == {"body": 2}
        assert len(runner.get_workflow("a").inputs()) == 1


@pytest.mark.parametrize("options", [{"run_context": 5}, {"policies": {len: td.Policy()}}])
def test_a_run_that_cannot_be_started_is_not_there(options: Any):
    """Its id is free for one that can."""
    with td.Runner() as runner:
        with pytest.raises(errors.UsageError):
            runner.start(steps(), "a", **options)
        assert runner.runs() == []
        runner.start(steps(), "a")

        assert runner.run("a", 1).result(PATIENCE_S) == {"increment": 2}


# ------------------------------------------------------------------------------- failing stores


@pytest.mark.parametrize("is_instant", SPEEDS.values(), ids=SPEEDS)
@pytest.mark.parametrize("count", range(1, 6))
def test_a_store_that_fails_once_costs_no_input(is_instant: bool, count: int):
    """Whichever write fails: an input is refused with the reason, or gives its results; never is it half there."""
    store = FaultyStore(is_instant=is_instant)
    accepted = []
    with td.Runner(store=store) as runner:
        runner.start(steps((increment, [double])), "a")
        store.fail_at(store.count + count)
        for value in (1, 2, 3):
            try:
                ticket = runner.run("a", value)
            except errors.PlugError as error:
                assert isinstance(error.__cause__, OSError)
            else:
                accepted.append(value)
                assert ticket.result(PATIENCE_S) == {"double": 2 * (value + 1)}

        workflow = runner.get_workflow("a")
        assert len(accepted) >= 2
        assert [each["value"] for each in workflow.inputs()] == accepted
        assert workflow.raw_productions() == [2 * (value + 1) for value in accepted]
        assert len(of_kind(runner, "a", Defined)) == 1
        assert list(store.load("a").events) == log_of(runner, "a")


@pytest.mark.parametrize("is_instant", SPEEDS.values(), ids=SPEEDS)
def test_a_store_that_fails_for_good_parks_the_run(is_instant: bool):
    """Nobody waits for ever, also though not even that can be stored; another run is not concerned."""
    store, body = FaultyStore(is_instant=is_instant), Body(is_open=False)
    with td.Runner(store=store) as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        runner.start(steps(), "b")
        ticket = runner.run("a", 1)
        waiting = ThreadPoolExecutor(1).submit(runner.wait, "a")
        body.wait_for_calls()
        store.fail_for("a")
        body.let_go()
        error = ticket.exception(PATIENCE_S)

        assert isinstance(error, errors.RunEnded)
        assert isinstance(error.__cause__, OSError)
        assert waiting.result(PATIENCE_S) == "parked"
        assert "poisoned: OSError" in str(note_of(runner, "a"))
        assert runner.run("b", 1).result(PATIENCE_S) == {"increment": 2}
        store.mend()
        runner.resume("a")
        assert runner.wait("a") == "idle"
        assert runner.get_results("a") == {"body": 1}


@pytest.mark.parametrize("is_instant", SPEEDS.values(), ids=SPEEDS)
def test_inputs_are_refused_while_the_store_fails(is_instant: bool):
    """Each caller is told, until the run is parked; a run that is resumed takes inputs again."""
    store = FaultyStore(is_instant=is_instant)
    with td.Runner(store=store) as runner:
        runner.start(steps(), "a")
        store.fail_for("a")
        for _ in range(4):
            with pytest.raises(errors.PlugError, match="the disk is gone"):
                runner.run("a", 1)
        with pytest.raises(errors.RunEnded, match="poisoned"):
            runner.run("a", 1)
        store.mend()
        runner.resume("a")

        assert runner.run("a", 5).result(PATIENCE_S) == {"increment": 6}
        assert len(runner.get_workflow("a").inputs()) == 1


@pytest.mark.parametrize("is_instant", SPEEDS.values(), ids=SPEEDS)
def test_a_run_that_crashes_while_it_ends_still_ends(is_instant: bool):
    """Whoever asked for the end has it."""
    store, body = FaultyStore(is_instant=is_instant), Body(is_open=False)
    with td.Runner(store=store) as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        ticket = runner.run("a", 1)
        body.wait_for_calls()
        stopping = ThreadPoolExecutor(1).submit(runner.stop, "a")
        while status_of(runner, "a") != "stopping":
            pass
        store.fail_next()
        body.let_go()

        assert stopping.result(PATIENCE_S) == "stopped"
        assert status_of(runner, "a") == "stopped"
        ticket.exception(PATIENCE_S)


@pytest.mark.parametrize("is_instant", SPEEDS.values(), ids=SPEEDS)
def test_a_runner_whose_store_fails_still_closes(is_instant: bool):
    """Nothing hangs, and no thread is left behind for it."""
    store = FaultyStore(is_instant=is_instant)
    runner = td.Runner(store=store)
    runner.start(steps(), "a")
    runner.run("a", 1).result(PATIENCE_S)
    store.fails = lambda _: True

    assert runner.close(PATIENCE_S) == 0
    with pytest.raises(errors.RunEnded):
        runner.runs()


def test_what_came_with_an_input_outlives_a_crash():
    """Context values and policies of an input stand in no log, and still hold after a restart."""

    def ask(x: Any, *, model: str = td.context("model", default="small")) -> str:
        if model == "large":
            raise ValueError(model)
        return model

    store, body = FaultyStore(), Body(is_open=False)
    with td.Runner(store=store) as runner:
        runner.start(steps((td.step(body, name="body"), [ask])), "a")
        ticket = runner.run(
            "a",
            1,
            run_context={"ask": {"model": "large"}},
            policies={"ask": td.Policy(fallback=td.RetryWith(model="medium"))},
        )
        other = runner.run("a", 2)
        body.wait_for_calls(2)
        store.fail_next()
        body.let_go()

        assert ticket.result(PATIENCE_S) == {"ask": "medium"}
        assert other.result(PATIENCE_S) == {"ask": "small"}


def test_a_refused_input_leaves_nothing_to_the_next():
    """The context of an input that was never stored does not fall to the one that takes its number."""
    store = FaultyStore()

    def ask(x: Any, *, model: str = td.context("model", default="small")) -> str:
        return model

    with td.Runner(store=store) as runner:
        runner.start(steps(ask), "a")
        store.fail_next()
        with pytest.raises(errors.PlugError):
            runner.run("a", 1, run_context={"ask": {"model": "large"}})

        assert runner.run("a", 1).result(PATIENCE_S) == {"ask": "small"}


def test_a_parked_run_holds_nothing_up():
    """What it had out, or in a queue, gives its place to others."""
    body = Body(is_open=False)
    switch = Switch(Out())
    rule = td.rule(name="odd", condition=lambda x: x == "odd" and switch(x), reaction=increment)
    alone = {"body": td.Policy(max_concurrency=td.Limit(1, "door"))}
    first = td.workflow("first", steps=[td.step(body, name="body")], rules=[rule])
    with td.Runner(restarts=td.Restarts(0)) as runner:
        runner.start(first.with_policies(alone), "a")
        runner.start(steps(td.step(body, name="body")).with_policies(alone), "b")
        tickets = [runner.run("a", n) for n in range(3)]
        other = runner.run("b", 9)
        body.wait_for_calls()
        with pytest.raises(errors.PlugError):
            runner.run("a", "odd")
        body.wait_for_calls(2)
        body.let_go()

        assert other.result(PATIENCE_S) == {"body": 9}
        assert body.calls == [0, 9]
        assert all(isinstance(each.exception(PATIENCE_S), errors.RunEnded) for each in tickets)


def test_two_runners_on_one_store_lose_nothing():
    """Whoever comes second is told, and looks again: each accepted input is in the log once."""
    store, accepted = MemoryStore(), []
    with (
        td.Runner(store=store, restarts=td.Restarts(99)) as one,
        td.Runner(store=store, restarts=td.Restarts(99), workflows=[steps()]) as two,
    ):
        one.start(steps(), "a")
        two.resume("a")
        for n in range(20):
            try:
                ticket = (one, two)[n % 3 == 0].run("a", n)
            except errors.PlugError as error:
                assert isinstance(error.__cause__, errors.Conflict)
            else:
                accepted.append(n)
                assert ticket.result(PATIENCE_S) == {"increment": n + 1}
        workflow = one.get_workflow("a")
        if workflow.position != len(store.load("a").events):
            workflow = two.get_workflow("a")

        assert [each["value"] for each in workflow.inputs()] == accepted
        assert workflow.raw_productions() == [n + 1 for n in accepted]
        assert len(accepted) >= 7


def test_an_id_may_be_used_again_at_once():
    """What a forgotten run still has out is nobody's any more."""
    body = Body(is_open=False)
    with td.Runner() as runner:
        for n in range(5):
            runner.start(steps(td.step(body, name="body")), "a")
            ticket = runner.run("a", n)
            body.wait_for_calls(n + 1)
            assert runner.stop("a", now=True, persist=False) == "stopped"
            assert isinstance(ticket.exception(PATIENCE_S), errors.RunEnded)
        body.let_go()
        runner.start(steps(td.step(body, name="body")), "a")

        assert runner.run("a", "new").result(PATIENCE_S) == {"body": "new"}
        assert len(log_of(runner, "a")) == 3


# --------------------------------------------------------------------------- unknown definitions


def test_a_run_without_a_definition_is_parked_until_there_is_one():
    """A runner on the same store that does not know the workflow says so, and one that does goes on."""
    store, body = MemoryStore(), Body(is_open=False)
    workflow = steps(td.step(body, name="body"))
    with td.Runner(store=store) as first:
        first.start(workflow, "a")
        first.run("a", 1)
        body.wait_for_calls()
        first.stop("a", now=True)
    body.let_go()
    with td.Runner(store=store) as second:
        with pytest.raises(errors.RunEnded, match="unknown_definition"):
            second.resume("a")
        assert (status_of(second, "a"), note_of(second, "a")) == ("parked", "unknown_definition")
    with td.Runner(store=store, workflows=[workflow]) as third:
        assert status_of(third, "a") == "parked"
        third.resume("a")

        assert third.wait("a") == "idle"
        assert third.get_results("a") == {"body": 1}


def test_a_definition_that_lacks_a_function_parks_the_run():
    """The note names the component."""
    store = MemoryStore()
    with td.Runner(store=store) as first:
        first.start(steps((increment, [double])), "a")
        first.run("a", 1).result(PATIENCE_S)
    with td.Runner(store=store, workflows=[steps(increment)]) as second:
        with pytest.raises(errors.RunEnded, match="'double'"):
            second.resume("a")

        assert status_of(second, "a") == "parked"
