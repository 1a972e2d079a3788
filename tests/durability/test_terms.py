"""What a run was started with, and keeps, whoever has it later: its deadline and its durability."""

import os
import select
import signal
import threading
from contextlib import closing

import pytest

import treadle as td
from tests.durability.test_trials import until
from tests.stores.sqlite.places import HandClock
from treadle import errors
from treadle.codec import Codec
from treadle.stores.sqlite import SqliteStore

GUARD_S = 5.0
"""Longer than anything here takes."""


def hold(_):
    """A step that goes on for ever."""
    threading.Event().wait()


def quick(number):
    """Another one, which does not."""
    return number


def workflow(body=hold):
    """One step."""
    return td.workflow("w").add(td.step(body, name="step"))


def at(moment):
    """A clock that stands still there."""
    clock = HandClock()
    clock.at = moment
    return clock


def killed(path, begin):
    """A process that begins something at moment 1000, and is killed when that is stored."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with td.Runner(store=f"sqlite:///{path}", clock=at(1000.0)) as runner:
                begin(runner)
                os.write(writing, b"!")
                signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    assert select.select([reading], [], [], GUARD_S)[0]
    assert os.read(reading, 1) == b"!"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reading)


def runner_at(path, moment, **options):
    """A runner that knows the workflow, with a clock that stands still."""
    given = {"workflows": [workflow()], "clock": at(moment), "poll_s": 0.01, "drain_s": 0.01}
    store = path if isinstance(path, SqliteStore) else f"sqlite:///{path}"
    return td.Runner(store=store, **{**given, **options})


def test_the_deadline_of_a_run_outlives_its_process(tmp_path):
    """Whoever takes it over cancels it then, and not before."""
    path = tmp_path / "runs.db"

    def begin(runner):
        runner.start(workflow(), "a", deadline_s=60)
        runner.run("a", 1)

    killed(path, begin)
    with runner_at(path, 1059.0) as runner:
        until(lambda: runner.runs()[0].owner is not None)
        with pytest.raises(TimeoutError):
            runner.wait("a", 0.05)
        assert runner.runs()[0].deadline_at == 1060.0
    with runner_at(path, 1061.0) as runner:
        assert runner.wait("a", GUARD_S) == "cancelled"
        assert "deadline" in runner.runs()[0].note


def test_the_deadline_of_a_run_without_inputs_outlives_its_process(tmp_path):
    """Nobody touches it, and it is cancelled all the same."""
    path = tmp_path / "runs.db"
    killed(path, lambda runner: runner.start(workflow(), "a", deadline_s=60))

    with runner_at(path, 1061.0) as runner:
        until(lambda: runner.runs()[0].status == "cancelled")


def test_the_deadline_of_an_input_outlives_its_process(tmp_path):
    """Its run goes on."""
    path = tmp_path / "runs.db"

    def begin(runner):
        runner.start(workflow(), "a")
        runner.run("a", 1, deadline_s=60)

    killed(path, begin)
    with runner_at(path, 1061.0, workflows=[workflow(quick)], on_code_change="adopt") as runner:
        assert runner.wait("a", GUARD_S) == "idle"
        assert runner.get_workflow("a").cancelled_because(0) == "deadline"


def test_the_durability_of_a_run_outlives_its_process(tmp_path):
    """What is done for it later is stored as it was to be."""

    class Noting(SqliteStore):
        synced = ()

        def append(self, batch):
            self.synced += tuple(each.is_synced for each in batch if each.events)
            return super().append(batch)

    path = tmp_path / "runs.db"

    def begin(runner):
        runner.start(workflow(quick), "a", durability="normal")

    killed(path, begin)
    store = Noting(path, Codec())
    with runner_at(store, 1001.0, workflows=[workflow(quick)]) as runner:
        assert runner.run("a", 1).result(GUARD_S) == {"step": 1}
        assert runner.runs()[0].durability == "normal"
        assert set(store.synced) == {False}


def test_a_run_that_goes_on_keeps_its_deadline(tmp_path):
    """A program that says it anew each time that it begins does not push it off; one that was stopped has another."""
    path = tmp_path / "runs.db"
    for moment in (1000.0, 1030.0):
        with runner_at(path, moment) as runner:
            runner.start(workflow(), "a", if_exists="resume", deadline_s=60, durability="normal")
            runner.run("a", 1, key="once")
            runner.start(workflow(), "a", if_exists="resume")
            with pytest.raises(errors.UsageError, match="durability"):
                runner.start(workflow(), "a", if_exists="resume", durability="full")
            (info,) = runner.runs()
            assert (info.deadline_at, info.durability) == (1060.0, "normal")

    with runner_at(path, 1040.0, recover=False) as runner:
        runner.stop("a", now=True)
        runner.start(workflow(), "a", if_exists="resume", deadline_s=60)
        runner.checkpoint("a")
    with closing(SqliteStore(path, Codec())) as store:
        (info,) = store.list()
        assert (info.deadline_at, info.durability) == (1100.0, "normal")
    with runner_at(path, 1101.0) as runner, pytest.raises(errors.RunEnded, match="cancelled"):
        runner.wait("a", GUARD_S)
        runner.run("a", 2)
