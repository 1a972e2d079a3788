"""The tables, and the numbered scripts that make them from any earlier state.

Scripts only go forward, one transaction each. A released script is never edited: what changes is a new one.
"""

from __future__ import annotations

import re
import uuid
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from treadle.errors import SchemaTooNew, UsageError
from treadle.stores.postgres.driver import BEGIN, Connection, execute

NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,50}")

SCRIPTS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # `head`: the length of the log. `base`: the position of the first event that is still there.
        # `link`: the hash chain's link of the last event; `base_link`: that of the one before `base`.
        # `seal` covers what the log does not tell: status, note, wake_at, deadline_at, durability.
        # Times are seconds since 1970, as everywhere. Space is left in each page, and what changes with each append
        # is in no index, so that an append writes one new row version into the same page and touches no index.
        """
        CREATE TABLE {s}.run(
            pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            id text COLLATE "C" NOT NULL UNIQUE,
            workflow text COLLATE "C" NOT NULL,
            run_key text COLLATE "C" NOT NULL,
            fingerprint text COLLATE "C" NOT NULL,
            status text COLLATE "C" NOT NULL,
            note text,
            head bigint NOT NULL DEFAULT 0,
            base bigint NOT NULL DEFAULT 0,
            link bytea NOT NULL,
            base_link bytea NOT NULL,
            epoch bigint NOT NULL DEFAULT 0,
            crashes integer NOT NULL DEFAULT 0,
            trials integer NOT NULL DEFAULT 0,
            wake_at double precision,
            deadline_at double precision,
            durability text COLLATE "C" NOT NULL,
            seal bytea NOT NULL,
            created_at double precision,
            updated_at double precision
        ) WITH (fillfactor = 70)
        """,
        "CREATE INDEX run_listed ON {s}.run(workflow, pk)",
        "CREATE INDEX run_awake ON {s}.run(wake_at) WHERE wake_at IS NOT NULL",
        "CREATE INDEX run_running ON {s}.run(coalesce(wake_at, 0), pk) WHERE status = 'running'",
        # Who has a run, and until when by the server's clock; `mark` says by which claim. A run always has its row
        # here, so that a claim has something to lock.
        """
        CREATE TABLE {s}.lease(
            run bigint PRIMARY KEY,
            owner text COLLATE "C",
            until double precision,
            mark text COLLATE "C"
        ) WITH (fillfactor = 70)
        """,
        "CREATE INDEX lease_owned ON {s}.lease(owner) WHERE owner IS NOT NULL",
        """
        CREATE TABLE {s}.event(
            run bigint NOT NULL,
            position bigint NOT NULL,
            epoch bigint NOT NULL,
            body bytea NOT NULL,
            link bytea NOT NULL,
            PRIMARY KEY(run, position)
        )
        """,
        # The third guard of "applied exactly once", beside the engine's own and the expected head.
        """
        CREATE TABLE {s}.applied(
            run bigint NOT NULL,
            runnable bytea NOT NULL,
            PRIMARY KEY(run, runnable)
        )
        """,
        # Attempts of at-most-once steps that were about to begin.
        """
        CREATE TABLE {s}.intent(
            run bigint NOT NULL,
            attempt bytea NOT NULL,
            PRIMARY KEY(run, attempt)
        )
        """,
        # `link` is that of the last event before `position`; `seal` covers all of it.
        """
        CREATE TABLE {s}.snapshot(
            run bigint NOT NULL,
            position bigint NOT NULL,
            body bytea NOT NULL,
            link bytea NOT NULL,
            seal bytea NOT NULL,
            PRIMARY KEY(run, position)
        )
        """,
        # A message that was taken stays without its body, so that a second one of its id is known; `input` says which
        # input it became, and `reply` what came of it in the end, or why it was refused.
        """
        CREATE TABLE {s}.message(
            pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            run bigint NOT NULL,
            id text COLLATE "C" NOT NULL,
            kind text NOT NULL,
            body bytea,
            at double precision,
            input bigint,
            reply bytea,
            UNIQUE(run, id)
        )
        """,
        "CREATE INDEX message_waiting ON {s}.message(run, pk) WHERE body IS NOT NULL",
        "CREATE INDEX message_owing ON {s}.message(run) WHERE input IS NOT NULL AND reply IS NULL",
        """
        CREATE TABLE {s}.blob(
            hash bytea PRIMARY KEY,
            touched_at double precision NOT NULL,
            data bytea NOT NULL
        )
        """,
        "ALTER TABLE {s}.blob ALTER COLUMN data SET STORAGE EXTERNAL",  # it was compressed where that is worth it
        """
        CREATE TABLE {s}.blob_use(
            hash bytea NOT NULL,
            run bigint NOT NULL,
            PRIMARY KEY(hash, run)
        )
        """,
        "CREATE INDEX blob_use_run ON {s}.blob_use(run)",
        # What components gave, for later runs: nobody counts on a row being there.
        """
        CREATE TABLE {s}.cache(
            key text COLLATE "C" PRIMARY KEY,
            used_at double precision NOT NULL,
            size bigint NOT NULL,
            body bytea NOT NULL
        )
        """,
        "CREATE INDEX cache_used ON {s}.cache(used_at)",
        "ALTER TABLE {s}.cache ALTER COLUMN body SET STORAGE EXTERNAL",  # it was compressed where that is worth it
        # What the components of a run found there.
        """
        CREATE TABLE {s}.look(
            run bigint NOT NULL,
            component text COLLATE "C" NOT NULL,
            body bytea NOT NULL,
            PRIMARY KEY(run, component)
        )
        """,
        # What a transactional step gave: written in the transaction in which the step wrote.
        """
        CREATE TABLE {s}.completed(
            key text COLLATE "C" PRIMARY KEY,
            run_key text COLLATE "C" NOT NULL,
            body bytea NOT NULL
        )
        """,
        "CREATE INDEX completed_run ON {s}.completed(run_key)",
        # The runners that share limits, and until when each of them counts as being there.
        'CREATE TABLE {s}.runner(owner text COLLATE "C" PRIMARY KEY, until double precision NOT NULL)',
        # What each has of a limit or a rate, and how much it could use. Nothing here is counted up or down.
        """
        CREATE TABLE {s}.share(
            kind text COLLATE "C" NOT NULL,
            key text COLLATE "C" NOT NULL,
            owner text COLLATE "C" NOT NULL,
            held integer NOT NULL,
            need integer NOT NULL,
            per_s double precision NOT NULL,
            since double precision NOT NULL,
            PRIMARY KEY(kind, key, owner)
        )
        """,
        "CREATE INDEX share_owned ON {s}.share(owner)",
        """
        CREATE TABLE {s}.breaker(
            key text COLLATE "C" PRIMARY KEY,
            failures integer NOT NULL,
            opened_at double precision,
            tried_by text COLLATE "C",
            tried_until double precision NOT NULL
        )
        """,
    ),
)

