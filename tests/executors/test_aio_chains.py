"""Bodies that follow one another in one task of the event loop: none of them can tell."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar, copy_context
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary, ref

import pytest

from tests.executors.driving import GUARD_S, cancelled_how, shown
from tests.executors.test_aio import Stuck, asynchronous, on_loop
from treadle.executors import aio
from treadle.executors.aio import AsyncioExecutor
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome
from treadle.testing.executors import runnable

SEEN: ContextVar[str] = ContextVar("seen", default="nothing")


class Chain:
    """An executor of which each answer submits the next body at once, in a context of its own, as a runner does."""

    def __init__(self, bodies: Iterable[Callable[..., Any]]) -> None:
        self.executor = AsyncioExecutor()
        self.bodies = iter(bodies)
        self.outcomes: list[Outcome] = []
        self.done = asyncio.Event()
        self.count = 0
        self.context = copy_context()
        self.executor.open(self.answer)
        self.submit()

    def submit(self) -> None:
        body = next(self.bodies, None)
        if body is None:
            self.done.set()
            return
        self.count += 1
        self.executor.submit(self.count, Bundle(runnables=(asynchronous(body, 0),)))

    def answer(self, _: int, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes
        self.context.copy().run(self.submit)

    async def ended(self) -> list[Outcome]:
        await asyncio.wait_for(self.done.wait(), GUARD_S)
        return self.outcomes


async def plain(_: object) -> str:
    """Never wait."""
    return "plain"


async def awaits(_: object) -> str:
    """Wait twice: for a turn of the loop, and for somebody else."""
    await asyncio.sleep(0)
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    await event.wait()
    return "awaited"


def own_task() -> asyncio.Task[Any]:
    """The task of whoever asks."""
    task = asyncio.current_task()
    assert task is not None
    return task


async def tells_task(_: object) -> str:
    """The name of its task, which no other one has, and not the task."""
    before = own_task().get_name()
    await asyncio.sleep(0)
    assert own_task().get_name() == before
    return before


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is long enough for all that a test does, however busy the machine is."""
    monkeypatch.setattr(aio, "TURN_S", GUARD_S)


@pytest.mark.usefixtures("unhurried")
@on_loop
async def test_a_chain_stays_in_its_task():
    """Also where bodies wait, and where they fail."""

    async def fails(_: object) -> None:
        await asyncio.sleep(0)
        raise ValueError

    async def limits(_: object) -> None:
        async with asyncio.timeout(GUARD_S), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))

    bodies = (plain, tells_task, awaits, tells_task, fails, tells_task, limits, tells_task)
    outcomes = await Chain(bodies).ended()

    assert len({outcome.value for outcome in outcomes[1::2]}) == 1
    assert shown(outcomes[::2]) == ["plain", "awaited", "ValueError", None]


@pytest.mark.usefixtures("unhurried")
@on_loop
async def test_a_body_sees_no_variables_of_the_one_before_it():
    """It keeps its own ones while it waits, and so do tasks that it makes."""
    numbers = count()

    async def sets(_: object) -> tuple[str, bool, bool]:
        before, mine = SEEN.get(), f"set by body {next(numbers)}"
        SEEN.set(mine)
        await asyncio.sleep(0)

        async def inside() -> str:
            return SEEN.get()

        return before, SEEN.get() == mine, await asyncio.create_task(inside()) == mine

    SEEN.set("set by the caller")
    outcomes = await Chain([sets, sets, plain, sets]).ended()

    expected = ("set by the caller", True, True)
    assert shown(outcomes) == [expected, expected, "plain", expected]


@on_loop
async def test_bodies_that_never_wait_let_others_have_their_turn():
    """However long the chain is."""
    turns: list[int] = []

    def bodies() -> Iterator[Callable[..., Any]]:
        for _ in range(100_000):
            if turns:
                return
            yield plain

    chain = Chain(bodies())
    asyncio.get_running_loop().call_soon(turns.append, 0)
    await chain.ended()

    assert 1 < chain.count < 100_000


