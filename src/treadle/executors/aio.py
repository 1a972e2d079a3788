"""Runs bundles as tasks of the event loop that the runner lives on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from sys import getrefcount
from time import perf_counter
from types import coroutine
from typing import Any, Final
from weakref import getweakrefcount

from treadle.engine.execute import aexecute_runnable, aexecute_timed, failed_outcome
from treadle.engine.jobs import timed
from treadle.errors import UsageError
from treadle.executors.here import cancellation, cancelled, turns
from treadle.executors.ledger import Entry, Ledger
from treadle.executors.options import check_count, check_seconds
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome, Runnable

TURN_S: Final = 0.001
"""How long a task goes on with one body after the other: bodies that never wait let others have their turn by then."""


class AsyncioExecutor:
    """Runs up to `capacity` bundles at once on the running event loop: each in a task, side by side within a bundle.

    A body that is submitted by the answer of another one may go on in its task, if nobody can tell: it has a context
    of its own, and a task that a body has left a trace on is not used again.

    Plain functions are called on the loop, and hold everything up while they run. A cancelled body gets a
    `CancelledError`; one that has not ended `grace_s` seconds later is answered as abandoned and counted
    (`abandoned`). Whatever a body still gives after it was cancelled is ignored. A `CancelledError` that nobody asked
    for is a failure of the body. A Ctrl-C in a body answers its bundle as cancelled and goes on to the program.
    """

    when_cancelled = "stopped"

    def __init__(self, capacity: int = 10_000, *, grace_s: float = 5.0) -> None:
        check_count("AsyncioExecutor(capacity=...)", capacity)
        check_seconds("AsyncioExecutor(grace_s=...)", grace_s)
        self.capacity: int | None = capacity
        self.grace_s = grace_s
        self.abandoned = 0
        """How many tasks still run a body that was given up."""
        self.late = 0
        """How many bodies ended after they had been given up."""
        self._ledger = Ledger(self, limit=capacity)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parts: dict[int, dict[int, Outcome]] = {}
        """What is done of each parallel bundle that runs."""
        self._handed: list[Entry] | None = None
        """While a task answers: what it may go on with."""

    def __repr__(self) -> str:
        return f"AsyncioExecutor(capacity={self.capacity}, grace_s={self.grace_s:g})"

    def open(self, answer: Answer) -> None:
        """Take the running event loop. Errors: `UsageError` if there is none."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError(
                f"{self!r} was opened where no event loop runs.",
                hint="open it in a coroutine, or use ThreadExecutor, which runs async functions too.",
            ) from None
        self._ledger.open(answer)
        self._loop = loop

    def submit(self, number: int, bundle: Bundle) -> None:
        """Start a task for a bundle, or hand it to the one that just answers."""
        entry = self._ledger.enter_here(number, bundle)
        assert self._loop is not None, "whoever entered has found the executor open"
        if len(bundle.runnables) > 1:
            entry.place = self._loop.create_task(self._several(entry))
        elif bundle.links:
            entry.place = self._loop.create_task(self._run(entry))
        elif self._handed is not None and not self._handed:
            entry.context = copy_context()
            self._handed.append(entry)
        else:
            entry.place = self._loop.create_task(self._run_alone(entry))

    def cancel(self, number: int) -> None:
        """Withdraw a task that has not begun; else cancel it, and answer when it has ended or the grace is over."""
        entry = self._ledger.cancel(number)
        if entry is None or self._loop is None:
            return
        task: asyncio.Task[None] | None = entry.place
        if task is not None:
            task.cancel()
        if task is None or not entry.began:
            self._ledger.settle(entry, cancelled(entry.bundle, [], "withdrawn"))
            return
        give_up = self._loop.call_later(self.grace_s, self._give_up, entry)
        task.add_done_callback(lambda _: give_up.cancel())

    def close(self) -> None:
        """Cancel all tasks, unanswered. They end as the loop goes on."""
        for entry in self._ledger.close():
            if entry.place is not None:
                entry.place.cancel()

    async def _run_alone(self, entry: Entry) -> None:
        """Run a bundle of one runnable, then the one that its answer led to, and so on, for a moment."""
        task = entry.place = asyncio.current_task()
        traces, begin = traces_on(task), perf_counter()
        ends_at = begin + TURN_S
        following: Entry | None = entry
        while following is not None:
            entry, following = following, None
            entry.began, entry.place = True, task
            body = aexecute_timed(entry.bundle.runnables[0], perf_counter, begin)
            try:
                if entry.context is None:
                    outcome = await body
                else:
                    try:
                        rest = rest_of(body, entry.context, entry.context.run(body.send, None))
                    except StopIteration as end:
                        outcome = end.value
                    else:
                        outcome = await rest
            except asyncio.CancelledError as error:
                if entry.is_cancelled or (task is not None and task.cancelling()):
                    self._ledger.settle(entry, cancelled(entry.bundle, [], "stopped"))
                    raise
                outcome = failed_outcome(entry.bundle.runnables[0], error)
            except (KeyboardInterrupt, GeneratorExit):
                self._ledger.settle(entry, cancelled(entry.bundle, [], "stopped"))
                raise
            except BaseException as error:  # noqa: BLE001 - a user may derive from it directly
                outcome = failed_outcome(entry.bundle.runnables[0], error)
            if entry.is_cancelled:  # what it gave after that is not an answer to anybody
                self._ledger.settle(entry, cancelled(entry.bundle, [], "stopped"))
                return
            following = self._settle(entry, [outcome])
            del body, outcome  # they would be kept for as long as the next body waits
            begin = perf_counter()
            if following is not None and (begin > ends_at or traces_on(task) != traces):
                self._start(following)
                return

    def _settle(self, entry: Entry, outcomes: list[Outcome]) -> Entry | None:
        """Answer; what was submitted by that, and is to be begun now."""
        handed: list[Entry] = []
        outer, self._handed = self._handed, handed
        try:
            self._ledger.settle_here(entry, outcomes)
        except BaseException:
            for each in handed:
                self._start(each)
            raise
        finally:
            self._handed = outer
        if not handed or handed[0].is_cancelled or self._ledger.is_closed:
            return None
        return handed[0]

    def _start(self, entry: Entry) -> None:
        """Give what was handed over a task of its own after all."""
        if self._loop is not None and self._ledger.is_open(entry):
            context, entry.context = entry.context, None
            entry.place = context.run(self._loop.create_task, self._run_alone(entry))

    async def _run(self, entry: Entry) -> None:
        """Run a bundle of one runnable, and of what follows it in sequence."""
        entry.began = True
        bundle, done = entry.bundle, entry.done
        try:
            for runnable in turns(bundle, done) if bundle.links else bundle.runnables:
                outcome = await self._one(entry, runnable)
                if entry.is_cancelled:  # what it gave after that is not an answer to anybody
                    break
                done.append(outcome)
        except BaseException:
            self._ledger.settle(entry, cancelled(bundle, done, "stopped"))
            raise
        self._ledger.settle(
            entry, cancelled(bundle, done, "stopped") if entry.is_cancelled else done
        )

    async def _several(self, entry: Entry) -> None:
        """Run several independent runnables side by side."""
        entry.began = True
        parts = self._parts[entry.number] = {}

        async def run_part(index: int, runnable: Runnable) -> None:
            outcome = await self._one(entry, runnable)
            if not entry.is_cancelled:
                parts[index] = outcome

        runnables = entry.bundle.runnables
        try:
            await asyncio.gather(*[run_part(index, each) for index, each in enumerate(runnables)])
        finally:
            self._ledger.settle(entry, filled(entry.bundle, parts, "stopped"))
            del self._parts[entry.number]

    async def _one(self, entry: Entry, runnable: Runnable) -> Outcome:
        """Execute a runnable; a cancellation of its task, and an interrupt of the program, are not its failures."""
        begin = perf_counter()
        try:
            outcome = await aexecute_runnable(runnable)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if entry.is_cancelled or (task is not None and task.cancelling()):
                raise
            outcome = failed_outcome(runnable, error)
        except BaseException as error:  # noqa: BLE001 - a user may derive from it directly
            outcome = failed_outcome(runnable, error)
        return timed(outcome, perf_counter() - begin)

    def _give_up(self, entry: Entry) -> None:
        """Answer for a body that does not end, and count its task until it does."""
        if entry.place.done():  # at the very moment when its time was up
            return
        parts = self._parts.get(entry.number)
        if parts is not None:
            outcomes = filled(entry.bundle, parts, "abandoned")
        else:
            outcomes = cancelled(entry.bundle, entry.done, "abandoned")
        self.abandoned += 1
        entry.place.add_done_callback(self._is_back)
        self._ledger.settle(entry, outcomes)

    def _is_back(self, _: asyncio.Task[None]) -> None:
        self.abandoned -= 1
        self.late += 1


