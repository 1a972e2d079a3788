"""Long lives of stored runs: forks and reruns, logs that are folded in place, and runs that have had their time."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from tests.conftest import url_of
from tests.stores.sqlite.places import HandClock
from treadle import errors
from treadle.interfaces import Append, Message, RunInfo
from treadle.model.events import Baseline
from treadle.runner import keeping
from treadle.stores.memory import MemoryStore
from treadle.wiring import make_store

PATIENCE_S = 30
DAY_S = 86_400.0


def sums(name: str = "sums", by: int = 1, **options: Any) -> td.Workflow:
    """A step, and a state below it."""
    workflow = td.workflow(name, **options).add(td.step(lambda x: x + by, name="plus"))
    return workflow.add(
        td.accumulator(lambda total, x: total + x, initial=0, name="total"), to="plus"
    )


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store of each kind: an object for one process, and URLs."""
    kind = str(request.param)
    return MemoryStore() if kind == "memory" else url_of(kind, request, tmp_path)


def whole(url: str, id: str) -> Any:
    """A run with all of its log."""
    kept: Any = make_store(url)
    try:
        return kept.load_all(id)
    finally:
        kept.close()


def listed(url: str) -> dict[str, RunInfo]:
    """The runs of a store by id."""
    kept: Any = make_store(url)
    try:
        return {info.id: info for info in kept.list()}
    finally:
        kept.close()


def opened(url: str) -> Any:
    """A store, beside whoever else uses it."""
    return make_store(url)


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that comes by itself."""
    clock, never = itertools.count(), threading.Event()
    while not holds():
        assert next(clock) < PATIENCE_S / 0.01, "it did not come"
        never.wait(0.01)


# ------------------------------------------------------------------------------------ fork, rerun


def test_a_fork_goes_on_by_itself(store: Any):
    """It begins where the run is, and neither knows of the other's inputs."""
    with td.Runner(store=store) as runner:
        runner.start(sums(), "a")
        runner.run("a", 1).result(PATIENCE_S)
        assert runner.fork("a", new_id="b") == "b"
        assert runner.run("b", 10).result(PATIENCE_S) == {"total": 13}
        assert runner.run("a", 2).result(PATIENCE_S) == {"total": 5}
        keys = {info.id: info.run_key for info in runner.runs()}
        assert keys["a"] != keys["b"]
        assert {info.id: info.note for info in runner.runs()} == {
            "a": None,
            "b": "forked from a at 4",
        }


def test_a_fork_does_what_was_left_to_do_under_keys_of_its_own(store: Any):
    """Cut before a step's result, the step is done again, and its receiver sees another key."""
    seen: list[str] = []

    def send(x: int, key: str = td.idempotency_key()) -> int:
        seen.append(key)
        return x

    with td.Runner(store=store) as runner:
        runner.start(td.workflow("post").add(td.step(send)), "a")
        runner.run("a", 1).result(PATIENCE_S)
        fork = runner.fork("a", at=2)
        runner.wait(fork, PATIENCE_S)
        assert runner.get_results(fork) == {"send": 1}
        assert len(set(seen)) == 2


def test_a_fork_that_is_put_away_comes_back_as_it_was(store: Any):
    """A fork of a run that an earlier runner began goes on after a rest, with the options that it got from that run."""

    def say(total: int, *, unit: str = td.context("unit", default="nothing")) -> str:
        return f"{total} {unit}"

    made = sums().add(td.step(say), to="total")
    with td.Runner(store=store, workflows=[made]) as runner:
        for id in ("old", "bare", "other"):
            runner.start(made, id)
            runner.run(id, 1).result(PATIENCE_S)
    with td.Runner(store=store, workflows=[made], keep_warm=1) as runner:
        runner.start(made, "old", if_exists="resume", run_context={"say": {"unit": "bolts"}})
        runner.start(made, "bare", if_exists="resume")
        runner.fork("old", new_id="new")
        runner.fork("bare", new_id="plain")
        runner.start(made, "other", if_exists="resume")
        for _ in range(2):
            runner.run("other", 1).result(PATIENCE_S)
            runner.wait("other", PATIENCE_S)
        assert runner.run("new", 1).result(PATIENCE_S) == {"say": "4 bolts"}
        assert runner.run("plain", 1).result(PATIENCE_S) == {"say": "4 nothing"}


