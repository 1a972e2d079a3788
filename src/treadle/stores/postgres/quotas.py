"""Limits, rates and circuit breakers that all runners of a database share. All times are the server's.

One row says what one runner has of one limit. It counts as long as its runner is heard of (`runner.until`), and that of
a rate for `per_s` longer: what was begun in the last moment is within the window until then. Who is answered for a key
has its advisory lock meanwhile, so the answers for one key come one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import structs

from treadle.model.quotas import BreakerNews, Quota, QuotaWish, ShareWish
from treadle.stores.entries import is_text
from treadle.stores.postgres.connections import Connections, transaction
from treadle.stores.postgres.driver import BEGIN, Connection, execute
from treadle.stores.postgres.statements import NOW
from treadle.stores.quotas import Fuse, Holding, divided, judged

ONE_BY_ONE: Final = BEGIN.replace("BEGIN", "BEGIN ISOLATION LEVEL READ COMMITTED", 1)
"""What was written before a lock was had is seen, whatever the database's default says."""

AT_ONCE: Final = 64
"""So many keys are answered for in one transaction: each takes a lock, of which a server has some thousands."""

COME = """
INSERT INTO {s}.runner(owner, until) VALUES (%(owner)s, {now} + %(ttl)s::float8) ON CONFLICT DO NOTHING RETURNING 1
"""

STAY = """
UPDATE {s}.runner SET until = greatest(until, {now} + %(ttl)s::float8)
WHERE owner = %(owner)s AND until > {now} RETURNING 1
"""

TIDY = """
WITH gone AS (
    DELETE FROM {s}.share USING {s}.runner
    WHERE runner.owner = share.owner AND runner.until + share.per_s < {now} - 60 RETURNING 1)
DELETE FROM {s}.runner WHERE until < {now} - 86400
    AND NOT EXISTS (SELECT 1 FROM {s}.share WHERE share.owner = runner.owner)
"""

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(name, 2)) FROM unnest(%s::text[]) AS name"

SHARES = """
SELECT kind, key, share.owner, held, CASE WHEN until > {now} THEN need ELSE 0 END, since,
    share.owner = %(owner)s OR until + per_s > {now}
FROM unnest(%(kinds)s::text[], %(keys)s::text[]) AS asked(kind, key)
JOIN {s}.share USING (kind, key) JOIN {s}.runner USING (owner)
"""

SAVE = """
INSERT INTO {s}.share(kind, key, owner, held, need, per_s, since)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::int[], %s::int[], %s::float8[], %s::float8[])
ON CONFLICT(kind, key, owner) DO UPDATE SET held = excluded.held, need = excluded.need,
    per_s = excluded.per_s, since = excluded.since
"""

DROP = """
DELETE FROM {s}.share USING unnest(%s::text[], %s::text[], %s::text[]) AS gone(kind, key, owner)
WHERE share.kind = gone.kind AND share.key = gone.key AND share.owner = gone.owner
"""

FUSES = """
SELECT key, failures, opened_at, tried_by, tried_until FROM {s}.breaker WHERE key = ANY(%s::text[])
"""

SAVE_FUSE = """
INSERT INTO {s}.breaker(key, failures, opened_at, tried_by, tried_until) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT(key) DO UPDATE SET failures = excluded.failures, opened_at = excluded.opened_at,
    tried_by = excluded.tried_by, tried_until = excluded.tried_until
"""

BEAT = """
WITH kept AS (
    UPDATE {s}.runner SET until = {now} + %(ttl)s::float8
    WHERE owner = %(owner)s AND until > {now} AND until < {now} + 0.67 * %(ttl)s::float8 RETURNING until)
SELECT coalesce((SELECT until FROM kept), (SELECT until FROM {s}.runner WHERE owner = %(owner)s)) - {now},
    array(SELECT mine.kind || ' ' || mine.key FROM {s}.share AS mine
        WHERE mine.owner = %(owner)s AND mine.held > 0 AND EXISTS (
            SELECT 1 FROM {s}.share AS other JOIN {s}.runner USING (owner)
            WHERE other.kind = mine.kind AND other.key = mine.key AND other.owner <> mine.owner
                AND other.need > other.held AND runner.until > {now}))
"""

LEAVE = "UPDATE {s}.runner SET until = {now} WHERE owner = %(owner)s AND until > {now}"


