"""Driving a bare workflow: inline, threads, processes, any executor, asyncio."""

import asyncio
import multiprocessing
import os
import sys
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

import treadle as td
from treadle import errors

PATIENCE = 30
"""Seconds after which a test that would hang fails instead; nothing is claimed about time."""


def increment(x: Any) -> Any:
    """One more."""
    return x + 1


def double(x: Any) -> Any:
    """Twice the value."""
    return x * 2


def plus(state: Any, value: Any) -> Any:
    """Add up."""
    return state + value


def reciprocal(x: int) -> float:
    """Fail for 0."""
    return 1 / x


def process_id(x: Any) -> int:
    """Where this runs."""
    return os.getpid()


def die(x: Any) -> None:
    """Take the whole process down."""
    os._exit(3)


def hidden(x: Any) -> Any:
    """Give what cannot travel."""
    return lambda: x


def pipeline() -> td.Workflow:
    """Increment, then double."""
    return td.workflow("pipeline", steps=[(increment, [double])])


def wide(step: Any, n: int) -> td.Workflow:
    """One step n times, side by side."""
    return td.workflow("wide", steps=[td.step(step, name=f"s{k}") for k in range(n)])


class Counted:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = self.peak = 0

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1


class InlineExecutor(Executor):
    """Runs what is submitted at once, in the caller's thread."""

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it."""
        self.submitted += 1
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


# ------------------------------------------------------------------------------------------- react


def test_react_is_one_generation():
    """B18: it executes and applies what is ready now, and no more."""
    first = pipeline().react(1)
    second = first.react()

    assert first.results("increment", "double") == {"increment": 2, "double": td.ABSENT}
    assert [runnable.component for runnable in first.next_runnables()] == ["double"]
    assert second.results() == {"double": 4}
    assert second.is_satisfied()


def test_react_plans_what_came_of_it():
    """S15: after react, the rules that watch new facts have been asked."""
    w = td.workflow("w", steps=[increment])
    w = w.add(td.rule(double, name="r", condition=lambda x: x > 1), to="increment").react(1)

    assert [runnable.component for runnable in w.next_runnables()] == ["r"]


def test_without_input_they_finish_what_is_there():
    """Section 4: the input is optional; None is one."""
    planned = pipeline().plan_eagerly(1)

    assert planned.react_until_satisfied().results() == {"double": 4}
    assert asyncio.run(planned.areact_until_satisfied()).results() == {"double": 4}
    assert planned.react().results("increment") == {"increment": 2}
    assert td.workflow("w", steps=[str]).react_until_satisfied(None).results() == {"str": "None"}


def test_a_deep_chain_needs_no_stack():
    """B13: thousands of steps in a row, inline, and rebuilt from the log."""
    template = td.workflow("long").add(td.step(increment, name="s0"))
    for number in range(1, 3000):
        template = template.add(td.step(increment, name=f"s{number}"), to=f"s{number - 1}")
    w = template.react_until_satisfied(0)

    assert w.results() == {"s2999": 3000}
    assert td.Workflow.from_log(template, w.log()).results() == {"s2999": 3000}


# ----------------------------------------------------------------------------------------- threads


def test_threads_run_side_by_side():
    """B21, S26: work waits for each other, so it must be out together."""
    barrier = threading.Barrier(4)
    w = wide(lambda x: barrier.wait(PATIENCE) is not None, 4)

    assert w.react_until_satisfied(1, executor="threads").results() == dict.fromkeys(
        ["s0", "s1", "s2", "s3"], True
    )


def test_a_fast_branch_does_not_wait_for_a_slow_one():
    """L169: what comes back is applied as it comes, not by generation."""
    event = threading.Event()
    w = td.workflow("w", steps=[td.step(lambda x: event.wait(PATIENCE), name="slow")])
    w = w.add(increment).add(double, to="increment")
    w = w.add(td.step(lambda x: event.set(), name="last"), to="double")

    assert w.react_until_satisfied(1, executor="threads").results() == {"slow": True, "last": None}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_at_most_so_many_at_once(limit: int):
    """B23: max_concurrency k means at most k functions at once, and k where there is work."""
    counted, barrier = Counted(), threading.Barrier(limit)

    def work(x: Any) -> None:
        with counted:
            barrier.wait(PATIENCE)

    w = wide(work, limit * 4).react_until_satisfied(1, executor="threads", max_concurrency=limit)

    assert w.failures() == []
    assert counted.peak == limit


def test_a_limit_holds_for_a_given_executor():
    """B23: also where the executor has more workers."""
    counted, barrier = Counted(), threading.Barrier(2)

    def work(x: Any) -> None:
        with counted:
            barrier.wait(PATIENCE)

    with ThreadPoolExecutor(8) as pool:
        w = wide(work, 8).react_until_satisfied(1, executor=pool, max_concurrency=2)

    assert w.failures() == []
    assert counted.peak == 2


def test_a_limit_holds_over_many_inputs_and_items():
    """B23: fan-outs and inputs share the limit."""
    counted = Counted()

    def work(x: int) -> int:
        with counted:
            return x

    w = td.workflow("w", components=[td.map(work, name="m")]).add(td.collect(name="all"), to="m")
    w = w.plan_eagerly(range(20)).plan_eagerly(range(20))
    w = w.react_until_satisfied(executor="threads", max_concurrency=3)

    assert w.raw_productions() == [list(range(20))] * 2
    assert counted.peak <= 3


def test_an_executor_is_left_running():
    """Section 4: an executor that was given is not shut down."""
    with ThreadPoolExecutor(2) as pool:
        first = pipeline().react_until_satisfied(1, executor=pool)
        second = first.react_until_satisfied(2, executor=pool)

        assert pool.submit(double, 2).result() == 4
    assert second.raw_productions() == [4, 6]


def test_any_executor_will_do():
    """Section 4: any concurrent.futures.Executor."""
    executor = InlineExecutor()
    w = pipeline().react_until_satisfied(1, executor=executor)

    assert w == pipeline().react_until_satisfied(1)
    assert executor.submitted == 2


def test_failures_on_threads_are_recorded():
    """S26: nothing raises; the rest goes on."""
    w = td.workflow("w", steps=[reciprocal, double]).react_until_satisfied(0, executor="threads")

    assert w.results() == {"double": 0}
    assert [failure.error.name for failure in w.failures()] == ["ZeroDivisionError"]


def test_an_executor_that_is_shut_down():
    """The executor's own error comes through, and the workflow is as it was."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    planned = pipeline().plan_eagerly(1)
    with pytest.raises(RuntimeError):
        planned.react_until_satisfied(executor=pool)

    assert planned.in_flight() == []
    assert planned.react_until_satisfied().results() == {"double": 4}


