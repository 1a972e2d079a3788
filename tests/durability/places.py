"""Where processes are killed: in memory, if there is such a place; a kill leaves the system's cache as it is."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from threading import Event
from time import time
from typing import Any

from treadle.wiring import make_store

IN_MEMORY = "/dev/shm"


def quick_place() -> tempfile.TemporaryDirectory[str]:
    """A folder in which syncing takes no time."""
    is_there = os.access(IN_MEMORY, os.W_OK)
    return tempfile.TemporaryDirectory(dir=IN_MEMORY if is_there else None)


def wait_for_the_lease(url: str, run_id: str) -> None:
    """Wait until anybody may have a run whose runner was killed; a file is anybody's at once."""
    if url.startswith("sqlite"):
        return
    store: Any = make_store(url)
    pause = Event()
    try:
        while (store.info(run_id).lease_until or 0) > time():
            pause.wait(0.01)
    finally:
        store.close()


@contextmanager
def looked_into(url: str) -> Generator[Any]:
    """The tables of a store, for who asks them past the store: a connection of the driver."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            yield connection
        return
    import psycopg

    place, _, schema = url.partition("?schema=")
    options = f"-c search_path={schema}"
    with psycopg.connect(place, autocommit=True, options=options) as server:
        yield server


def end_leases(url: str) -> None:
    """Let whoever comes next have all runs, as if time had passed."""
    if url.startswith("sqlite"):
        return  # the file is the next process's at once
    with looked_into(url) as server:
        if server.execute("SELECT to_regclass('lease')").fetchone() != (None,):
            server.execute("UPDATE lease SET until = 1 WHERE owner IS NOT NULL")