class Quotas:
    """Divides limits and rates between runners, and keeps their circuit breakers."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._schema = connections.schema

    def _run(self, connection: Connection, text: str, given: Any) -> list[tuple[Any, ...]]:
        return execute(connection, text.format(s=self._schema, now=NOW), given)

    def ration(self, owner: str, ttl_s: float, wishes: Sequence[QuotaWish]) -> list[Quota] | None:
        """Answer wishes, in their order; None if nothing was heard of this owner for too long: its name is used up."""
        answers: list[Quota] = []
        for begin in range(0, len(wishes), AT_ONCE):
            some = wishes[begin : begin + AT_ONCE]
            given = {"owner": owner, "ttl": ttl_s}
            # Shares may be asked for twice. A breaker's failures may count twice if a commit's answer was lost.
            found = self._connections.call(
                "sharing the limits of",
                lambda connection, some=some, given=given: self._rationed(connection, some, given),  # type: ignore[misc]
            )
            if found is None:
                return None
            answers += found
        return answers

    def _rationed(
        self, connection: Connection, wishes: Sequence[QuotaWish], given: dict[str, Any]
    ) -> list[Quota] | None:
        with transaction(connection, ONE_BY_ONE):
            if self._run(connection, COME, given):
                self._run(connection, TIDY, None)
            elif not self._run(connection, STAY, given):
                return None
            names = sorted({f"{self._schema} {kind_of(wish)} {named(wish.key)}" for wish in wishes})
            execute(connection, LOCK, (names,))
            ((now,),) = self._run(connection, "SELECT {now}", None)
            shares = [wish for wish in wishes if isinstance(wish, ShareWish)]
            news = [wish for wish in wishes if isinstance(wish, BreakerNews)]
            answers: dict[tuple[str, str], Quota] = {}
            if shares:
                answers.update(self._divided(connection, shares, given, now))
            if news:
                answers.update(self._judged(connection, news, given, now))
        return [answers[kind_of(wish), wish.key] for wish in wishes]

    def _divided(
        self,
        connection: Connection,
        wishes: Sequence[ShareWish],
        given: dict[str, Any],
        now: float,
    ) -> dict[tuple[str, str], Quota]:
        owner: str = given["owner"]
        places = [(wish.kind, named(wish.key)) for wish in wishes]
        asked = {**given, "kinds": [kind for kind, _ in places], "keys": [key for _, key in places]}
        rows: dict[tuple[str, str], dict[str, Holding]] = {}
        gone: list[tuple[str, str, str]] = []
        for kind, key, whose, held, need, since, counts in self._run(connection, SHARES, asked):
            if counts:
                holding = Holding(owner=whose, held=held, need=need, since=since)
                rows.setdefault((kind, key), {})[whose] = holding
            else:
                gone.append((kind, key, whose))
        answers: dict[tuple[str, str], Quota] = {}
        saved: list[tuple[Any, ...]] = []
        for wish, place in zip(wishes, places, strict=True):
            others = rows.get(place, {})
            before = others.pop(owner, None)
            share, row = divided(wish, owner, before, [*others.values()], now)
            answers[wish.kind, wish.key] = share
            if row is None:
                gone.append((*place, owner))
            elif row != before:
                saved.append((*place, owner, row.held, row.need, wish.per_s, row.since))
        if saved:
            self._run(connection, SAVE, [list(column) for column in zip(*saved, strict=True)])
        if gone:
            self._run(connection, DROP, [list(column) for column in zip(*gone, strict=True)])
        return answers

    def _judged(
        self,
        connection: Connection,
        news: Sequence[BreakerNews],
        given: dict[str, Any],
        now: float,
    ) -> dict[tuple[str, str], Quota]:
        rows = self._run(connection, FUSES, ([named(each.key) for each in news],))
        fuses = {
            key: Fuse(failures=failures, opened_at=opened_at, tried_by=by, tried_until=until)
            for key, failures, opened_at, by, until in rows
        }
        answers: dict[tuple[str, str], Quota] = {}
        for each in news:
            place = named(each.key)
            before = fuses.get(place, Fuse())
            state, fuse = judged(each, given["owner"], before, now, given["ttl"])
            if fuse != before:
                self._run(connection, SAVE_FUSE, (place, *structs.astuple(fuse)))
            answers["breaker", each.key] = state
        return answers

    def beat(self, owner: str, ttl_s: float) -> tuple[float, frozenset[str]] | None:
        """Say that an owner is there. For how long its shares are its own, and which of them others want a part of.

        They are given as `"kind key"`. None: nothing was heard of it for too long.
        """
        given = {"owner": owner, "ttl": ttl_s}
        ((left_s, wanted),) = self._connections.call(
            "sharing the limits of", lambda connection: self._run(connection, BEAT, given)
        )
        if left_s is None or left_s <= 0:
            return None
        return float(left_s), frozenset(wanted)

    def leave(self, owner: str) -> None:
        """An owner is not there any more."""
        self._connections.call(
            "sharing the limits of",
            lambda connection: self._run(connection, LEAVE, {"owner": owner}),
        )


def kind_of(wish: QuotaWish) -> str:
    """Limits, rates and breakers of one key have nothing to do with one another."""
    return wish.kind if isinstance(wish, ShareWish) else "breaker"


def named(key: str) -> str:
    """A key as the server can keep it."""
    return key if is_text(key) else ascii(key)