# --------------------------------------------------------------------------------------- processes


@pytest.fixture
def processes() -> Any:
    """A real pool of spawned processes."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.slow
def test_processes(processes: Any):
    """B21: real processes give what the inline loop gives; failures keep their cause."""
    w = td.workflow("w", steps=[(increment, [double]), process_id, reciprocal])
    w = w.add(td.accumulator(plus, initial=0, name="sum"), to="increment")
    done = w.react_until_satisfied(0, executor=processes)
    with pytest.raises(errors.StepFailed) as caught:
        done.results(raise_on_failure=True)

    assert {name: done.results()[name] for name in ("double", "sum")} == {"double": 2, "sum": 1}
    assert done.results()["process_id"] != os.getpid()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.slow
def test_a_fan_out_over_processes(processes: Any):
    """F77: items in processes, folded in order."""
    w = td.workflow("w", components=[td.map(double, name="m")]).add(td.collect(name="all"), to="m")

    assert w.react_until_satisfied(range(8), executor=processes).results() == {
        "all": [0, 2, 4, 6, 8, 10, 12, 14]
    }


@pytest.mark.slow
def test_what_cannot_travel_is_a_failure(processes: Any):
    """S25: a function or a result that cannot be pickled is a recorded failure that names it."""
    w = td.workflow("w", steps=[td.step(lambda x: x, name="unnamed"), hidden, double])
    w = w.react_until_satisfied(1, executor=processes)
    told = {failure.component: str(failure.error) for failure in w.failures()}

    assert w.results() == {"double": 2}
    assert set(told) == {"unnamed", "hidden"}
    assert "<lambda>" in told["unnamed"]
    assert "hidden.<locals>.<lambda>" in told["hidden"]  # the words around it are Python's own


@pytest.mark.slow
def test_a_worker_that_dies_is_a_failure(processes: Any):
    """S25: the executor lost the work: its runnable failed, and the loop ends."""
    w = td.workflow("w", steps=[die]).react_until_satisfied(1, executor=processes)

    assert [failure.component for failure in w.failures()] == ["die"]
    assert w.is_satisfied()


# ----------------------------------------------------------------------------------------- asyncio


async def until(event: asyncio.Event) -> bool:
    """Whether the event comes while everybody else has had many turns."""
    for _ in range(1000):
        if event.is_set():
            return True
        await asyncio.sleep(0)
    return False


def test_async_steps_are_awaited_side_by_side():
    """Section 4: as many as are ready are out together."""

    async def main() -> td.Workflow:
        barrier = asyncio.Barrier(5)

        async def meet(x: int) -> int:
            await barrier.wait()
            return x

        return await wide(meet, 5).areact_until_satisfied(7)

    assert asyncio.run(main()).results() == dict.fromkeys([f"s{k}" for k in range(5)], 7)


def test_async_and_plain_steps_mix():
    """Section 4: in one graph, in any order."""

    async def fetch(x: int) -> int:
        await asyncio.sleep(0)
        return x * 10

    w = td.workflow("w", steps=[(increment, [(fetch, [double])]), td.step(abs)])
    w = w.add(td.step(lambda a, b: (a, b), name="both"), to=["double", "abs"])

    assert asyncio.run(w.areact_until_satisfied(1)).results() == {"both": (40, 1)}


def test_async_in_all_places():
    """Section 4: maps, accumulators, reactions and handlers may be async."""

    async def each(x: int) -> float:
        return 1 / x

    async def fold(state: float, value: float) -> float:
        await asyncio.sleep(0)
        return state + value

    async def handle(failure: td.Failure) -> str:
        return failure.component

    w = td.workflow("w", components=[td.map(each, name="m")])
    w = w.add(td.accumulator(fold, initial=0, name="sum"), to="m")
    w = w.add(td.step(handle), to=td.error_of("m"))
    w = w.add(td.rule(each, name="r", condition=lambda x: x < 1), to="m")
    w = asyncio.run(w.areact_until_satisfied([1, 2, 0, 4]))

    assert w.states() == {"sum": {None: 1.75}}
    assert w.results("handle", "r") == {"handle": ["m"], "r": [2.0, 4.0]}


def test_async_results_are_applied_as_they_come():
    """L169: a slow branch holds nobody back."""

    async def main() -> td.Workflow:
        event = asyncio.Event()

        async def slow(x: int) -> bool:
            return await until(event)

        async def quick(x: int) -> int:
            return x

        async def last(x: int) -> None:
            event.set()

        w = td.workflow("w", steps=[slow, (quick, [(increment, [last])])])
        return await w.areact_until_satisfied(1)

    assert asyncio.run(main()).results() == {"slow": True, "last": None}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_at_most_so_many_are_awaited_at_once(limit: int):
    """B23: max_concurrency holds for asyncio, and is used."""
    counted = Counted()

    async def main() -> td.Workflow:
        barrier = asyncio.Barrier(limit)

        async def work(x: int) -> None:
            with counted:
                await barrier.wait()

        return await wide(work, limit * 4).areact_until_satisfied(1, max_concurrency=limit)

    w = asyncio.run(main())

    assert w.failures() == []
    assert counted.peak == limit


def test_a_free_slot_is_used_while_others_wait():
    """B23: with one of two slots taken by a wait, ready plain work goes on in the other."""

    async def main() -> td.Workflow:
        event = asyncio.Event()

        async def waits(x: int) -> bool:
            return await until(event)

        w = td.workflow("w", steps=[waits]).add(td.step(increment, name="s0"))
        for number in range(1, 5):
            w = w.add(td.step(increment, name=f"s{number}"), to=f"s{number - 1}")
        w = w.add(td.step(lambda x: event.set(), name="last"), to="s4")
        return await w.areact_until_satisfied(1, max_concurrency=2)

    assert asyncio.run(main()).results() == {"waits": True, "last": None}


def test_async_failures_are_recorded():
    """S25: with their cause, and the rest goes on."""

    async def fails(x: int) -> int:
        await asyncio.sleep(0)
        return 1 // x

    w = asyncio.run(td.workflow("w", steps=[fails, double]).areact_until_satisfied(0))
    with pytest.raises(errors.StepFailed) as caught:
        w.results(raise_on_failure=True)

    assert w.results() == {"double": 0}
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_cancelling_the_loop_cancels_its_work():
    """The caller's cancellation stops the async steps, and leaves the workflow as it was."""
    ended: list[str] = []

    async def main(planned: td.Workflow, started: asyncio.Event) -> None:
        task = asyncio.create_task(planned.areact_until_satisfied())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def run() -> td.Workflow:
        started = asyncio.Event()

        async def endless(x: int) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

        planned = td.workflow("w", steps=[endless]).plan_eagerly(1)
        await main(planned, started)
        return planned

    planned = asyncio.run(run())

    assert ended == ["cancelled"]
    assert planned.in_flight() == []
    assert [runnable.id for runnable in planned.next_runnables()] == ["endless@0"]


