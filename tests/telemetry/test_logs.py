"""`LogObserver`: what is logged of runs, at which level, with which fields, and that no text can forge a line."""

import logging
import re
import threading
from collections.abc import Iterator

import pytest

import treadle as td
from tests.telemetry.plugs import FailingStore
from treadle.telemetry import LogObserver

PATIENCE_S = 20
HOSTILE = "no\nINFO run a: paid\r\x1b[2J\x9b31m\u202e\u2028\ud800\x00"
SAFE = r"no\nINFO run a: paid\r\x1b[2J\x9b31m\u202e\u2028\ud800\x00"


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.all: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.all.append(record)

    @property
    def lines(self) -> list[str]:
        """What they say, without how long anything took."""
        return [re.sub(r" after [\d.]+ s", "", record.getMessage()) for record in self.all]

    def fields(self, start: str) -> list[tuple[object, ...]]:
        """The fields of the records that begin so, without how long anything took."""
        return [
            tuple(getattr(record, name) for name in ("run_id", "component", "attempt", "input"))
            for record in self.all
            if record.getMessage().startswith(start)
        ]


@pytest.fixture
def records() -> Iterator[Records]:
    """What is logged of runs, from DEBUG on."""
    logger = logging.getLogger("treadle.runs")
    handler = Records()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def once_failing() -> td.Workflow:
    """A step that fails at first, another that always does and has a fallback, and one that gives nothing."""
    failed: list[int] = []

    def charge(amount: int) -> int:
        if not failed:
            failed.append(amount)
            raise ValueError("not yet")
        return amount

    def ask(amount: int) -> int:
        raise RuntimeError("nobody there")

    policies = {
        "charge": td.Policy(max_retries=1, base_delay_s=0),
        "ask": td.Policy(fallback=lambda failure: td.ABSENT),
    }
    return td.workflow("paying", steps=[(charge, [ask])], policies=policies)


def test_a_run_is_logged_from_start_to_end(records: Records):
    """Start, attempts, what follows a failure, inputs, idleness and end."""
    with td.Runner(observers=[LogObserver()], executor="inline") as runner:
        runner.start(once_failing(), "order-1")
        runner.run("order-1", 5).result(PATIENCE_S)

    shown = [
        line
        for line, record in zip(records.lines, records.all, strict=True)
        if record.levelno == logging.INFO
    ]
    assert shown == [
        "run order-1: begins (workflow paying)",
        "run order-1: charge failed (attempt 1, input 0): ValueError: not yet; retry",
        "run order-1: charge done (attempt 2, input 0)",
        "run order-1: ask failed (attempt 1, input 0): RuntimeError: nobody there; fallback",
        "run order-1: ask gave nothing (attempt 2, input 0)",
        "run order-1: input 0 done",
        "run order-1: idle",
        "run order-1: stopped",
    ]


def test_how_work_travels_is_for_debugging(records: Records):
    """Inputs as they are taken, bundles as they leave and come back, what is stored."""
    with td.Runner(observers=[LogObserver()]) as runner:
        runner.start(td.workflow("w", steps=[abs]), "a")
        runner.run("a", -1).result(PATIENCE_S)

    shown = [
        line
        for line, record in zip(records.lines, records.all, strict=True)
        if record.levelno == logging.DEBUG
    ]
    assert [line for line in shown if "stored" not in line] == [
        "run a: input 0 accepted",
        "run a: abs dispatched to threads",
        "run a: abs came back from threads",
    ]
    assert "run a: stored (2 events in the batch)" in shown


def test_records_have_fields(records: Records):
    """Each record has all of them, so that any format works; None where it is about something else."""
    with td.Runner(observers=[LogObserver()], executor="inline") as runner:
        runner.start(once_failing(), "order-1")
        runner.run("order-1", 5).result(PATIENCE_S)

    formatter = logging.Formatter("%(run_id)s %(component)s %(attempt)s %(input)s %(seconds)s")
    assert all(formatter.format(record) for record in records.all)
    assert records.fields("run order-1: charge failed") == [("order-1", "charge", 1, 0)]
    assert records.fields("run order-1: input 0 done") == [("order-1", None, None, 0)]
    assert records.fields("run order-1: idle") == [("order-1", None, None, None)]
    (seconds,) = [
        record.seconds  # type: ignore[attr-defined]
        for record in records.all
        if record.getMessage().startswith("run order-1: charge done")
    ]
    assert seconds >= 0


