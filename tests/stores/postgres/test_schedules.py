"""Schedules of runners that share one database."""

import threading

import pytest

import treadle as td
from tests.runner.running import PATIENCE_S, Body, SetClock, until
from treadle.runner.cron import named

BEGIN = 1_577_880_000.0
"""2020-01-01T12:00:00+00:00: long ago by the clock of the server, so that it holds nothing back."""
HOUR = 3600.0


@pytest.mark.slow
def test_two_runners_begin_each_run_once(open_store):
    """Both ask for the same schedule at the same time; one of them goes, and the other goes on."""
    pytest.importorskip("cronsim", reason="the package cronsim is not installed")
    clock, body = SetClock(BEGIN + 1), Body(gives=len)
    reports = td.workflow("reports", steps=[td.step(body, name="body")])

    def make():
        return td.Runner(store=open_store(), workflows=[reports], clock=clock, poll_s=0.01)

    def go_on(hour, *runners):
        """Let it be that hour, and wait until all is done for it."""
        clock.go_on_to(BEGIN + hour * HOUR)
        for runner in runners:
            runner._event_loop.call_soon_threadsafe(runner._runner._core.loop.pump)
        body.wait_for_calls(hour)
        next_at = BEGIN + (hour + 1) * HOUR
        until(lambda: [each.next_at for each in runners[-1].schedules()] == [next_at])

    def schedule(runner, answers):
        answers.append(runner.schedule("report", "0 * * * *", reports, "x"))

    with make() as other:
        with make() as one:
            answers: list[str] = []
            asking = [
                threading.Thread(target=schedule, args=(runner, answers)) for runner in (one, other)
            ]
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join(PATIENCE_S)
            assert answers == ["schedule:report#1"] * 2
            for hour in (1, 2):
                go_on(hour, one, other)
        go_on(3, other)
        runs = {info.id for info in other.runs(workflow="reports")}
        fed = [len(other.get_workflow(id).inputs()) for id in runs]

    assert runs == {f"report@{named(BEGIN + hour * HOUR)}" for hour in (1, 2, 3)}
    assert fed == [1, 1, 1]
    assert len(body.calls) == 3
