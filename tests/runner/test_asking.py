"""What runs wait for, over all runs of a store, and answers that are refused before they are sent."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from tests.durability.backlog import until
from treadle import errors
from treadle.codec import Codec
from treadle.runner.asking import as_data
from treadle.wiring import make_store

GUARD_S = 30.0


@dataclass
class Verdict:
    """What somebody decides."""

    approved: bool
    why: str = ""


@dataclass
class Expense:
    """What it is about."""

    who: str
    amount: int


def spend(order: dict[str, Any]) -> Expense:
    """An expense of what came in."""
    return Expense(**order)


def expenses() -> td.Workflow:
    """An expense waits for a person for an hour."""
    return (
        td.workflow("expenses")
        .add(td.step(spend))
        .add(td.wait_for("approval", schema=Verdict, timeout_s=3600, key=who), to="spend")
        .add(td.step(lambda verdict: verdict.approved, name="pay"), to="approval")
    )


def who(expense: Expense) -> str:
    """Whose it is."""
    return expense.who


def gates() -> td.Workflow:
    """Another workflow, which waits for two answers, and sleeps."""
    return (
        td.workflow("gates")
        .add(td.wait_for("open"))
        .add(td.wait_for("close", schema=bool))
        .add(td.sleep(9999, name="nap"))
    )


def url_of(path: Path) -> str:
    """A store there."""
    return f"sqlite:///{path / 'runs.db'}"


def begun(runner: td.Runner, workflow: td.Workflow, id: str, value: Any) -> td.Ticket:
    """A run that waits, and its input's ticket."""
    runner.start(workflow, id)
    ticket = runner.run(id, value)
    runner.checkpoint(id)
    return ticket


def names(waits: list[td.OpenWait]) -> list[tuple[str, str]]:
    """Which run waits for what."""
    return [(wait.run, wait.name) for wait in waits]


@pytest.mark.parametrize("store", ["memory", None, "sqlite"])
def test_all_open_waits_are_listed_with_their_forms(tmp_path: Path, store: str | None):
    """Subject and deadline, oldest run first; a sleep is no question, and what was answered is none any more."""
    with td.Runner(store=url_of(tmp_path) if store == "sqlite" else store) as runner:
        begun(runner, expenses(), "a", {"who": "Ada", "amount": 7})
        begun(runner, gates(), "b", 1)
        first, *_ = waits = runner.waiting()

        assert names(waits) == [("a", "approval"), ("b", "open"), ("b", "close")]
        assert (first.workflow, first.key, first.input) == ("expenses", "Ada", 0)
        assert first.subject == Expense("Ada", 7)
        assert first.since is not None
        assert first.deadline == first.since + 3600
        assert [field.name for field in first.form.fields] == ["approved", "why"]
        runner.signal("a", "approval", {"approved": True})
        assert names(runner.waiting()) == [("b", "open"), ("b", "close")]
        assert names(runner.waiting(name="close")) == [("b", "close")]
        assert names(runner.waiting(workflow="gates", name="open")) == [("b", "open")]
        assert runner.waiting(workflow="expenses") == []


def test_waits_of_runs_that_nobody_has_are_listed(tmp_path: Path):
    """Of workflows that this process does not know, with what can be seen of their subjects; no run is woken."""
    with td.Runner(store=url_of(tmp_path), keep_warm=1) as runner:
        begun(runner, expenses(), "a", {"who": "Ada", "amount": 7})
        begun(runner, gates(), "b", 1)
        here = runner.waiting()
    with td.Runner(store=url_of(tmp_path), codec=Codec()) as other:
        there = other.waiting()

        assert names(there) == names(here)
        assert [wait.form for wait in there] == [wait.form for wait in here]
        assert repr(there[0].subject) == f"<not registered: {__name__}:Expense>"
        assert as_data(there[0].subject) == {"who": "Ada", "amount": 7}
        assert {info.owner for info in other.runs()} == {None}


def test_pages_follow_one_another(tmp_path: Path):
    """The last wait's run says where the next page begins, also when that run does not wait any more."""
    with td.Runner(store=url_of(tmp_path)) as runner:
        for number in range(5):
            begun(runner, gates(), f"run-{number}", number)
        runner.stop("run-3")
        first = runner.waiting(limit=3)
        for name, payload in (("open", None), ("close", True)):
            runner.signal("run-1", name, payload)
        runner.cancel("run-1")
        rest = runner.waiting(limit=99, after=first[-1].run)

        assert [wait.run for wait in first] == ["run-0", "run-0", "run-1", "run-1"]
        assert [wait.run for wait in rest] == ["run-2", "run-2", "run-4", "run-4"]
        with pytest.raises(errors.UnknownRun):
            runner.waiting(after="nobody")
        with pytest.raises(errors.UsageError, match="limit"):
            runner.waiting(limit=0)


