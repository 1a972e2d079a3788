"""Appends: what counts, what does not, and what is recognized when it comes again."""

import random
from typing import Any

import psycopg
import pytest
from msgspec import structs

import treadle as td
from tests.stores.postgres.logs import accepted, add, applied, info
from treadle.errors import Conflict, Corrupt, DuplicateRun, Fenced, StoreError, UnknownRun
from treadle.interfaces import Append, Message, Reply
from treadle.testing.store_upkeep import baseline_at
from treadle.testing.stored_logs import folded_story


def told(store, *batch):
    """What was wrong with each, by name."""
    return [None if each is None else type(each) for each in store.append(batch)]


def values(store, run_id):
    """The log's inputs."""
    return [getattr(event, "value", None) for event in store.load(run_id).events]


def test_a_run_begins_with_its_first_events(store):
    """Run, lease and events are one append; sent again it is there; a second run of the id is refused."""
    begin = add("run", 0, accepted(0, "one"), create=info("run", epoch=1, owner="me"), epoch=1)

    assert told(store, begin) == [None]
    assert told(store, begin) == [None]
    other = add("run", 0, accepted(0, "two"), create=info("run", epoch=1, owner="you"), epoch=1)
    assert told(store, other) == [DuplicateRun]
    assert values(store, "run") == ["one"]
    assert store.info("run").owner == "me"
    assert store.info("run").epoch == 1


def test_appends_that_follow_each_other_go_in_one_statement(store):
    """A run's appends in one batch count in order, with the status of the last that has one."""
    first = add("run", 0, create=info("run"), status="running", note="a", at=1.0)
    batch = [first, add("run", 1, at=2.0), add("run", 2, status="idle"), add("run", 3)]

    assert told(store, *batch) == [None] * 4
    found = store.info("run")
    assert (found.position, found.status, found.note, found.updated_at) == (4, "idle", None, 2.0)


def test_later_appends_of_a_batch_may_fit_where_the_first_does_not(store):
    """Each is judged by where the log stands, not by its neighbours."""
    store.append([add("run", 0, create=info("run"))])

    assert told(store, add("run", 0, accepted(0, "x")), add("run", 1), add("run", 2)) == [
        Conflict,
        None,
        None,
    ]
    assert store.info("run").position == 3


def test_what_was_stored_already_is_recognized(store, open_store):
    """The same append sent again, because its answer was lost, is neither doubled nor refused."""
    batch = [
        add("run", 0, accepted(0), applied(1), create=info("run"), status="running"),
        add("run", 2, applied(2, "other")),
    ]
    assert told(store, *batch) == [None, None]
    again = [structs.replace(batch[0], create=None), batch[1]]

    for each in (store, open_store()):
        assert told(each, *again) == [None, None]
        assert told(each, again[1]) == [None]
        assert told(each, again[0]) == [None]
    assert store.info("run").position == 3
    assert store.verify() == []


def test_a_baseline_sent_again_is_recognized(store):
    """Also where it took the place of what the append expected."""
    story = folded_story()
    store.create(info("run"))
    last = None
    for piece in story.pieces:
        last = Append(run_id="run", expected=piece.expected, events=piece.events)
        assert told(store, last) == [None]
        assert told(store, last) == [None]

    assert store.verify() == []
    events = store.load("run").events
    assert td.Workflow.from_log(story.template, events) == story.pieces[-1].workflow


def test_whoever_was_replaced_writes_nothing(store, open_store):
    """An older epoch is fenced, whatever the store remembers; the others of the batch are written."""
    store.append([add("run", 0, create=info("run")), add("other", 0, create=info("other"))])
    (claimed,) = open_store().claim("you", 30, run_id="run")

    assert told(store, add("run", 1), add("other", 1)) == [Fenced, None]
    assert told(store, add("run", 1, epoch=claimed.epoch)) == [None]
    (fault,) = store.append([add("run", 2)])
    assert "taken over by you (epoch 1, not 0)" in str(fault)


def test_what_another_store_wrote_is_seen(store, open_store):
    """What a store remembers of a log is no more than a guess."""
    store.append([add("run", 0, create=info("run"))])
    open_store().append([add("run", 1)])

    assert told(store, add("run", 1, accepted(1, "late"))) == [Conflict]
    assert told(store, add("run", 2)) == [None]
    assert told(store, Append(run_id="run", expected=None, status="idle")) == [None]
    store.delete("run")
    assert told(store, add("run", 3)) == [UnknownRun]


def test_a_server_that_lost_commits_is_noticed(store, server):
    """A log as long as expected that is not the one that was written: nothing is added to it."""
    store.append([add("run", 0, create=info("run"))])
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"UPDATE {store.schema}.run SET link = '\\x00', epoch = 5")
        connection.execute(f"UPDATE {store.schema}.run SET epoch = 0")
    store._writing.places.note("run", store._writing.places.get("run")._replace(pk=-1))

    assert told(store, add("run", 1)) == [Conflict]
    assert store.verify() != []


def test_large_values_come_back(store):
    """They stand out of line, once, and go with the last run that needs them."""
    large = "x" * 100_000
    for name in ("one", "two"):
        store.append([add(name, 0, accepted(0, large), accepted(1, large), create=info(name))])
    assert values(store, "two") == [large, large]

    store.delete("one")
    assert store.sweep(unused_for_s=0) == 0
    assert store.verify() == []
    store.delete("two")
    assert store.sweep(unused_for_s=3600) == 0
    assert store.sweep(unused_for_s=0) == 1


