"""The writer: one thread that stores what the runs of a runner append, in batches as large as what is waiting."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Any, Final

from treadle.interfaces import Append, Store

BATCH: Final = 256
"""At most so many appends are stored together."""


class Writer:
    """Group commit: while one batch is being stored, the next gathers."""

    def __init__(
        self, store: Store, written: Callable[[list[tuple[Any, Exception | None]], float], None]
    ) -> None:
        self._store = store
        self._written = written
        self._waiting: SimpleQueue[tuple[Append, Any] | None] = SimpleQueue()
        self._thread = Thread(target=self._write, name="treadle writer", daemon=True)
        self._thread.start()

    def put(self, append: Append, token: Any) -> None:
        """Have this stored; `written` is told the token, what was wrong if anything was, and the seconds it took."""
        self._waiting.put((append, token))

    def close(self) -> None:
        """Store what is waiting, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _write(self) -> None:
        is_open = True
        while is_open:
            batch = [self._waiting.get()]
            while len(batch) < BATCH and not self._waiting.empty():
                batch.append(self._waiting.get())
            is_open = None not in batch
            entries = [entry for entry in batch if entry is not None]
            if entries:
                self._store_batch(entries)

    def _store_batch(self, entries: list[tuple[Append, Any]]) -> None:
        begin = perf_counter()
        try:
            faults = self._store.append([append for append, _ in entries])
        except Exception as error:  # noqa: BLE001 - whatever a store raises concerns all of the batch
            faults = [error] * len(entries)
        took = perf_counter() - begin
        done = [(token, fault) for (_, token), fault in zip(entries, faults, strict=True)]
        self._written(done, took)
