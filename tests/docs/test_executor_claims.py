"""What the columns of the table of docs/executors.md claim happens, executor by executor."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import pytest

import treadle as td
from tests.docs.test_executor_table import CLASSES, PATIENCE_S, ROWS, given, made
from tests.runner import process_bodies
from treadle.errors import TimedOut
from treadle.executors import ray
from treadle.executors.aio import AsyncioExecutor
from treadle.executors.futures import FuturesExecutor
from treadle.executors.inline import InlineExecutor
from treadle.executors.pool import DemandPool
from treadle.executors.processes import ProcessExecutor
from treadle.executors.threads import ThreadExecutor

HERE = (InlineExecutor, AsyncioExecutor, ThreadExecutor, DemandPool, FuturesExecutor)
IN_THREADS = (ThreadExecutor, DemandPool, FuturesExecutor)
PROCESSES = pytest.param(ProcessExecutor, marks=pytest.mark.slow)


def name_of(kind: Any) -> str:
    """For the names of tests."""
    return str(kind.__name__)


def prepared(function: Any, value: Any = 1) -> td.Runnable:
    """One piece of ready work."""
    workflow = td.workflow("w").add(td.step(function, name="body"))
    _, (runnable,) = workflow.plan_eagerly(value).prepare_for_dispatch()
    return runnable


def test_numbers_are_the_defaults() -> None:
    """How long something is given, and how much fits, is what the objects are made with."""
    cancelled = {name: row["cancelled while it runs"] for name, row in ROWS.items()}
    pool = DemandPool()

    assert f"not ended {AsyncioExecutor().grace_s:g} s later" in cancelled["AsyncioExecutor"]
    assert f"SIGKILL {ProcessExecutor().grace_s:g} s later" in cancelled["ProcessExecutor"]
    assert f"killed {ray.GRACE_S:g} s later" in cancelled["RayExecutor"]
    buffered = f"{pool.workers} at work and {pool.buffer} in a buffer"
    assert buffered in ROWS["DemandPool"]["at once"]


def test_what_other_processes_mean() -> None:
    """Async functions, crashes, and functions without a name: all three columns follow from where the work is."""
    remote = {kind.__name__ for kind in CLASSES if getattr(kind, "is_remote", False)}

    def those(column: str, holds: Callable[[str], bool]) -> set[str]:
        return {name for name, row in ROWS.items() if holds(row[column])}

    assert those("async functions", lambda cell: cell == "awaited in the worker") == remote
    assert those("its worker crashes", lambda cell: "`WorkerDied`" in cell) == remote
    unnamed = "functions without an import path"
    assert those(unnamed, lambda cell: cell == "with cloudpickle") == remote
    along = those("its worker crashes", lambda cell: cell == "takes the program along")
    assert along == those(unnamed, lambda cell: cell == "yes")
    assert along == {kind.__name__ for kind in CLASSES} - remote - {"FuturesExecutor"}


# ------------------------------------------------------------------------------- async functions


def test_asyncio_awaits_side_by_side() -> None:
    """Two that wait for each other come to their end."""
    assert ROWS["AsyncioExecutor"]["async functions"] == "awaited side by side"

    async def both() -> list[str]:
        barrier, done = asyncio.Barrier(2), asyncio.Event()
        answers: list[td.Outcome] = []

        async def meet(_: Any) -> None:
            await barrier.wait()

        def take(_: int, outcomes: Sequence[td.Outcome]) -> None:
            answers.extend(outcomes)
            if len(answers) == 2:
                done.set()

        executor = AsyncioExecutor()
        executor.open(take)
        for number in (1, 2):
            executor.submit(number, td.Bundle(runnables=(prepared(meet),)))
        await asyncio.wait_for(done.wait(), PATIENCE_S)
        executor.close()
        return [each.status for each in answers]

    assert asyncio.run(both()) == ["ok", "ok"]


@pytest.mark.parametrize("kind", IN_THREADS, ids=name_of)
def test_a_thread_awaits_on_a_loop_of_its_own(kind: Any) -> None:
    """Not on that of whoever submitted the work, nor in his thread."""

    async def where(_: Any) -> tuple[int, int]:
        return id(asyncio.get_running_loop()), threading.get_ident()

    async def drive() -> tuple[Any, tuple[int, int]]:
        outcome = await given(made(kind), prepared(where))
        return outcome.value, (id(asyncio.get_running_loop()), threading.get_ident())

    found, own = asyncio.run(drive())

    told = ROWS[kind.__name__]["async functions"]
    assert told.startswith("on a loop of its own") or told == "as in threads"
    assert found[0] != own[0]
    assert found[1] != own[1]


# --------------------------------------------------------------------------------- over its time


@contextmanager
def runner_over(executor: Any, body: Any) -> Iterator[td.Ticket]:
    """A run whose only attempt has a hundredth of a second, on one executor; its ticket."""
    policy = td.Policy(timeout_s=0.01, executor="there")
    with td.Runner(executor="inline", executors={"there": executor}) as runner:
        workflow = td.workflow("w").add(td.step(body, name="body"))
        runner.start(workflow, "one", policies={"body": policy})
        yield runner.run("one", 1)


@pytest.mark.parametrize("kind", IN_THREADS, ids=name_of)
def test_a_thread_goes_on_unheard_over_its_time(kind: Any) -> None:
    """The attempt has timed out while the body is still inside, and nobody hears what it gives."""
    gate, over = threading.Event(), threading.Event()

    def body(_: Any) -> str:
        gate.wait(PATIENCE_S)
        over.set()
        return "unheard"

    with runner_over(made(kind), body) as ticket:
        error = ticket.exception(PATIENCE_S)
        was_over = over.is_set()
        gate.set()

    assert ROWS[kind.__name__]["over its time"].startswith("the same")
    assert isinstance(getattr(error, "__cause__", None), TimedOut)
    assert not was_over
    assert over.wait(PATIENCE_S)


def test_an_async_function_is_cancelled_over_its_time() -> None:
    """It gets the `CancelledError` that a cancellation gives it."""
    caught: list[type] = []

    async def body(_: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            caught.append(type(error))
            raise

    with runner_over(AsyncioExecutor(), body) as ticket:
        error = ticket.exception(PATIENCE_S)

    assert ROWS["AsyncioExecutor"]["over its time"] == "the same"
    assert isinstance(getattr(error, "__cause__", None), TimedOut)
    assert caught == [asyncio.CancelledError]


# ------------------------------------------------------------------- functions without a name


@pytest.mark.parametrize("kind", [*HERE, PROCESSES], ids=name_of)
def test_functions_without_an_import_path(kind: Any) -> None:
    """A lambda runs in each; cloudpickle is installed where this runs."""
    pytest.importorskip("cloudpickle")
    outcome = asyncio.run(given(made(kind), prepared(lambda value: value + 1)))

    assert outcome.value == 2


# ---------------------------------------------------------------------------- a worker crashes


@pytest.mark.slow
def test_a_crash_costs_the_call_it_was_in() -> None:
    """The next piece of work runs in another worker."""
    executor = ProcessExecutor(1)
    with td.Runner(executor=executor) as runner:
        workflow = td.workflow("w").add(process_bodies.always_crash)
        runner.start(workflow, "crash")
        error = runner.run("crash", 1).exception(PATIENCE_S)
        runner.start(td.workflow("v").add(len), "next")
        found = runner.run("next", "four").result(PATIENCE_S)

    cell = ROWS["ProcessExecutor"]["its worker crashes"]
    assert cell == "fails the call it was in, with `WorkerDied`"
    assert type(getattr(error, "__cause__", None)).__name__ == "WorkerDied"
    assert found == {"len": 4}


@pytest.mark.slow
def test_a_crash_breaks_a_process_pool_for_good() -> None:
    """All that was in the pool fails, and so does what comes later."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with td.Runner(executor=FuturesExecutor(pool)) as runner:
            runner.start(td.workflow("w").add(process_bodies.always_crash), "crash")
            runner.start(td.workflow("v").add(len), "next")
            tickets = [runner.run("crash", 1), runner.run("next", "four")]
            errors = [ticket.exception(PATIENCE_S) for ticket in tickets]
            errors.append(runner.run("next", "more").exception(PATIENCE_S))

    cell = ROWS["FuturesExecutor"]["its worker crashes"]
    assert "fails all that was in the pool, which is broken for good" in cell
    assert None not in errors
