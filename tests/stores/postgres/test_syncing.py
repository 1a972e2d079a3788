"""What is told to be stored outlives the server's crash, whatever the server's own setting of that is."""

from contextlib import closing

import psycopg
import pytest

from tests.stores.postgres.logs import add, info
from treadle.codec import Codec
from treadle.interfaces import Message
from treadle.stores.postgres import PostgresStore

LAZY = ("wal_writer_delay = '10s'", "wal_writer_flush_after = '1GB'", "bgwriter_lru_maxpages = 0")
"""So that what is not synced by a commit is not by chance, either."""


@pytest.fixture
def lazy_server(own_server):
    """A server that syncs nothing by itself for a while."""
    with psycopg.connect(own_server.conninfo, autocommit=True) as connection:
        for setting in LAZY:
            connection.execute(f"ALTER SYSTEM SET {setting}")
    set_off(own_server)
    return own_server


def set_off(server, value="off"):
    """What commits do by the server's own setting."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_commit = {value}")
        connection.execute("SELECT pg_reload_conf()")
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        while connection.execute("SHOW synchronous_commit").fetchone() != (value,):
            pass


def is_synced(server, act):
    """Whether what an act writes is on the server's disk when it returns."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        before = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        act()
        asked = "SELECT pg_current_wal_flush_lsn() > %s"
        return connection.execute(asked, before).fetchall() == [(True,)]


@pytest.mark.slow
def test_a_commit_is_synced_unless_it_need_not_be(lazy_server):
    """By the connection; by each statement, where a pooler gave another session; also where the setting is changed."""
    with closing(PostgresStore(lazy_server.conninfo, Codec())) as store:
        store.create(info("a"))

        def appending(position, **fields):
            return lambda: store.append([add("a", position, **fields)])

        assert is_synced(lazy_server, appending(0))
        assert not is_synced(lazy_server, appending(1, is_synced=False))
        (connection,) = store._connections._idle
        connection.execute("RESET synchronous_commit")
        assert is_synced(lazy_server, appending(2))
        together = [add("a", 3), add("a", 4, is_synced=False)]
        assert is_synced(lazy_server, lambda: store.append(together))
        message = Message(id="m", run_id="a", kind="signal", body=b"x")
        assert is_synced(lazy_server, lambda: store.post(message))

        def step():
            with store.transaction("key", "key of a") as given:
                given.keep(1)

        assert is_synced(lazy_server, step)
        assert is_synced(lazy_server, lambda: store.delete("a"))
    set_off(lazy_server, "on")
    with closing(PostgresStore(lazy_server.conninfo, Codec())) as store:
        store.create(info("a"))
        set_off(lazy_server)
        assert is_synced(lazy_server, lambda: store.append([add("a", 0)]))


@pytest.mark.slow
def test_a_crash_of_a_server_that_does_not_sync_loses_nothing(lazy_server):
    """What was told to be stored is there afterwards."""
    with closing(PostgresStore(lazy_server.conninfo, Codec())) as store:
        store.create(info("a"))
        assert store.append([add("a", 0)]) == [None]
        lazy_server.stop("immediate")
        lazy_server.start()
        assert len(store.load("a").events) == 1