def test_an_id_too_long_for_the_index_spoils_nothing(store):
    """What the server refuses concerns one append only."""
    long = "".join(random.Random(1).choices("abcdefghijklmnop", k=40_000))
    faults = store.append([add("a", 0, create=info("a")), add(long, 0, create=info(long))])

    assert faults[0] is None
    assert isinstance(faults[1], StoreError)
    assert [run.id for run in store.list()] == ["a"]


def test_damage_is_told(store, server):
    """One flipped bit in an event, and the run is not loaded any more."""
    for name in ("whole", "torn"):
        store.append([add(name, 0, accepted(0), accepted(1), create=info(name))])
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(
            f"UPDATE {store.schema}.event SET body = set_bit(body, 9, 1 - get_bit(body, 9)) "
            f"WHERE position = 1 AND run = (SELECT pk FROM {store.schema}.run WHERE id = 'torn')"
        )

    (finding,) = store.verify()
    assert finding.run_id == "torn"
    assert "damaged at position 1" in finding.what
    assert store.verify("whole") == []


def test_what_is_noted_beside_a_log_is_sealed(store, server):
    """Status, note, moments, durability, and the marks of attempts; a NUL in a note harms nothing."""
    noted: dict[str, Any] = {
        "status": "running",
        "note": "why\x00",
        "wake_at": 7,
        "deadline_at": 8.5,
    }
    begun = info("begun", deadline_at=1.5, durability="normal", note="\x00")
    store.append([add("begun", 0, create=begun)])
    store.append([add("large", 0, *map(accepted, range(20)), create=info("large"), **noted)])
    store.append([add("torn", 0, accepted(0), create=info("torn"))])
    store.append([add("torn", 1, accepted(1), **noted)])
    store.append([add("torn", 2, accepted(2), intents=(b"begun",), **noted)])
    store.append([add("torn", 3, accepted(3), **noted), add("large", 20, accepted(20), **noted)])
    assert store.verify() == []
    assert store.load("begun").info.durability == "normal"
    assert store.load("torn").intents == {b"begun"}

    for change in ("status = 'idle'", "note = NULL", "wake_at = 8", "deadline_at = NULL"):
        with psycopg.connect(server.conninfo) as connection:
            connection.execute(f"UPDATE {store.schema}.run SET {change} WHERE id = 'torn'")
            connection.commit()
        with pytest.raises(Corrupt, match="'torn' is damaged.*what is noted beside its log"):
            store.load("torn")
        (finding,) = store.verify()
        assert finding.run_id == "torn"
        assert store.append([Append(run_id="torn", expected=None, **noted)]) == [None]
        assert store.verify() == []
    with psycopg.connect(server.conninfo) as connection:
        connection.execute(f"UPDATE {store.schema}.intent SET attempt = attempt || 'x'::bytea")
        connection.commit()
    with pytest.raises(Corrupt, match="the mark of an attempt"):
        store.load("torn")


def test_snapshots_shorten_the_way_back(store):
    """Loading begins at the newest snapshot; compaction lets go of what is before it."""
    template = td.workflow("w").add(td.step(abs)).with_run_key("key of run")
    done = template
    for number in range(5):
        done = done.react_until_satisfied(number)
    log = done.log()
    store.append([add("run", 0, *log, create=info("run"))])
    baseline = done.baseline()

    assert store.save_snapshot("run", 0, baseline)
    assert not store.save_snapshot("run", 7, baseline)
    assert len(store.load("run").events) < len(log)
    assert len(store.load_all("run").events) == len(log)
    assert store.compact("run") == baseline.position
    assert store.compact("run") == 0
    assert td.Workflow.from_log(template, store.load("run").events).position == len(log)
    assert store.verify() == []
    assert told(store, add("run", len(log))) == [None]


@pytest.mark.parametrize(
    ("table", "finding"),
    [
        ("message", "the message 'm' is not what was left"),
        ("snapshot", "a snapshot is not what was"),
    ],
)
def test_damage_beside_the_log_is_found(store, server, table, finding):
    """A damaged message is not handed on, and a damaged snapshot is passed over; both are told of."""
    store.create(info("run", epoch=1))
    assert store.append([add("run", 0, epoch=1), add("run", 1, epoch=1)]) == [None, None]
    assert store.save_snapshot("run", 1, baseline_at(1))
    store.post(Message(id="m", run_id="run", kind="signal", body=b"body"))
    assert not store.verify()
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"UPDATE {store.schema}.{table} SET body = body || 'x'::bytea")

    (found,) = store.verify()
    assert (found.run_id, finding in found.what) == ("run", True)
    store.claim("me", 60.0, run_id="run")
    assert len(store.waiting("me")) == (table != "message")


def test_a_damaged_reply_is_told(store, server):
    """Nobody takes it for what was told, and no copy is made of it."""
    store.create(info("run"))
    store.post(Message(id="m", run_id="run", kind="input", body=b"body"))
    reply = Reply(message="m", input=0, body=b"told")
    assert told(store, add("run", 0, consumed=("m",), replies=(reply,))) == [None]
    assert store.verify() == []
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"UPDATE {store.schema}.message SET reply = reply || 'x'::bytea")

    (found,) = store.verify()
    assert found.what == "what came of the message 'm' is not what was told"
    assert store.standing([("run", "m")])["run", "m"].body == b""
    with pytest.raises(Corrupt, match="not what was told"):
        store.beside("run")


def test_a_damaged_result_of_a_step_is_told(store, server):
    """Rather than handed on as what the step gave."""
    store.create(info("run"))
    with store.transaction("key", "key of run") as step:
        step.keep(5)
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"UPDATE {store.schema}.completed SET body = body || 'x'::bytea")

    with pytest.raises(Corrupt, match="'key' gave is not what was written"):
        with store.transaction("key", "key of run"):
            raise AssertionError("it has nothing to give")
