"""Runs bundles as tasks of the event loop that the runner lives on."""

from __future__ import annotations

import asyncio
from time import perf_counter

from treadle.engine.execute import aexecute_runnable, aexecute_timed, failed_outcome
from treadle.engine.jobs import timed
from treadle.errors import UsageError
from treadle.executors.here import cancellation, cancelled, turns
from treadle.executors.ledger import Entry, Ledger
from treadle.executors.options import check_count, check_seconds
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome, Runnable


class AsyncioExecutor:
    """Runs up to `capacity` bundles at once on the running event loop: one task each, side by side within a bundle.

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
        """Start a task for a bundle."""
        entry = self._ledger.enter(number, bundle)
        assert self._loop is not None, "whoever entered has found the executor open"
        if len(bundle.runnables) > 1:
            run = self._several(entry)
        else:
            run = self._run(entry) if bundle.links else self._run_alone(entry)
        entry.place = self._loop.create_task(run)

    def cancel(self, number: int) -> None:
        """Withdraw a task that has not begun; else cancel it, and answer when it has ended or the grace is over."""
        entry = self._ledger.cancel(number)
        if entry is None or self._loop is None:
            return
        entry.place.cancel()
        if not entry.began:
            self._ledger.settle(entry, cancelled(entry.bundle, [], "withdrawn"))
            return
        give_up = self._loop.call_later(self.grace_s, self._give_up, entry)
        entry.place.add_done_callback(lambda _: give_up.cancel())

    def close(self) -> None:
        """Cancel all tasks, unanswered. They end as the loop goes on."""
        for entry in self._ledger.close():
            entry.place.cancel()

    async def _run_alone(self, entry: Entry) -> None:
        """Run a bundle of one runnable: as `_run` does, in as few steps as can be."""
        entry.began = True
        runnable = entry.bundle.runnables[0]
        try:
            outcome = await aexecute_timed(runnable, perf_counter)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if entry.is_cancelled or (task is not None and task.cancelling()):
                self._ledger.settle(entry, cancelled(entry.bundle, [], "stopped"))
                raise
            outcome = failed_outcome(runnable, error)
        except (KeyboardInterrupt, GeneratorExit):
            self._ledger.settle(entry, cancelled(entry.bundle, [], "stopped"))
            raise
        except BaseException as error:  # noqa: BLE001 - a user may derive from it directly
            outcome = failed_outcome(runnable, error)
        if entry.is_cancelled:  # what it gave after that is not an answer to anybody
            self._ledger.settle(entry, cancelled(entry.bundle, [], "stopped"))
        else:
            self._ledger.settle_here(entry, [outcome])

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
