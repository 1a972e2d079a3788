"""Appends: a batch is one transaction, and nearly always one statement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from time import time
from typing import Any, Final, NamedTuple, TypeAlias

from treadle.errors import (
    Conflict,
    Corrupt,
    OutcomeUnknown,
    ReadOnly,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from treadle.interfaces import Append, Codec
from treadle.stores.entries import Place, Written, beginning, encoded
from treadle.stores.faults import conflict, duplicate, fenced, unknown
from treadle.stores.postgres.connections import Connections, Lost, transaction
from treadle.stores.postgres.driver import SYNCED, UNSYNCED, Connection, execute, psycopg
from treadle.stores.postgres.entries import Entry, rounds_of
from treadle.stores.postgres.places import Places
from treadle.stores.postgres.statements import Statements, is_small

Answers: TypeAlias = dict[int, Exception | None]

OF_ALL: Final = (StoreUnavailable, StoreFull, ReadOnly, OutcomeUnknown, Corrupt)
"""What is wrong with the store, and not with one append."""

TURNS: Final = 3
"""So often an entry is tried whose run somebody else changed meanwhile."""


class Found(NamedTuple):
    """A run as it is now."""

    pk: int
    head: int
    link: bytes
    epoch: int
    base: int
    run_key: str
    owner: str | None


class Writing:
    """Writes to the logs of one schema."""

    def __init__(
        self,
        connections: Connections,
        codec: Codec,
        places: Places,
        clock: Callable[[], float] = time,
    ) -> None:
        self._connections = connections
        self._codec = codec
        self.places = places
        self.clock = clock
        self.schema = connections.schema
        self.statements = Statements(connections.schema)

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        """Add to several logs in one transaction, each wholly or not at all, in the order given."""
        given = [encoded(self._codec, append) for append in batch]
        written = [(n, each) for n, each in enumerate(given) if isinstance(each, Written)]
        answers: Answers = {n: each for n, each in enumerate(given) if isinstance(each, Exception)}
        try:
            answers |= self._together(written) if written else {}
        except StoreError as error:
            if isinstance(error, OF_ALL):
                raise
            # One of them breaks a rule of the database: the others are not to suffer for it.
            for one in written:
                answers |= self._alone(one)
        return [answers[n] for n in range(len(batch))]

    def _alone(self, one: tuple[int, Written]) -> Answers:
        try:
            return self._together([one])
        except StoreError as error:
            if isinstance(error, OF_ALL):
                raise
            if isinstance(error.__cause__, psycopg.errors.UniqueViolation):
                fault = Conflict(
                    f"an outcome of {one[1].append.run_id!r} was to be applied a second time.",
                    hint="load the run and go on from there.",
                )
                return {one[0]: fault}
            return {one[0]: error}

    def _together(self, written: Sequence[tuple[int, Written]]) -> Answers:
        is_synced = any(each.append.is_synced for _, each in written)

        def work(connection: Connection, doubt: Lost | None) -> Answers:
            rounds = rounds_of(written)
            commit = (SYNCED if self._connections.is_lax else "") if is_synced else UNSYNCED
            turn = _Turn(self, connection, commit=commit, in_doubt=doubt is not None)
            if len(rounds) == 1 and not any(entry.baseline for entry in rounds[0]):
                return turn.write(rounds[0])  # one statement is a transaction by itself
            with transaction(connection):
                for entries in rounds:
                    turn.write(entries)
            return turn.answers

        try:
            return self._connections.resolved("appending to", work)
        except BaseException:
            self.places.forget(each.append.run_id for _, each in written)
            self.places.doubt(each.append.run_id for _, each in written if each.append.create)
            raise


class _Turn:
    """One try at a batch, on one connection."""

    def __init__(
        self, writing: Writing, connection: Connection, *, commit: str, in_doubt: bool
    ) -> None:
        self.answers: Answers = {}
        self._connection = connection
        self._places = writing.places
        self._statements = writing.statements
        self._schema = writing.schema
        self._clock = writing.clock
        self._commit = commit
        self._in_doubt = in_doubt

    def write(self, entries: Sequence[Entry]) -> Answers:
        """Write these entries, of as many runs, and note what is wrong with each."""
        waiting = list(entries)
        for turn in range(TURNS):
            waiting = self._write_once(waiting, is_first=turn == 0)
            if not waiting:
                break
        for entry in waiting:
            fault = Conflict(
                f"the log of {entry.run_id!r} is being written to by somebody else.",
                hint="load the run and go on from there.",
            )
            self._tell(entry, fault)
        return self.answers

    def _write_once(self, entries: list[Entry], *, is_first: bool) -> list[Entry]:
        places = self._placed(entries, is_first=is_first)
        # All that write to the same runs take them in the same order, so that none waits for another crosswise.
        standing = sorted(places, key=lambda entry: places[entry].pk)
        if not standing:
            return []
        rows = [(entry, entry.drawn(places[entry]), places[entry]) for entry in standing]
        self._empty([(entry, place) for entry, _, place in rows if entry.baseline is not None])
        if len(rows) == 1 and is_small(standing[0]):
            statement, given = self._statements.alone(*rows[0], commit=self._commit)
        else:
            statement, given = self._statements.writing(
                rows, commit=self._commit, clock=self._clock()
            )
        done = {row[0]: row[1] for row in self._execute(statement, given)}
        for n, pk in done.items():
            entry, at, _ = rows[n]
            self._places.note(entry.run_id, Place(pk, at.head, at.link))
            self._tell(entry, None)
        return [entry for n, entry in enumerate(standing) if n not in done]

    def _empty(self, folding: list[tuple[Entry, Place]]) -> None:
        """Take away what baselines take the place of; what is locked here cannot change until the commit."""
        old = [(place.pk, place.head, entry.epoch) for entry, place in folding if not entry.create]
        if old:
            self._execute(self._statements.emptied, [list(each) for each in zip(*old, strict=True)])

    def _tell(self, entry: Entry, fault: Exception | None) -> None:
        if fault is not None and len(entry.items) > 1:
            for (
                number,
                written,
            ) in entry.items:  # of appends that follow each other, later ones may fit
                self.write([Entry(number, written)])
            return
        for number, _ in entry.items:
            self.answers[number] = fault

    def _execute(self, statement: str, given: Sequence[Any]) -> list[tuple[Any, ...]]:
        return execute(self._connection, statement, given)

    # ----------------------------------------------------------------------------- where logs stand

    def _placed(self, entries: Iterable[Entry], *, is_first: bool) -> dict[Entry, Place]:
        """Where the logs of these entries stand; those whose log stands elsewhere are answered."""
        places: dict[Entry, Place] = {}
        unsure: list[Entry] = []
        for entry in entries:
            known = self._places.get(entry.run_id)
            if not is_first:
                unsure.append(entry)
            elif entry.create is not None:
                places[entry] = beginning(entry.create)
            elif known is not None and known.head == entry.expected:
                places[entry] = known
            else:
                unsure.append(entry)
        if unsure:
            runs = self._look_up(unsure)
            for entry in unsure:
                place = self._judged(entry, runs.get(entry.run_id))
                if isinstance(place, Place):
                    places[entry] = place
                else:
                    self._tell(entry, place)
        return places

    def _look_up(self, entries: Iterable[Entry]) -> dict[str, Found]:
        rows = self._execute(
            "SELECT run.id, run.pk, head, link, epoch, base, run_key, lease.owner "  # noqa: S608 - our own names
            f"FROM {self._schema}.run LEFT JOIN {self._schema}.lease ON lease.run = run.pk "
            "WHERE run.id = ANY(%s::text[])",
            [[entry.run_id for entry in entries]],
        )
        return {row[0]: Found(*row[1:]) for row in rows}

    def _judged(self, entry: Entry, run: Found | None) -> Place | Exception | None:
        """Where a log stands, or why nothing can be added to it; None: all of it is there already."""
        if entry.create is not None:
            if run is None:  # it was there a moment ago
                return beginning(entry.create)
            at = entry.drawn(beginning(entry.create))
            is_ours = (run.run_key, run.epoch) == (entry.create.run_key, entry.epoch)
            # An owner is a name that nobody else has: then an earlier try counted.
            has_owner = entry.create.owner is not None and run.owner == entry.create.owner
            if has_owner and is_ours and (not entry.bodies or self._is_there(entry, run)):
                return None
            may_be = self._in_doubt or self._places.is_doubtful(entry.run_id)
            is_same = (run.head, run.link) == (at.head, at.link)
            return None if may_be and is_ours and is_same else duplicate(entry.run_id)
        if run is None:
            return unknown(entry.run_id)
        if run.epoch != entry.epoch:
            return fenced(entry.run_id, run.owner, run.epoch, entry.epoch)
        place, expected = Place(run.pk, run.head, run.link), entry.expected
        if expected is None or run.head == expected:
            known = self._places.get(entry.run_id)
            if known is not None and known.head == run.head and known.link != run.link:
                self._places.forget([entry.run_id])  # whoever is told so goes on from what there is
                return conflict(entry.run_id, run.head, run.head)  # the server lost what it had
            return place
        if self._is_there(entry, run):
            return None
        return conflict(entry.run_id, run.head, expected)

    def _is_there(self, entry: Entry, run: Found) -> bool:
        """Whether a log has these very events where they belong: an earlier try counted after all."""
        if not entry.bodies:
            return False
        bodies, begin = entry.bodies, entry.expected
        if entry.baseline is not None:
            if run.base != entry.baseline.position:
                return False
            folds = self._execute(
                f"SELECT body FROM {self._schema}.snapshot WHERE run = %s AND position = %s",  # noqa: S608 - our own names
                [run.pk, run.base],
            )
            if folds != [(bodies[0],)]:
                return False
            bodies, begin = bodies[1:], run.base
        stored = self._execute(
            f"SELECT body FROM {self._schema}.event WHERE run = %s AND position >= %s AND epoch = %s "  # noqa: S608 - our own names
            "ORDER BY position LIMIT %s",
            [run.pk, begin, entry.epoch, len(bodies)],
        )
        return list(chain.from_iterable(stored)) == bodies
