"""What the server's errors mean to who uses the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from treadle.errors import Corrupt, ReadOnly, StoreError, StoreFull, StoreUnavailable
from treadle.stores.postgres.driver import psycopg

CROSSED: Final = frozenset({"40001", "40P01"})
"""Two transactions were in each other's way, and one was given up: nothing of it counts."""

BROKEN: Final = ("08", "57P")
"""The connection is gone, or the server goes."""


def is_passing(error: psycopg.Error) -> bool:
    """Whether the same may work at once: another transaction was in the way."""
    return error.sqlstate in CROSSED


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection broke, so that nobody knows what became of the last statement."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith(BROKEN)


def as_ours(error: psycopg.Error, place: str, doing: str) -> StoreError:
    """What an error of the driver or the server is told as."""
    make: Callable[..., StoreError] = StoreError
    hint = "this is not expected: please report it."
    state = error.sqlstate or ""
    for prefix, kind, remedy in _MEANINGS:
        if state.startswith(prefix) and state:
            make, hint = kind, remedy
            break
    else:
        if is_lost(error):
            make, hint = (
                StoreUnavailable,
                "see that the server runs and can be reached, and that user and database are right.",
            )
    said = " ".join(str(error).split()) or type(error).__name__
    return make(f"{doing} {place}: {said} ({state or type(error).__name__}).", hint=hint)


_MEANINGS: Final[tuple[tuple[str, Callable[..., StoreError], str], ...]] = (
    ("53100", StoreFull, "make room on the server's disk; what waits is stored then."),
    ("53200", StoreUnavailable, "the server is out of memory."),
    (
        "53300",
        StoreUnavailable,
        "the server has no connection left: raise max_connections, or put a pooler in between.",
    ),
    ("53", StoreUnavailable, "the server lacks something: its log says what."),
    ("25006", ReadOnly, "this server is a standby, or was made read-only: name the primary."),
    ("42501", ReadOnly, "the user must be allowed to create and write the store's schema."),
    ("28", StoreUnavailable, "user, password or the server's pg_hba.conf is not as it should be."),
    ("3D", StoreUnavailable, "create the database first."),
    ("3F", StoreUnavailable, "the store's schema was removed."),
    ("42P01", StoreUnavailable, "the store's tables were removed."),
    (
        "08",
        StoreUnavailable,
        "see that the server runs and can be reached, and that user and database are right.",
    ),
    ("57", StoreUnavailable, "the server stops, starts, or took too long: it is tried again."),
    ("40", StoreUnavailable, "other transactions were in the way: try again."),
    ("55", StoreUnavailable, "another transaction keeps what is needed: try again."),
    ("25P03", StoreUnavailable, "the transaction took too long: try again."),
    ("XX", Corrupt, "the server's files are damaged, or it has a fault: look at its log."),
    ("58", StoreUnavailable, "the server's disk reports an error: look at its log."),
)
