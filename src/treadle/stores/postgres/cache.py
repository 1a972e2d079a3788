"""What components gave, kept in PostgreSQL for later runs, and what each run found there. Times are the server's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from treadle.errors import EncodeError, StoreError
from treadle.interfaces import Trimmed
from treadle.stores.chain import stamped, unstamped
from treadle.stores.entries import is_text
from treadle.stores.faults import damaged_entry
from treadle.stores.postgres.connections import Connections
from treadle.stores.postgres.driver import UNSYNCED, execute
from treadle.stores.postgres.statements import NOW

USED_FOR_S: Final = 600.0
"""That an entry is used is noted again after so long: noting it costs more than reading it."""

AT_ONCE: Final = 500
"""So many entries are let go of in one transaction, so that others need not wait for long."""

FIND: Final = "SELECT body, {now} - used_at FROM {s}.cache WHERE key = %(key)s"

TOUCH: Final = "UPDATE {s}.cache SET used_at = {now} WHERE key = %(key)s RETURNING {unsynced}"

# By the order of their keys, so that of two who keep the same entries none waits for the other in a circle.
PUT: Final = """
INSERT INTO {s}.cache AS c SELECT g.key, {now}, g.size, g.body
FROM unnest(%(keys)s::text[], %(sizes)s::bigint[], %(bodies)b::bytea[]) AS g(key, size, body) ORDER BY g.key
ON CONFLICT (key) DO UPDATE SET used_at = excluded.used_at, size = excluded.size, body = excluded.body
RETURNING {unsynced}
"""

TRIM: Final = """
SELECT key, used_at FROM (
    SELECT key, used_at, sum(size) OVER (ORDER BY used_at DESC, key DESC) AS total FROM {s}.cache) AS ranked
WHERE used_at <= {now} - %(unused)s::float8 OR total > %(most)s::bigint ORDER BY used_at, key
"""

LET_GO: Final = """
WITH old AS (
    SELECT c.key FROM {s}.cache AS c
    JOIN unnest(%(keys)s::text[], %(used)s::float8[]) AS g(key, used_at) ON c.key = g.key AND c.used_at = g.used_at
    FOR UPDATE OF c SKIP LOCKED),
gone AS (DELETE FROM {s}.cache AS c USING old WHERE c.key = old.key RETURNING c.size)
SELECT count(*), coalesce(sum(size), 0), {unsynced} FROM gone
"""

LEFT: Final = "SELECT count(*), coalesce(sum(size), 0) FROM {s}.cache"

NOTE: Final = """
INSERT INTO {s}.look AS l SELECT r.pk, g.component, g.body
FROM unnest(%(names)s::text[], %(bodies)b::bytea[]) AS g(component, body)
CROSS JOIN (SELECT pk FROM {s}.run WHERE id = %(run_id)s FOR KEY SHARE) AS r ORDER BY g.component
ON CONFLICT (run, component) DO UPDATE SET body = excluded.body
RETURNING {unsynced}
"""

LOOKS: Final = """
SELECT component, body FROM {s}.look JOIN {s}.run ON run.pk = look.run WHERE run.id = %(run_id)s ORDER BY component
"""


class Cache:
    """Entries by key. The server's crash may take what was kept last."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

        def made(text: str) -> str:
            return text.format(s=connections.schema, now=NOW, unsynced=UNSYNCED)

        self._find, self._note_use, self._put = made(FIND), made(TOUCH), made(PUT)
        self._trim, self._let_go, self._left = made(TRIM), made(LET_GO), made(LEFT)
        self._note, self._looks = made(NOTE), made(LOOKS)

    def cached(self, key: str) -> bytes | None:
        """What was kept last under this key. Errors: `Corrupt`."""
        if not is_text(key):
            return None
        rows = self._rows("reading", self._find, {"key": key})
        if not rows:
            return None
        stored, unused_s = rows[0]
        body = unstamped(bytes(stored), key)
        if body is None:
            raise damaged_entry(key)
        if unused_s > USED_FOR_S:
            with suppress(StoreError):  # it is used all the same
                self._rows("caching in", self._note_use, {"key": key})
        return body

    def put_cached(self, entries: Mapping[str, bytes]) -> None:
        """Keep these, each under its key, all or none of them."""
        for key in entries:
            if not is_text(key):
                raise EncodeError(f"the key {key!r:.80} cannot be written as text.")
        if entries:
            given = {
                "keys": [*entries],
                "sizes": [len(key) + len(body) for key, body in entries.items()],
                "bodies": [stamped(body, key) for key, body in entries.items()],
            }
            self._rows("caching in", self._put, given)

    def trim_cache(
        self, *, unused_for_s: float | None = None, most_bytes: int | None = None
    ) -> Trimmed:
        """Let go of what was not used for so long, then of the longest unused until no more than so much is left."""
        doing = "trimming the cache of"
        going = self._rows(doing, self._trim, {"unused": unused_for_s, "most": most_bytes})
        entries = size = 0
        for at in range(0, len(going), AT_ONCE):
            some = going[at : at + AT_ONCE]
            given = {"keys": [key for key, _ in some], "used": [used_at for _, used_at in some]}
            ((count, its_size, _),) = self._rows(doing, self._let_go, given)
            entries, size = entries + int(count), size + int(its_size)
        ((left, size_left),) = self._rows("reading", self._left, {})
        return Trimmed(
            entries=entries, bytes=size, entries_left=int(left), bytes_left=int(size_left)
        )

    def put_looks(self, run_id: str, looks: Mapping[str, bytes]) -> None:
        """Keep, by component, what a run found; nothing happens where there is no such run."""
        known = {name: body for name, body in looks.items() if is_text(name)}
        if known and is_text(run_id):
            bodies = [stamped(body, run_id, name) for name, body in known.items()]
            given = {"run_id": run_id, "names": [*known], "bodies": bodies}
            self._rows("caching in", self._note, given)

    def looks(self, run_id: str) -> dict[str, bytes]:
        """What the components of a run found, as far as it is what was written."""
        if not is_text(run_id):
            return {}
        rows = self._rows("reading", self._looks, {"run_id": run_id})
        found = {name: unstamped(bytes(stored), run_id, name) for name, stored in rows}
        return {name: body for name, body in found.items() if body is not None}

    def _rows(self, doing: str, statement: str, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._connections.call(
            doing, lambda connection: execute(connection, statement, given)
        )
