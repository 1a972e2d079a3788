"""Schedules: each instant begins one run, whatever becomes of the runners meanwhile."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import treadle as td
from tests.conftest import url_of
from tests.runner.running import PATIENCE_S, SetClock, status_of, steps, until
from treadle import errors
from treadle.codec import Codec
from treadle.stores.memory import MemoryStore
from treadle.stores.sqlite import SqliteStore
from treadle.wiring import make_store

pytest.importorskip("cronsim", reason="the package cronsim is not installed")

NOON = 1_577_880_000.0
"""2020-01-01T12:00:00+00:00: past by the clock of any server, so that its leases hold nothing back."""
HOUR = 3600.0
HOURLY = "0 * * * *"


def at(hour, name="report"):
    """The id of the run of an hour of that day."""
    return f"{name}@2020-01-01T{hour:02}:00:00+00:00"


def reports(body=len):
    """A workflow to be begun."""
    return steps(td.step(body, name="body"), name="reports")


def begun(runner):
    """The runs that schedules began, by id, with the values they were fed."""
    ids = [info.id for info in runner.runs(workflow="reports")]
    return {id: [each["value"] for each in runner.get_workflow(id).inputs()] for id in ids}


def go_on_to(clock, moment, *runners):
    """Let it be that moment, and let the runners see it."""
    clock.go_on_to(moment)
    for runner in runners:
        runner._event_loop.call_soon_threadsafe(runner._runner._core.loop.pump)


def is_set_for(runner, moment):
    """Whether a schedule waits for that moment."""
    return [each.next_at for each in runner.schedules()] == [moment]


def wait_until_set_for(runner, moment):
    """Wait until all is done that is due before."""
    until(lambda: is_set_for(runner, moment))


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store_of(request, tmp_path):
    """A store that several runners have one after the other; that of a server keeps leases by the server's clock."""
    kept = MemoryStore()
    url = url_of("postgres", request, tmp_path) if request.param == "postgres" else ""

    def make(clock):
        if request.param == "memory":
            return kept
        return (
            make_store(url) if url else SqliteStore(tmp_path / "runs.db", Codec(), clock=clock.now)
        )

    return make


def test_each_instant_begins_a_run(store_of):
    """Its id has the instant, in UTC; its input is what was given."""
    clock = SetClock(NOON + 1)
    with td.Runner(store=store_of(clock), clock=clock) as runner:
        runner.schedule("report", HOURLY, reports(), [1, 2])
        for hour in (13, 14):
            go_on_to(clock, NOON + (hour - 12) * HOUR, runner)
            wait_until_set_for(runner, NOON + (hour - 11) * HOUR)
        assert runner.wait(at(14), PATIENCE_S) == "idle"
        assert begun(runner) == {at(13): [[1, 2]], at(14): [[1, 2]]}
        assert runner.get_results(at(13)) == {"body": 2}


def test_it_is_scheduled_once_however_often_it_is_asked_for():
    """The same again changes nothing; another one replaces it."""
    clock = SetClock(NOON + 1)
    with td.Runner(clock=clock) as runner:
        first = runner.schedule("report", HOURLY, reports(), "x")
        assert runner.schedule("report", HOURLY, reports(), "x") == first
        other = runner.schedule("report", "30 14 * * *", reports(), "y", zone="Europe/Berlin")
        [found] = runner.schedules()

        assert other != first
        assert status_of(runner, first) == "cancelled"
        assert (found.run_id, found.input, found.zone) == (other, "y", "Europe/Berlin")
        assert found.next_at == NOON + 1.5 * HOUR


def test_what_is_unscheduled_begins_nothing_more():
    """And may be scheduled again."""
    clock = SetClock(NOON + 1)
    with td.Runner(clock=clock) as runner:
        runner.schedule("report", HOURLY, reports(), "x")
        assert runner.unschedule("report")
        assert not runner.unschedule("report")
        assert not runner.unschedule("another")
        assert runner.schedules() == []
        go_on_to(clock, NOON + HOUR, runner)
        runner.schedule("report", HOURLY, reports(), "x")
        go_on_to(clock, NOON + 2 * HOUR, runner)
        wait_until_set_for(runner, NOON + 3 * HOUR)
        assert list(begun(runner)) == [at(14)]


