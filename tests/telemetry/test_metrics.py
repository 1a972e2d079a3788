"""`OpenTelemetryObserver`: the metrics of real runs, as an SDK's reader gets them."""

import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the OpenTelemetry SDK is not installed")

import treadle as td
from tests.telemetry.plugs import FailingStore, SlowStore
from tests.telemetry.recording import PATIENCE_S, Recording
from treadle.stores.memory import MemoryStore


@pytest.fixture
def recorded() -> Iterator[Recording]:
    """An observer whose spans and metrics are kept."""
    recording = Recording()
    yield recording
    recording.close()


def test_attempts_are_counted_by_what_came_of_them(recorded: Recording):
    """Retries and fallbacks too, and inputs by how they ended."""
    seen: list[int] = []

    def flaky(number: int) -> int:
        seen.append(number)
        if number < 0 or len(seen) == 1:
            raise ValueError("no")
        return number

    policies = {
        "flaky": td.Policy(max_retries=1, base_delay_s=0),
        "ask": td.Policy(fallback=0),
    }
    ask = td.step(lambda number: 1 // 0, name="ask")
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[(flaky, [ask])], policies=policies), "a")
        for number in (1, 2, -3):
            runner.run("a", number).exception(PATIENCE_S)

    metrics = recorded.metrics()
    assert metrics["treadle.attempts"] == {
        ("w", "flaky", "failed"): 3,
        ("w", "flaky", "ok"): 2,
        ("w", "ask", "failed"): 2,
        ("w", "ask", "ok"): 2,
    }
    assert metrics["treadle.attempt.duration"] == metrics["treadle.attempts"]
    assert metrics["treadle.retries"] == {("w", "flaky", "retry"): 2, ("w", "ask", "fallback"): 2}
    assert metrics["treadle.inputs"] == {("w", "done"): 2, ("w", "failed"): 1}
    assert metrics["treadle.attempts.in_flight"] == {
        ("w", "flaky", "threads"): 0,
        ("w", "ask", "threads"): 0,
    }


def test_attempts_in_flight_are_seen_while_they_are(recorded: Recording):
    """By component and executor."""
    begun, opened = threading.Barrier(3), threading.Event()

    def wait(number: int) -> int:
        begun.wait(PATIENCE_S)
        assert opened.wait(PATIENCE_S)
        return number

    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[wait]), "a")
        runner.run("a", 1)
        runner.run("a", 2)
        begun.wait(PATIENCE_S)
        out = recorded.metrics()["treadle.attempts.in_flight"]
        opened.set()

    assert out == {("w", "wait", "threads"): 2}
    assert recorded.metrics()["treadle.attempts.in_flight"] == {("w", "wait", "threads"): 0}


@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
def test_what_is_stored_is_measured(recorded: Recording, store: type[MemoryStore]):
    """Each batch, and each event once."""
    with td.Runner(observers=[recorded.observer], store=store()) as runner:
        runner.start(td.workflow("w", steps=[abs]), "a")
        for number in range(3):
            runner.run("a", number)
        runner.wait("a")
        length = runner.checkpoint("a")

    metrics = recorded.metrics()
    assert metrics["treadle.store.events"] == {(): length}
    assert 1 <= metrics["treadle.store.append.duration"][()] <= length


def test_crashes_are_counted(recorded: Recording):
    """Each restart of a run from its log."""
    store = FailingStore()
    with td.Runner(observers=[recorded.observer], store=store) as runner:
        runner.start(td.workflow("w", steps=[abs]), "a")
        for _ in range(2):
            store.fail_once = True
            with pytest.raises(td.errors.TreadleError):
                runner.run("a", 1)
        runner.run("a", 1).result(PATIENCE_S)

    assert recorded.metrics()["treadle.restarts"] == {("w",): 2}


def test_no_label_is_a_run_or_an_input(recorded: Recording):
    """Only names that the program itself gives: a metric stays as large as the program, however much it runs."""
    with td.Runner(observers=[recorded.observer]) as runner:
        for number in range(20):
            runner.start(td.workflow("w", steps=[abs]), f"run {number}")
            runner.run(f"run {number}", number).result(PATIENCE_S)

    assert recorded.labels() == {
        "treadle.workflow",
        "treadle.component",
        "treadle.outcome",
        "treadle.executor",
        "treadle.status",
    }
    assert sum(len(points) for points in recorded.metrics().values()) == 6


def test_nothing_is_kept_of_what_is_over(recorded: Recording):
    """After the runs, the observer knows no attempt, no input and no run any more; of ended ones a bounded number."""
    observer = recorded.observer
    with td.Runner(observers=[observer], executor="inline") as runner:
        for number in range(5):
            runner.start(td.workflow("w", steps=[abs]), f"run {number}")
            runner.run(f"run {number}", number).result(PATIENCE_S)

    assert (observer._runs, observer._out, observer._told) == ({}, {}, {})
    assert len(observer._ended) == 5
    for number in range(2_000):
        observer.on_start(f"other {number}", "w")
        observer.on_end(f"other {number}", "stopped")
    assert len(observer._ended) == 1024
