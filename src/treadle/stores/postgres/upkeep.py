"""Looking after a store: snapshots, compaction, values that nobody needs, and whether all is as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from treadle.errors import Corrupt, StoreError, UnknownRun, UsageError
from treadle.interfaces import Codec, Finding
from treadle.model.events import LOOKING_BACK, Baseline, Event
from treadle.stores.chain import seal
from treadle.stores.postgres.connections import Connections, transaction
from treadle.stores.postgres.driver import Connection, execute
from treadle.stores.postgres.reading import Reading
from treadle.stores.postgres.sharing import Sharing
from treadle.stores.postgres.statements import NOW

AT_ONCE: Final = 500
"""So many rows are deleted in one transaction, so that others need not wait for long."""

SAVE: Final = """
WITH r AS (
    SELECT pk, base FROM {s}.run WHERE id = %(id)s AND epoch = %(epoch)s FOR NO KEY UPDATE),
saved AS (
    INSERT INTO {s}.snapshot SELECT pk, %(position)s, %(body)b, %(link)b, %(seal)b FROM r
    ON CONFLICT (run, position) DO UPDATE SET body = excluded.body, link = excluded.link, seal = excluded.seal),
gone AS (
    DELETE FROM {s}.snapshot USING r WHERE run = r.pk AND position > r.base AND position <> %(position)s
    AND position NOT IN (
        SELECT o.position FROM {s}.snapshot AS o, r AS x WHERE o.run = x.pk AND o.position <> %(position)s
        ORDER BY o.position DESC LIMIT 1)),
kept AS (
    INSERT INTO {s}.blob SELECT g.hash, {now}, g.data
    FROM unnest(%(hashes)b::bytea[], %(data)b::bytea[]) AS g(hash, data)
    ON CONFLICT (hash) DO UPDATE SET touched_at = excluded.touched_at),
used AS (
    INSERT INTO {s}.blob_use SELECT g.hash, r.pk FROM unnest(%(hashes)b::bytea[]) AS g(hash), r ON CONFLICT DO NOTHING)
SELECT pk FROM r
"""

NEWEST: Final = """
SELECT run.pk, run.head, snapshot.position, snapshot.body, snapshot.link, snapshot.seal
FROM {s}.run JOIN {s}.snapshot ON snapshot.run = run.pk
WHERE run.id = %(id)s AND snapshot.position > run.base ORDER BY snapshot.position DESC LIMIT 1
"""

SHORTEN: Final = """
WITH r AS (
    UPDATE {s}.run SET base = %(position)s, base_link = %(link)b
    WHERE pk = %(pk)s AND base < %(position)s AND head = %(head)s RETURNING pk),
gone AS (
    DELETE FROM {s}.snapshot USING r WHERE run = r.pk AND position < %(position)s)
SELECT pk FROM r UNION ALL SELECT pk FROM {s}.run WHERE pk = %(pk)s AND base = %(position)s
"""
"""The second half of the answer: it was done already, and whoever did it did not hear of that."""

LET_GO: Final = """
WITH old AS (
    SELECT run, position FROM {s}.event WHERE run = %(pk)s AND position < %(position)s ORDER BY position LIMIT %(most)s)
DELETE FROM {s}.event USING old WHERE event.run = old.run AND event.position = old.position RETURNING 1
"""

SWEEP: Final = """
WITH old AS (
    SELECT hash FROM {s}.blob WHERE touched_at <= {now} - %(unused_for_s)s::float8
    AND NOT EXISTS(SELECT 1 FROM {s}.blob_use WHERE blob_use.hash = blob.hash)
    ORDER BY hash LIMIT %(most)s FOR UPDATE SKIP LOCKED)
