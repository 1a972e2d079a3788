"""Slow planning: the condition that was slow is named, and not its neighbours."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import treadle as td
from tests.runner.running import PATIENCE_S
from treadle.engine.plan import Planning, Stopwatch, TimedPlanning
from treadle.runner import slowness

SEEN_S = 0.12
"""The watchdog sees the loop stand still after that long: longer than planning may take."""


class Patient(logging.Handler):
    """Conditions that block until the watchdog has seen that nothing moves any more."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.was_seen = threading.Event()
        self.told: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Let go whoever is blocked; keep what is said of slowness."""
        if "has not turned" in record.msg:
            self.was_seen.set()
        elif "held up every run" in record.msg:
            self.told.append(record)

    def is_slow(self, x: Any) -> bool:
        """Hold, after a long while."""
        assert self.was_seen.wait(PATIENCE_S)
        self.was_seen.clear()
        return x > 0

    def is_quick(self, x: Any) -> bool:
        """Hold at once."""
        return x > 0

    def slow_key(self, x: Any) -> Any:
        """A key, after a long while."""
        self.is_slow(x)
        return x


@pytest.fixture
def patient() -> Iterator[Patient]:
    """Conditions, and what is said of them."""
    handler, logger = Patient(), logging.getLogger("treadle.runner")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def asking(patient: Patient) -> td.Workflow:
    """Two rules, of which one is slow."""
    return (
        td.workflow("w")
        .add(td.rule(abs, name="quick", condition=patient.is_quick))
        .add(td.rule(abs, name="slow", condition=patient.is_slow))
    )


@pytest.mark.slow
def test_the_slow_condition_is_named(patient: Patient):
    """The first time all that may be meant are; then it alone."""
    with td.Runner(lag_s=SEEN_S) as runner:
        runner.start(asking(patient), "one")
        for _ in range(3):
            assert runner.run("one", 1).result(timeout=PATIENCE_S) == {"quick": 1, "slow": 1}

    named = [getattr(record, "component", None) for record in patient.told]
    texts = [record.getMessage() for record in patient.told]
    assert named == [None, "slow", "slow"]
    assert (
        "planning, which asks 'quick', 'slow' (next time the slow one is named), took" in (texts[0])
    )
    assert texts[1].startswith("run one: the condition or key function of 'slow' took 0.")


@pytest.mark.slow
def test_the_slow_condition_is_named_in_line_too(patient: Patient):
    """The first time nobody is, since it may have been the work itself; a slow step is no matter."""
    workflow = (
        td.workflow("w")
        .add(td.step(abs, name="first"))
        .add(td.rule(abs, name="slow", condition=patient.is_slow), to="first")
        .add(td.rule(abs, name="quick", condition=patient.is_quick), to="first")
    )
    with td.Runner(executor="inline", lag_s=SEEN_S) as runner:
        runner.start(workflow, "one")
        for _ in range(3):
            assert runner.run("one", -1).result(timeout=PATIENCE_S) == {"quick": 1, "slow": 1}

    assert [getattr(record, "component", None) for record in patient.told] == ["slow", "slow"]


@pytest.mark.slow
def test_a_slow_key_function_is_named(patient: Patient):
    """It is asked in planning as conditions are."""
    workflow = td.workflow("w").add(
        td.accumulator(lambda n, x: n + x, initial=0, name="sums", key=patient.slow_key)
    )
    with td.Runner(lag_s=SEEN_S) as runner:
        runner.start(workflow, "one")
        for _ in range(2):
            runner.run("one", 1).result(timeout=PATIENCE_S)

    assert [getattr(record, "component", None) for record in patient.told] == [None, "sums"]


def test_quick_planning_is_not_timed():
    """No stopwatch is made before there is a reason."""
    workflow = asking(Patient())
    with td.Runner(executor="inline") as runner:
        quick = td.workflow("w").add(td.rule(abs, name="quick", condition=lambda x: x > 0))
        runner.start(quick, "one")
        runner.run("one", 1).result(timeout=PATIENCE_S)
        with runner.get_workflow("one").inspect() as (memory, _):
            assert memory.program.stopwatch is None
    assert slowness.asked_in(workflow_program(workflow)) == ["quick", "slow"]


def workflow_program(workflow: td.Workflow) -> Any:
    """The graph of a workflow."""
    with workflow.inspect() as (memory, _):
        return memory.program


def test_timing_changes_no_answer():
    """Answers, and what was raised, are the same with a clock that somebody brings."""
    ticks = iter(range(100))

    def refuse(_: Any) -> bool:
        raise ValueError("no")

    def made() -> td.Workflow:
        return (
            td.workflow("w")
            .add(td.rule(abs, name="holds", condition=lambda x: x > 0))
            .add(td.rule(abs, name="fails", condition=refuse))
            .add(td.accumulator(lambda n, x: n + x, initial=0, name="sums", key=lambda x: x % 2))
        )

    timed = made().plan_eagerly(3)
    watch = workflow_program(timed).stopwatch = Stopwatch(lambda: float(next(ticks)))
    timed = timed.react_until_satisfied().react_until_satisfied(4)
    plain = made().react_until_satisfied(3).react_until_satisfied(4)

    assert timed.results(raise_on_failure=False) == plain.results(raise_on_failure=False)
    assert watch.seconds_since(0.0) == {"holds": 1.0, "fails": 1.0, "sums": 1.0}
    assert watch.seconds_since(99.0) == {}
    assert issubclass(TimedPlanning, Planning)
