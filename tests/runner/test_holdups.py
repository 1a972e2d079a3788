"""Hooks, observers and callbacks that block: named, counted, and said once a minute."""

import logging
import threading
from typing import Any

import pytest

import treadle as td
from tests.runner.running import PATIENCE_S, steps
from treadle.runner.holdups import QUIET_S, Holdups


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Of whom it was said that they take long."""
    return [record.hook for record in caplog.records if hasattr(record, "hook")]


class Blocking(logging.Handler):
    """Blocks its callers until the watchdog has seen that nothing moves any more."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.was_seen = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Let go whoever is blocked."""
        if "has not turned" in record.msg:
            self.was_seen.set()

    def block(self) -> None:
        """Be as slow as that."""
        assert self.was_seen.wait(PATIENCE_S)
        self.was_seen.clear()


@pytest.mark.parametrize("name", ["Hooks.on_dispatch", "transform_runnables", "on_complete"])
def test_a_hook_that_blocks_is_named_and_counted(name: str, caplog: pytest.LogCaptureFixture):
    """It holds up the loop, changes nothing, and its owner hears of it."""
    blocking = Blocking()
    logging.getLogger("treadle.runner").addHandler(blocking)
    called: list[str] = []

    def call(hook: str) -> None:
        called.append(hook)
        if hook == name:
            blocking.block()

    def transform(_: str, ready: list[Any]) -> list[Any]:
        call("transform_runnables")
        return ready

    hooks = td.Hooks(
        on_dispatch=lambda *_: call("Hooks.on_dispatch"), transform_runnables=transform
    )
    with td.Runner(hooks=hooks, executor="inline", lag_s=0.02) as runner:
        runner._runner._core.loop.holdups.limit_s = 0.01
        runner.start(steps(abs), "one", on_complete=lambda *_: call("on_complete"))
        assert runner.run("one", -3).result(timeout=PATIENCE_S) == {"abs": 3}
        assert runner.wait("one", PATIENCE_S) == "idle"
        counts = runner.slow_calls
    logging.getLogger("treadle.runner").removeHandler(blocking)

    assert counts[name] == called.count(name)
    assert told(caplog).count(name) == 1


def test_it_is_said_once_a_minute_and_counted_each_time(caplog: pytest.LogCaptureFixture):
    """Each by itself; what is quick is neither."""
    holdups = Holdups(limit_s=0.25)
    for now in (0.0, 1.0, QUIET_S - 0.1, QUIET_S, QUIET_S + 1.0):
        holdups.note("A.on_idle", 0.3, now)
    holdups.note("B.on_idle", 0.3, 1.0)
    holdups.note("C.on_idle", 0.25, 1.0)

    assert holdups.counts == {"A.on_idle": 5, "B.on_idle": 1}
    assert told(caplog) == ["A.on_idle", "A.on_idle", "B.on_idle"]
    assert "A.on_idle took 0.30 s, and every run of this runner waited for it (4 so far)" in (
        caplog.text
    )


def test_a_runner_whose_hooks_are_quick_counts_nothing():
    """As it should be."""
    with td.Runner(hooks=td.Hooks(on_idle=lambda _: None)) as runner:
        runner._runner._core.loop.holdups.limit_s = PATIENCE_S
        runner.start(steps(abs), "one")
        runner.run("one", -3).result(timeout=PATIENCE_S)
        assert runner.slow_calls == {}