@pytest.mark.usefixtures("unhurried")
@on_loop
async def test_a_cancelled_body_leaves_the_next_one_alone():
    """That has a task of its own."""
    stuck = Stuck()

    async def counts(_: object) -> int:
        await asyncio.sleep(0)
        return own_task().cancelling()

    chain = Chain([tells_task, stuck, counts])
    await stuck.begun.wait()
    chain.executor.cancel(2)
    outcomes = await chain.ended()

    assert cancelled_how(outcomes[1]) == "stopped"
    assert stuck.ended
    assert outcomes[2].value == 0
    assert (chain.executor.abandoned, chain.executor.late) == (0, 0)


@pytest.mark.usefixtures("unhurried")
@on_loop
async def test_a_body_that_swallows_a_cancellation_leaves_the_next_one_alone():
    """What it gives then is not an answer to anybody."""
    stuck = Stuck(swallows=True)
    chain = Chain([plain, stuck, awaits])
    await stuck.begun.wait()
    chain.executor.cancel(2)
    stuck.release.set()

    outcomes = await chain.ended()

    assert shown(outcomes) == ["plain", "Cancelled", "awaited"]


TOLD: list[str] = []
KEPT: list[Any] = []
KNOWN: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def cancels(task: asyncio.Task[Any]) -> None:
    """What would strike at the next await."""
    task.cancel()


def cancels_and_takes_back(task: asyncio.Task[Any]) -> None:
    """Before Python 3.13 that strikes all the same."""
    task.cancel()
    task.uncancel()


async def cancels_and_goes_on(task: asyncio.Task[Any]) -> None:
    """What stays counted."""
    task.cancel()
    del task
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


def names(task: asyncio.Task[Any]) -> None:
    """What a log would show."""
    task.set_name("mine")


def wants_to_be_told(task: asyncio.Task[Any]) -> None:
    """Of the end of this body, not of a later one."""
    task.add_done_callback(lambda _: TOLD.append("done"))


def keeps(task: asyncio.Task[Any]) -> None:
    """As a registry by task does."""
    KEPT.append(task)


def knows(task: asyncio.Task[Any]) -> None:
    """As a library does that keeps its state by task, for as long as there is one."""
    KNOWN[task] = "known"


def cancels_later(task: asyncio.Task[Any]) -> None:
    """As a timeout does that was forgotten."""
    asyncio.get_running_loop().call_soon(task.cancel)


LEAVING: list[Callable[[asyncio.Task[Any]], Any]] = [
    cancels,
    cancels_and_takes_back,
    cancels_and_goes_on,
    names,
    wants_to_be_told,
    keeps,
    knows,
    cancels_later,
]


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("leave", LEAVING)
@on_loop
async def test_a_task_with_a_trace_is_not_used_again(leave: Callable[..., Any], wait: bool):
    """Whoever comes next could be taken for the body that left it, or be struck by what was meant for that."""
    KEPT.clear()
    TOLD.clear()

    async def leaves(_: object) -> None:
        if wait:
            await asyncio.sleep(0)
        left = leave(own_task())
        if left is not None:
            await left

    async def finds(_: object) -> tuple[bool, bool, int, int]:
        task = own_task()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        is_known = task in KNOWN or any(task is each for each in KEPT)
        return is_known, task.get_name() == "mine", task.cancelling(), len(TOLD)

    told = 1 if leave is wants_to_be_told else 0
    outcomes = await Chain([plain, leaves, finds]).ended()

    assert shown(outcomes) == ["plain", None, (False, False, 0, told)]


