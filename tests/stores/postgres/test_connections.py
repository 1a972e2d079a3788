"""Servers that are not there, not ours, not willing, or silent; and what the store says of them."""

import os
import subprocess
import sys
import threading
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.stores.postgres.logs import accepted, add, info, insist
from tests.stores.postgres.proxy import Proxy
from tests.stores.postgres.server import free_port
from treadle.codec import Apart, Codec
from treadle.errors import (
    Corrupt,
    OutcomeUnknown,
    ReadOnly,
    SchemaTooNew,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UsageError,
)
from treadle.stores.postgres import PostgresStore
from treadle.stores.postgres.faults import as_ours
from treadle.stores.sqlite import SqliteStore
from treadle.wiring import make_store


def sql(server, *statements):
    """Do something behind the store's back."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        for each in statements:
            connection.execute(each)


def test_a_word_names_a_schema(server):
    """Among what else it says."""
    for query in ("schema=mine", "connect_timeout=3&schema=mine", "schema=mine&connect_timeout=3"):
        made: Any = make_store(f"{server.conninfo}?{query}")
        with closing(made) as store:
            assert store.schema == "mine"
            assert ("connect_timeout" in query) == (
                int(store._connections._settings["connect_timeout"]) == 3
            )
            assert store.list() == []


def test_a_word_makes_one(server):
    """A connection string is a store; its password is not shown."""
    store = make_store("postgresql://user:secret@host.invalid:7/orders")

    assert repr(store) == "<PostgresStore postgresql://host.invalid:7/orders treadle>"
    with pytest.raises(UsageError, match="no plain name"):
        make_store(f"{server.conninfo}?schema=no+name")
    with pytest.raises(UsageError, match="no connection string"):
        make_store("postgresql://host:port:7/x y z?=")


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", StoreFull),
        ("53200", StoreUnavailable),
        ("53300", StoreUnavailable),
        ("25006", ReadOnly),
        ("42501", ReadOnly),
        ("40P01", StoreUnavailable),
        ("57P03", StoreUnavailable),
        ("57014", StoreUnavailable),
        ("XX001", Corrupt),
        ("23505", StoreError),
        ("22P02", StoreError),
    ],
)
def test_the_servers_errors_are_told_as_the_stores(state, kind):
    """Each has a kind that says what to do, names the server's code, and has a hint."""
    error = as_ours(
        psycopg.errors.lookup(state)("so it is"), "postgresql://here/db", "appending to"
    )

    assert type(error) is kind
    assert error.message == f"appending to postgresql://here/db: so it is ({state})."
    assert error.hint


