"""The statement that writes a round of entries: any number of runs in one go, each if it stands where expected.

One row per run is changed first; everything else is joined to the rows that were, so that an entry whose run has moved
on writes nothing, and its neighbours do not notice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from treadle.stores.chain import row_seal, sealed_intent
from treadle.stores.entries import Drawn, Place, cleaned
from treadle.stores.postgres.entries import Entry

NOW: Final = "extract(epoch FROM clock_timestamp())::float8"
"""The server's time, in seconds since 1970."""

MOVED: Final = """moved AS (
    UPDATE {s}.run AS r SET head = g.head, link = g.link, updated_at = coalesce(g.at, r.updated_at),
        crashes = CASE WHEN g.grows THEN 0 ELSE r.crashes END,
        trials = coalesce(g.trials, CASE WHEN g.grows THEN 0 ELSE r.trials END),
        status = coalesce(g.status, r.status),
        note = CASE WHEN g.status IS NULL THEN r.note ELSE g.note END,
        wake_at = CASE WHEN g.status IS NULL THEN r.wake_at ELSE g.wake_at END,
        deadline_at = CASE WHEN g.status IS NULL THEN r.deadline_at ELSE g.deadline_at END,
        durability = coalesce(g.durability, r.durability), seal = coalesce(g.seal, r.seal),
        base = coalesce(g.base, r.base), base_link = coalesce(g.base_link, r.base_link)
    FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %b::bytea[], %s::float8[],
        %s::bool[], %s::int[], %s::text[], %s::text[], %s::float8[], %s::float8[], %s::text[], %b::bytea[],
        %s::bigint[], %b::bytea[])
        AS g(n, pk, expected, epoch, head, link, at, grows, trials, status, note, wake_at, deadline_at, durability,
            seal, base, base_link)
    WHERE r.pk = g.pk AND r.head = g.expected AND r.epoch = g.epoch
    RETURNING g.n, r.pk)"""

MADE: Final = """given AS (
    SELECT * FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
        %s::bigint[], %b::bytea[], %b::bytea[], %b::bytea[], %s::bigint[], %s::float8[], %s::float8[], %s::float8[],
        %s::float8[], %s::text[], %b::bytea[], %s::text[], %s::float8[], %s::bigint[])
        AS g(n, id, workflow, run_key, fingerprint, status, note, head, link, base_link, first_link, epoch, wake_at,
            created_at, updated_at, deadline_at, durability, seal, owner, for_s, base)),
made AS (
    INSERT INTO {s}.run(id, workflow, run_key, fingerprint, status, note, head, link, base_link, epoch, wake_at,
        created_at, updated_at, deadline_at, durability, seal, base)
    SELECT id, workflow, run_key, fingerprint, status, note, head, link, coalesce(base_link, first_link), epoch,
        wake_at, created_at, updated_at, deadline_at, durability, seal, coalesce(base, 0) FROM given ORDER BY n
    ON CONFLICT (id) DO NOTHING RETURNING pk, id),
leased AS (
    INSERT INTO {s}.lease(run, owner, until)
    SELECT made.pk, given.owner, {now} + given.for_s FROM made JOIN given USING (id))"""

EVENTS: Final = """written AS (
    INSERT INTO {s}.event SELECT done.pk, g.position, g.epoch, g.body, g.link
    FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %b::bytea[], %b::bytea[]) AS g(n, position, epoch, body, link)
    JOIN done USING (n))"""

MARKS: Final = """marked AS (
    INSERT INTO {s}.applied SELECT done.pk, g.mark FROM unnest(%s::int[], %b::bytea[]) AS g(n, mark)
    JOIN done USING (n))"""

FOLDS: Final = """folded AS (
    INSERT INTO {s}.snapshot SELECT done.pk, g.position, g.body, g.link, g.seal
    FROM unnest(%s::int[], %s::bigint[], %b::bytea[], %b::bytea[], %b::bytea[]) AS g(n, position, body, link, seal)
    JOIN done USING (n))"""

BLOBS: Final = """kept AS (
    INSERT INTO {s}.blob SELECT g.hash, {now}, g.data FROM unnest(%b::bytea[], %b::bytea[]) AS g(hash, data)
    ON CONFLICT (hash) DO UPDATE SET touched_at = excluded.touched_at),
used AS (
    INSERT INTO {s}.blob_use SELECT g.hash, done.pk FROM unnest(%s::int[], %b::bytea[]) AS g(n, hash)
    JOIN done USING (n) ON CONFLICT DO NOTHING)"""

