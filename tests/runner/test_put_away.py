"""Idle runs are put away to the store and come back when they are touched, as they were."""

import gc
import random
import tracemalloc
from typing import Any

import pytest

import treadle as td
from tests.runner.running import (
    PATIENCE_S,
    Body,
    FaultyStore,
    Flaky,
    increment,
    log_of,
    of_kind,
    plus,
    status_of,
    steps,
)
from treadle import errors
from treadle.model.events import Defined
from treadle.stores.memory import MemoryStore

MOST_BYTES = 10 * 1024
"""What one idle run may hold in memory, its log in the store apart."""


class Writer(MemoryStore):
    """A store whose calls are made in the writer's thread."""

    is_instant = False


STORES = {"instant": MemoryStore, "writer": Writer}


def account() -> td.Workflow:
    """A sum over inputs, and a step that says how large it is, in words of the run's own context."""

    def say(total: int, *, unit: str = td.context("unit", default="")) -> str:
        return f"{total} {unit}"

    workflow = td.workflow("account", components=[td.accumulator(plus, initial=0, name="total")])
    return workflow.add(td.step(say), to="total")


@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_runs_come_back_as_they_were(store: Any):
    """Fifty runs, two of them warm, touched in random order: each keeps its state, context and policies."""
    rng, sums = random.Random(7), dict.fromkeys(range(50), 0)
    with td.Runner(store=store(), keep_warm=2) as runner:
        for n in sums:
            unit = {"say": {"unit": f"of {n}"}}
            runner.start(account(), str(n), run_context=unit, policies=td.Policy(max_retries=n))
        for _ in range(200):
            n, value = rng.randrange(50), rng.randrange(100)
            sums[n] += value
            assert runner.run(str(n), value).result(PATIENCE_S) == {"say": f"{sums[n]} of {n}"}

        for n, total in sums.items():
            workflow = runner.get_workflow(str(n))
            if workflow.inputs():
                assert workflow.states() == {"total": {None: total}}
                assert len(of_kind(runner, str(n), Defined)) == 1
            assert status_of(runner, str(n)) == "idle"


def test_policies_come_back_with_the_run():
    """What was given at its start holds after it was away, and for each input anew."""
    flaky = Flaky()
    workflow = steps(td.step(flaky, name="body"))
    with td.Runner(keep_warm=1) as runner:
        for id, count in (("a", 1), ("b", 2), ("c", 0)):
            runner.start(workflow, id, policies=td.Policy(max_retries=count))
        for id, count in (("a", 2), ("b", 3), ("c", 1), ("b", 3), ("a", 2)):
            flaky.calls, flaky.errors = [], [ValueError()] * 9
            runner.run(id, 1).exception(PATIENCE_S)

            assert len(flaky.calls) == count


TOUCHES: dict[str, Any] = {
    "results": lambda runner: runner.get_results("0") == {"increment": 1},
    "workflow": lambda runner: len(runner.get_workflow("0").inputs()) == 1,
    "wait": lambda runner: runner.wait("0") == "idle",
    "checkpoint": lambda runner: runner.checkpoint("0") == 3,
    "plan": lambda runner: runner.plan("0") == [],
    "story": lambda runner: isinstance(runner.story("0"), list),
    "resume": lambda runner: runner.resume("0") == "0",
    "stop": lambda runner: runner.stop("0") == "stopped",
    "forget": lambda runner: runner.stop("0", persist=False) == "stopped",
    "add": lambda runner: runner.add("0", td.step(lambda x: x, name="more")) is None,
    "remove": lambda runner: runner.remove("0", "increment") is None,
    "cancel": lambda runner: runner.cancel("0") is None,
    "cancel of an input": lambda runner: runner.cancel("0", input=0) is None,
    "listing": lambda runner: [each.position for each in runner.runs()][:1] == [3],
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_every_call_works_on_a_run_that_is_away(touch: Any):
    """It is brought back where that is needed."""
    with td.Runner(keep_warm=1) as runner:
        for n in range(3):
            runner.start(steps(), str(n))
        for n in range(3):
            runner.run(str(n), n).result(PATIENCE_S)

        assert touch(runner)
        assert runner.run("1", 1).result(PATIENCE_S) == {"increment": 2}


def test_what_is_not_idle_stays():
    """A run that works is not put away, however many are idle."""
    body = Body(is_open=False)
    with td.Runner(keep_warm=1) as runner:
        runner.start(steps(td.step(body, name="body")), "busy")
        ticket = runner.run("busy", 1)
        body.wait_for_calls()
        for n in range(5):
            runner.start(steps(), str(n))
            runner.run(str(n), n).result(PATIENCE_S)
        body.let_go()

        assert ticket.result(PATIENCE_S) == {"body": 1}
        assert body.calls == [1]


def test_a_run_that_is_kept_nowhere_stays():
    """With `durability="none"`, or without a store, there is nowhere to put it."""
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"store": None}, {}),
        ({}, {"durability": "none"}),
    ]
    for options, started in cases:
        with td.Runner(keep_warm=1, **options) as runner:
            for n in range(5):
                runner.start(account(), str(n), **started)
                runner.run(str(n), n).result(PATIENCE_S)
            for n in range(5):
                assert runner.run(str(n), 1).result(PATIENCE_S) == {"say": f"{n + 1} "}


