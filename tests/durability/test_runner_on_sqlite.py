"""A runner on a SQLite store that is damaged, full, locked, older or other than it thought."""

import itertools
import json
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

import treadle as td
from tests.stores.sqlite.places import HandClock, below
from treadle.codec import Codec
from treadle.errors import EncodeError, RunElsewhere, RunEnded, StoreTaken, StoreUnavailable
from treadle.interfaces import Append, Message
from treadle.stores.chain import row_seal
from treadle.stores.sqlite import SqliteStore

GUARD_S = 5.0
"""Longer than anything here takes."""


def doubled(number):
    """A step."""
    return number * 2


def workflow(name="w", function=doubled, **options):
    """One step."""
    return td.workflow(name).add(td.step(function, name="step", **options))


def runner_on(path, *workflows, **options):
    """A runner that looks often."""
    store = path if isinstance(path, SqliteStore) else f"sqlite:///{path}"
    return td.Runner(store=store, workflows=workflows, poll_s=0.01, **options)


def left_behind(path, made, *ids):
    """Runs whose one input was accepted, and nothing more: as a kill leaves them."""
    with runner_on(path, made) as runner:
        for id in ids:
            runner.start(made, id)
            runner.run(id, 1).result(GUARD_S)
    with below(path) as connection:
        pks = "(SELECT pk FROM run WHERE id IN ({}))".format(", ".join("?" * len(ids)))
        (first,) = connection.execute(
            f"SELECT min(position) FROM event WHERE run IN {pks} AND position > 1", ids
        ).fetchone()
        connection.execute(f"DELETE FROM event WHERE run IN {pks} AND position >= ?", (*ids, first))
        connection.execute(f"DELETE FROM applied WHERE run IN {pks}", ids)
        connection.execute(
            f"UPDATE run SET status = 'running', head = {first}, link = "
            f"(SELECT link FROM event WHERE run = pk AND position = {first - 1}) WHERE pk IN {pks}",
            ids,
        )
        for id in ids:
            noted = Append(run_id=id, expected=None, status="running")
            connection.execute("UPDATE run SET seal = ? WHERE id = ?", (row_seal(id, noted), id))


def status_of(path, id):
    """What the store says of a run."""
    with closing(SqliteStore(path, Codec())) as store:
        return store.info(id)


def until(holds):
    """Wait for something that comes by itself."""
    clock, never = itertools.count(), threading.Event()
    while not holds():
        assert next(clock) < GUARD_S / 0.01, "it did not come"
        never.wait(0.01)


def test_a_damaged_run_is_parked_and_the_others_go_on(tmp_path):
    """It says where it is damaged, `verify` lists it, and nothing else is touched."""
    path = tmp_path / "runs.db"
    left_behind(path, workflow(), "bad", "good", "better")
    with below(path) as connection:
        connection.execute(
            "UPDATE event SET body = CAST(body || 'x' AS BLOB) WHERE position = 1 AND run = "
            "(SELECT pk FROM run WHERE id = 'bad')"
        )

    with runner_on(path, workflow()) as runner:
        until(lambda: runner.get_results("good") == runner.get_results("better") == {"step": 2})
        until(lambda: status_of(path, "bad").status == "parked")
        with pytest.raises(RunEnded, match="parked"):
            runner.run("bad", 2)

    assert "damaged at position 1" in status_of(path, "bad").note
    with closing(SqliteStore(path, Codec())) as store:
        assert [finding.run_id for finding in store.verify()] == ["bad"]


def test_a_store_that_cannot_be_read_for_a_moment_parks_nothing(tmp_path, monkeypatch):
    """The keeper tries again."""
    path = tmp_path / "runs.db"
    left_behind(path, workflow(), "a")
    store = SqliteStore(path, Codec())
    load, calls = store.load, itertools.count()

    def sometimes(run_id):
        if next(calls) < 3:
            raise StoreUnavailable("not now.")
        return load(run_id)

    monkeypatch.setattr(store, "load", sometimes)
    with runner_on(store, workflow()) as runner:
        until(lambda: next(calls) > 5 and runner.get_results("a") == {"step": 2})


