"""Faults that are injected for real: dying workers, bodies that do not end, odd exceptions, broken plugs."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import treadle as td
from tests.executors import bodies
from tests.executors.driving import Door
from tests.runner import process_bodies
from tests.runner.running import (
    PATIENCE_S,
    Body,
    Out,
    SetClock,
    double,
    increment,
    of_kind,
    same,
    status_of,
    steps,
    until,
)
from treadle import errors
from treadle.engine.execute import execute_runnable
from treadle.executors.aio import AsyncioExecutor
from treadle.executors.processes import ProcessExecutor
from treadle.executors.threads import ThreadExecutor
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle
from treadle.model.events import AttemptFailed, Orphaned


@pytest.fixture(scope="module")
def workers() -> Iterator[td.Runner]:
    """A runner with two worker processes, for all tests that need some."""
    with td.Runner(executor=ProcessExecutor(2, grace_s=0.1)) as runner:
        yield runner


@pytest.fixture
def door() -> Iterator[Door]:
    """Where bodies in other processes announce themselves and wait."""
    door = Door()
    yield door
    door.close()


def cause_of(runner: td.Runner, body: Any, value: Any = 1, **options: Any) -> BaseException | None:
    """What a step failed with, under a runner."""
    id = runner.start(steps(td.step(body, name="body")), **options)
    error = runner.run(id, value).exception(PATIENCE_S)
    assert isinstance(error, errors.StepFailed)
    assert status_of(runner, id) == "idle"
    return error.__cause__


# ---------------------------------------------------------------------------------- dying workers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "how"),
    [
        (process_bodies.crash_once, "SIGSEGV"),
        (process_bodies.leave_once, "exit code 7"),
        (process_bodies.killed_once, "SIGKILL"),
    ],
    ids=["segfault", "exit", "kill"],
)
def test_a_worker_that_dies_costs_one_attempt(workers: td.Runner, body: Any, how: str):
    """The next attempt has a new worker; a bystander in another one hears nothing of it."""
    workflow = steps(td.step(body, name="body"), td.step(bodies.double, name="beside"))
    id = workers.start(workflow, policies=td.Policy(max_retries=1, retry_on=errors.WorkerDied))

    assert workers.run(id, 4).result(PATIENCE_S) == {"body": 4, "beside": 8}
    [failed] = of_kind(workers, id, AttemptFailed)
    assert failed.error.name == "WorkerDied"
    assert how in failed.error.text


@pytest.mark.slow
def test_a_body_that_always_kills_its_worker_fails(workers: td.Runner):
    """So often as its policy says, and nothing else does."""
    beside = workers.start(steps(td.step(bodies.double, name="beside")))
    cause = cause_of(workers, process_bodies.always_crash, policies=td.Policy(max_retries=2))

    assert isinstance(cause, errors.WorkerDied)
    assert cause.exit_code == 9
    assert workers.run(beside, 4).result(PATIENCE_S) == {"beside": 8}


@pytest.mark.slow
def test_a_worker_that_is_killed_from_outside(workers: td.Runner, door: Door):
    """Its body's attempt has failed with the signal; the other one's goes on."""
    id = workers.start(steps(td.step(bodies.knock, name="body")), policies=td.Policy(max_retries=1))
    ticket = workers.run(id, door.port)
    visitor = door.visitor()
    os.kill(int(visitor.name), signal.SIGKILL)
    door.visitor().let_pass()

    assert ticket.result(PATIENCE_S) == {"body": "passed"}
    [failed] = of_kind(workers, id, AttemptFailed)
    assert "SIGKILL" in failed.error.text


@pytest.mark.slow
def test_a_worker_that_is_out_of_memory(workers: td.Runner):
    """A MemoryError is a failure as any other."""
    assert isinstance(cause_of(workers, bodies.hog), MemoryError)
    id = workers.start(steps(td.step(bodies.lift_limit, name="body")))
    for _ in range(2):
        workers.run(id, 1).result(PATIENCE_S)


@pytest.mark.slow
def test_a_broken_pool_of_the_program_s_own():
    """`ProcessPoolExecutor` loses bystanders with a dead worker; what is tried again finds it broken, and says so."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, get_context("spawn")) as pool, td.Runner(executor=pool) as runner:
        assert isinstance(cause_of(runner, process_bodies.always_crash), errors.WorkerDied)
        assert isinstance(cause_of(runner, bodies.double), errors.TreadleError)
        runner.start(steps(), "a", policies=td.Policy(executor="threads"))
        assert runner.run("a", 1).result(PATIENCE_S) == {"increment": 2}