def test_without_the_package_the_install_line_is_told():
    """In an interpreter that has no psycopg."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from treadle.wiring import make_store\n"
        "try: make_store('postgresql://x')\n"
        "except ImportError as error: print(type(error).__name__, error.hint)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )

    assert done.stdout == 'MissingExtra pip install "treadle[postgres]"\n'


@pytest.mark.parametrize("schema", ["", "Upper", "a b", 'a"b', "a;b", "1a", "x" * 60])
def test_a_schemas_name_is_plain(open_store, schema):
    """It stands in statements as it is."""
    with pytest.raises(UsageError, match="no plain name"):
        open_store(schema=schema)


def test_a_server_that_is_not_there(open_store):
    """Nothing was written, and it may be tried again."""
    store = open_store(f"postgresql://postgres@127.0.0.1:{free_port()}/postgres")

    for call in (store.list, lambda: store.append([add("run", 0)]), lambda: store.claim("me", 1)):
        with pytest.raises(StoreUnavailable, match=r"connecting to postgresql://127.0.0.1:\d+"):
            call()


def test_a_database_that_is_not_there(open_store, server):
    """It is said which."""
    with pytest.raises(StoreUnavailable, match='database "nothing" does not exist'):
        open_store(server.conninfo.removesuffix("postgres") + "nothing").list()


def test_a_schema_of_something_else_is_refused(open_store, server):
    """Its tables are left alone."""
    sql(server, "CREATE SCHEMA theirs", "CREATE TABLE theirs.run(x int)")
    try:
        with pytest.raises(UsageError, match="tables of something else"):
            open_store(schema="theirs").list()
    finally:
        sql(server, "DROP SCHEMA theirs CASCADE")


def test_a_later_schema_is_refused(store, open_store, server):
    """Also by name of the versions."""
    store.list()
    sql(server, f"UPDATE {store.schema}.meta SET value = '99' WHERE key = 'version'")

    with pytest.raises(SchemaTooNew, match="schema 99, this one knows 1"):
        open_store().list()


def tables_of(server, schema):
    """How many tables and the like a schema has; None where there is no such schema."""
    with psycopg.connect(server.conninfo) as connection:
        found = connection.execute(
            "SELECT count(pg_class.oid) FROM pg_namespace LEFT JOIN pg_class "
            "ON relnamespace = pg_namespace.oid WHERE nspname = %s GROUP BY nspname",
            (schema,),
        ).fetchone()
    return None if found is None else found[0]


def test_who_only_looks_makes_nothing(open_store, server):
    """Where there is no store, that is said; each time."""
    store = open_store(read_only=True)
    for _ in range(2):
        with pytest.raises(UsageError, match=f"there is no store in the schema '{store.schema}'"):
            store.list()
    assert tables_of(server, store.schema) is None


def test_who_only_looks_reads_and_does_not_write(store, open_store, server):
    """Beside somebody who writes; tables of a later version are refused."""
    store.create(info("run"))
    looking = open_store(read_only=True)
    assert [each.id for each in looking.list()] == ["run"]
    assert looking.verify() == []
    for call in (lambda: looking.delete("run"), lambda: looking.append([add("run", 0)])):
        with pytest.raises(ReadOnly):
            call()
    assert store.info("run").position == 0
    sql(server, f"UPDATE {store.schema}.meta SET value = '99' WHERE key = 'version'")
    with pytest.raises(SchemaTooNew, match="schema 99, this one knows 1"):
        open_store(read_only=True).list()


def test_a_store_is_backed_up_into_a_file(store, server, tmp_path):
    """A file that is not there yet, and that is a store: also what lies elsewhere is in it."""
    apart = Apart(Codec(), tmp_path / "apart")
    path = tmp_path / "copy.db"
    with closing(PostgresStore(server.conninfo, apart, schema=store.schema)) as kept:
        kept.create(info("run"))
        kept.append([add("run", 0, accepted(0, os.urandom(100_000)))])
        assert len(list((tmp_path / "apart").iterdir())) == 1
        copied = kept.backup(path)
        events = kept.load_all("run").events
        with pytest.raises(UsageError, match="is there already"):
            kept.backup(str(path))

    assert (copied.runs, copied.events, copied.left_out) == (1, 1, [])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["apart", "copy.db"]
    with closing(SqliteStore(path, Codec(), read_only=True)) as copy:
        assert copy.load_all("run").events == events


SCRIPT_MARKS = ("0d34e0de5a74e35a",)
"""Of each script what it was when it was released: until then a new mark may stand here."""


def test_scripts_stay_what_they_were():
    """What changes is a new script at the end."""
    schema = pytest.importorskip("treadle.stores.postgres.schema")

    assert tuple(map(schema.mark_of, range(schema.VERSION))) == SCRIPT_MARKS


def test_tables_of_another_script_are_refused(store, open_store, server):
    """The script was edited after the tables were made by it: it is said, before anything fails in the middle."""
    store.list()
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(
            f"UPDATE {store.schema}.meta SET value = 'another' WHERE key = 'script 1'"
        )

    with pytest.raises(UsageError, match="made by another script 1"):
        open_store().list()


def test_many_processes_may_come_up_at_once(open_store):
    """One makes the tables, the others wait for it."""
    faults = []
    stores = [open_store() for _ in range(6)]
    together = threading.Barrier(len(stores))

    def begin(store):
        together.wait()
        try:
            store.list()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=begin, args=(store,)) for store in stores]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert faults == []


def test_a_server_that_takes_no_writes(store, open_store, server):
    """It is told as such, and nothing is written; who reads is not disturbed."""
    store.append([add("run", 0, create=info("run"))])
    standby = open_store(server.conninfo + "?options=-c%20default_transaction_read_only%3Don")

    with pytest.raises(ReadOnly, match="name the primary"):
        standby.append([add("run", 1)])
    assert standby.load("run").info.position == 1


def test_a_user_who_may_not_write(store, open_store, server):
    """The hint says what is missing."""
    store.append([add("run", 0, create=info("run"))])
    sql(server, "CREATE ROLE guest LOGIN", f"GRANT USAGE ON SCHEMA {store.schema} TO guest")
    try:
        with pytest.raises(ReadOnly, match="allowed to create and write"):
            open_store(server.conninfo.replace("postgres@", "guest@"), schema="guests").list()
    finally:
        sql(server, "DROP OWNED BY guest", "DROP ROLE guest")


def test_no_connection_is_left(store, open_store, server):
    """Nothing was written, and it may be tried again."""
    sql(server, "CREATE ROLE poor LOGIN SUPERUSER CONNECTION LIMIT 0")
    try:
        sql(server, "ALTER ROLE poor NOSUPERUSER")
        with pytest.raises(StoreUnavailable, match="too many connections"):
            open_store(server.conninfo.replace("postgres@", "poor@")).list()
    finally:
        sql(server, "DROP ROLE poor")


def test_who_waits_for_a_lock_too_long_tries_again(store, server):
    """A transaction that keeps a run locked makes an append wait, and then fail as a whole, to be repeated."""
    store.append([add("run", 0, create=info("run"))])
    limited = f"{server.conninfo}?options=-c%20lock_timeout%3D50ms"
    impatient = type(store)(limited, Codec(), schema=store.schema)
    try:
        with psycopg.connect(server.conninfo) as connection:
            connection.execute(f"SELECT * FROM {store.schema}.run FOR UPDATE")
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                impatient.append([add("run", 1)])
        assert impatient.append([add("run", 1)]) == [None]
    finally:
        impatient.close()


def test_a_connection_that_the_server_ended_is_replaced(store, server):
    """Whoever uses the store next notices nothing."""
    store.append([add("run", 0, create=info("run"))])
    sql(
        server,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'treadle'",
    )

    assert store.info("run").position == 1
    sql(
        server,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'treadle'",
    )
    assert store.append([add("run", 1)]) == [None]
    assert store.renew("me", 5, {"run": 0}) == set()


def test_a_log_whose_connection_breaks_among_its_large_values_is_read_again(
    store, server, monkeypatch
):
    """It is no damage: nobody is told that what is stored cannot be read."""
    store.append([add("run", 0, accepted(0, "x" * 100_000), create=info("run"))])
    codec = store.codec
    cuts: list[bytes] = []
    decode = codec.decode_event

    def cut_first(body, fetch):
        if not cuts:
            cuts.append(body)
            sql(
                server,
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'treadle'",
            )
        return decode(body, fetch)

    monkeypatch.setattr(codec, "decode_event", cut_first)
    assert store.load("run").events == (accepted(0, "x" * 100_000),)
    assert len(cuts) == 1


@pytest.mark.slow
def test_a_server_that_falls_silent_is_given_up(open_store, server, store):
    """A connection that takes everything and answers nothing; the append is done when the next one works."""
    store.append([add("run", 0, create=info("run"))])
    with Proxy(server.port) as proxy:
        far = open_store(server.through(proxy.port) + "?connect_timeout=2", silence_s=0.2)
        assert far.info("run").position == 1
        proxy.is_silent = True
        with pytest.raises((OutcomeUnknown, StoreUnavailable)):
            far.append([add("run", 1)])
        proxy.is_silent = False
        assert insist(far, [add("run", 1)]) == [None]
    assert store.info("run").position == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_needs_a_store_of_its_own(store):
    """Two processes on one connection would garble it."""
    store.create(info("run"))
    pid = os.fork()
    if not pid:
        status = 1
        try:
            store.list()
        except UsageError:
            store.close()
            status = 0
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.info("run") is not None


def test_a_closed_store_is_closed(store):
    """For good, and as often as you like."""
    store.list()
    store.close()
    store.close()

    with pytest.raises(StoreUnavailable, match="was closed"):
        store.list()
