"""The guide's four schedulers: right results, and what each claims, shown by how the bodies are built.

No test measures or sleeps. Bodies meet at barriers and wait for events, so a scheduler that does not do what it
claims runs into a timeout, which fails the body: the result is then missing, and the test fails.
"""

import asyncio
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import treadle as td

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "schedulers"

PATIENCE_S = 20
"""How long a body or a test waits before it fails; none comes near it unless something is wrong."""


def load(name: str) -> ModuleType:
    """Load an example by its path, since the folder is no package."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


simple, parallel, async_dispatch, supervised = map(
    load, ["simple", "parallel", "async_dispatch", "supervised"]
)


def run_async(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine, and fail instead of hanging."""
    return asyncio.run(asyncio.wait_for(main, PATIENCE_S))


# -------------------------------------------------------------- one way to drive all four


def finish_with_threads(module: ModuleType) -> Callable[..., td.Workflow]:
    """Drive by one of the schedulers that give a future of the workflow; inputs are in flight together."""

    def finish(workflow: td.Workflow, *inputs: Any) -> td.Workflow:
        for each in inputs[:-1]:
            workflow = workflow.plan_eagerly(each)
        return module.run(workflow, inputs[-1]).result(timeout=PATIENCE_S)

    return finish


def finish_by_dispatch(workflow: td.Workflow, *inputs: Any) -> td.Workflow:
    """Drive by the actor, with all inputs in flight together."""

    async def main():
        async with async_dispatch.Scheduler(workflow) as scheduler:
            await asyncio.gather(*[scheduler.run(each) for each in inputs])
            return await scheduler.get_workflow()

    return run_async(main())


def finish_supervised(workflow: td.Workflow, *inputs: Any) -> td.Workflow:
    """Drive by the supervisor, with all inputs in flight together."""

    async def main():
        async with supervised.Supervisor() as supervisor:
            supervisor.start(workflow, "it")
            await asyncio.gather(*[supervisor.run("it", each) for each in inputs])
            return await supervisor.stop("it")

    return run_async(main())


Finish = Callable[..., td.Workflow]

FINISH: dict[str, Finish] = {
    "simple": finish_with_threads(simple),
    "parallel": finish_with_threads(parallel),
    "async_dispatch": finish_by_dispatch,
    "supervised": finish_supervised,
}

each_scheduler = pytest.mark.parametrize("finish", FINISH.values(), ids=FINISH)
each_concurrent = pytest.mark.parametrize(
    "finish", [FINISH[name] for name in list(FINISH)[1:]], ids=list(FINISH)[1:]
)
each_dispatching = pytest.mark.parametrize(
    "finish", [finish_by_dispatch, finish_supervised], ids=["async_dispatch", "supervised"]
)


# ------------------------------------------------------------------------ small workflows


def order_workflow() -> td.Workflow:
    """The guide's workflow, whose decision shows whose checks it was made from."""

    def decide(inventory, fraud, shipping):
        return {"of": [inventory["of"], fraud["of"], shipping["of"]], "cost": shipping["cost"]}

    def check(**found: Any) -> Callable[[Any], Any]:
        return lambda order: {"of": order["customer_id"], **found}

    checks = {
        "check_inventory": check(inventory="in_stock"),
        "screen_fraud": check(risk="low"),
        "estimate_shipping": check(cost=5.99),
    }
    workflow = td.workflow("orders").add(
        td.rule(
            name="validate_order",
            condition=td.match(items=list, customer_id=str),
            reaction=lambda order: order,
        )
    )
    for name, function in checks.items():
        workflow = workflow.add(td.step(function, name=name), to="validate_order")
    return workflow.add(td.step(decide, name="decide_fulfillment"), to=list(checks))


def order_of(customer: str) -> dict[str, Any]:
    """One order."""
    return {"customer_id": customer, "items": ["widget"]}


def decision_of(customer: str) -> dict[str, Any]:
    """What an order comes to, if no other one gets into it."""
    return {"decide_fulfillment": {"of": [customer] * 3, "cost": 5.99}}


class Crash(BaseException):
    """What `execute_runnable` does not take for a step's failure, nor a workflow for a condition's."""


class FaultyCondition:
    """A condition that brings down whoever asks it, for so many times; then it holds."""

    def __init__(self, crashes: int) -> None:
        self.crashes_left = crashes

    def __call__(self, value: Any) -> bool:
        """Say that it holds, or crash."""
        if self.crashes_left > 0:
            self.crashes_left -= 1
            raise Crash
        return True


