"""What stores that write bytes refuse: each the same."""

import random
from typing import Any

import pytest
from msgspec import structs

from tests.stores.postgres.logs import accepted, add, applied, info
from treadle.errors import Conflict, EncodeError, Fenced, UnknownRun
from treadle.interfaces import Message
from treadle.model.events import ComponentAdded
from treadle.stores import entries
from treadle.testing.store_upkeep import baseline_at
from treadle.testing.stored_logs import every_event
from treadle.wiring import make_store

LARGE = [accepted(0, random.Random(1).randbytes(2_000))]


@pytest.fixture
def store(url):
    """A store of each kind."""
    made: Any = make_store(url)
    yield made
    made.close()


def told(store, *batch):
    """What was wrong with each, by name."""
    return [None if each is None else type(each) for each in store.append(batch)]


def test_a_run_cannot_begin_in_its_middle(store):
    """Who creates a run and expects a log in it has confused two runs: nothing is created."""
    assert told(store, add("run", 3, create=info("run"))) == [Conflict]
    assert told(store, add("run", 0, create=info("run", epoch=1), epoch=2)) == [Fenced]
    assert store.info("run") is None


@pytest.mark.parametrize("text", ["a\x00b", "half \ud800"])
def test_names_that_the_server_cannot_keep_are_refused(store, text):
    """They are refused one by one; to look for one finds nothing, and a note loses what cannot be kept."""
    bad = add("x", 0, create=info(text))

    assert told(store, structs.replace(bad, run_id=text), add("ok", 0, create=info("ok"))) == [
        EncodeError,
        None,
    ]
    assert store.info(text) is None
    assert store.list(workflow=text) == []
    assert not store.delete(text)
    assert store.claim("me", 1, run_id=text) == []
    with pytest.raises(UnknownRun):
        store.load(text)
    assert store.answered(text, "m") is None
    assert store.answered("ok", text) is None
    with pytest.raises(UnknownRun):
        store.post(Message(id="m", run_id=text, kind="signal", body=b""))
    with pytest.raises(EncodeError):
        store.post(Message(id=text, run_id="ok", kind="signal", body=b""))
    with pytest.raises(UnknownRun):
        store.since(text, 0)
    assert told(store, add("ok", 1, status="parked", note=text)) == [None]
    assert store.info("ok").note[0] == text[0]


def test_an_outcome_counts_once(store):
    """The database itself refuses a second outcome of one runnable; neighbours in the batch are written."""
    store.append([add(name, 0, create=info(name)) for name in ("a", "b", "c")])
    store.append([add("b", 1, applied(1))])

    assert told(store, add("a", 1), add("b", 2, applied(2)), add("c", 1)) == [None, Conflict, None]
    assert [store.info(name).position for name in "abc"] == [2, 2, 2]
    assert told(store, add("a", 2, applied(2), applied(3)), add("c", 2)) == [Conflict, None]
    assert [store.info(name).position for name in "abc"] == [2, 2, 3]


def test_a_value_that_is_too_large_for_any_is_refused(store, monkeypatch):
    """It could not move to the other kind; its neighbours are written."""
    monkeypatch.setattr(entries, "LARGEST", 1_000)
    many = [add("a", 0, create=info("a")), add("b", 0, *LARGE, create=info("b"))]

    assert told(store, *many) == [None, EncodeError]
    assert store.info("b") is None


def test_nothing_is_let_go_of_when_an_edit_meets_it(store, monkeypatch):
    """The edit may ask for what is before the snapshot, and came after it was looked for."""
    edit = next(each for each in every_event() if isinstance(each, ComponentAdded))
    store.append([add("run", 0, *map(accepted, range(4)), create=info("run"))])
    assert store.save_snapshot("run", 0, baseline_at(4))
    log = getattr(store._upkeep, "_log", None) or store._upkeep._reading
    since = type(log).since

    def met(self, run_id, position):
        found = since(self, run_id, position)
        assert told(store, add("run", 4, structs.replace(edit, position=4))) == [None]
        return found

    monkeypatch.setattr(type(log), "since", met)

    assert store.compact("run") == 0
    assert len(store.load_all("run").events) == 5
