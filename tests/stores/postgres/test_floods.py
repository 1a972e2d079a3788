"""Very much at once in a database that runners share: a backlog that is due, and an inbox that is flooded."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

import treadle as td
from tests.durability.backlog import PATIENCE_S, Watched, flow, leave_due, until
from treadle.errors import Overloaded, UsageError
from treadle.interfaces import Message
from treadle.runner.keeper import AT_ONCE, FIRST_BITE, MESSAGES_AT_ONCE
from treadle.stores.inbox import MOST_OF_ONE

DUE = int(os.environ.get("TREADLE_TEST_DUE", "1000"))
"""How many runs are due at once: 10000 take a quarter of a minute."""


@pytest.mark.slow
def test_runs_that_are_all_due_are_taken_in_bites_and_nobody_waits_for_them(
    open_store: Callable[..., Any],
) -> None:
    """Most overdue first, few in memory; bites grow where the work is soon done; what is begun meanwhile is done."""
    ids = leave_due(open_store, DUE)
    store = open_store()
    watched, sizes = Watched(store), list[int]()
    with td.Runner(store=store, workflows=[flow()], keep_warm=32) as runner:
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

    bites = [len(bite) for bite in watched.bites]
    assert taken < DUE
    assert (bites[0], max(bites)) == (FIRST_BITE, AT_ONCE)
    assert [info.id for bite in watched.bites for info in bite] == ids
    assert max(sizes) <= 10 * AT_ONCE


def said(id: str, run_id: str, number: int) -> Message:
    """A signal."""
    body = b'{"name": "said", "payload": %d}' % number
    return Message(id=id, run_id=run_id, kind="signal", body=body)


@pytest.mark.slow
def test_a_flooded_inbox_is_emptied_in_bites_and_holds_up_nobody(
    open_store: Callable[..., Any],
) -> None:
    """The oldest first, each once, few at a time; the message of another run is in the next bite."""
    asking = td.workflow("asking").add(td.wait_for("said"))
    store, other = open_store(), open_store()
    watched = Watched(store)
    body = b'{"input": 0}'
    sent = [
        Message(id=f"{number:04}", run_id="flooded", kind="cancel", body=body)
        for number in range(5 * MOST_OF_ONE)
    ]
    with td.Runner(store=store, workflows=[flow(), asking], poll_s=3600.0) as runner:
        runner.start(flow(), "flooded")
        runner.run("flooded", 1).result(PATIENCE_S)
        runner.start(asking, "other")
        ticket = runner.run("other", "?")
        for message in sent:
            other.post(message)
        other.post(said("s", "other", 1))
        runner._runner._core.custody.hurry()
        assert ticket.result(PATIENCE_S) == {"said": 1}
        until(lambda: other.answered("flooded", sent[-1].id))

    assert said("s", "other", 1) in watched.read[0]
    read = [each.id for bite in watched.read for each in bite if each.run_id == "flooded"]
    assert list(dict.fromkeys(read)) == [each.id for each in sent]
    assert max(map(len, watched.read)) <= MOST_OF_ONE + 1 <= MESSAGES_AT_ONCE


def test_who_sends_more_than_may_wait_is_refused(open_store: Callable[..., Any]) -> None:
    """It is told how many wait and what to do; what was sent before is there, and other runs take messages."""
    store = open_store(max_waiting=3)
    asking = td.workflow("asking").add(td.wait_for("said"))
    with (
        td.Runner(store=store, workflows=[asking], poll_s=3600.0) as first,
        td.Runner(store=open_store(max_waiting=3), poll_s=3600.0) as second,
    ):
        for id in "ab":
            first.start(asking, id)
        other = open_store(max_waiting=3)
        assert [other.post(said(f"{number}", "a", number)) for number in range(3)] == [True] * 3
        assert not other.post(said("1", "a", 7))
        with pytest.raises(Overloaded, match="3 messages wait for the run 'a'") as refused:
            second.signal("a", "said", 3)
        assert "send it again" in str(refused.value.hint)
        waiting = other.waiting(other.info("a").owner)
        assert [each.id for each in waiting] == ["0", "1", "2"]
        second.signal("b", "said", 0)
        first._runner._core.custody.hurry()
        until(lambda: other.answered("a", "2"))
        second.signal("a", "said", 3)
        first._runner._core.custody.hurry()
        assert [first.run("a", "?").result(PATIENCE_S)["said"] for _ in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("most", [0, -1, True, "many", 1.5])
def test_a_limit_that_is_none_is_refused(open_store: Callable[..., Any], most: Any) -> None:
    """It is a number of messages."""
    with pytest.raises(UsageError, match="max_waiting"):
        open_store(max_waiting=most)