def fragile(crashes: int, calls: list[Any] | None = None) -> td.Workflow:
    """One step, then a rule whose condition crashes the planner: the scheduler itself."""
    asked = FaultyCondition(crashes)

    def first(value):
        if calls is not None:
            calls.append(value)
        return value + 1

    return td.workflow("fragile", steps=[td.step(first, name="first")]).add(
        td.rule(name="then", condition=asked, reaction=lambda value: value * 10),
        to="first",
    )


# --------------------------------------------------------------------------- right results


@each_scheduler
def test_the_order_is_decided(finish: Finish):
    """Each scheduler comes to the workflow that the built-in loop comes to, its log included."""
    done = finish(order_workflow(), order_of("cust-456"))
    expected = order_workflow().react_until_satisfied(order_of("cust-456"))

    assert done.results() == expected.results() == decision_of("cust-456")
    assert done.is_satisfied()


@each_scheduler
def test_inputs_in_flight_together_never_mix(finish: Finish):
    """Of many orders under way at once, each is decided from its own three checks."""
    customers = [f"cust-{number}" for number in range(12)]
    done = finish(order_workflow(), *map(order_of, customers))

    assert [done.results(input=number) for number in range(12)] == [
        decision_of(customer) for customer in customers
    ]


@each_scheduler
def test_an_input_that_nothing_takes_is_finished(finish: Finish):
    """An order that is rejected is done with, and nobody waits for it."""
    done = finish(order_workflow(), {"items": None})

    assert done.results() == {}
    assert done.is_satisfied()


@each_scheduler
def test_equal_inputs_are_two_inputs(finish: Finish):
    """The same order twice is worked on twice; a set of what was ever dispatched would refuse the second."""
    calls = []

    def note(order):
        calls.append(order)
        return len(calls)

    counted = td.workflow("counted", steps=[td.step(note, name="note")])
    done = finish(counted, "same", "same")

    assert sorted(done.raw_productions()) == [1, 2]
    assert calls == ["same", "same"]


@each_scheduler
def test_outputs_do_not_come_back_as_inputs(finish: Finish):
    """A workflow whose first step would take its own result ends all the same."""
    done = finish(
        td.workflow("doubling", steps=[td.step(lambda value: value * 2, name="double")]), 3
    )

    assert done.raw_productions() == [6]


@each_scheduler
def test_no_update_of_a_state_is_lost(finish: Finish):
    """Ten inputs in flight together are all in the total."""
    total = td.accumulator(lambda total, value: total + value, initial=0, name="total")
    done = finish(td.workflow("sum", components=[total]), *range(1, 11))

    assert done.results(input=td.ALL) == {"total": 55}


@each_scheduler
def test_a_failed_step_is_recorded_and_the_rest_goes_on(finish: Finish):
    """A step that raises fails its own input; its sister, and the other input, give their results."""
    workflow = td.workflow(
        "fractions",
        steps=[
            td.step(lambda value: 12 / value, name="share"),
            td.step(lambda value: -value, name="minus"),
        ],
    )
    done = finish(workflow, 0, 4)

    assert [(failure.component, failure.input) for failure in done.failures()] == [("share", 0)]
    assert [done.results(input=number) for number in (0, 1)] == [
        {"minus": 0},
        {"share": 3.0, "minus": -4},
    ]


@each_scheduler
def test_the_template_is_not_changed(finish: Finish):
    """A template can be run any number of times; runs know nothing of one another."""
    template = order_workflow()
    runs = [finish(template, order_of(customer)) for customer in ("a", "b")]

    assert template.position == 0
    assert [run.results() for run in runs] == [decision_of("a"), decision_of("b")]


@pytest.mark.parametrize("module", [simple, parallel], ids=["simple", "parallel"])
def test_a_scheduler_that_crashes_says_so_to_who_waits(module: ModuleType):
    """The future carries the crash of the thread; nobody waits for ever."""
    finished = module.run(fragile(crashes=1), 1)

    with pytest.raises(Crash):
        finished.result(timeout=PATIENCE_S)


