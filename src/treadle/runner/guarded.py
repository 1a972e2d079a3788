"""A store that takes its time, used by two threads of a runner: one call after the other."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from treadle.interfaces import Append, RunInfo, Store, StoredRun


class GuardedStore:
    """Passes calls on, one at a time: the writer's thread appends while the loop's looks things up."""

    is_instant = False

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()

    def create(self, info: RunInfo) -> None:
        """Note a new run."""
        with self._lock:
            self._store.create(info)

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        """Add to several logs."""
        with self._lock:
            return self._store.append(batch)

    def load(self, run_id: str) -> StoredRun:
        """A run with its log."""
        with self._lock:
            return self._store.load(run_id)

    def info(self, run_id: str) -> RunInfo | None:
        """A run without its log."""
        with self._lock:
            return self._store.info(run_id)

    def list(
        self, *, workflow: str | None = None, status: str | None = None, limit: int | None = None
    ) -> list[RunInfo]:
        """Runs in the order of their creation."""
        with self._lock:
            return self._store.list(workflow=workflow, status=status, limit=limit)

    def delete(self, run_id: str) -> bool:
        """Forget a run."""
        with self._lock:
            return self._store.delete(run_id)

    def close(self) -> None:
        """Let go of what it holds."""
        with self._lock:
            self._store.close()
