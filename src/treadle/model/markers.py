"""Injection markers: what a parameter's default says it wants besides the inputs.

A parameter whose default is a marker is filled in when the runnable is prepared (for a condition: when its
fact is planned). Calling the component as an ordinary function uses the marker's own default, else a
`TypeError` names the marker.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from treadle.errors import UsageError
from treadle.model.sentinels import ABSENT

NOT_GIVEN: Final = ABSENT


class Marker(Struct, frozen=True):
    """One wish: `kind` is the name of the marker's function, `name` its target or key."""

    kind: str
    name: str = ""
    key: Any = None
    default: Any = NOT_GIVEN

    def __repr__(self) -> str:
        return f"{self.kind}({self.name!r})" if self.name else f"{self.kind}()"


def context(key: str, default: Any = NOT_GIVEN) -> Any:
    """Inject a value given at run time under `key`: the component's own before the global one.

    `default` may be a function of no arguments; it is called only when the value is needed.

    >>> def summarise(text, *, model=context("model", default="small")): ...
    """
    return Marker("context", key, default=default)


def state_of(name: str, key: Any = None) -> Any:
    """Inject the current state of accumulator `name`.

    `key`: for a keyed accumulator the key, or a function from this runnable's inputs to it; without one the
    whole dict of states is given.
    """
    return Marker("state_of", name, key=key)


def latest(name: str) -> Any:
    """Inject the newest value of component `name` over all inputs, `None` if there is none yet."""
    return Marker("latest", name)


def all_values(name: str) -> Any:
    """Inject the tuple of all values of component `name`, over all inputs, in the order of the log."""
    return Marker("all_values", name)


def count(name: str) -> Any:
    """Inject how many values component `name` has given, over all inputs."""
    return Marker("count", name)


def ran(name: str) -> Any:
    """Inject whether component `name` has given any value yet."""
    return Marker("ran", name)


def attempt() -> Any:
    """Inject the number of this attempt, counted from 1."""
    return Marker("attempt", default=1)


def idempotency_key() -> Any:
    """Inject a key that is the same for all attempts of this runnable and different for any other."""
    return Marker("idempotency_key")


def transaction() -> Any:
    """Inject a transaction of the database that the run is kept in: what is written there and what the step gave are
    committed together, or not at all.

    It has `execute(statement, parameters)` and `executemany`. Such a step needs a runner whose store is SQLite or
    PostgreSQL, is a plain function, and should be quick.
    """
    return Marker(TRANSACTION)


TRANSACTION: Final = "transaction"


class NoTransaction:
    """Stands where a transaction is to be, and says what is missing to whoever uses it without one."""

    def __getattr__(self, name: str) -> Any:
        raise UsageError(
            f"there is no transaction here to {name} in.",
            hint='a step that asks for td.transaction() needs a runner with store="sqlite:///..." or PostgreSQL.',
        )


READS_HISTORY: Final = frozenset({"state_of", "latest", "all_values", "count", "ran"})
"""The markers that read what has happened: the event then records the position they were read at."""
