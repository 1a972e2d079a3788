"""What durability costs: steps and workflows on SQLite against bare transactions, bytes on disk, and coming back."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import treadle as td
from bench.measure import Bench, Effort, Measured, Ratio, Work, compare, same, shown_number
from bench.runner_work import Stage, chain_of, stage
from treadle.codec import Codec
from treadle.interfaces import Append, RunInfo
from treadle.model.events import Event
from treadle.stores.sqlite import SqliteStore


@contextmanager
def folder() -> Generator[Path]:
    """A folder on the disk that the checkout is on: a file system in memory would prove nothing."""
    with TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as made:
        yield Path(made)


@contextmanager
def stored_stage(place: Path, **options: Any) -> Generator[Stage]:
    """A runner on a SQLite file there."""
    with stage(store=f"sqlite:///{place / 'runs.db'}", recover=False, **options) as made:
        yield made


def bare_file(place: Path) -> sqlite3.Connection:
    """A table as plain as can be, written to with the same promise."""
    connection = sqlite3.connect(place / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS event(position INTEGER PRIMARY KEY, body BLOB NOT NULL)"
    )
    return connection


# ------------------------------------------------------------------------------------------ speed


def chain(effort: Effort) -> Measured:
    """One run's chain, a commit a step, against as many bare commits of one row."""
    length = effort.size(200, 30)
    template, body = chain_of(same, length), b"x" * 60
    with folder() as place, stored_stage(place) as made, closing(bare_file(place)) as bare:

        def commits(_: Any) -> None:
            for _ in range(length):
                bare.execute("BEGIN IMMEDIATE")
                bare.execute("INSERT INTO event(body) VALUES (?)", (body,))
                bare.execute("COMMIT")

        work = made.work(template, [1], length)
        return compare(work, Work(commits, length), effort).measured(
            note=f"a chain of {length:,}, FULL"
        )


def crowd_in_bundles(effort: Effort) -> Measured:
    """The same as `crowd`, where a scheduler sends the five steps off together: they are stored together, too."""
    return crowd(effort, scheduler="chains")


def crowd(effort: Effort, **options: Any) -> Measured:
    """A hundred workflows of five steps at once against bare group commits of their events, and of nothing else."""
    count = effort.size(100, 10)
    template = chain_of(same, 5)
    rows = rows_of(template)
    with (
        folder() as place,
        stored_stage(place, executor="inline", **options) as made,
        closing(bare_file(place)) as bare,
    ):

        def commits(_: Any) -> None:
            for turn in itertools.zip_longest(*[rows] * count):
                bare.execute("BEGIN IMMEDIATE")
                bare.executemany("INSERT INTO event(body) VALUES (?)", [(row,) for row in turn])
                bare.execute("COMMIT")

        work = Work(lambda _: run_at_once(made, template, count), count, made.forget)
        ratio = compare(work, Work(commits, count), effort)
    return told_of_crowd(ratio, count)


def crowd_of_all_rows(effort: Effort) -> Measured:
    """The same against bare group commits of all rows that it leaves: runs and what was applied, too, indexed alike.

    What is left out of the reference is that each append also brings the row of its run up to date.
    """
    count = effort.size(100, 10)
    template = chain_of(same, 5)
    with folder() as place, stored_stage(place, executor="inline") as made:
        run_at_once(made, template, count)
        with closing(sqlite3.connect(place / "runs.db")) as written:
            found = {
                table: written.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own names
                for table in KEPT
            }
        store = SqliteStore(place / "bare.db", Codec())
        store.create(info("nobody"))
        store.close()
        turns = itertools.count(1)
        with closing(bare_file(place)) as bare:

            def commits(_: Any) -> None:
                turn = next(turns)
                for rows in groups_of(found, shift=turn * 1_000_000):
                    bare.execute("BEGIN IMMEDIATE")
                    for table, theirs in rows.items():
                        marks = ", ".join("?" * len(theirs[0]))
                        statement = f"INSERT INTO {table} VALUES ({marks})"  # noqa: S608 - our own names
                        bare.executemany(statement, theirs)
                    bare.execute("COMMIT")

            work = Work(lambda _: run_at_once(made, template, count), count, made.forget)
            ratio = compare(work, Work(commits, count), effort)
    return told_of_crowd(ratio, count)


KEPT = ("run", "event", "applied")
"""The tables in which a workflow that just runs leaves rows."""


def groups_of(
    found: dict[str, list[tuple[Any, ...]]], shift: int
) -> Generator[dict[str, list[tuple[Any, ...]]]]:
    """All rows as those of other runs, in groups as they are committed: runs, then events by their position.

    With the events of a position comes one of the rows of each run that say what was applied.
    """
    yield {"run": [(row[0] + shift, f"{shift}-{row[1]}", *row[2:]) for row in found["run"]]}
    events: dict[int, list[tuple[Any, ...]]] = {}
    for run, position, *rest in found["event"]:
        events.setdefault(position, []).append((run + shift, position, *rest))
    by_run: dict[int, list[tuple[Any, ...]]] = {}
    for run, mark in found["applied"]:
        by_run.setdefault(run, []).append((run + shift, mark))
    applied = list(zip(*by_run.values(), strict=True))
    for position, rows in sorted(events.items()):
        later = position - (len(events) - len(applied))
        yield {"event": rows} | ({"applied": list(applied[later])} if later >= 0 else {})