def test_a_run_that_could_not_be_let_go_of_is_let_go_of_later(tmp_path, monkeypatch):
    """Or nobody would ever take it again: its own runner believes that others may."""
    store, made = SqliteStore(tmp_path / "runs.db", Codec()), workflow()
    release, calls = store.release, itertools.count()

    def sometimes(epochs):
        if next(calls) < 3:
            raise StoreUnavailable("not now.")
        release(epochs)

    monkeypatch.setattr(store, "release", sometimes)
    with runner_on(store, made, keep_warm=1) as runner:
        for id in "ab":  # the second puts the first away
            runner.start(made, id)
            runner.run(id, 1).result(GUARD_S)
        until(lambda: status_of(store.path, "a").owner is None)


def test_a_full_store_makes_runs_wait_and_says_so(tmp_path):
    """What waits is not lost, new inputs are refused meanwhile, and all goes on when there is room."""
    store = SqliteStore(tmp_path / "runs.db", Codec())
    entered, gate = threading.Event(), threading.Event()
    noise = {number: os.urandom(20_000) for number in (7, 8)}  # which cannot be compressed

    def held(number):
        entered.set()
        gate.wait(GUARD_S)
        return noise[number]

    made = workflow(function=held)
    with runner_on(store, made) as runner:
        runner.start(made, "a")
        ticket = runner.run("a", 7)
        entered.wait(GUARD_S)
        with store._connections.writing("testing") as writer:
            (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}")
        gate.set()
        until(lambda: runner._runner._core.writer.trouble is not None)
        with pytest.raises(StoreUnavailable, match="so the input was not taken"):
            runner.run("a", 8)
        assert not ticket.done()
        writer.execute("PRAGMA max_page_count = 1000000")
        assert ticket.result(GUARD_S) == {"step": noise[7]}
        assert runner.run("a", 8).result(GUARD_S) == {"step": noise[8]}


def test_a_runner_ends_although_its_store_is_full(tmp_path, monkeypatch):
    """What could not be stored is done again by the next one."""
    monkeypatch.setattr("treadle.runner.runner.LAST_S", 0.01)
    store = SqliteStore(tmp_path / "runs.db", Codec())
    gate = threading.Event()
    noise = os.urandom(20_000)

    def held(_):
        gate.wait(GUARD_S)
        return noise

    made = workflow(function=held)
    runner = runner_on(store, made)
    runner.start(made, "a")
    ticket = runner.run("a", 7)
    with store._connections.writing("testing") as writer:
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    gate.set()
    until(lambda: runner._runner._core.writer.trouble is not None)
    runner.close(drain_s=0.01)
    with pytest.raises(RunEnded, match="could not be written to"):
        ticket.result(GUARD_S)

    with runner_on(tmp_path / "runs.db", made) as runner:
        until(lambda: runner.get_results("a") == {"step": noise})


def test_runs_wait_for_a_lock_of_another_process(tmp_path, monkeypatch):
    """Nothing is lost, and nothing is said twice."""
    monkeypatch.setattr("treadle.stores.sqlite.file.BUSY_S", 0.01)
    path, made = tmp_path / "runs.db", workflow()
    with runner_on(path, made) as runner:
        runner.start(made, "a")
        assert runner.run("a", 1).result(GUARD_S) == {"step": 2}
        with below(path) as other:
            other.execute("BEGIN IMMEDIATE")
            tickets = []
            sender = threading.Thread(target=lambda: tickets.append(runner.run("a", 2)))
            sender.start()
            until(lambda: runner._runner._core.writer.trouble is not None)
            assert tickets == []
            other.execute("ROLLBACK")
        sender.join(GUARD_S)
        assert tickets[0].result(GUARD_S) == {"step": 4}


def test_a_second_runner_on_the_file_is_refused(tmp_path):
    """It says who has it; the first goes on, also with what the second leaves for it."""
    path, made = tmp_path / "runs.db", workflow()
    with runner_on(path, made) as first:
        first.start(made, "a")
        with runner_on(path, made) as second:
            with pytest.raises(StoreTaken, match="runs the workflows of this file already"):
                second.start(made, "b")
            assert second.run("a", 3).result(GUARD_S) == {"step": 6}
        assert first.run("a", 1).result(GUARD_S) == {"step": 2}
    with runner_on(path, made) as third:
        assert third.run("a", 2).result(GUARD_S) == {"step": 4}


