"""What the PostgreSQL store costs: appends of one or many writers against bare transactions of the same shape.

The server is a real one, started for these rows from the binaries of a wheel; without it they are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from threading import Thread
from typing import Any

from bench.measure import Bench, Effort, Measured, Skip, Work, compare, shown_number
from tests.stores.postgres.server import NoServer, new_server, remove
from treadle.codec import Codec
from treadle.errors import MissingExtra
from treadle.interfaces import Append, RunInfo
from treadle.model.events import Applied

BARE = (
    "CREATE TABLE run(pk int PRIMARY KEY, head bigint NOT NULL, link bytea NOT NULL, epoch bigint NOT NULL)",
    "CREATE TABLE event(run int, position bigint, body bytea NOT NULL, PRIMARY KEY(run, position))",
    "CREATE TABLE applied(run int, runnable bytea, PRIMARY KEY(run, runnable))",
)


@contextmanager
def served() -> Generator[str]:
    """How to connect to a server that is there for the time being. Errors: `Skip`."""
    try:
        from treadle.stores.postgres import PostgresStore  # noqa: F401 - is the driver there?

        server = new_server()
    except (MissingExtra, NoServer) as error:
        raise Skip(f"no PostgreSQL: {error}") from None
    try:
        yield server.conninfo
    finally:
        remove(server)


def event(position: int) -> Applied:
    """An outcome as small steps have it."""
    return Applied(position, "step", (position,), {"order": position, "state": "new"}, 1)


class Writer:
    """A run in the store, that grows by an event an append."""

    def __init__(self, conninfo: str, number: int) -> None:
        from treadle.stores.postgres import PostgresStore

        self._store = PostgresStore(conninfo, Codec())
        self._id = f"run-{number}"
        self._head = 0
        self._store.create(RunInfo(id=self._id, workflow="w", run_key=self._id))

    def write(self, count: int) -> None:
        """So many appends."""
        for position in range(self._head, self._head + count):
            append = Append(run_id=self._id, expected=position, events=(event(position),))
            assert self._store.append([append]) == [None]
        self._head += count

    def close(self) -> None:
        """Let go of it."""
        self._store.close()


class Bare:
    """A row that grows by transactions as anybody would write them: as safe, and as many rows."""

    def __init__(self, conninfo: str, number: int) -> None:
        import psycopg

        self._connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
        self._pk = number
        self._head = 0
        self._codec = Codec()
        if not number:
            for statement in BARE:
                self._connection.execute(statement)
        self._connection.execute("INSERT INTO run VALUES (%s, 0, '', 0)", (number,))

    def write(self, count: int) -> None:
        """So many transactions."""
        run, pk = self._connection.execute, self._pk
        for head in range(self._head, self._head + count):
            body, _ = self._codec.encode_event(event(head))
            mark = b"%16d" % head
            run("BEGIN")
            run(
                "UPDATE run SET head = %s, link = %b WHERE pk = %s AND head = %s AND epoch = 0",
                (head + 1, mark, pk, head),
            )
            run("INSERT INTO event VALUES (%s, %s, %b)", (pk, head, body))
            run("INSERT INTO applied VALUES (%s, %b)", (pk, mark))
            run("COMMIT")
        self._head += count

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()


def writers(count: int) -> Callable[[Effort], Measured]:
    """So many threads that append, each to a run of its own, with a connection of its own."""

    def measure(effort: Effort) -> Measured:
        each = effort.size(200, 20) // min(count, 4)
        with served() as conninfo, ExitStack() as stack:
            ours, bare = (
                [stack.enter_context(closing(kind(conninfo, n))) for n in range(count)]
                for kind in (Writer, Bare)
            )

            def at_once(made: list[Any]) -> Work:
                return Work(lambda _: together(made, each), each * count)

            ratio = compare(at_once(ours), at_once(bare), effort)
        rates = (
            f"{shown_number(1e9 / ratio.cost)} a second, bare {shown_number(1e9 / ratio.reference)}"
        )
        return ratio.measured(note=f"{count} writers; {rates}")

    return measure


def together(made: list[Any], each: int) -> None:
    """Let all of them write, and wait."""
    threads = [Thread(target=one.write, args=(each,)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def batch(effort: Effort) -> Measured:
    """One batch of a hundred runs' appends, as a busy runner makes them, against as many bare transactions."""
    runs, turns = 100, effort.size(10, 2)
    with served() as conninfo, ExitStack() as stack:
        from treadle.stores.postgres import PostgresStore

        store = stack.enter_context(closing(PostgresStore(conninfo, Codec())))
        bare = stack.enter_context(closing(Bare(conninfo, 0)))
        ids = [f"run-{number}" for number in range(runs)]
        store.append(
            [
                Append(run_id=id, expected=0, create=RunInfo(id=id, workflow="w", run_key=id))
                for id in ids
            ]
        )
        heads = [0]

        def write(_: Any) -> None:
            for position in range(heads[0], heads[0] + turns):
                events = (event(position),)
                faults = store.append(
                    [Append(run_id=id, expected=position, events=events) for id in ids]
                )
                assert not any(faults)
            heads[0] += turns

        work = Work(write, runs * turns)
        ratio = compare(work, Work(lambda _: bare.write(runs * turns), runs * turns), effort)
    note = f"{shown_number(1e9 / ratio.cost)} a second, in batches of {runs}"
    return ratio.measured(note=note)


BENCHES = [
    Bench("postgres.writer", "x bare transactions", writers(1), 2),
    Bench("postgres.writers_4", "x bare transactions", writers(4), 2),
    Bench("postgres.writers_16", "x bare transactions", writers(16), 2),
    Bench("postgres.batch", "x bare transactions", batch, 0.5),
]
