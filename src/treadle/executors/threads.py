"""Runs bundles in threads: for functions that wait, such as calls of services and databases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from treadle.engine.execute import execute_cohort
from treadle.errors import PlugError
from treadle.executors.crew import Crew
from treadle.executors.here import aexecute_here, cancelled, cut_short, execute_here
from treadle.executors.ledger import Entry, Ledger
from treadle.executors.options import check_count
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle
from treadle.model.cohorts import Cohort, CohortOutcomes
from treadle.model.runnables import Outcome

MAX_LEAKED = 100
"""So many threads may be stuck in functions that were given up: by then it is no accident any more."""


class ThreadExecutor:
    """Runs up to `capacity` bundles at once, each in a thread; threads start as they are needed and are kept.

    A thread cannot be stopped from outside. A running bundle that is cancelled is answered at once as abandoned:
    its thread goes on until its function returns (`abandoned` says how many do), what it gives is ignored, and
    another thread may take its place. The threads are daemons, so none of them keeps the program from ending. An
    async function runs on an event loop of its own in the thread. Work that computes is better off in processes.

    `max_leaked`: with so many threads abandoned, further bundles fail at once, with a `PlugError`, until some of the
    threads have come back; None: never. What was taken before that is done.
    """

    when_cancelled = "abandoned"

    def __init__(self, capacity: int = 64, *, max_leaked: int | None = MAX_LEAKED) -> None:
        check_count("ThreadExecutor(capacity=...)", capacity)
        if max_leaked is not None:
            check_count("ThreadExecutor(max_leaked=...)", max_leaked)
        self.capacity: int | None = capacity
        self.max_leaked = max_leaked
        self._ledger = Ledger(self)
        self._crew = Crew(self._ledger, capacity, "treadle-thread", execute_in_thread)

    def __repr__(self) -> str:
        return f"ThreadExecutor(capacity={self.capacity})"

    @property
    def abandoned(self) -> int:
        """How many threads still run a function that was given up."""
        return self._crew.abandoned

    @property
    def late(self) -> int:
        """How many functions ended after they had been given up; what they gave was ignored."""
        return self._crew.late

    def open(self, answer: Answer) -> None:
        """Take note of who is to be answered."""
        self._ledger.open(answer)

    def submit(self, number: int, bundle: Bundle) -> None:
        """Give a bundle to the next free thread; or fail it, if too many threads never came back."""
        entry = self._ledger.enter(number, bundle)
        abandoned = self._crew.abandoned
        if abandoned and self.max_leaked is not None and abandoned >= self.max_leaked:
            refuse_leaking(self._ledger, entry, abandoned)
        else:
            self._crew.send(entry)

    def cancel(self, number: int) -> None:
        """Answer at once: withdrawn, or abandoned where it has begun."""
        cancel_in_crew(self._ledger, self._crew, number)

    def close(self) -> None:
        """Let the threads end; those that still run a function are left to it."""
        close_crew(self._ledger, self._crew)


def execute_in_thread(entry: Entry) -> Sequence[Outcome]:
    """Run a bundle in this thread, on an event loop of its own if anything in it is async."""
    if isinstance(entry.bundle.runnables, Cohort):
        done = entry.in_cohort = CohortOutcomes(entry.bundle.runnables)
        execute_cohort(done, perf_counter, BaseException)
        return done
    if entry.bundle.is_async:
        asyncio.run(aexecute_here(entry.bundle, entry.done))
    else:
        execute_here(entry.bundle, entry.done)
    return entry.done


def cancel_in_crew(ledger: Ledger, crew: Crew, number: int) -> None:
    """Answer what a crew has queued as withdrawn and what it runs as abandoned."""
    entry = ledger.cancel(number)
    if entry is None:
        return
    how = "abandoned" if entry.began else "withdrawn"
    if ledger.settle(entry, cancelled(entry.bundle, entry.so_far, how)) and entry.began:
        crew.lose()


def close_crew(ledger: Ledger, crew: Crew) -> None:
    """Forget what is queued, and give up what runs."""
    for entry in ledger.close():
        if entry.began:
            crew.lose()
    crew.end()


def refuse_leaking(ledger: Ledger, entry: Entry, count: int) -> None:
    """Fail a bundle without executing it: one more thread would only be lost as well."""
    names = ", ".join(dict.fromkeys(repr(each.component) for each in entry.bundle.runnables))
    error = PlugError(
        f"{names} was not begun: {count} threads of {ledger.owner!r} still run functions that were given up,"
        " and it takes nothing until some of them return.",
        hint='give what may hang a time limit of its own, or processes, which can be killed: executor="processes".',
    )
    ledger.settle(entry, cut_short(entry.bundle, [], error))