@pytest.mark.parametrize("how", ["inline", "react", "threads", "by hand"])
def test_an_async_step_in_a_synchronous_loop_says_so(how: str):
    """Section 4: the sync form on an async function is a recorded failure that says what to do."""

    async def fetch(x: int) -> int:
        return x

    w = td.workflow("w", steps=[fetch])
    if how == "inline":
        w = w.react_until_satisfied(1)
    elif how == "react":
        w = w.react(1)
    elif how == "threads":
        w = w.react_until_satisfied(1, executor="threads")
    else:
        w, [runnable] = w.plan_eagerly(1).prepare_for_dispatch()
        w = w.apply_runnable(td.execute_runnable(runnable))
    [failure] = w.failures()

    assert failure.component == "fetch"
    assert "'fetch' is async" in failure.error.text
    assert "areact_until_satisfied" in failure.error.text


def test_awaiting_a_runnable_by_hand():
    """Section 4: await aexecute_runnable, for async and plain functions alike."""

    async def fetch(x: int) -> int:
        return x * 10

    async def main() -> td.Workflow:
        w, runnables = (
            td.workflow("w", steps=[fetch, double]).plan_eagerly(1).prepare_for_dispatch()
        )
        for runnable in runnables:
            w = w.apply_runnable(await td.aexecute_runnable(runnable))
        return w

    assert asyncio.run(main()).results() == {"fetch": 10, "double": 2}