def run_at_once(made: Stage, template: td.Workflow, count: int) -> None:
    """Start so many runs at once, give each an input, and wait for all."""

    async def feed() -> None:
        made.ids = await asyncio.gather(*[made.runner.start(template) for _ in range(count)])
        tickets = await asyncio.gather(*[made.runner.run(id, 1) for id in made.ids])
        for ticket in tickets:
            await ticket

    made.loop.run(feed())


def told_of_crowd(ratio: Ratio, count: int) -> Measured:
    """How often that makes a second."""
    each = f"{shown_number(1e9 / ratio.cost)} a second, bare {shown_number(1e9 / ratio.reference)}"
    return ratio.measured(note=f"{count:,} workflows of 5 steps at once; {each}")


def rows_of(template: td.Workflow) -> list[bytes]:
    """The events of one input as bytes."""
    codec = Codec()
    return [codec.encode_event(event)[0] for event in template.react_until_satisfied(1).log()]


# ------------------------------------------------------------------------------------------ bytes


def size(effort: Effort) -> Measured:
    """The file after a checkpoint, by event, in parts of what is allowed: 2.5 times the encoded event and 60 bytes."""
    count = effort.size(2_000, 200)
    events = long_log(count)
    codec = Codec()
    encoded = sum(len(codec.encode_event(event)[0]) for event in events) / len(events)
    with folder() as place, closing(SqliteStore(place / "runs.db", codec)) as store:
        store.create(info("a"))
        for start in range(0, len(events), 5):
            store.append(
                [Append(run_id="a", expected=start, events=tuple(events[start : start + 5]))]
            )
        store.tidy_up()
        each = store.path.stat().st_size / len(events)
    allowed = 2.5 * encoded + 60
    note = f"{each:.0f} bytes an event of {encoded:.0f} encoded; {len(events):,} events"
    return Measured(each / allowed, note, {"bytes": each, "encoded": encoded})


def long_log(inputs: int) -> list[Event]:
    """The log of many inputs of a small chain."""
    workflow = chain_of(same, 5)
    for number in range(inputs):
        workflow = workflow.react_until_satisfied({"order": number, "state": "new"})
    return list(workflow.log())


def info(id: str) -> RunInfo:
    """A run to be stored."""
    return RunInfo(id=id, workflow="chain", run_key=id)


# ----------------------------------------------------------------------------------- coming back


def replay(effort: Effort) -> Measured:
    """Events folded in memory, in parts of the time that 300,000 a second take."""
    template = chain_of(same, 5)
    events = long_log(effort.size(20_000, 1_000))
    return in_time(
        effort,
        lambda: td.Workflow.from_log(template, events).position,
        len(events),
        300_000,
        "events",
    )


def load(effort: Effort) -> Measured:
    """Runs of 100 events read from SQLite, checked, decoded, folded; in parts of the time that 1,000 a second take."""
    runs = effort.size(300, 30)
    template = chain_of(same, 97)
    events = tuple(template.react_until_satisfied({"order": 1}).log())
    with folder() as place, closing(SqliteStore(place / "runs.db", Codec())) as store:
        ids = [f"run-{number}" for number in range(runs)]
        for start in range(0, runs, 100):
            batch = ids[start : start + 100]
            store.append(
                [Append(run_id=id, expected=0, create=info(id), events=events) for id in batch]
            )

        def load_all() -> None:
            for id in ids:
                td.Workflow.from_log(template, store.load(id).events)

        return in_time(effort, load_all, runs, 1_000, f"runs of {len(events)} events")


def in_time(
    effort: Effort, run: Callable[[], Any], units: int, a_second: int, what: str
) -> Measured:
    """How long it takes, in parts of what is allowed: the best of several goes, since others use the machine, too."""
    times: list[float] = []
    end = perf_counter() + effort.seconds
    while len(times) < effort.least or perf_counter() < end:
        begin = perf_counter()
        run()
        times.append(perf_counter() - begin)
    rate = units / min(times)
    return Measured(a_second / rate, f"{rate:,.0f} {what} a second; {a_second:,} asked")


def million(effort: Effort) -> Measured:
    """A run with a long past, brought back from its snapshot: seconds."""
    count = effort.size(1_000_000, 20_000)
    template = chain_of(same, 5)
    workflow = template
    for number in range(count // 7):
        workflow = workflow.react_until_satisfied(number)
    events: Sequence[Event] = workflow.log()
    with folder() as place, closing(SqliteStore(place / "runs.db", Codec())) as store:
        store.create(info("a"))
        for start in range(0, len(events), 5_000):
            part = tuple(events[start : start + 5_000])
            store.append([Append(run_id="a", expected=start, events=part, is_synced=False)])
        store.save_snapshot("a", 0, workflow.baseline())
        times = []
        for _ in range(3):
            begin = perf_counter()
            found = td.Workflow.from_log(template, store.load("a").events)
            times.append(perf_counter() - begin)
        assert found.position == workflow.position
    return Measured(min(times), f"{len(events):,} events, from its snapshot")


BENCHES = [
    Bench("durable.chain", "x bare commits", chain, 2),
    Bench("durable.crowd", "x bare commits", crowd, 10),
    Bench("durable.crowd_all_rows", "x bare commits", crowd_of_all_rows, 10),
    Bench("durable.crowd_bundles", "x bare commits", crowd_in_bundles, 10),
    Bench("durable.size", "of allowed", size, 1),
    Bench("durable.replay", "of allowed", replay, 1),
    Bench("durable.load", "of allowed", load, 1),
    Bench("durable.million", "s", million, 0.5),
]
