"""The writer: one thread that stores what the runs of a runner append, in batches as large as what is waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread
from time import perf_counter
from typing import Any, Final, TypeAlias

from treadle.errors import OutcomeUnknown, ReadOnly, StoreFull, StoreUnavailable
from treadle.interfaces import Append, Store

logger = logging.getLogger("treadle.runner")

BATCH: Final = 256
"""At most so many appends are stored together."""

FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 5.0
"""How long it waits before it tries a store again that cannot be written to: at first, and at most."""

PASSING: Final = (StoreUnavailable, StoreFull, ReadOnly, OutcomeUnknown)
"""What may be over when it is tried again: nothing was written, or writing the same once more is harmless."""

Entry: TypeAlias = tuple[Append, Any] | Callable[[], Any]
"""An append and its token; or something else to be done by the thread that writes, between two batches."""


class Writer:
    """Group commit: while one batch is being stored, the next gathers.

    A store that cannot be written to now is tried again until it can: whoever waits for what is to be stored goes on
    waiting, and nothing is lost.
    """

    def __init__(
        self, store: Store, written: Callable[[list[tuple[Any, Exception | None]], float], None]
    ) -> None:
        self._store = store
        self._written = written
        self._waiting: SimpleQueue[Entry | None] = SimpleQueue()
        self._is_giving_up = Event()
        self.trouble: Exception | None = None
        """Why the store cannot be written to, if it cannot."""
        self._thread = Thread(target=self._write, name="treadle writer", daemon=True)
        self._thread.start()

    def put(self, append: Append, token: Any) -> None:
        """Have this stored; `written` is told the token, what was wrong if anything was, and the seconds it took."""
        self._waiting.put((append, token))

    def do(self, job: Callable[[], Any]) -> None:
        """Have this done in the thread that writes, after what is waiting."""
        self._waiting.put(job)

    def close(self) -> None:
        """Store what is waiting, and end. A store in trouble is tried once more."""
        self._is_giving_up.set()
        self._waiting.put(None)
        self._thread.join()

    def _write(self) -> None:
        is_open = True
        while is_open:
            batch = [self._waiting.get()]
            while len(batch) < BATCH and not self._waiting.empty():
                batch.append(self._waiting.get())
            is_open = None not in batch
            appends: list[tuple[Append, Any]] = []
            for entry in batch:
                if isinstance(entry, tuple):
                    appends.append(entry)
                elif entry is not None:
                    self._store_batch(appends)
                    appends = []
                    self._do(entry)
            self._store_batch(appends)

    def _do(self, job: Callable[[], Any]) -> None:
        try:
            job()
        except Exception:
            logger.exception("the store could not do something that can wait")

    def _store_batch(self, entries: list[tuple[Append, Any]]) -> None:
        if not entries:
            return
        begin = perf_counter()
        faults = self._stored([append for append, _ in entries])
        took = perf_counter() - begin
        done = [(token, fault) for (_, token), fault in zip(entries, faults, strict=True)]
        self._written(done, took)

    def _stored(self, appends: list[Append]) -> list[Exception | None]:
        """Append, as often as it takes; what was wrong with each."""
        wait_s = FIRST_WAIT_S
        while True:
            is_last = self._is_giving_up.is_set()
            try:
                faults = self._store.append(appends)
            except PASSING as error:
                self._note(error)
                if is_last:
                    return [error] * len(appends)
                self._is_giving_up.wait(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            except Exception as error:  # noqa: BLE001 - whatever else a store raises concerns all of the batch
                return [error] * len(appends)
            else:
                self._note(None)
                return faults

    def _note(self, error: Exception | None) -> None:
        if error is not None and type(error) is not type(self.trouble):
            logger.error("nothing can be stored now, and all runs wait for it: %s", error)
        elif error is None and self.trouble is not None:
            logger.warning("the store can be written to again")
        self.trouble = error
