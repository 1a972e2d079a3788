"""Whether an executor keeps its promises, for whoever writes one: `check_executor` tries it with real work.

Each check is a function of a `Trial`: a fresh executor that was opened in a running event loop, what it was given
and what it answered. A promise that is broken is an `AssertionError` that says which, and what was seen.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any, Final, Self, TypeAlias

from msgspec import Struct, field

from treadle.errors import Cancelled, RemoteFailure, TreadleError, UsageError
from treadle.interfaces import Executor
from treadle.model.bundles import Bundle, Link
from treadle.model.runnables import FAILED, OK, SKIPPED, Outcome, Runnable
from treadle.model.sentinels import ABSENT
from treadle.testing.executor_bodies import (
    Gate,
    adouble,
    await_at,
    combine,
    double,
    fail,
    give_lock,
    leave,
    skip,
    wait_at,
    where,
)

SETTLE_S: Final = 0.05
"""How long an executor is watched for an answer that must not come."""

SMALL: Final = 16
"""Whether a limit is kept is tried with executors of at most this capacity."""


class ExecutorReport(Struct, frozen=True, kw_only=True):
    """What `check_executor` found: the names of the checks that ran, and why others did not."""

    executor: str
    passed: tuple[str, ...]
    skipped: dict[str, str] = field(default_factory=dict)


def check_executor(
    factory: Callable[[], Executor], *, portable: bool = False, timeout_s: float = 30.0
) -> ExecutorReport:
    """Check that executors keep the promises of `interfaces.Executor`; gives what was checked.

    `factory` makes a fresh executor, not opened, each time it is called; give it a capacity of 2 or 3, so that
    limits are tried too. `portable`: bundles leave this process, so what cannot be pickled must become a failed
    outcome. `timeout_s`: how long an answer may take before it counts as lost. Errors: `AssertionError` for the
    first promise that is broken; `UsageError` within a running event loop.

    >>> from treadle.executors.inline import InlineExecutor
    >>> check_executor(InlineExecutor).skipped["capacity"]
    'it runs everything in submit'
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise UsageError(
            "check_executor runs an event loop of its own, and was called within one.",
            hint="await asyncio.to_thread(check_executor, factory).",
        )
    return asyncio.run(run_checks(factory, portable=portable, timeout_s=timeout_s))


class Skipped(Exception):
    """A check does not apply; says why."""


