"""Logs kept in memory: for tests, for trying out, and for runs that need not outlive their process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from time import time

from msgspec import structs

from treadle.errors import Conflict, DuplicateRun, UnknownRun
from treadle.interfaces import Append, RunInfo, StoredRun, Trimmed
from treadle.model.events import Baseline, Event


class Kept:
    """One run: what was said of it when it was created, what changed since, and its events."""

    __slots__ = (
        "created",
        "events",
        "intents",
        "looks",
        "note",
        "position",
        "status",
        "terms",
        "updated_at",
    )

    def __init__(self, created: RunInfo) -> None:
        self.created = created
        self.events: list[Event] = []
        self.intents: frozenset[bytes] = frozenset()
        self.looks: dict[str, bytes] = {}
        self.position = 0
        self.status = created.status
        self.note = created.note
        self.terms = (created.deadline_at, created.durability)
        self.updated_at = created.updated_at

    def info(self) -> RunInfo:
        """The run as it is listed now."""
        return structs.replace(
            self.created,
            position=self.position,
            status=self.status,
            note=self.note,
            deadline_at=self.terms[0],
            durability=self.terms[1],
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
            self.terms = (append.deadline_at, append.durability)
        if append.intents:
            self.intents |= frozenset(append.intents)
        if append.at is not None:
            self.updated_at = append.at


class MemoryStore:
    """Keeps events as the objects they are, so any value can be in them; they are gone with the store.

    Any thread may call it. Closing it forgets nothing: the next runner finds what the last one left. `clock` gives the
    seconds since 1970 by which it is told what was not used for long.
    """

    is_instant = True

    def __init__(self, *, clock: Callable[[], float] = time) -> None:
        self._runs: dict[str, Kept] = {}
        self._lock = Lock()
        self._clock = clock
        self._cache: dict[str, tuple[bytes, float]] = {}
        """What is kept, and when it was last used: the longest unused first."""

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

    def since(self, run_id: str, position: int) -> Sequence[Event]:
        """The events of a run from a position on. Errors: `UnknownRun`."""
        events = self.load(run_id).events
        is_folded = bool(events) and type(events[0]) is Baseline
        if is_folded and position < events[0].position:
            return events
        later = events[1:] if is_folded else events
        return later[max(0, position - later[0].position) :] if later else ()

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
        with self._lock:
            found = self._cache.pop(key, None)
            if found is None:
                return None
            self._cache[key] = (found[0], self._clock())
            return found[0]

    def put_cached(self, entries: Mapping[str, bytes]) -> None:
        """Keep each of these under its key."""
        with self._lock:
            now = self._clock()
            for key, body in entries.items():
                self._cache.pop(key, None)
                self._cache[key] = (body, now)

    def trim_cache(
        self, *, unused_for_s: float | None = None, most_bytes: int | None = None
    ) -> Trimmed:
        """Let go of what was not used for so long, then of the longest unused until no more than so much is left."""
        with self._lock:
            now = self._clock()
            sizes = {key: len(key) + len(body) for key, (body, _) in self._cache.items()}
            left, gone = sum(sizes.values()), []
            for key, (_, used_at) in self._cache.items():
                is_old = unused_for_s is not None and used_at <= now - unused_for_s
                if not is_old and (most_bytes is None or left <= most_bytes):
                    break
                gone.append(key)
                left -= sizes[key]
            for key in gone:
                del self._cache[key]
            return Trimmed(
                entries=len(gone),
                bytes=sum(sizes[key] for key in gone),
                entries_left=len(self._cache),
                bytes_left=left,
            )

    def put_looks(self, run_id: str, looks: Mapping[str, bytes]) -> None:
        """Keep, by component, what a run found in the cache."""
        with self._lock:
            kept = self._runs.get(run_id)
            if kept is not None:
                kept.looks.update(looks)

    def looks(self, run_id: str) -> dict[str, bytes]:
        """What the components of a run found in the cache."""
        with self._lock:
            kept = self._runs.get(run_id)
            return {} if kept is None else dict(kept.looks)

    def close(self) -> None:
        """Nothing is to be let go of."""


def unknown(run_id: str) -> UnknownRun:
    """There is no such run."""
    return UnknownRun(f"there is no run {run_id!r}.", hint="create it, or correct its id.")
