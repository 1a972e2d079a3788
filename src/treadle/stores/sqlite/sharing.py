"""Claims and messages in SQLite: who has which run, and what others want of it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from time import time
from typing import Any

from treadle.errors import OutcomeUnknown
from treadle.interfaces import Codec, Message, RunInfo, Standing
from treadle.stores.entries import is_text
from treadle.stores.faults import fenced, unknown
from treadle.stores.inbox import READ, overloaded, share, standings
from treadle.stores.rows import info_of
from treadle.stores.sealed import (
    check_message,
    left_message,
    opened_message,
    opened_reply,
    opened_result,
    sealed_message,
    sealed_result,
)
from treadle.stores.sqlite.connections import Connections
from treadle.stores.sqlite.log import COLUMNS, pk_of
from treadle.stores.transaction import Transaction
from treadle.stores.whole import Beside

logger = logging.getLogger("treadle.stores")

# The runs that messages wait for: from one to the next by the index, however many messages each of them has.
HAS = """
WITH RECURSIVE has(run) AS (
    SELECT min(run) FROM message WHERE body IS NOT NULL
    UNION ALL
    SELECT (SELECT min(run) FROM message WHERE run > has.run AND body IS NOT NULL) FROM has WHERE has.run IS NOT NULL)
"""

# The most overdue of each kind, by an index each, and then of all: a backlog is not gone through for each bite.
DUE = """
SELECT pk FROM (
    SELECT * FROM (SELECT pk, coalesce(wake_at, 0) AS due_at FROM run INDEXED BY run_running
        WHERE status = 'running' AND {free} ORDER BY coalesce(wake_at, 0), pk LIMIT :limit)
    UNION SELECT * FROM (SELECT pk, wake_at FROM run INDEXED BY run_awake
        WHERE wake_at <= :now AND {free} ORDER BY wake_at, pk LIMIT :limit)
    UNION SELECT pk, coalesce(wake_at, 0) FROM has JOIN run ON run.pk = has.run WHERE {free})