# --------------------------------------------------------------------- bodies that do not end


@pytest.mark.slow
def test_a_process_that_clings_to_life_is_killed(door: Door):
    """A body that ignores SIGTERM, with a child that does so too, is gone when its time is over."""
    clock = SetClock()
    executor = ProcessExecutor(1, grace_s=0.05)
    policies = {"body": td.Policy(timeout_s=0.05)}
    with td.Runner(executor=executor, clock=clock, policies=policies) as runner:
        runner.start(steps(td.step(bodies.cling, name="body")), "a")
        ticket = runner.run("a", door.port)
        visitor = door.visitor()
        clock.go_on(1)
        error = ticket.exception(PATIENCE_S)

        assert isinstance(error, errors.StepFailed)
        assert isinstance(error.__cause__, errors.TimedOut)
        assert visitor.hears() == ""  # both are gone
        runner.start(steps(td.step(bodies.double, name="beside")), "b")
        assert runner.run("b", 4).result(PATIENCE_S) == {"beside": 8}


@pytest.mark.slow
def test_a_cancelled_process_tidies_up(workers: td.Runner, door: Door):
    """Its `finally` blocks run, and its ticket ends."""
    id = workers.start(steps(td.step(bodies.clean_up, name="body")))
    ticket = workers.run(id, door.port)
    visitor = door.visitor()
    ticket.cancel()

    assert isinstance(ticket.exception(PATIENCE_S), errors.Cancelled)
    assert visitor.hears() == "tidied"
    assert visitor.hears() == ""


def test_a_thread_that_never_returns_is_counted():
    """Its attempt has timed out, another thread takes its place, and what it gives at last is late."""
    executor, body = ThreadExecutor(1), Body(is_open=False)
    with td.Runner(executor=executor) as runner:
        runner.start(steps(td.step(body, name="body")), "a")
        policies = td.Policy(timeout_s=0.005)
        assert isinstance(runner.run("a", 1, policies=policies).exception(PATIENCE_S), Exception)
        assert (executor.abandoned, executor.late) == (1, 0)
        runner.start(steps(), "b")
        assert runner.run("b", 1).result(PATIENCE_S) == {"increment": 2}
        body.let_go()
        until(lambda: executor.late == 1)

        assert executor.abandoned == 0
        assert runner.get_results("a") == {}
        assert len(runner.get_workflow("a").failures()) == 1


def test_an_async_body_that_swallows_its_cancellation():
    """After its grace it is given up and counted; it holds up nothing, and what it gives is late."""
    swallowed = []
    end = asyncio.Event()

    async def cling(x: Any) -> str:
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                swallowed.append(x)
        return "at last"

    async def main() -> Any:
        executor = AsyncioExecutor(grace_s=0.005)
        async with td.AsyncRunner(executors={"asyncio": executor}) as runner:
            await runner.start(steps(td.step(cling)), "a", policies=td.Policy(timeout_s=0.005))
            await runner.start(steps(), "b")
            ticket = await runner.run("a", 1)
            with pytest.raises(errors.StepFailed) as failed:
                await ticket
            assert isinstance(failed.value.__cause__, errors.TimedOut)
            assert executor.abandoned == 1
            assert await (await runner.run("b", 1)) == {"increment": 2}
            end.set()
            await asyncio.to_thread(until, lambda: executor.late == 1)
            return swallowed, await runner.get_results("a")

    assert asyncio.run(main()) == ([1], {})


# ------------------------------------------------------------------------------- odd exceptions


def raising(error: BaseException) -> Callable[[Any], Any]:
    """A body that raises this."""

    def body(_: Any) -> None:
        raise error

    return body


def araising(error: BaseException) -> Callable[[Any], Any]:
    """An async body that raises this."""

    async def body(_: Any) -> None:
        await asyncio.sleep(0)
        raise error

    return body


PLACES: dict[str, tuple[dict[str, Any], Callable[[BaseException], Any]]] = {
    "in line": ({"executor": "inline"}, raising),
    "inline": ({"executor": "inline", "policies": td.Policy(timeout_s=PATIENCE_S)}, raising),
    "threads": ({"executor": "threads"}, raising),
    "pool": ({"executor": "pool"}, raising),
    "asyncio": ({"executor": "asyncio"}, raising),
    "async": ({}, araising),
}

