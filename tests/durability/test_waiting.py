"""Waits under a runner: answered from anywhere, timed by its clock, and outliving it."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

import treadle as td
from treadle import errors
from treadle.interfaces import Append, Message
from treadle.runner.letters import why_refused
from treadle.wiring import make_store

PATIENCE_S = 30


def approval(timeout_s: float | None = None) -> td.Workflow:
    """A draft waits for a person; what becomes of it takes both."""
    workflow = (
        td.workflow("letters")
        .add(td.step(str.title, name="draft"))
        .add(td.wait_for("approved", schema=bool, timeout_s=timeout_s), to="draft")
        .add(td.step(lambda text, ok: [text, ok], name="send"), to=["draft", "approved"])
    )
    if timeout_s is None:
        return workflow
    return workflow.add(td.step(len, name="remind"), to=td.timeout_of("approved"))


def test_a_signal_answers_the_wait():
    """The run is listed as waiting until then."""
    with td.Runner() as runner:
        runner.start(approval(), "a")
        ticket = runner.run("a", "hello")
        until(lambda: runner.runs()[0].status == "waiting")
        runner.signal("a", "approved", True)
        assert ticket.result(PATIENCE_S) == {"send": ["Hello", True]}


def until(is_so: Any) -> None:
    """Wait until something is so; what it asks takes its own time."""
    for _ in range(100_000):
        if is_so():
            return
    raise AssertionError("it never was so")


def test_what_does_not_fit_is_refused_and_nothing_is_recorded(url: str):
    """The wait is open as before."""
    with td.Runner(store=url) as runner:
        runner.start(approval(), "a")
        ticket = runner.run("a", "hello")
        with pytest.raises(errors.BadValue):
            runner.signal("a", "approved", "maybe")
        with pytest.raises(errors.UnknownComponent):
            runner.signal("a", "apprved", True)
        runner.signal("a", "approved", False)
        assert ticket.result(PATIENCE_S) == {"send": ["Hello", False]}


def test_a_run_that_was_lost_at_work_and_only_waits_is_kept_as_waiting(url: str):
    """Else every process that dies while it waits for a person would count against it."""
    with td.Runner(store=url) as runner:
        runner.start(approval(90 * 86_400.0), "a")
        runner.run("a", "hello")
        until(lambda: runner.runs()[0].status == "waiting")
    with closing(opened(url)) as store:
        (claimed,) = store.claim("gone", PATIENCE_S, run_id="a")
        store.append([Append(run_id="a", expected=None, status="running", epoch=claimed.epoch)])
        store.release({"a": claimed.epoch})
    with (
        td.Runner(store=url, workflows=[approval(90 * 86_400.0)], poll_s=0.01) as runner,
        closing(opened(url)) as store,
    ):
        until(lambda: store.info("a").status == "waiting")
        assert [wait.deadline for wait in runner.waiting()] == [store.info("a").wake_at]


def opened(url: str) -> Any:
    """A store, beside whoever else uses it."""
    return make_store(url)


def test_a_wait_outlives_its_runner(url: str):
    """Nobody need be there meanwhile; a signal that came before the wait did is kept, too."""
    with td.Runner(store=url) as runner:
        runner.start(approval(), "a")
        runner.run("a", "hello")
        runner.start(approval(), "b")
        runner.signal("b", "approved", True)
    with td.Runner(store=url, workflows=[approval()]) as runner:
        assert {info.id: info.status for info in runner.runs()}["a"] == "waiting"
        runner.signal("a", "approved", True)
        assert runner.wait("a", PATIENCE_S) == "idle"
        assert runner.get_results("a") == {"send": ["Hello", True]}
        assert runner.run("b", "bye").result(PATIENCE_S) == {"send": ["Bye", True]}


def test_a_timeout_takes_its_own_path(url: str):
    """The runner's clock says when; so it does after a restart."""
    with td.Runner(store=url) as runner:
        runner.start(approval(0.01), "a")
        assert runner.run("a", "hello").result(PATIENCE_S) == {"remind": 5}
        runner.start(approval(0.5), "b")
        runner.run("b", "hello")
    with td.Runner(store=url, workflows=[approval(0.5)], poll_s=0.01) as runner:
        assert runner.wait("b", PATIENCE_S) == "idle"
        assert runner.get_results("b") == {"remind": 5}


def test_who_waits_is_put_away_and_comes_back(url: str):
    """Many that wait, few in memory: their tickets are answered all the same."""
    with td.Runner(store=url, workflows=[approval()], keep_warm=2, poll_s=0.01) as runner:
        ids = [f"run-{number}" for number in range(10)]
        tickets = {}
        for id in ids:
            runner.start(approval(), id)
            tickets[id] = runner.run(id, id)
        core = runner._runner._core
        until(lambda: sum(run.machine is not None for run in list(core.runs.values())) <= 2)
        for id in ids:
            runner.signal(id, "approved", True)
        for id, ticket in tickets.items():
            assert ticket.result(PATIENCE_S) == {"send": [id.title(), True]}


def test_another_process_leaves_messages(url: str):
    """Without a runner of its own: by the inbox, once for each id, also for a run that is put away."""
    with td.Runner(store=url, workflows=[approval()], keep_warm=1, poll_s=0.01) as runner:
        for id in ("a", "b", "c"):
            runner.start(approval(), id)
        tickets = {id: runner.run(id, id) for id in ("a", "b")}
        other: Any = make_store(url)  # as another process would open it
        try:
            for id in ("a", "b"):
                body = json.dumps({"name": "approved", "payload": True}).encode()
                message = Message(id="m-1", run_id=id, kind="signal", body=body)
                assert other.post(message)
                assert not other.post(message)
            for id, ticket in tickets.items():
                assert ticket.result(PATIENCE_S) == {"send": [id.title(), True]}
            until(lambda: other.answered("a", "m-1"))
            other.post(Message(id="m-2", run_id="c", kind="cancel", body=b'{"reason": "no"}'))
            until(lambda: runner.runs()[2].status == "cancelled")
        finally:
            other.close()


def test_a_message_that_cannot_be_is_taken_and_told_of(url: str, caplog: Any):
    """It does not come again and again."""
    with td.Runner(store=url, workflows=[approval()], poll_s=0.01) as runner:
        runner.start(approval(), "a")
        ticket = runner.run("a", "hello")
        other: Any = make_store(url)
        try:
            for number, body in enumerate((b'{"name": "nobody"}', b"{", b"\xc1")):
                other.post(Message(id=f"m-{number}", run_id="a", kind="signal", body=body))
            other.post(Message(id="m-9", run_id="a", kind="nonsense", body=b"{}"))
            until(lambda: all(other.answered("a", f"m-{number}") for number in (0, 1, 2, 9)))
            asked = [("a", f"m-{number}") for number in (0, 1, 2, 9)]
            told = other.standing(asked)
            why = [why_refused(other.codec, "a", told[each].body) or "" for each in asked]
            assert "has no wait_for named 'nobody'" in why[0]
            assert [text.partition(":")[0] for text in why[1:3]] == [
                "the message cannot be read"
            ] * 2
            assert why[3] == "the message is of the unknown kind 'nonsense'"
        finally:
            other.close()
        runner.signal("a", "approved", True)
        assert ticket.result(PATIENCE_S) == {"send": ["Hello", True]}
    assert "nobody" in caplog.text
