"""Runs bundles in any `concurrent.futures.Executor` that the program has already."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future, ProcessPoolExecutor
from typing import Any

from treadle.errors import NotPortable, PlugError, UsageError, WorkerDied
from treadle.executors.here import cancelled, cut_short
from treadle.executors.ledger import Entry, Ledger
from treadle.executors.options import check_count
from treadle.executors.portable import dump_job, outcomes_of, run_portable, text_of
from treadle.executors.threads import execute_in_thread
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome


class FuturesExecutor:
    """Runs up to `capacity` bundles at once in a `concurrent.futures.Executor`, which stays yours: it is not shut down.

    `portable`: the pool's workers share no memory with this process, so bundles are pickled; left out, it is so for a
    `ProcessPoolExecutor`. A running bundle that is cancelled is answered at once as abandoned, and goes on.

    A dead worker breaks a `ProcessPoolExecutor` for good, with all that was in it: each of those bundles fails with
    `WorkerDied`, bystanders too. `ProcessExecutor` keeps them apart.
    """

    when_cancelled = "abandoned"

    def __init__(self, pool: Any, capacity: int = 64, *, portable: bool | None = None) -> None:
        if isinstance(pool, type) or not callable(getattr(pool, "submit", None)):
            raise UsageError(
                f"FuturesExecutor(pool) takes a concurrent.futures.Executor, and was given {pool!r:.80}.",
                hint="for instance FuturesExecutor(ThreadPoolExecutor(8)).",
            )
        check_count("FuturesExecutor(capacity=...)", capacity)
        self.pool = pool
        self.capacity: int | None = capacity
        self.portable = isinstance(pool, ProcessPoolExecutor) if portable is None else portable
        self._ledger = Ledger(self)

    def __repr__(self) -> str:
        kind = type(self.pool).__name__
        return f"FuturesExecutor({kind}, capacity={self.capacity}, portable={self.portable})"

    def open(self, answer: Answer) -> None:
        """Take note of who is to be answered."""
        self._ledger.open(answer)

    def submit(self, number: int, bundle: Bundle) -> None:
        """Give a bundle to the pool."""
        entry = self._ledger.enter(number, bundle)
        try:
            if self.portable:
                future = self.pool.submit(run_portable, dump_job(bundle))
            else:
                future = self.pool.submit(self._execute, entry)
        except Exception as error:  # noqa: BLE001 - a pool of somebody else may refuse in any way
            self._fail(entry, error)
            return
        entry.place = future
        future.add_done_callback(lambda done: self._conclude(entry, done))

    def cancel(self, number: int) -> None:
        """Answer at once: withdrawn, or abandoned where it has begun."""
        entry = self._ledger.cancel(number)
        if entry is None:
            return
        is_waiting = entry.place is not None and entry.place.cancel()
        how = "withdrawn" if is_waiting or not (self.portable or entry.began) else "abandoned"
        self._ledger.settle(entry, cancelled(entry.bundle, entry.so_far, how))

    def close(self) -> None:
        """Forget what the pool has not begun; the pool itself goes on."""
        for entry in self._ledger.close():
            if entry.place is not None:
                entry.place.cancel()

    def _execute(self, entry: Entry) -> Sequence[Outcome] | None:
        """In a thread of the pool: run a bundle, unless it was withdrawn."""
        return execute_in_thread(entry) if self._ledger.begin(entry) else None

    def _conclude(self, entry: Entry, future: Future[Any]) -> None:
        """Answer with what a future gave; nothing if the bundle was cancelled."""
        try:
            result = future.result()
            if result is not None:
                outcomes = outcomes_of(entry.bundle, result) if self.portable else result
                self._ledger.settle(entry, outcomes)
        except BaseException as error:  # noqa: BLE001 - one answer, whatever happens
            self._fail(entry, error)

    def _fail(self, entry: Entry, error: BaseException) -> None:
        """Answer for a bundle of which the pool gave nothing."""
        if isinstance(error, CancelledError):  # by somebody else, or by the pool as it shut down
            outcomes = cancelled(entry.bundle, entry.so_far, "withdrawn")
        else:
            outcomes = cut_short(entry.bundle, entry.so_far, told(error))
        self._ledger.settle(entry, outcomes)


def told(error: BaseException) -> BaseException:
    """What an error of a pool means for the bundle it was given."""
    if isinstance(error, NotPortable):
        return error
    text = f"{type(error).__name__}: {text_of(error)}"
    verdict: BaseException
    if isinstance(error, BrokenExecutor):
        verdict = WorkerDied(
            f"the pool broke while it had the work ({text}).",
            hint="one dead worker takes all bundles of such a pool along; ProcessExecutor keeps them apart.",
        )
    else:
        verdict = PlugError(f"the pool did not run the work ({text}).")
    verdict.__cause__ = error
    return verdict
