"""Tasks of the event loop: stopped when cancelled, abandoned when they do not stop."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from tests.executors import bodies
from tests.executors.driving import GUARD_S, cancelled_how, shown
from treadle.errors import UsageError
from treadle.executors.aio import AsyncioExecutor
from treadle.model.bundles import Bundle, Link
from treadle.model.runnables import Outcome, Runnable
from treadle.testing.executors import link, runnable


class Desk:
    """An executor that was opened on the running loop, and its answers."""

    def __init__(self, executor: AsyncioExecutor) -> None:
        self.executor = executor
        self.answers: dict[int, asyncio.Future[list[Outcome]]] = {}
        executor.open(lambda number, outcomes: self.answers[number].set_result(list(outcomes)))

    def give(self, *runnables: Runnable, links: tuple[Link, ...] = ()) -> int:
        number = len(self.answers) + 1
        self.answers[number] = asyncio.get_running_loop().create_future()
        self.executor.submit(number, Bundle(runnables=runnables, links=links))
        return number

    async def answer(self, number: int) -> list[Outcome]:
        return await asyncio.wait_for(self.answers[number], GUARD_S)

    async def run(self, *runnables: Runnable, links: tuple[Link, ...] = ()) -> list[Outcome]:
        return await self.answer(self.give(*runnables, links=links))


class Stuck:
    """A body that takes a cancellation as it was told, and tells when it is there."""

    __name__ = "stuck"

    def __init__(self, *, swallows: bool = False) -> None:
        self.begun, self.release = asyncio.Event(), asyncio.Event()
        self.swallows = swallows
        self.cancelled = 0
        self.ended = False

    async def __call__(self, *_: object) -> str:
        self.begun.set()
        try:
            while not self.release.is_set():
                try:
                    await self.release.wait()
                except asyncio.CancelledError:
                    self.cancelled += 1
                    if not self.swallows:
                        raise
        finally:
            self.ended = True
        return "late"


def asynchronous(body: Callable[..., Any], *args: Any) -> Runnable:
    """A runnable that is known to be async, which callable objects do not show."""
    from msgspec import structs

    return structs.replace(runnable(body, *args), is_async=True)


def on_loop(test: Callable[..., Any]) -> Callable[..., None]:
    """Run a test on an event loop of its own."""

    @functools.wraps(test)
    def run(**given: object) -> None:
        asyncio.run(test(**given))

    return run


@pytest.mark.parametrize("grace_s", [0.0, 5.0])
@on_loop
async def test_a_cancelled_body_is_stopped(grace_s: float):
    """It is answered when it has ended, and has cleaned up by then; at the last moment is in time."""
    desk, stuck = Desk(AsyncioExecutor(grace_s=grace_s)), Stuck()
    number = desk.give(asynchronous(stuck))
    await stuck.begun.wait()
    desk.executor.cancel(number)

    assert cancelled_how((await desk.answer(number))[0]) == "stopped"
    assert stuck.ended
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (desk.executor.abandoned, desk.executor.late) == (0, 0)


@on_loop
async def test_a_body_that_swallows_the_cancellation_is_abandoned():
    """It is counted as long as it goes on, and what it gives in the end is ignored."""
    executor, stuck = AsyncioExecutor(1, grace_s=0.0), Stuck(swallows=True)
    desk = Desk(executor)
    number = desk.give(asynchronous(stuck))
    await stuck.begun.wait()
    executor.cancel(number)

    assert cancelled_how((await desk.answer(number))[0]) == "abandoned"
    assert (stuck.cancelled, executor.abandoned, executor.late) == (1, 1, 0)
    assert shown(await desk.run(runnable(bodies.adouble, 1))) == [2]

    task = next(task for task in asyncio.all_tasks() if task is not asyncio.current_task())
    stuck.release.set()
    await asyncio.wait({task}, timeout=GUARD_S)
    assert (executor.abandoned, executor.late) == (0, 1)


@on_loop
async def test_a_parallel_bundle_that_does_not_stop_is_abandoned():
    """What was done of it is answered as done."""
    executor, stuck = AsyncioExecutor(grace_s=0.0), Stuck(swallows=True)
    desk = Desk(executor)
    number = desk.give(asynchronous(stuck), runnable(len, "ab"))
    await stuck.begun.wait()
    await asyncio.sleep(0)
    executor.cancel(number)

    first, second = await desk.answer(number)
    assert cancelled_how(first) == "abandoned"
    assert second.value == 2
    stuck.release.set()


@on_loop
async def test_what_a_body_gives_after_it_was_cancelled_is_ignored():
    """A value instead of a CancelledError does not make it a success, and nothing follows in its chain."""
    executor, stuck = AsyncioExecutor(), Stuck(swallows=True)
    desk = Desk(executor)
    number = desk.give(asynchronous(stuck), links=(link(bodies.double),))
    await stuck.begun.wait()
    executor.cancel(number)
    stuck.release.set()

    assert cancelled_how((await desk.answer(number))[0]) == "stopped"
    assert (executor.abandoned, executor.late) == (0, 0)


@on_loop
async def test_what_part_of_a_bundle_gives_after_it_was_cancelled_is_ignored():
    """Side by side as alone."""
    executor, stuck = AsyncioExecutor(), Stuck(swallows=True)
    desk = Desk(executor)
    number = desk.give(runnable(len, "ab"), asynchronous(stuck))
    await stuck.begun.wait()
    executor.cancel(number)
    stuck.release.set()

    assert shown(await desk.answer(number)) == [2, "Cancelled"]


@on_loop
async def test_what_has_not_begun_is_withdrawn():
    """It is answered at once, and no part of it runs."""
    desk, stuck = Desk(AsyncioExecutor()), Stuck()
    number = desk.give(asynchronous(stuck), asynchronous(stuck))
    desk.executor.cancel(number)

    assert [cancelled_how(each) for each in desk.answers[number].result()] == ["withdrawn"] * 2
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not stuck.begun.is_set()


@on_loop
async def test_a_bundle_runs_side_by_side():
    """Bodies of one bundle may wait for each other; each fails for itself, in order."""
    desk = Desk(AsyncioExecutor(1))
    first, second = asyncio.Event(), asyncio.Event()

    async def one(*_: object) -> int:
        first.set()
        await second.wait()
        return 1

    async def two(*_: object) -> int:
        await first.wait()
        second.set()
        raise ValueError

    assert shown(await desk.run(runnable(one), runnable(two), runnable(len, "ab"))) == [
        1,
        "ValueError",
        2,
    ]


@on_loop
async def test_a_chain_that_is_cancelled_keeps_what_was_done():
    """And the outcome that is missing is that of the link that ran."""
    desk, stuck = Desk(AsyncioExecutor()), Stuck()
    number = desk.give(runnable(len, "abc"), links=(link(stuck), link(bodies.double)))
    await stuck.begun.wait()
    desk.executor.cancel(number)

    first, second = await desk.answer(number)
    assert (first.value, second.component) == (3, "after_stuck")
    assert cancelled_how(second) == "stopped"


@on_loop
async def test_a_cancellation_that_nobody_asked_for_is_a_failure():
    """A body that raises CancelledError, or lets one of its own tasks' through, has failed."""
    desk = Desk(AsyncioExecutor())

    async def spurious(*_: object) -> None:
        task = asyncio.ensure_future(asyncio.sleep(GUARD_S))
        task.cancel()
        await task

    alone = await desk.run(runnable(spurious))
    beside = await desk.run(runnable(spurious), runnable(bodies.adouble, 1))

    assert shown(alone) == ["CancelledError"]
    assert shown(beside) == ["CancelledError", 2]


