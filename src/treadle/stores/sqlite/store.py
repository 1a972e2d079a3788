"""The store: logs, leases, inbox and upkeep of one SQLite file, under one roof."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from time import time

from treadle.interfaces import (
    Append,
    Codec,
    Finding,
    Message,
    RunInfo,
    Standing,
    StoredRun,
    Trimmed,
)
from treadle.model.events import Event
from treadle.stores.inbox import MAX_WAITING, checked
from treadle.stores.sqlite.cache import SqliteCache
from treadle.stores.sqlite.connections import Connections
from treadle.stores.sqlite.log import SqliteLog
from treadle.stores.sqlite.sharing import SqliteSharing
from treadle.stores.sqlite.upkeep import SqliteUpkeep
from treadle.stores.transaction import Transaction
from treadle.stores.whole import Beside


class SqliteStore:
    """Keeps runs in one SQLite file: what it says is stored survives the end of the process and of the machine's power.

    One process runs the workflows of a file; others may read, and leave messages. Any thread may call it. `clock`
    gives the seconds since 1970 that leases are measured with. `read_only`: the file is to be there, and only looked
    at; that disturbs nobody who works with it. `refuses_older`: nothing is run in a file that is older than the one
    that was run here last, as a backup that was put back is; else the log is told so. `max_waiting`: how many messages
    may wait for one run; None: any number.
    """

    is_instant = False
    is_guarded = True
    """Several threads may call it at once."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        codec: Codec,
        *,
        clock: Callable[[], float] = time,
        read_only: bool = False,
        refuses_older: bool = False,
        max_waiting: int | None = MAX_WAITING,
    ) -> None:
        self.codec = codec
        self._connections = Connections(path, read_only=read_only, refuses_older=refuses_older)
        self._log = SqliteLog(self._connections, codec, clock)
        self._sharing = SqliteSharing(self._connections, clock, checked(max_waiting))
        self._cache = SqliteCache(self._connections, clock)
        self._upkeep = SqliteUpkeep(self._connections, self._log, self._sharing, codec, clock)

    @property
    def path(self) -> Path:
        """The file."""
        return self._connections.path

    def __repr__(self) -> str:
        return f"<SqliteStore {self.path}>"

    def create(self, info: RunInfo) -> None:
        """Note a new run with an empty log. Errors: `DuplicateRun`."""
        self._log.create(info)

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        """Add to several logs in one transaction, each wholly or not at all."""
        return self._log.append(batch)

    def load(self, run_id: str) -> StoredRun:
        """A run with its log, from its newest snapshot on. Errors: `UnknownRun`, `Corrupt`."""
        return self._log.load(run_id)

    def load_all(self, run_id: str) -> StoredRun:
        """A run with all of its log that is still there. Errors: `UnknownRun`, `Corrupt`."""
        return self._log.load_all(run_id)

    def since(self, run_id: str, position: int) -> Sequence[Event]:
        """The events of a run from a position on. Errors: `UnknownRun`, `Corrupt`."""
        return self._log.since(run_id, position)

    def info(self, run_id: str) -> RunInfo | None:
        """A run without its log, if there is one."""
        return self._log.info(run_id)

    def list(
        self, *, workflow: str | None = None, status: str | None = None, limit: int | None = None
    ) -> list[RunInfo]:
        """Runs in the order of their creation."""
        return self._log.list(workflow=workflow, status=status, limit=limit)

    def delete(self, run_id: str) -> bool:
        """Forget a run; whether there was one."""
        return self._log.delete(run_id)

    def claim(
        self,
        owner: str,
        ttl_s: float,
        *,
        run_id: str | None = None,
        workflows: Sequence[str] | None = None,
        limit: int = 1,
    ) -> Sequence[RunInfo]:
        """Take runs that nobody has: one by its id, or those that have something to do now."""
        return self._sharing.claim(owner, ttl_s, run_id=run_id, workflows=workflows, limit=limit)

    def renew(self, owner: str, ttl_s: float, epochs: Mapping[str, int]) -> set[str]:
        """Keep these runs for longer; give those of them that are still the owner's."""
        return self._sharing.renew(owner, ttl_s, epochs)

    def release(self, epochs: Mapping[str, int]) -> None:
        """Let go of these runs, in order."""
        self._sharing.release(epochs)

    def post(self, message: Message) -> bool:
        """Leave a message for a run; False if one of this id was left before. Errors: `UnknownRun`, `Overloaded`."""
        return self._sharing.post(message)

    def waiting(self, owner: str, *, limit: int | None = None) -> Sequence[Message]:
        """The messages for the runs that somebody has now, oldest first; with a limit, some of each run."""
        return self._sharing.waiting(owner, limit)

    def standing(self, asked: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Standing]:
        """How messages stand, by run and id: what was told of them, and how their runs stand."""
        return self._sharing.standing(asked)

    def answered(self, run_id: str, message_id: str) -> bool | None:
        """Whether a message was taken; None if it was never left."""
        found = self.standing([(run_id, message_id)]).get((run_id, message_id))
        return None if found is None else found.is_taken

    def beside(self, run_id: str) -> Beside:
        """What belongs to a run beside its log: messages, and results of transactional steps. Errors: `Corrupt`."""
        return self._sharing.beside(self.codec, run_id)

    def at_one_moment(self) -> AbstractContextManager[None]:
        """Whatever this thread reads meanwhile was so at one moment; others who read with this store wait."""
        return self._connections.at_one_moment()

    transactions_at_once: int | None = 1
    """A SQLite file has one writer at a time."""

    def transaction(
        self, key: str, run_key: str, fence: tuple[str, int] | None = None
    ) -> AbstractContextManager[Transaction]:
        """A transaction for one step: what it writes, and what it gave, stay together or not at all."""
        return self._sharing.transaction(self.codec, key, run_key, fence)

    def cached(self, key: str) -> bytes | None:
        """What was kept last under this key. Errors: `Corrupt`."""
        return self._cache.cached(key)

    def put_cached(self, entries: Mapping[str, bytes]) -> None:
        """Keep these for later runs, all or none of them."""
        self._cache.put_cached(entries)

    def trim_cache(
        self, *, unused_for_s: float | None = None, most_bytes: int | None = None
    ) -> Trimmed:
        """Let go of what was kept and not used for so long, and of what is too much."""
        return self._cache.trim_cache(unused_for_s=unused_for_s, most_bytes=most_bytes)

    def put_looks(self, run_id: str, looks: Mapping[str, bytes]) -> None:
        """Keep, by component, what a run found in the cache."""
        self._cache.put_looks(run_id, looks)

    def looks(self, run_id: str) -> Mapping[str, bytes]:
        """What the components of a run found in the cache."""
        return self._cache.looks(run_id)

    def save_snapshot(self, run_id: str, epoch: int, baseline: Event) -> bool:
        """Note what a run's log comes to at some position, so that loading begins there."""
        return self._upkeep.save_snapshot(run_id, epoch, baseline)

    def compact(self, run_id: str) -> int:
        """Let go of the events before the newest snapshot; says how many."""
        return self._upkeep.compact(run_id)

    def verify(self, run_id: str | None = None) -> Sequence[Finding]:
        """Read everything again, and say what is not as it was written."""
        return self._upkeep.verify(run_id)

    def sweep(self, *, unused_for_s: float) -> int:
        """Let go of large values that no run refers to, and has not for so long; says how many."""
        return self._upkeep.sweep(unused_for_s=unused_for_s)

    def blobs(self) -> Sequence[bytes]:
        """The hashes of all large values that are kept, or referred to."""
        return self._upkeep.blobs()

    def backup(self, target: str | os.PathLike[str]) -> None:
        """Copy the store as it is at one moment, also while it is in use."""
        self._upkeep.backup(Path(target))

    def tidy_up(self) -> None:
        """Move what the write-ahead log holds into the file."""
        self._connections.tidy_up()

    def close(self) -> None:
        """Let go of the file; another process may run its workflows then."""
        self._connections.close()
