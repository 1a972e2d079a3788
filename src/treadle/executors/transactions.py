"""Runs steps that ask for `td.transaction()`: what they write and what they gave are committed together, or not at all.

The store keeps what each such step gave, in the transaction in which the step wrote. Whoever executes it again, after a
crash or a take-over, finds that and does not call the function: for this database it takes effect exactly once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import perf_counter

from msgspec import structs

from treadle.engine.execute import execute_runnable, failed_outcome, outcome_of
from treadle.engine.jobs import timed
from treadle.errors import EncodeError
from treadle.executors.crew import Crew
from treadle.executors.ledger import Entry, Ledger
from treadle.executors.threads import cancel_in_crew, close_crew
from treadle.interfaces import Answer, Transactions
from treadle.model.bundles import Bundle
from treadle.model.markers import NoTransaction
from treadle.model.runnables import FAILED, Outcome, Runnable


class TransactionExecutor:
    """Runs each step in a transaction of the runner's store, in a thread; as many at once as the store allows."""

    when_cancelled = "abandoned"

    def __init__(self, store: Transactions) -> None:
        self._store = store
        self.capacity: int | None = store.transactions_at_once
        self._ledger = Ledger(self)
        self.fence_of: Callable[[int], tuple[str, int] | None] = lambda _: None
        """By the number of a bundle: of which run it is, and under which epoch of its claim it may commit."""
        self._crew = Crew(self._ledger, self.capacity or 64, "treadle-transaction", self._execute)

    def __repr__(self) -> str:
        return f"TransactionExecutor({self._store!r})"

    def open(self, answer: Answer) -> None:
        """Take note of who is to be answered."""
        self._ledger.open(answer)

    def submit(self, number: int, bundle: Bundle) -> None:
        """Give a bundle to the next free thread."""
        entry = self._ledger.enter(number, bundle)
        entry.place = self.fence_of(number)
        self._crew.send(entry)

    def cancel(self, number: int) -> None:
        """Answer at once: withdrawn, or abandoned where it has begun."""
        cancel_in_crew(self._ledger, self._crew, number)

    def close(self) -> None:
        """Let the threads end; those that still run a function are left to it."""
        close_crew(self._ledger, self._crew)

    def _execute(self, entry: Entry) -> list[Outcome]:
        for runnable in entry.bundle.runnables:
            begin = perf_counter()
            try:
                outcome = self._execute_one(runnable, entry.place)
            except BaseException as error:  # noqa: BLE001 - the store's own: nothing was committed
                outcome = failed_outcome(runnable, error)
            entry.done.append(timed(outcome, perf_counter() - begin))
        return entry.done

    def _execute_one(self, runnable: Runnable, fence: tuple[str, int] | None) -> Outcome:
        outcome: Outcome | None = None
        with (
            suppress(_RollBack),
            self._store.transaction(
                runnable.idempotency_key, runnable.run_key or "", fence
            ) as transaction,
        ):
            if transaction.has_result:
                return outcome_of(runnable, transaction.result)
            outcome = execute_runnable(with_transaction(runnable, transaction))
            if outcome.status == FAILED:
                raise _RollBack
            try:
                transaction.keep(outcome.value)
            except EncodeError as error:
                outcome = failed_outcome(runnable, error)
                raise _RollBack from error
        assert outcome is not None
        return outcome


class _RollBack(Exception):
    """The step failed: what it wrote is not to stay."""


def with_transaction(runnable: Runnable, transaction: object) -> Runnable:
    """The runnable with the transaction in the place of its marker."""
    given = {
        name: transaction if type(value) is NoTransaction else value
        for name, value in (runnable.injected or {}).items()
    }
    return structs.replace(runnable, injected=given)
