"""Whole stores that move, from each kind into each: nothing that a promise rests on stays behind."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import structs

import treadle as td
from tests.conftest import url_of
from tests.runner.running import PATIENCE_S
from treadle.errors import DuplicateRun, Overloaded
from treadle.interfaces import Append, Message, Reply, RunInfo
from treadle.model.events import Applied, InputAccepted
from treadle.stores.portable import export_run, import_run
from treadle.stores.whole import HELD_BACK, Beside, Left, copy_runs, write_run
from treadle.testing.store_upkeep import baseline_at
from treadle.wiring import make_store

KINDS = ("sqlite", "postgres")


@pytest.fixture(params=[(one, other) for one in KINDS for other in KINDS], ids="-".join)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A filled store and an empty one, of each kind."""
    folders = [tmp_path / "from", tmp_path / "to"]
    for folder in folders:
        folder.mkdir()
    urls = [
        url_of(kind, request, folder) for kind, folder in zip(request.param, folders, strict=True)
    ]
    source: Any = make_store(urls[0])
    target: Any = make_store(urls[1])
    with closing(source), closing(target):
        fill(source)
        yield source, target


def accepted(position: int, value: Any = None) -> InputAccepted:
    """An event."""
    return InputAccepted(position, (position,), value)


def message(run_id: str, id: str) -> Message:
    """Something that somebody wants of a run."""
    return Message(id=id, run_id=run_id, kind="signal", body=id.encode(), at=2.5)


def fill(store: Any) -> None:
    """A bit of everything."""
    for id, status, note in (
        ("busy", "running", None),
        ("at rest", "idle", "why"),
        ("new", "idle", None),
    ):
        store.create(
            RunInfo(
                id=id,
                workflow="w",
                run_key=f"key of {id}",
                fingerprint="f",
                created_at=1.0,
                note=note,
            )
        )
        if id != "new":
            events = (accepted(0, "large " * 20_000), Applied(1, "step", (0,), 3, 1))
            append = Append(
                run_id=id,
                expected=0,
                events=events,
                status=status,
                note=note,
                at=2.0,
                wake_at=1e12,
                deadline_at=2e12,
                durability="normal",
            )
            assert store.append([append]) == [None]
    assert store.append([Append(run_id="busy", expected=2, intents=(b"begun", b"mark"))]) == [None]
    assert store.append([Append(run_id="at rest", expected=2, events=(baseline_at(2),))]) == [None]
    for id in ("taken", "done", "open", "waits", "waits, too"):
        store.post(message("busy", id))
    replies = (
        Reply(message="done", input=0, body=b"what came of it"),
        Reply(message="open", input=1),
    )
    taken = Append(
        run_id="busy", expected=None, consumed=("taken", "done", "open"), replies=replies
    )
    assert store.append([taken]) == [None]
    with store.transaction("key of a step", "key of busy") as step:
        step.keep({"paid": [1, 2]})
    store.put_cached({"key": b"not copied"})


def test_all_runs_are_copied(stores: Any) -> None:
    """With logs, marks, messages and results, in their order; nobody has them, and the cache stays."""
    source, target = stores
    copied = copy_runs(source, target)

    assert (copied.runs, copied.events, copied.left_out) == (3, 3, [])
    assert target.list() == source.list()
    for info in source.list():
        was, now = source.load_all(info.id), target.load_all(info.id)
        assert (now.events, now.intents) == (was.events, was.intents)
        assert target.beside(info.id) == source.beside(info.id)
    assert target.load("busy").intents == {b"begun", b"mark"}
    assert target.load("busy").owing == {"open": 1}
    (told,) = target.standing([("busy", "done")]).values()
    assert (told.is_taken, told.input, told.body) == (True, 0, b"what came of it")
    target.claim("me", 60.0, run_id="busy")
    assert target.waiting("me") == [message("busy", "waits"), message("busy", "waits, too")]
    assert not target.post(message("busy", "taken"))
    with target.transaction("key of a step", "key of busy") as step:
        assert step.result == {"paid": [1, 2]}
    assert target.cached("key") is None
    assert target.verify() == []


def test_one_run_goes_with_all_that_is_its_own(stores: Any) -> None:
    """As a file, from any kind to any."""
    source, target = stores
    info = import_run(target, target.codec, export_run(source, source.codec, "busy"), "other")

    assert target.load_all("other").events == source.load_all("busy").events
    assert target.load("other").intents == {b"begun", b"mark"}
    assert (info.id, target.info("other").status) == ("other", "running")
    taken, done, opened, *rest = target.beside("other").messages
    assert (taken.message.id, taken.is_taken, taken.reply) == ("taken", True, None)
    assert (done.is_taken, done.input, done.reply) == (True, 0, b"what came of it")
    assert (opened.is_taken, opened.input, opened.reply) == (True, 1, None)
    assert [each.message.run_id for each in rest] == ["other", "other"]
    assert target.beside("other").results == [("key of a step", {"paid": [1, 2]})]


def test_what_cannot_be_put_there_leaves_nothing(stores: Any) -> None:
    """A run of one of the ids is there: what was written before it is taken back."""
    source, target = stores
    target.create(RunInfo(id="new", workflow="mine", run_key="k"))
    with pytest.raises(DuplicateRun):
        copy_runs(source, target)

    assert [(info.id, info.workflow) for info in target.list()] == [("new", "mine")]


