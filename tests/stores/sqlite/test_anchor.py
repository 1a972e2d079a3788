"""What stands beside the file and says how far it had come."""

from contextlib import closing

import pytest

from tests.stores.sqlite.places import accepted, add, clocked, filled
from treadle.codec import Codec
from treadle.errors import Corrupt
from treadle.stores.sqlite import SqliteStore, connections


def kept(path):
    """All that belongs to a store but its anchor, as it is now."""
    files = [path, path.with_name("runs.db-wal")]
    return {each: each.read_bytes() for each in files if each.exists()}


def put_back(files):
    """Have files as they were."""
    for path in [*next(iter(files)).parent.glob("runs.db-[ws]*")]:
        path.unlink()
    for path, was in files.items():
        path.write_bytes(was)


@pytest.fixture
def older(tmp_path):
    """A store whose file is older than the one that was run here last."""
    path = tmp_path / "runs.db"
    with closing(clocked(path)) as store:
        filled(store, "a")
    files = kept(path)
    with closing(clocked(path)) as store:
        add(store, "a", 3, accepted(3))
    put_back(files)
    return path


def test_an_older_file_is_told_of_until_it_is_run(older, caplog):
    """By `verify`, by the log once, and not again."""
    with closing(clocked(older)) as store:
        (finding,) = store.verify()
        assert "is older than the one that was run here last (turn 2, not 3)" in finding.what
        assert caplog.messages == []
        assert store.claim("x", 10.0, run_id="a")
        (message,) = caplog.messages
        assert "runs.db is older" in message
    with closing(clocked(older)) as store:
        assert store.verify() == []
        add(store, "a", 3, accepted(3), epoch=1)
    assert len(caplog.messages) == 1


def test_what_was_newer_is_older_than_what_was_run_since(older):
    """Putting it back as well loses what was done in the other one."""
    newer = older.with_name("newer.db")
    newer.write_bytes(older.read_bytes())
    with closing(clocked(newer)) as store:
        for position in range(3):  # a life each
            store._connections.turn()
            add(store, "a", 3 + position, accepted(3 + position))
    newer.with_name("newer.db-anchor").replace(older.with_name("runs.db-anchor"))
    with closing(clocked(older)) as store:
        add(store, "a", 3, accepted(3))
    newer.replace(older)
    with closing(clocked(older)) as store:
        assert len(store.verify()) == 1


def test_an_older_file_is_not_run_where_that_is_refused(older):
    """It can be read, and is run when somebody says so by taking the anchor away."""
    with closing(SqliteStore(older, Codec(), refuses_older=True)) as store:
        for _ in range(2):
            with pytest.raises(Corrupt, match="what came after is lost.*runs.db-anchor"):
                store.claim("x", 10.0, run_id="a")
        assert store.load("a").info.position == 3
        older.with_name("runs.db-anchor").unlink()
        assert store.claim("x", 10.0, run_id="a")


def test_a_file_that_was_left_where_it_is_is_never_told_of(tmp_path, caplog):
    """However often it is opened, and whatever is done to it; nor one that was moved with or without its anchor."""
    path = tmp_path / "runs.db"
    for number in range(4):
        with closing(SqliteStore(path, Codec(), refuses_older=True)) as store:
            filled(store, str(number))
            store.backup(tmp_path / f"{number}.db")
            assert store.verify() == []
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        for each in tmp_path.glob("runs.db*"):
            if name == "with" or not each.name.endswith("-anchor"):
                (tmp_path / name / each.name).write_bytes(each.read_bytes())
        with closing(
            SqliteStore(tmp_path / name / "runs.db", Codec(), refuses_older=True)
        ) as store:
            filled(store, "more")
            assert store.verify() == []
    assert caplog.messages == []


def test_another_store_in_its_place_is_told_of(older, tmp_path):
    """Though all in it is right."""
    other = tmp_path / "other"
    other.mkdir()
    with closing(clocked(other / "runs.db")) as store:
        filled(store, "a")
    put_back({older.with_name(each.name): was for each, was in kept(other / "runs.db").items()})
    with closing(clocked(older)) as store:
        (finding,) = store.verify()
        assert finding.what == "runs.db is another store than the one that was run here last."


@pytest.mark.parametrize("damage", ["older", "cut short"])
def test_it_is_noticed_after_a_kill_too(damage, tmp_path, monkeypatch):
    """What is missing, as far as a turn began after it: copies by other hands, and the end of the log."""
    monkeypatch.setattr(connections, "TURN_EVERY", 5)
    path, copy = tmp_path / "runs.db", tmp_path / "copy"
    copy.mkdir()
    with closing(clocked(path)) as store:
        filled(store, "a")
        store.tidy_up()
        files = kept(path)
        for position in range(3, 13):
            add(store, "a", position, accepted(position))
        if damage == "cut short":
            files = {
                each: was[:10_000] if each != path else was for each, was in kept(path).items()
            }
        put = {copy / each.name: was for each, was in files.items()}
        anchor = path.with_name("runs.db-anchor")
        put[copy / anchor.name] = anchor.read_bytes()  # as a kill leaves it
    put_back(put)
    with closing(clocked(copy / "runs.db")) as store:
        assert store.load("a").info.position < 12
        (finding,) = store.verify()
        assert "is older" in finding.what


def test_a_backup_begins_a_turn(tmp_path):
    """So that it is older, if it is put back, than what went on."""
    path = tmp_path / "runs.db"
    with closing(clocked(path)) as store:
        filled(store, "a")
        store.backup(tmp_path / "backup.db")
        anchor = path.with_name("runs.db-anchor").read_bytes()
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "runs.db"
    copy.write_bytes((tmp_path / "backup.db").read_bytes())
    copy.with_name("runs.db-anchor").write_bytes(anchor)
    with closing(clocked(copy)) as store:
        assert len(store.verify()) == 1


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe nonsense", b"one two three", None])
def test_an_anchor_that_cannot_be_read_or_written_is_no_anchor(damage, older, caplog):
    """It is not worth stopping for."""
    anchor = older.with_name("runs.db-anchor")
    if damage is None:
        anchor.unlink()
        anchor.mkdir()
    else:
        anchor.write_bytes(damage)
    with closing(SqliteStore(older, Codec(), refuses_older=True)) as store:
        assert store.verify() == []
        add(store, "a", 3, accepted(3))
    assert any("runs.db-anchor was not written" in each for each in caplog.messages) == (
        damage is None
    )
    assert not list(older.parent.glob("*-new"))
