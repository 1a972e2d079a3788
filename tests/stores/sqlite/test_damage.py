"""Bits that flip in a store's file."""

import logging
import random
from contextlib import closing

import pytest

from tests.stores.sqlite.flips import flips
from tests.stores.sqlite.places import accepted, add, below, clocked, filled
from treadle.errors import Corrupt
from treadle.interfaces import Append


@pytest.mark.slow
def test_a_flipped_bit_is_harmless_or_reported(tmp_path, caplog):
    """Nothing is ever read that was not written, and one run's damage is its own."""
    caplog.set_level(logging.CRITICAL)

    seen = flips(120, random.randrange(1_000_000), tmp_path)

    assert seen["all is well"] + seen.get("the file is refused", 0) > 60, seen
    assert seen["a run is refused"] > 0, seen


@pytest.mark.parametrize(
    "change",
    [
        "status = 'idle'",
        "note = NULL",
        "wake_at = wake_at + 1",
        "deadline_at = NULL",
        "durability = 'relaxed'",
        "seal = zeroblob(16)",
    ],
)
def test_what_is_noted_beside_a_log_is_sealed(tmp_path, change):
    """Status, note, moments and durability: they are what was written, or the run is not read."""
    path = tmp_path / "runs.db"
    with closing(clocked(path)) as store:
        filled(store, "good", "bad")
        noted = {"status": "running", "note": "why", "wake_at": 7, "deadline_at": 8.5}
        for name in ("good", "bad"):
            add(store, name, 3, **noted)
        store.claim("x", 10.0, run_id="bad")  # says nothing of these
        assert store.verify() == []
        with below(path) as connection:
            connection.execute(f"UPDATE run SET {change} WHERE id = 'bad'")

        with pytest.raises(Corrupt, match="'bad' is damaged.*what is noted beside its log"):
            store.load("bad")
        (finding,) = store.verify()
        assert finding.run_id == "bad"
        assert store.load("good").info.wake_at == 7.0
        add(store, "bad", 3, status="parked", epoch=1)  # whoever writes it anew knows how it stands
        assert store.load("bad").info.status == "parked"


def test_the_mark_of_an_attempt_is_sealed(tmp_path):
    """Or an attempt that was begun would be made again."""
    path = tmp_path / "runs.db"
    with closing(clocked(path)) as store:
        filled(store, "run", "other")
        add(store, "run", 3, intents=(b"begun", b"begun too"))
        assert store.load("run").intents == {b"begun", b"begun too"}
        with below(path) as connection:
            connection.execute("UPDATE intent SET attempt = CAST(attempt || 'x' AS BLOB)")
        with pytest.raises(Corrupt, match="the mark of an attempt"):
            store.load("run")
        assert [finding.run_id for finding in store.verify()] == ["run"]


def test_an_index_that_leads_to_another_run_is_noticed(tmp_path):
    """A run's log would be read whole and right, and be another run's."""
    path = tmp_path / "runs.db"
    with closing(clocked(path)) as store:
        filled(store, "left", "right")
    with below(path) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_run_1'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    page = slice((root - 1) * size, root * size)
    assert data[page].count(b"left") == 1
    at = data.index(b"right", page.start, page.stop)
    data[at + len("right")] = 1  # the row it leads to, which was 2
    path.write_bytes(data)

    with closing(clocked(path)) as store:
        for use in (store.load, store.info, store.delete):
            with pytest.raises(Corrupt, match="what its id leads to"):
                use("right")
        (fault,) = store.append([Append(run_id="right", expected=3, events=(accepted(3),))])
        assert isinstance(fault, Corrupt)
        assert store.load("left").info.position == 3