class Trial:
    """One fresh executor, opened; what it was given and what it answered."""

    def __init__(self, executor: Executor, timeout_s: float) -> None:
        self.executor = executor
        self.timeout_s = timeout_s
        self.gate = Gate()
        self.waiting_body: Callable[..., Any] | None = None
        """A body that can wait at the gate in this executor, once that is known."""
        self.answers: list[tuple[int, list[Outcome]]] = []
        self.answers_after_close: list[int] = []
        self.is_closed = False
        self._numbers = itertools.count(1)
        self._open: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.gate.open()
        try:
            self.executor.open(self._answer)
            self.waiting_body = await self._find_waiting_body()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if not self.is_closed:
                self.close()
        finally:
            await self.gate.close()

    def submit(self, *runnables: Runnable, links: tuple[Link, ...] = ()) -> int:
        """Give it a bundle; the number it was given under."""
        number = next(self._numbers)
        self._open.add(number)
        try:
            self.executor.submit(number, Bundle(runnables=runnables, links=links))
        except Exception as error:
            self._open.discard(number)
            raise AssertionError(
                f"submit raised {error!r}. Whatever happens to a bundle is told by `answer`."
            ) from error
        return number

    async def answer_to(self, number: int) -> list[Outcome]:
        """The answer to a bundle. Errors: `AssertionError` if it does not come."""
        try:
            async with asyncio.timeout(self.timeout_s):
                while not self._answers_to(number):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"a bundle was not answered within {self.timeout_s:g} s. Every submit is answered, once."
            ) from None
        answer: object = self._answers_to(number)[0]
        if not isinstance(answer, list) or not all(isinstance(each, Outcome) for each in answer):
            raise AssertionError(f"an answer is a list of outcomes; this is {answer!r:.200}.")
        return answer

    async def give(self, *runnables: Runnable, links: tuple[Link, ...] = ()) -> list[Outcome]:
        """Give it a bundle and wait for the answer."""
        return await self.answer_to(self.submit(*runnables, links=links))

    async def finish(self) -> None:
        """Check what holds whatever was done: nothing answered twice, nothing made up."""
        await asyncio.sleep(SETTLE_S)
        for number, _ in self.answers:
            count = len(self._answers_to(number))
            expect(
                count == 1, f"a bundle was answered {count} times. Every submit is answered once."
            )

    def cancel(self, number: int) -> None:
        """Cancel what may or may not be there."""
        try:
            self.executor.cancel(number)
        except Exception as error:
            raise AssertionError(f"cancel raised {error!r}, and it is only a request.") from error

    def close(self) -> None:
        """Close it; from now on no answer may come."""
        try:
            self.executor.close()
        except Exception as error:
            raise AssertionError(f"close raised {error!r}.") from error
        self.is_closed = True

    def free_slots(self) -> int:
        """How many more bundles the runner would give it."""
        capacity = self.executor.capacity
        return SMALL if capacity is None else capacity - len(self._open)

    def wait_runnable(self, name: str) -> Runnable:
        """A runnable that waits at the gate. Errors: `Skipped` if nothing can wait in this executor."""
        if self.waiting_body is None:
            raise Skipped("it runs everything in submit")
        return runnable(self.waiting_body, self.gate.port, name)

    async def enter(self, name: str) -> int:
        """Give it a body that waits at the gate, and see that it gets there."""
        number = self.submit(self.wait_runnable(name))
        arrived = await self.gate.until(lambda: name in self.gate.inside, self.timeout_s)
        expect(arrived, f"a submitted body did not begin within {self.timeout_s:g} s.")
        return number

    async def let_pass(self, name: str, number: int) -> list[Outcome]:
        """Let a body at the gate go on, when it is there, and wait for the answer to its bundle."""
        arrived = await self.gate.until(lambda: name in self.gate.inside, self.timeout_s)
        expect(arrived, f"a submitted body did not begin within {self.timeout_s:g} s.")
        self.gate.let_pass(name)
        await self.gate.until(lambda: name not in self.gate.inside, self.timeout_s)
        return await self.answer_to(number)

    async def _find_waiting_body(self) -> Callable[..., Any] | None:
        place = (await self.give(runnable(where, None)))[0].value
        if place != (os.getpid(), self._thread):
            return wait_at
        is_awaited = (await self.give(runnable(adouble, 1)))[0].status == OK
        return await_at if is_awaited else None

    def _answer(self, number: int, outcomes: Any) -> None:
        """Hear an answer, in whatever thread it is given."""
        if self.is_closed:
            self.answers_after_close.append(number)
        elif threading.get_ident() == self._thread:
            self._note(number, outcomes)
        else:
            self._loop.call_soon_threadsafe(self._note, number, outcomes)

    def _note(self, number: int, outcomes: list[Outcome]) -> None:
        self.answers.append((number, outcomes))
        self._open.discard(number)
        self._changed.set()

    def _answers_to(self, number: int) -> list[list[Outcome]]:
        return [outcomes for answered, outcomes in self.answers if answered == number]


Check: TypeAlias = Callable[[Trial], Awaitable[None]]


async def run_checks(
    factory: Callable[[], Executor], *, portable: bool, timeout_s: float
) -> ExecutorReport:
    """Run each check on an executor of its own."""
    shown, passed = "", []
    skipped: dict[str, str] = {}
    for name, check in CHECKS.items():
        if check in TRAVEL and not portable:
            skipped[name] = "its work does not leave this process"
            continue
        executor = factory()
        shown = repr(executor)
        try:
            expect_plug(executor)
            async with Trial(executor, timeout_s) as trial:
                await check(trial)
                await trial.finish()
        except Skipped as reason:
            skipped[name] = str(reason)
        except AssertionError as broken:
            raise AssertionError(f"{shown} breaks the promise {name!r}: {broken}") from broken
        else:
            passed.append(name)
    return ExecutorReport(executor=shown, passed=tuple(passed), skipped=skipped)


