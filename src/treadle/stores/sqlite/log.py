"""Logs in SQLite: one append is one guarded change of one run; a batch of them is one transaction."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import time
from typing import Any, Final

from treadle.errors import (
    Conflict,
    Corrupt,
    OutcomeUnknown,
    StoreError,
    StoreUnavailable,
    TreadleError,
    UnknownRun,
)
from treadle.interfaces import Append, Codec, RunInfo, StoredRun
from treadle.model.events import Event, comes_further, looks_back
from treadle.stores.chain import first_link, row_seal, seal, sealed_intent
from treadle.stores.entries import Drawn, Place, Written, cleaned, drawn, encoded, is_text
from treadle.stores.faults import (
    check_chain,
    check_row,
    conflict,
    damaged,
    duplicate,
    fenced,
    opened_intents,
    unknown,
)
from treadle.stores.inbox import letters_of
from treadle.stores.rows import info_of
from treadle.stores.sqlite.connections import Connections

COLUMNS: Final = (
    "id, workflow, run_key, fingerprint, status, head, created_at, updated_at, note, epoch, owner, lease_until, "
    "wake_at, crashes, deadline_at, durability, trials"
)

KNOWN: Final = 4096
"""Of so many runs is remembered what their log's last link is, which spares a look each time."""


NOTED: Final = ", status = ?, note = ?, wake_at = ?, deadline_at = ?, durability = ?, seal = ?"


def noted_in(append: Append) -> tuple[Any, ...] | None:
    """What an append says that stands beside the log; None if it says nothing of that."""
    if append.status is None:
        return None
    return (append.status, append.note, append.wake_at, append.deadline_at, append.durability)


class Rows:
    """Rows of several appends that are written with one statement: each call of SQLite gives other threads a turn."""

    def __init__(self) -> None:
        self.events: list[tuple[int, int, int, bytes, bytes]] = []
        self.applied: list[tuple[int, bytes]] = []

    def write(self, connection: sqlite3.Connection) -> None:
        """Write what has gathered; whoever is to read it calls this before."""
        if self.events:
            connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?)", self.events)
        if self.applied:
            connection.executemany("INSERT INTO applied VALUES (?, ?)", self.applied)
        self.events, self.applied = [], []


