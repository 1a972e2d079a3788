"""Threads: kept, replaced when one is stuck, and never in the way of the program's end."""

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

import treadle as td
from tests.executors import bodies
from tests.executors.driving import GUARD_S, cancelled_how, opened, shown, until
from treadle.errors import PlugError, UsageError
from treadle.executors.pool import DemandPool
from treadle.executors.threads import ThreadExecutor
from treadle.model.bundles import Bundle
from treadle.model.cohorts import Cohort
from treadle.testing.executors import link, runnable


class Stuck:
    """A body that waits for an event, and tells when it has begun and in which thread."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()
        self.thread = threading.current_thread()

    def __call__(self, *_: object) -> str:
        """Wait."""
        self.thread = threading.current_thread()
        self.begun.set()
        self.release.wait()
        return "late"


def here(*_: object) -> threading.Thread:
    """Tell the thread."""
    return threading.current_thread()


def test_a_stuck_thread_is_abandoned_and_replaced():
    """Its bundle is answered at once, its slot is free again, and what it gives in the end is ignored."""
    stuck = Stuck()
    executor = ThreadExecutor(1)
    with opened(executor) as desk:
        number = desk.give(runnable(stuck))
        stuck.begun.wait(timeout=GUARD_S)
        executor.cancel(number)

        assert cancelled_how(desk.answer(number)[0]) == "abandoned"
        assert executor.abandoned == 1
        assert desk.run(runnable(here))[0].value is not stuck.thread

        stuck.release.set()
        stuck.thread.join(timeout=GUARD_S)
        assert not stuck.thread.is_alive()
        assert (executor.abandoned, executor.late) == (0, 1)
        assert desk.is_quiet()


def test_a_thread_that_comes_back_is_used_again():
    """Where nobody took its place."""
    stuck = Stuck()
    executor = ThreadExecutor(1)
    with opened(executor) as desk:
        number = desk.give(runnable(stuck))
        stuck.begun.wait(timeout=GUARD_S)
        executor.cancel(number)
        stuck.release.set()
        until(lambda: executor.late == 1)

        assert desk.run(runnable(here))[0].value is stuck.thread


def test_what_waits_behind_a_stuck_thread_begins_when_that_is_given_up():
    """A queued bundle does not need another submit to be taken."""
    stuck = Stuck()
    executor = ThreadExecutor(1)
    with opened(executor) as desk:
        first = desk.give(runnable(stuck))
        stuck.begun.wait(timeout=GUARD_S)
        second = desk.give(runnable(len, "abc"))
        executor.cancel(first)

        assert shown(desk.answer(second)) == [3]
        stuck.release.set()


def test_what_has_not_begun_is_withdrawn():
    """It never runs."""
    stuck, ran = Stuck(), threading.Event()
    executor = ThreadExecutor(1)
    with opened(executor) as desk:
        first = desk.give(runnable(stuck))
        stuck.begun.wait(timeout=GUARD_S)
        second = desk.give(runnable(ran.set))
        executor.cancel(second)
        stuck.release.set()

        assert cancelled_how(desk.answer(second)[0]) == "withdrawn"
        assert shown(desk.answer(first)) == ["late"]
        assert shown(desk.run(runnable(len, "a"))) == [1]
        assert not ran.is_set()
        assert executor.abandoned == 0


def test_what_is_done_of_a_bundle_stays_done():
    """Of a chain or a parallel bundle that is cancelled, only what is not there yet is cancelled."""
    executor = ThreadExecutor(2)
    chained, beside = Stuck(), Stuck()
    chained.__name__ = "stuck"  # type: ignore[attr-defined]
    with opened(executor) as desk:
        chain = desk.give(runnable(len, "abc"), links=(link(chained), link(bodies.double)))
        parallel = desk.give(runnable(len, "ab"), runnable(beside), runnable(len, "a"))
        chained.begun.wait(timeout=GUARD_S)
        beside.begun.wait(timeout=GUARD_S)
        executor.cancel(chain)
        executor.cancel(parallel)

        assert shown(desk.answer(chain)) == [3, "Cancelled"]
        assert shown(desk.answer(parallel)) == [2, "Cancelled", "Cancelled"]
        chained.release.set()
        beside.release.set()


def test_threads_start_as_needed_and_are_kept():
    """One after the other needs one thread; two at once need two."""
    with opened(ThreadExecutor(64)) as desk:
        threads = {desk.run(runnable(here))[0].value for _ in range(20)}
        assert (
            len(threads) <= 2
        )  # the next may come before the last one's thread is counted as free

        both = threading.Barrier(2)
        numbers = [desk.give(runnable(both.wait, GUARD_S)) for _ in range(2)]
        assert sorted(desk.answer(number)[0].value for number in numbers) == [0, 1]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException])
def test_whatever_a_body_raises_is_its_failure(error: type[BaseException]):
    """No thread dies of it."""

    def body() -> None:
        raise error("enough")

    with opened(ThreadExecutor(1)) as desk:
        before = desk.run(runnable(here))
        assert shown(desk.run(runnable(body))) == [error.__name__]
        assert shown(desk.run(runnable(here))) == shown(before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whoever_cannot_hear_an_answer_harms_nothing():
    """The error is shown as that of any thread, and the next bundle runs."""
    executor, heard = ThreadExecutor(1), threading.Event()

    def answer(number: int, _: object) -> None:
        if number == 1:
            raise OSError("deaf")
        heard.set()

    executor.open(answer)
    bundle = Bundle(runnables=(runnable(len, "a"),))
    executor.submit(1, bundle)
    executor.submit(2, bundle)

    assert heard.wait(timeout=GUARD_S)
    executor.close()


def test_async_functions_run_on_a_loop_of_their_own():
    """Also in the midst of a chain, and side by side with plain ones."""
    with opened(ThreadExecutor(1)) as desk:
        assert shown(desk.run(runnable(bodies.adouble, 1), runnable(len, "a"))) == [2, 1]


def test_a_body_that_ends_its_loop_fails():
    """What breaks the loop itself is told of in each outcome that is missing."""

    async def stop_loop(*_: object) -> None:
        import asyncio

        asyncio.get_running_loop().stop()
        await asyncio.sleep(GUARD_S)

    with opened(ThreadExecutor(1)) as desk:
        (outcome,) = desk.run(runnable(stop_loop))

    assert outcome.error is not None


def test_what_runs_at_the_end_is_not_heard():
    """Closing gives up what runs, and lets the threads go."""
    stuck = Stuck()
    executor = ThreadExecutor(1)
    with opened(executor) as desk:
        desk.give(runnable(stuck))
        stuck.begun.wait(timeout=GUARD_S)
        executor.close()
        assert executor.abandoned == 1

        stuck.release.set()
        stuck.thread.join(timeout=GUARD_S)
        assert not stuck.thread.is_alive()
        assert desk.is_quiet()


def test_where_the_system_has_no_thread_the_work_fails():
    """Submit does not raise; the failure says what was missing."""
    before = threading.stack_size(1 << 46)
    try:
        with opened(ThreadExecutor(2)) as desk:
            (outcome,) = desk.run(runnable(len, "a"))
    finally:
        threading.stack_size(before)

    assert "PlugError: no thread could be started: can't start new thread" in str(outcome.error)


@pytest.mark.slow
def test_a_stuck_thread_does_not_keep_the_program():
    """The interpreter ends although a body never does."""
    program = """