def test_level_and_logger_can_be_chosen(records: Records):
    """Everything but debugging goes there at that level; the usual logger gets nothing."""
    own = logging.Logger("own")  # noqa: LOG001 - one that nobody else has
    own.addHandler(kept := Records())
    with td.Runner(observers=[LogObserver(logging.ERROR, own)]) as runner:
        runner.start(td.workflow("w", steps=[abs]), "a")
        runner.run("a", -1).result(PATIENCE_S)

    assert records.all == []
    assert {record.levelno for record in kept.all} == {logging.ERROR, logging.DEBUG}


def test_nothing_is_made_of_what_nobody_wants(records: Records):
    """Below the logger's level there are no records."""
    logging.getLogger("treadle.runs").setLevel(logging.WARNING)
    with td.Runner(observers=[LogObserver()]) as runner:
        runner.start(once_failing(), "a")
        runner.run("a", -1).result(PATIENCE_S)

    assert records.all == []


def test_a_cancelled_input_and_work_left_behind_are_logged(records: Records):
    """Also where the work cannot be stopped, and nobody waits for it."""
    enter, leave = threading.Event(), threading.Event()

    def wait(number):
        enter.set()
        assert leave.wait(PATIENCE_S)

    with td.Runner(observers=[LogObserver()]) as runner:
        runner.start(td.workflow("w", steps=[wait]), "a")
        runner.run("a", 1)
        assert enter.wait(PATIENCE_S)
        runner.cancel("a", input=0, reason="too late")
        leave.set()

    assert "run a: input 0 cancelled" in records.lines
    assert any(
        re.match("run a: wait (came back from|left behind in) threads", line)
        for line in records.lines
    )


def test_a_crash_and_a_parked_run_are_logged(records: Records):
    """With the error, in one line."""
    store = FailingStore()
    with td.Runner(observers=[LogObserver()], store=store, restarts=td.Restarts(0)) as runner:
        runner.start(td.workflow("w", steps=[abs]), "a")
        store.is_down = True
        with pytest.raises(td.errors.TreadleError):
            runner.run("a", 1)
        store.is_down = False

    assert "run a: crashed: StoreUnavailable: the store is down" in records.lines
    assert "run a: parked" in records.lines


@pytest.mark.parametrize("name", ["treadle.runs", "treadle.runner"])
def test_no_text_can_forge_a_line_or_steer_a_terminal(records: Records, name: str):
    """Neither through the observer nor in the runner's own warning: what is not printable is escaped, all is cut."""

    def fail(text):
        raise ValueError(text)

    logger = logging.getLogger(name)
    logger.addHandler(kept := Records())
    try:
        with td.Runner(observers=[LogObserver()]) as runner:
            runner.start(td.workflow("w", steps=[fail]), "a")
            runner.run("a", HOSTILE).exception(PATIENCE_S)
            runner.run("a", "long " * 1_000_000).exception(PATIENCE_S)
    finally:
        logger.removeHandler(kept)

    assert all(line.isprintable() and len(line) < 700 for line in kept.lines)
    assert f"run a: fail failed (attempt 1, input 0): ValueError: {SAFE}; give_up" in kept.lines


@pytest.mark.parametrize("executor", ["threads", "inline"])
def test_warnings_of_conditions_are_one_line(caplog: pytest.LogCaptureFixture, executor: str):
    """A condition that raises is warned of with its error, escaped; by the runner, and by a bare workflow."""

    def broken(text):
        raise ValueError(text)

    rule = td.rule(name="rule", condition=broken, reaction=abs)
    later = td.rule(name="later", condition=broken, reaction=abs)
    workflow = td.workflow("w", rules=[rule], steps=[str]).add(later, to="str")
    with td.Runner(executor=executor) as runner:
        runner.start(workflow, "a")
        runner.run("a", HOSTILE).exception(PATIENCE_S)
    workflow.react_until_satisfied(HOSTILE)

    assert len(caplog.records) == 4
    assert all(SAFE in record.getMessage() for record in caplog.records)
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_an_error_that_cannot_say_what_it_is_is_logged(records: Records):
    """Its message raises; the line says so."""

    class Mute(Exception):
        def __str__(self):
            raise TypeError("no words")

    LogObserver().on_restart("a", Mute())

    (line,) = records.lines
    assert line.startswith("run a: crashed: ")
    assert "Mute: <the message itself failed with TypeError>" in line
