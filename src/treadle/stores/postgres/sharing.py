"""Claims and messages: who has which run, and what others want of it. All times are the server's."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from treadle.errors import StoreError
from treadle.interfaces import Codec, Message, RunInfo, Standing
from treadle.stores.entries import is_text
from treadle.stores.faults import fenced, unknown
from treadle.stores.inbox import MOST_OF_ONE, READ, overloaded, standings
from treadle.stores.postgres.connections import Connections, Lost
from treadle.stores.postgres.driver import STEP, SYNCED, UNSYNCED, Connection, execute, psycopg
from treadle.stores.postgres.reading import COLUMNS
from treadle.stores.postgres.statements import NOW
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
from treadle.stores.transaction import Transaction
from treadle.stores.whole import Beside

logger = logging.getLogger("treadle.stores")

BEGUN: Final = "extract(epoch FROM statement_timestamp())::float8"
"""The server's time when the statement began: the planner may look it up in an index."""

HAS: Final = """
has(run) AS (
    SELECT min(run) FROM {s}.message WHERE body IS NOT NULL
    UNION ALL
    SELECT (SELECT min(m.run) FROM {s}.message AS m WHERE m.run > has.run AND m.body IS NOT NULL)
    FROM has WHERE has.run IS NOT NULL)
"""
"""The runs that messages wait for: from one to the next by the index, however many messages each of them has."""

FREE: Final = """
(lease.owner IS NULL OR (lease.until <= {begun} AND lease.owner <> %(owner)s))
AND run.status NOT IN ('stopped', 'cancelled', 'parked')
AND (%(workflows)s::text[] IS NULL OR run.workflow = ANY(%(workflows)s::text[]))
"""

DUE: Final = """
WITH RECURSIVE {has},
at_work AS (
    SELECT run.pk FROM {s}.run JOIN {s}.lease ON lease.run = run.pk WHERE run.status = 'running' AND {free}
    ORDER BY coalesce(run.wake_at, 0), run.pk LIMIT %(limit)s + {spare}),
awake AS (
    SELECT run.pk FROM {s}.run JOIN {s}.lease ON lease.run = run.pk WHERE run.wake_at <= {begun} AND {free}
    ORDER BY run.wake_at, run.pk LIMIT %(limit)s + {spare}),
due AS (SELECT pk FROM at_work UNION SELECT pk FROM awake UNION SELECT run FROM has),
chosen AS (
    SELECT run.pk, lease.owner AS was
    FROM due JOIN {s}.run ON run.pk = due.pk JOIN {s}.lease ON lease.run = run.pk WHERE {free}
    ORDER BY coalesce(run.wake_at, 0), run.pk LIMIT %(limit)s
    FOR NO KEY UPDATE OF run, lease SKIP LOCKED),
"""
"""The most overdue of each kind, by an index each, and of these as many as are asked for: a backlog is not gone through
for each bite."""

SPARE: Final = 256
"""So many more are looked at, since other runners may be taking some of them at this moment."""

BY_ID: Final = """
WITH chosen AS (
    SELECT run.pk, lease.owner AS was
    FROM {s}.run JOIN {s}.lease ON lease.run = run.pk
    WHERE run.id = %(id)s AND (lease.owner IS NULL OR lease.owner = %(owner)s OR lease.until <= {begun})
        AND (%(workflows)s::text[] IS NULL OR run.workflow = ANY(%(workflows)s::text[]))
    FOR NO KEY UPDATE OF run, lease),
"""

TAKE: Final = """
moved AS (
    UPDATE {s}.run AS r SET epoch = r.epoch + 1,
        crashes = r.crashes + (coalesce(chosen.was, %(owner)s) <> %(owner)s AND r.status = 'running')::int
    FROM chosen WHERE r.pk = chosen.pk RETURNING r.*),
leased AS (
    UPDATE {s}.lease AS l SET owner = %(owner)s, until = {now} + %(ttl)s::float8, mark = %(mark)s
    FROM chosen WHERE l.run = chosen.pk RETURNING l.*)
SELECT {columns} FROM moved AS run JOIN leased AS lease ON lease.run = run.pk
ORDER BY coalesce(run.wake_at, 0), run.pk
"""

TAKEN: Final = """
SELECT {columns} FROM {s}.run JOIN {s}.lease ON lease.run = run.pk
WHERE lease.owner = %(owner)s AND lease.mark = ANY(%(marks)s::text[])
"""

