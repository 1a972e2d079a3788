"""A runner as a user meets it: ids, results, slots, stopping, restarts, schedulers, executors, hooks, telemetry."""

import logging
import threading
from collections.abc import Callable, Sequence
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
    same,
    status_of,
    steps,
    until,
)
from treadle import errors
from treadle.executors.pool import DemandPool
from treadle.interfaces import Observer
from treadle.model.events import Applied, Defined
from treadle.stores.memory import MemoryStore

# ------------------------------------------------------------------------------------------ ids

CALLS: dict[str, Callable[[td.Runner], Any]] = {
    "run": lambda runner: runner.run("x", 1),
    "submit": lambda runner: runner.submit("x", 1),
    "get_results": lambda runner: runner.get_results("x"),
    "get_workflow": lambda runner: runner.get_workflow("x"),
    "stop": lambda runner: runner.stop("x"),
    "resume": lambda runner: runner.resume("x"),
    "cancel": lambda runner: runner.cancel("x"),
    "cancel an input": lambda runner: runner.cancel("x", input=0),
    "checkpoint": lambda runner: runner.checkpoint("x"),
    "add": lambda runner: runner.add("x", double),
    "replace": lambda runner: runner.replace("x", increment),
    "remove": lambda runner: runner.remove("x", "increment"),
    "wait": lambda runner: runner.wait("x"),
    "story": lambda runner: runner.story("x"),
    "plan": lambda runner: runner.plan("x"),
    "stream": lambda runner: runner.stream("x"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("store", ["memory", None])
def test_an_unknown_id_is_named_in_every_call(call: Callable[[td.Runner], Any], store: Any):
    """With the nearest one there is; and nothing is made of it."""
    with td.Runner(store=store) as runner:
        runner.start(steps(), "xx")
        with pytest.raises(errors.UnknownRun, match=r"no run 'x'.*'xx'"):
            call(runner)

        assert [info.id for info in runner.runs()] == ["xx"]


def test_an_id_is_there_once():
    """Whether its run is at work, idle, stopped, cancelled, or in the store only."""
    store, body = MemoryStore(), Body(is_open=False)
    with td.Runner(store=store) as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        with pytest.raises(errors.DuplicateRun, match="'a' already; it is idle"):
            runner.start(steps(), "a")
        runner.run("a", 1)
        with pytest.raises(errors.DuplicateRun, match="running"):
            runner.start(steps(), "a")
        body.let_go()
        runner.stop("a")
        with pytest.raises(errors.DuplicateRun, match="stopped"):
            runner.start(steps(), "a")
    with td.Runner(store=store) as second, pytest.raises(errors.DuplicateRun, match="stopped"):
        second.start(steps(), "a")


def test_a_known_id_may_be_taken_up_again():
    """`if_exists="resume"` lets a run of this id go on, or begins one."""
    with td.Runner() as runner:
        for _ in range(3):
            assert runner.start(steps(), "a", if_exists="resume") == "a"
        runner.run("a", 1).result(PATIENCE_S)
        runner.stop("a")
        runner.start(steps(), "a", if_exists="resume")
        runner.run("a", 2).result(PATIENCE_S)

        assert len(runner.get_workflow("a").inputs()) == 2


@pytest.mark.parametrize("id", ["", 5, b"a", "a\nb", "x" * 256, "a\x00"])
def test_an_id_is_readable_text(id: Any):
    """Not empty, not too long, nothing that cannot be shown."""
    with td.Runner() as runner, pytest.raises(errors.UsageError):
        runner.start(steps(), id)


# -------------------------------------------------------------------------------------- results


@pytest.mark.parametrize("executor", ["inline", "threads", "asyncio", "pool"])
def test_run_gives_results(executor: str):
    """Those of this very input, and the run keeps them."""
    with td.Runner(executor=executor) as runner:
        runner.start(steps((increment, [double])), "a")

        assert runner.run("a", 1).result(PATIENCE_S) == {"double": 4}
        assert runner.run("a", 2).result(PATIENCE_S) == {"double": 6}
        assert runner.get_results("a") == {"double": 6}
        assert runner.get_results("a", "increment", input=0) == {"increment": 2}
        assert runner.get_workflow("a").raw_productions() == [4, 6]


def test_two_runs_are_both_processed():
    """Each by itself, of one workflow or two."""
    with td.Runner() as runner:
        runner.start(steps(increment), "a")
        runner.start(steps(increment), "b")
        runner.start(steps(double), "c")
        tickets = [runner.run(id, n) for n, id in enumerate("abc")]

        assert [ticket.result(PATIENCE_S) for ticket in tickets] == [
            {"increment": 1},
            {"increment": 2},
            {"double": 4},
        ]


def test_a_slow_branch_holds_up_no_fast_one():
    """Neither in its input, nor in another one, nor in another run."""
    slow, fast = Body(is_open=False), Body()
    branches = steps(td.step(slow, name="slow"), (td.step(fast, name="fast"), [double]))
    with td.Runner() as runner:
        runner.start(branches, "a")
        runner.start(branches, "b")
        tickets = [runner.run("a", 1), runner.run("a", 2), runner.run("b", 3)]
        until(lambda: runner.get_workflow("a").raw_productions("double") == [2, 4])
        until(lambda: runner.get_workflow("b").raw_productions("double") == [6])
        assert not any(ticket.done() for ticket in tickets)
        slow.let_go()

        assert [ticket.result(PATIENCE_S)["slow"] for ticket in tickets] == [1, 2, 3]


def test_one_slot_means_no_overlap():
    """Of a run, of a runner, or of an executor."""
    for where in ("run", "runner", "executor"):
        body = Body()
        runner = td.Runner(
            executor="threads:1" if where == "executor" else "threads",
            max_concurrency=1 if where == "runner" else None,
        )
        with runner:
            fan = td.workflow("fan").add(td.map(body, name="each"))
            runner.start(fan, "a", max_concurrency=1 if where == "run" else None)
            results = runner.run("a", range(20)).result(PATIENCE_S)

        assert results == {"each": list(range(20))}
        assert body.peak == 1


# ---------------------------------------------------------------------------- stopping and going on


def test_stop_keeps_the_run_or_forgets_it():
    """With `persist=False` nothing is left of it, and its id is free."""
    store = MemoryStore()
    with td.Runner(store=store) as runner:
        for id in ("kept", "forgotten"):
            runner.start(steps(), id)
            runner.run(id, 1).result(PATIENCE_S)
        assert runner.stop("kept") == "stopped"
        assert runner.stop("forgotten", persist=False) == "stopped"

        assert [(info.id, info.status) for info in store.list()] == [("kept", "stopped")]
        assert runner.get_results("kept") == {"increment": 2}
        with pytest.raises(errors.UnknownRun):
            runner.get_results("forgotten")
        runner.start(steps(), "forgotten")
        assert runner.get_workflow("forgotten").inputs() == []


def test_stop_waits_for_what_is_out_and_leaves_what_follows():
    """Resumed, the run does the rest, and nothing twice."""
    body, after = Body(is_open=False), Body()
    with td.Runner() as runner:
        runner.start(steps((td.step(body, name="body"), [td.step(after, name="after")])), "a")
        ticket = runner.run("a", 1)
        body.wait_for_calls()
        stopping = threading.Thread(target=runner.stop, args=("a",))
        stopping.start()
        until(lambda: status_of(runner, "a") == "stopping")
        with pytest.raises(errors.RunEnded):
            runner.run("a", 2)
        body.let_go()
        stopping.join(PATIENCE_S)
        assert isinstance(ticket.exception(PATIENCE_S), errors.RunEnded)
        assert after.calls == []
        runner.resume("a")
        runner.wait("a")

        assert runner.get_results("a") == {"after": 1}
        assert (body.calls, after.calls) == ([1], [1])


def test_another_runner_goes_on_from_the_store():
    """Nothing accepted is lost, nothing finished is done again."""
    store, body, after = MemoryStore(), Body(), Body(is_open=False)
    workflow = steps((td.step(body, name="body"), [td.step(after, name="after")]))
    with td.Runner(store=store) as first:
        first.start(workflow, "a")
        for n in range(5):
            first.run("a", n)
        after.wait_for_calls(5)
        first.stop("a", now=True)
    after.let_go()
    with td.Runner(store=store, workflows=[workflow]) as second:
        second.resume("a")
        assert second.wait("a") == "idle"

        assert sorted(second.get_workflow("a").raw_productions()) == [0, 1, 2, 3, 4]
        assert sorted(body.calls) == [0, 1, 2, 3, 4]
        assert len(of_kind(second, "a", Defined)) == 1


def test_a_crash_is_followed_by_a_restart():
    """From the store, with each body called once and each event there once."""
    store, body = FaultyStore(), Body()
    with td.Runner(store=store) as runner:
        runner.start(steps((td.step(body, name="body"), [increment, double])), "a")
        for n in range(3):
            store.fail_at(store.count + 2)
            assert runner.run("a", n).result(PATIENCE_S) == {"increment": n + 1, "double": 2 * n}

        assert body.calls == [0, 1, 2]
        assert len(of_kind(runner, "a", Applied)) == 9
        assert len(of_kind(runner, "a", Defined)) == 1


# ------------------------------------------------------------------------------------ schedulers


class Recording:
    """A scheduler that makes bundles of what it is given by `how`, and remembers what it was given."""

    def __init__(self, how: Callable[[Sequence[td.Runnable]], list[td.Bundle]]) -> None:
        self.how = how
        self.given: list[str] = []
        self.outcomes: list[str] = []

    def plan(self, ready: Sequence[td.Runnable], view: Any) -> list[td.Bundle]:
        """Bundles."""
        self.given += [each.id for each in ready]
        return self.how(ready)

    def observe(self, outcome: td.Outcome) -> None:
        """Remember it."""
        self.outcomes.append(outcome.id)


def alone(ready: Sequence[td.Runnable]) -> list[td.Bundle]:
    """Each in a bundle of its own."""
    return [td.Bundle(runnables=(each,)) for each in ready]


def together(ready: Sequence[td.Runnable]) -> list[td.Bundle]:
    """All in one."""
    return [td.Bundle(runnables=tuple(ready))]


def test_a_scheduler_is_given_all_ready_work_once():
    """Also many facts of one node; and it hears of each outcome."""
    fan = td.workflow("fan").add(td.map(same, name="each")).add(td.collect(name="all"), to="each")
    scheduler = Recording(alone)
    with td.Runner(scheduler=scheduler) as runner:
        runner.start(fan, "a")
        runner.run("a", range(50)).result(PATIENCE_S)
        expected = {f"each@0.{n}" for n in range(50)} | {"each/items@0", "all@0"}

        assert (set(scheduler.given), len(scheduler.given)) == (expected, 52)
        assert (set(scheduler.outcomes), len(scheduler.outcomes)) == (expected, 52)


WRONG_PLANS: dict[str, Callable[[Sequence[td.Runnable]], Any]] = {
    "leaves out": lambda ready: alone(ready)[1:],
    "doubles": lambda ready: alone(ready) * 2,
    "empty bundle": lambda ready: [*alone(ready), td.Bundle(runnables=())],
    "no bundles": lambda ready: list(ready),
    "nothing": lambda ready: None,
}


@pytest.mark.parametrize("how", WRONG_PLANS.values(), ids=WRONG_PLANS)
def test_a_plan_that_cannot_be_is_not_followed(how: Any, caplog):
    """Work is dispatched one by one, once, and the log says why."""
    body = Body()
    with td.Runner(scheduler=Recording(how)) as runner:
        runner.start(steps(td.step(body, name="body"), double), "a")

        assert runner.run("a", 4).result(PATIENCE_S) == {"body": 4, "double": 8}
        assert body.calls == [4]
    assert "work is dispatched one by one" in caplog.text


def test_a_parallel_bundle_isolates_failures_and_takes_one_slot():
    """Each of its runnables has its own outcome, policy and event."""
    bundles: list[td.Bundle] = []
    hooks = td.Hooks(on_dispatch=lambda _, bundle: bundles.append(bundle))
    flaky = Flaky(ValueError())
    workflow = steps(
        td.step(fail, name="fail"),
        td.step(same, name="same"),
        td.step(flaky, name="flaky"),
        td.step(fail, name="skip", on_failure="skip"),
    )
    policies = {"flaky": td.Policy(max_retries=1)}
    with td.Runner(scheduler=Recording(together), hooks=hooks, policies=policies) as runner:
        runner.start(workflow, "a", max_concurrency=1)
        runner.run("a", 1).exception(PATIENCE_S)
        done = runner.get_workflow("a")

        assert done.results() == {"same": 1, "flaky": 1}
        assert {(each.component, each.on_failure) for each in done.failures()} == {
            ("fail", "block"),
            ("skip", "skip"),
        }
        assert [(bundle.kind, len(bundle)) for bundle in bundles] == [
            ("parallel", 4),
            ("single", 1),
        ]


# ------------------------------------------------------------------------------------- executors


def test_a_bounded_pool_holds_back_and_goes_on():
    """At most so many at once; a body that fails, or worse, is reported, and the next ones run."""

    def body(x: int) -> int:
        if x == 3:
            raise SystemExit(3)
        if x == 4:
            raise ValueError(x)
        return watched(x)

    watched = Body(is_open=False)
    workflow = td.workflow("fan").add(td.map(body, name="each"))
    workflow = workflow.add(td.collect(name="all", on_item_failure="skip"), to="each")
    with td.Runner(executor=DemandPool(workers=2, buffer=1)) as runner:
        runner.start(workflow, "a")
        ticket = runner.run("a", range(12))
        watched.wait_for_calls(2)
        assert len(runner.plan("a")) + len(watched.calls) <= 12
        watched.let_go()
        ticket.exception(PATIENCE_S)

        assert watched.peak == 2
        assert runner.get_results("a") == {"all": [n for n in range(12) if n not in {3, 4}]}
        names = {each.error.name for each in runner.get_workflow("a").failures()}
        assert names == {"SystemExit", "ValueError"}


def test_inline_work_runs_in_the_runner_s_thread():
    """It cannot be ended in time, but what comes late has timed out, and retries count."""
    threads = []

    def body(x: Any, *, n: int = td.attempt()) -> Any:
        threads.append(threading.current_thread().name)
        if n == 1:
            threading.Event().wait(0.004)
        return x

    policy = td.Policy(timeout_s=0.003, max_retries=99)
    with td.Runner(executor="inline", policies=policy) as runner:
        runner.start(steps(td.step(body, name="body")), "a")

        assert runner.run("a", 1).result(PATIENCE_S) == {"body": 1}
        assert set(threads) == {"treadle runner"}
        assert len(threads) >= 2


def test_an_executor_of_its_own_is_for_one_component_only():
    """Others stay where they are."""
    threads: dict[str, str] = {}

    def note(name: str) -> td.Workflow | Any:
        return td.step(
            lambda x: threads.setdefault(name, threading.current_thread().name), name=name
        )

    own = DemandPool(1, 0)
    with td.Runner(executor="inline", executors={"own": own}) as runner:
        policies = {"b": td.Policy(executor="own")}
        runner.start(steps(note("a"), note("b"), note("c")), "x", policies=policies)
        runner.run("x", 1).result(PATIENCE_S)

    assert threads == {"a": "treadle runner", "b": "treadle-demand", "c": "treadle runner"}


# --------------------------------------------------------------------------- hooks and telemetry


def test_hooks_are_called_with_what_they_are_about():
    """Dispatch, completion, failure with what follows, idleness."""
    seen: list[Any] = []
    hooks = td.Hooks(
        on_dispatch=lambda id, bundle: seen.append(("dispatch", id, bundle.runnables[0].id)),
        on_complete=lambda id, work, outcome: seen.append(("complete", id, work.id, outcome.value)),
        on_failed=lambda id, work, outcome, then: seen.append(("failed", id, work.attempt, then)),
        on_idle=lambda id: seen.append(("idle", id)),
    )
    policies = td.Policy(max_retries=1)
    with td.Runner(hooks=hooks, policies=policies, executor="inline") as runner:
        runner.start(steps(td.step(Flaky(ValueError()), name="body")), "a")
        runner.run("a", 7).result(PATIENCE_S)
        runner.wait("a")

    assert seen == [
        ("dispatch", "a", "body@0"),
        ("failed", "a", 1, "retry"),
        ("dispatch", "a", "body@0"),
        ("complete", "a", "body@0", 7),
        ("idle", "a"),
    ]


def test_hooks_that_raise_harm_nothing(caplog):
    """Each is logged by its name, and the run goes on."""
    completed = []

    def worse(*about: Any) -> None:
        if isinstance(about[-1], td.Workflow):
            completed.append(about[0])
        raise SystemExit

    hooks = td.Hooks(
        on_dispatch=worse,
        on_complete=worse,
        on_failed=worse,
        on_idle=worse,
        transform_runnables=lambda *_: 1 / 0,  # type: ignore[arg-type]
    )
    with td.Runner(hooks=hooks, policies=td.Policy(max_retries=1)) as runner:
        runner.start(steps(td.step(Flaky(ValueError()), name="body")), "a", on_complete=worse)

        assert runner.run("a", 7).result(PATIENCE_S) == {"body": 7}
        assert runner.wait("a") == "idle"
        assert status_of(runner, "a") == "idle"
        assert completed == ["a"]
    assert "crashed" not in caplog.text
    for name in ("on_dispatch", "on_complete", "on_failed", "on_idle", "transform_runnables"):
        assert name in caplog.text


class Telling(Observer):
    """Notes each call, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def on_start(self, run_id: str, workflow: str) -> None:
        self.told.append(("start", run_id, workflow))

    def on_dispatch(self, run_id: str, bundle: td.Bundle) -> None:
        self.told.append(("dispatch", run_id, *[each.id for each in bundle.runnables]))

    def on_complete(self, run_id: str, runnable: td.Runnable, outcome: td.Outcome) -> None:
        assert outcome.seconds is not None
        self.told.append(("complete", run_id, runnable.id))

    def on_failed(self, run_id: str, runnable: td.Runnable, outcome: td.Outcome, then: str) -> None:
        assert outcome.seconds is not None
        self.told.append(("failed", run_id, runnable.id, then))

    def on_input(self, run_id: str, input: int, status: str) -> None:
        self.told.append(("input", run_id, input, status))

    def on_idle(self, run_id: str) -> None:
        self.told.append(("idle", run_id))

    def on_end(self, run_id: str, status: str) -> None:
        self.told.append(("end", run_id, status))


def test_an_observer_is_told_what_happens_in_order():
    """From the start of a run to its end, with ids."""
    telling = Telling()
    workflow = steps((td.step(fail, name="body"), []), td.step(same, name="beside"))
    policies = {"body": td.Policy(max_retries=1)}
    with td.Runner(observers=[telling], executor="inline", policies=policies) as runner:
        runner.start(workflow, "a")
        runner.run("a", 1).exception(PATIENCE_S)
        runner.wait("a")
        runner.stop("a")

    assert telling.told == [
        ("start", "a", "work"),
        ("dispatch", "a", "body@0"),
        ("dispatch", "a", "beside@0"),
        ("failed", "a", "body@0", "retry"),
        ("complete", "a", "beside@0"),
        ("dispatch", "a", "body@0"),
        ("failed", "a", "body@0", "give_up"),
        ("input", "a", 0, "failed"),
        ("idle", "a"),
        ("end", "a", "stopped"),
    ]


def test_failures_are_in_the_log_of_the_process(caplog):
    """One line each, with the run, the component, the attempt and what follows."""
    with td.Runner(policies=td.Policy(max_retries=1)) as runner:
        runner.start(steps(td.step(fail, name="charge")), "order-7")
        runner.run("order-7", 1).exception(PATIENCE_S)

    lines = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert [line.getMessage() for line in lines] == [
        "run order-7: charge failed (attempt 1, input 0): ValueError: no 1; retry",
        "run order-7: charge failed (attempt 2, input 0): ValueError: no 1; give_up",
    ]
    assert [getattr(line, "attempt", None) for line in lines] == [1, 2]