ODD: dict[str, BaseException] = {
    "interrupt": KeyboardInterrupt(),
    "exit": SystemExit(3),
    "generator": GeneratorExit(),
    "cancelled": asyncio.CancelledError(),
    "out": Out("out"),
    "stop": StopIteration(),
    "assertion": AssertionError("no"),
}


@pytest.mark.parametrize(("options", "make"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("error", ODD.values(), ids=ODD)
def test_whatever_a_body_raises_fails_that_body_only(options: Any, make: Any, error: BaseException):
    """Nothing that a body raises ends a runner, or keeps a ticket open."""
    with td.Runner(**options) as runner:
        runner.start(steps(), "b")
        cause = cause_of(runner, make(error), id="a")

        assert cause is not None
        assert runner.run("b", 1).result(PATIENCE_S) == {"increment": 2}
        runner.start(steps(td.step(make(error), name="body"), same), "c")
        runner.run("c", 1).exception(PATIENCE_S)
        assert runner.get_results("c") == {"same": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "name"),
    [
        (process_bodies.exit_, "SystemExit"),
        (process_bodies.interrupt, "KeyboardInterrupt"),
        (process_bodies.cancelled, "CancelledError"),
    ],
)
def test_whatever_a_body_raises_in_a_worker(workers: td.Runner, body: Any, name: str):
    """It is told by its name."""
    id = workers.start(steps(td.step(body, name="body")))
    workers.run(id, 1).exception(PATIENCE_S)

    [failure] = workers.get_workflow(id).failures()
    assert failure.error.name == name


@pytest.mark.slow
def test_what_cannot_travel_fails_with_where_it_is(workers: td.Runner):
    """It is not tried again: it would be no different."""
    cause = cause_of(workers, bodies.hide_lock, policies=td.Policy(max_retries=3))

    assert isinstance(cause, errors.BadValue)
    assert "['orders'][1]['socket']" in str(cause)
    assert "lock" in str(cause)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "name", "text"),
    [
        (bodies.raise_two, "TwoArguments", "3 at home"),
        (bodies.raise_doubling, "Doubling", "failed: once"),
        (bodies.raise_holding, "Holding", "locked"),
    ],
)
def test_an_exception_that_does_not_travel_well(
    workers: td.Runner, body: Any, name: str, text: str
):
    """Its name and text arrive, once, and the worker lives on."""
    id = workers.start(steps(td.step(body, name="body")))
    error = workers.run(id, 1).exception(PATIENCE_S)
    [failure] = workers.get_workflow(id).failures()

    assert (failure.error.name, failure.error.text) == (name, text)
    assert isinstance(error, errors.StepFailed)
    assert text in str(error.__cause__)


@pytest.mark.slow
def test_a_value_that_cannot_be_rebuilt(workers: td.Runner):
    """The step fails; the worker lives on."""
    assert isinstance(cause_of(workers, bodies.give_sour), errors.TreadleError)
    id = workers.start(steps(td.step(bodies.double, name="body")))

    assert workers.run(id, 4).result(PATIENCE_S) == {"body": 8}


@pytest.mark.slow
def test_async_bodies_in_workers(workers: td.Runner):
    """They are awaited on the runner's own loop, wherever plain ones go."""
    id = workers.start(steps((td.step(process_bodies.adouble), [bodies.triple])))

    assert workers.run(id, 2).result(PATIENCE_S) == {"triple": 12}


def test_deep_recursion_is_a_failure():
    """Of the body, and of nothing else."""

    def endless(x: Any) -> Any:
        return endless(x)

    limit = sys.getrecursionlimit()
    for executor in ("inline", "threads"):
        with td.Runner(executor=executor) as runner:
            assert isinstance(cause_of(runner, endless), RecursionError)
    assert sys.getrecursionlimit() == limit


# ---------------------------------------------------------------------------------- broken plugs


