"""Runs that may have been what took their process: each has its turn."""

import itertools
import threading
from contextlib import closing

import pytest

import treadle as td
from tests.stores.sqlite.places import HandClock
from treadle.codec import Codec
from treadle.interfaces import Append
from treadle.stores.sqlite import SqliteStore

GUARD_S = 5.0
"""Longer than anything here takes."""


class Bodies:
    """Steps that say when they begin, and end when they are told to."""

    def __init__(self, *names):
        self.began = {name: threading.Event() for name in names}
        self.may_end = {name: threading.Event() for name in names}

    def body(self, name):
        """The step: its input says which one it is."""
        self.began[name].set()
        assert self.may_end[name].wait(GUARD_S)
        return name

    def workflow(self):
        """A workflow of it."""
        return td.workflow("w").add(td.step(self.body, name="body"))


def suspects(path, deaths, *names):
    """Runs with work left, with which so many runners were lost; the next claim counts one more."""
    bodies = Bodies(*names)
    runner = td.Runner(store=f"sqlite:///{path}", poll_s=0.01)
    for name in names:
        runner.start(bodies.workflow(), name)
        runner.run(name, name)
        assert bodies.began[name].wait(GUARD_S)
    runner.close(drain_s=0)
    for event in bodies.may_end.values():
        event.set()
    with closing(SqliteStore(path, Codec())) as store:
        for name, number in itertools.product(names, range(deaths)):
            store.claim(f"lost {number}", -1.0, run_id=name)


def until(holds):
    """Wait for something that comes by itself."""
    clock, never = itertools.count(), threading.Event()
    while not holds():
        assert next(clock) < GUARD_S / 0.01, "it did not come"
        never.wait(0.01)


def runner_on(path, bodies, most=2, **options):
    """A runner that finds them."""
    return td.Runner(
        store=f"sqlite:///{path}",
        workflows=[bodies.workflow()],
        poll_s=0.01,
        restarts=td.Restarts(most),
        **options,
    )


def trials(runner):
    """How often each run was on trial, as the store has it."""
    return {info.id: info.trials for info in runner.runs()}


@pytest.mark.slow
def test_suspects_are_begun_one_at_a_time(tmp_path):
    """The second when the first has come further; until then its plan says why it waits."""
    path, bodies = tmp_path / "runs.db", Bodies("a", "b")
    suspects(path, 2, "a", "b")

    with runner_on(path, bodies) as runner:
        assert bodies.began["a"].wait(GUARD_S)
        until(lambda: runner.plan("b"))
        assert "few at a time" in runner.plan("b")[0]["reason"]
        assert trials(runner) == {"a": 1, "b": 0}
        assert not bodies.began["b"].is_set()
        bodies.may_end["a"].set()
        assert bodies.began["b"].wait(GUARD_S)
        bodies.may_end["b"].set()
        assert [runner.wait(id, GUARD_S) for id in "ab"] == ["idle", "idle"]
        assert trials(runner) == {"a": 0, "b": 0}
        assert runner.get_results("b") == {"body": "b"}


def test_a_suspect_that_takes_its_time_does_not_hold_up_the_others(tmp_path):
    """It has a few seconds for itself; after that, nothing that happens counts against it."""
    path, bodies, clock = tmp_path / "runs.db", Bodies("a", "b"), HandClock()
    suspects(path, 2, "a", "b")

    with runner_on(path, bodies, clock=clock) as runner:
        assert bodies.began["a"].wait(GUARD_S)
        assert trials(runner) == {"a": 1, "b": 0}
        clock.at += 60.0
        assert bodies.began["b"].wait(GUARD_S)
        assert trials(runner) == {"a": 0, "b": 1}
        for event in bodies.may_end.values():
            event.set()
        assert [runner.wait(id, GUARD_S) for id in "ab"] == ["idle", "idle"]


def test_a_suspect_takes_inputs_and_cancellations_while_it_waits(tmp_path):
    """An input that it takes does not clear it; what is cancelled is not begun when its turn comes."""
    path, bodies = tmp_path / "runs.db", Bodies("a", "b", "c")
    suspects(path, 2, "a", "b")

    with runner_on(path, bodies) as runner:
        assert bodies.began["a"].wait(GUARD_S)
        ticket = runner.run("b", "c")
        runner.cancel("b", input=0)
        assert not bodies.began["c"].is_set()
        for event in bodies.may_end.values():
            event.set()
        assert ticket.result(GUARD_S) == {"body": "c"}
        assert not bodies.began["b"].is_set()


@pytest.mark.slow
def test_few_have_their_turn_together_before_one_has_it_alone(tmp_path):
    """As long as more than one turn may end badly; who had bad luck once is alone."""
    path, bodies = tmp_path / "runs.db", Bodies("a", "b", "c", "d")
    suspects(path, 2, "a", "b", "c", "d")
    with closing(SqliteStore(path, Codec())) as store:
        for name in "ab":
            info = store.info(name)
            assert info is not None
            unlucky = Append(run_id=name, expected=None, epoch=info.epoch, trials=1)
            assert store.append([unlucky]) == [None]

    with runner_on(path, bodies, most=3) as runner:
        assert all(bodies.began[name].wait(GUARD_S) for name in "cd")
        assert trials(runner) == {"a": 1, "b": 1, "c": 1, "d": 1}
        bodies.may_end["c"].set()
        assert runner.wait("c", GUARD_S) == "idle"
        assert not bodies.began["a"].is_set()
        bodies.may_end["d"].set()
        assert bodies.began["a"].wait(GUARD_S)
        assert trials(runner) == {"a": 2, "b": 1, "c": 0, "d": 0}
        assert not bodies.began["b"].is_set()
        bodies.may_end["a"].set()
        bodies.may_end["b"].set()
        assert runner.wait("b", GUARD_S) == "idle"


def test_a_suspect_that_is_stopped_and_resumed_just_goes_on(tmp_path):
    """Somebody wants it so."""
    path, bodies = tmp_path / "runs.db", Bodies("a", "b")
    suspects(path, 2, "a", "b")

    with runner_on(path, bodies) as runner:
        assert bodies.began["a"].wait(GUARD_S)
        runner.stop("b", now=True)
        runner.resume("b")
        assert bodies.began["b"].wait(GUARD_S)
        for event in bodies.may_end.values():
            event.set()
        assert [runner.wait(id, GUARD_S) for id in "ab"] == ["idle", "idle"]


@pytest.mark.parametrize("deaths", [0, 1])
def test_at_first_all_just_go_on(tmp_path, deaths):
    """Most processes end for other reasons than a run."""
    path, bodies = tmp_path / "runs.db", Bodies("a", "b")
    suspects(path, deaths, "a", "b")

    with runner_on(path, bodies) as runner:
        assert bodies.began["a"].wait(GUARD_S)
        assert bodies.began["b"].wait(GUARD_S)
        assert trials(runner) == {"a": 0, "b": 0}
        for event in bodies.may_end.values():
            event.set()