RENEW: Final = """
UPDATE {s}.lease AS l SET until = {now} + %(ttl)s::float8
FROM unnest(%(ids)s::text[], %(epochs)s::bigint[]) AS g(id, epoch)
JOIN {s}.run AS r ON r.id = g.id AND r.epoch = g.epoch
WHERE l.run = r.pk AND l.owner = %(owner)s RETURNING r.id, {unsynced}
"""
"""A lease that was kept or let go of, and is not any more after the server's crash, only ends sooner or later."""

LOADS: Final = """
SELECT lease.owner, count(*) FILTER (WHERE run.status = 'running')
FROM {s}.lease JOIN {s}.run ON run.pk = lease.run
WHERE lease.owner IS NOT NULL AND lease.until > {begun} AND run.workflow = ANY(%(workflows)s::text[])
GROUP BY lease.owner
"""

RELEASE: Final = """
WITH r AS (
    UPDATE {s}.run SET crashes = 0, trials = 0 FROM unnest(%(ids)s::text[], %(epochs)s::bigint[]) AS g(id, epoch)
    WHERE run.id = g.id AND run.epoch = g.epoch RETURNING pk),
l AS (UPDATE {s}.lease SET owner = NULL, until = NULL, mark = NULL FROM r WHERE lease.run = r.pk)
SELECT {unsynced} FROM r
"""

POST: Final = """
WITH r AS (SELECT pk FROM {s}.run WHERE id = %(run_id)s FOR KEY SHARE),
crowd AS MATERIALIZED (
    SELECT %(most)s::bigint IS NOT NULL AND EXISTS(
        SELECT 1 FROM {s}.message WHERE run = (SELECT pk FROM r) AND body IS NOT NULL
        OFFSET %(most)s::bigint - 1) AS is_full),
m AS (
    INSERT INTO {s}.message(run, id, kind, body, at) SELECT pk, %(id)s, %(kind)s, %(body)b, %(at)s::float8 FROM r
    WHERE NOT (SELECT is_full FROM crowd) ON CONFLICT DO NOTHING RETURNING pk)
SELECT EXISTS(SELECT 1 FROM r), EXISTS(SELECT 1 FROM m), (SELECT is_full FROM crowd) AND NOT EXISTS(
    SELECT 1 FROM {s}.message WHERE run = (SELECT pk FROM r) AND id = %(id)s), {synced}
"""

WAITING: Final = """
WITH RECURSIVE {has},
mine AS MATERIALIZED (
    SELECT run.pk, run.id FROM has JOIN {s}.run ON run.pk = has.run JOIN {s}.lease ON lease.run = has.run
    WHERE lease.owner = %(owner)s),
bite AS (
    SELECT greatest(1, least({most_of_one}, %(limit)s::bigint / greatest(1, (SELECT count(*) FROM mine)))) AS most)
SELECT oldest.id, mine.id, kind, body, at FROM mine CROSS JOIN LATERAL (
    SELECT * FROM {s}.message WHERE message.run = mine.pk AND body IS NOT NULL ORDER BY pk
    LIMIT CASE WHEN %(limit)s::bigint IS NOT NULL THEN (SELECT most FROM bite) END) AS oldest
ORDER BY oldest.pk
"""

LEFT: Final = """
SELECT message.id, run.id, kind, body, at FROM {s}.run JOIN {s}.message ON message.run = run.pk
WHERE run.id = %(run_id)s AND body IS NOT NULL ORDER BY message.pk
"""

ALL_LEFT: Final = """
SELECT message.id, kind, body, at, input, reply FROM {s}.run JOIN {s}.message ON message.run = run.pk
WHERE run.id = %(run_id)s ORDER BY message.pk
"""

GAVE: Final = """
SELECT key, run_key, body FROM {s}.run JOIN {s}.completed USING (run_key)
WHERE run.id = %(run_id)s ORDER BY key
"""

STANDING: Final = """
SELECT g.run, g.id, {standing} FROM unnest(%(runs)s::text[], %(ids)s::text[]) AS g(run, id)
JOIN {s}.run ON run.id = g.run JOIN {s}.message ON message.run = run.pk AND message.id = g.id
"""