@pytest.mark.parametrize("module", [simple, parallel], ids=["simple", "parallel"])
def test_the_caller_is_free_meanwhile(module: ModuleType):
    """`run` returns while a body is still waiting for what the caller does next."""
    go = threading.Event()
    waiting = td.workflow("waiting", steps=[td.step(lambda value: go.wait(PATIENCE_S), name="s")])
    finished = module.run(waiting, 1)
    go.set()

    assert finished.result(timeout=PATIENCE_S).results() == {"s": True}


@pytest.mark.parametrize("module", [simple, parallel], ids=["simple", "parallel"])
def test_async_steps_are_refused_by_the_threaded(module: ModuleType):
    """A scheduler that awaits nothing records an async step as a failure."""

    async def later(value):
        return value

    done = module.run(td.workflow("later", steps=[later]), 1).result(timeout=PATIENCE_S)
    (failure,) = done.failures()

    assert failure.error.name == "UsageError"


# ---------------------------------------------------------- one at a time, or side by side


def test_simple_runs_one_body_at_a_time():
    """The peak of bodies at work is one, and one thread ran them all: not the caller's."""
    lock, at_work, peaks, threads = threading.Lock(), [0], [], set()

    def body(value):
        with lock:
            at_work[0] += 1
            peaks.append(at_work[0])
            threads.add(threading.get_ident())
        result = value + 1
        with lock:
            at_work[0] -= 1
        return result

    steps = [td.step(body, name=name) for name in "abc"]
    wide = td.workflow("wide", steps=steps).add(td.step(body, name="d"), to="a")
    done = FINISH["simple"](wide, 1, 2, 3)

    assert done.results() == {"b": 4, "c": 4, "d": 5}
    assert (len(peaks), max(peaks)) == (12, 1)
    assert len(threads - {threading.get_ident()}) == len(threads) == 1


@each_concurrent
def test_independent_bodies_run_side_by_side(finish: Finish):
    """Three bodies meet at a barrier, which none can pass alone."""
    meeting = threading.Barrier(3, timeout=PATIENCE_S)

    def body(value):
        meeting.wait()
        return value

    workflow = td.workflow("wide", steps=[td.step(body, name=name) for name in "abc"])

    assert finish(workflow, 7).results() == {"a": 7, "b": 7, "c": 7}


def test_parallel_keeps_to_its_number_of_workers():
    """With one worker, the bodies of a generation run one after the other."""
    lone = threading.Lock()

    def body(value):
        assert lone.acquire(blocking=False), "two bodies at once"
        try:
            return value
        finally:
            lone.release()

    workflow = td.workflow("wide", steps=[td.step(body, name=name) for name in "abc"])
    done = parallel.run(workflow, 7, max_workers=1).result(timeout=PATIENCE_S)

    assert done.results() == {"a": 7, "b": 7, "c": 7}


def test_parallel_writes_the_same_log_whichever_body_ends_first():
    """Outcomes are applied in the order prepared, also when the first body waits for the last."""
    last_done = threading.Event()
    first = td.step(lambda value: last_done.wait(PATIENCE_S), name="first")
    last = td.step(lambda value: last_done.set(), name="last")
    done = FINISH["parallel"](td.workflow("race", steps=[first, last]), 1)

    assert [fact.component for fact in done.facts()] == ["INPUT", "first", "last"]
    assert done.results() == {"first": True, "last": None}


@each_dispatching
def test_a_fast_branch_does_not_wait_for_a_slow_one(finish: Finish):
    """A slow body waits for the successor of its fast sister: by generations that could not end well."""
    successor_ran = threading.Event()

    def slow(value):
        return successor_ran.wait(PATIENCE_S)

    workflow = td.workflow("race", steps=[slow, td.step(lambda value: value, name="fast")]).add(
        td.step(lambda value: successor_ran.set(), name="successor"), to="fast"
    )

    assert finish(workflow, 1).results() == {"slow": True, "successor": None}


@each_dispatching
def test_async_bodies_wait_for_one_another(finish: Finish):
    """Async steps are awaited side by side, in the event loop."""

    async def slow(value, successor_ran):
        return await asyncio.wait_for(successor_ran.wait(), PATIENCE_S)

    async def fast(value, successor_ran):
        return successor_ran

    async def successor(successor_ran):
        successor_ran.set()

    workflow = td.workflow("race", steps=[slow, fast]).add(successor, to="fast")

    assert finish(workflow, (1, asyncio.Event())).results() == {"slow": True, "successor": None}