class Plug:
    """An executor that runs what it is given in a thread of its own, and does something odd besides."""

    capacity: int | None = None
    when_cancelled = "abandoned"

    def __init__(self) -> None:
        self.answer: Answer = lambda *_: None

    def open(self, answer: Answer) -> None:
        """Take note of who is to be answered."""
        self.answer = answer

    def submit(self, number: int, bundle: Bundle) -> None:
        """Run it in a thread."""
        threading.Thread(target=self.work, args=(number, bundle)).start()

    def work(self, number: int, bundle: Bundle) -> None:
        """Execute and answer."""
        self.answer(number, [execute_runnable(each) for each in bundle.runnables])

    def cancel(self, number: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Let go of nothing."""


class AnswersTwice(Plug):
    """Doubles its answers."""

    def work(self, number: int, bundle: Bundle) -> None:
        super().work(number, bundle)
        super().work(number, bundle)


class AnswersOthers(Plug):
    """Answers what nobody gave it, too."""

    def work(self, number: int, bundle: Bundle) -> None:
        self.answer(number + 1000, [])
        self.answer(-1, [execute_runnable(each) for each in bundle.runnables])
        super().work(number, bundle)


class AnswersTooMuch(Plug):
    """Doubles its answers, and what is in them."""

    def work(self, number: int, bundle: Bundle) -> None:
        outcomes = [execute_runnable(each) for each in bundle.runnables]
        self.answer(number, outcomes)
        self.answer(number, outcomes * 2)


@pytest.mark.parametrize("plug", [Plug, AnswersTwice, AnswersOthers, AnswersTooMuch])
def test_answers_that_nobody_waits_for_change_nothing(plug: type[Plug]):
    """Doubled, unknown, late: the log has each outcome once."""
    with td.Runner(executor=plug()) as runner:
        runner.start(steps((increment, [double])), "a")
        results = [runner.run("a", n).result(PATIENCE_S) for n in range(10)]

        assert results == [{"double": 2 * (n + 1)} for n in range(10)]
        assert len(runner.get_workflow("a").log()) == 1 + 10 * 3
        assert of_kind(runner, "a", Orphaned) == []


class Refuses(Plug):
    """Takes no work."""

    def submit(self, number: int, bundle: Bundle) -> None:
        raise OSError("no room")


class DoesNotOpen(Plug):
    """Cannot be reached."""

    def open(self, answer: Answer) -> None:
        raise OSError("no such host")


class AnswersNothing(Plug):
    """Has nothing to say."""

    def work(self, number: int, bundle: Bundle) -> None:
        self.answer(number, [])


@pytest.mark.parametrize(
    ("plug", "text"),
    [(Refuses, "no room"), (DoesNotOpen, "no such host"), (AnswersNothing, "no outcome")],
)
def test_an_executor_that_does_not_work_fails_the_work(plug: type[Plug], text: str):
    """With an error that says so; it may be tried again, or fall back, and the run goes on."""
    with td.Runner(executors={"own": plug()}) as runner:
        own = td.Policy(executor="own", max_retries=1)
        cause = cause_of(runner, same, policies=own)
        assert isinstance(cause, errors.PlugError)
        assert text in str(cause)
        fallen = td.Policy(executor="own", fallback="instead")
        runner.start(steps(same), "b", policies=fallen)

        assert runner.run("b", 1).result(PATIENCE_S) == {"same": "instead"}


class CannotCancel(Plug):
    """Cannot end what it began."""

    def cancel(self, number: int) -> None:
        raise OSError("no signal")


def test_an_executor_that_cannot_cancel_harms_no_other_run():
    """The input is cancelled all the same."""
    body = Body(is_open=False)
    with td.Runner(executors={"own": CannotCancel()}) as runner:
        runner.start(steps(td.step(body, name="body")), "a", policies=td.Policy(executor="own"))
        runner.start(steps(), "b")
        ticket = runner.run("a", 1)
        body.wait_for_calls()
        ticket.cancel()

        assert isinstance(ticket.exception(PATIENCE_S), errors.Cancelled)
        assert runner.run("b", 1).result(PATIENCE_S) == {"increment": 2}
        body.let_go()
        until(lambda: status_of(runner, "a") == "idle")
        assert runner.run("a", 2).result(PATIENCE_S) == {"body": 2}


class DoesNotClose(Plug):
    """Cannot let go."""

    def close(self) -> None:
        raise OSError("still busy")


def test_an_executor_that_does_not_close_keeps_nothing_open():
    """The runner closes, and says so in the log."""
    runner = td.Runner(executor=DoesNotClose())
    runner.start(steps(), "a")
    runner.run("a", 1).result(PATIENCE_S)

    assert runner.close() == 0


class NeverAnswers(Plug):
    """Takes work, and is silent."""

    def submit(self, number: int, bundle: Bundle) -> None:
        pass


def test_an_executor_that_never_answers_keeps_nobody_waiting():
    """The runner hands the work back, and closes."""
    runner = td.Runner(executor=NeverAnswers(), drain_s=0.01)
    runner.start(steps(), "a")
    ticket = runner.run("a", 1)

    assert runner.close() == 1
    assert isinstance(ticket.exception(PATIENCE_S), errors.RunEnded)
