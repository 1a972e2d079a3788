"""What components gave, kept in SQLite for later runs, and what each run found there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from time import time
from typing import Final

from treadle.errors import StoreError
from treadle.interfaces import Trimmed
from treadle.stores.chain import stamped, unstamped
from treadle.stores.faults import damaged_entry
from treadle.stores.sqlite.connections import Connections
from treadle.stores.sqlite.log import pk_of

USED_FOR_S: Final = 600.0
"""That an entry is used is noted again after so long: noting it costs more than reading it."""

AT_ONCE: Final = 500
"""So many entries are let go of in one transaction, so that appends need not wait for long."""

TRIM: Final = """
SELECT pk, size, used_at FROM (
    SELECT pk, size, used_at, sum(size) OVER (ORDER BY used_at DESC, pk DESC) AS total FROM cache)
WHERE used_at <= :before OR total > :most ORDER BY used_at, pk
"""


class SqliteCache:
    """Entries by key. A power cut may take what was kept last."""

    def __init__(self, connections: Connections, clock: Callable[[], float] = time) -> None:
        self._connections = connections
        self._clock = clock

    def cached(self, key: str) -> bytes | None:
        """What was kept last under this key. Errors: `Corrupt`."""
        with self._connections.reading() as connection:
            row = connection.execute(
                "SELECT pk, used_at, body FROM cache WHERE key = ?", (key,)
            ).fetchone()
        if row is None:
            return None
        pk, used_at, stored = row
        body = unstamped(stored, key)
        if body is None:
            raise damaged_entry(key)
        now = self._clock()
        if not isinstance(used_at, float) or now - used_at > USED_FOR_S:
            self._touch(pk, now)
        return body

    def _touch(self, pk: int, now: float) -> None:
        """Note that an entry is used; where that cannot be written, it is used all the same."""
        with (
            suppress(StoreError),
            self._connections.writing("caching in", is_synced=False) as connection,
        ):
            connection.execute("UPDATE cache SET used_at = ? WHERE pk = ?", (now, pk))

    def put_cached(self, entries: Mapping[str, bytes]) -> None:
        """Keep these, each under its key, all or none of them."""
        now = self._clock()
        rows = [
            (key, now, len(key) + len(body), stamped(body, key)) for key, body in entries.items()
        ]
        with self._connections.writing("caching in", is_synced=False) as connection:
            connection.executemany(
                "INSERT INTO cache(key, used_at, size, body) VALUES (?, ?, ?, ?) ON CONFLICT(key) DO UPDATE "
                "SET used_at = excluded.used_at, size = excluded.size, body = excluded.body",
                rows,
            )

    def trim_cache(
        self, *, unused_for_s: float | None = None, most_bytes: int | None = None
    ) -> Trimmed:
        """Let go of what was not used for so long, then of the longest unused until no more than so much is left."""
        given = {
            "before": None if unused_for_s is None else self._clock() - unused_for_s,
            "most": most_bytes,
        }
        with self._connections.reading() as connection:
            going = connection.execute(TRIM, given).fetchall()
        entries = size = 0
        for at in range(0, len(going), AT_ONCE):
            with self._connections.writing("trimming the cache of", is_synced=False) as connection:
                for pk, its_size, used_at in going[at : at + AT_ONCE]:
                    gone = connection.execute(  # unless it was used meanwhile
                        "DELETE FROM cache WHERE pk = ? AND used_at = ?", (pk, used_at)
                    ).rowcount
                    entries, size = entries + gone, size + gone * its_size
                connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()
        with self._connections.reading() as connection:
            left, size_left = connection.execute(
                "SELECT count(*), coalesce(sum(size), 0) FROM cache"
            ).fetchone()
        return Trimmed(entries=entries, bytes=size, entries_left=left, bytes_left=size_left)

    def put_looks(self, run_id: str, looks: Mapping[str, bytes]) -> None:
        """Keep, by component, what a run found; nothing happens where there is no such run."""
        with self._connections.writing("caching in", is_synced=False) as connection:
            pk = pk_of(connection, run_id)
            if pk is not None:
                connection.executemany(
                    "INSERT OR REPLACE INTO look VALUES (?, ?, ?)",
                    [(pk, name, stamped(body, run_id, name)) for name, body in looks.items()],
                )

    def looks(self, run_id: str) -> dict[str, bytes]:
        """What the components of a run found, as far as it is what was written."""
        with self._connections.reading() as connection:
            rows = connection.execute(
                "SELECT component, body FROM look WHERE run = ? ORDER BY component",
                (pk_of(connection, run_id),),
            ).fetchall()
        found = {name: unstamped(stored, run_id, name) for name, stored in rows}
        return {name: body for name, body in found.items() if body is not None}