@each_dispatching
def test_an_early_input_does_not_hold_up_a_later_one(finish: Finish):
    """The first input waits for what only the end of the second one sets."""
    second_done = threading.Event()
    begin = td.step(
        lambda value: second_done.wait(PATIENCE_S) if value == 0 else value, name="begin"
    )
    end = td.step(lambda value: second_done.set(), name="end")
    done = finish(td.workflow("pair", steps=[(begin, [end])]), 0, 1)

    assert done.raw_productions("begin") == [1, True]


# ------------------------------------------------------------------------------- crashes


@each_concurrent
@pytest.mark.parametrize(
    "crash", [Crash, KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit]
)
def test_a_crashed_task_is_the_failure_of_its_runnable(finish: Finish, crash: type[BaseException]):
    """What gets past `execute_runnable` is recorded at its step; its sister's result is kept."""

    def risky(value):
        if value == 1:
            raise crash("this is the end")
        return value

    workflow = td.workflow("risk", steps=[risky, td.step(lambda value: -value, name="safe")])
    done = finish(workflow, 1, 2)
    (failure,) = done.failures()
    told = failure.error.causes[0] if failure.error.causes else failure.error

    assert (failure.component, failure.input) == ("risky", 0)
    assert (told.name, told.text) == (crash.__name__, "this is the end")
    assert [done.results(input=number) for number in (0, 1)] == [
        {"safe": -1},
        {"risky": 2, "safe": -2},
    ]


@each_dispatching
@pytest.mark.parametrize("crash", [Crash, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_a_crashed_async_body_is_the_failure_of_its_runnable(
    finish: Finish, crash: type[BaseException]
):
    """The same in the event loop, which a KeyboardInterrupt in a task would end."""

    async def risky(value):
        if value == 1:
            raise crash("this is the end")
        return value

    done = finish(td.workflow("risk", steps=[risky]), 1, 2)
    (failure,) = done.failures()

    assert (failure.component, failure.input) == ("risky", 0)
    assert done.results() == {"risky": 2}


@each_dispatching
def test_a_task_cancelled_before_it_began_is_the_failure_of_its_runnable(finish: Finish):
    """A body cancels the task of its sister, which begins after it: so that one never runs a line."""

    async def murderer(value):
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "victim@0"]
        task.cancel()
        return value

    async def victim(value):
        raise AssertionError("it did begin")

    done = finish(td.workflow("crime", steps=[murderer, victim]), 1)
    (failure,) = done.failures()

    assert failure.component == "victim"
    assert "CancelledError" in failure.error.text
    assert done.results() == {"murderer": 1}


async def started_and_cancelled(
    run: Callable[[Any], Awaitable[Any]], *, at_work: asyncio.Event
) -> Any:
    """Run an input, cancel the task of its body once that is at work, and give the results."""
    ticket = run(1)
    await at_work.wait()
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "stuck@0"]
    task.cancel()
    return await ticket


def stuck_workflow(at_work: asyncio.Event) -> td.Workflow:
    """A body that never ends by itself."""

    async def stuck(value):
        at_work.set()
        await asyncio.Event().wait()

    return td.workflow("stuck", steps=[stuck, td.step(lambda value: value, name="safe")])


def test_a_task_cancelled_from_outside_does_not_hang_the_actor():
    """Somebody else cancels a task: its runnable failed, and its input is finished."""

    async def main():
        at_work = asyncio.Event()
        async with async_dispatch.Scheduler(stuck_workflow(at_work)) as scheduler:
            results = await started_and_cancelled(scheduler.run, at_work=at_work)
            return results, (await scheduler.get_workflow()).failures()

    results, failures = run_async(main())

    assert results == {"safe": 1}
    assert [failure.component for failure in failures] == ["stuck"]


def test_a_supervised_task_cancelled_from_outside_harms_nobody():
    """The same under the supervisor."""

    async def main():
        at_work = asyncio.Event()
        async with supervised.Supervisor() as supervisor:
            scheduler = supervisor.start(stuck_workflow(at_work), "it")
            results = await started_and_cancelled(scheduler.run, at_work=at_work)
            return results, scheduler.workflow.failures()

    results, failures = run_async(main())

    assert results == {"safe": 1}
    assert [failure.component for failure in failures] == ["stuck"]


# ------------------------------------------------------------------- the actor's questions


