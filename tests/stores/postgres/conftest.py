"""One server for all tests here; each test has a schema of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.stores.postgres.server import NoServer, Server, new_server, remove

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that all tests share: nobody stops this one."""
    yield from running()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that a test may stop and start as it likes."""
    yield from running()


def running() -> Iterator[Server]:
    """A server, or a reason to skip."""
    pytest.importorskip("psycopg", reason="the package psycopg is not installed")
    try:
        made = new_server()
    except NoServer as error:
        pytest.skip(f"no PostgreSQL can be started here: {error}")
    try:
        yield made
    finally:
        remove(made)


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