LETTERS: Final = """taken AS (
    UPDATE {s}.message AS m SET body = CASE WHEN g.is_taken THEN NULL ELSE m.body END,
        input = coalesce(m.input, g.input), reply = coalesce(m.reply, g.reply)
    FROM unnest(%s::int[], %s::text[], %s::bool[], %s::bigint[], %b::bytea[]) AS g(n, id, is_taken, input, reply)
    JOIN done USING (n) WHERE m.run = done.pk AND m.id = g.id)"""

INTENTS: Final = """intended AS (
    INSERT INTO {s}.intent SELECT done.pk, g.attempt FROM unnest(%s::int[], %b::bytea[]) AS g(n, attempt)
    JOIN done USING (n) ON CONFLICT DO NOTHING)"""

EMPTIED: Final = """
WITH r AS (
    SELECT run.pk FROM {s}.run JOIN unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS g(pk, head, epoch)
    ON run.pk = g.pk AND run.head = g.head AND run.epoch = g.epoch FOR NO KEY UPDATE OF run),
e AS (DELETE FROM {s}.event USING r WHERE run = r.pk),
a AS (DELETE FROM {s}.applied USING r WHERE run = r.pk),
p AS (DELETE FROM {s}.snapshot USING r WHERE run = r.pk),
u AS (DELETE FROM {s}.blob_use USING r WHERE run = r.pk)
SELECT count(*) FROM r
"""
"""What a baseline takes the place of."""


FEW: Final = 8
"""An entry of so many events is written as values; one that is larger, as arrays."""


def is_small(entry: Entry) -> bool:
    """Whether `Statements.alone` can write it."""
    is_special = entry.create or entry.baseline or entry.blobs or entry.letters or entry.intents
    return not is_special and len(entry.bodies) <= FEW


class Statements:
    """The statements of one schema."""

    def __init__(self, schema: str) -> None:
        def made(text: str) -> str:
            return text.format(s=schema, now=NOW)

        self._schema = schema
        self._moved, self._made, self._events = made(MOVED), made(MADE), made(EVENTS)
        self._marks, self._folds, self._blobs = made(MARKS), made(FOLDS), made(BLOBS)
        self._letters, self.emptied = made(LETTERS), made(EMPTIED)
        self._intents = made(INTENTS)

    def alone(self, entry: Entry, at: Drawn, place: Place, *, commit: str) -> tuple[str, list[Any]]:
        """Write one entry to a run that is there: the same as `writing`, and quicker for driver and server.

        `commit`: how it is to be committed, as an expression for the server; empty: as its connection does.

        Most appends of a runner that has little to do are of this kind.
        """
        head = "head = %s, link = %b, updated_at = coalesce(%s::float8, updated_at)"
        given: list[Any] = [at.head, at.link, entry.at]
        trials = entry.trials
        if entry.grows:
            head += ", crashes = 0"
            trials = trials or 0
        if trials is not None:
            head += ", trials = %s"
            given.append(trials)
        if entry.told is not None:
            head += ", status = %s, note = %s, wake_at = %s, deadline_at = %s, durability = %s, seal = %b"
            given += told_columns(entry)
        given += [place.pk, place.head, entry.epoch]
        parts = [
            f"moved AS (UPDATE {self._schema}.run SET {head} WHERE pk = %s AND head = %s AND epoch = %s RETURNING pk)"  # noqa: S608 - our own words
        ]
        if at.bodies:
            rows = ", ".join(["(%s::bigint, %s::bigint, %b::bytea, %b::bytea)"] * len(at.bodies))
            parts.append(
                f"written AS (INSERT INTO {self._schema}.event SELECT pk, g.* FROM moved, (VALUES {rows}) AS g)"  # noqa: S608 - our own words
            )
            for index, body in enumerate(at.bodies):
                given += [at.start + index, entry.epoch, body, at.chain[index]]
        if entry.marks:
            rows = ", ".join(["(%b::bytea)"] * len(entry.marks))
            parts.append(
                f"marked AS (INSERT INTO {self._schema}.applied SELECT pk, g.* FROM moved, (VALUES {rows}) AS g)"  # noqa: S608 - our own words
            )
            given += entry.marks
        return _joined(parts, "SELECT 0, pk", "FROM moved", commit), given

    def writing(
        self,
        rows: Sequence[tuple[Entry, Drawn, Place]],
        *,
        commit: str,
        clock: float,
    ) -> tuple[str, list[Any]]:
        """Write a round; gives the numbers of the rows that were written, each with its run's `pk`."""
        numbered = list(enumerate(rows))
        old = [row for row in numbered if row[1][0].create is None]
        new = [row for row in numbered if row[1][0].create is not None]
        parts: list[str] = []
        given: list[Any] = []

        def add(part: str, columns: Iterable[Iterable[Any]]) -> None:
            parts.append(part)
            given.extend(list(column) for column in columns)

        done = []
        if new:
            add(self._made, zip(*(made_row(n, *row, clock=clock) for n, row in new), strict=True))
            done.append("SELECT given.n, made.pk FROM made JOIN given USING (id)")
        if old:
            add(self._moved, zip(*(moved_row(n, *row) for n, row in old), strict=True))
            done.append("SELECT n, pk FROM moved")
        parts.append(f"done AS ({' UNION ALL '.join(done)})")
        self._add_rest(numbered, add)
        return _joined(parts, "SELECT n, pk", "FROM done", commit), given

    def _add_rest(
        self, numbered: Sequence[tuple[int, tuple[Entry, Drawn, Place]]], add: Any
    ) -> None:
        events, marks, folds, letters, uses = [], [], [], [], []
        intents: list[tuple[int, bytes]] = []
        blobs: dict[bytes, bytes] = {}
        for n, (entry, at, _) in numbered:
            events += [
                (n, at.start + index, entry.epoch, body, at.chain[index])
                for index, body in enumerate(at.bodies)
            ]
            marks += [(n, mark) for mark in entry.marks]
            if at.fold is not None:
                folds.append((n, at.start, *at.fold))
            letters += [(n, id, *letter) for id, letter in entry.letters.items()]
            uses += [(n, mark) for mark in entry.blobs]
            intents += [
                (n, sealed_intent(entry.run_id, mark)) for mark in dict.fromkeys(entry.intents)
            ]
            blobs |= entry.blobs
        rows: tuple[tuple[str, list[Any]], ...] = (
            (self._events, events),
            (self._marks, marks),
            (self._folds, folds),
            (self._letters, letters),
            (self._intents, intents),
        )
        for part, listed in rows:
            if listed:
                add(part, zip(*listed, strict=True))
        if blobs:
            ordered = sorted(
                blobs
            )  # two that keep the same ones do not wait for each other crosswise
            add(
                self._blobs,
                [ordered, [blobs[each] for each in ordered], *zip(*uses, strict=True)],
            )