def test_a_ticket_gives_the_results_of_its_own_input():
    """Two orders sent together, each answered by its own future."""

    async def main():
        async with async_dispatch.Scheduler(order_workflow()) as scheduler:
            return await asyncio.gather(*[scheduler.run(order_of(name)) for name in "ab"])

    assert run_async(main()) == [decision_of("a"), decision_of("b")]


def test_questions_are_answered_while_work_is_under_way():
    """The actor tells what it knows so far, after what was sent before the question."""

    async def main():
        go, fast_done = asyncio.Event(), asyncio.Event()

        async def slow(value):
            await go.wait()
            return value

        async def fast(value):
            fast_done.set()
            return value

        async with async_dispatch.Scheduler(td.workflow("w", steps=[slow, fast])) as scheduler:
            ticket = scheduler.run(1)
            before = await scheduler.get_results()
            await fast_done.wait()
            seen = await scheduler.get_workflow()
            while len(seen.in_flight()) > 1:  # the message of the fast one is on its way
                seen = await scheduler.get_workflow()
            between = await scheduler.get_results(input=0), seen.in_flight()
            go.set()
            return before, between, await ticket

    before, between, after = run_async(main())

    assert before == {}
    assert between == ({"fast": 1}, ["slow@0"])
    assert after == {"slow": 1, "fast": 1}


def test_a_question_without_an_answer_is_the_askers_error():
    """Asking for an input that never was raises there, and the actor goes on."""

    async def main():
        async with async_dispatch.Scheduler(order_workflow()) as scheduler:
            await scheduler.run(order_of("a"))
            with pytest.raises(td.errors.UsageError):
                await scheduler.get_results(input=99)
            return await scheduler.run(order_of("b"))

    assert run_async(main()) == decision_of("b")


def test_what_a_caller_does_with_the_workflow_changes_nothing():
    """A workflow that was handed out is a value: the caller's fork and the actor's go their own ways."""

    async def main():
        async with async_dispatch.Scheduler(order_workflow()) as scheduler:
            await scheduler.run(order_of("a"))
            fork = (await scheduler.get_workflow()).react_until_satisfied(order_of("fork"))
            await scheduler.run(order_of("b"))
            return fork, await scheduler.get_workflow()

    fork, own = run_async(main())

    assert [each["value"]["customer_id"] for each in fork.inputs()] == ["a", "fork"]
    assert [each["value"]["customer_id"] for each in own.inputs()] == ["a", "b"]
    assert (fork.results(), own.results()) == (decision_of("fork"), decision_of("b"))


def test_a_caller_who_gave_up_harms_nothing():
    """A ticket that its caller cancelled is passed over; the work itself is done."""

    async def main():
        async with async_dispatch.Scheduler(order_workflow()) as scheduler:
            scheduler.run(order_of("a")).cancel()
            await scheduler.run(order_of("b"))
            while not (dispatched := await scheduler.get_results(input=0)):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)  # the two come to their ends in any order
        async with supervised.Supervisor() as supervisor:
            scheduler = supervisor.start(order_workflow(), "it")
            scheduler.run(order_of("a")).cancel()
            await scheduler.run(order_of("b"))
            while not (supervised_too := supervisor.get_results("it", input=0)):  # noqa: ASYNC110
                await asyncio.sleep(0)
            return dispatched, supervised_too, scheduler.lives

    assert run_async(main()) == (decision_of("a"), decision_of("a"), 1)


def test_leaving_the_block_cancels_and_answers():
    """A body under way is cancelled, its ticket fails, and later calls are refused."""

    async def main():
        at_work, cleaned = asyncio.Event(), []

        async def stuck(value):
            at_work.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.append(value)

        async with async_dispatch.Scheduler(td.workflow("w", steps=[stuck])) as scheduler:
            ticket = scheduler.run(1)
            await at_work.wait()
        with pytest.raises(RuntimeError, match="not running"):
            scheduler.run(2)
        return ticket.exception(), cleaned

    error, cleaned = run_async(main())

    assert "before it could answer" in str(error)
    assert cleaned == [1]


def test_an_actor_that_crashes_leaves_nobody_waiting():
    """Without supervision its crash is the end: tickets fail, and the block says with what."""

    async def main():
        async with async_dispatch.Scheduler(fragile(crashes=1)) as scheduler:
            with pytest.raises(RuntimeError, match="before it could answer"):
                await scheduler.run(1)

    with pytest.raises(Crash):
        run_async(main())


