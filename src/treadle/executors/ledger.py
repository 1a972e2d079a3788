"""Which bundles an executor still owes an answer for: each is answered exactly once, whoever comes first.

A body that ends, a cancellation and a closing executor may meet in any order and in different threads. They all
come here, and the first one takes the entry out; the others are told that they are late.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Condition, Lock, get_ident
from typing import Any

from msgspec import Struct

from treadle.errors import UsageError
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle
from treadle.model.cohorts import CohortOutcomes
from treadle.model.runnables import Outcome

CLOSE_WAIT_S = 1.0
"""How long closing waits for an answer that is just being given; whoever closes while it hears one would wait for
itself."""


class Entry(Struct, eq=False):
    """One submitted bundle: what is done of it, and whether it has begun or was cancelled."""

    number: int
    bundle: Bundle
    done: list[Outcome] = []
    in_cohort: CohortOutcomes | None = None
    """In place of `done`, where a cohort is executed as one."""
    began: bool = False
    is_cancelled: bool = False
    place: Any = None
    """Where it runs (a worker, a future, tasks): for the executor that put it there."""
    context: Any = None
    """What it is to see, where it does not begin with its place."""

    @property
    def so_far(self) -> Sequence[Outcome]:
        """What is done of it."""
        return self.done if self.in_cohort is None else self.in_cohort


class Ledger:
    """The open entries of one executor, and its life: opened once, then closed for good.

    `owner` is who it is for, for messages; `limit`: more open entries than that are refused.
    """

    def __init__(self, owner: object, limit: int | None = None) -> None:
        self.owner = owner
        self.limit = limit
        self.entries: dict[int, Entry] = {}
        self.lock = Lock()
        self.is_closed = False
        self._answer: Answer | None = None
        self._answering: list[int] = []
        self._answered = Condition(self.lock)

    def open(self, answer: Answer) -> None:
        """Take note of who is to be answered."""
        if self._answer is not None or self.is_closed:
            state = "closed" if self.is_closed else "open already"
            raise UsageError(
                f"{self.owner!r} is {state}: an executor is opened once.",
                hint="make a new one for each runner.",
            )
        self._answer = answer

    def enter(self, number: int, bundle: Bundle) -> Entry:
        """Note a submitted bundle."""
        with self.lock:
            return self.enter_here(number, bundle)

    def enter_here(self, number: int, bundle: Bundle) -> Entry:
        """`enter` for an executor that lives in one thread: nobody else can come between."""
        entries, limit = self.entries, self.limit
        if self._answer is None or self.is_closed or number in entries:
            raise self._refusal(number)
        if limit is not None and len(entries) >= limit:
            raise self._refusal(number)
        entry = entries[number] = Entry(number, bundle)
        return entry

    def _refusal(self, number: int) -> UsageError:
        """Why a bundle is not taken."""
        if self._answer is None or self.is_closed:
            return UsageError(
                f"{self.owner!r} is {'closed' if self.is_closed else 'not open yet'} and takes no work.",
                hint="submit between open(answer) and close(); a runner does that by itself.",
            )
        if number in self.entries:
            return UsageError(
                f"{self.owner!r} still works on number {number}.",
                hint="give each bundle a number of its own.",
            )
        return UsageError(
            f"{self.owner!r} is full: it takes {self.limit} bundles at once.",
            hint="submit the next one when one was answered; `capacity` says how many fit.",
        )

    def begin(self, entry: Entry) -> bool:
        """Whether an entry is to be executed now: not if it was withdrawn or the executor is closed."""
        with self.lock:
            entry.began = self.entries.get(entry.number) is entry and not entry.is_cancelled
            return entry.began

    def cancel(self, number: int) -> Entry | None:
        """Mark an open entry as cancelled, once; from now on it does not begin any more."""
        with self.lock:
            entry = self.entries.get(number)
            if entry is None or entry.is_cancelled:
                return None
            entry.is_cancelled = True
            return entry

    def settle(self, entry: Entry, outcomes: Sequence[Outcome]) -> bool:
        """Answer an entry, if nobody did; whether it was still open."""
        answer, me = self._answer, get_ident()
        with self.lock:
            if answer is None or self.entries.get(entry.number) is not entry:
                return False
            del self.entries[entry.number]
            self._answering.append(me)
        try:
            answer(entry.number, outcomes)
        finally:
            self._answering.remove(me)
            if self.is_closed:
                with self.lock:
                    self._answered.notify_all()
        return True

    def settle_here(self, entry: Entry, outcomes: Sequence[Outcome]) -> None:
        """`settle` for an executor that lives in one thread: nobody else can come between."""
        if self._answer is not None and self.entries.pop(entry.number, None) is not None:
            self._answer(entry.number, outcomes)

    def is_open(self, entry: Entry) -> bool:
        """Whether it is still to be answered."""
        return self.entries.get(entry.number) is entry

    def forget(self, entry: Entry) -> None:
        """Drop an entry that nobody will answer."""
        with self.lock:
            self.entries.pop(entry.number, None)

    def close(self) -> list[Entry]:
        """Close for good: what is open is forgotten, and returned. No answer is given afterwards."""
        with self.lock:
            self.is_closed = True
            left = list(self.entries.values())
            self.entries.clear()
            me = get_ident()
            self._answered.wait_for(
                lambda: all(ident == me for ident in self._answering), CLOSE_WAIT_S
            )
        return left