def test_all_is_of_one_moment(stores: Any) -> None:
    """What is written while a store is copied is not in the copy."""
    source, target = stores

    def write() -> None:
        late = Append(run_id="at rest", expected=2, events=(accepted(2),))
        assert source.append([late]) == [None]
        source.create(RunInfo(id="late", workflow="w", run_key="k"))

    def go_on(info: RunInfo) -> None:
        if info.id == "busy":
            writer = threading.Thread(target=write)
            writer.start()
            writer.join(PATIENCE_S)

    copy_runs(source, target, go_on)

    assert [info.id for info in target.list()] == ["busy", "at rest", "new"]
    assert len(target.load_all("at rest").events) == 1
    assert len(source.load_all("at rest").events) == 2
    assert source.info("late") is not None


def test_a_run_that_cannot_be_read_is_left_out_and_named(store_of: Any) -> None:
    """The others are copied."""
    source, target = store_of("postgres"), store_of("sqlite")
    fill(source)
    settings = source._connections._settings
    with psycopg.connect(
        host=settings["host"], port=settings["port"], user="postgres", autocommit=True
    ) as server:
        server.execute(
            f"UPDATE {source.schema}.event SET body = body || 'x'::bytea WHERE position = 1"
        )
    copied = copy_runs(source, target)

    assert [each.run_id for each in copied.left_out] == ["busy"]
    assert "damaged at position 1" in copied.left_out[0].what
    assert [info.id for info in target.list()] == ["at rest", "new"]


@pytest.fixture
def store_of(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes a store of a kind."""
    opened: list[Any] = []

    def make(kind: str) -> Any:
        opened.append(make_store(url_of(kind, request, tmp_path)))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_takes_half_a_run(store_of: Any, kind: str) -> None:
    """A long log is written in several transactions, and until the last no runner finds it."""
    store = store_of(kind)
    events = [accepted(at) for at in range(4_500)]
    seen = []
    append = store.append

    def noted(batch: Any) -> Any:
        done = append(batch)
        seen.append((store.info("long").status, len(store.claim("me", 60.0, workflows=["w"]))))
        return done

    store.append = noted
    info = RunInfo(id="long", workflow="w", run_key="k", status="running", wake_at=1.0)
    write_run(store, info, events)

    assert seen == [(HELD_BACK, 0), (HELD_BACK, 0), ("running", 1)]
    assert len(store.load("long").events) == 4_500


@pytest.mark.parametrize("kind", KINDS)
def test_messages_that_were_taken_take_no_room(store_of: Any, kind: str) -> None:
    """However many a run ever had; and until all of them are there no runner finds it."""
    store: Any = store_of(kind)
    store._sharing._max_waiting = 3
    messages = [Left(message("a", f"taken {n}"), is_taken=True, input=n) for n in range(8)]
    messages += [Left(message("a", f"waits {n}")) for n in range(3)]
    seen = []
    post = store.post

    def noted(left: Message) -> Any:
        seen.append(len(store.claim("me", 60.0, workflows=["w"])))
        return post(left)

    store.post = noted
    info = RunInfo(id="a", workflow="w", run_key="k", status="running", wake_at=1.0)
    write_run(store, info, [accepted(0)], beside=Beside(messages=messages))

    assert not any(seen)
    assert [each.epoch for each in store.claim("me", 60.0, workflows=["w"])] == [1]
    assert [left.id for left in store.waiting("me")] == ["waits 0", "waits 1", "waits 2"]
    assert all(store.answered("a", each.message.id) for each in messages[:8])
    with pytest.raises(Overloaded):
        write_run(
            store,
            structs.replace(info, id="b", run_key="l"),
            [accepted(0)],
            beside=Beside(messages=[*messages, Left(message("b", "waits 3"))]),
        )
    assert store.info("b") is None


@pytest.mark.parametrize("kinds", [("sqlite", "postgres"), ("postgres", "sqlite")], ids="-".join)
def test_a_runner_goes_on_in_the_other_store(
    kinds: tuple[str, str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """With a wait that is open, a message that nobody took, and a schedule."""
    pytest.importorskip("cronsim", reason="the package cronsim is not installed")
    urls = [url_of(kind, request, tmp_path) for kind in kinds]
    asking = td.workflow("asking").add(td.wait_for("word")).add(td.step(len), to="word")
    with td.Runner(store=urls[0], workflows=[asking]) as runner:
        for id in ("a", "b"):
            runner.start(asking, id)
            runner.run(id, 1)
        runner.schedule("yearly", "0 0 1 1 *", asking, 1)
        planned = runner.schedules()
    source: Any = make_store(urls[0])
    target: Any = make_store(urls[1])
    with closing(source), closing(target):
        body = b'{"name": "word", "payload": "four"}'
        source.post(Message(id="m", run_id="b", kind="signal", body=body))
        copy_runs(source, target)
    with td.Runner(store=urls[1], workflows=[asking], poll_s=0.01) as runner:
        runner.signal("a", "word", "three")
        for id, length in (("a", 5), ("b", 4)):
            assert runner.wait(id, PATIENCE_S) == "idle"
            assert runner.get_results(id) == {"len": length}
        assert runner.schedules() == planned