def test_a_workflow_under_way_goes_on():
    """What was ready before the actor had it is dispatched without being asked for."""

    async def main():
        ended = asyncio.Event()

        async def end(value):
            ended.set()

        under_way = td.workflow("w", steps=[end]).plan_eagerly(1)
        async with async_dispatch.Scheduler(under_way):
            await ended.wait()
        ended.clear()
        async with supervised.Supervisor() as supervisor:
            supervisor.start(under_way, "it")
            await ended.wait()
        return True

    assert run_async(main())


# ------------------------------------------------------------------------- the supervisor


def test_two_workflows_by_id():
    """Runs of one template have nothing in common, idempotency keys included."""

    @td.step
    def charge(amount, *, key=td.idempotency_key()):
        return amount, key

    async def main():
        async with supervised.Supervisor() as supervisor:
            template = td.workflow("charging", steps=[charge])
            supervisor.start(template, "a")
            supervisor.start(template, "b")
            tickets = [supervisor.run("a", 1), supervisor.run("b", 2)]
            results = await asyncio.gather(*tickets)
            return results, [supervisor.get_results(each) for each in "ab"]

    tickets, looked_up = run_async(main())
    (first, first_key), (second, second_key) = [results["charge"] for results in tickets]

    assert tickets == looked_up
    assert (first, second) == (1, 2)
    assert first_key != second_key


def test_unknown_and_taken_ids_are_errors():
    """Errors name the id; and those that are there."""

    async def main():
        async with supervised.Supervisor() as supervisor:
            supervisor.start(order_workflow(), "known")
            with pytest.raises(supervised.DuplicateId, match="'known'"):
                supervisor.start(order_workflow(), "known")
            for ask in (supervisor.get_workflow, supervisor.get_results):
                with pytest.raises(supervised.UnknownId, match=r"'other'.*'known'"):
                    ask("other")
            with pytest.raises(supervised.UnknownId, match="'other'"):
                supervisor.run("other", 1)
            with pytest.raises(supervised.UnknownId, match="'other'"):
                await supervisor.stop("other")
            return supervisor.lookup("other")

    assert run_async(main()) is None


def test_lookup_finds_what_runs():
    """An id leads to its scheduler until it is stopped; then the id is free again."""

    async def main():
        async with supervised.Supervisor() as supervisor:
            scheduler = supervisor.start(order_workflow(), "it")
            found = supervisor.lookup("it")
            await supervisor.stop("it")
            gone = supervisor.lookup("it")
            again = supervisor.start(order_workflow(), "it")
            return found is scheduler, gone, again is scheduler

    assert run_async(main()) == (True, None, False)


def test_a_crashed_task_harms_neither_its_scheduler_nor_others():
    """After a task's crash its scheduler takes inputs in the same life, and the other was never concerned."""

    def risky(value):
        if value < 0:
            raise KeyboardInterrupt
        return value

    async def main():
        async with supervised.Supervisor() as supervisor:
            own = supervisor.start(td.workflow("risk", steps=[risky]), "own")
            other = supervisor.start(td.workflow("risk", steps=[risky]), "other")
            crashed, beside = await asyncio.gather(
                supervisor.run("own", -1), supervisor.run("other", 1)
            )
            after = await supervisor.run("own", 2)
            return crashed, beside, after, own.lives, other.lives, own.crash

    assert run_async(main()) == ({}, {"risky": 1}, {"risky": 2}, 1, 1, None)


def test_a_crashed_scheduler_goes_on_from_its_log():
    """The next life finishes the input; a step that was applied does not run again."""
    calls: list[Any] = []

    async def main():
        async with supervised.Supervisor() as supervisor:
            scheduler = supervisor.start(fragile(crashes=2, calls=calls), "it")
            other = supervisor.start(order_workflow(), "other")
            results = await supervisor.run("it", 1)
            beside = await supervisor.run("other", order_of("a"))
            return results, beside, scheduler.lives, other.lives, type(scheduler.crash)

    assert run_async(main()) == ({"then": 20}, decision_of("a"), 3, 1, Crash)
    assert calls == [1]


