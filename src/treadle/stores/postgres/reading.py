"""Runs and logs as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from treadle.interfaces import Codec, RunInfo, StoredRun
from treadle.model.events import Event, looks_back
from treadle.stores.chain import first_link, seal
from treadle.stores.entries import is_text
from treadle.stores.faults import check_chain, check_row, damaged, opened_intents, unknown
from treadle.stores.postgres.connections import Connections, Lost, transaction
from treadle.stores.postgres.driver import READ, Connection, execute
from treadle.stores.postgres.places import Places
from treadle.stores.rows import info_of

COLUMNS: Final = (
    "run.id, run.workflow, run.run_key, run.fingerprint, run.status, run.head, run.created_at, run.updated_at, "
    "run.note, run.epoch, lease.owner, lease.until, run.wake_at, run.crashes, "
    "run.deadline_at, run.durability, run.trials"
)

PARTS: Final = ("event", "applied", "intent", "snapshot", "message", "look", "blob_use", "lease")
"""The tables that hold what belongs to one run."""


class Reading:
    """Reads the runs of one schema, and forgets them."""

    def __init__(self, connections: Connections, codec: Codec, places: Places) -> None:
        self._connections = connections
        self._codec = codec
        self._places = places
        self._schema = connections.schema
        self._blob = f"SELECT data FROM {self._schema}.blob WHERE hash = %b"  # noqa: S608 - our own names
        self._forget_completed = f"DELETE FROM {self._schema}.completed WHERE run_key = %s"  # noqa: S608 - our own names
        self._forget = f"DELETE FROM {self._schema}.run WHERE id = %s RETURNING pk, run_key"  # noqa: S608 - our own names
        self._runs = f"{self._schema}.run LEFT JOIN {self._schema}.lease ON lease.run = run.pk"

    def _rows(self, statement: str, given: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
        return self._connections.call(
            "reading", lambda connection: execute(connection, statement, given)
        )

    def info(self, run_id: str) -> RunInfo | None:
        """A run without its log, if there is one."""
        if not is_text(run_id):
            return None
        rows = self._rows(f"SELECT {COLUMNS} FROM {self._runs} WHERE run.id = %s", [run_id])  # noqa: S608 - our own names
        return info_of(rows[0]) if rows else None

    def list(
        self, *, workflow: str | None = None, status: str | None = None, limit: int | None = None
    ) -> list[RunInfo]:
        """Runs in the order of their creation."""
        wanted = {"workflow": workflow, "status": status}
        given = {name: value for name, value in wanted.items() if value is not None}
        if not all(map(is_text, given.values())):
            return []
        where = " AND ".join(f"run.{name} = %s" for name in given)
        rows = self._rows(
            f"SELECT {COLUMNS} FROM {self._runs} {'WHERE ' + where if where else ''} "  # noqa: S608 - our own names
            "ORDER BY run.pk LIMIT %s",
            [*given.values(), limit],
        )
        return [info_of(row) for row in rows]

    # ------------------------------------------------------------------------------------- logs

    def load(self, run_id: str, *, is_whole: bool = False) -> StoredRun:
        """A run with its log: from its newest snapshot on, or all that is there.

        Errors: `UnknownRun`, `Corrupt`.
        """
        if not is_text(run_id):
            raise unknown(run_id)

        def work(connection: Connection) -> StoredRun:
            with transaction(connection, READ):
                stored = self._loaded(connection, run_id, is_whole=is_whole)
                if is_whole or not looks_back(stored.events):
                    return stored
                return self._loaded(connection, run_id, is_whole=True)

        return self._connections.call("reading", work)

    def _loaded(self, connection: Connection, run_id: str, *, is_whole: bool) -> StoredRun:
        def rows(statement: str, *given: Any) -> Sequence[tuple[Any, ...]]:
            return execute(connection, statement.replace("{s}", self._schema), given)

        found = rows(
            f"SELECT {COLUMNS}, run.pk, run.base, run.link, run.base_link, run.seal "  # noqa: S608 - our own names
            f"FROM {self._runs} WHERE run.id = %s",
            run_id,
        )
        if not found:
            raise unknown(run_id)
        info = info_of(found[0][:-5])
        pk, base, last, link, noted = found[0][-5:]
        begin, first = base, []
        snapshots = rows(
            "SELECT position, body, link, seal FROM {s}.snapshot WHERE run = %s AND (position = %s OR %s) "
            "ORDER BY position DESC",
            *(pk, base, not is_whole),
        )
        for position, body, taken_at, mark in snapshots:
            if seal(taken_at, position, body) == mark:
                first = [(position, body)]
                begin, link = position, taken_at
                break
            if position == base:
                raise damaged(run_id, position, "the snapshot it begins with")
        if base and not first:
            raise damaged(run_id, base, "the snapshot it begins with is missing")
        if not first and link != first_link(run_id, info.run_key):
            raise damaged(run_id, 0, "its key")
        events = rows(
            "SELECT position, epoch, body, link FROM {s}.event WHERE run = %s AND position >= %s ORDER BY position",
            *(pk, begin),
        )
        check_chain(run_id, events, begin=begin, head=info.position, link=link, last=last)
        check_row(info, noted)
        bodies = [*first, *((row[0], row[2]) for row in events)]
        decoded = [self._decoded(connection, body, run_id, at) for at, body in bodies]
        intents = rows("SELECT attempt FROM {s}.intent WHERE run = %s", pk)
        marks = opened_intents(run_id, (mark for (mark,) in intents))
        owing = rows(
            "SELECT id, input FROM {s}.message WHERE run = %s AND input IS NOT NULL AND reply IS NULL",
            pk,
        )
        return StoredRun(
            info=info,
            events=tuple(decoded),
            intents=marks,
            owing={str(id): int(number) for id, number in owing},
        )

    def since(self, run_id: str, position: int) -> Sequence[Event]:
        """The events of a run from a position on. Errors: `UnknownRun`, `Corrupt`."""
        if not is_text(run_id):
            raise unknown(run_id)

        def work(connection: Connection) -> Sequence[Event]:
            with transaction(connection, READ):
                return self._later(connection, run_id, position)

        return self._connections.call("reading", work)

    def _later(self, connection: Connection, run_id: str, position: int) -> Sequence[Event]:
        def rows(statement: str, *given: Any) -> Sequence[tuple[Any, ...]]:
            return execute(connection, statement.replace("{s}", self._schema), given)

        found = rows("SELECT pk, head, base, link, base_link FROM {s}.run WHERE id = %s", run_id)
        if not found:
            raise unknown(run_id)
        pk, head, base, last, link = found[0]
        if position < base:
            return self._loaded(connection, run_id, is_whole=True).events
        begin = min(position, head)
        if begin > base:
            before = rows(
                "SELECT link FROM {s}.event WHERE run = %s AND position = %s", pk, begin - 1
            )
            if not before:
                raise damaged(run_id, begin - 1, "an event is missing")
            ((link,),) = before
        events = rows(
            "SELECT position, epoch, body, link FROM {s}.event WHERE run = %s AND position >= %s ORDER BY position",
            *(pk, begin),
        )
        check_chain(run_id, events, begin=begin, head=head, link=link, last=last)
        return [self._decoded(connection, row[2], run_id, row[0]) for row in events]

    def damaged_snapshots(self, run_id: str) -> Sequence[int]:
        """The positions of a run's snapshots that are not as they were written."""
        rows = self._rows(
            "SELECT position, body, snapshot.link, snapshot.seal "  # noqa: S608 - our own names
            f"FROM {self._schema}.snapshot JOIN {self._schema}.run ON run.pk = snapshot.run WHERE id = %s",
            [run_id],
        )
        return [at for at, body, link, mark in rows if seal(link, at, body) != mark]

    def _decoded(self, connection: Connection, body: bytes, run_id: str, position: int) -> Event:
        def fetch(mark: bytes) -> bytes:
            rows = execute(connection, self._blob, (mark,))
            if not rows:
                raise damaged(run_id, position, "a large value is missing")
            data: bytes = rows[0][0]
            return data

        return self._codec.decode_event(body, fetch)

    # --------------------------------------------------------------------------------- forgetting

    def delete(self, run_id: str) -> bool:
        """Forget a run; whether there was one."""
        if not is_text(run_id):
            return False
        self._places.forget([run_id])
        was_there = False

        def work(connection: Connection, doubt: Lost | None) -> bool:
            nonlocal was_there
            del doubt  # what was found before the connection broke is remembered
            with transaction(connection):
                gone = execute(connection, self._forget, (run_id,))
                was_there = was_there or bool(gone)
                for pk, run_key in gone:
                    execute(connection, self._forget_completed, (run_key,))
                    for table in PARTS:
                        execute(
                            connection,
                            f"DELETE FROM {self._schema}.{table} WHERE run = %s",  # noqa: S608 - our own names
                            (pk,),
                        )
            return was_there

        return self._connections.resolved("deleting a run from", work)
