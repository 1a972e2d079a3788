"""Very much at once: a backlog of runs that all are due, and an inbox that somebody floods."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from tests.durability.backlog import PATIENCE_S, Watched, flood, flow, leave_due, left, until
from treadle.codec import Codec
from treadle.errors import Overloaded
from treadle.interfaces import Message
from treadle.runner.keeper import AT_ONCE, MESSAGES_AT_ONCE
from treadle.stores.inbox import MOST_OF_ONE
from treadle.stores.sqlite import SqliteStore

DUE = int(os.environ.get("TREADLE_TEST_DUE", "2000"))
"""How many runs are due at once: with 100000 the test takes half a minute."""

WARM = 32
MOST_MB = 100


def opened(path: Path, **settings: Any) -> Any:
    """A store."""
    return SqliteStore(path, Codec(), **settings)


def peak_mb() -> float:
    """The most memory that this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024 * 1024)


@pytest.mark.slow
def test_runs_that_are_all_due_are_taken_in_bites_and_nobody_waits_for_them(tmp_path: Path) -> None:
    """Most overdue first, few in memory at a time; what is begun meanwhile is done meanwhile."""
    ids = leave_due(lambda: opened(tmp_path / "runs.db"), DUE)
    store = opened(tmp_path / "runs.db")
    before, watched, sizes = peak_mb(), Watched(store), list[int]()
    with td.Runner(store=store, workflows=[flow()], keep_warm=WARM, poll_s=0.01) as runner:
        core: Any = runner._runner._core
        until(lambda: len(watched.bites) > 2)
        runner.start(flow(), "new")
        assert runner.run("new", 21).result(PATIENCE_S) == {"step": 42}
        taken = sum(map(len, watched.bites))

        def is_through() -> bool:
            sizes.append(max(len(core.runs), len(core.custody.claimed)))
            is_taken = sum(map(len, watched.bites)) == DUE
            return is_taken and not core.store.list(status="running", limit=1)

        until(is_through)
        assert runner.get_results(ids[0]) == runner.get_results(ids[-1]) == {"step": 8}

    assert taken < DUE
    assert [len(bite) for bite in watched.bites[:-1]] == [AT_ONCE] * (len(watched.bites) - 1)
    in_order = [sorted((info.wake_at or 0.0, info.id) for info in bite) for bite in watched.bites]
    assert [id for bite in in_order for _, id in bite] == ids
    assert max(sizes) <= 10 * AT_ONCE
    assert peak_mb() - before < MOST_MB


def letters(count: int) -> list[Message]:
    """Cancellations of an input that is finished: they change nothing, and are answered all the same."""
    return [
        Message(id=f"{number:06}", run_id="flooded", kind="cancel", body=b'{"input": 0}')
        for number in range(count)
    ]


@pytest.mark.slow
def test_a_flooded_inbox_is_emptied_in_bites_and_holds_up_nobody(tmp_path: Path) -> None:
    """The oldest first, each once, few at a time; the message of another run is in the next bite."""
    path, sent = tmp_path / "runs.db", letters(20 * MOST_OF_ONE)
    asking = td.workflow("asking").add(td.wait_for("said"))
    watched = Watched(store := opened(path))
    with td.Runner(store=store, workflows=[flow(), asking], poll_s=3600.0) as runner:
        runner.start(flow(), "flooded")
        runner.run("flooded", 1).result(PATIENCE_S)
        runner.start(asking, "other")
        ticket = runner.run("other", "?")
        flood(path, "flooded", sent)
        said = Message(
            id="s", run_id="other", kind="signal", body=b'{"name": "said", "payload": 1}'
        )
        other = opened(path, max_waiting=None)
        other.post(said)
        runner._runner._core.custody.hurry()
        assert ticket.result(PATIENCE_S) == {"said": 1}
        until(lambda: left(path, "flooded") == 0)
        other.close()

    assert said in watched.read[0]
    new = [each.id for bite in watched.read for each in bite if each.run_id == "flooded"]
    assert list(dict.fromkeys(new)) == [each.id for each in sent]
    assert max(map(len, watched.read)) <= MOST_OF_ONE + 1 <= MESSAGES_AT_ONCE


def test_a_message_that_was_read_before_it_was_answered_is_not_taken_twice(tmp_path: Path) -> None:
    """What the keeper read of the inbox may come after the answer to it."""
    asking = td.workflow("asking").add(td.wait_for("said"))
    with td.Runner(store=opened(tmp_path / "runs.db"), workflows=[asking], poll_s=0.01) as runner:
        runner.start(asking, "a")
        ticket = runner.run("a", "?")
        core: Any = runner._runner._core
        said = Message(id="s", run_id="a", kind="signal", body=b'{"name": "said", "payload": 1}')
        core.store.post(said)
        assert ticket.result(PATIENCE_S) == {"said": 1}
        core.heard([said])
        again = runner.run("a", "!")
        runner.signal("a", "said", 2)
        assert again.result(PATIENCE_S) == {"said": 2}


def test_who_sends_more_than_may_wait_is_refused(tmp_path: Path) -> None:
    """It is told how many wait and what to do; other runs take messages, and so does this one later."""
    store = opened(tmp_path / "runs.db", max_waiting=3)
    asking = td.workflow("asking").add(td.wait_for("said"))
    settings: Any = {"store": store, "workflows": [asking], "poll_s": 3600.0}
    with td.Runner(**settings) as first, td.Runner(**settings) as second:
        for id in "ab":
            first.start(asking, id)
        for number in range(3):
            second.signal("a", "said", number)
        with pytest.raises(Overloaded, match="3 messages wait for the run 'a'") as refused:
            second.signal("a", "said", 3)
        assert "send it again" in str(refused.value.hint)
        second.signal("b", "said", 0)
        first._runner._core.custody.hurry()
        until(lambda: left(tmp_path / "runs.db", "a") == 0)
        second.signal("a", "said", 3)
        first._runner._core.custody.hurry()
        until(lambda: left(tmp_path / "runs.db", "a") == 0)
        assert [first.run("a", "?").result(PATIENCE_S)["said"] for _ in range(4)] == [0, 1, 2, 3]
