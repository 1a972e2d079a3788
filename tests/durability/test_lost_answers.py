"""The disk reports an error when a claim is committed: whether it counts is not known to who made it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from typing import Any, ClassVar

import pytest

from tests.durability.test_runner_on_sqlite import left_behind, runner_on, until, workflow
from tests.stores.sqlite.places import clocked, filled
from treadle.codec import Codec
from treadle.errors import OutcomeUnknown
from treadle.interfaces import Append
from treadle.stores.sqlite import SqliteStore

GUARD_S = 5.0


class Failing(sqlite3.Connection):
    """A connection whose disk fails at the commit of a claim, before or after that counts."""

    to_fail: ClassVar[list[str]] = []
    is_claim = False

    def execute(self, statement: str, *given: Any) -> sqlite3.Cursor:
        self.is_claim |= "epoch = epoch + 1" in statement
        if statement != "COMMIT" or not self.is_claim:
            return super().execute(statement, *given)
        self.is_claim = False
        if not self.to_fail:
            return super().execute(statement)
        if self.to_fail.pop() == "after":
            super().execute(statement)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        raise error


@pytest.fixture(params=["before", "after"])
def failing(request, monkeypatch):
    """How often the disk is to fail from now on."""
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Failing))
    monkeypatch.setattr(Failing, "to_fail", [])

    def fail(times):
        Failing.to_fail[:] = [request.param] * times

    return fail


def test_a_claim_whose_answer_is_lost_is_made_again(tmp_path, failing):
    """By the one who made it and does not know, and by nobody else; no crash is counted."""
    with closing(clocked(tmp_path / "runs.db")) as store:
        filled(store, "a", "b")
        for name in "ab":
            assert store.append([running(name)]) == [None]
        failing(2)
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                store.claim("x", 10.0, workflows=["w"], limit=1)

        claimed = store.claim("x", 10.0, workflows=["w"], limit=9)
        assert [(info.id, info.crashes) for info in claimed] == [("a", 0), ("b", 0)]
        assert store.renew("x", 10.0, {info.id: info.epoch for info in claimed}) == {"a", "b"}
        assert store.claim("x", 10.0, workflows=["w"], limit=9) == []
        assert store.claim("y", 10.0, workflows=["w"], limit=9) == []


def running(name):
    """That a run has something to do."""
    return Append(run_id=name, expected=None, status="running")


@pytest.mark.slow
@pytest.mark.parametrize("is_asked_for", [False, True])
def test_a_run_whose_claim_was_in_doubt_is_finished(tmp_path, failing, is_asked_for):
    """Whether the runner found it by itself, or was told to go on with it."""
    path = tmp_path / "runs.db"
    left_behind(path, workflow(), "a")
    store = SqliteStore(path, Codec())
    failing(2)
    with runner_on(store, workflow()) as runner:
        if is_asked_for:
            for _ in range(9):
                try:
                    runner.resume("a")
                except OutcomeUnknown:
                    continue
                break
        until(lambda: runner.get_results("a") == {"step": 2})
        assert [info.crashes for info in store.list()] == [0]
