"""One process at a time moves the write-ahead log into the file, and nobody writes meanwhile."""

import os
import random
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.durability.places import quick_place
from tests.stores.sqlite.places import accepted, below, clocked, filled
from tests.stores.sqlite.posting import eager
from treadle.errors import StoreTaken
from treadle.interfaces import Append, Message
from treadle.stores.sqlite import connections, lock
from treadle.stores.sqlite.lock import Lock

ROOT = Path(__file__).parents[3]
MESSAGES = int(os.environ.get("TREADLE_POSTS", "150"))


@pytest.fixture
def at_once(monkeypatch):
    """The log is moved whenever that may be done."""
    monkeypatch.setattr(connections, "CHECKPOINT_AT", 0)
    monkeypatch.setattr(connections, "LOOK_EVERY", 1)


def letter(number):
    """A message."""
    return Message(id=str(number), run_id="a", kind="signal", body=b"body")


def test_who_leaves_messages_leaves_the_log_alone(tmp_path, at_once):
    """Whoever runs the file moves it, also if it has nothing to write itself."""
    path = tmp_path / "runs.db"
    with closing(clocked(path)) as owner, closing(clocked(path)) as other:
        filled(owner, "a")
        owner.tidy_up()
        before = path.read_bytes()
        for number in range(5):
            other.post(letter(number))
        with pytest.raises(StoreTaken):
            other.tidy_up()
        assert path.read_bytes() == before

        assert owner.waiting("x") == []
        assert path.read_bytes() != before


def test_where_nobody_runs_the_file_whoever_writes_moves_the_log(tmp_path, at_once):
    """It stays small, and a runner may begin right after that."""
    path = tmp_path / "runs.db"
    with closing(clocked(path)) as store:
        filled(store, "a")
    before = path.read_bytes()
    with closing(clocked(path)) as other:
        other.post(letter(1))
        assert path.read_bytes() != before
        with closing(clocked(path)) as runner:
            (info,) = runner.claim("x", 10.0, run_id="a")
            assert info.crashes == 0


def test_nobody_writes_while_the_log_is_moved(tmp_path, at_once, monkeypatch):
    """A second process that begins the log anew at that instant is what some versions lose commits by."""
    path = tmp_path / "runs.db"
    tries = []

    class Watched:
        """A connection next to which another one tries to write."""

        def __init__(self, connection):
            self.connection = connection

        def execute(self, statement, *given):
            if "wal_checkpoint(PASSIVE)" in statement:
                with below(path) as another:
                    another.execute("PRAGMA busy_timeout = 0")
                    try:
                        another.execute("BEGIN IMMEDIATE")
                    except Exception as error:
                        tries.append(str(error))
            return self.connection.execute(statement, *given)

        def __getattr__(self, name):
            return getattr(self.connection, name)

    opens: Any = connections
    plain = opens.connect
    monkeypatch.setattr(opens, "connect", lambda *a, **k: Watched(plain(*a, **k)))
    with closing(clocked(path)) as store:
        filled(store, "a")

    assert tries
    assert set(tries) == {"database is locked"}


def test_a_runner_waits_for_who_moves_the_log_for_a_moment(tmp_path, monkeypatch):
    """It is not told that somebody runs the file: nobody does."""
    brief, wanted = Lock(tmp_path / "runs.db"), Lock(tmp_path / "runs.db")
    with ExitStack() as held:
        assert held.enter_context(brief.for_a_moment())
        waits = []

        def wait(_):
            waits.append(1)
            held.close()

        monkeypatch.setattr(lock, "sleep", wait)
        monkeypatch.setattr(lock, "UNSAID_S", 0.0)
        assert wanted.take()
        assert waits == [1]
        with brief.for_a_moment() as is_ours:
            assert not is_ours
        assert wanted.is_taken
        wanted.release()


@pytest.mark.slow
def test_many_processes_write_hard_and_nothing_is_lost(monkeypatch):
    """Two leave messages, one runs the file and moves its log at each turn; then nobody runs it.

    `TREADLE_POSTS=100000` in the environment takes longer.
    """
    monkeypatch.setattr(connections, "CHECKPOINT_AT", connections.CHECKPOINT_AT)
    monkeypatch.setattr(connections, "LOOK_EVERY", connections.LOOK_EVERY)
    eager()
    with quick_place() as place:
        path = Path(place, "runs.db")
        with closing(clocked(path)) as store:
            filled(store, "a", count=0)
            (info,) = store.claim("x", 1e9, run_id="a")
            posters = start(path, "one", "two")
            heard = consumed(store, info.epoch, posters)
            ended(posters)
            assert heard == {f"{name} {n}" for name in ("one", "two") for n in range(MESSAGES)}
            assert store.verify() == []

        posters = start(path, "three", "four")
        ended(posters)
        with closing(clocked(path)) as store:
            assert store.verify() == []
            assert len(store.waiting("x")) == 2 * MESSAGES
            assert store.load("a").info.position == 2 * MESSAGES


def start(path, *names):
    """Processes that leave messages."""
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.stores.sqlite.posting", path, name, str(MESSAGES)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for name in names
    ]


def ended(posters):
    """Wait for them."""
    for each in posters:
        out, _ = each.communicate(timeout=600)
        assert out == b"posted\n"


def consumed(store, epoch, posters):
    """Append for each message, until all are there."""
    heard: set[str] = set()
    while len(heard) < len(posters) * MESSAGES:
        assert not any(each.poll() for each in posters)
        for message in store.waiting("x"):
            append = Append(
                run_id="a",
                expected=len(heard),
                events=(accepted(len(heard), "x" * random.randint(0, 2_000)),),
                consumed=(message.id,),
                epoch=epoch,
            )
            assert store.append([append]) == [None]
            assert message.id not in heard
            heard.add(message.id)
    return heard
