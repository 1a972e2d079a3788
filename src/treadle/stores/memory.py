"""Logs kept in memory: for tests, for trying out, and for runs that need not outlive their process."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from msgspec import structs

from treadle.errors import Conflict, DuplicateRun, UnknownRun
from treadle.interfaces import Append, RunInfo, StoredRun
from treadle.model.events import Baseline, Event


class Kept:
    """One run: what was said of it when it was created, what changed since, and its events."""

    __slots__ = ("created", "events", "intents", "note", "position", "status", "updated_at")

    def __init__(self, created: RunInfo) -> None:
        self.created = created
        self.events: list[Event] = []
        self.intents: frozenset[bytes] = frozenset()
        self.position = 0
        self.status = created.status
        self.note = created.note
        self.updated_at = created.updated_at

    def info(self) -> RunInfo:
        """The run as it is listed now."""
        return structs.replace(
            self.created,
            position=self.position,
            status=self.status,
            note=self.note,
            updated_at=self.updated_at,
        )

    def add(self, append: Append) -> None:
        """Add to the log, which was found to be as long as expected."""
        events = append.events
        if events and type(events[0]) is Baseline:
            self.events = list(events)
            self.position = events[0].position + len(events) - 1
        else:
            self.events.extend(events)
            self.position += len(events)
        if append.status is not None:
            self.status, self.note = append.status, append.note
        if append.intents:
            self.intents |= frozenset(append.intents)
        if append.at is not None:
            self.updated_at = append.at


class MemoryStore:
    """Keeps events as the objects they are, so any value can be in them; they are gone with the store.

    Any thread may call it. Closing it forgets nothing: the next runner finds what the last one left.
    """

    is_instant = True

    def __init__(self) -> None:
        self._runs: dict[str, Kept] = {}
        self._lock = Lock()
        self._cache: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._runs)} runs>"

    def create(self, info: RunInfo) -> None:
        """Note a new run with an empty log. Errors: `DuplicateRun`."""
        with self._lock:
            fault = self._create(info)
        if fault is not None:
            raise fault

    def _create(self, info: RunInfo) -> DuplicateRun | None:
        if info.id in self._runs:
            return DuplicateRun(
                f"there is a run {info.id!r} already.",
                hint="take another id, or resume the one that is there.",
            )
        self._runs[info.id] = Kept(info)
        return None

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        """Add to several logs, each wholly or not at all, in the order given."""
        with self._lock:
            if len(batch) == 1:
                return [self._append(batch[0])]
            return [self._append(append) for append in batch]

    def _append(self, append: Append) -> Exception | None:
        if append.create is not None:
            fault = self._create(append.create)
            if fault is not None:
                return fault
        kept = self._runs.get(append.run_id)
        if kept is None:
            return unknown(append.run_id)
        if append.expected is not None and kept.position != append.expected:
            return Conflict(
                f"the log of {append.run_id!r} is {kept.position} events long, not {append.expected}.",
                hint="somebody else appended to it: load the run and go on from there.",
            )
        kept.add(append)
        return None

    def load(self, run_id: str) -> StoredRun:
        """A run with its log as it is now. Errors: `UnknownRun`."""
        with self._lock:
            kept = self._runs.get(run_id)
            if kept is None:
                raise unknown(run_id)
            return StoredRun(info=kept.info(), events=tuple(kept.events), intents=kept.intents)

    def info(self, run_id: str) -> RunInfo | None:
        """A run without its log, if there is one."""
        with self._lock:
            kept = self._runs.get(run_id)
            return None if kept is None else kept.info()

    def list(
        self, *, workflow: str | None = None, status: str | None = None, limit: int | None = None
    ) -> list[RunInfo]:
        """Runs in the order of their creation."""
        with self._lock:
            found = [
                kept
                for kept in self._runs.values()
                if (workflow is None or kept.created.workflow == workflow)
                and (status is None or kept.status == status)
            ]
            return [kept.info() for kept in found[:limit]]

    def delete(self, run_id: str) -> bool:
        """Forget a run; whether there was one."""
        with self._lock:
            return self._runs.pop(run_id, None) is not None

    def cached(self, key: str) -> bytes | None:
        """What was put there last under this key."""
        return self._cache.get(key)

    def put_cached(self, key: str, body: bytes) -> None:
        """Keep this under a key."""
        self._cache[key] = body

    def close(self) -> None:
        """Nothing is to be let go of."""


def unknown(run_id: str) -> UnknownRun:
    """There is no such run."""
    return UnknownRun(f"there is no run {run_id!r}.", hint="create it, or correct its id.")
