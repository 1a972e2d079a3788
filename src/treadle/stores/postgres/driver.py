"""The driver: which connections the store makes, and how long it waits for a server that says nothing."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from time import monotonic
from typing import Any, Final, TypeAlias, cast

from treadle.errors import MissingExtra, UsageError

try:
    import psycopg
    from psycopg import conninfo as words
except ImportError as error:
    raise MissingExtra(
        f"the PostgreSQL store needs the package 'psycopg' ({error}).",
        hint='pip install "treadle[postgres]"',
    ) from error

__all__ = [
    "BEGIN",
    "PIN",
    "READ",
    "SILENCE_S",
    "STEP",
    "SYNCED",
    "UNSYNCED",
    "Connection",
    "connect",
    "described",
    "execute",
    "place",
    "psycopg",
]
"""The driver itself too: whoever takes it from here is told how to install it."""

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

STATEMENT_S: Final = 60
"""How long the server works on one statement."""

LOCK_S: Final = 10
"""How long it waits for a row that another transaction keeps."""

IDLE_S: Final = 10
"""How long a transaction stays open whose client says nothing: a client that was stopped lets go of its locks."""

SILENCE_S: Final = 75.0
"""How long an answer may take: longer than the server would work on it."""

SETTINGS: Final[dict[str, Any]] = {
    "application_name": "treadle",
    "client_encoding": "UTF8",
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""What a connection string need not say; whatever it says counts."""

LIMITS: Final = (
    f"-c statement_timeout={STATEMENT_S}s -c lock_timeout={LOCK_S}s "
    f"-c idle_in_transaction_session_timeout={IDLE_S}s"
)

UNWRITTEN: Final = "-c default_transaction_read_only=on"
"""Of a store that is only looked at: the server refuses to write."""

UNSYNCED: Final = "set_config('synchronous_commit', 'off', true)"
"""Within a transaction: its commit need not outlive the server's crash."""

NOT_OFF: Final = "set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on')"
"""Any other setting syncs to the server's disk at least, and stays."""

SYNCED: Final = f"{NOT_OFF}, true)"
"""Within a transaction: its commit outlives the server's crash, also where the server's own setting is off."""

PIN: Final = f"SELECT current_setting('synchronous_commit'), {NOT_OFF}, false)"
"""For a new connection: what the server would do, and from now on never less, whatever its setting becomes.

Behind a pooler the next transaction may be in another session, so where it is off each one has to say so.
"""

BEGIN: Final = (
    f"BEGIN; SET LOCAL statement_timeout = '{STATEMENT_S}s'; SET LOCAL lock_timeout = '{LOCK_S}s'; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_S}s'; SELECT {SYNCED}"
)
"""A transaction that several statements make. Its limits end with it, so that a pooler may pass the connection on."""

STEP: Final = BEGIN.replace(f"session_timeout = '{IDLE_S}s'", f"session_timeout = '{STATEMENT_S}s'")
"""A transaction in which a user's function writes: it thinks between its statements."""

READ: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    f"SET LOCAL statement_timeout = '{STATEMENT_S}s'; SET LOCAL idle_in_transaction_session_timeout = '600s'"
)
"""A transaction that reads: all that is read belongs together. What was read is decoded meanwhile."""


class Silent(psycopg.OperationalError):
    """The server did not answer, and did not hang up either."""


class Patient(psycopg.Connection[tuple[Any, ...]]):
    """A connection that gives up a server which stays silent.

    A half-open connection may look healthy to the system: a router that forgot it, or a pooler that hangs, still takes
    what is sent.
    """

    silence_s: float = SILENCE_S

    def wait(self, gen: Any, *given: Any, **named: Any) -> Any:
        """Wait for an answer; the driver asks now and then whether there is reason to stop."""
        return super().wait(bounded(gen, self.silence_s), *given, **named)


def bounded(waiting: Generator[Any, Any, Any], silence_s: float) -> Generator[Any, Any, Any]:
    """The same conversation with the server, which ends when nothing was heard for so long."""
    heard_at = monotonic()
    wish = next(waiting, None)
    while wish is not None:
        ready = yield wish
        if ready:
            heard_at = monotonic()
        elif monotonic() - heard_at > silence_s:
            waiting.close()
            raise Silent(f"the server said nothing for {silence_s:g} s")
        try:
            wish = waiting.send(ready)
        except StopIteration as end:
            return end.value
    return None


def described(conninfo: str) -> dict[str, Any]:
    """What a connection string says, and what it leaves to the store. Errors: `UsageError`."""
    try:
        said = words.conninfo_to_dict(conninfo)
    except psycopg.Error as error:
        raise UsageError(
            f"this is no connection string of PostgreSQL: {error}",
            hint='"postgresql://user@host:5432/database"',
        ) from None
    return {**SETTINGS, **said}


def connect(
    settings: dict[str, Any], *, silence_s: float = SILENCE_S, read_only: bool = False
) -> Connection:
    """A connection with the limits of the store. Errors: those of psycopg."""
    limits = f"{LIMITS} {UNWRITTEN}" if read_only else LIMITS
    ours = {**settings, "options": f"{limits} {settings.get('options') or ''}".strip()}
    try:
        return _connected(ours, silence_s)
    except psycopg.OperationalError as error:
        if "startup parameter" not in str(error):
            raise
        return _connected(settings, silence_s)  # a pooler that takes no options


def _connected(settings: dict[str, Any], silence_s: float) -> Connection:
    # Nothing is prepared in the server's session: behind a pooler the next statement may be in another one.
    connection = Patient.connect(autocommit=True, prepare_threshold=None, **settings)
    connection.silence_s = silence_s
    return connection


def execute(
    connection: Connection, statement: str, given: Sequence[Any] | Mapping[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """The rows that a statement gives, none where it gives none."""
    cursor = connection.execute(cast("Any", statement), given)
    return cursor.fetchall() if cursor.description is not None else []


def place(settings: dict[str, Any]) -> str:
    """Where the database is, for people: without any password."""
    host = settings.get("host") or settings.get("hostaddr") or "local"
    port = f":{settings['port']}" if settings.get("port") else ""
    name = settings.get("dbname") or settings.get("user") or ""
    return f"postgresql://{host}{port}/{name}"