def expect(holds: bool, text: str) -> None:  # noqa: FBT001 - reads like assert, and stays under -O
    """Say what is wrong, if it is."""
    if not holds:
        raise AssertionError(text)


def expect_plug(executor: Executor) -> None:
    """It has what the runner asks for before it opens it."""
    expect(
        isinstance(executor, Executor),
        "an executor has `capacity`, `when_cancelled`, open, submit, cancel and close.",
    )
    capacity: object = executor.capacity
    expect(
        capacity is None or (isinstance(capacity, int) and capacity >= 1),
        f"`capacity` is a number of at least 1, or None for no limit; this is {capacity!r}.",
    )
    how = executor.when_cancelled
    expect(
        how in {"stopped", "abandoned"},
        f"`when_cancelled` is 'stopped' or 'abandoned'; this is {how!r}.",
    )


def runnable(
    call: Callable[..., Any],
    *args: Any,
    injected: Mapping[str, Any] | None = None,
    item: int = 0,
) -> Runnable:
    """A runnable as a workflow would prepare it."""
    name = getattr(call, "__name__", "body")
    return Runnable(
        component=name,
        node=f"{name}/step",
        scope=(7, item),
        call=call,
        args=args,
        injected=None if injected is None else dict(injected),
        is_async=iscoroutinefunction(call),
        generation=2,
        attempt=3,
        run_key="check",
        branch=((1, 2),),
        position=5,
        read_at=4,
    )


def link(call: Callable[..., Any]) -> Link:
    """The next step of a chain."""
    name = f"after_{call.__name__}"
    is_async = iscoroutinefunction(call)
    return Link(component=name, node=f"{name}/step", call=call, is_async=is_async)


def expect_outcomes(outcomes: list[Outcome], *expected: tuple[str, Any]) -> None:
    """The answer has these (status, value) and no others; the value of a failure is not compared."""
    seen = [(each.status, None if each.status == FAILED else each.value) for each in outcomes]
    errors = "".join(f" It failed with {each.error}." for each in outcomes if each.error)
    expect(
        seen == list(expected),
        f"the outcomes were {seen} where {list(expected)} were expected.{errors} There is one for each runnable "
        "of a bundle, in its order, and one for each link of a chain as far as it came.",
    )


def expect_cancelled(outcomes: list[Outcome], *hows: str) -> str:
    """The answer says that the body was cancelled, and how; gives how."""
    expect_outcomes(outcomes, (FAILED, None))
    error = outcomes[0].exception
    expect(
        isinstance(error, Cancelled),
        f"a cancelled bundle fails with errors.Cancelled; this failed with {error!r}.",
    )
    how = error.how if isinstance(error, Cancelled) else ""
    expect(how in hows, f"Cancelled.how was {how!r} where one of {hows} was expected.")
    return how


# ------------------------------------------------------------------------------------ the checks


async def check_answers(trial: Trial) -> None:
    """Each bundle is answered under its own number, with an outcome of its own runnable."""
    pending: dict[int, Runnable] = {}
    for item in range(20):
        given = runnable(double, item, item=item)
        if trial.free_slots() < 1:
            number, one = pending.popitem()
            expect_answer(one, await trial.answer_to(number))
        pending[trial.submit(given)] = given
    for number, one in pending.items():
        expect_answer(one, await trial.answer_to(number))


def expect_answer(given: Runnable, outcomes: list[Outcome]) -> None:
    """The outcome of `double` is of the runnable that was given, and says how long it took."""
    expect_outcomes(outcomes, (OK, given.args[0] * 2))
    for name in (
        "component", "node", "scope", "generation", "attempt", "run_key", "branch", "position", "read_at",
    ):  # fmt: skip
        seen, was = getattr(outcomes[0], name), getattr(given, name)
        expect(seen == was, f"the outcome's `{name}` is {seen!r}, and its runnable's is {was!r}.")
    seconds = outcomes[0].seconds
    expect(
        isinstance(seconds, float) and seconds >= 0,
        f"`seconds` says how long the function took; this is {seconds!r}.",
    )