# -------------------------------------------------------------------------------------- interrupts


class Stop(BaseException):
    """What is no Exception is the caller's business."""


def interrupting(error: type[BaseException]) -> td.Workflow:
    """A step that interrupts after others have run."""
    tries: list[int] = []

    def interrupt(x: Any) -> str:
        tries.append(x)
        if len(tries) == 1:
            raise error
        return "went on"

    return td.workflow("w", steps=[(increment, [(double, [interrupt])]), reciprocal])


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop])
@pytest.mark.parametrize("how", ["inline", "threads", "areact", "react"])
def test_an_interrupt_comes_through_and_leaves_the_workflow(how: str, error: Any):
    """Section 6: an exception in the middle just loses a cache: the old workflow is intact."""
    planned = interrupting(error).plan_eagerly(0)
    if how == "react":
        planned = planned.react().react()
    log, facts = planned.log(), planned.facts()
    ways = {
        "inline": lambda: planned.react_until_satisfied(),
        "threads": lambda: planned.react_until_satisfied(executor="threads"),
        "areact": lambda: asyncio.run(planned.areact_until_satisfied()),
        "react": lambda: planned.react(),
    }
    with pytest.raises(error):
        ways[how]()
    again = planned.react_until_satisfied()

    assert (planned.log(), planned.facts(), planned.in_flight()) == (log, facts, [])
    assert again.results() == {"interrupt": "went on"}
    assert [failure.component for failure in again.failures()] == ["reciprocal"]


def test_an_interrupt_while_planning():
    """Section 6: in a condition or a key function too."""
    for kind in ("condition", "key"):
        tries: list[int] = []

        def ask(x: int, tries: list[int] = tries) -> bool:
            tries.append(x)
            if len(tries) == 2:
                raise KeyboardInterrupt
            return True

        component = (
            td.rule(double, name="c", condition=ask)
            if kind == "condition"
            else td.accumulator(plus, initial=0, key=ask, name="c")
        )
        before = td.workflow("w", components=[component]).react_until_satisfied(1)
        log = before.log()
        with pytest.raises(KeyboardInterrupt):
            before.plan_eagerly(5)

        assert before.log() == log
        assert before.react_until_satisfied(5).raw_productions() in ([2, 10], [1, 6])


def test_an_exit_is_a_failure_of_the_step():
    """S25: a step that calls sys.exit() failed; the program goes on."""

    def leave(x: Any) -> None:
        sys.exit(3)

    w = td.workflow("w", steps=[leave, double]).react_until_satisfied(1)

    assert w.results() == {"double": 2}
    assert [failure.error.name for failure in w.failures()] == ["SystemExit"]


# ------------------------------------------------------------------------------------ many threads


