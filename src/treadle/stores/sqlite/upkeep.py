"""Looking after a SQLite store: snapshots, compaction, values that nobody needs, and whether all is as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import time
from typing import Final

from treadle.errors import Corrupt, StoreError, UnknownRun, UsageError
from treadle.interfaces import Codec, Finding
from treadle.model.events import LOOKING_BACK, Baseline, Event
from treadle.stores.chain import seal
from treadle.stores.sqlite.connections import Connections
from treadle.stores.sqlite.file import told
from treadle.stores.sqlite.log import SqliteLog, pk_of
from treadle.stores.sqlite.sharing import SqliteSharing

AT_ONCE: Final = 500
"""So many rows are deleted in one transaction, so that appends need not wait for long."""


class SqliteUpkeep:
    """What keeps a store small, and its owner sure of it."""

    def __init__(
        self,
        connections: Connections,
        log: SqliteLog,
        sharing: SqliteSharing,
        codec: Codec,
        clock: Callable[[], float] = time,
    ) -> None:
        self._connections = connections
        self._log = log
        self._sharing = sharing
        self._codec = codec
        self._clock = clock

    def save_snapshot(self, run_id: str, epoch: int, baseline: Event) -> bool:
        """Note what a run's log comes to at some position; False where the log is not that long, or not ours."""
        if not isinstance(baseline, Baseline):
            raise UsageError(f"a snapshot is a Baseline, and this is {type(baseline).__name__}.")
        body, blobs = self._codec.encode_event(baseline)
        position = baseline.position
        with self._connections.writing("saving a snapshot in", is_runner=True) as connection:
            row = connection.execute(
                "SELECT pk, event.link FROM run JOIN event ON event.run = pk "
                "WHERE pk = ? AND run.epoch = ? AND event.position = ?",
                (pk_of(connection, run_id), epoch, position - 1),
            ).fetchone()
            if row is None:
                return False
            pk, link = row
            connection.execute(
                "INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?)",
                (pk, position, body, link, seal(link, position, body)),
            )
            connection.execute(  # the last but one is kept, should the newest turn out to be damaged
                "DELETE FROM snapshot WHERE run = :run AND position > (SELECT base FROM run WHERE pk = :run) "
                "AND position NOT IN (SELECT position FROM snapshot WHERE run = :run ORDER BY position DESC LIMIT 2)",
                {"run": pk},
            )
            self._log.write_blobs(connection, pk, blobs)
        return True

    def compact(self, run_id: str) -> int:
        """Let go of the events before the newest snapshot; says how many.

        Only where nothing came after it that asks for them, also while that is being looked up: else not now.
        """
        with self._connections.reading() as connection:
            row = connection.execute(
                "SELECT pk, head, position, snapshot.body, snapshot.link, snapshot.seal FROM run "
                "JOIN snapshot ON snapshot.run = pk WHERE pk = ? AND position > base ORDER BY position DESC LIMIT 1",
                (pk_of(connection, run_id),),
            ).fetchone()
        if row is None:
            return 0
        pk, head, position, body, link, mark = row
        if seal(link, position, body) != mark:
            raise Corrupt(
                f"the snapshot of {run_id!r} at {position} is damaged: nothing was let go of."
            )
        if not LOOKING_BACK.isdisjoint(map(type, self._log.since(run_id, position))):
            return 0  # what came after asks for what was before
        with self._connections.writing("compacting a run of", is_runner=True) as connection:
            changed = connection.execute(
                "UPDATE run SET base = ?, base_link = ? WHERE pk = ? AND head = ?",
                (position, link, pk, head),
            )
            if not changed.rowcount:
                return 0
            connection.execute(
                "DELETE FROM snapshot WHERE run = ? AND position < ?", (pk, position)
            )
        return self._delete_before(pk, position)

    def _delete_before(self, pk: int, position: int) -> int:
        count = 0
        while True:
            with self._connections.writing("compacting a run of", is_runner=True) as connection:
                gone = connection.execute(
                    "DELETE FROM event WHERE run = :run AND position IN (SELECT position FROM event "
                    "WHERE run = :run AND position < :before ORDER BY position LIMIT :most)",
                    {"run": pk, "before": position, "most": AT_ONCE},
                ).rowcount
            count += gone
            if gone < AT_ONCE:
                return count

    def verify(self, run_id: str | None = None) -> list[Finding]:
        """Read everything again, and say what is not as it was written."""
        if run_id is not None:
            return self._verify_run(run_id)
        findings = self._verify_file()
        try:
            ids = [info.id for info in self._log.list()]
        except StoreError as error:
            return [*findings, Finding(run_id=None, position=None, what=str(error))]
        return findings + [finding for id in ids for finding in self._verify_run(id)]

    def _verify_run(self, run_id: str) -> list[Finding]:
        findings = []
        looks: tuple[Callable[[str], object], ...] = (self._log.load_all, self._log.load)
        for look in looks:
            try:
                look(run_id)
            except (StoreError, UnknownRun) as error:  # in the list, and not found by its id
                findings.append(Finding(run_id=run_id, position=None, what=str(error)))
                break
        try:
            bad = self._log.damaged_snapshots(run_id)
            messages = self._sharing.damaged_messages(run_id)
            replies = self._sharing.damaged_replies(run_id)
        except StoreError as error:
            return [*findings, Finding(run_id=run_id, position=None, what=str(error))]
        findings += [
            Finding(run_id=run_id, position=position, what="a snapshot is not what was written")
            for position in bad
        ]
        told = [f"the message {id!r} is not what was left" for id in messages]
        told += [f"what came of the message {id!r} is not what was told" for id in replies]
        return [*findings, *[Finding(run_id=run_id, position=None, what=each) for each in told]]

    def _verify_file(self) -> list[Finding]:
        try:
            with self._connections.reading() as connection:
                rows = connection.execute("PRAGMA integrity_check(100)").fetchall()
            older = self._connections.rolled_back()
        except StoreError as error:
            return [Finding(run_id=None, position=None, what=str(error))]
        found = [f"SQLite: {text}" for (text,) in rows if text != "ok"]
        return [
            Finding(run_id=None, position=None, what=what)
            for what in (found if older is None else [older, *found])
        ]

    def sweep(self, *, unused_for_s: float) -> int:
        """Let go of large values that no run refers to, and has not for so long; says how many."""
        before = self._clock() - unused_for_s
        count = 0
        while True:
            with self._connections.writing("sweeping", is_runner=True) as connection:
                gone = connection.execute(
                    "DELETE FROM blob WHERE hash IN (SELECT hash FROM blob WHERE touched_at <= ? AND NOT EXISTS"
                    "(SELECT 1 FROM blob_use WHERE blob_use.hash = blob.hash) LIMIT ?)",
                    (before, AT_ONCE),
                ).rowcount
                connection.execute("PRAGMA incremental_vacuum(1000)")
            count += gone
            if gone < AT_ONCE:
                return count

    def blobs(self) -> list[bytes]:
        """The hashes of all large values that are kept, or referred to."""
        with self._connections.reading() as connection:
            return [mark for (mark,) in connection.execute("SELECT hash FROM blob")]

    def backup(self, target: Path) -> None:
        """Copy the store as it is at one moment, also while it is in use. Errors: `UsageError` if the file is there."""
        if target.exists():
            raise UsageError(f"{target} is there already.", hint="name a file that is not.")
        with (
            self._connections.reading() as connection,
            told(target, "writing a backup to"),
            closing(sqlite3.connect(target)) as copy,
        ):
            connection.backup(copy, pages=1000)
        self._connections.turn()
