"""Pools of the program's own."""

import threading
from collections.abc import Iterator
from concurrent.futures import Executor as Pool
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from tests.executors import bodies
from tests.executors.driving import GUARD_S, cancelled_how, opened, shown
from treadle.errors import UsageError, WorkerDied
from treadle.executors.futures import FuturesExecutor
from treadle.testing.executors import runnable


@pytest.fixture
def threads() -> Iterator[Pool]:
    """A pool with one thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def wait(begun: threading.Event, let_go: threading.Event) -> bool:
    """Say that one is there, and wait."""
    begun.set()
    return let_go.wait(timeout=GUARD_S)


class Wordless(Pool):
    """A pool that runs at once, and knows nothing of processes."""

    def __init__(self) -> None:
        self.given: list[object] = []

    def submit(self, fn, /, *args, **kwargs):
        """Run it, and remember with what."""
        self.given += args
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_the_pool_stays_the_programs(threads: Pool):
    """Closing the executor leaves it open."""
    with opened(FuturesExecutor(threads)) as desk:
        assert shown(desk.run(runnable(bodies.double, 1))) == [2]

    assert threads.submit(len, "abc").result(timeout=GUARD_S) == 3


@pytest.mark.slow
def test_a_broken_pool_fails_its_bundles():
    """All of them, since such a pool does not recover; the failure names what to use instead."""
    with (
        ProcessPoolExecutor(1, get_context("forkserver")) as pool,
        opened(FuturesExecutor(pool)) as desk,
    ):
        first = desk.run(runnable(bodies.leave, 3))
        second = desk.run(runnable(bodies.double, 1))

    for (outcome,) in (first, second):
        assert isinstance(outcome.exception, WorkerDied)
        assert "ProcessExecutor keeps them apart" in str(outcome.exception)


def test_a_pool_that_is_shut_down_fails_the_work():
    """Submit does not raise."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with opened(FuturesExecutor(pool)) as desk:
        (outcome,) = desk.run(runnable(len, "a"))

    assert str(outcome.error).startswith("PlugError: the pool did not run the work (RuntimeError: ")


def test_what_somebody_else_cancels_is_answered(threads: Pool):
    """A pool that drops its queue as it shuts down owes the answers."""
    let_go, begun = threading.Event(), threading.Event()
    with opened(FuturesExecutor(threads)) as desk:
        running = desk.give(runnable(wait, begun, let_go))
        begun.wait(timeout=GUARD_S)
        queued = desk.give(runnable(len, "a"))
        threads.shutdown(wait=False, cancel_futures=True)

        assert cancelled_how(desk.answer(queued)[0]) == "withdrawn"
        let_go.set()
        assert shown(desk.answer(running)) == [True]


def test_cancelling_says_whether_it_had_begun(threads: Pool):
    """What the pool has queued is withdrawn; what it runs is abandoned and not heard again."""
    let_go, begun = threading.Event(), threading.Event()
    executor = FuturesExecutor(threads)
    with opened(executor) as desk:
        running = desk.give(runnable(wait, begun, let_go))
        begun.wait(timeout=GUARD_S)
        queued = desk.give(runnable(len, "a"))
        executor.cancel(queued)
        executor.cancel(running)

        assert cancelled_how(desk.answer(queued)[0]) == "withdrawn"
        assert cancelled_how(desk.answer(running)[0]) == "abandoned"
        let_go.set()
        threads.shutdown()
        assert desk.is_quiet()


@pytest.mark.parametrize(("portable", "kind"), [(None, "Entry"), (False, "Entry"), (True, "bytes")])
def test_what_travels_may_be_said(portable, kind):
    """A pool that nobody knows gets the live bundle, or a job as bytes if it is said to need one."""
    pool = Wordless()
    with opened(FuturesExecutor(pool, portable=portable)) as desk:
        assert shown(desk.run(runnable(bodies.double, 1))) == [2]

    assert [type(each).__name__ for each in pool.given] == [kind]


def test_what_cannot_travel_fails():
    """And names what cannot."""
    with opened(FuturesExecutor(Wordless(), portable=True)) as desk:
        (outcome,) = desk.run(runnable(bodies.double, [threading.Lock()]))

    assert "NotPortable: what 'double' takes cannot be sent to a worker" in str(outcome.error)


@pytest.mark.parametrize("pool", [None, "threads", ThreadPoolExecutor, 8])
def test_a_pool_is_an_instance_that_takes_work(pool):
    """Anything else is refused where it is given."""
    with pytest.raises(UsageError, match=r"takes a concurrent.futures.Executor, and was given"):
        FuturesExecutor(pool)


def test_it_shows_what_it_is(threads: Pool):
    """For logs and messages."""
    assert repr(FuturesExecutor(threads)) == (
        "FuturesExecutor(ThreadPoolExecutor, capacity=64, portable=False)"
    )
