"""Runs that are brought back under other code: refused, kept, or taken on, as the runner was told."""

from __future__ import annotations

from typing import Any

import pytest

import treadle as td
from treadle import errors
from treadle.model.events import ComponentReplaced, Defined
from treadle.wiring import make_store

PATIENCE_S = 30


def before() -> td.Workflow:
    """As it was."""
    return td.workflow("prices").add(td.step(lambda x: x + 1, name="price"))


def after() -> td.Workflow:
    """As it is today."""
    return td.workflow("prices").add(td.step(lambda x: x + 100, name="price"))


def begin(url: str) -> None:
    """A run that has had one input under the code before."""
    with td.Runner(store=url) as runner:
        runner.start(before(), "a")
        assert runner.run("a", 1).result(PATIENCE_S) == {"price": 2}


def log_of(url: str) -> tuple[Any, ...]:
    """The whole stored log."""
    store: Any = make_store(url)
    try:
        return tuple(store.load_all("a").events)
    finally:
        store.close()


def test_other_code_is_refused_with_the_difference(url: str):
    """The run is parked, names what changed and what can be said; nothing is appended."""
    begin(url)
    length = len(log_of(url))
    with td.Runner(store=url, workflows=[after()]) as runner:
        with pytest.raises(errors.RunEnded, match="price.*on_code_change"):
            runner.run("a", 2)
        (info,) = runner.runs()
        assert info.status == "parked"
    assert len(log_of(url)) == length


def test_a_run_that_was_refused_goes_on_when_told_how(url: str):
    """Resumed by a runner that has the old code, as if nothing had been."""
    begin(url)
    with td.Runner(store=url, workflows=[after()]) as runner:
        with pytest.raises(errors.RunEnded):
            runner.run("a", 2)
    with td.Runner(store=url, workflows=[before(), after()]) as runner:
        runner.resume("a")
        assert runner.run("a", 2).result(PATIENCE_S) == {"price": 3}


def test_the_code_it_was_begun_with_is_kept(url: str):
    """Where both are registered, a run goes on with its own."""
    begin(url)
    options: dict[str, Any] = {"workflows": [before(), after()], "on_code_change": "keep"}
    with td.Runner(store=url, **options) as runner:
        assert runner.run("a", 2).result(PATIENCE_S) == {"price": 3}


def test_todays_code_is_adopted_and_the_log_says_since_when(url: str):
    """What is still to be done is done by it; a later runner needs no word any more."""
    begin(url)
    with td.Runner(store=url, workflows=[after()], on_code_change="adopt") as runner:
        assert runner.run("a", 2).result(PATIENCE_S) == {"price": 102}
        assert runner.get_results("a", input=0) == {"price": 2}
    events = log_of(url)
    assert sum(isinstance(event, Defined) for event in events) == 1
    assert sum(isinstance(event, ComponentReplaced) for event in events) == 1
    with td.Runner(store=url, workflows=[after()]) as runner:
        assert runner.run("a", 3).result(PATIENCE_S) == {"price": 103}


@pytest.mark.slow
def test_a_run_of_many_events_adopts_on_its_snapshot(url: str):
    """What lies before the snapshot stays in the store."""
    with td.Runner(store=url) as runner:
        runner.start(before(), "a")
        tickets = [runner.run("a", number) for number in range(1_200)]
        assert tickets[-1].result(PATIENCE_S) == {"price": 1_200}
    length = len(log_of(url))
    with td.Runner(store=url, workflows=[after()], on_code_change="adopt") as runner:
        assert runner.run("a", 2).result(PATIENCE_S) == {"price": 102}
    events = log_of(url)
    assert len(events) == length + 3
    assert isinstance(events[0], Defined)
