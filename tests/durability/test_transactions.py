"""Steps that write to the database their run is kept in: their writes and what they gave are one."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from tests.durability.places import wait_for_the_lease
from tests.stores.sqlite.places import HandClock
from treadle import errors
from treadle.codec import Codec
from treadle.stores.sqlite import SqliteStore
from treadle.wiring import make_store

PATIENCE_S = 30


@pytest.fixture
def table(url: str) -> str:
    """The users' own table, of which there is none yet."""
    return f"{url.rpartition('=')[2] if url.startswith('postgres') else 'main'}.booking"


def bookings(url: str, table: str) -> list[Any]:
    """What is in the users' table."""
    store: Any = make_store(url)
    try:
        with store.transaction("to look", "by hand") as step:
            return list(step.execute(f"SELECT key, amount FROM {table}").fetchall())
    except Exception as error:
        if "booking" not in str(error):
            raise
        return []
    finally:
        store.close()


def ledger(table: str) -> td.Workflow:
    """One transactional step, and one behind it."""

    def book(amount, *, db=td.transaction(), key=td.idempotency_key()):
        db.execute(f"CREATE TABLE IF NOT EXISTS {table}(key TEXT, amount INTEGER)")
        db.execute(f"INSERT INTO {table} VALUES ('{key}', {amount})")
        return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    return td.workflow("ledger").add(td.step(book)).add(td.step(str, name="told"), to="book")


def test_its_writes_stay_with_its_result(url: str, table: str):
    """Both are there when the ticket is."""
    with td.Runner(store=url, workflows=[ledger(table)]) as runner:
        runner.start(ledger(table), "a")
        assert runner.run("a", 5).result(PATIENCE_S) == {"told": "1"}
        assert runner.run("a", 7).result(PATIENCE_S) == {"told": "2"}
    assert [amount for _, amount in bookings(url, table)] == [5, 7]


def test_a_step_that_fails_leaves_nothing(url: str, table: str):
    """Each attempt begins with a clean sheet."""

    def fragile(amount, *, db=td.transaction(), attempt=td.attempt()):
        db.execute(f"CREATE TABLE IF NOT EXISTS {table}(key TEXT, amount INTEGER)")
        db.execute(f"INSERT INTO {table} VALUES ('x', {attempt}), ('y', {attempt})")
        if attempt < 3:
            raise ConnectionError("in the middle")
        return amount

    workflow = td.workflow("w", steps=[fragile]).with_policies(
        {"fragile": td.Policy(max_retries=5)}
    )
    with td.Runner(store=url) as runner:
        runner.start(workflow, "a")
        assert runner.run("a", 1).result(PATIENCE_S) == {"fragile": 1}
    assert bookings(url, table) == [("x", 3), ("y", 3)]


def test_what_cannot_be_stored_is_rolled_back(url: str, table: str):
    """The step fails, and its writes with it."""

    def odd(amount, *, db=td.transaction()):
        db.execute(f"CREATE TABLE {table}(key TEXT, amount INTEGER)")
        return {"open": lambda: amount}

    with td.Runner(store=url) as runner:
        runner.start(td.workflow("w", steps=[odd]), "a")
        with pytest.raises(errors.StepFailed) as raised:
            runner.run("a", 1).result(PATIENCE_S)
    assert "open" in str(raised.value.__cause__)
    assert bookings(url, table) == []


def test_without_a_database_the_step_says_what_is_missing():
    """In a bare loop, and with the memory store."""
    done = ledger("booking").react_until_satisfied(1)
    (failure,) = done.failures()
    assert "sqlite" in str(failure.error)


@pytest.mark.slow
def test_a_commit_whose_result_was_not_stored_is_not_repeated(url: str, table: str):
    """Killed between the two: the next life finds the result, and does not call the function."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            live_until_committed(url, table, writing)
        finally:
            os._exit(1)
    os.close(writing)
    assert select.select([reading], [], [], PATIENCE_S)[0]
    assert os.read(reading, 1) == b"!"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reading)
    wait_for_the_lease(url, "a")
    assert len(bookings(url, table)) == 1

    with td.Runner(store=url, workflows=[ledger(table)]) as runner:
        assert runner.wait("a", PATIENCE_S) == "idle"
        assert runner.get_results("a") == {"told": "1"}
    assert len(bookings(url, table)) == 1


class Taken(SqliteStore):
    """A store whose runs another runner takes, just before a step that this one was asked for begins."""

    def __init__(self, path):
        self.time = HandClock()
        super().__init__(path, Codec(), clock=self.time)
        self.is_lost = False

    def transaction(self, key, run_key, fence=None):
        if self.is_lost:
            self.is_lost = False
            self.time.at += 1000.0
            (info,) = self.claim("another", 1e6, run_id="a")
            assert info.epoch == 2
        return super().transaction(key, run_key, fence)


def test_a_runner_that_lost_the_run_commits_nothing(tmp_path: Path):
    """It was frozen, and another one has the run: what a step of it writes does not count, as what it gave does not."""
    path, table = tmp_path / "a.db", "main.booking"
    store = Taken(path)
    with td.Runner(store=store, recover=False, lease_s=100.0) as runner:
        runner.start(ledger(table), "a")
        assert runner.run("a", 5).result(PATIENCE_S) == {"told": "1"}
        store.is_lost = True
        ticket = runner.run("a", 7)
        with pytest.raises(errors.RunElsewhere):
            ticket.result(PATIENCE_S)
        assert runner.runs()[0].owner == "another"
    assert [amount for _, amount in bookings(f"sqlite:///{path}", table)] == [5]


def live_until_committed(url: str, table: str, writing: int) -> None:
    """A process that stops for ever after the step's commit, before anybody hears of it."""
    from treadle.executors.transactions import TransactionExecutor

    execute = TransactionExecutor._execute

    def and_stop(self, entry):
        done = execute(self, entry)
        os.write(writing, b"!")
        signal.pause()
        return done

    TransactionExecutor._execute = and_stop  # type: ignore[method-assign]  # this process is about to end
    with td.Runner(store=url, workflows=[ledger(table)], lease_s=0.5) as runner:
        runner.start(ledger(table), "a")
        runner.run("a", 5).result()
