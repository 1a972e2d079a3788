"""Settings of all tests, and what many of them are run on."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.stores.postgres.server import NoServer, Server, new_server, remove

# A slow machine is no failure: no test says anything about elapsed time. Based on the profile that
# Hypothesis has chosen, which in CI is one without randomness.
settings.register_profile("treadle", settings(), deadline=None)
settings.load_profile("treadle")

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server that all tests share: nobody stops this one."""
    yield from running()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A PostgreSQL server that a test may stop and start as it likes."""
    yield from running()


def running() -> Iterator[Server]:
    """A server for the time being, or a reason to skip."""
    pytest.importorskip("psycopg", reason="the package psycopg is not installed")
    try:
        made = new_server()
    except NoServer as error:
        pytest.skip(f"no PostgreSQL can be started here: {error}")
    try:
        yield made
    finally:
        remove(made)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where runs are kept: what works on the one works on the other."""
    return url_of(str(request.param), request, tmp_path)


def url_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """A store of a kind, which is a test's alone."""
    if kind == "sqlite":
        return f"sqlite:///{folder / 'runs.db'}"
    server: Server = request.getfixturevalue("server")
    return server.in_schema(f"url_{next(NUMBERS)}")