def test_completion_is_told_by_a_run_that_was_away():
    """`on_complete` outlives it."""
    told: list[Any] = []
    with td.Runner(keep_warm=1, executor="inline") as runner:
        for n in range(3):
            runner.start(
                account(), str(n), on_complete=lambda id, w: told.append((id, w.results()))
            )
        for n in (0, 1, 2, 0):
            runner.run(str(n), 5).result(PATIENCE_S)
            runner.wait(str(n))

    assert told == [
        ("0", {"say": "5 "}),
        ("1", {"say": "5 "}),
        ("2", {"say": "5 "}),
        ("0", {"say": "10 "}),
    ]


def test_a_run_that_cannot_come_back_is_parked():
    """A log that is damaged meanwhile concerns its run only, and its caller is told."""
    store = FaultyStore()
    with td.Runner(store=store, keep_warm=1) as runner:
        for id in ("a", "b", "c"):
            runner.start(steps(), id)
            runner.run(id, 1).result(PATIENCE_S)
        store._runs["a"].events.pop(1)
        with pytest.raises(errors.RunEnded, match="unreadable_log"):
            runner.run("a", 2)

        assert status_of(runner, "a") == "parked"
        assert runner.run("b", 2).result(PATIENCE_S) == {"increment": 3}


@pytest.mark.parametrize("retain", ["all", "results", 0, 1])
@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_what_is_folded_comes_back_too(store: Any, retain: Any):
    """A run that forgets keeps its state, its keys and its positions, away or with another runner."""
    kept = store()
    total = td.accumulator(plus, initial=0, name="total")
    workflow = td.workflow("sum", components=[total], retain=retain)
    with td.Runner(store=kept, keep_warm=1, executor="inline") as runner:
        for id in ("a", "b"):
            runner.start(workflow, id)
        for _ in range(120):
            for id in ("a", "b"):
                last = runner.run(id, 1).result(PATIENCE_S)
        assert last == {"total": 120}
        position = runner.checkpoint("a")
    with td.Runner(store=kept, workflows=[workflow], keep_warm=1) as runner:
        runner.resume("a")

        assert runner.run("a", 1).result(PATIENCE_S) == {"total": 121}
        assert runner.checkpoint("a") == position + 2
        assert len(kept.load("a").events) == position + 2 or retain in {0, 1}
        assert len(kept.load("a").events) < 120 or retain not in {0, 1}


def test_the_log_is_the_same_before_and_after():
    """Being away leaves no trace in it."""
    with td.Runner(keep_warm=1, executor="inline") as runner:
        runner.start(steps(), "a")
        runner.start(steps(), "b")
        for n in range(3):
            runner.run("a", n).result(PATIENCE_S)
            before = log_of(runner, "a")
            runner.run("b", n).result(PATIENCE_S)
            assert log_of(runner, "a") == before

        assert [type(event).__name__ for event in before] == [
            "Defined",
            *["InputAccepted", "Applied"] * 3,
        ]


class Forgetful(MemoryStore):
    """Keeps all events of all runs in one common list: what a run costs beside its log."""

    def _append(self, append: Any) -> Any:
        kept = self._runs[append.run_id]
        kept.position += len(append.events)
        return None


@pytest.mark.slow
def test_an_idle_run_costs_little():
    """Two thousand of them, each with an input behind it: what the runner itself holds of each."""
    template = steps((increment, [increment_again]))
    with td.Runner(store=Forgetful(), keep_warm=10, executor="inline") as runner:
        for n in range(100):
            runner.run(runner.start(template, f"warm {n}"), n).result(PATIENCE_S)
        gc.collect()
        tracemalloc.start()
        for n in range(2_000):
            runner.run(runner.start(template, str(n)), n).result(PATIENCE_S)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert held / 2_000 < MOST_BYTES
        assert len(runner.runs()) == 2_100


def increment_again(x: Any) -> Any:
    """One more."""
    return x + 1


def test_a_run_that_waits_for_its_next_attempt_stays_where_nobody_would_wake_it():
    """However many others are idle: the memory store has no keeper that looks for what is due."""

    def fails_once(x: Any, *, attempt: int = td.attempt()) -> Any:
        if attempt == 1:
            raise ConnectionError("once")
        return x

    once = td.Policy(max_retries=1, base_delay_s=0.05, backoff="linear")
    workflow = steps(td.step(fails_once, name="step")).with_policies({"step": once})
    with td.Runner(keep_warm=1) as runner:
        runner.start(workflow, "waits")
        ticket = runner.run("waits", 1)
        for number in range(5):
            runner.start(steps(), f"idle {number}")
        assert ticket.result(PATIENCE_S) == {"step": 1}