def test_an_input_that_a_new_life_finds_finished_is_answered():
    """After the crash the condition says no: nothing is left to do, and the ticket says so."""
    crash = FaultyCondition(1)
    first = td.step(lambda value: value, name="first")
    never = td.rule(
        name="never", condition=lambda value: crash(value) is None, reaction=lambda value: value
    )

    async def main():
        async with supervised.Supervisor() as supervisor:
            scheduler = supervisor.start(td.workflow("w", steps=[(first, [never])]), "it")
            return await supervisor.run("it", 1), scheduler.lives

    assert run_async(main()) == ({}, 2)


def test_tasks_outlive_a_crash_of_their_scheduler():
    """A body under way is not started again: its outcome counts in the next life, for which it waits."""
    calls: list[Any] = []

    async def main():
        second_life = asyncio.Event()
        asked = FaultyCondition(1)

        async def slow(value):
            calls.append(value)
            await second_life.wait()
            return value

        def condition(value):
            held = asked(value)
            second_life.set()
            return held

        first = td.step(lambda value: value, name="first")
        then = td.rule(name="then", condition=condition, reaction=lambda value: value * 10)
        async with supervised.Supervisor() as supervisor:
            scheduler = supervisor.start(td.workflow("w", steps=[slow, (first, [then])]), "it")
            return await supervisor.run("it", 1), scheduler.lives

    assert run_async(main()) == ({"slow": 1, "then": 10}, 2)
    assert calls == [1]


def test_an_input_that_crashes_its_acceptance_is_refused():
    """It is not in the log, so its ticket fails with the crash as the cause; the next input is taken."""
    asked = FaultyCondition(1)
    gate = td.rule(name="gate", condition=asked, reaction=lambda value: value)

    async def main():
        async with supervised.Supervisor() as supervisor:
            supervisor.start(td.workflow("gated", rules=[gate]), "it")
            lost, taken = supervisor.run("it", 1), supervisor.run("it", 2)
            with pytest.raises(supervised.NotRunning, match="crashed over this input") as caught:
                await lost
            results = await taken
            return (
                type(caught.value.__cause__),
                results,
                len(supervisor.get_workflow("it").inputs()),
            )

    assert run_async(main()) == (Crash, {"gate": 2}, 1)


def test_a_scheduler_that_only_crashes_is_given_up_alone():
    """Its tickets fail, with the crash; its log can still be read; others do not notice."""

    async def main():
        async with supervised.Supervisor() as supervisor:
            scheduler = supervisor.start(fragile(crashes=10**9), "poisoned")
            supervisor.start(order_workflow(), "other")
            with pytest.raises(supervised.NotRunning, match="given up") as caught:
                await supervisor.run("poisoned", 1)
            with pytest.raises(supervised.NotRunning, match="given up"):
                supervisor.run("poisoned", 2)
            beside = await supervisor.run("other", order_of("a"))
            facts = supervisor.get_workflow("poisoned").raw_productions("first")
            left = await supervisor.stop("poisoned")
            return type(caught.value.__cause__), beside, facts, scheduler.lives, len(left.inputs())

    assert run_async(main()) == (Crash, decision_of("a"), [2], supervised.CRASHES_MAX, 1)


def test_crashes_far_apart_do_not_add_up():
    """Only lives that do nothing but crash are counted against a scheduler."""
    condition = FaultyCondition(0)
    rule = td.rule(name="then", condition=condition, reaction=lambda value: value)
    workflow = td.workflow("flaky", steps=[(td.step(lambda value: value, name="first"), [rule])])

    async def main():
        async with supervised.Supervisor() as supervisor:
            scheduler = supervisor.start(workflow, "it")
            for number in range(2 * supervised.CRASHES_MAX):
                condition.crashes_left = 1
                await supervisor.run("it", number)
            return scheduler.lives, scheduler.workflow.raw_productions()

    assert run_async(main()) == (
        2 * supervised.CRASHES_MAX + 1,
        list(range(2 * supervised.CRASHES_MAX)),
    )


