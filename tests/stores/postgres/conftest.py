"""Stores on the one server; each test has a schema of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.stores.postgres.server import Server

NUMBERS = itertools.count()


@pytest.fixture
def open_store(server: Server) -> Iterator[Callable[..., Any]]:
    """Opens stores of one schema, which is this test's alone; they are closed after it."""
    from treadle.codec import Codec
    from treadle.stores.postgres import PostgresStore

    opened: list[Any] = []
    ours = f"test_{next(NUMBERS)}"

    def open_one(conninfo: str = server.conninfo, *, schema: str = ours, **settings: Any) -> Any:
        opened.append(PostgresStore(conninfo, Codec(), schema=schema, **settings))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., Any]) -> Any:
    """One store."""
    return open_store()