def filled(bundle: Bundle, parts: dict[int, Outcome], how: str) -> list[Outcome]:
    """The outcomes of a parallel bundle: those that are there, and a cancellation for each of the others."""
    error = cancellation(bundle, how)
    return [
        parts[index] if index in parts else failed_outcome(runnable, error)
        for index, runnable in enumerate(bundle.runnables)
    ]


def traces_on(task: asyncio.Task[Any] | None) -> tuple[Any, ...]:
    """All by which the next body could tell that the one before it had the same task: who knows it, what is set on it.

    A body may keep its task as a key, cancel it later, name it, or ask to be told of its end. It then stays this
    body's own.
    """
    if type(task) is not asyncio.Task:  # one of a kind that may be told by more than this
        return (object(),)
    return (
        getrefcount(task),
        getweakrefcount(task),
        task.cancelling(),
        task.get_name(),
        task._must_cancel,  # type: ignore[attr-defined]  # noqa: SLF001 - nothing public tells
        task._callbacks,  # noqa: SLF001
    )


@coroutine
def rest_of(
    body: Coroutine[Any, Any, Outcome], context: Context, waits_for: Any
) -> Generator[Any, Any, Outcome]:
    """Await a body that was begun, in a context of its own: none of its variables are seen in the task it borrows."""
    value: Any = None
    error: BaseException | None = None
    try:
        while True:
            try:
                value = yield waits_for
            except BaseException as thrown:  # noqa: BLE001 - it is the body's
                error = thrown
                if thrown.__traceback__ is not None:  # this frame says nothing to anybody
                    thrown.__traceback__ = thrown.__traceback__.tb_next
            waits_for = None
            if error is None:
                waits_for = context.run(body.send, value)
            else:
                waits_for = context.run(body.throw, error)
                error = None
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    finally:
        del error  # its traceback leads to this frame
