"""A run that crashes while its store cannot be read."""

import threading

import pytest

import treadle as td
from tests.durability.test_trials import until
from treadle import errors
from treadle.codec import Codec
from treadle.interfaces import Message
from treadle.stores.sqlite import SqliteStore

SIGNAL = {"name": "go", "payload": "yes", "key": None}

GUARD_S = 5.0
"""Longer than anything here takes."""


class Out(BaseException):
    """Not what a condition may raise: its run crashes."""


class Away(SqliteStore):
    """A store whose logs cannot be read for a while."""

    def __init__(self, path):
        super().__init__(path, Codec())
        self.is_away = threading.Event()
        self.reads = 0

    def load(self, run_id):
        self.reads += 1
        if self.is_away.is_set():
            raise errors.StoreUnavailable("not now.")
        return super().load(run_id)


class Flow:
    """A step that takes its time, and a rule that cannot bear a number."""

    def __init__(self):
        self.began, self.may_end = threading.Event(), threading.Event()
        self.calls = []

    def slow(self, number):
        """The step."""
        self.calls.append(number)
        self.began.set()
        assert self.may_end.wait(GUARD_S)
        return -number

    def is_odd(self, number):
        """The condition."""
        if number == 13:
            raise Out
        return number % 2 == 1

    def workflow(self):
        """Both."""
        rule = td.rule(name="odd", condition=self.is_odd, reaction=lambda number: number)
        return td.workflow("w").add(td.step(self.slow, name="slow")).add(rule)


@pytest.mark.slow
def test_a_run_that_crashes_waits_for_its_store(tmp_path):
    """That the store is away counts as no crash; what was out comes back, and nothing is done twice."""
    store, flow = Away(tmp_path / "runs.db"), Flow()
    with td.Runner(store=store, restarts=td.Restarts(1)) as runner:
        runner.start(flow.workflow(), "a")
        ticket = runner.run("a", 2)
        assert flow.began.wait(GUARD_S)
        store.is_away.set()
        with pytest.raises(errors.PlugError, match="crashed over this"):
            runner.run("a", 13)
        until(lambda: store.reads > 1)
        flow.may_end.set()
        with pytest.raises(errors.StoreUnavailable, match="goes on when its log can be read"):
            runner.run("a", 3)
        assert [info.status for info in runner.runs()] == ["running"]

        store.is_away.clear()

        assert ticket.result(GUARD_S) == {"slow": -2}
        assert runner.wait("a", GUARD_S) == "idle"
        assert flow.calls == [2]
        assert runner.run("a", 3).result(GUARD_S) == {"slow": -3, "odd": 3}


def test_a_runner_closes_although_a_run_waits_for_its_log(tmp_path):
    """The next runner does the rest."""
    store, flow = Away(tmp_path / "runs.db"), Flow()
    runner = td.Runner(store=store)
    runner.start(flow.workflow(), "a")
    ticket = runner.run("a", 2)
    assert flow.began.wait(GUARD_S)
    store.is_away.set()
    with pytest.raises(errors.PlugError):
        runner.run("a", 13)
    runner.close(drain_s=0)
    flow.may_end.set()
    assert isinstance(ticket.exception(GUARD_S), errors.RunEnded)

    with td.Runner(store=f"sqlite:///{store.path}", workflows=[flow.workflow()]) as after:
        assert after.wait("a", GUARD_S) == "idle"
        assert after.get_results("a") == {"slow": -2}


class Slow(SqliteStore):
    """A store that takes as long as it is told to."""

    def __init__(self, path):
        super().__init__(path, Codec())
        self.may_write, self.waits = threading.Event(), threading.Event()
        self.may_write.set()

    def append(self, batch):
        if not self.may_write.is_set():
            self.waits.set()
            assert self.may_write.wait(GUARD_S)
        return super().append(batch)


@pytest.mark.parametrize(("durability", "seen"), [("full", {}), ("relaxed", {"slow": -2})])
def test_what_is_not_stored_yet_is_not_seen(tmp_path, durability, seen):
    """A result that a crash could take back is shown only where that was asked for."""
    store, flow = Slow(tmp_path / "runs.db"), Flow()
    with td.Runner(store=store) as runner:
        runner.start(flow.workflow(), "a", durability=durability)
        ticket = runner.run("a", 2)
        assert flow.began.wait(GUARD_S)
        runner.checkpoint("a")
        store.may_write.clear()
        flow.may_end.set()
        assert store.waits.wait(GUARD_S)

        assert runner.get_results("a") == seen
        assert runner.get_workflow("a").is_satisfied() == bool(seen)
        assert len(runner.get_workflow("a").inputs()) == 1

        store.may_write.set()
        assert ticket.result(GUARD_S) == {"slow": -2}
        assert runner.get_results("a") == {"slow": -2}


class Inbox(Slow):
    """The same, and it counts how often its inbox was read."""

    reads = 0

    def waiting(self, owner, *, limit=100):
        found = super().waiting(owner, limit=limit)
        self.reads += 1
        return found


def test_what_a_relaxed_run_was_told_before_it_crashed_it_is_not_told_again(tmp_path):
    """The store does not know yet that the signal was taken: it is in the inbox still, and answers one wait only."""
    store, flow = Inbox(tmp_path / "runs.db"), Flow()
    rule = td.rule(name="odd", condition=flow.is_odd, reaction=lambda number: number)
    workflow = td.workflow("w").add(td.wait_for("go")).add(rule)
    with td.Runner(store=store, poll_s=0.01) as runner:
        runner.start(workflow, "a", durability="relaxed")
        ticket = runner.run("a", 2)
        runner.checkpoint("a")
        store.may_write.clear()
        store.post(Message(id="m", run_id="a", kind="signal", body=store.codec.encode(SIGNAL)))
        assert ticket.result(GUARD_S) == {"go": "yes"}
        with pytest.raises(errors.PlugError, match="crashed over this"):
            runner.run("a", 13)
        reads = store.reads
        until(lambda: store.reads > reads + 2)
        store.may_write.set()

        runner.run("a", 4)
        runner.checkpoint("a")

        assert [wait.input for wait in runner.waiting()] == [1]
        runner.signal("a", "go", "no")
        assert runner.wait("a", GUARD_S) == "idle"
