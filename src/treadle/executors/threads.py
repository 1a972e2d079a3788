"""Runs bundles in threads: for functions that wait, such as calls of services and databases."""

from __future__ import annotations

import asyncio

from treadle.executors.crew import Crew
from treadle.executors.here import aexecute_here, cancelled, execute_here
from treadle.executors.ledger import Entry, Ledger
from treadle.executors.options import check_count
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome


class ThreadExecutor:
    """Runs up to `capacity` bundles at once, each in a thread; threads start as they are needed and are kept.

    A thread cannot be stopped from outside. A running bundle that is cancelled is answered at once as abandoned:
    its thread goes on until its function returns (`abandoned` says how many do), what it gives is ignored, and
    another thread may take its place. The threads are daemons, so none of them keeps the program from ending. An
    async function runs on an event loop of its own in the thread. Work that computes is better off in processes.
    """

    when_cancelled = "abandoned"

    def __init__(self, capacity: int = 64) -> None:
        check_count("ThreadExecutor(capacity=...)", capacity)
        self.capacity: int | None = capacity
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
        """Give a bundle to the next free thread."""
        self._crew.send(self._ledger.enter(number, bundle))

    def cancel(self, number: int) -> None:
        """Answer at once: withdrawn, or abandoned where it has begun."""
        cancel_in_crew(self._ledger, self._crew, number)

    def close(self) -> None:
        """Let the threads end; those that still run a function are left to it."""
        close_crew(self._ledger, self._crew)


def execute_in_thread(entry: Entry) -> list[Outcome]:
    """Run a bundle in this thread, on an event loop of its own if anything in it is async."""
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
    if ledger.settle(entry, cancelled(entry.bundle, entry.done, how)) and entry.began:
        crew.lose()


def close_crew(ledger: Ledger, crew: Crew) -> None:
    """Forget what is queued, and give up what runs."""
    for entry in ledger.close():
        if entry.began:
            crew.lose()
    crew.end()
