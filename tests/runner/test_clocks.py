"""Clocks that are wrong: put forward and back by hours and years, stopped, and put right again; each by itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from tests.runner.running import PATIENCE_S, SetClock, until
from tests.runner.test_async_runner import on_a_loop
from tests.stores.sqlite.places import HandClock
from treadle.codec import Codec
from treadle.model.events import Applied, TimerFired, WaitOpened
from treadle.stores.sqlite import SqliteStore

TEN_YEARS = 3.2e8
JUMPS = (3600.0, -3600.0, TEN_YEARS, -TEN_YEARS, None)
"""By how many seconds; None: it stops."""


class WrongClock:
    """Goes on as real time does, from where it was put, until it is put elsewhere or stopped."""

    def __init__(self, jumps: list[float | None]) -> None:
        self._jumps = list(jumps)
        self._ahead, self._stopped = 1_000_000_000.0, False
        self._last = self._furthest = self._read()

    def _read(self) -> float:
        return self._ahead + time.monotonic()

    def now(self) -> float:
        """The time, as it says."""
        if not self._stopped:
            self._last = self._read()
            self._furthest = max(self._furthest, self._last)
        return self._last

    def jump(self) -> None:
        """What happens to it next; when all has happened it goes."""
        jump = self._jumps.pop(0) if self._jumps else 0.0
        self._stopped = jump is None
        self._ahead += jump or 0.0

    def pass_all(self) -> None:
        """It goes, and a day after the latest that it ever said."""
        self._stopped, self._jumps = False, []
        self._ahead += self._furthest - self.now() + 86_400.0


@pytest.mark.slow
@given(st.lists(st.sampled_from(JUMPS), min_size=1, max_size=9))
@settings(deadline=None, max_examples=40)
def test_no_timer_is_lost_or_doubled_and_no_retry_waits_for_a_year(
    jumps: list[float | None],
) -> None:
    """A sleep ends once, at its moment or after it; a retry comes after its delay, whatever year it was meanwhile."""
    clock = WrongClock(jumps)
    attempts: Counter[int] = Counter()
    done = asyncio.Event()

    async def flaky(number: int) -> int:
        clock.jump()
        attempts[number] += 1
        if attempts[number] < 3:
            raise ConnectionError
        if sum(attempts.values()) == 9:
            done.set()
        return number

    flow = td.workflow("w", steps=[td.step(flaky), td.sleep(600.0, name="nap")])
    policy = td.Policy(max_retries=2, backoff="jitter", base_delay_s=0.002, max_delay_s=0.004)

    async def main() -> td.Workflow:
        async with td.AsyncRunner(clock=clock, policies={"flaky": policy}, lag_s=None) as runner:
            await runner.start(flow, "a")
            tickets = [await runner.run("a", number) for number in range(3)]
            while not done.is_set():
                clock.jump()
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), 0.02)
            clock.pass_all()
            runner._core.loop.pump()
            for number, ticket in enumerate(tickets):
                assert await ticket == {"flaky": number, "nap": number}
            return await runner.get_workflow("a")

    log = on_a_loop(main).log()
    moments = {event.scope: event.due_at or 0.0 for event in log if isinstance(event, WaitOpened)}
    ended = [(event.scope, event.at or 0.0) for event in log if isinstance(event, TimerFired)]
    assert sorted(scope for scope, _ in ended) == sorted(moments)
    assert all(at >= moments[scope] for scope, at in ended)
    assert attempts == {0: 3, 1: 3, 2: 3}


@pytest.mark.parametrize("ahead", [3600.0, TEN_YEARS])
def test_a_retry_does_not_wait_for_the_year_in_which_its_log_was_written(
    tmp_path: Path, ahead: float
) -> None:
    """The machine came up with a wrong clock and was lost; with a right one the run goes on at once."""
    right = time.time()
    failed = threading.Event()

    def flaky(number: int, attempt: int = td.attempt()) -> int:
        if attempt == 1:
            raise ConnectionError
        return number

    flow = td.workflow("w").add(td.step(flaky))
    store = SqliteStore(tmp_path / "wrong.db", Codec())
    hooks = td.Hooks(on_failed=lambda *_: failed.set())
    policies = {"flaky": td.Policy(max_retries=1, backoff="linear", base_delay_s=30.0)}
    clock = SetClock(right + ahead)
    with td.Runner(store=store, workflows=[flow], clock=clock, policies=policies, hooks=hooks) as r:
        r.start(flow, "a")
        r.run("a", 7)
        assert failed.wait(PATIENCE_S)
        r.checkpoint("a")
        assert r.runs()[0].status == "running"
        store.backup(tmp_path / "right.db")
    policies = {"flaky": td.Policy(max_retries=1, backoff="linear", base_delay_s=0.001)}
    store = SqliteStore(tmp_path / "right.db", Codec())
    with td.Runner(store=store, workflows=[flow], policies=policies, poll_s=0.01) as runner:
        until(lambda: runner.get_results("a") == {"flaky": 7})


@pytest.mark.parametrize("jump", [3600.0, -3600.0, TEN_YEARS, -TEN_YEARS])
def test_a_store_whose_clock_jumps_has_each_outcome_once(tmp_path: Path, jump: float) -> None:
    """Another runner may take the run over for it; then what the first one gives does not count."""
    clock, gate, entered = HandClock(), threading.Event(), threading.Event()

    def held(number: int) -> int:
        entered.set()
        assert gate.wait(PATIENCE_S)
        return number

    flow = td.workflow("w").add(td.step(held))
    path = tmp_path / "runs.db"
    store: Any = SqliteStore(path, Codec(), clock=clock)
    shared: Any = {"store": store, "workflows": [flow], "poll_s": 0.005}
    with td.Runner(**shared) as first, td.Runner(**shared) as second:
        first.start(flow, "a")
        first.run("a", 7)
        assert entered.wait(PATIENCE_S)
        clock.at += jump
        if jump > 0:
            until(lambda: store.info("a").epoch > 1)
        clock.at -= jump
        gate.set()
        until(lambda: second.get_results("a") == {"held": 7})
    with closing(SqliteStore(path, Codec())) as kept:
        ends = [event for event in kept.load("a").events if isinstance(event, Applied)]
        assert len(ends) == 1
        assert kept.verify() == []


@pytest.mark.parametrize("ahead", [3600.0, TEN_YEARS])
def test_a_schedule_comes_back_from_a_year_that_is_not_yet(ahead: float) -> None:
    """The clock was wrong when an instant was handled; scheduled again, it is for the next one by the right clock."""
    pytest.importorskip("cronsim", reason="the package cronsim is not installed")
    from tests.runner.test_schedules import HOUR, HOURLY, NOON, at, begun, go_on_to, reports

    clock = SetClock(NOON + 1)
    with td.Runner(clock=clock) as runner:
        runner.schedule("report", HOURLY, reports(), "x")
        go_on_to(clock, NOON + ahead, runner)
        until(lambda: runner.schedules()[0].next_at == NOON + ahead - ahead % HOUR + HOUR)
        clock.go_on(-ahead)
        runner.schedule("report", HOURLY, reports(), "x")
        assert runner.schedules()[0].next_at == NOON + HOUR
        go_on_to(clock, NOON + HOUR, runner)
        until(lambda: runner.schedules()[0].next_at == NOON + 2 * HOUR)
        assert begun(runner)[at(13)] == ["x"]
