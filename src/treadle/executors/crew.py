"""Daemon threads that take submitted bundles one by one, and that can do without one that is stuck.

The pool of `concurrent.futures` would not do: a thread of it that never comes back takes its place for good, and
the interpreter waits for it at exit.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread

from treadle.errors import PlugError
from treadle.executors.here import cut_short
from treadle.executors.ledger import Entry, Ledger
from treadle.model.runnables import Outcome


class Crew:
    """At most `size` threads, started as they are needed and kept. Each takes an entry, works on it and settles it.

    `work` gives the outcomes of an entry.
    """

    def __init__(
        self, ledger: Ledger, size: int, name: str, work: Callable[[Entry], Sequence[Outcome]]
    ) -> None:
        self.size = size
        self.abandoned = 0
        """How many threads still run a body that was given up."""
        self.late = 0
        """How many bodies ended after they had been given up."""
        self._ledger = ledger
        self._name = name
        self._work = work
        self._queue: SimpleQueue[Entry | None] = SimpleQueue()
        self._lock = Lock()
        self._threads = 0

    def send(self, entry: Entry) -> None:
        """Let the next free thread work on an entry."""
        self._queue.put(entry)
        self._grow()

    def lose(self) -> None:
        """Count a thread as stuck in a body that was given up; another one may take its place."""
        with self._lock:
            self.abandoned += 1
            self._threads -= 1
        self._grow()

    def end(self) -> None:
        """Let all threads end, each when it is free."""
        self._queue.put(None)

    def _grow(self) -> None:
        if self._threads >= self.size:
            return
        with self._lock:
            if self._threads >= min(self.size, len(self._ledger.entries)):
                return
            self._threads += 1
        try:
            Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError as error:  # the system has no thread for us
            with self._lock:
                self._threads -= 1
                alone = self._threads == 0
            if alone:
                self._refuse(error)

    def _refuse(self, error: RuntimeError) -> None:
        """Answer what nobody will ever take."""
        while not self._queue.empty():
            entry = self._queue.get()
            if entry is not None and self._ledger.begin(entry):
                refused = PlugError(f"no thread could be started: {error}.")
                refused.__cause__ = error
                self._ledger.settle(entry, cut_short(entry.bundle, entry.so_far, refused))

    def _run(self) -> None:
        while True:
            entry = self._queue.get()
            if entry is None:
                self._queue.put(None)  # for the next one
                return
            if self._ledger.begin(entry):
                try:
                    outcomes = self._work(entry)
                except BaseException as error:  # noqa: BLE001 - one answer, whatever happens
                    outcomes = cut_short(entry.bundle, entry.so_far, error)
                if not self._settle(entry, outcomes) and not self._is_back():
                    return
                del outcomes
            del entry  # while this thread waits, it holds on to nobody's values

    def _settle(self, entry: Entry, outcomes: Sequence[Outcome]) -> bool:
        """Answer an entry. If whoever hears it raises, that is shown, and this thread goes on."""
        try:
            return self._ledger.settle(entry, outcomes)
        except Exception:  # noqa: BLE001 - it is not ours to know
            threading.excepthook(
                threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
            )
            return True

    def _is_back(self) -> bool:
        """Whether a thread whose body was given up, and has ended at last, is needed again."""
        with self._lock:
            self.abandoned -= 1
            self.late += 1
            is_needed = self._threads < self.size
            self._threads += is_needed
        return is_needed
