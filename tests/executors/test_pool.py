"""The bounded pool: workers take when they want, and what does not fit is refused."""

import threading

import pytest

from tests.executors import bodies
from tests.executors.driving import GUARD_S, cancelled_how, opened, shown
from treadle.errors import UsageError
from treadle.executors.pool import DemandPool
from treadle.testing.executors import runnable


class Counting:
    """A body that notes how many of its kind run at once, and waits to be let go."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = 0
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)

    def __call__(self) -> None:
        """Be one more for a while."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.begun.release()
        self.let_go.acquire(timeout=GUARD_S)
        with self.lock:
            self.now -= 1


def test_no_more_than_its_workers_run_at_once():
    """The buffer lies ready; the next begins when a worker wants it; the one too many is refused."""
    body = Counting()
    with opened(DemandPool(workers=2, buffer=3)) as desk:
        numbers = [desk.give(runnable(body)) for _ in range(5)]
        with pytest.raises(UsageError, match=r"DemandPool\(workers=2, buffer=3\) is full"):
            desk.give(runnable(body))
        for _ in numbers:
            assert body.begun.acquire(timeout=GUARD_S)
            body.let_go.release()
        for number in numbers:
            assert shown(desk.answer(number)) == [None]

    assert body.most == 2


def test_a_crash_is_reported_and_the_worker_goes_on():
    """Even of what no body should raise."""
    with opened(DemandPool(workers=1, buffer=0)) as desk:
        assert shown(desk.run(runnable(bodies.interrupt, 1))) == ["KeyboardInterrupt"]
        assert shown(desk.run(runnable(bodies.double, 1))) == [2]


def test_the_buffer_gives_back_what_is_cancelled():
    """A place in it is free again, and a running body is given up."""
    body = Counting()
    pool = DemandPool(workers=1, buffer=1)
    with opened(pool) as desk:
        running = desk.give(runnable(body))
        assert body.begun.acquire(timeout=GUARD_S)
        waiting = desk.give(runnable(body))
        pool.cancel(waiting)
        assert cancelled_how(desk.answer(waiting)[0]) == "withdrawn"

        pool.cancel(running)
        assert cancelled_how(desk.answer(running)[0]) == "abandoned"
        assert (pool.abandoned, pool.late) == (1, 0)
        assert shown(desk.run(runnable(len, "a"))) == [1]
        body.let_go.release(2)


@pytest.mark.parametrize(("workers", "buffer"), [(0, 1), (1, -1), (True, 1), (1, 1.5)])
def test_its_sizes_are_counts(workers, buffer):
    """Anything else is refused where it is given; a buffer may be empty."""
    with pytest.raises(UsageError, match=r"DemandPool\((workers|buffer)=...\) is a whole number"):
        DemandPool(workers, buffer)

    assert DemandPool(1, 0).capacity == 1