TOLD: Final = """
SELECT message.id, reply FROM {s}.run JOIN {s}.message ON message.run = run.pk
WHERE run.id = %(run_id)s AND reply IS NOT NULL ORDER BY message.pk
"""


class Sharing:
    """Leases, the inbox, and transactions of steps."""

    def __init__(self, connections: Connections, max_waiting: int | None = None) -> None:
        self._connections = connections
        self._max_waiting = max_waiting
        self._schema = connections.schema
        self._told_of: set[str] = set()
        self._unsure: dict[str, list[str]] = {}

        def made(text: str) -> str:
            return text.format(
                s=connections.schema,
                has=HAS.format(s=connections.schema),
                free=FREE.format(begun=BEGUN),
                spare=SPARE,
                most_of_one=MOST_OF_ONE,
                standing=READ,
                now=NOW,
                begun=BEGUN,
                columns=COLUMNS,
                unsynced=UNSYNCED,
                synced=SYNCED,
            )

        self._due, self._by_id, self._taken = made(DUE + TAKE), made(BY_ID + TAKE), made(TAKEN)
        self._renew, self._release = made(RENEW), made(RELEASE)
        self._loads, self._left = made(LOADS), made(LEFT)
        self._all_left, self._gave = made(ALL_LEFT), made(GAVE)
        self._post, self._waiting = made(POST), made(WAITING)
        self._standing, self._told = made(STANDING), made(TOLD)

    def claim(
        self,
        owner: str,
        ttl_s: float,
        *,
        run_id: str | None = None,
        workflows: Sequence[str] | None = None,
        limit: int = 1,
    ) -> list[RunInfo]:
        """Take runs that nobody has: one by its id, or those that have something to do now.

        Each claim is marked. One whose answer was lost is asked for by its mark before anything else is claimed: what
        it took would else be kept for this owner, who does not know.
        """
        if run_id is not None and not is_text(run_id):
            return []
        mark = uuid.uuid4().hex
        unsure = self._unsure.setdefault(owner, [])
        asked = list(unsure)
        given: dict[str, Any] = {"owner": owner, "ttl": ttl_s, "mark": mark, "id": run_id}
        given["limit"] = limit
        given["workflows"] = None if workflows is None else [*filter(is_text, workflows)]

        def work(connection: Connection, doubt: Lost | None) -> list[tuple[Any, ...]]:
            marks = [*asked, mark] if doubt is not None else asked
            if marks:
                rows = execute(connection, self._taken, {"owner": owner, "marks": marks})
                if rows and (run_id is None or run_id in {row[0] for row in rows}):
                    return [row for row in rows if run_id in {None, row[0]}]
            return execute(connection, self._due if run_id is None else self._by_id, given)

        try:
            rows = self._connections.resolved("claiming runs of", work)
        except StoreError:
            unsure.append(mark)
            raise
        if run_id is None:
            for each in asked:
                unsure.remove(each)
        return [info_of(row) for row in rows]

    def renew(self, owner: str, ttl_s: float, epochs: Mapping[str, int]) -> set[str]:
        """Keep these runs for longer; give those of them that are still the owner's."""
        if not epochs:
            return set()
        given = {"owner": owner, "ttl": ttl_s, "ids": [*epochs], "epochs": [*epochs.values()]}
        rows = self._connections.call(
            "keeping runs of", lambda connection: execute(connection, self._renew, given)
        )
        return {row[0] for row in rows}

    def loads(self, workflows: Sequence[str]) -> dict[str, int]:
        """How many running runs of these workflows each owner has, of those whose leases have not run out."""
        given = {"workflows": [*filter(is_text, workflows)]}
        rows = self._connections.call(
            "reading", lambda connection: execute(connection, self._loads, given)
        )
        return {str(owner): int(count) for owner, count in rows}

    def release(self, epochs: Mapping[str, int]) -> None:
        """Let go of these runs, in order."""
        if not epochs:
            return
        given = {"ids": [*epochs], "epochs": [*epochs.values()]}
        self._connections.call(
            "letting go of runs of",
            lambda connection: execute(connection, self._release, given),
        )

    def post(self, message: Message) -> bool:
        """Leave a message for a run; False if one of this id was left before. Errors: `UnknownRun`, `Overloaded`."""
        if not is_text(message.run_id):
            raise unknown(message.run_id)
        check_message(message)
        given = {
            "run_id": message.run_id,
            "id": message.id,
            "kind": message.kind,
            "body": sealed_message(message),
            "at": message.at,
            "most": self._max_waiting,
        }

        def work(connection: Connection, doubt: Lost | None) -> bool:
            ((is_known, is_new, is_too_much, _),) = execute(connection, self._post, given)
            if not is_known:
                raise unknown(message.run_id)
            if is_too_much:
                raise overloaded(message.run_id, self._max_waiting)
            return bool(is_new) or doubt is not None

        return self._connections.resolved("leaving a message in", work)

    def waiting(self, owner: str, limit: int | None = None) -> list[Message]:
        """The messages for the runs that somebody has now, oldest first; with a limit, the oldest of each run."""
        given = {"owner": owner, "limit": limit}
        rows = self._connections.call(
            "reading",
            lambda connection: execute(connection, self._waiting, given),
        )
        found = [self._opened(*row) for row in rows]
        return [message for message in found if isinstance(message, Message)]

    def damaged_messages(self, run_id: str) -> list[str]:
        """The ids of a run's messages that are not as they were left, and never reach it."""
        rows = self._connections.call(
            "reading",
            lambda connection: execute(connection, self._left, {"run_id": run_id}),
        )
        return [found for found in (self._opened(*row) for row in rows) if isinstance(found, str)]

    def damaged_replies(self, run_id: str) -> list[str]:
        """The ids of a run's messages of which what was told is not what is stored."""
        rows = self._connections.call(
            "reading", lambda connection: execute(connection, self._told, {"run_id": run_id})
        )
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

        def work(connection: Connection) -> Beside:
            given = {"run_id": run_id}
            left, gave = (execute(connection, each, given) for each in (self._all_left, self._gave))
            messages = [left_message(run_id, each) for each in left]
            results = [(key, codec.decode(opened_result(key, *rest))) for key, *rest in gave]
            return Beside(messages=messages, results=results)

        return self._connections.call("reading", work)

    def standing(self, asked: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Standing]:
        """How messages stand, by run and id."""
        fit = [each for each in asked if all(map(is_text, each))]
        given = {"runs": [run_id for run_id, _ in fit], "ids": [id for _, id in fit]}
        return standings(
            self._connections.call(
                "reading", lambda connection: execute(connection, self._standing, given)
            )
        )

    @contextmanager
    def transaction(
        self, codec: Codec, key: str, run_key: str, fence: tuple[str, int] | None
    ) -> Generator[Transaction]:
        """A transaction for one step: what it writes, and what it gave, stay together or not at all.

        A second execution of the same step waits until the first is through, and then finds what it gave. Errors of
        the step's own statements are the driver's, as its author knows them. It is fenced where it is committed: from
        then on nobody can claim the run before the commit is through.
        """
        completed = f"{self._schema}.completed"
        with self._connections.borrowed("a transactional step of") as connection:

            def keep(value: Any) -> None:
                row = (key, run_key, sealed_result(key, run_key, codec.encode(value)))
                execute(connection, f"INSERT INTO {completed} VALUES (%s, %s, %b)", row)  # noqa: S608 - our own names

            execute(connection, STEP)
            execute(connection, "SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (key,))
            rows = execute(connection, f"SELECT body FROM {completed} WHERE key = %s", (key,))  # noqa: S608 - our own names
            done = (codec.decode(opened_result(key, run_key, rows[0][0])),) if rows else None
            yield Transaction(connection, done, keep)
            if fence is not None:
                self._check_fence(connection, *fence)
            try:
                execute(connection, "COMMIT")
            except psycopg.OperationalError as error:
                raise Lost(" ".join(str(error).split())) from error

    def _check_fence(self, connection: Connection, run_id: str, epoch: int) -> None:
        """Errors: `Fenced`, `UnknownRun`, where a claim is not a run's newest any more."""
        rows = execute(
            connection,
            f"SELECT lease.owner, run.epoch FROM {self._schema}.run "  # noqa: S608 - our own names
            f"LEFT JOIN {self._schema}.lease ON lease.run = run.pk WHERE run.id = %s FOR SHARE OF run",
            (run_id,),
        )
        if not rows:
            raise unknown(run_id)
        owner, newest = rows[0]
        if newest != epoch:
            raise fenced(run_id, owner, newest, epoch)
