"""What the disk, other processes and other programs do to a SQLite store, and what it says then."""

import os
import select
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.stores.sqlite.places import accepted, add, below, clocked, filled
from treadle.codec import Codec
from treadle.errors import (
    BadSignature,
    SchemaTooNew,
    StoreError,
    StoreFull,
    StoreTaken,
    StoreUnavailable,
    UsageError,
)
from treadle.interfaces import Append
from treadle.stores.sqlite import SqliteStore, connections, file
from treadle.stores.sqlite.schema import APPLICATION_ID, VERSION

FROZEN = Path(__file__).with_name("frozen-1.sql")


@pytest.fixture
def store(tmp_path):
    """A store with two runs."""
    with closing(clocked(tmp_path / "runs.db")) as made:
        filled(made, "a", "b")
        yield made


def test_a_full_disk_refuses_the_whole_batch_and_nothing_is_lost(store):
    """Nothing is written, what is there can be read, and when there is room again all goes on."""
    writer = store._connections._open_writer()
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    large = [
        Append(run_id="a", expected=3, events=(accepted(3, os.urandom(50_000)),)),
        Append(run_id="b", expected=3, events=(accepted(3),)),
    ]

    with pytest.raises(StoreFull, match="make room on the disk"):
        store.append(large)

    assert [store.load(name).info.position for name in "ab"] == [3, 3]
    assert store.verify() == []
    writer.execute("PRAGMA max_page_count = 1000000")
    assert store.append(large) == [None, None]
    assert [store.load(name).info.position for name in "ab"] == [4, 4]