def test_two_runners_on_one_store_have_runs_of_their_own(tmp_path):
    """Each may have any run, and no two have the same."""
    store, made = SqliteStore(tmp_path / "runs.db", Codec()), workflow()
    first, second = runner_on(store, made), runner_on(store, made)
    first.start(made, "a")
    second.start(made, "b")
    with pytest.raises(RunElsewhere, match="with another runner"):
        first.remove("b", "step")
    with pytest.raises(RunElsewhere):
        second.stop("a")
    assert first.run("a", 1).result(GUARD_S) == {"step": 2}
    assert second.run("b", 2).result(GUARD_S) == {"step": 4}
    assert store.verify() == []
    second.close()
    first.close()


def test_a_stopped_run_can_be_cancelled_later(tmp_path):
    """It is nobody's by then; that it is cancelled is stored, and it is nobody's again."""
    path, made = tmp_path / "runs.db", workflow()
    with runner_on(path, made) as runner:
        runner.start(made, "a")
        runner.run("a", 1).result(GUARD_S)
        runner.stop("a")
        until(lambda: status_of(path, "a").owner is None)
        runner.cancel("a", reason="enough")
        until(lambda: status_of(path, "a").owner is None and status_of(path, "a").epoch == 2)
        assert [(each.status, each.note) for each in runner.runs()] == [("cancelled", "enough")]
    assert status_of(path, "a").status == "cancelled"


def test_a_run_that_was_taken_again_is_not_lost(tmp_path):
    """An answer to what was asked of the store before that concerns the earlier claim, and not this one."""
    path, made = tmp_path / "runs.db", workflow()
    with runner_on(path, made) as runner:
        runner.start(made, "a")
        runner.run("a", 1).result(GUARD_S)
        runner.stop("a")
        until(lambda: status_of(path, "a").owner is None)
        runner.resume("a")
        runner._runner._core.lost({"a": 1})
        assert runner.run("a", 2).result(GUARD_S) == {"step": 4}
        runner._runner._core.lost({"a": 2})
        until(lambda: "a" not in runner._runner._core.custody.claimed)


def test_how_a_run_stands_is_looked_up_where_another_runner_has_it(tmp_path):
    """What was known of it when it was let go of does not count any more."""
    store, made = SqliteStore(tmp_path / "runs.db", Codec()), workflow()
    first, second = runner_on(store, made), runner_on(store, made)
    first.start(made, "a")
    first.run("a", 1).result(GUARD_S)
    first.stop("a")
    until(lambda: status_of(tmp_path / "runs.db", "a").owner is None)
    second.resume("a")
    second.run("a", 2).result(GUARD_S)
    assert [each.status for each in first.runs()] == ["idle"]
    with pytest.raises(RunElsewhere):
        first.stop("a")
    second.cancel("a")
    until(lambda: status_of(tmp_path / "runs.db", "a").owner is None)
    with pytest.raises(RunEnded, match="is cancelled"):
        first.run("a", 3)
    second.close()
    first.close()


def lamb(_):
    """A value that nothing can store, within others."""
    return {"items": [1, {"deep": lambda: None}]}