async def check_arguments(trial: Trial) -> None:
    """A function gets its values by port, and injected ones by name."""
    outcomes = await trial.give(runnable(combine, 1, None, injected={"third": (3,)}))
    expect_outcomes(outcomes, (OK, (1, None, (3,))))


async def check_failures(trial: Trial) -> None:
    """A failure is data, with the exception where it can be had; an exit is a failure too."""
    for body, kind, text in ((fail, "ValueError", "no 7"), (leave, "SystemExit", "7")):
        outcomes = await trial.give(runnable(body, 7))
        expect_outcomes(outcomes, (FAILED, None))
        error, live = outcomes[0].error, outcomes[0].exception
        expect(
            error is not None and (error.name, error.text) == (kind, text),
            f"the failure's data is {error!r:.200}, and {kind}: {text} was raised.",
        )
        expect(
            type(live).__name__ == kind or isinstance(live, RemoteFailure),
            f"the failure's exception is {live!r}; it is the one that was raised, or a RemoteFailure.",
        )


async def check_parallel(trial: Trial) -> None:
    """The runnables of a bundle fail each for itself, and are answered in their order."""
    bodies = (double, fail, double, skip, leave, double)
    outcomes = await trial.give(
        *[runnable(body, item, item=item) for item, body in enumerate(bodies)]
    )
    expect_outcomes(
        outcomes,
        (OK, 0), (FAILED, None), (OK, 4), (SKIPPED, ABSENT), (FAILED, None), (OK, 10),
    )  # fmt: skip
    expect(
        [each.scope for each in outcomes] == [(7, item) for item in range(len(bodies))],
        "the outcomes of a parallel bundle are in the order of its runnables.",
    )


async def check_chain(trial: Trial) -> None:
    """A chain passes each value on, and stops where there is none."""
    outcomes = await trial.give(runnable(double, 1), links=(link(double), link(double)))
    expect_outcomes(outcomes, (OK, 2), (OK, 4), (OK, 8))
    expect(
        [each.node for each in outcomes]
        == ["double/step", "after_double/step", "after_double/step"],
        "each outcome of a chain is of its own link.",
    )
    outcomes = await trial.give(runnable(double, 1), links=(link(fail), link(double)))
    expect_outcomes(outcomes, (OK, 2), (FAILED, None))
    expect_outcomes(await trial.give(runnable(fail, 1), links=(link(double),)), (FAILED, None))
    outcomes = await trial.give(runnable(skip, 1), links=(link(double),))
    expect_outcomes(outcomes, (SKIPPED, ABSENT))


async def check_async(trial: Trial) -> None:
    """An async function is awaited, or fails in words."""
    outcomes = await trial.give(runnable(adouble, 4))
    if outcomes[0].status == OK:
        expect_outcomes(outcomes, (OK, 8))
        return
    expect_outcomes(outcomes, (FAILED, None))
    expect(
        isinstance(outcomes[0].exception, TreadleError),
        "where nothing can be awaited, an async function fails with an error that says so.",
    )


async def check_unportable(trial: Trial) -> None:
    """What cannot be pickled fails its bundle, or its own runnable where it is a result; the executor goes on."""
    lock = threading.Lock()
    expect_outcomes(await trial.give(runnable(double, [lock])), (FAILED, None))
    expect_outcomes(await trial.give(runnable(lock.acquire)), (FAILED, None))
    outcomes = await trial.give(
        runnable(double, 1), runnable(give_lock, 2, item=1), runnable(double, 3, item=2)
    )
    expect_outcomes(outcomes, (OK, 2), (FAILED, None), (OK, 6))
    expect(
        outcomes[1].error is not None and "lock" in outcomes[1].error.text,
        "the failure of a result that cannot be brought back names what cannot.",
    )