def test_a_file_that_somebody_keeps_locked_is_waited_for_and_then_reported(store, monkeypatch):
    """The wait has an end; nothing is written then, and the same works when the lock is gone."""
    monkeypatch.setattr(file, "BUSY_S", 0.01)
    store._connections.reopen()
    append = Append(run_id="a", expected=3, events=(accepted(3),))
    with below(store.path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process keeps the file locked"):
            store.append([append])
        assert store.load("a").info.position == 3
        other.execute("ROLLBACK")

    assert store.append([append]) == [None]


FROZEN_INSIDE = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM event")
print("inside", flush=True)
signal.pause()
"""


@pytest.mark.slow
def test_a_process_that_is_stopped_inside_a_transaction_costs_nothing(store, monkeypatch):
    """As long as it is stopped nothing can be written; when it is killed its transaction never was."""
    monkeypatch.setattr(file, "BUSY_S", 0.01)
    store._connections.reopen()
    child = subprocess.Popen(
        [sys.executable, "-c", FROZEN_INSIDE, store.path], stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert select.select([child.stdout], [], [], 30)[0]
        child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        append = Append(run_id="a", expected=3, events=(accepted(3),))
        with pytest.raises(StoreUnavailable):
            store.append([append])
    finally:
        child.kill()
        child.communicate()

    assert store.append([append]) == [None]
    assert store.verify() == []


def test_a_file_that_is_replaced_under_a_store_is_noticed(store, tmp_path):
    """What would be written to the old file would be lost: it is refused, until the file is back."""
    append = Append(run_id="a", expected=3, events=(accepted(3),))
    store.backup(tmp_path / "backup.db")
    kept = tmp_path / "kept.db"
    for put_in_its_place in (True, False):
        store.path.rename(kept)
        if put_in_its_place:
            (tmp_path / "backup.db").rename(store.path)
        with pytest.raises(StoreUnavailable, match="removed or replaced while it was in use"):
            store.append([append])
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            store.load("a")
        kept.rename(store.path)

    assert store.append([append]) == [None]


def test_an_older_backup_put_back_while_stopped_is_an_older_prefix(store, tmp_path, caplog):
    """It is told of; all in it is right, as far as it goes; who remembers more is told by a conflict."""
    store.backup(tmp_path / "backup.db")
    add(store, "a", 3, accepted(3))
    store.close()
    (tmp_path / "backup.db").rename(store.path)

    with closing(clocked(store.path)) as again:
        (finding,) = again.verify()
        assert "runs.db is older than the one that was run here last" in finding.what
        (fault,) = again.append([Append(run_id="a", expected=4, events=(accepted(4),))])
        assert "is 3 events long, not 4" in str(fault)


def test_a_backup_is_not_written_over_a_file(store):
    """It might be the store itself."""
    with pytest.raises(UsageError, match="is there already"):
        store.backup(store.path)


@pytest.mark.parametrize("damage", ["cut short", "overwritten", "deleted", "without shm"])
def test_a_damaged_write_ahead_log_gives_an_older_state_and_never_a_wrong_one(tmp_path, damage):
    """As after a crash that came earlier; what is there is whole."""
    path, copy = tmp_path / "runs.db", tmp_path / "copy"
    with closing(clocked(path)) as store:
        filled(store, "a")
        store.tidy_up()
        for at in range(3, 30):
            add(store, "a", at, accepted(at, f"a {at}"))
        copy.mkdir()
        for each in tmp_path.glob("runs.db*"):
            (copy / each.name).write_bytes(each.read_bytes())
    files = {each: each.read_bytes() for each in copy.iterdir()}
    log = files[copy / "runs.db-wal"]
    left: set[int] = set()
    for part in range(0, len(log), 4_001):
        for each, was in files.items():
            each.write_bytes(was)
        rewrite(copy / "runs.db-wal", log, part, damage)
        (copy / "runs.db-shm").unlink()
        with closing(clocked(copy / "runs.db")) as store:
            events = store.load("a").events
            assert [each.value for each in events] == [f"a {at}" for at in range(len(events))]
            assert store.verify() == []
            left.add(len(events))

    wanted = {"deleted": {3}, "without shm": {30}}
    assert left == wanted.get(damage, left)
    assert damage in wanted or (3 in left and 29 in left and len(left) > 20)


def rewrite(log: Path, whole: bytes, at: int, damage: str) -> None:
    """Put a write-ahead log back, damaged."""
    if damage == "deleted":
        log.unlink(missing_ok=True)
    elif damage == "cut short":
        log.write_bytes(whole[: len(whole) - at])
    elif damage == "overwritten":
        bad = bytearray(whole)
        bad[len(whole) - 1 - at] ^= 0x10
        log.write_bytes(bad)
    else:
        log.write_bytes(whole)


def test_a_fork_of_a_process_with_an_open_store_is_refused_and_keeps_nothing(store):
    """The child is told so, does not hang, and does not keep the lock of a parent that is gone."""
    store.claim("x", 10.0, run_id="a")
    reading, writing = os.pipe()
    going, go = os.pipe()
    pid = os.fork()
    if not pid:
        told = []
        for use in (lambda: store.load("a"), lambda: store.delete("a"), store.tidy_up):
            with suppress(BaseException):
                try:
                    use()
                except UsageError as error:
                    told.append("which this one was forked from" in str(error))
        store.close()
        os.write(writing, bytes(told))
        os.close(go)
        os.read(going, 1)
        os._exit(0)
    try:
        os.close(going)
        assert select.select([reading], [], [], 30)[0]
        assert os.read(reading, 9) == bytes([1, 1, 1])
        assert store.load("a").info.position == 3
        path = store.path
        store.close()
        with closing(clocked(path)) as next_one:  # while the child still lives
            assert [info.id for info in next_one.claim("y", 10.0, run_id="a")] == ["a"]
    finally:
        os.close(go)
        os.waitpid(pid, 0)


def test_a_second_store_on_the_file_may_read_and_leave_messages_but_not_run(store):
    """One process, one store object, runs the workflows of a file; who else tries is told who does."""
    store.claim("x", 10.0, run_id="a")
    with closing(SqliteStore(store.path, Codec())) as second:
        assert second.load("a").info.owner == "x"
        for use in (
            lambda: second.claim("y", 10.0, run_id="b"),
            lambda: second.append([Append(run_id="b", expected=3, events=(accepted(3),))]),
            lambda: second.delete("b"),
        ):
            with pytest.raises(
                StoreTaken, match=f"process {os.getpid()} runs the workflows of this file already"
            ):
                use()
    assert store.load("b").info.position == 3


def test_a_newer_schema_is_refused(store):
    """With the version to install, and without touching the file."""
    store.close()
    with below(store.path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = store.path.read_bytes()

    with closing(clocked(store.path)) as again:
        with pytest.raises(SchemaTooNew, match="written by a later version"):
            again.load("a")
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("what", ["a table", "another application", "no database"])
def test_a_file_of_something_else_is_refused(tmp_path, what):
    """Nothing is written into it."""
    path = tmp_path / "other.db"
    if what == "no database":
        path.write_bytes(b"some text, and more of it " * 100)
    else:
        with below(path) as connection:
            if what == "another application":
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID + 1}")
            connection.execute("CREATE TABLE mine(x)")
    before = path.read_bytes()

    with closing(clocked(path)) as store, pytest.raises((UsageError, StoreError)) as caught:
        store.list()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_the_frozen_store_is_of_todays_schema(store, tmp_path):
    """Until it is released: `python -m tests.stores.sqlite.freeze` writes it anew."""
    asked = "SELECT name, sql FROM sqlite_master ORDER BY name"
    with below(tmp_path / "frozen.db") as frozen, below(store.path) as today:
        frozen.executescript(FROZEN.with_name(f"frozen-{VERSION}.sql").read_text())
        assert frozen.execute(asked).fetchall() == today.execute(asked).fetchall()


def test_a_frozen_store_opens_for_ever(tmp_path):
    """A file as version 1 of the schema wrote it, with all that can be in it."""
    with below(tmp_path / "old.db") as connection:
        connection.executescript(FROZEN.read_text())
        connection.execute("PRAGMA journal_mode = WAL").fetchall()

    with closing(clocked(tmp_path / "old.db")) as store:
        assert store.verify() == []
        infos = {info.id: info for info in store.list()}
        assert {id: info.status for id, info in infos.items()} == {
            "whole": "idle",
            "compacted": "running",
            "it's \N{SNOWMAN}": "parked",
        }
        assert store.cached("key") == b"cached"
        assert store.looks("whole") == {"step": b"look"}
        values = [event.value for event in store.load("whole").events]
        assert values == [0, {"a": [1, None, 2.5]}, "large " * 1000]
        assert [type(each).__name__ for each in store.load("compacted").events] == [
            "Baseline",
            "InputAccepted",
        ]
        (info,) = store.claim("x", 10.0, run_id="compacted")
        assert (info.epoch, info.crashes) == (2, 1)
        (message,) = store.waiting("x")
        assert (message.id, message.body) == ("letter", b"\x00body")
        with store.transaction("key of a step", "key of whole") as step:
            assert step.has_result
            assert step.result == {"paid": 1}
        add(store, "compacted", 4, accepted(4), epoch=2)
        assert store.verify() == []


def test_what_was_pickled_with_another_key_is_never_unpickled(tmp_path):
    """Whoever can write to the file cannot have code run by it."""
    canary = tmp_path / "canary"
    path = tmp_path / "runs.db"
    with closing(SqliteStore(path, Codec(pickle_key=b"k" * 16))) as store:
        filled(store, "good")
        filled(store, "bad", count=0)
        add(store, "bad", 0, accepted(0, Trap(str(canary))))
        assert not canary.exists()

    for codec in (Codec(), Codec(pickle_key=b"another key 16 by")):
        with closing(SqliteStore(path, codec)) as store:
            with pytest.raises(BadSignature):
                store.load("bad")
            assert store.load("good").info.position == 3
            assert [finding.run_id for finding in store.verify()] == ["bad"]
    assert not canary.exists()
    with closing(SqliteStore(path, Codec(pickle_key=b"k" * 16))) as store:
        store.load("bad")
    assert canary.exists()  # the trap works, where it is trusted


class Trap:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize(
    ("version", "is_at_fault"),
    [
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 54, 0), False),
    ],
)
def test_the_versions_that_can_lose_commits_are_known(
    version, is_at_fault, monkeypatch, caplog, tmp_path
):
    """It is said once, and not for others."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    monkeypatch.setattr(connections, "_WARNED", set())

    assert connections.has_wal_reset_fault(version) == is_at_fault
    with caplog.at_level("INFO", logger="treadle.stores"):
        for name in ("one.db", "two.db"):
            with closing(clocked(tmp_path / name)) as store:
                store.list()
    assert len([each for each in caplog.messages if "mended in 3.51.3" in each]) == is_at_fault


def test_a_sqlite_that_is_too_old_is_refused(monkeypatch, tmp_path):
    """With the version that is needed."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with closing(clocked(tmp_path / "runs.db")) as store:
        with pytest.raises(UsageError, match="needs 3.37.0"):
            store.list()