@pytest.mark.parametrize(
    ("catch_up", "most", "hours"),
    [("skip", 9, []), ("one", 9, [16]), ("all", 9, [13, 14, 15, 16]), ("all", 2, [15, 16])],
)
def test_what_was_missed_is_caught_up_with(store_of, catch_up, most, hours):
    """While nobody ran, four instants passed; the next runner knows the schedule by its workflow."""
    clock = SetClock(NOON + 1)
    with td.Runner(store=store_of(clock), clock=clock) as runner:
        runner.schedule("report", HOURLY, reports(), "x", catch_up=catch_up, most=most)
    clock.go_on_to(NOON + 4.5 * HOUR)
    with td.Runner(
        store=store_of(clock), workflows=[reports()], clock=clock, poll_s=0.005
    ) as runner:
        wait_until_set_for(runner, NOON + 5 * HOUR)
        assert begun(runner) == {at(hour): ["x"] for hour in hours}


def test_one_on_time_makes_up_for_those_that_were_missed(store_of):
    """Who comes back just after an instant begins that one, and no other."""
    clock = SetClock(NOON + 1)
    with td.Runner(store=store_of(clock), clock=clock) as runner:
        runner.schedule("report", HOURLY, reports(), "x", catch_up="one")
    clock.go_on_to(NOON + 4 * HOUR + 30)
    with td.Runner(
        store=store_of(clock), workflows=[reports()], clock=clock, poll_s=0.005
    ) as runner:
        wait_until_set_for(runner, NOON + 5 * HOUR)
        assert list(begun(runner)) == [at(16)]


def test_who_was_first_is_not_followed():
    """A run of that id that has its input already is left alone; one that was made and not fed is fed."""
    clock = SetClock(NOON + 1)
    with td.Runner(clock=clock) as runner:
        runner.start(reports(), at(13))
        runner.run(at(13), "mine").result(PATIENCE_S)
        runner.start(reports(), at(14))
        runner.schedule("report", HOURLY, reports(), "x")
        for hour in (13, 14):
            go_on_to(clock, NOON + (hour - 12) * HOUR, runner)
            wait_until_set_for(runner, NOON + (hour - 11) * HOUR)
        assert begun(runner) == {at(13): ["mine"], at(14): ["x"]}