def side_by_side(work: Any, n: int) -> list[Any]:
    """Run `work(k)` in n threads that start together; give the results, or raise what was raised."""
    start = threading.Barrier(n)

    def run(k: int) -> Any:
        start.wait(PATIENCE)
        return work(k)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(n) as pool:
            return [future.result() for future in [pool.submit(run, k) for k in range(n)]]
    finally:
        sys.setswitchinterval(switch)


def busy() -> td.Workflow:
    """A graph with something of everything that is kept."""
    w = td.workflow("busy", components=[td.map(double, name="m")])
    w = w.add(td.accumulator(plus, initial=0, name="sum"), to="m")
    w = w.add(td.collect(name="all"), to="sum")
    w = w.add(td.rule(len, name="r", condition=lambda x: len(x) > 1), to="all")
    return w.add(td.step(lambda a, b: (a, b), name="j"), to=["all", "r"])


def test_threads_may_go_on_from_one_handle():
    """S1: each gets a way of its own, all the same."""
    planned = busy().plan_eagerly([1, 2, 3])
    expected = planned.react_until_satisfied().results()
    done = side_by_side(lambda k: planned.react_until_satisfied(), 8)

    assert [w.results() for w in done] == [expected] * 8
    assert all(w == done[0] for w in done)


def test_threads_may_feed_one_handle_different_inputs():
    """S1: nobody sees what another fed."""
    before = busy().react_until_satisfied([1, 2])
    done = side_by_side(lambda k: before.react_until_satisfied(list(range(k))), 8)

    assert [len(w.results("all")["all"]) for w in done] == list(range(8))
    assert [len(w.inputs()) for w in done] == [2] * 8
    assert before.states() == {"sum": {None: 6}}


def test_threads_may_start_many_runs_of_one_template():
    """S1, S9: each run is a branch of its own."""
    template = busy()

    def run(k: int) -> td.Workflow:
        w = template
        for n in range(5):
            w = w.react_until_satisfied([k, n])
        return w

    done = side_by_side(run, 8)

    assert [w.states()["sum"][None] for w in done] == [2 * (5 * k + 10) for k in range(8)]
    assert template.position == 0


def test_threads_may_read_while_another_goes_on():
    """S1: readers of a handle always see that handle."""
    w = busy().plan_eagerly([1, 2, 3])
    handles = [w]
    while w.is_runnable():
        w = w.react()
        handles.append(w)
    expected = [(h.position, h.results(), len(h.facts()), h.is_runnable()) for h in handles]

    def read(k: int) -> list[Any]:
        if k == 0:
            return [h.react_until_satisfied().position for h in handles] and expected
        return [(h.position, h.results(), len(h.facts()), h.is_runnable()) for h in handles]

    assert side_by_side(read, 6) == [expected] * 6


def test_threads_may_edit_one_handle():
    """S1, S27: each edit makes a workflow of its own, also with work in flight."""
    w, _ = busy().plan_eagerly([1, 2, 3]).prepare_for_dispatch()
    names, log, out = w.components(), w.log(), w.in_flight()
    edits = [
        lambda: w.add(td.step(len, name="late"), to="all", backfill=True),
        lambda: w.replace("m", td.map(increment, name="m")),
        lambda: w.remove("j"),
        lambda: w.merge(td.workflow("other", steps=[double])),
        lambda: w.at(w.position),
    ]
    done = side_by_side(lambda k: edits[k % len(edits)]().components(), 10)

    assert done == [edit().components() for edit in edits] * 2
    assert (w.components(), w.log(), w.in_flight()) == (names, log, out)


def test_threads_may_apply_outcomes_to_one_handle():
    """S9: outcomes in any thread: each handle that comes of it is right."""
    w, runnables = wide(double, 6).plan_eagerly(1).prepare_for_dispatch()
    outcomes = [td.execute_runnable(runnable) for runnable in runnables]
    done = side_by_side(lambda k: w.apply_runnable(outcomes[k]), 6)

    assert [d.results() for d in done] == [{f"s{k}": 2} for k in range(6)]
    assert w.results() == {}
    assert len(w.in_flight()) == 6


def test_threads_may_hand_out_from_one_handle():
    """S8: each handle keeps its own marks."""
    planned = wide(double, 4).plan_eagerly(1)
    done = side_by_side(lambda k: planned.prepare_for_dispatch(), 6)

    assert [[r.id for r in runnables] for _, runnables in done] == [
        [f"s{k}@0" for k in range(4)]
    ] * 6
    assert planned.in_flight() == []
    for w, runnables in done:
        for runnable in runnables:
            w = w.apply_runnable(td.execute_runnable(runnable))  # noqa: PLW2901
        assert w.is_satisfied()
