"""Runs everything in the runner's own thread, at once."""

from __future__ import annotations

from collections import deque

from treadle.executors.here import execute_here
from treadle.executors.ledger import Entry, Ledger
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle


class InlineExecutor:
    """Runs a bundle in `submit`, which answers before it returns: nothing can be cancelled, or take a time limit.

    For quick functions, tests and debugging. Async functions fail, since nothing can be awaited here. What is
    submitted from within an answer runs when that answer was given, so the stack does not grow with a workflow.
    A Ctrl-C in a body is the program's: it leaves `submit`, and the bundle is not answered.
    """

    capacity: int | None = None
    when_cancelled = "abandoned"

    def __init__(self) -> None:
        self._ledger = Ledger(self)
        self._waiting: deque[Entry] = deque()
        self._is_answering = False

    def __repr__(self) -> str:
        return "InlineExecutor()"

    def open(self, answer: Answer) -> None:
        """Take note of who is to be answered."""
        self._ledger.open(answer)

    def submit(self, number: int, bundle: Bundle) -> None:
        """Run a bundle and answer."""
        self._waiting.append(self._ledger.enter(number, bundle))
        if self._is_answering:
            return
        while self._waiting:
            entry = self._waiting.popleft()
            if self._ledger.begin(entry):
                self._run(entry)

    def cancel(self, number: int) -> None:
        """Do nothing: all that was submitted is answered already."""

    def close(self) -> None:
        """Take nothing any more."""
        self._ledger.close()

    def _run(self, entry: Entry) -> None:
        try:
            execute_here(entry.bundle, entry.done, through=KeyboardInterrupt)
        except KeyboardInterrupt:
            self._ledger.forget(entry)
            raise
        self._is_answering = True
        try:
            self._ledger.settle(entry, entry.done)
        finally:
            self._is_answering = False