KILLED = """
import os, signal, sys
import treadle as td
from tests.runner.running import SetClock
from tests.runner.test_schedules import HOURLY, HOUR, NOON, go_on_to, reports
from treadle.codec import Codec
from treadle.stores.sqlite import SqliteStore

class Deadly(SqliteStore):
    left = int(sys.argv[2])

    def append(self, batch):
        self.left -= 1
        if self.left == 0 and sys.argv[3] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = super().append(batch)
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

if __name__ == "__main__":
    clock = SetClock(NOON + 1)
    store = Deadly(sys.argv[1], Codec(), clock=clock.now)
    with td.Runner(store=store, clock=clock) as runner:
        runner.schedule("report", HOURLY, reports(), "x", catch_up="all")
        for hour in range(1, 9):
            go_on_to(clock, NOON + hour * HOUR, runner)
            while [each.next_at for each in runner.schedules()] != [NOON + (hour + 1) * HOUR]:
                pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("append", [4, 5, 6, 7, 8, 9, 10, 11, 12])
def test_who_is_killed_leaves_no_gap_and_nothing_twice(tmp_path, append, when):
    """Killed at any append: the next runner begins what is due, and feeds what was begun and not fed."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    path = os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))
    done = subprocess.run(
        [sys.executable, script, tmp_path / "runs.db", str(append), when],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S * 3,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr

    clock = SetClock(NOON + 12.5 * HOUR)
    store = SqliteStore(tmp_path / "runs.db", Codec(), clock=clock.now)
    with td.Runner(store=store, workflows=[reports()], clock=clock, poll_s=0.005) as runner:
        wait_until_set_for(runner, NOON + 13 * HOUR)
        made = begun(runner)

    hours = [*(at(hour) for hour in range(13, 24)), "report@2020-01-02T00:00:00+00:00"]
    assert made == {id: ["x"] for id in hours}


class HeldUp(SqliteStore):
    """Takes its time over the run of an instant."""

    def __init__(self, path, clock):
        super().__init__(path, Codec(), clock=clock.now)
        self.is_asked, self.gate = threading.Event(), threading.Event()

    def append(self, batch):
        """Say so, and wait, where a report is begun."""
        if any(each.create is not None and each.run_id.startswith("report@") for each in batch):
            self.is_asked.set()
            assert self.gate.wait(PATIENCE_S)
        return super().append(batch)


def test_who_closes_while_a_run_is_begun_leaves_the_rest_to_the_next(tmp_path):
    """It is begun, and takes no input of a runner that closes; the schedule goes on all the same."""
    clock, path = SetClock(NOON + 1), tmp_path / "runs.db"
    store = HeldUp(path, clock)
    with td.Runner(store=store, clock=clock) as runner:
        runner.schedule("report", HOURLY, reports(), "x")
        go_on_to(clock, NOON + HOUR, runner)
        assert store.is_asked.wait(PATIENCE_S)
        closing = threading.Thread(target=runner.close)
        closing.start()
        until(lambda: runner._runner._core.is_closing)
        store.gate.set()
        closing.join(PATIENCE_S)

    clock.go_on_to(NOON + HOUR + 1)
    after = SqliteStore(path, Codec(), clock=clock.now)
    with td.Runner(store=after, workflows=[reports()], clock=clock, poll_s=0.005) as runner:
        wait_until_set_for(runner, NOON + 2 * HOUR)
        assert begun(runner) == {at(13): ["x"]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"spec": "whenever"}, "no cron spec"),
        ({"zone": "Mars"}, "no time zone"),
        ({"catch_up": "al"}, "did you mean 'all'"),
        ({"most": 0}, "at least 1"),
        ({"name": ""}, "the name"),
        ({"name": "a\nb"}, "the name"),
        ({"workflow": "reports"}, "of a workflow"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    """Before anything is stored."""
    given = {"name": "report", "spec": HOURLY, "workflow": reports(), "input": "x", **options}
    with td.Runner() as runner:
        with pytest.raises(errors.UsageError, match=f"(?i){said}"):
            runner.schedule(**given)
        assert runner.runs() == []


def test_an_input_that_cannot_be_stored_is_refused(url):
    """As that of a run is."""
    with td.Runner(store=url) as runner:
        with pytest.raises(errors.EncodeError):
            runner.schedule("report", HOURLY, reports(), threading.Lock())


def test_without_the_package_it_is_refused_and_nothing_is_taken_over(monkeypatch):
    """A runner that cannot read specs leaves schedules to those who can."""
    clock, store = SetClock(NOON + 1), MemoryStore()
    with td.Runner(store=store, clock=clock) as runner:
        runner.schedule("report", HOURLY, reports(), "x")
    monkeypatch.setitem(sys.modules, "cronsim", None)
    clock.go_on_to(NOON + HOUR)
    with td.Runner(store=store, clock=clock, workflows=[reports()]) as runner:
        with pytest.raises(errors.MissingExtra):
            runner.schedule("report", HOURLY, reports(), "x")
        assert runner.schedules() == []
        assert [info.id for info in runner.runs()] == ["schedule:report#1"]


def test_a_schedule_that_another_runner_is_making_is_waited_for(tmp_path):
    """What it is to do is not left in the inbox, again and again, until that one has done so."""
    store = SqliteStore(tmp_path / "runs.db", Codec())
    with (
        td.Runner(store=store, poll_s=0.01) as near,
        td.Runner(store=store, poll_s=0.01) as far,
    ):
        timetable = near._runner._timetable
        kept = timetable._know("reports")
        near.start(kept, "schedule:report#1")  # and no further yet
        asked = []
        asking = threading.Thread(
            target=lambda: asked.append(far.schedule("report", HOURLY, reports(), [1, 2]))
        )
        asking.start()
        until(lambda: "schedule:report#1" in far._runner._core.runs)
        assert near.schedule("report", HOURLY, reports(), [1, 2]) == "schedule:report#1"
        asking.join(PATIENCE_S)
        assert asked == ["schedule:report#1"]
        assert far._runner._core.outbox is None