@on_loop
async def test_a_cancellation_by_somebody_else_is_answered():
    """Whoever ends all tasks of the loop ends this one, and the runner hears of it."""
    desk, stuck = Desk(AsyncioExecutor()), Stuck()
    number = desk.give(asynchronous(stuck))
    await stuck.begun.wait()
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}
    task.cancel()

    assert cancelled_how((await desk.answer(number))[0]) == "stopped"
    await asyncio.wait({task})
    assert task.cancelled()


@pytest.mark.parametrize("others", [(), (runnable(len, "a"),)])
def test_a_ctrl_c_ends_the_loop(others: tuple[Runnable, ...]):
    """It goes on to the program, and what it struck is answered as cancelled, not as failed."""
    answers: list[list[Outcome]] = []

    async def interrupted() -> None:
        executor = AsyncioExecutor()
        executor.open(lambda _, outcomes: answers.append(list(outcomes)))
        executor.submit(1, Bundle(runnables=(runnable(bodies.interrupt, 1), *others)))
        await asyncio.sleep(GUARD_S)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(interrupted())

    assert cancelled_how(answers[0][0]) == "stopped"


@on_loop
async def test_an_exit_and_an_odd_exception_are_failures():
    """No task of the loop dies of them."""
    desk = Desk(AsyncioExecutor())

    class Odd(BaseException):
        pass

    async def odd(*_: object) -> None:
        raise Odd

    outcomes = await desk.run(runnable(bodies.raise_exit, 1), runnable(odd), runnable(len, "a"))

    assert shown(outcomes) == ["SystemExit", "Odd", 1]


@on_loop
async def test_plain_functions_are_called_on_the_loop():
    """After submit, not within it."""
    desk = Desk(AsyncioExecutor())
    ran: list[int] = []
    number = desk.give(runnable(ran.append, 1), links=(link(bodies.adouble),))

    assert ran == []
    assert shown(await desk.answer(number)) == [None, "TypeError"]
    assert ran == [1]


@on_loop
async def test_closing_stops_what_runs():
    """And answers nothing."""
    desk, stuck = Desk(AsyncioExecutor()), Stuck()
    number = desk.give(asynchronous(stuck))
    await stuck.begun.wait()
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}
    desk.executor.close()
    await asyncio.wait({task}, timeout=GUARD_S)

    assert stuck.ended
    assert not desk.answers[number].done()


@on_loop
async def test_more_than_its_capacity_is_refused():
    """The runner never gives it more; whoever does learns it."""
    desk, stuck = Desk(AsyncioExecutor(1)), Stuck()
    number = desk.give(asynchronous(stuck))
    with pytest.raises(UsageError, match=r"AsyncioExecutor\(capacity=1, grace_s=5\) is full"):
        desk.executor.submit(2, Bundle(runnables=(runnable(len, "a"),)))
    stuck.release.set()

    assert shown(await desk.answer(number)) == ["late"]


def test_it_needs_a_running_loop():
    """Opened elsewhere it says what to use instead."""
    with pytest.raises(
        UsageError, match=r"opened where no event loop runs. Hint: .*ThreadExecutor"
    ):
        AsyncioExecutor().open(lambda *_: None)


@pytest.mark.parametrize(
    "given", [{"capacity": 0}, {"capacity": None}, {"grace_s": -1}, {"grace_s": float("nan")}]
)
def test_what_cannot_be_is_refused_where_it_is_given(given):
    """A capacity is a count, a grace a time."""
    with pytest.raises(UsageError, match=r"AsyncioExecutor\((capacity|grace_s)=...\) is a"):
        AsyncioExecutor(**given)