async def check_capacity(trial: Trial) -> None:
    """No more bundles run at once than its capacity, however many it was given."""
    capacity = trial.executor.capacity
    if trial.waiting_body is None:
        raise Skipped("it runs everything in submit")
    if capacity is None or capacity > SMALL:
        raise Skipped(f"its capacity is {capacity}: make it {SMALL} or less")
    numbers = {name: trial.submit(trial.wait_runnable(name)) for name in map(str, range(capacity))}
    try:
        numbers["one more"] = trial.submit(trial.wait_runnable("one more"))
    except AssertionError as refused:  # more than its capacity: it may also refuse
        expect(isinstance(refused.__cause__, UsageError), str(refused))
    while numbers:
        arrived = await trial.gate.until(lambda: bool(trial.gate.inside), trial.timeout_s)
        expect(arrived, "bundles were submitted and none of them began.")
        await trial.gate.until(lambda: trial.gate.most > capacity, SETTLE_S)
        most = trial.gate.most
        expect(most <= capacity, f"{most} bundles ran at once, and its capacity is {capacity}.")
        name = next(iter(trial.gate.inside))
        expect_outcomes(await trial.let_pass(name, numbers.pop(name)), (OK, name))


async def check_cancel_queued(trial: Trial) -> None:
    """A bundle that has not begun is withdrawn, and does not begin any more."""
    capacity = trial.executor.capacity
    held: dict[str, int] = {}
    trial.wait_runnable("")
    if capacity is not None and capacity <= SMALL:
        held = {
            f"held {n}": trial.submit(trial.wait_runnable(f"held {n}")) for n in range(capacity - 1)
        }
        await trial.gate.until(lambda: len(trial.gate.inside) == len(held), SETTLE_S * 4)
    number = trial.submit(trial.wait_runnable("cancelled"))
    trial.cancel(number)
    answer = await trial.answer_to(number)
    how = expect_cancelled(answer, "withdrawn", trial.executor.when_cancelled)
    for name, other in held.items():
        expect_outcomes(await trial.let_pass(name, other), (OK, name))
    began = "cancelled" in trial.gate.seen
    expect(not (how == "withdrawn" and began), "a bundle that was answered as withdrawn has run.")


async def check_cancel_running(trial: Trial) -> None:
    """A running body is answered as stopped, and then it has ended; or as abandoned, and is not heard again."""
    number = await trial.enter("running")
    trial.cancel(number)
    how = trial.executor.when_cancelled
    expect_cancelled(await trial.answer_to(number), how)
    if how == "abandoned":
        trial.gate.let_pass("running")
    has_left = await trial.gate.until(lambda: not trial.gate.inside, trial.timeout_s)
    expect(has_left, "a body was answered as stopped and goes on.")
    expect_outcomes(await trial.give(runnable(double, 1)), (OK, 2))


async def check_cancel_unknown(trial: Trial) -> None:
    """Numbers that it never had, or has answered, are ignored."""
    trial.cancel(999_999)
    number = trial.submit(runnable(double, 1))
    expect_outcomes(await trial.answer_to(number), (OK, 2))
    trial.cancel(number)
    expect_outcomes(await trial.give(runnable(double, 2)), (OK, 4))


async def check_close(trial: Trial) -> None:
    """After close nothing is answered any more, whatever still runs."""
    await trial.enter("running")
    if trial.free_slots() > 0:
        trial.submit(trial.wait_runnable("next"))
    trial.close()
    trial.gate.let_all_pass()
    await trial.gate.until(lambda: not trial.gate.inside, trial.timeout_s)
    await asyncio.sleep(SETTLE_S)
    expect(not trial.answers_after_close, "it gave an answer after it was closed.")


CHECKS: Final[Mapping[str, Check]] = {
    "answers": check_answers,
    "arguments": check_arguments,
    "failures": check_failures,
    "parallel": check_parallel,
    "chain": check_chain,
    "async": check_async,
    "unportable": check_unportable,
    "capacity": check_capacity,
    "cancel queued": check_cancel_queued,
    "cancel running": check_cancel_running,
    "cancel unknown": check_cancel_unknown,
    "close": check_close,
}

TRAVEL: Final = frozenset({check_unportable})
"""What is asked only of executors whose work leaves this process."""