def test_a_fork_that_only_waits_is_not_taken_up_for_nothing(url: str):
    """Whoever looks for runs with something to do passes it over until its moment."""
    made = td.workflow("asking").add(td.wait_for("answer", timeout_s=DAY_S))
    with td.Runner(store=url, workflows=[made]) as runner:
        runner.start(made, "old")
        runner.run("old", 1)
        runner.checkpoint("old")
        runner.fork("old", new_id="new")
        runner.checkpoint("new")
        wanted = listed(url)["old"]
        found = listed(url)["new"]
        assert (found.status, found.wake_at) == ("waiting", wanted.wake_at)
        assert (found.note, found.epoch) == ("forked from old at 3", 1)
    kept: Any = make_store(url)
    kept.append([Append(run_id="new", expected=None, status="running", epoch=1)])
    kept.close()
    with td.Runner(store=url, workflows=[made], recover=False) as runner:
        runner.resume("new")
        runner.checkpoint("new")
        assert (listed(url)["new"].status, listed(url)["new"].wake_at) == (
            "waiting",
            wanted.wake_at,
        )


def test_forks_of_one_position_have_keys_of_their_own():
    """They follow from the ids: whoever makes the same fork of the same run once more has the same keys."""

    def keys(run_key: str, *made: tuple[str, Any]) -> list[str]:
        with td.Runner() as runner:
            runner.start(sums().with_run_key(run_key), "a")
            runner.run("a", 1).result(PATIENCE_S)
            for name, make in made:
                make(runner, name)
            known = {info.id: info.run_key for info in runner.runs()}
            return [known[name] for name, _ in made]

    def at_3(runner: td.Runner, name: str) -> None:
        runner.fork("a", at=3, new_id=name)

    def at_2(runner: td.Runner, name: str) -> None:
        runner.fork("a", at=2, new_id=name)

    def again(runner: td.Runner, name: str) -> None:
        runner.rerun("a", "plus", new_id=name)

    once = keys("k", ("b", at_3), ("c", at_3), ("d", again), ("e", again))
    assert len({*once, "k"}) == 5
    assert once == keys("k", ("b", at_3), ("c", at_3), ("d", again), ("e", again))
    others = [keys("k", ("b", at_2)), keys("k", ("b", again)), keys("other", ("b", at_3))]
    assert not {once[0]} & {key for (key,) in others}


def test_where_a_fork_came_from_stays_to_be_seen(url: str):
    """Through further inputs, another runner, a cancellation."""
    with td.Runner(store=url) as runner:
        runner.start(sums(), "a")
        runner.run("a", 1).result(PATIENCE_S)
        runner.fork("a", new_id="b")
        runner.run("b", 2).result(PATIENCE_S)
    assert listed(url)["b"].note == "forked from a at 4"
    with td.Runner(store=url, workflows=[sums()]) as runner:
        assert runner.run("b", 3).result(PATIENCE_S) == {"total": 9}
        runner.cancel("b", reason="enough")
    assert listed(url)["b"].note == "enough; forked from a at 4"


def test_a_run_of_another_runner_is_forked(url: str):
    """Whoever has it: only its stored log is read."""
    with td.Runner(store=url) as first:
        first.start(sums(), "a")
        first.run("a", 1).result(PATIENCE_S)
    store = opened(url)
    with td.Runner(store=store, workflows=[sums()]) as runner:
        assert store.claim("somebody else", 60.0, run_id="a")
        with pytest.raises(errors.RunElsewhere):
            runner.stop("a")
        fork = runner.fork("a")
        assert runner.run(fork, 2).result(PATIENCE_S) == {"total": 5}
        assert {info.id: info.owner for info in store.list()}["a"] == "somebody else"