import threading
from treadle.executors.pool import DemandPool
from treadle.executors.threads import ThreadExecutor
from treadle.model.bundles import Bundle
from treadle.model.bundles import Bundle
from treadle.testing.executors import runnable
begun = threading.Event()
def body():
    begun.set()
    threading.Event().wait()
executor = ThreadExecutor(1)
executor.open(lambda *_: None)
executor.submit(1, Bundle(runnables=(runnable(body),)))
begun.wait()
print("ends", flush=True)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=GUARD_S, check=True
    )

    assert run.stdout == "ends\n"


@pytest.mark.parametrize("capacity", [0, -1, True, 2.0, "8", None])
def test_capacity_is_a_count(capacity):
    """Anything else is refused where it is given."""
    with pytest.raises(
        UsageError, match=r"ThreadExecutor\(capacity=...\) is a whole number of at least 1"
    ):
        ThreadExecutor(capacity)


def test_it_shows_what_it_is():
    """For logs and messages."""
    assert repr(ThreadExecutor()) == "ThreadExecutor(capacity=64)"


@pytest.mark.parametrize("make", [ThreadExecutor, DemandPool])
def test_with_too_many_threads_leaked_new_work_is_refused(make):
    """What was taken before is done; new work fails with the way out, until a thread has come back."""
    first, second = Stuck(), Stuck()
    executor = make(2, max_leaked=2)
    with opened(executor) as desk:
        for stuck in (first, second):
            number = desk.give(runnable(stuck))
            stuck.begun.wait(timeout=GUARD_S)
            before = desk.give(runnable(len, "abc"))
            executor.cancel(number)
            assert shown(desk.answer(before)) == [3]
        assert executor.abandoned == 2

        (refused,) = desk.run(runnable(here))
        assert isinstance(refused.exception, PlugError)
        assert "'here' was not begun: 2 threads of" in str(refused.exception)
        assert 'executor="processes"' in str(refused.exception)

        first.release.set()
        until(lambda: executor.abandoned == 1)
        assert shown(desk.run(runnable(len, "abc"))) == [3]
        second.release.set()