DELETE FROM {s}.blob USING old WHERE blob.hash = old.hash RETURNING 1
"""


class Upkeep:
    """What keeps a store small, and its owner sure of it."""

    def __init__(
        self, connections: Connections, reading: Reading, sharing: Sharing, codec: Codec
    ) -> None:
        self._connections = connections
        self._reading = reading
        self._sharing = sharing
        self._codec = codec

        def made(text: str) -> str:
            return text.format(s=connections.schema, now=NOW)

        self._save, self._newest, self._shorten = made(SAVE), made(NEWEST), made(SHORTEN)
        self._let_go, self._sweep = made(LET_GO), made(SWEEP)
        self._link = made(
            "SELECT event.link FROM {s}.run JOIN {s}.event ON event.run = run.pk "
            "WHERE run.id = %(id)s AND run.epoch = %(epoch)s AND event.position = %(before)s"
        )

    def save_snapshot(self, run_id: str, epoch: int, baseline: Event) -> bool:
        """Note what a run's log comes to at some position; False where the log is not that long, or not ours."""
        if not isinstance(baseline, Baseline):
            raise UsageError(f"a snapshot is a Baseline, and this is {type(baseline).__name__}.")
        body, blobs = self._codec.encode_event(baseline)
        position = baseline.position
        hashes = sorted(blobs)
        given = {"id": run_id, "epoch": epoch, "before": position - 1, "position": position}
        given |= {"body": body, "hashes": hashes, "data": [blobs[each] for each in hashes]}

        def work(connection: Connection) -> bool:
            with transaction(connection):
                found = execute(connection, self._link, given)
                if not found:
                    return False
                ((link,),) = found
                more = {"link": link, "seal": seal(link, position, body)}
                return bool(execute(connection, self._save, given | more))

        return self._connections.call("saving a snapshot in", work)

    def compact(self, run_id: str) -> int:
        """Let go of the events before the newest snapshot; says how many.

        Only where nothing came after it that asks for them, also while that is being looked up: else not now.
        """
        found = self._rows("reading", self._newest, {"id": run_id})
        if not found:
            return 0
        ((pk, head, position, body, link, mark),) = found
        if seal(link, position, body) != mark:
            raise Corrupt(
                f"the snapshot of {run_id!r} at {position} is damaged: nothing was let go of."
            )
        if not LOOKING_BACK.isdisjoint(map(type, self._reading.since(run_id, position))):
            return 0  # what came after asks for what was before
        given = {"pk": pk, "head": head, "position": position, "link": link, "most": AT_ONCE}
        if not self._rows("compacting a run of", self._shorten, given):
            return 0
        return self._repeat("compacting a run of", self._let_go, given)

    def verify(self, run_id: str | None = None) -> list[Finding]:
        """Read everything again, and say what is not as it was written."""
        ids = [run_id] if run_id is not None else [info.id for info in self._reading.list()]
        return [finding for id in ids for finding in self._verify_run(id)]

    def _verify_run(self, run_id: str) -> Iterator[Finding]:
        for is_whole in (True, False):
            try:
                self._reading.load(run_id, is_whole=is_whole)
            except (StoreError, UnknownRun) as error:
                yield Finding(run_id=run_id, position=None, what=str(error))
                break
        for position in self._reading.damaged_snapshots(run_id):
            what = "a snapshot is not what was written"
            yield Finding(run_id=run_id, position=position, what=what)
        for id in self._sharing.damaged_messages(run_id):
            what = f"the message {id!r} is not what was left"
            yield Finding(run_id=run_id, position=None, what=what)
        for id in self._sharing.damaged_replies(run_id):
            what = f"what came of the message {id!r} is not what was told"
            yield Finding(run_id=run_id, position=None, what=what)

    def sweep(self, *, unused_for_s: float) -> int:
        """Let go of large values that no run refers to, and has not for so long; says how many."""
        given = {"unused_for_s": unused_for_s, "most": AT_ONCE}
        return self._repeat("sweeping", self._sweep, given)

    def blobs(self) -> list[bytes]:
        """The hashes of all large values that are kept, or referred to."""
        statement = f"SELECT hash FROM {self._connections.schema}.blob"  # noqa: S608 - our own name
        return [bytes(mark) for (mark,) in self._rows("reading", statement, {})]

    def _repeat(self, doing: str, statement: str, given: Mapping[str, Any]) -> int:
        count = 0
        while True:
            gone = len(self._rows(doing, statement, given))
            count += gone
            if gone < AT_ONCE:
                return count

    def _rows(self, doing: str, statement: str, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._connections.call(
            doing, lambda connection: execute(connection, statement, given)
        )