def test_only_runs_that_may_wait_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of a thousand that are finished no log is looked at."""
    with td.Runner(store=url_of(tmp_path), keep_warm=1) as runner:
        for number in range(20):
            begun(runner, expenses(), f"done-{number}", {"who": "x", "amount": number})
            runner.signal(f"done-{number}", "approval", {"approved": True})
            runner.wait(f"done-{number}")
        begun(runner, gates(), "waits", 1)
    store: Any = make_store(url_of(tmp_path))
    loaded: list[str] = []
    load = store.load
    monkeypatch.setattr(store, "load", lambda id: loaded.append(id) or load(id))
    with td.Runner(store=store) as runner:
        assert names(runner.waiting()) == [("waits", "open"), ("waits", "close")]
    assert loaded == ["waits"]


def test_a_run_that_cannot_be_read_is_told_of_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """The others are listed."""
    with td.Runner(store=url_of(tmp_path)) as runner:
        begun(runner, gates(), "a", 1)
        begun(runner, gates(), "b", 2)
    store: Any = make_store(url_of(tmp_path))
    with store._connections.writing("damaging") as connection:
        connection.execute(
            "UPDATE event SET body = x'c1' WHERE position = 1 AND run = (SELECT pk FROM run WHERE id = 'a')"
        )
    store.close()
    with td.Runner(store=url_of(tmp_path)) as runner, caplog.at_level(logging.WARNING):
        assert {wait.run for wait in runner.waiting()} == {"b"}
    assert "run a cannot be read" in caplog.text


def test_an_answer_to_a_run_elsewhere_is_looked_at_before_it_is_left(tmp_path: Path):
    """By the form that is stored with the wait: whoever asks is refused at once, and nothing is in the inbox."""
    with (
        td.Runner(store=url_of(tmp_path), poll_s=0.01) as owner,
        td.Runner(store=url_of(tmp_path), codec=Codec([Verdict])) as other,
    ):
        ticket = begun(owner, expenses(), "a", {"who": "Ada", "amount": 7})
        with pytest.raises(errors.BadValue, match=r"Expected `bool`, got `str` - at `\$.approved`"):
            other.signal("a", "approval", {"approved": "maybe"})
        with pytest.raises(errors.BadValue, match="approved"):
            other.signal("a", "approval", Verdict("maybe"))  # type: ignore[arg-type]
        with pytest.raises(errors.UnknownComponent, match="Did you mean 'approval'"):
            other.signal("a", "aproval", {"approved": True})
        store: Any = other._runner._core.store
        with store._connections.reading() as connection:
            assert connection.execute("SELECT count(*) FROM message").fetchone() == (0,)
        other.signal("a", "approval", Verdict(True))
        assert ticket.result(GUARD_S) == {"pay": True}


def test_a_signal_to_a_run_elsewhere_says_which_wait_it_means(tmp_path: Path):
    """Where several are open and no key tells them apart, nothing is left in the inbox, as where the run is at work."""
    with (
        td.Runner(store=url_of(tmp_path), poll_s=0.01) as owner,
        td.Runner(store=url_of(tmp_path)) as other,
    ):
        begun(owner, gates(), "a", 1)
        owner.run("a", 2)
        owner.checkpoint("a")
        with pytest.raises(errors.AmbiguousSignal, match="2 waits of 'close'"):
            other.signal("a", "close", True)
        store: Any = other._runner._core.store
        with store._connections.reading() as connection:
            assert connection.execute("SELECT count(*) FROM message").fetchone() == (0,)
        other.signal("a", "close", True, key=0)
        other.signal("a", "open", "it", key="0")
        until(lambda: {wait.input for wait in owner.waiting()} == {1})


def test_the_same_in_a_coroutine(tmp_path: Path):
    """And the event loop turns between one log and the next."""

    async def asking() -> tuple[list[td.OpenWait], int]:
        async with td.AsyncRunner(store=url_of(tmp_path), keep_warm=1) as runner:
            for number in range(3):
                await runner.start(gates(), f"{number}")
                await runner.run(f"{number}", number)
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.ensure_future(count())
            waits = await runner.waiting(name="open")
            counting.cancel()
            return waits, turns

    waits, turns = asyncio.run(asking())
    assert [wait.run for wait in waits] == ["0", "1", "2"]
    assert turns >= len(waits)