def test_without_a_limit_threads_may_leak():
    """`max_leaked=None` is for who knows that they come back."""
    stuck = [Stuck() for _ in range(3)]
    executor = ThreadExecutor(1, max_leaked=None)
    with opened(executor) as desk:
        for each in stuck:
            number = desk.give(runnable(each))
            each.begun.wait(timeout=GUARD_S)
            executor.cancel(number)

        assert executor.abandoned == 3
        assert shown(desk.run(runnable(len, "abc"))) == [3]
        for each in stuck:
            each.release.set()


@pytest.mark.parametrize("make", [ThreadExecutor, DemandPool])
def test_a_limit_of_leaked_threads_is_a_number_or_none(make):
    """Zero would refuse everything."""
    with pytest.raises(UsageError, match=rf"{make.__name__}\(max_leaked=\.\.\.\) is a whole"):
        make(max_leaked=0)


def cohort_of(call: Callable[[int], object]) -> Cohort:
    """Twenty items that are prepared as one."""
    workflow = td.workflow("w").add(td.map(call, name="each")).plan_eagerly(range(20))
    workflow, drive = workflow.advance(limit=100)
    opened_items = [td.execute_runnable(each) for each in drive.handed]
    _, drive = workflow.advance(opened_items, limit=100, may_be_cohort=True)
    assert drive.cohort is not None
    return drive.cohort


def test_a_cohort_that_is_given_up_keeps_what_was_done():
    """What was done of it is answered, and each of the others was abandoned; what comes later changes nothing."""
    stuck = Stuck()

    def third_is_stuck(item: int) -> object:
        if item == 1:
            raise SystemExit(item)
        return stuck() if item == 2 else item

    executor = ThreadExecutor(1)
    with opened(executor) as desk:
        executor.submit(1, Bundle(runnables=cohort_of(third_is_stuck)))
        stuck.begun.wait(timeout=GUARD_S)
        executor.cancel(1)
        outcomes = desk.answer(1)

        assert [each.scope[-1] for each in outcomes] == [*range(20)]
        assert (outcomes[0].value, outcomes[1].status) == (0, "failed")
        assert {cancelled_how(each) for each in outcomes[2:]} == {"abandoned"}

        stuck.release.set()
        until(lambda: executor.late == 1)
        assert len(outcomes) == 20
        assert desk.is_quiet()


def test_a_cohort_is_executed_like_any_bundle():
    """Each member for itself, and all timed."""

    def odd(item: int) -> object:
        if item % 2:
            raise ValueError(item)
        return item

    with opened(ThreadExecutor(1)) as desk:
        desk.executor.submit(1, Bundle(runnables=cohort_of(odd)))
        outcomes = desk.answer(1)

    assert [each.status for each in outcomes] == ["ok", "failed"] * 10
    assert all(each.seconds is not None and each.seconds >= 0 for each in outcomes)