class Odd(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


def raises_odd(_):
    """Fails oddly."""
    raise Odd("first", threading.Lock())


@pytest.mark.slow
def test_a_result_that_cannot_be_stored_fails_its_step_and_no_more(tmp_path):
    """It names the path to the part, is not retried, and the run goes on; so is an exception that cannot travel."""
    attempts = []

    def noted(number):
        attempts.append(number)
        return lamb(number) if number == 1 else raises_odd(number) if number == 2 else number

    made = workflow(function=noted)
    policies = {"step": td.Policy(max_retries=2, base_delay_s=0.001, on_failure="skip")}
    with runner_on(tmp_path / "runs.db", made) as runner:
        runner.start(made, "a", policies=policies)
        for number in (1, 2, 3):
            runner.run("a", number).result(GUARD_S)
        found = runner.get_workflow("a")
    assert attempts == [1, 2, 2, 2, 3]
    assert found.results(input=2) == {"step": 3}
    first, second = found.failures()
    assert "EncodeError" in first.error.type
    assert "['items'][1]['deep']" in first.error.text
    assert second.error.type.endswith("Odd")
    with runner_on(tmp_path / "runs.db", made) as runner:
        assert runner.get_workflow("a") == found


def test_an_input_that_cannot_be_stored_is_refused(tmp_path):
    """At once, and nothing is noted."""
    made = workflow()
    with runner_on(tmp_path / "runs.db", made) as runner:
        runner.start(made, "a")
        with pytest.raises(EncodeError, match="deep"):
            runner.run("a", lamb(0))
        assert runner.run("a", 1).input == 0


def test_a_run_whose_definition_is_missing_is_left_alone_until_it_is_there(tmp_path):
    """After a deploy that lost a module, and the next that has it."""
    path = tmp_path / "runs.db"
    left_behind(path, workflow(), "a")
    with runner_on(path, workflow("other")) as runner:
        runner.start(workflow("other"), "b")
        assert runner.run("b", 4).result(GUARD_S) == {"step": 8}
        before = status_of(path, "a")
        assert (before.status, before.owner, before.epoch) == ("running", None, before.epoch)
        runner.start(workflow(), "c")  # it is known from here on
        until(lambda: runner.get_results("a") == {"step": 2})


def added(number):
    """A step that comes while the run is at work."""
    return -number


def test_a_run_that_was_edited_goes_on_where_its_functions_are_known(tmp_path):
    """What was added and replaced is found in the other definitions of its name; else the run says what it lacks."""
    path, made = tmp_path / "runs.db", workflow()
    now = workflow(function=added).add(td.step(added, name="more"), to="step")
    with runner_on(path, made) as runner:
        runner.start(made, "a")
        assert runner.run("a", 1).result(GUARD_S) == {"step": 2}
        runner.add("a", td.step(added, name="more"), to="step")
        runner.replace("a", "step", td.step(added, name="step"))
        assert runner.run("a", 1).result(GUARD_S) == {"more": 1}
    with runner_on(path, made) as runner:
        with pytest.raises(RunEnded, match="no function for 'step', 'more'") as caught:
            runner.run("a", 1)
        assert str(caught.value).endswith(
            "give one that has it, too, as workflows=[workflow, workflow.add(...)]."
        )
    with runner_on(path, made, now) as runner:
        runner.resume("a")
        assert runner.run("a", 1).result(GUARD_S) == {"more": 1}


def test_clocks_that_jump_lose_and_double_nothing(tmp_path):
    """An hour or ten years, forward and back, while leases are kept and failures are retried."""
    clock, done = HandClock(), []
    store = SqliteStore(tmp_path / "runs.db", Codec(), clock=clock)

    def flaky(number, attempt=td.attempt()):
        if attempt < 3:
            raise ConnectionError(str(number))
        done.append(number)
        return number

    made = workflow(function=flaky)
    policies = {"step": td.Policy(max_retries=3, base_delay_s=0.001)}
    with runner_on(store, made, lease_s=0.02, policies=policies) as runner:
        runner.start(made, "a")
        tickets = []
        for number, jump in enumerate((3600, -7200, 3e8, -6e8, 0, 3e8)):
            clock.at += jump
            tickets.append(runner.run("a", number))
        assert [ticket.result(GUARD_S) for ticket in tickets] == [{"step": n} for n in range(6)]
        assert runner._runner._core.runs["a"].crashes == ()
    assert sorted(done) == [*range(6)]


@pytest.mark.slow
def test_another_process_cannot_run_the_file_but_its_messages_arrive(tmp_path):
    """It is told which process does; what it leaves in the inbox is done there."""
    path = tmp_path / "runs.db"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.durability.disk", "serving", path],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with runner_on(path, workflow()) as second:
            with pytest.raises(StoreTaken, match=f"process {child.pid} runs the workflows"):
                second.start(workflow(), "b")
        with closing(SqliteStore(path, Codec())) as store:
            body = json.dumps({"input": 0, "reason": "enough"}).encode()
            assert store.post(Message(id="m", run_id="a", kind="cancel", body=body))
            assert "enough" in child.stdout.readline()
            assert child.wait(GUARD_S) == 0
            assert store.answered("a", "m") is True
            assert not store.post(Message(id="m", run_id="a", kind="cancel", body=body))
    finally:
        child.kill()
        child.communicate()
