"""Steps that write to the database their run is kept in: their writes and what they gave are one."""

from __future__ import annotations

import os
import select
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from treadle import errors

PATIENCE_S = 30


def book(amount, *, db=td.transaction(), key=td.idempotency_key()):
    """Write a booking, and give how many there are."""
    db.execute("CREATE TABLE IF NOT EXISTS booking(key TEXT, amount INTEGER)")
    db.execute("INSERT INTO booking VALUES (?, ?)", (key, amount))
    return db.execute("SELECT count(*) FROM booking").fetchone()[0]


def bookings(path: Path) -> list[Any]:
    """What is in the users' table."""
    with closing(sqlite3.connect(path)) as connection:
        try:
            return connection.execute("SELECT key, amount FROM booking").fetchall()
        except sqlite3.OperationalError:
            return []


def ledger() -> td.Workflow:
    """One transactional step, and one behind it."""
    return td.workflow("ledger").add(td.step(book)).add(td.step(str, name="told"), to="book")


def test_its_writes_stay_with_its_result(tmp_path: Path):
    """Both are there when the ticket is."""
    path = tmp_path / "a.db"
    with td.Runner(store=f"sqlite:///{path}", workflows=[ledger()]) as runner:
        runner.start(ledger(), "a")
        assert runner.run("a", 5).result(PATIENCE_S) == {"told": "1"}
        assert runner.run("a", 7).result(PATIENCE_S) == {"told": "2"}
    assert [amount for _, amount in bookings(path)] == [5, 7]


def test_a_step_that_fails_leaves_nothing(tmp_path: Path):
    """Each attempt begins with a clean sheet."""
    path = tmp_path / "a.db"

    def fragile(amount, *, db=td.transaction(), attempt=td.attempt()):
        db.execute("CREATE TABLE IF NOT EXISTS booking(key TEXT, amount INTEGER)")
        db.executemany("INSERT INTO booking VALUES (?, ?)", [("x", attempt), ("y", attempt)])
        if attempt < 3:
            raise ConnectionError("in the middle")
        return amount

    workflow = td.workflow("w", steps=[fragile]).with_policies(
        {"fragile": td.Policy(max_retries=5)}
    )
    with td.Runner(store=f"sqlite:///{path}") as runner:
        runner.start(workflow, "a")
        assert runner.run("a", 1).result(PATIENCE_S) == {"fragile": 1}
    assert bookings(path) == [("x", 3), ("y", 3)]


def test_what_cannot_be_stored_is_rolled_back(tmp_path: Path):
    """The step fails, and its writes with it."""
    path = tmp_path / "a.db"

    def odd(amount, *, db=td.transaction()):
        db.execute("CREATE TABLE booking(key TEXT, amount INTEGER)")
        return {"open": lambda: amount}

    with td.Runner(store=f"sqlite:///{path}") as runner:
        runner.start(td.workflow("w", steps=[odd]), "a")
        with pytest.raises(errors.StepFailed) as raised:
            runner.run("a", 1).result(PATIENCE_S)
    assert "open" in str(raised.value.__cause__)
    assert bookings(path) == []


def test_without_a_database_the_step_says_what_is_missing():
    """In a bare loop, and with the memory store."""
    done = ledger().react_until_satisfied(1)
    (failure,) = done.failures()
    assert "sqlite" in str(failure.error)


def test_a_commit_whose_result_was_not_stored_is_not_repeated(tmp_path: Path):
    """Killed between the two: the next life finds the result, and does not call the function."""
    path = tmp_path / "a.db"
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            live_until_committed(path, writing)
        finally:
            os._exit(1)
    os.close(writing)
    assert select.select([reading], [], [], PATIENCE_S)[0]
    assert os.read(reading, 1) == b"!"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reading)
    assert len(bookings(path)) == 1

    with td.Runner(store=f"sqlite:///{path}", workflows=[ledger()]) as runner:
        assert runner.wait("a", PATIENCE_S) == "idle"
        assert runner.get_results("a") == {"told": "1"}
    assert len(bookings(path)) == 1


def live_until_committed(path: Path, writing: int) -> None:
    """A process that stops for ever after the step's commit, before anybody hears of it."""
    from treadle.executors.transactions import TransactionExecutor

    execute = TransactionExecutor._execute

    def and_stop(self, entry):
        done = execute(self, entry)
        os.write(writing, b"!")
        signal.pause()
        return done

    TransactionExecutor._execute = and_stop  # type: ignore[method-assign]  # this process is about to end
    with td.Runner(store=f"sqlite:///{path}", workflows=[ledger()]) as runner:
        runner.start(ledger(), "a")
        runner.run("a", 5).result()