VERSION: Final = len(SCRIPTS)


def mark_of(number: int) -> str:
    """What tells a script from any other; line breaks and indentation are none of it."""
    plain = ";".join(" ".join(statement.split()) for statement in SCRIPTS[number])
    return blake2b(plain.encode(), digest_size=8).hexdigest()


def check_name(schema: str) -> None:
    """Errors: `UsageError` if this cannot name the schema."""
    if not NAME.fullmatch(schema):
        raise UsageError(
            f"schema={schema!r:.80} is no plain name.",
            hint="small letters, digits and _ make one that needs no quotes.",
        )


def prepare(connection: Connection, schema: str, place: str) -> None:
    """Make the tables, or bring them up to date. Errors: `SchemaTooNew`, `UsageError`, those of psycopg."""
    version = version_of(connection, schema, place)
    for number in range(version, VERSION):
        _migrate(connection, schema, place, number)
    _check_scripts(connection, schema, place)


def look_into(connection: Connection, schema: str, place: str) -> None:
    """See that the tables are there and those of this version; nothing is made.

    Errors: `UsageError` if there is no store; `SchemaTooNew`; those of psycopg.
    """
    if version_of(connection, schema, place) == 0:
        raise UsageError(
            f"there is no store in the schema {schema!r} of {place}.",
            hint="?schema=NAME at the end names another one; `treadle run` or a runner makes one.",
        )
    _check_scripts(connection, schema, place)


def version_of(connection: Connection, schema: str, place: str) -> int:
    """How far the tables are, 0 where there are none. Errors: `SchemaTooNew`."""
    if not _has(connection, schema, "meta"):
        return 0
    (written,) = _one(
        connection,
        f"SELECT (SELECT value FROM {schema}.meta WHERE key = 'version')",  # noqa: S608 - checked name
    )
    version = int(written or 0)
    if version > VERSION:
        raise SchemaTooNew(
            f"{place} was written by a later version (schema {version}, this one knows {VERSION}).",
            hint="install that version of treadle, or name another schema.",
        )
    return version


def _check_scripts(connection: Connection, schema: str, place: str) -> None:
    """Errors: `UsageError` where the tables were made by other scripts than these."""
    rows = execute(connection, f"SELECT key, value FROM {schema}.meta WHERE key LIKE 'script %'")  # noqa: S608 - checked name
    marks = {f"script {number + 1}": mark_of(number) for number in range(VERSION)}
    for name, mark in marks.items():
        if dict(rows).get(name) != mark:
            raise UsageError(
                f"the tables in the schema {schema!r} of {place} were made by another {name} than this version has.",
                hint="use the version of treadle that made them, or name another schema.",
            )


def _has(connection: Connection, schema: str, name: str) -> bool:
    """Whether the schema has tables of such a name, also those that another connection made a moment ago.

    Reading the catalogue's table sees them; `to_regclass` may answer from what this connection remembers.
    """
    rows = execute(
        connection,
        "SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = %s AND relname LIKE %s LIMIT 1",
        (schema, name),
    )
    return bool(rows)


def _check_free(connection: Connection, schema: str, place: str) -> None:
    if _has(connection, schema, "%"):
        raise UsageError(
            f"the schema {schema!r} of {place} holds tables of something else.",
            hint="name another one: PostgresStore(..., schema=...).",
        )


def _migrate(connection: Connection, schema: str, place: str, number: int) -> None:
    run = partial(execute, connection)
    run(BEGIN)
    # One at a time, also where many processes come up together; the lock goes with the transaction.
    run("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"treadle {schema}",))
    if version_of(connection, schema, place) == number:  # nobody else was quicker
        if number == 0:
            _check_free(connection, schema, place)
            run(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            run(f"CREATE TABLE {schema}.meta(key text PRIMARY KEY, value text NOT NULL)")
            made = ("store", uuid.uuid4().hex)
            run(f"INSERT INTO {schema}.meta VALUES (%s, %s)", made)  # noqa: S608 - checked name
        for statement in SCRIPTS[number]:
            run(statement.format(s=schema))
        made = (f"script {number + 1}", mark_of(number))
        run(f"INSERT INTO {schema}.meta VALUES (%s, %s)", made)  # noqa: S608 - checked name
        run(
            f"INSERT INTO {schema}.meta VALUES ('version', %s) "  # noqa: S608 - checked name
            "ON CONFLICT(key) DO UPDATE SET value = excluded.value",
            (str(number + 1),),
        )
    run("COMMIT")


def _one(connection: Connection, statement: str) -> tuple[Any, ...]:
    (found,) = execute(connection, statement)
    return found
