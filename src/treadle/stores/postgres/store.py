"""The store: logs, leases, inbox and upkeep of one schema of a PostgreSQL database, under one roof."""

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
from treadle.model.quotas import Quota, QuotaWish
from treadle.stores.filing import copy_to_file
from treadle.stores.inbox import MAX_WAITING, checked
from treadle.stores.postgres.cache import Cache
from treadle.stores.postgres.connections import Connections
from treadle.stores.postgres.driver import SILENCE_S, described
from treadle.stores.postgres.places import Places
from treadle.stores.postgres.quotas import Quotas
from treadle.stores.postgres.reading import Reading
from treadle.stores.postgres.schema import check_name
from treadle.stores.postgres.sharing import Sharing
from treadle.stores.postgres.upkeep import Upkeep
from treadle.stores.postgres.writing import Writing
from treadle.stores.transaction import Transaction
from treadle.stores.whole import Beside, Copied


class PostgresStore:
    """Keeps runs in a PostgreSQL database, which any number of runners on any number of machines share.

    `conninfo`: `"postgresql://user@host/database"`, or any other connection string of PostgreSQL; what it says of
    timeouts and keepalives counts. `schema`: where the tables are; they are made when first needed. `silence_s`: how
    long the server may say nothing before its connection is given up. `clock` is the runner's: leases are measured by
    the server's, and only how long a new run's lease lasts is taken from this one. `max_waiting`: how many messages may
    wait for one run (None: any number); those who post at the same moment may exceed it together. `read_only`: the
    tables are to be there, and only looked at. Any thread may call it. Errors: `UsageError`.
    """

    is_instant = False
    is_guarded = True
    """Several threads may call it at once."""

    def __init__(
        self,
        conninfo: str,
        codec: Codec,
        *,
        schema: str = "treadle",
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = time,
        max_waiting: int | None = MAX_WAITING,
        read_only: bool = False,
    ) -> None:
        check_name(schema)
        self.codec = codec
        self.schema = schema
        places = Places()
        self._connections = Connections(
            described(conninfo), schema, silence_s=silence_s, read_only=read_only
        )
        self._writing = Writing(self._connections, codec, places, clock)
        self._reading = Reading(self._connections, codec, places)
        self._sharing = Sharing(self._connections, checked(max_waiting))
        self._cache = Cache(self._connections)
        self._upkeep = Upkeep(self._connections, self._reading, self._sharing, codec)
        self._quotas = Quotas(self._connections)

    def __repr__(self) -> str:
        return f"<PostgresStore {self._connections.place} {self.schema}>"

    def create(self, info: RunInfo) -> None:
        """Note a new run with an empty log. Errors: `DuplicateRun`."""
        begin = Append(run_id=info.id, expected=0, create=info, epoch=info.epoch, is_synced=False)
        (fault,) = self.append([begin])
        if fault is not None:
            raise fault

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        """Add to several logs in one transaction, each wholly or not at all."""
        return self._writing.append(batch)

    def load(self, run_id: str) -> StoredRun:
        """A run with its log, from its newest snapshot on. Errors: `UnknownRun`, `Corrupt`."""
        return self._reading.load(run_id)

    def load_all(self, run_id: str) -> StoredRun:
        """A run with all of its log that is still there. Errors: `UnknownRun`, `Corrupt`."""
        return self._reading.load(run_id, is_whole=True)

    def since(self, run_id: str, position: int) -> Sequence[Event]:
        """The events of a run from a position on. Errors: `UnknownRun`, `Corrupt`."""
        return self._reading.since(run_id, position)

    def info(self, run_id: str) -> RunInfo | None:
        """A run without its log, if there is one."""
        return self._reading.info(run_id)

    def list(
        self, *, workflow: str | None = None, status: str | None = None, limit: int | None = None
    ) -> list[RunInfo]:
        """Runs in the order of their creation."""
        return self._reading.list(workflow=workflow, status=status, limit=limit)

    def delete(self, run_id: str) -> bool:
        """Forget a run; whether there was one."""
        return self._reading.delete(run_id)

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
        taken = self._sharing.claim(owner, ttl_s, run_id=run_id, workflows=workflows, limit=limit)
        self._writing.places.forget([info.id for info in taken])  # others may have written there
        return taken

    def renew(self, owner: str, ttl_s: float, epochs: Mapping[str, int]) -> set[str]:
        """Keep these runs for longer; give those of them that are still the owner's."""
        return self._sharing.renew(owner, ttl_s, epochs)

    def loads(self, workflows: Sequence[str]) -> Mapping[str, int]:
        """How many running runs of these workflows each owner has."""
        return self._sharing.loads(workflows)

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

    def ration(
        self, owner: str, ttl_s: float, wishes: Sequence[QuotaWish]
    ) -> Sequence[Quota] | None:
        """Answer wishes for parts of limits, in their order; None: nothing was heard of this owner for too long."""
        return self._quotas.ration(owner, ttl_s, wishes)

    def beat(self, owner: str, ttl_s: float) -> tuple[float, frozenset[str]] | None:
        """Say that an owner is there, and hear for how long its parts are its own, and which ones others want."""
        return self._quotas.beat(owner, ttl_s)

    def leave(self, owner: str) -> None:
        """An owner is not there any more."""
        self._quotas.leave(owner)

    def beside(self, run_id: str) -> Beside:
        """What belongs to a run beside its log: messages, and results of transactional steps. Errors: `Corrupt`."""
        return self._sharing.beside(self.codec, run_id)

    def at_one_moment(self) -> AbstractContextManager[None]:
        """Whatever this thread reads meanwhile was so at one moment; it writes nothing meanwhile."""
        return self._connections.at_one_moment()

    transactions_at_once: int | None = 4
    """Each keeps one of the store's connections; as many are left for the runner."""

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

    def backup(self, target: str | os.PathLike[str]) -> Copied:
        """Copy all runs as they are at one moment into a new SQLite store, also while they are at work.

        The cache is left out; a run that cannot be read is named in `left_out`. Errors: `UsageError`; those of stores.
        """
        return copy_to_file(self, Path(target), self.codec)

    def close(self) -> None:
        """Let go of the connections."""
        self._connections.close()
