"""Claims and messages in SQLite: who has which run, and what others want of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import time
from typing import Any

from treadle.interfaces import Codec, Message, RunInfo
from treadle.stores.sqlite.connections import Connections
from treadle.stores.sqlite.log import COLUMNS, info_of, unknown
from treadle.stores.transaction import Transaction

HAS_TO_DO = (
    "(status = 'running' OR wake_at <= :now OR "
    "EXISTS(SELECT 1 FROM message WHERE message.run = run.pk AND message.body IS NOT NULL))"
)


class SqliteSharing:
    """Leases, the inbox, and transactions of steps."""

    def __init__(self, connections: Connections, clock: Callable[[], float] = time) -> None:
        self._connections = connections
        self._clock = clock

    def claim(
        self,
        owner: str,
        ttl_s: float,
        *,
        run_id: str | None = None,
        workflows: Sequence[str] | None = None,
        limit: int = 1,
    ) -> list[RunInfo]:
        """Take runs that nobody has: one by its id, or those that have something to do now."""
        now = self._clock()
        known: dict[str, object] = {"owner": owner, "now": now, "until": now + ttl_s}
        known["limit"] = limit
        where = ["(owner IS NULL OR owner = :owner OR lease_until <= :now)"]
        if run_id is not None:
            where.append("id = :id")
            known["id"] = run_id
        else:
            where += [HAS_TO_DO, "status NOT IN ('stopped', 'cancelled', 'parked')"]
            where.append("(owner IS NULL OR owner <> :owner)")
        if workflows is not None:
            names = {f"workflow{index}": name for index, name in enumerate(workflows)}
            known |= names
            where.append(f"workflow IN ({', '.join(f':{name}' for name in names)})")
        chosen = f"SELECT pk FROM run WHERE {' AND '.join(where)} ORDER BY coalesce(wake_at, 0), pk LIMIT :limit"  # noqa: S608 - our own words
        if not self._is_any(chosen, known):
            return []
        with self._connections.writing(
            "claiming runs of", is_synced=False, is_runner=True
        ) as connection:
            rows = connection.execute(
                "UPDATE run SET crashes = crashes + "  # noqa: S608 - our own words
                "(coalesce(owner, :owner) <> :owner AND status = 'running'), owner = :owner, "
                "epoch = epoch + 1, lease_until = :until WHERE pk IN "
                f"({chosen}) RETURNING {COLUMNS}",
                known,
            ).fetchall()
        return [info_of(row) for row in rows]

    def _is_any(self, chosen: str, known: Mapping[str, object]) -> bool:
        """Whether there is anything to claim: looking needs no lock."""
        self._connections.take_lock()
        with self._connections.reading() as connection:
            return connection.execute(chosen, known).fetchone() is not None

    def renew(self, owner: str, ttl_s: float, epochs: Mapping[str, int]) -> set[str]:
        """Keep these runs for longer; give those of them that are still the owner's."""
        until = self._clock() + ttl_s
        still = set()
        with self._connections.writing("keeping runs of", is_synced=False) as connection:
            for run_id, epoch in epochs.items():
                changed = connection.execute(
                    "UPDATE run SET lease_until = ? WHERE id = ? AND epoch = ? AND owner = ?",
                    (until, run_id, epoch, owner),
                )
                if changed.rowcount:
                    still.add(run_id)
        return still

    def release(self, epochs: Mapping[str, int]) -> None:
        """Let go of these runs, in order."""
        with self._connections.writing("letting go of runs of", is_synced=False) as connection:
            connection.executemany(
                "UPDATE run SET owner = NULL, lease_until = NULL, crashes = 0 WHERE id = ? AND epoch = ?",
                list(epochs.items()),
            )

    def post(self, message: Message) -> bool:
        """Leave a message for a run; False if one of this id was left before. Errors: `UnknownRun`."""
        with self._connections.writing("leaving a message in") as connection:
            row = connection.execute(
                "SELECT pk FROM run WHERE id = ?", (message.run_id,)
            ).fetchone()
            if row is None:
                raise unknown(message.run_id)
            made = connection.execute(
                "INSERT INTO message(run, id, kind, body, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (*row, message.id, message.kind, message.body, message.at),
            )
            return bool(made.rowcount)

    def waiting(self, owner: str) -> list[Message]:
        """The messages for the runs that somebody has now, oldest first."""
        with self._connections.reading() as connection:
            rows = connection.execute(
                "SELECT message.id, run.id, kind, body, at FROM message JOIN run ON run.pk = message.run "
                "WHERE body IS NOT NULL AND owner = ? ORDER BY message.pk",
                (owner,),
            ).fetchall()
        return [
            Message(id=id, run_id=run_id, kind=kind, body=body, at=at)
            for id, run_id, kind, body, at in rows
        ]

    @contextmanager
    def transaction(self, codec: Codec, key: str, run_key: str) -> Iterator[Transaction]:
        """A transaction for one step: what it writes, and what it gave, stay together or not at all."""
        with self._connections.writing("a transactional step of", is_runner=True) as connection:

            def keep(value: Any) -> None:
                row = (key, run_key, codec.encode(value))
                connection.execute("INSERT INTO completed VALUES (?, ?, ?)", row)

            row = connection.execute("SELECT body FROM completed WHERE key = ?", (key,)).fetchone()
            yield Transaction(connection, None if row is None else (codec.decode(row[0]),), keep)

    def answered(self, run_id: str, message_id: str) -> bool | None:
        """Whether a message was taken; None if it was never left. Errors: `UnknownRun`."""
        with self._connections.reading() as connection:
            row = connection.execute(
                "SELECT body IS NULL FROM message WHERE run = (SELECT pk FROM run WHERE id = ?) AND id = ?",
                (run_id, message_id),
            ).fetchone()
        return None if row is None else bool(row[0])
