"""A SQLite store that is only looked at: nothing is made, nothing is written, and nobody is disturbed."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from treadle.codec import Codec
from treadle.errors import ReadOnly, SchemaTooNew, UsageError
from treadle.interfaces import Append, RunInfo
from treadle.model.events import InputAccepted
from treadle.stores.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with one run of one event."""
    with closing(SqliteStore(tmp_path / "runs.db", Codec())) as store:
        store.create(RunInfo(id="X", workflow="w", run_key="k"))
        store.append([Append(run_id="X", expected=0, events=(InputAccepted(0, (0,), 1),))])
    return tmp_path / "runs.db"


def test_it_reads_beside_somebody_who_writes(path: Path) -> None:
    """What is added meanwhile is seen, from any position on."""
    with (
        closing(SqliteStore(path, Codec())) as writing,
        closing(SqliteStore(path, Codec(), read_only=True)) as reading,
    ):
        assert [event.position for event in reading.load("X").events] == [0]
        writing.append([Append(run_id="X", expected=1, events=(InputAccepted(1, (1,), 2),))])
        assert [event.position for event in reading.since("X", 1)] == [1]
        assert reading.verify() == []


def test_it_writes_nothing(path: Path) -> None:
    """Whatever would, is refused."""
    with closing(SqliteStore(path, Codec(), read_only=True)) as store:
        with pytest.raises(ReadOnly, match="opened to be read only"):
            store.delete("X")
        with pytest.raises(ReadOnly):
            store.create(RunInfo(id="Y", workflow="w", run_key="k"))
        assert [info.id for info in store.list()] == ["X"]


def test_it_makes_no_file(tmp_path: Path) -> None:
    """Where there is none, it says so."""
    with closing(SqliteStore(tmp_path / "gone.db", Codec(), read_only=True)) as store:
        with pytest.raises(UsageError, match=r"there is no store .*gone.db"):
            store.list()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("statement", "error", "said"),
    [
        ("PRAGMA user_version = 999", SchemaTooNew, "written by a later version"),
        ("PRAGMA user_version = 0", UsageError, "written by an earlier version"),
        ("PRAGMA application_id = 7", UsageError, "is a database of something else"),
    ],
)
def test_it_knows_what_it_can_read(
    path: Path, statement: str, error: type[Exception], said: str
) -> None:
    """Files of other versions and of others are refused, not changed."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
    with closing(SqliteStore(path, Codec(), read_only=True)) as store:
        with pytest.raises(error, match=said):
            store.list()
