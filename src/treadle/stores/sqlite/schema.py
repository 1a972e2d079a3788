"""The tables, and the numbered scripts that make them from any earlier state.

Scripts only go forward, one transaction each. A released script is never edited: what changes is a new one.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x54524541
"""Written into the file's header, so that somebody else's database is not mistaken for ours ("TREA")."""

SCRIPTS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        # `head`: the length of the log. `base`: the position of the first event that is still there.
        # `link`: the hash chain's link of the last event; `base_link`: that of the one before `base`.
        # `seal` covers what the log does not tell: status, note, wake_at, deadline_at, durability.
        """
        CREATE TABLE run(
            pk INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            workflow TEXT NOT NULL,
            run_key TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            status TEXT NOT NULL,
            note TEXT,
            head INTEGER NOT NULL DEFAULT 0,
            base INTEGER NOT NULL DEFAULT 0,
            link BLOB NOT NULL,
            base_link BLOB NOT NULL,
            epoch INTEGER NOT NULL DEFAULT 0,
            owner TEXT,
            lease_until REAL,
            crashes INTEGER NOT NULL DEFAULT 0,
            trials INTEGER NOT NULL DEFAULT 0,
            wake_at REAL,
            deadline_at REAL,
            durability TEXT NOT NULL,
            seal BLOB NOT NULL,
            created_at REAL,
            updated_at REAL
        ) STRICT
        """,
        "CREATE INDEX run_listed ON run(workflow, status, pk)",
        "CREATE INDEX run_awake ON run(wake_at) WHERE wake_at IS NOT NULL",
        "CREATE INDEX run_running ON run(coalesce(wake_at, 0), pk) WHERE status = 'running'",
        "CREATE INDEX run_owned ON run(owner) WHERE owner IS NOT NULL",
        # Without a rowid, the events of one run lie next to each other: loading it is one range.
        """
        CREATE TABLE event(
            run INTEGER NOT NULL,
            position INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            body BLOB NOT NULL,
            link BLOB NOT NULL,
            PRIMARY KEY(run, position)
        ) STRICT, WITHOUT ROWID
        """,
        # The third guard of "applied exactly once", beside the engine's own and the expected head.
        """
        CREATE TABLE applied(
            run INTEGER NOT NULL,
            runnable BLOB NOT NULL,
            PRIMARY KEY(run, runnable)
        ) STRICT, WITHOUT ROWID
        """,
        # Attempts of at-most-once steps that were about to begin.
        """
        CREATE TABLE intent(
            run INTEGER NOT NULL,
            attempt BLOB NOT NULL,
            PRIMARY KEY(run, attempt)
        ) STRICT, WITHOUT ROWID
        """,
        # `link` is that of the last event before `position`; `seal` covers all of it.
        """
        CREATE TABLE snapshot(
            run INTEGER NOT NULL,
            position INTEGER NOT NULL,
            body BLOB NOT NULL,
            link BLOB NOT NULL,
            seal BLOB NOT NULL,
            PRIMARY KEY(run, position)
        ) STRICT, WITHOUT ROWID
        """,
        # A message that was taken stays without its body, so that a second one of its id is known; `input` says which
        # input it became, and `reply` what came of it in the end, or why it was refused.
        """
        CREATE TABLE message(
            pk INTEGER PRIMARY KEY,
            run INTEGER NOT NULL,
            id TEXT NOT NULL,
            kind TEXT NOT NULL,
            body BLOB,
            at REAL,
            input INTEGER,
            reply BLOB,
            UNIQUE(run, id)
        ) STRICT
        """,
        "CREATE INDEX message_waiting ON message(run, pk) WHERE body IS NOT NULL",
        "CREATE INDEX message_owing ON message(run) WHERE input IS NOT NULL AND reply IS NULL",
        # What a transactional step gave: written in the transaction in which the step wrote.
        """
        CREATE TABLE completed(
            key TEXT PRIMARY KEY,
            run_key TEXT NOT NULL,
            body BLOB NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX completed_run ON completed(run_key)",
        # What components gave, for later runs: nobody counts on a row being there. Noting that one is used rewrites
        # only the page that its beginning is in, so the body stands last.
        """
        CREATE TABLE cache(
            pk INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,
            used_at REAL NOT NULL,
            size INTEGER NOT NULL,
            body BLOB NOT NULL
        ) STRICT
        """,
        "CREATE INDEX cache_used ON cache(used_at, size)",
        # What the components of a run found there.
        """
        CREATE TABLE look(
            run INTEGER NOT NULL,
            component TEXT NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY(run, component)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE blob(
            hash BLOB PRIMARY KEY,
            touched_at REAL NOT NULL,
            data BLOB NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE blob_use(
            hash BLOB NOT NULL,
            run INTEGER NOT NULL,
            PRIMARY KEY(hash, run)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX blob_use_run ON blob_use(run)",
    ),
)

VERSION: Final = len(SCRIPTS)