def test_a_component_is_rerun_for_all_inputs_or_one(store: Any):
    """What is above it stays; what is below it is computed again."""
    calls: list[Any] = []

    def noted(name: str) -> Any:
        def body(x: int) -> int:
            calls.append((name, x))
            return x + 1

        return td.step(body, name=name)

    workflow = td.workflow("w").add(noted("a")).add(noted("b"), to="a").add(noted("c"), to="b")
    with td.Runner(store=store) as runner:
        runner.start(workflow, "one")
        for value in (10, 20):
            runner.run("one", value).result(PATIENCE_S)
        calls.clear()
        again = runner.rerun("one", "b", new_id="two")
        runner.wait(again, PATIENCE_S)
        assert sorted(calls) == [("b", 11), ("b", 21), ("c", 12), ("c", 22)]
        calls.clear()
        last = runner.rerun("one", "c", input=1)
        runner.wait(last, PATIENCE_S)
        assert calls == [("c", 22)]
        assert runner.get_results(last) == {"c": 23}
        notes = {info.id: info.note for info in runner.runs()}
        assert notes["two"] == "rerun of one at 9: b"
        assert notes[last] == "rerun of one at 9: c for input 1"


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda runner: runner.fork("x"), errors.UnknownRun, "no run 'x'"),
        (lambda runner: runner.fork("a", at=99), errors.UsageError, "no position 99"),
        (lambda runner: runner.fork("a", at=-1), errors.UsageError, "no position"),
        (lambda runner: runner.fork("a", new_id="a"), errors.DuplicateRun, "'a' already"),
        (lambda runner: runner.fork("a", new_id=""), errors.UsageError, "the id ''"),
        (lambda runner: runner.rerun("a", "plum"), errors.UnknownComponent, "plum"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_nothing(
    store: Any, call: Any, error: type[Exception], said: str
):
    """Before anything is stored."""
    with td.Runner(store=store) as runner:
        runner.start(sums(), "a")
        runner.run("a", 1).result(PATIENCE_S)
        with pytest.raises(error, match=said):
            call(runner)
        assert [info.id for info in runner.runs()] == ["a"]


def test_a_fork_of_a_run_whose_workflow_nobody_knows_is_refused(url: str):
    """It says what to give; and so is one whose code is another now."""
    with td.Runner(store=url) as runner:
        runner.start(sums(), "a")
        runner.run("a", 1).result(PATIENCE_S)
    with td.Runner(store=url) as runner, pytest.raises(errors.UsageError, match="'sums'.*workflow"):
        runner.fork("a")
    with td.Runner(store=url, workflows=[sums(by=2)]) as runner:
        with pytest.raises(errors.CodeChanged):
            runner.fork("a")
    assert list(listed(url)) == ["a"]


def test_a_run_that_is_kept_nowhere_is_forked_from_memory():
    """Its log is in its machine."""
    with td.Runner(store=None) as runner:
        runner.start(sums(), "a")
        runner.run("a", 1).result(PATIENCE_S)
        fork = runner.fork("a")
        assert runner.run(fork, 2).result(PATIENCE_S) == {"total": 5}


# ---------------------------------------------------------------------------------- recompute


def test_what_is_recomputed_goes_on_as_a_run_of_its_own(url: str):
    """The old run stops, and says as what it goes on; a second runner finds both as they are."""
    with td.Runner(store=url) as runner:
        runner.start(sums(), "a")
        for value in (1, 2):
            runner.run("a", value).result(PATIENCE_S)
    before = whole(url, "a")
    name = f"a~{before.info.position}"
    options: dict[str, Any] = {"workflows": [sums(by=100)], "on_code_change": "recompute"}
    with td.Runner(store=url, **options) as runner:
        with pytest.raises(errors.RunEnded, match=f"goes on as '{name}'"):
            runner.run("a", 3)
        runner.wait(name, PATIENCE_S)
        assert runner.get_results(name) == {"total": 203}
        assert runner.run(name, 3).result(PATIENCE_S) == {"total": 306}
        with pytest.raises(errors.RunEnded, match=f"goes on as '{name}'"):
            runner.resume("a")
    after = listed(url)
    assert whole(url, "a").events == before.events
    assert after["a"].status == "stopped"
    assert after[name].note == f"upgraded from a at {before.info.position}"
    assert set(after) == {"a", name}
    with td.Runner(store=url, workflows=[sums(by=100)]) as runner:
        assert runner.run(name, 4).result(PATIENCE_S) == {"total": 410}
    with td.Runner(store=url, workflows=[sums()]) as runner:  # the old code may have it back
        runner.resume("a")
        assert runner.run("a", 3).result(PATIENCE_S) == {"total": 9}


@pytest.mark.slow
def test_a_run_of_many_events_is_recomputed_from_all_of_its_log(url: str):
    """Its snapshot is not enough, and the store has the rest."""
    with td.Runner(store=url) as runner:
        runner.start(sums(), "a")
        tickets = [runner.run("a", 1) for _ in range(700)]
        tickets[-1].result(PATIENCE_S)
    kept: Any = make_store(url)
    assert isinstance(kept.load("a").events[0], Baseline)
    kept.close()
    name = f"a~{listed(url)['a'].position}"
    options: dict[str, Any] = {"workflows": [sums(by=2)], "on_code_change": "recompute"}
    with td.Runner(store=url, **options) as runner:
        with pytest.raises(errors.RunEnded, match="computed again"):
            runner.resume("a")
        runner.wait(name, PATIENCE_S)
        assert runner.get_results(name) == {"total": 2_100}


# ------------------------------------------------------------------------- edits and snapshots


def doubled() -> Any:
    """A step that is added to a run."""
    return td.step(lambda x: x * 2, name="double")


def seen() -> Any:
    """A step that tells how often, and what, another gave."""

    def tell(x: int, *, times: int = td.count("plus"), all: Any = td.all_values("plus")) -> Any:
        return times, len(all), x

    return td.step(tell, name="seen")


def test_what_came_of_an_input_is_told_although_a_snapshot_left_it_out(
    url: str, monkeypatch: pytest.MonkeyPatch
):
    """By a ticket of its key, and to whoever leaves a message with it: the events are still there."""
    monkeypatch.setattr(keeping, "SNAPSHOT_EVERY", 20)
    with td.Runner(store=url, workflows=[sums()]) as runner:
        runner.start(sums(), "a")
        came = [runner.run("a", n, str(n)).result(PATIENCE_S) for n in range(15)]
        runner.wait("a", PATIENCE_S)
    with td.Runner(store=url, workflows=[sums()], poll_s=0.01) as runner:
        runner.resume("a")
        assert runner._runner._core.runs["a"].begins_at > 0
        assert runner.run("a", 3, "3").result(PATIENCE_S) == came[3]
        core = runner._runner._core
        left: Any = {"value": 4, "key": "4", "policies": None, "context": None, "deadline_at": None}
        ticket = runner._ask(lambda: core.send_input("a", **left))
        assert ticket.result(PATIENCE_S) == came[4]


@pytest.mark.parametrize("is_left", [False, True], ids=["live", "brought back"])
def test_what_is_added_late_is_fed_what_a_snapshot_left_out(
    url: str, monkeypatch: pytest.MonkeyPatch, is_left: bool
):
    """Whether the run was at work all the time or not, and whoever brings it back then: nothing is missing."""
    monkeypatch.setattr(keeping, "SNAPSHOT_EVERY", 20)
    known = [sums(), sums().add(doubled(), to="plus").add(seen(), to="plus")]
    runner = td.Runner(store=url, workflows=known)
    try:
        runner.start(sums(), "a")
        for value in range(15):
            runner.run("a", value).result(PATIENCE_S)
        if is_left:
            runner.close()
            runner = td.Runner(store=url, workflows=known)
            runner.resume("a")
        runner.add("a", doubled(), to="plus", backfill=True)
        runner.add("a", seen(), to="plus")
        assert runner.run("a", 15).result(PATIENCE_S)["seen"] == (16, 16, 16)
        runner.wait("a", PATIENCE_S)
        facts = runner.get_workflow("a").facts("double")
        assert sorted(fact.value for fact in facts) == [2 * (value + 1) for value in range(16)]
    finally:
        runner.close()
    with td.Runner(store=url, workflows=known) as runner:
        found = runner.run("a", 16).result(PATIENCE_S)
        assert found == {"total": sum(range(18)), "double": 34, "seen": (17, 17, 17)}
        assert runner.runs()[0].status == "idle"


def test_what_is_added_late_is_not_fed_what_was_let_go_of(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Somebody compacts a run that is at work elsewhere: its log speaks of nothing that is not in it any more."""
    url = url_of("postgres", request, tmp_path)
    monkeypatch.setattr(keeping, "SNAPSHOT_EVERY", 20)
    known = [sums(), sums().add(doubled(), to="plus")]
    with td.Runner(store=url, workflows=known) as runner:
        runner.start(sums(), "a")
        for value in range(15):
            runner.run("a", value).result(PATIENCE_S)
        runner.checkpoint("a")
        kept: Any = make_store(url)
        assert any(kept.compact("a") for _ in range(1_000))  # the snapshot may be on its way
        kept.close()
        runner.add("a", doubled(), to="plus", backfill=True)
        runner.wait("a", PATIENCE_S)
        live = runner.get_workflow("a")
        assert runner.run("a", 15).result(PATIENCE_S) == {"total": sum(range(17)), "double": 32}
    assert 0 < len(live.facts("double")) < 15


def test_a_kill_before_the_next_snapshot_leaves_a_log_that_can_be_read(
    url: str, monkeypatch: pytest.MonkeyPatch
):
    """What was fed to a late component speaks of inputs that are in no snapshot; compacting waits for one, too."""
    monkeypatch.setattr(keeping, "SNAPSHOT_EVERY", 20)
    known = [sums(), sums().add(doubled(), to="plus")]
    with td.Runner(store=url, workflows=known) as runner:
        runner.start(sums(), "a")
        for value in range(15):
            runner.run("a", value).result(PATIENCE_S)
        runner.checkpoint("a")
        monkeypatch.setattr(keeping, "SNAPSHOT_EVERY", 10_000)  # as if nobody came to it any more
        runner.add("a", doubled(), to="plus", backfill=True)
        runner.wait("a", PATIENCE_S)
    kept: Any = make_store(url)
    assert kept.compact("a") == 0
    kept.close()
    with td.Runner(store=url, workflows=known) as runner:
        assert runner.run("a", 15).result(PATIENCE_S) == {"total": sum(range(17)), "double": 32}


def test_an_edit_is_followed_by_a_snapshot(url: str, monkeypatch: pytest.MonkeyPatch):
    """The one before it is of no use: until there is another, all of the log is read."""
    monkeypatch.setattr(keeping, "SNAPSHOT_EVERY", 20)
    monkeypatch.setattr(keeping, "SNAPSHOT_AGAIN", 1)
    with td.Runner(store=url) as runner:
        runner.start(sums(), "a")
        for value in range(15):
            runner.run("a", value).result(PATIENCE_S)
        runner.add("a", doubled(), to="plus")
        length = runner.checkpoint("a")
        runner.run("a", 15).result(PATIENCE_S)
        kept: Any = make_store(url)
        until(lambda: kept.load("a").events[0].position >= length)
        kept.close()


def minus(x: int) -> int:
    """Other code than that of the run."""
    return x - 1


@pytest.mark.parametrize("is_upgraded", [False, True], ids=["an edit", "other code"])
def test_what_is_added_after_an_edit_is_fed_what_a_snapshot_left_out(
    url: str, monkeypatch: pytest.MonkeyPatch, is_upgraded: bool
):
    """Also where the run was brought back from its snapshot, and the edit before asked for nothing."""
    monkeypatch.setattr(keeping, "SNAPSHOT_EVERY", 20)
    made = sums()
    with td.Runner(store=url, workflows=[made]) as runner:
        runner.start(made, "a")
        for value in range(15):
            runner.run("a", value).result(PATIENCE_S)
    if is_upgraded:
        made = made.replace("plus", td.step(minus, name="plus"))
    with td.Runner(store=url, workflows=[made], on_code_change="adopt") as runner:
        runner.resume("a")
        if not is_upgraded:
            runner.add("a", td.step(minus), to="plus")
        runner.add("a", doubled(), to="plus", backfill=True)
        runner.wait("a", PATIENCE_S)
        assert len(runner.get_workflow("a").facts("double")) == 15


# --------------------------------------------------------------------------------- folded logs


def test_a_log_is_folded_in_place(store: Any):
    """Id, keys, states and numbers stay; positions go on."""
    with td.Runner(store=store) as runner:
        runner.start(sums(), "a")
        for value in range(20):
            runner.run("a", value, key=f"k{value}").result(PATIENCE_S)
        (key,) = [info.run_key for info in runner.runs()]
        position = runner.continue_as_new("a")
        assert position == 61
        assert runner.run("a", 3, key="k3").input == 3
        ticket = runner.run("a", 1)
        assert ticket.input == 20
        assert ticket.result(PATIENCE_S) == {"total": 212}
        log = runner.get_workflow("a").log()
        assert [log[0].position, *[event.position for event in log[1:]]] == [61, 61, 62, 63]
        assert isinstance(log[0], Baseline)
        assert [info.run_key for info in runner.runs()] == [key]


def test_a_folded_run_is_brought_back_and_verified(url: str):
    """Another runner goes on with it; the chain of hashes holds."""
    with td.Runner(store=url) as runner:
        runner.start(sums(), "a")
        for value in range(5):
            runner.run("a", value).result(PATIENCE_S)
        runner.continue_as_new("a")
    assert len(whole(url, "a").events) == 1
    with td.Runner(store=url, workflows=[sums()]) as runner:
        assert runner.run("a", 5).result(PATIENCE_S) == {"total": 21}
        with pytest.raises(errors.Forgotten):
            runner.get_results("a", input=0)
        runner.continue_as_new("a")
    kept: Any = make_store(url)
    assert not kept.verify()
    kept.close()


def test_a_log_with_open_inputs_is_not_folded(store: Any):
    """It says which are open; when they are done, it is."""
    go = threading.Event()

    def held(x: int) -> int:
        go.wait(PATIENCE_S)
        return x

    with td.Runner(store=store) as runner:
        runner.start(td.workflow("w").add(td.step(held)), "a")
        ticket = runner.run("a", 1)
        with pytest.raises(errors.UsageError, match=r"1 of its inputs are open \(0\)"):
            runner.continue_as_new("a")
        go.set()
        ticket.result(PATIENCE_S)
        runner.wait("a", PATIENCE_S)
        assert runner.continue_as_new("a") == 3


def test_only_what_is_stored_is_folded():
    """A run that is kept nowhere, and one that was stopped, are refused."""
    with td.Runner(store=None) as runner:
        runner.start(sums(), "a")
        with pytest.raises(errors.UsageError, match="no store"):
            runner.continue_as_new("a")
    with td.Runner() as runner:
        runner.start(sums(), "a")
        assert runner.continue_as_new("a") == 0
        runner.stop("a")
        with pytest.raises(errors.RunEnded):
            runner.continue_as_new("a")


def test_what_retain_lets_go_of_leaves_the_store(url: str):
    """Folding by itself reaches the file: the log there stays short, and adds up."""
    with td.Runner(store=url) as runner:
        runner.start(sums(retain=5), "a")
        for value in range(200):
            ticket = runner.run("a", value)
        assert ticket.result(PATIENCE_S) == {"total": 20_100}
    stored = whole(url, "a")
    assert stored.info.position == 601
    assert isinstance(stored.events[0], Baseline)
    assert len(stored.events) < 300


def test_a_log_that_only_grows_is_told_of_once(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """Where nothing trims it; with retain=, nobody need hear of it."""
    monkeypatch.setattr(keeping, "LARGE", 30)
    with caplog.at_level(logging.WARNING, logger="treadle.runner"):
        with td.Runner(store=url) as runner:
            for id, workflow in (("grows", sums()), ("trims", sums("trims", retain=5))):
                runner.start(workflow, id)
                for value in range(30):
                    runner.run(id, value).result(PATIENCE_S)
    told = [record.getMessage() for record in caplog.records if "only grows" in record.msg]
    assert len(told) == 1
    assert "grows" in told[0]
    assert "continue_as_new('grows')" in told[0]


# ------------------------------------------------------------------------------------ retention


def old_store(url: str) -> None:
    """Runs that are idle, stopped, cancelled, and idle with a message waiting, all of the same age."""
    with td.Runner(store=url) as runner:
        for id in ("idle", "stopped", "cancelled", "wanted"):
            runner.start(sums(), id)
            runner.run(id, 1).result(PATIENCE_S)
        runner.start(sums("other"), "other's")
        runner.stop("stopped")
        runner.cancel("cancelled")


def later(url: str, seconds: float, retention: Any, **options: Any) -> td.Runner:
    """A runner of another day."""
    clock = HandClock()
    clock.at += seconds
    return td.Runner(
        store=url,
        workflows=[sums()],
        clock=clock,
        poll_s=0.01,
        retention=retention,
        **options,
    )


def test_runs_that_had_their_time_are_let_go_of(url: str):
    """By status: what was finished, and what was stopped; never another workflow's."""
    old_store(url)
    with later(url, 2 * DAY_S, td.Retention(finished_for_s=DAY_S)) as runner:
        until(lambda: len(runner.runs()) == 2)
        assert {info.id for info in runner.runs()} == {"stopped", "other's"}
        with pytest.raises(errors.UnknownRun):
            runner.run("idle", 1)
    with later(url, 2 * DAY_S, {"sums": td.Retention(failed_for_s=DAY_S)}) as runner:
        until(lambda: len(runner.runs()) == 1)
    assert list(listed(url)) == ["other's"]


def test_runs_stay_until_their_time_has_come(url: str):
    """A runner looks again as the time goes on, and then lets go of those that it has itself."""
    clock = HandClock()
    retention = td.Retention(finished_for_s=DAY_S)
    with td.Runner(store=url, clock=clock, poll_s=0.01, retention=retention) as runner:
        runner.start(sums(), "old")
        runner.run("old", 1).result(PATIENCE_S)
        clock.at += DAY_S - 100
        runner.start(sums(), "new")
        runner.run("new", 1).result(PATIENCE_S)
        clock.at += 200
        until(lambda: [info.id for info in runner.runs()] == ["new"])
        assert runner.run("new", 2).result(PATIENCE_S) == {"total": 5}


def test_runs_that_had_time_left_are_let_go_of(url: str):
    """A wait that was answered before its time was over, and an input before its deadline, keep nothing."""
    asking = td.workflow("sums").add(td.wait_for("yes", timeout_s=30 * DAY_S))
    with td.Runner(store=url) as runner:
        runner.start(asking, "asked")
        ticket = runner.run("asked", 1, deadline_s=60 * DAY_S)
        runner.signal("asked", "yes", True)
        assert ticket.result(PATIENCE_S) == {"yes": True}
    with later(url, 2 * DAY_S, td.Retention(finished_for_s=DAY_S)) as runner:
        until(lambda: not runner.runs())


def test_only_so_many_stay(url: str):
    """The latest of those that are finished."""
    with td.Runner(store=url) as runner:
        for number in range(40):
            runner.start(sums(), f"run-{number:02}")
            runner.run(f"run-{number:02}", 1).result(PATIENCE_S)
    with later(url, 1.0, td.Retention(most=3)) as runner:
        until(lambda: len(runner.runs()) == 3)
        assert [info.id for info in runner.runs()] == ["run-37", "run-38", "run-39"]


def test_a_run_that_somebody_wants_something_of_stays(url: str):
    """A message waits for it: it is not over."""
    old_store(url)
    store = opened(url)
    store.post(Message(id="m", run_id="idle", kind="signal", body=b'{"name": "x"}'))
    store.close()
    retention = td.Retention(finished_for_s=DAY_S)
    with later(url, 2 * DAY_S, retention, recover=False) as runner:
        until(lambda: len(runner.runs()) == 3)
        assert {info.id for info in runner.runs()} == {"stopped", "other's", "idle"}


@pytest.mark.parametrize(
    "given", [{}, {"most": -1}, {"most": True}, {"finished_for_s": "1d"}, {"failed_for_s": -1.0}]
)
def test_what_says_nothing_is_no_retention(given: Any):
    """Neither is what is no number."""
    with pytest.raises(errors.UsageError, match="Retention"):
        td.Retention(**given)


@pytest.mark.parametrize("retention", [30, {"w": 30}, {3: td.Retention(most=1)}])
def test_rules_are_retentions(url: str, retention: Any):
    """By workflow or for all, and only in a store that keeps runs."""
    with pytest.raises(errors.UsageError, match="retention="):
        td.Runner(store=url, retention=retention)
    with pytest.raises(errors.UsageError, match="no leases"):
        td.Runner(store="memory", retention=td.Retention(most=1))


def test_the_longest_unchanged_goes_first():
    """Whatever is at work, waits for a moment, or has no time, is none of them."""
    at = itertools.count(1)

    def info(id: str, status: str, **more: Any) -> RunInfo:
        return RunInfo(
            id=id, workflow="w", run_key=id, status=status, updated_at=float(next(at)), **more
        )

    infos = [
        *(info("b", "idle"), info("a", "parked"), info("c", "cancelled"), info("d", "stopped")),
        *(info("e", "running"), info("f", "idle", wake_at=9.0), info("g", "waiting")),
        RunInfo(id="h", workflow="w", run_key="h"),
    ]

    def due(**rule: Any) -> list[str]:
        return [each.id for each in td.Retention(**rule).due(infos, 100.0)]

    assert due(finished_for_s=0) == ["b", "c"]
    assert due(finished_for_s=98) == ["b"]
    assert due(failed_for_s=0) == ["a", "d"]
    assert due(most=1) == ["b"]
    assert due(most=0, failed_for_s=97) == ["b", "a", "c"]