def _joined(parts: Sequence[str], answer: str, source: str, commit: str) -> str:
    also = f", {commit}" if commit else ""
    return f"WITH {', '.join(parts)} {answer}{also} {source}"


def told_columns(entry: Entry) -> tuple[Any, ...]:
    """What an entry says of how its run stands, and what proves it."""
    told = entry.told
    if told is None:
        return (None,) * 6
    seal = row_seal(entry.run_id, told)
    return (told.status, told.note, told.wake_at, told.deadline_at, told.durability, seal)


def moved_row(n: int, entry: Entry, at: Drawn, place: Place) -> tuple[Any, ...]:
    """A run that is there, and what becomes of it."""
    return (
        n,
        place.pk,
        place.head,
        entry.epoch,
        at.head,
        at.link,
        entry.at,
        entry.grows,
        entry.trials,
        *told_columns(entry),
        at.base,
        None if at.fold is None else at.fold[1],
    )


def made_row(n: int, entry: Entry, at: Drawn, place: Place, *, clock: float) -> tuple[Any, ...]:
    """A run that begins, and what it is after its first entry.

    Its lease was reckoned by the runner's clock; how long it lasts is what counts by the server's.
    """
    info = entry.create
    assert info is not None
    said = entry.told or cleaned(info)
    lasts = None
    if info.lease_until is not None:
        lasts = info.lease_until - (clock if info.created_at is None else info.created_at)
    return (
        n,
        info.id,
        info.workflow,
        info.run_key,
        info.fingerprint,
        said.status,
        said.note,
        at.head,
        at.link,
        None if at.fold is None else at.fold[1],
        place.link,
        info.epoch,
        said.wake_at,
        info.created_at,
        info.updated_at if entry.at is None else entry.at,
        said.deadline_at,
        said.durability,
        row_seal(info.id, said),
        info.owner,
        lasts,
        at.base,
    )
