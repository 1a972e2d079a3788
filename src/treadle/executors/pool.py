"""A bounded pool whose workers ask for work: what is handed out ahead of them is limited, and seen."""

from __future__ import annotations

from treadle.executors.crew import Crew
from treadle.executors.ledger import Ledger
from treadle.executors.options import check_count
from treadle.executors.threads import (
    MAX_LEAKED,
    cancel_in_crew,
    close_crew,
    execute_in_thread,
    refuse_leaking,
)
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle


class DemandPool:
    """`workers` threads, each taking one bundle when it wants one, from a buffer of at most `buffer` bundles.

    At most `workers` bodies run at once, while the next bundles lie ready, so a worker never waits for the runner.
    What does not fit is refused: the runner holds it back, and can still prefer something more urgent. Whatever a
    body raises fails its own bundle, and the worker goes on. A cancelled body is abandoned, as in `ThreadExecutor`,
    and `max_leaked` is the same as there.
    """

    when_cancelled = "abandoned"

    def __init__(
        self, workers: int = 8, buffer: int = 16, *, max_leaked: int | None = MAX_LEAKED
    ) -> None:
        check_count("DemandPool(workers=...)", workers)
        if max_leaked is not None:
            check_count("DemandPool(max_leaked=...)", max_leaked)
        if buffer != 0:
            check_count("DemandPool(buffer=...)", buffer)
        self.workers = workers
        self.buffer = buffer
        self.max_leaked = max_leaked
        self.capacity: int | None = workers + buffer
        self._ledger = Ledger(self, limit=workers + buffer)
        self._crew = Crew(self._ledger, workers, "treadle-demand", execute_in_thread)

    def __repr__(self) -> str:
        return f"DemandPool(workers={self.workers}, buffer={self.buffer})"

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
        """Put a bundle into the buffer, or fail it as `ThreadExecutor` does. Errors: `UsageError` if it is full."""
        entry = self._ledger.enter(number, bundle)
        abandoned = self._crew.abandoned
        if abandoned and self.max_leaked is not None and abandoned >= self.max_leaked:
            refuse_leaking(self._ledger, entry, abandoned)
        else:
            self._crew.send(entry)

    def cancel(self, number: int) -> None:
        """Answer at once: withdrawn from the buffer, or abandoned where it has begun."""
        cancel_in_crew(self._ledger, self._crew, number)

    def close(self) -> None:
        """Empty the buffer and let the threads end; those that still run a function are left to it."""
        close_crew(self._ledger, self._crew)