def test_stop_finishes_what_was_accepted():
    """A body under way, its successors and an input still in the mailbox are finished; new inputs are refused."""

    async def main():
        go, at_work = asyncio.Event(), asyncio.Event()

        async def slow(value):
            at_work.set()
            await go.wait()
            return value

        workflow = td.workflow("w", steps=[slow]).add(
            td.step(lambda value: value + 1, name="next"), to="slow"
        )
        async with supervised.Supervisor() as supervisor:
            supervisor.start(workflow, "it")
            tickets = [supervisor.run("it", 1)]
            await at_work.wait()
            tickets.append(supervisor.run("it", 2))

            async def meanwhile():  # runs when `stop` waits
                with pytest.raises(supervised.NotRunning, match="stopping"):
                    supervisor.run("it", 3)
                go.set()

            stopped, _ = await asyncio.gather(supervisor.stop("it"), meanwhile())
            return stopped, [ticket.result() for ticket in tickets]

    stopped, results = run_async(main())

    assert results == [{"next": 2}, {"next": 3}]
    assert stopped.is_satisfied()


def test_stop_finishes_what_was_only_just_sent():
    """An input that the actor has not even seen yet when it is told to stop is accepted and finished."""

    async def main():
        async with supervised.Supervisor() as supervisor:
            supervisor.start(order_workflow(), "it")
            ticket = supervisor.run("it", order_of("a"))
            await supervisor.stop("it")
            return ticket.result()

    assert run_async(main()) == decision_of("a")


def test_stop_cancels_what_is_not_done_in_time():
    """After the timeout the body is cancelled and its ticket fails; the other workflow goes on."""

    async def main():
        at_work, cleaned = asyncio.Event(), asyncio.Event()

        async def stuck(value):
            at_work.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.set()

        async with supervised.Supervisor() as supervisor:
            supervisor.start(td.workflow("w", steps=[stuck]), "it")
            supervisor.start(order_workflow(), "other")
            ticket = supervisor.run("it", 1)
            await at_work.wait()
            await supervisor.stop("it", timeout_s=0)
            await cleaned.wait()
            with pytest.raises(supervised.NotRunning, match="was stopped"):
                await ticket
            return await supervisor.run("other", order_of("a"))

    assert run_async(main()) == decision_of("a")


def test_a_stopped_workflow_can_be_started_again():
    """What `stop` gives back goes on where it was, work that was cancelled included."""

    async def main():
        at_work, may_end = asyncio.Event(), [False]

        async def slow(value):
            at_work.set()
            if not may_end[0]:
                await asyncio.Event().wait()
            return value

        async with supervised.Supervisor() as supervisor:
            supervisor.start(td.workflow("w", steps=[slow]), "it")
            supervisor.run("it", 1)
            await at_work.wait()
            stopped = await supervisor.stop("it", timeout_s=0)
            may_end[0] = True
            supervisor.start(stopped, "it")
            second = await supervisor.run("it", 2)
            return second, await supervisor.stop("it")

    second, done = run_async(main())

    assert second == {"slow": 2}
    assert done.raw_productions() == [1, 2]


def test_leaving_the_block_stops_all():
    """At the end of the block every workflow has been finished and stopped."""

    async def main():
        async with supervised.Supervisor() as supervisor:
            for name in "abc":
                supervisor.start(order_workflow(), name)
            tickets = [supervisor.run(name, order_of(name)) for name in "abc"]
        return [ticket.result() for ticket in tickets], [supervisor.lookup(name) for name in "abc"]

    assert run_async(main()) == ([decision_of(name) for name in "abc"], [None] * 3)


# ---------------------------------------------------------------------------- the scripts

SAYS = {
    "simple": ["the main thread is free", "One after the other", "cust-456", "cust-789"],
    "parallel": ["Generation by generation", "cust-456", "cust-789"],
    "async_dispatch": ["meanwhile, of the large order: {}", "As results come"],
    "supervised": [
        "bad-task: {}",
        "'screen_fraud' failed for input 0: SystemExit",
        "bad-scheduler: {'ship': 'on its way'}",
        "lives: 2",
        "UnknownId: no workflow runs under 'fine'",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAYS)
def test_each_is_a_script(name: str):
    """Run as a program, from anywhere, each shows a picture of its bodies and the decisions."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(FOLDER / f"{name}.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "utf-8"},
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert [text for text in SAYS[name] if text not in ran.stdout] == []
    assert "'approved': True" in ran.stdout
    assert "decide_fulfillment |" in ran.stdout
    assert "#|" in ran.stdout


@pytest.mark.parametrize("name", [*SAYS, "orders"])
def test_examples_use_the_public_api_only(name: str):
    """No example imports a part of Treadle; `import treadle as td` is all it takes."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")

    assert "import treadle as td" in text
    assert "treadle." not in text.replace("treadle.Runner", "")