class SqliteLog:
    """The logs of a file."""

    def __init__(
        self, connections: Connections, codec: Codec, clock: Callable[[], float] = time
    ) -> None:
        self._connections = connections
        self.codec = codec
        self._clock = clock
        self._rows = Rows()
        self._places: OrderedDict[str, Place] = OrderedDict()
        self._noted: dict[str, tuple[Any, ...]] = {}
        """Of runs with a place, what stands beside the log, where this store wrote it: it need not be written again."""

    # ------------------------------------------------------------------------------------ writing

    def create(self, info: RunInfo) -> None:
        """Note a new run with an empty log. Errors: `DuplicateRun`."""
        begin = Append(run_id=info.id, expected=0, create=info, epoch=info.epoch, is_synced=False)
        (fault,) = self.append([begin])
        if fault is not None:
            raise fault

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        """Add to several logs in one transaction, each wholly or not at all, in the order given."""
        written = [encoded(self.codec, append) for append in batch]
        if len(written) == 1 or not any(isinstance(each, Written) for each in written):
            return [self._alone(each) if isinstance(each, Written) else each for each in written]
        try:
            return self._together(written)
        except OutcomeUnknown:
            return [self._again(each) if isinstance(each, Written) else each for each in written]
        except Corrupt:
            pass
        except StoreError as error:
            if not isinstance(error.__cause__, sqlite3.IntegrityError):
                raise
        # One of them broke the guard of the database, or met damage: the others are not to suffer for it.
        return [self._alone(each) if isinstance(each, Written) else each for each in written]

    def _together(self, written: Sequence[Written | Exception]) -> list[Exception | None]:
        places: list[tuple[str, Place]] = []
        told: list[Exception | None] = []
        is_synced = any(isinstance(each, Written) and each.append.is_synced for each in written)
        self._rows = Rows()
        try:
            with self._connections.writing(
                "appending to", is_synced=is_synced, is_runner=True
            ) as connection:
                for each in written:
                    if isinstance(each, Written):
                        place = self._write(connection, each)
                        if isinstance(place, Place):
                            places.append((each.append.run_id, place))
                            self._remember(each.append.run_id, place)
                        told.append(None if isinstance(place, Place) else place)
                    else:
                        told.append(each)
                self._rows.write(connection)
        except BaseException:
            for each in written:  # what was remembered is not so
                if isinstance(each, Written):
                    self._places.pop(each.append.run_id, None)
            raise
        return told

    def _alone(self, written: Written) -> Exception | None:
        run_id = written.append.run_id
        try:
            return self._together([written])[0]
        except OutcomeUnknown:
            return self._again(written)
        except Corrupt as error:
            return error
        except StoreError as error:
            if isinstance(error.__cause__, sqlite3.IntegrityError):
                return Conflict(
                    f"an outcome of {run_id!r} was to be applied a second time.",
                    hint="load the run and go on from there.",
                )
            raise

    def _again(self, written: Written) -> Exception | None:
        """After an error of the disk: read back whether it counts, and write it if it does not.

        The file was opened anew. Before anything is added to a log whose last commit was in doubt, all of that log is
        read again.
        """
        try:
            self.load_all(written.append.run_id)
        except Corrupt as error:
            return error
        except UnknownRun as error:
            if written.append.create is None:
                return error
        try:
            return self._together([written])[0]
        except OutcomeUnknown as error:
            raise StoreUnavailable(str(error), hint=error.hint) from error

    def _is_there(self, connection: sqlite3.Connection, written: Written, place: Place) -> bool:
        """Whether a log holds at this place what is to be written: an earlier try counted after all."""
        append, bodies = written.append, written.bodies
        if not bodies:
            return append.create is not None
        self._rows.write(connection)
        start = append.expected
        if written.baseline is not None:
            start = written.baseline.position
            folded = connection.execute(
                "SELECT body FROM snapshot JOIN run ON pk = run AND base = position WHERE run = ? AND position = ?",
                (place.pk, start),
            ).fetchone()
            if folded != (bodies[0],):
                return False
            bodies = bodies[1:]
        stored = connection.execute(
            "SELECT body FROM event WHERE run = ? AND position >= ? AND epoch = ? ORDER BY position LIMIT ?",
            (place.pk, start, append.epoch, len(bodies)),
        ).fetchall()
        return [body for (body,) in stored] == bodies

    def _write(self, connection: sqlite3.Connection, written: Written) -> Place | Exception:
        """Write one append within the open transaction, if the run stands where it is expected to."""
        append = written.append
        if append.create is not None and not self._create(connection, append.create):
            return duplicate(append.run_id)
        place = self._places.get(append.run_id)
        expected = append.expected
        if place is None or place.head != expected:
            found = self._look_up(connection, append)
            if isinstance(found, Exception):
                return found
            place = found
            self._noted.pop(append.run_id, None)
            if expected is not None and place.head != expected:
                if self._is_there(connection, written, place):
                    return place
                return conflict(append.run_id, place.head, expected)
        at = drawn(written.baseline, written.bodies, append.epoch, place)
        changed = connection.execute(*self._change(append, place, at))
        if not changed.rowcount:  # somebody else has it, or was here since we last looked
            self._places.pop(append.run_id, None)
            return self._write(connection, written)
        if at.fold is not None:
            self._rows.write(connection)
            self._fold(connection, place.pk, at.start, at.fold)
        self._rows.events += [
            (place.pk, at.start + index, append.epoch, body, at.chain[index])
            for index, body in enumerate(at.bodies)
        ]
        self._write_rest(connection, place.pk, written)
        return Place(place.pk, at.head, at.link)

    def _create(self, connection: sqlite3.Connection, info: RunInfo) -> bool:
        self._places.pop(info.id, None)
        info, link = cleaned(info), first_link(info.id, info.run_key)
        made = connection.execute(
            "INSERT INTO run(id, workflow, run_key, fingerprint, status, note, link, base_link, epoch, owner, "
            "lease_until, wake_at, deadline_at, durability, seal, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT(id) DO NOTHING",
            (
                info.id,
                info.workflow,
                info.run_key,
                info.fingerprint,
                info.status,
                info.note,
                link,
                link,
                info.epoch,
                info.owner,
                info.lease_until,
                info.wake_at,
                info.deadline_at,
                info.durability,
                row_seal(info.id, info),
                info.created_at,
                info.updated_at,
            ),
        )
        if made.rowcount:
            return True
        ours = connection.execute(  # a claim's owner is a name that nobody else has: an earlier try counted
            "SELECT 1 FROM run WHERE id = ? AND run_key = ? AND owner = ?",
            (info.id, info.run_key, info.owner),
        )
        return ours.fetchone() is not None

    def _change(self, append: Append, place: Place, at: Drawn) -> tuple[str, Any]:
        also, known = "", [at.head, at.link, append.at]
        trials = append.trials
        if comes_further(append.events):
            trials, also = trials or 0, ", crashes = 0"
        if trials is not None:
            also += ", trials = ?"
            known.append(trials)
        noted = noted_in(append)
        if noted is not None and self._noted.get(append.run_id) != noted:
            self._noted[append.run_id] = noted
            told = cleaned(append)
            also += NOTED
            known += [told.status, told.note, *noted[2:], row_seal(told.run_id, told)]
        statement = (
            f"UPDATE run SET head = ?, link = ?, updated_at = coalesce(?, updated_at){also} "  # noqa: S608 - our own words
            "WHERE pk = ? AND head = ? AND epoch = ?"
        )
        return statement, (*known, place.pk, place.head, append.epoch)

    def _look_up(
        self, connection: sqlite3.Connection, append: Append
    ) -> Place | StoreError | UnknownRun:
        pk = pk_of(connection, append.run_id)
        if pk is None:
            return unknown(append.run_id)
        head, link, epoch, owner = connection.execute(
            "SELECT head, link, epoch, owner FROM run WHERE pk = ?", (pk,)
        ).fetchone()
        if epoch != append.epoch:
            return fenced(append.run_id, owner, epoch, append.epoch)
        return Place(pk, head, link)

    def _fold(
        self,
        connection: sqlite3.Connection,
        pk: int,
        position: int,
        fold: tuple[bytes, bytes, bytes],
    ) -> None:
        """A baseline takes the place of all that was there."""
        body, link, mark = fold
        for table in ("event", "applied", "snapshot"):
            connection.execute(f"DELETE FROM {table} WHERE run = ?", (pk,))  # noqa: S608 - our own names
        connection.execute(
            "INSERT INTO snapshot VALUES (?, ?, ?, ?, ?)",
            (pk, position, body, link, mark),
        )
        connection.execute(
            "UPDATE run SET base = ?, base_link = ? WHERE pk = ?", (position, link, pk)
        )
        connection.execute("DELETE FROM blob_use WHERE run = ?", (pk,))

    def _write_rest(self, connection: sqlite3.Connection, pk: int, written: Written) -> None:
        self._rows.applied += [(pk, mark) for mark in written.marks]
        if written.append.intents:
            connection.executemany(
                "INSERT OR IGNORE INTO intent VALUES (?, ?)",
                [
                    (pk, sealed_intent(written.append.run_id, mark))
                    for mark in written.append.intents
                ],
            )
        if written.blobs:
            self.write_blobs(connection, pk, written.blobs)
        if written.append.consumed or written.append.replies:
            connection.executemany(
                "UPDATE message SET body = CASE WHEN ? THEN NULL ELSE body END, input = coalesce(input, ?), "
                "reply = coalesce(reply, ?) WHERE run = ? AND id = ?",
                [(*letter, pk, id) for id, letter in letters_of(written.append).items()],
            )

    def write_blobs(
        self, connection: sqlite3.Connection, pk: int, blobs: dict[bytes, bytes]
    ) -> None:
        """Keep large values, and note that a run refers to them."""
        now = self._clock()
        connection.executemany(
            "INSERT INTO blob VALUES (?, ?, ?) ON CONFLICT(hash) DO UPDATE SET touched_at = excluded.touched_at",
            [(mark, now, data) for mark, data in blobs.items()],
        )
        connection.executemany(
            "INSERT OR IGNORE INTO blob_use VALUES (?, ?)", [(mark, pk) for mark in blobs]
        )

    def _remember(self, run_id: str, place: Place) -> None:
        self._places[run_id] = place
        self._places.move_to_end(run_id)
        if len(self._places) > KNOWN:
            forgotten, _ = self._places.popitem(last=False)
            self._noted.pop(forgotten, None)

    def delete(self, run_id: str) -> bool:
        """Forget a run; whether there was one."""
        self._places.pop(run_id, None)
        with self._connections.writing("deleting a run from", is_runner=True) as connection:
            found = connection.execute(
                "SELECT pk, run_key FROM run WHERE pk = ?", (pk_of(connection, run_id),)
            ).fetchone()
            if found is None:
                return False
            row, run_key = found[:1], found[1:]
            connection.execute("DELETE FROM completed WHERE run_key = ?", run_key)
            for table in ("event", "applied", "intent", "snapshot", "message", "look", "blob_use"):
                connection.execute(f"DELETE FROM {table} WHERE run = ?", row)  # noqa: S608 - our own names
            connection.execute("DELETE FROM run WHERE pk = ?", row)
        return True

    # ------------------------------------------------------------------------------------ reading

    def info(self, run_id: str) -> RunInfo | None:
        """A run without its log, if there is one."""
        with self._connections.reading() as connection:
            row = connection.execute(
                f"SELECT {COLUMNS} FROM run WHERE pk = ?",  # noqa: S608 - our own names
                (pk_of(connection, run_id),),
            ).fetchone()
        return None if row is None else info_of(row)

    def list(
        self, *, workflow: str | None = None, status: str | None = None, limit: int | None = None
    ) -> list[RunInfo]:
        """Runs in the order of their creation."""
        wanted = {"workflow": workflow, "status": status}
        given = {name: value for name, value in wanted.items() if value is not None}
        if not all(map(is_text, given.values())):
            return []
        where = " AND ".join(f"{name} = :{name}" for name in given)
        with self._connections.reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM run {'WHERE ' + where if where else ''} "  # noqa: S608 - our own names
                "ORDER BY pk LIMIT :limit",
                given | {"limit": -1 if limit is None else limit},
            ).fetchall()
        return [info_of(row) for row in rows]

    def load(self, run_id: str) -> StoredRun:
        """A run with its log, from its newest snapshot on if there is one. Errors: `UnknownRun`, `Corrupt`."""
        stored = self._load(run_id, is_whole=False)
        return self._load(run_id, is_whole=True) if looks_back(stored.events) else stored

    def load_all(self, run_id: str) -> StoredRun:
        """A run with all of its log that is still there. Errors: `UnknownRun`, `Corrupt`."""
        return self._load(run_id, is_whole=True)

    def damaged_snapshots(self, run_id: str) -> Sequence[int]:
        """The positions of a run's snapshots that are not as they were written."""
        with self._connections.reading() as connection:
            row = connection.execute(
                "SELECT pk, base FROM run WHERE pk = ?", (pk_of(connection, run_id),)
            ).fetchone()
            found = () if row is None else snapshots(connection, *row, is_whole=False)
        return tuple(row[0] for row in found if not is_sealed(*row))

    def _load(self, run_id: str, *, is_whole: bool) -> StoredRun:
        try:
            return self._read(run_id, is_whole=is_whole)
        except TreadleError:
            raise
        except (TypeError, ValueError, OverflowError) as error:  # a number where bytes should be
            raise damaged(run_id, 0, "something in its rows") from error

    def _read(self, run_id: str, *, is_whole: bool) -> StoredRun:
        with self._connections.reading() as connection:
            pk = pk_of(connection, run_id)
            if pk is None:
                raise unknown(run_id)
            row = connection.execute(
                f"SELECT {COLUMNS}, base, link, base_link, seal FROM run WHERE pk = ?",  # noqa: S608 - our own names
                (pk,),
            ).fetchone()
            info = info_of(row[:-4])
            base, last, link, noted = row[-4:]
            begin, events = base, []
            for position, body, taken_at, mark in snapshots(
                connection, pk, base, is_whole=is_whole
            ):
                if is_sealed(position, body, taken_at, mark):
                    events = [self._decode(connection, body, run_id, position)]
                    begin, link = position, taken_at
                    break
                if position == base:
                    raise damaged(run_id, position, "the snapshot it begins with")
            if not events and base:
                raise damaged(run_id, base, "the snapshot it begins with is missing")
            if not events and link != first_link(run_id, info.run_key):
                raise damaged(run_id, 0, "its key")
            rows = connection.execute(
                "SELECT position, epoch, body, link FROM event WHERE run = ? AND position >= ? ORDER BY position",
                (pk, begin),
            ).fetchall()
            check_chain(run_id, rows, begin=begin, head=info.position, link=link, last=last)
            check_row(info, noted)
            events += [self._decode(connection, row[2], run_id, row[0]) for row in rows]
            intents = connection.execute("SELECT attempt FROM intent WHERE run = ?", (pk,))
            marks = opened_intents(run_id, (mark for (mark,) in intents))
            owing = connection.execute(
                "SELECT id, input FROM message WHERE run = ? AND input IS NOT NULL AND reply IS NULL",
                (pk,),
            ).fetchall()
        return StoredRun(info=info, events=tuple(events), intents=marks, owing=dict(owing))

    def since(self, run_id: str, position: int) -> Sequence[Event]:
        """The events of a run from a position on. Errors: `UnknownRun`, `Corrupt`."""
        with self._connections.reading() as connection:
            found = connection.execute(
                "SELECT pk, head, base, link, base_link FROM run WHERE pk = ?",
                (pk_of(connection, run_id),),
            ).fetchone()
            if found is None:
                raise unknown(run_id)
            pk, head, base, last, link = found
            if position < base:
                return self._load(run_id, is_whole=True).events
            begin = min(position, head)
            if begin > base:
                before = connection.execute(
                    "SELECT link FROM event WHERE run = ? AND position = ?", (pk, begin - 1)
                ).fetchone()
                if before is None:
                    raise damaged(run_id, begin - 1, "an event is missing")
                (link,) = before
            rows = connection.execute(
                "SELECT position, epoch, body, link FROM event WHERE run = ? AND position >= ? ORDER BY position",
                (pk, begin),
            ).fetchall()
            check_chain(run_id, rows, begin=begin, head=head, link=link, last=last)
            return [self._decode(connection, row[2], run_id, row[0]) for row in rows]

    def _decode(
        self, connection: sqlite3.Connection, body: bytes, run_id: str, position: int
    ) -> Event:
        def fetch(mark: bytes) -> bytes:
            row = connection.execute("SELECT data FROM blob WHERE hash = ?", (mark,)).fetchone()
            if row is None:
                raise damaged(run_id, position, "a large value is missing")
            data: bytes = row[0]
            return data

        return self.codec.decode_event(body, fetch)


