"""An event loop that does not turn: somebody is named, once, with the stack of its thread."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import treadle as td
from tests.runner.running import PATIENCE_S, until

LAG_S = 0.05


class Heard(logging.Handler):
    """Keeps the warnings of the runner, and lets go whoever waits for one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []
        self.has_come = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning of the watchdog."""
        if "has not turned" in record.msg:
            self.records.append(record)
            self.has_come.set()

    def block(self, x: Any) -> Any:
        """Hold up whatever thread this is until a warning came."""
        assert self.has_come.wait(PATIENCE_S)
        return x

    def of(self, component: str) -> list[logging.LogRecord]:
        """What was said of a component; on a crowded machine any thread may be late, and that is said too."""
        return [each for each in self.records if each.component == component]  # type: ignore[attr-defined]

    async def ablock(self, x: Any) -> Any:
        """The same, in the midst of an async function."""
        return self.block(x)

    def is_pleased(self, x: Any) -> bool:
        """The same, as a condition."""
        self.block(x)
        return x > 0


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What the watchdog says during a test."""
    handler, logger = Heard(), logging.getLogger("treadle.runner")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def watchdogs() -> list[threading.Thread]:
    """The threads of watchdogs that there are."""
    return [each for each in threading.enumerate() if each.name == "treadle watchdog"]


def workflows(heard: Heard) -> dict[str, td.Workflow]:
    """Each blocks the loop in its own way."""
    rule = td.rule(condition=heard.is_pleased, reaction=abs, name="if_pleased")
    return {
        "fetch": td.workflow("w").add(td.step(heard.ablock, name="fetch")),
        "compute": td.workflow("w").add(td.step(heard.block, name="compute")),
        "if_pleased": td.workflow("w").add(rule),
    }


@pytest.mark.parametrize("name", ["fetch", "compute", "if_pleased"])
def test_who_blocks_the_loop_is_named_once_with_a_stack(name: str, heard: Heard):
    """An async function that waits the plain way, a plain function on the loop, a condition."""
    workflow = workflows(heard)[name]
    with td.Runner(executor="inline", lag_s=LAG_S) as runner:
        runner.start(workflow, "one")
        assert runner.run("one", 3).result(timeout=PATIENCE_S) == {name: 3}

        (record,) = heard.of(name)
        assert record.levelno == logging.WARNING
        assert record.seconds == LAG_S  # type: ignore[attr-defined]
        assert record.getMessage().startswith(f"the event loop has not turned for {LAG_S:g} s")
        assert f"it is in '{name}', at Heard." in record.getMessage()
        assert "assert self.has_come.wait(PATIENCE_S)" in (record.stack_info or "")
        assert runner._runner._watchdog.incidents == len(heard.records)


def test_an_observer_that_blocks_is_named(heard: Heard):
    """By its class and the method."""

    class Careless(td.Observer):
        def on_accept(self, run_id: str, input: int) -> None:
            heard.block(input)

    with td.Runner(observers=[Careless()], executor="inline", lag_s=LAG_S) as runner:
        runner.start(td.workflow("w").add(td.step(abs, name="abs")), "one")
        runner.run("one", -3).result(timeout=PATIENCE_S)

    told = [record.getMessage() for record in heard.records]
    assert any("it is in Careless.on_accept, an observer" in text for text in told)


def test_each_incident_is_told(heard: Heard):
    """After the loop has turned again, the next one counts anew."""
    with td.Runner(lag_s=LAG_S) as runner:
        runner.start(workflows(heard)["fetch"], "one")
        for count in (1, 2):
            heard.has_come.clear()
            runner.run("one", 3).result(timeout=PATIENCE_S)
            assert len(heard.of("fetch")) == count


def test_without_work_it_sleeps_and_a_closed_runner_has_none(heard: Heard):
    """The thread is there from the first run on, waits while work waits in a thread, and ends with its runner."""
    gate = threading.Event()
    workflow = td.workflow("w").add(td.step(lambda _: gate.wait(PATIENCE_S), name="wait"))
    before = len(watchdogs())
    with td.Runner(lag_s=LAG_S) as runner:
        dog = runner._runner._watchdog
        assert len(watchdogs()) == before
        runner.start(workflow, "one")
        ticket = runner.run("one", 3)
        turns = dog._answered
        until(lambda: dog._answered > turns + 2)  # it goes on looking, and the loop turns
        gate.set()
        ticket.result(timeout=PATIENCE_S)
        until(lambda: dog._is_asleep)
        assert len(watchdogs()) == before + 1
    assert len(watchdogs()) == before
    assert heard.of("wait") == []


@pytest.mark.parametrize("off", [0, None])
def test_it_can_be_switched_off(off: Any):
    """Then there is no thread."""
    before = len(watchdogs())
    with td.Runner(lag_s=off) as runner:
        runner.start(td.workflow("w").add(td.step(abs, name="abs")), "one")
        runner.run("one", -3).result(timeout=PATIENCE_S)
        assert len(watchdogs()) == before


def test_a_lag_is_a_number_of_seconds():
    """Refused where it is given."""
    with pytest.raises(td.errors.UsageError, match="lag_s=-1 is not a number of seconds"):
        td.Runner(lag_s=-1)
