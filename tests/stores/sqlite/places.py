"""SQLite stores for tests: with a clock that is set by hand, and ways to reach below them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import time
from typing import Any

from treadle.codec import Codec
from treadle.interfaces import Append, RunInfo, Store
from treadle.model.events import InputAccepted
from treadle.stores.sqlite import SqliteStore


class HandClock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.at = time()

    def __call__(self) -> float:
        return self.at

    now = __call__


def clocked(path: Path) -> Any:
    """A store with a clock of its own."""
    return SqliteStore(path, Codec(), clock=HandClock())


def pass_time(store: Any, seconds: float) -> None:
    """Put a store's clock forward."""
    store._sharing._clock.at += seconds


@contextmanager
def below(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of one's own to the file of a store."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def damage_snapshot(store: Any, run_id: str) -> None:
    """Flip a bit of a run's newest snapshot."""
    with below(store.path) as connection:
        pk, position, body = connection.execute(
            "SELECT run, position, body FROM snapshot JOIN run ON pk = run WHERE id = ? "
            "ORDER BY position DESC LIMIT 1",
            (run_id,),
        ).fetchone()
        bad = body[:9] + bytes([body[9] ^ 1]) + body[10:]
        connection.execute(
            "UPDATE snapshot SET body = ? WHERE run = ? AND position = ?", (bad, pk, position)
        )


def damage_entry(store: Any, key: str) -> None:
    """Flip a bit of what is cached under a key."""
    with below(store.path) as connection:
        ((body,),) = connection.execute("SELECT body FROM cache WHERE key = ?", (key,)).fetchall()
        bad = body[:-1] + bytes([body[-1] ^ 1])
        connection.execute("UPDATE cache SET body = ? WHERE key = ?", (bad, key))


def accepted(position: int, value: Any = None) -> InputAccepted:
    """An event."""
    return InputAccepted(position, (position,), value)


def filled(store: Store, *names: str, count: int = 3) -> None:
    """Runs with some events each."""
    for name in names:
        store.create(RunInfo(id=name, workflow="w", run_key=f"key of {name}"))
        add(store, name, 0, *[accepted(at, f"{name} {at}") for at in range(count)])


def add(store: Store, run_id: str, expected: int, *events: Any, **fields: Any) -> None:
    """Append what has no reason to be refused."""
    append = Append(run_id=run_id, expected=expected, events=events, **fields)
    assert store.append([append]) == [None]