@pytest.mark.usefixtures("unhurried")
@on_loop
async def test_failures_look_as_those_of_a_body_in_a_task_of_its_own():
    """Their frames are the user's, and no error is taken for the cause of another one."""

    async def raises() -> None:
        raise KeyError

    async def passes_on(_: object) -> None:
        await asyncio.create_task(raises())

    async def goes_on(_: object) -> None:
        with suppress(KeyError):
            await asyncio.create_task(raises())
        raise ValueError

    async def runs_out(_: object) -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(GUARD_S)

    first = [(await Chain([body]).ended())[0] for body in (passes_on, goes_on, runs_out)]
    _, *later = await Chain([plain, passes_on, goes_on, runs_out]).ended()

    assert [each.error for each in later] == [each.error for each in first]
    assert shown(later) == ["KeyError", "ValueError", "TimeoutError"]
    assert later[1].exception is not None
    assert later[1].exception.__context__ is None


@pytest.mark.parametrize("end", ["cancel", "close"])
@on_loop
async def test_what_is_withdrawn_as_it_is_submitted_does_not_begin(end: str):
    """An answer may submit the next body, and take it back in the same breath."""
    begun: list[int] = []

    async def begins(_: object) -> None:
        begun.append(1)

    chain = Chain([plain, begins])
    submit = chain.submit

    def submit_and_withdraw() -> None:
        submit()
        if chain.count == 2 and end == "cancel":
            chain.executor.cancel(2)
        elif end == "close":
            chain.executor.close()

    chain.submit = submit_and_withdraw  # type: ignore[method-assign]
    for _ in range(4):
        await asyncio.sleep(0)

    assert begun == []
    assert len(chain.outcomes) == (2 if end == "cancel" else 1)


def test_an_interrupt_in_an_answer_does_not_lose_what_was_submitted():
    """It goes on to the program; the body begins when the loop goes on."""

    async def begin() -> None:
        chain = Chain([plain, plain])
        answer = chain.executor._ledger._answer

        def interrupted(number: int, outcomes: Sequence[Outcome]) -> None:
            assert answer is not None
            answer(number, outcomes)
            if number == 1:
                raise KeyboardInterrupt

        chain.executor._ledger._answer = interrupted
        chains.append(chain)
        tasks.extend(asyncio.all_tasks() - {own_task()})
        await asyncio.sleep(GUARD_S)

    chains: list[Chain] = []
    tasks: list[asyncio.Task[Any]] = []
    with asyncio.Runner() as loop:
        with pytest.raises(KeyboardInterrupt):
            loop.run(begin())
        assert shown(loop.run(chains[0].ended())) == ["plain", "plain"]
    assert isinstance(tasks[0].exception(), KeyboardInterrupt)


@pytest.mark.usefixtures("unhurried")
@on_loop
async def test_a_task_keeps_nothing_of_the_body_before():
    """Its value may be large, and the next body may wait for long."""
    stuck = Stuck()

    class Large:
        pass

    async def gives(_: object) -> Large:
        return Large()

    chain = Chain([gives, gives, stuck])
    await stuck.begun.wait()
    large = [ref(outcome.value) for outcome in chain.outcomes]
    chain.outcomes.clear()

    assert [each() for each in large] == [None, None]
    stuck.release.set()
    await chain.ended()


@on_loop
async def test_only_the_first_that_is_submitted_goes_on_in_the_task():
    """The others begin beside it."""
    executor, done = AsyncioExecutor(), asyncio.Event()
    both = [asyncio.Event(), asyncio.Event()]
    answers: dict[int, list[Outcome]] = {}

    async def meets(index: int) -> int:
        both[index].set()
        await both[1 - index].wait()
        return index

    def answer(number: int, outcomes: Sequence[Outcome]) -> None:
        answers[number] = list(outcomes)
        if number == 1:
            for index in (0, 1):
                executor.submit(2 + index, Bundle(runnables=(runnable(meets, index),)))
        if len(answers) == 3:
            done.set()

    executor.open(answer)
    executor.submit(1, Bundle(runnables=(runnable(plain, 0),)))
    await asyncio.wait_for(done.wait(), GUARD_S)

    assert [shown(answers[number]) for number in (1, 2, 3)] == [["plain"], [0], [1]]