def pk_of(connection: sqlite3.Connection, run_id: str) -> int | None:
    """Which row a run is. Errors: `Corrupt`, where the index of ids leads to the row of another run."""
    if not is_text(run_id):  # no run can be called so
        return None
    row = connection.execute(
        "SELECT kept.pk, kept.id FROM run AS found JOIN run AS kept ON kept.pk = found.pk WHERE found.id = ?",
        (run_id,),
    ).fetchone()
    if row is None:
        return None
    if row[1] != run_id:
        raise damaged(run_id, 0, "what its id leads to")
    pk: int = row[0]
    return pk


def snapshots(
    connection: sqlite3.Connection, pk: int, base: int, *, is_whole: bool
) -> Sequence[tuple[int, bytes, bytes, bytes]]:
    """The snapshots that a log may be read from, newest first; where all of it is wanted, that which it begins with."""
    return connection.execute(
        "SELECT position, body, link, seal FROM snapshot WHERE run = ? AND (position = ? OR ?) "
        "ORDER BY position DESC",
        (pk, base, not is_whole),
    ).fetchall()


def is_sealed(position: Any, body: Any, link: Any, mark: Any) -> bool:
    """Whether a snapshot is what was written; damage may have made any of it something else."""
    try:
        return bool(seal(link, position, body) == mark)
    except (TypeError, OverflowError):
        return False