ORDER BY due_at, pk LIMIT :limit
"""

OF_OWNER = "SELECT run.pk FROM has JOIN run ON run.pk = has.run WHERE run.owner = ?"


class SqliteSharing:
    """Leases, the inbox, and transactions of steps."""

    def __init__(
        self,
        connections: Connections,
        clock: Callable[[], float] = time,
        max_waiting: int | None = None,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._max_waiting = max_waiting
        self._told_of: set[str] = set()
        self._in_doubt: dict[str, set[str]] = {}
        """By owner, the runs of which nobody heard whether their claim counted."""

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
        if run_id is not None and not is_text(run_id):
            return []
        if workflows is not None and not workflows:
            return []
        now = self._clock()
        known: dict[str, object] = {"owner": owner, "now": now, "until": now + ttl_s}
        known |= {"limit": limit, "id": run_id}
        if not self._is_any(*self._chosen(known, run_id, workflows)):
            return []
        infos: list[RunInfo] = []
        doubts = self._in_doubt.setdefault(owner, set())
        try:
            with self._connections.writing(
                "claiming runs of", is_synced=False, is_runner=True
            ) as connection:
                chosen, known = self._chosen(known, run_id, workflows)
                rows = connection.execute(
                    "UPDATE run SET crashes = crashes + "  # noqa: S608 - our own words
                    "(coalesce(owner, :owner) <> :owner AND status = 'running'), owner = :owner, "
                    "epoch = epoch + 1, lease_until = :until WHERE pk IN "
                    f"({chosen}) RETURNING {COLUMNS}",
                    known,
                ).fetchall()
                infos = [info_of(row) for row in rows]
                doubts.difference_update(info.id for info in infos)  # before another thread claims
        except (
            OutcomeUnknown
        ):  # they may be the owner's, who does not know: it may claim them again
            doubts.update(info.id for info in infos)
            raise
        return infos

    def _chosen(
        self, known: Mapping[str, object], run_id: str | None, workflows: Sequence[str] | None
    ) -> tuple[str, dict[str, object]]:
        """Which runs are to be had: a statement, and what it needs to know."""
        where, also = ["(owner IS NULL OR owner = :owner OR lease_until <= :now)"], dict(known)
        if run_id is not None:
            where.append("id = :id")
        else:
            where.append("status NOT IN ('stopped', 'cancelled', 'parked')")
            doubts = tuple(self._in_doubt.get(str(known["owner"]), ()))
            again = named("doubt", doubts, also)
            where.append(f"(owner IS NULL OR owner <> :owner OR id IN ({again}))")
        if workflows is not None:
            texts = [*filter(is_text, workflows)]
            where.append(f"workflow IN ({named('workflow', texts, also)})")
        are_free = " AND ".join(where)
        if run_id is not None:
            return f"SELECT pk FROM run WHERE {are_free}", also  # noqa: S608 - our own words
        return HAS + DUE.format(free=are_free), also

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
                "UPDATE run SET owner = NULL, lease_until = NULL, crashes = 0, trials = 0 WHERE id = ? AND epoch = ?",
                list(epochs.items()),
            )

    def post(self, message: Message) -> bool:
        """Leave a message for a run; False if one of this id was left before. Errors: `UnknownRun`, `Overloaded`."""
        with self._connections.writing("leaving a message in") as connection:
            pk = pk_of(connection, message.run_id)
            if pk is None:
                raise unknown(message.run_id)
            check_message(message)
            if self._is_full(connection, pk) and not is_there(connection, pk, message.id):
                raise overloaded(message.run_id, self._max_waiting)
            made = connection.execute(
                "INSERT INTO message(run, id, kind, body, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (pk, message.id, message.kind, sealed_message(message), message.at),
            )
            return bool(made.rowcount)

    def _is_full(self, connection: sqlite3.Connection, pk: int) -> bool:
        """Whether as many messages wait for a run as may."""
        if self._max_waiting is None:
            return False
        last = "SELECT 1 FROM message WHERE run = ? AND body IS NOT NULL LIMIT 1 OFFSET ?"
        return connection.execute(last, (pk, self._max_waiting - 1)).fetchone() is not None

    def waiting(self, owner: str, limit: int | None = None) -> list[Message]:
        """The messages for the runs that somebody has now, oldest first; those that are damaged are left out.

        With a limit, they are the oldest of each run, and about so many together.
        """
        self._connections.look_at_log()  # who leaves messages must not do that
        with self._connections.reading() as connection:
            pks = [pk for (pk,) in connection.execute(HAS + OF_OWNER, (owner,))]
            most = share(limit, len(pks))
            rows = [row for pk in pks for row in messages_of(connection, pk, most)]
        found = [self._opened(*row) for _, *row in sorted(rows)]
        return [message for message in found if isinstance(message, Message)]

    def damaged_messages(self, run_id: str) -> list[str]:
        """The ids of a run's messages that are not as they were left, and never reach it."""
        with self._connections.reading() as connection:
            pk = pk_of(connection, run_id)
            rows = [] if pk is None else messages_of(connection, pk, None)
        found = [self._opened(*row) for _, *row in rows]
        return [each for each in found if isinstance(each, str)]

    def damaged_replies(self, run_id: str) -> list[str]:
        """The ids of a run's messages of which what was told is not what is stored."""
        with self._connections.reading() as connection:
            rows = connection.execute(
                "SELECT id, reply FROM message WHERE run = ? AND reply IS NOT NULL ORDER BY pk",
                (pk_of(connection, run_id),),
            ).fetchall()
        return [id for id, stored in rows if opened_reply(run_id, id, stored) is None]

    def _opened(
        self, id: str, run_id: str, kind: str, stored: bytes, at: float | None
    ) -> Message | str:
        """A message as it was left; of one that is damaged, only the id, and the log is told once."""
        message = opened_message(id, run_id, kind, stored, at)
        if message is not None:
            return message
        if id not in self._told_of:
            self._told_of.add(id)
            logger.error("the message %r for run %r is damaged, and not handed on", id, run_id)
        return id

    def beside(self, codec: Codec, run_id: str) -> Beside:
        """What belongs to a run beside its log. Errors: `Corrupt`."""
        with self._connections.reading() as connection:
            row = (pk_of(connection, run_id),)
            left = connection.execute(
                "SELECT id, kind, body, at, input, reply FROM message WHERE run = ? ORDER BY pk",
                row,
            ).fetchall()
            gave = connection.execute(
                "SELECT key, run.run_key, body FROM completed JOIN run USING (run_key) WHERE pk = ? ORDER BY key",
                row,
            ).fetchall()
        messages = [left_message(run_id, each) for each in left]
        results = [(key, codec.decode(opened_result(key, *rest))) for key, *rest in gave]
        return Beside(messages=messages, results=results)

    def standing(self, asked: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Standing]:
        """How messages stand, by run and id."""
        statement = (
            f"SELECT run.id, message.id, {READ} FROM run JOIN message ON message.run = run.pk "  # noqa: S608 - our own words
            "WHERE run.id = ? AND message.id = ?"
        )
        with self._connections.reading() as connection:
            return standings(
                row
                for each in asked
                if all(map(is_text, each))
                for row in connection.execute(statement, each)
            )

    @contextmanager
    def transaction(
        self, codec: Codec, key: str, run_key: str, fence: tuple[str, int] | None
    ) -> Generator[Transaction]:
        """A transaction for one step: what it writes, and what it gave, stay together or not at all.

        Nobody can claim a run while it is open, so that it is fenced for all of its time where it is at its beginning.
        """
        with self._connections.writing("a transactional step of", is_runner=True) as connection:
            if fence is not None:
                check_fence(connection, *fence)

            def keep(value: Any) -> None:
                row = (key, run_key, sealed_result(key, run_key, codec.encode(value)))
                connection.execute("INSERT INTO completed VALUES (?, ?, ?)", row)

            row = connection.execute("SELECT body FROM completed WHERE key = ?", (key,)).fetchone()
            done = None if row is None else (codec.decode(opened_result(key, run_key, row[0])),)
            yield Transaction(connection, done, keep)


def check_fence(connection: sqlite3.Connection, run_id: str, epoch: int) -> None:
    """Errors: `Fenced`, `UnknownRun`, where a claim is not a run's newest any more."""
    row = connection.execute("SELECT owner, epoch FROM run WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        raise unknown(run_id)
    if row[1] != epoch:
        raise fenced(run_id, row[0], row[1], epoch)


def messages_of(connection: sqlite3.Connection, pk: int, most: int | None) -> list[tuple[Any, ...]]:
    """The oldest messages that wait for a run, by where they stand: id, run, kind, body, at."""
    return connection.execute(
        "SELECT message.pk, message.id, run.id, kind, body, at FROM message JOIN run ON run.pk = message.run "
        "WHERE message.run = ? AND body IS NOT NULL ORDER BY message.pk LIMIT ?",
        (pk, -1 if most is None else most),
    ).fetchall()


def is_there(connection: sqlite3.Connection, pk: int, message_id: str) -> bool:
    """Whether a message of this id was left for a run before."""
    row = connection.execute("SELECT 1 FROM message WHERE run = ? AND id = ?", (pk, message_id))
    return row.fetchone() is not None


def named(what: str, values: Sequence[str], known: dict[str, object]) -> str:
    """The names of values in a statement, by which they are known from now on."""
    names = {f"{what}{index}": value for index, value in enumerate(values)}
    known |= names
    return ", ".join(f":{name}" for name in names)
