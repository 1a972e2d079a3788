"""`OpenTelemetryObserver`: the spans of real runs, as an SDK's exporter gets them."""

import asyncio
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the OpenTelemetry SDK is not installed")

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext, StatusCode

import treadle as td
from tests.telemetry.plugs import Deaf, FailingStore, SlowStore
from tests.telemetry.recording import PATIENCE_S, Recording
from treadle.schedulers import ChainScheduler
from treadle.stores.memory import MemoryStore
from treadle.telemetry import OpenTelemetryObserver


@pytest.fixture
def recorded() -> Iterator[Recording]:
    """An observer whose spans and metrics are kept."""
    recording = Recording()
    yield recording
    recording.close()


def double(number: int) -> int:
    """Give twice the number."""
    return number * 2


async def increase(number: int) -> int:
    """Give the next number."""
    return number + 1


class Gate:
    """A body that says when it has begun, and waits until it may end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.opened = threading.Event()

    def wait(self, value: Any) -> Any:
        """Give the value when the gate is open."""
        self.begun.set()
        assert self.opened.wait(PATIENCE_S)
        return value


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """What a span says of itself."""
    return dict(span.attributes or {})


def parent_of(span: ReadableSpan) -> int | None:
    """The id of the span above it."""
    return None if span.parent is None else span.parent.span_id


def context_of(span: ReadableSpan) -> SpanContext:
    """Which span of which trace it is."""
    context = span.get_span_context()
    assert context is not None
    return context


def id_of(span: ReadableSpan) -> int:
    """Its own id."""
    return context_of(span).span_id


def trace_of(span: ReadableSpan) -> int:
    """Which trace it is in."""
    return context_of(span).trace_id


def linked(span: ReadableSpan) -> list[int]:
    """The ids of the spans it links to."""
    return [link.context.span_id for link in span.links]


def test_an_input_is_a_trace_of_its_attempts(recorded: Recording):
    """A span where it was accepted, below it one for each attempt and one for the whole; the run's own at its end."""
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("numbers", steps=[(double, [increase])]), "a")
        runner.run("a", 1).result(PATIENCE_S)

    names = [span.name for span in recorded.spans()]
    assert sorted(names[:-1]) == [
        "attempt double",
        "attempt increase",
        "input numbers",
        "submit numbers",
    ]
    assert names[-1] == "run numbers"
    root, whole = recorded.span("submit"), recorded.span("input")
    children = [*recorded.spans("attempt"), whole]
    assert parent_of(root) is None
    assert {parent_of(span) for span in children} == {id_of(root)}
    assert {trace_of(span) for span in children} == {trace_of(root)}
    assert attributes(whole) == {
        "treadle.run_id": "a",
        "treadle.workflow": "numbers",
        "treadle.input": 0,
        "treadle.status": "done",
    }
    run = recorded.span("run numbers")
    assert parent_of(run) is None
    assert linked(run) == [id_of(root)]
    assert attributes(run) == {
        "treadle.run_id": "a",
        "treadle.workflow": "numbers",
        "treadle.status": "stopped",
        "treadle.inputs_finished": 1,
    }


def test_an_attempt_says_what_it_was(recorded: Recording):
    """All its attributes; without a failure it has no status."""
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("numbers", components=[td.map(double)]), "a")
        runner.run("a", [5]).result(PATIENCE_S)

    span = recorded.span("attempt", scope="0.0")
    told = attributes(span)
    assert told.pop("treadle.seconds") >= 0
    assert told == {
        "treadle.run_id": "a",
        "treadle.workflow": "numbers",
        "treadle.component": "double",
        "treadle.node": "double",
        "treadle.input": 0,
        "treadle.scope": "0.0",
        "treadle.attempt": 1,
        "treadle.executor": "threads",
        "treadle.outcome": "ok",
    }
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
def test_times_are_those_of_the_work(recorded: Recording, store: type[MemoryStore]):
    """Spans are made late, and say when it was: input around attempts, one step after the other."""
    with td.Runner(observers=[recorded.observer], store=store()) as runner:
        runner.start(td.workflow("numbers", steps=[(double, [increase])]), "a")
        runner.run("a", 1).result(PATIENCE_S)

    root, whole, run = recorded.span("submit"), recorded.span("input"), recorded.span("run")
    first, second = recorded.span("attempt double"), recorded.span("attempt increase")
    moments = [
        run.start_time,
        root.start_time,
        root.end_time,
        whole.start_time,
        first.start_time,
        first.end_time,
        second.start_time,
        second.end_time,
        whole.end_time,
        run.end_time,
    ]
    assert moments == sorted(moments)  # type: ignore[type-var]
    assert root.start_time == root.end_time == whole.start_time


def test_no_span_is_open_while_work_is_out(recorded: Recording):
    """All that was begun has ended: a process that dies here leaves no trace without its root."""
    gate, open_spans = Gate(), set[str]()

    class Watch(SpanProcessor):
        def on_start(self, span, parent_context=None):
            open_spans.add(span.name)

        def on_end(self, span):
            open_spans.discard(span.name)

    recorded.tracers.add_span_processor(Watch())
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("waiting", steps=[td.step(gate.wait, name="wait")]), "a")
        runner.run("a", 1)
        assert gate.begun.wait(PATIENCE_S)
        assert (open_spans, [span.name for span in recorded.spans()]) == (set(), ["submit waiting"])
        gate.opened.set()

    assert open_spans == set()
    assert len(recorded.spans()) == 4


def test_retries_are_spans_of_their_own(recorded: Recording):
    """Each failed attempt is an error with an exception event, and says what followed."""
    tried: list[int] = []

    def flaky(number: int) -> int:
        tried.append(number)
        if len(tried) < 3:
            raise ValueError("not yet\ud800")
        return number

    policies = {"flaky": td.Policy(max_retries=2, base_delay_s=0)}
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[flaky], policies=policies), "a")
        runner.run("a", 1).result(PATIENCE_S)

    spans = sorted(recorded.spans("attempt"), key=lambda span: attributes(span)["treadle.attempt"])
    assert [attributes(span)["treadle.outcome"] for span in spans] == ["failed", "failed", "ok"]
    assert [attributes(span).get("treadle.verdict") for span in spans] == ["retry", "retry", None]
    assert [attributes(span).get("error.type") for span in spans] == ["ValueError"] * 2 + [None]
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR] * 2 + [
        StatusCode.UNSET
    ]
    assert spans[0].status.description == r"ValueError: not yet\ud800"
    (event,) = spans[0].events
    told = dict(event.attributes or {})
    assert event.name == "exception"
    assert event.timestamp == spans[0].end_time
    assert told["exception.type"] == "ValueError"
    assert told["exception.message"] == r"not yet\ud800"
    assert "in test_retries_are_spans_of_their_own.<locals>.flaky\n" in str(
        told["exception.stacktrace"]
    )
    assert recorded.span("input", status="done").status.status_code is StatusCode.UNSET


def test_a_failure_is_told_with_its_causes(recorded: Recording):
    """As far as anybody could read it: a long message and many causes are cut."""

    def fail(number: int) -> int:
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            group = ExceptionGroup("many", [ValueError(f"fault {n}") for n in range(500)])
            raise RuntimeError("long " * 5_000, group) from cause

    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[fail]), "a")
        runner.run("a", 1).exception(PATIENCE_S)

    span = recorded.span("attempt fail", outcome="failed", verdict="give_up")
    told = dict(span.events[0].attributes or {})
    assert len(str(told["exception.message"])) <= 8_000
    assert len(str(told["exception.stacktrace"])) <= 8_000
    assert len(str(span.status.description)) < 600
    assert recorded.span("input", status="failed").status.status_code is StatusCode.ERROR


def test_causes_follow_in_the_stack_trace(recorded: Recording):
    """The error first, then what led to it."""

    def fail(number: int) -> int:
        try:
            raise KeyError("lost")
        except KeyError as cause:
            raise RuntimeError("no number") from cause

    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[fail]), "a")
        runner.run("a", 1).exception(PATIENCE_S)

    (event,) = recorded.span("attempt fail").events
    text = str((event.attributes or {})["exception.stacktrace"])
    assert text.index("RuntimeError: no number") < text.index("caused by:") < text.index("KeyError")


def test_fallbacks_are_attempts_too(recorded: Recording):
    """A function runs somewhere; a value is there at once, and ran nowhere."""

    def fail(number: int) -> int:
        raise RuntimeError("no")

    policies = {
        "value": td.Policy(fallback=7),
        "function": td.Policy(fallback=lambda failure: 8),
    }
    steps = [td.step(fail, name="value"), td.step(fail, name="function")]
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=steps, policies=policies), "a")
        assert runner.run("a", 1).result(PATIENCE_S) == {"value": 7, "function": 8}

    assert len(recorded.spans("attempt", verdict="fallback", outcome="failed")) == 2
    value = recorded.span("attempt value", attempt=2, outcome="ok")
    function = recorded.span("attempt function", attempt=2, outcome="ok")
    assert "treadle.executor" not in attributes(value)
    assert value.start_time == value.end_time
    assert attributes(function)["treadle.executor"] == "threads"


def test_a_fallback_that_asks_for_another_try(recorded: Recording):
    """Its wish, and what came of it, went out under one number: both are told of, and nothing stays in flight."""

    def ask(number: int, *, model: str = td.context("model", default="large")) -> str:
        if model == "large":
            raise RuntimeError("busy")
        return model

    policies = {"ask": td.Policy(fallback=lambda failure: td.RetryWith(model="small"))}
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[ask], policies=policies), "a")
        assert runner.run("a", 1).result(PATIENCE_S) == {"ask": "small"}

    spans = recorded.spans("attempt ask", attempt=2)
    assert [attributes(span).get("treadle.verdict") for span in spans] == ["dropped", None]
    assert (spans[0].start_time or 0) < (spans[1].start_time or 0)
    assert recorded.metrics()["treadle.attempts.in_flight"] == {("w", "ask", "threads"): 0}


def test_what_gives_nothing_is_skipped(recorded: Recording):
    """ABSENT is no failure."""
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[td.step(lambda _: td.ABSENT, name="none")]), "a")
        runner.run("a", 1).result(PATIENCE_S)

    assert recorded.span("attempt none", outcome="skipped").status.status_code is StatusCode.UNSET


def test_what_came_from_the_cache_says_so(recorded: Recording):
    """It is an attempt in which nothing was called."""
    workflow = td.workflow("numbers", steps=[double])
    workflow = workflow.with_policies({"double": td.Policy(cache=td.Cache())})
    with td.Runner(observers=[recorded.observer]) as runner:
        for id in "ab":
            runner.start(workflow, id)
            runner.run(id, 1).result(PATIENCE_S)

    computed, given = (attributes(recorded.span("attempt double", run_id=id)) for id in ("a", "b"))
    assert "treadle.cached" not in computed
    assert given["treadle.cached"] == "computed 0 s ago by run 'a'"
    assert "treadle.seconds" not in given


def test_work_that_is_refused_ran_nowhere(recorded: Recording):
    """An open circuit breaker: an attempt that failed without an executor."""

    def fail(number: int) -> int:
        raise RuntimeError("no")

    breaker = td.CircuitBreaker(failures=1, reset_s=60, when_open="fail")
    policies = {"fail": td.Policy(circuit_breaker=breaker)}
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[fail], policies=policies), "a")
        runner.run("a", 1).exception(PATIENCE_S)
        runner.run("a", 2).exception(PATIENCE_S)

    refused = attributes(recorded.span("attempt fail", input=1))
    assert refused["error.type"] == "treadle.errors.CircuitOpen"
    assert "treadle.executor" not in refused


def test_a_timeout_is_a_failure(recorded: Recording):
    """Told as what it is for the run, not as the cancellation that the executor answers with."""
    gate = Gate()
    step = td.step(gate.wait, name="wait")
    with td.Runner(
        observers=[recorded.observer], policies={"*": td.Policy(timeout_s=0.01)}
    ) as runner:
        runner.start(td.workflow("w", steps=[step]), "a")
        runner.run("a", 1).exception(PATIENCE_S)
    gate.opened.set()

    span = recorded.span("attempt wait", outcome="failed", verdict="give_up")
    assert attributes(span)["error.type"] == "treadle.errors.TimedOut"


def test_cancelled_work_is_no_error(recorded: Recording):
    """Its attempt is dropped, its input is cancelled; what the abandoned body gives later is nobody's attempt."""
    gate = Gate()
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[td.step(gate.wait, name="wait")]), "a")
        runner.run("a", 1)
        assert gate.begun.wait(PATIENCE_S)
        runner.cancel("a", input=0)
        gate.opened.set()

    attempt = recorded.span("attempt wait", outcome="cancelled", verdict="dropped")
    assert attempt.status.status_code is StatusCode.UNSET
    assert recorded.span("input", status="cancelled").status.status_code is StatusCode.UNSET
    assert recorded.metrics()["treadle.attempts.in_flight"] == {("w", "wait", "threads"): 0}


def test_what_is_left_behind_is_told_of(recorded: Recording):
    """A runner that closes while an executor owes it an answer: the attempt's span ends there."""
    with td.Runner(observers=[recorded.observer], executor=Deaf(), drain_s=0) as runner:
        runner.start(td.workflow("w", steps=[(double, [abs])]), "a", scheduler=ChainScheduler())
        runner.run("a", 1)

    span = recorded.span("attempt")
    assert attributes(span)["treadle.outcome"] == "left_behind"
    assert attributes(span)["treadle.verdict"] == "dropped"
    assert set(recorded.metrics()["treadle.attempts.in_flight"].values()) == {0}
    assert len(recorded.spans("run", status="stopped")) == 1


def test_a_chain_is_told_link_by_link(recorded: Recording):
    """One bundle, three attempts, one behind the other."""
    chain = td.workflow("chain", steps=[(double, [(abs, [str])])])
    with td.Runner(observers=[recorded.observer], scheduler=ChainScheduler()) as runner:
        runner.start(chain, "a")
        assert runner.run("a", -2).result(PATIENCE_S) == {"str": "4"}

    spans = [recorded.span(f"attempt {name}", outcome="ok") for name in ("double", "abs", "str")]
    for before, after in pairwise(spans):
        assert before.end_time == after.start_time
    assert recorded.metrics()["treadle.attempts.in_flight"] == {
        ("chain", name, "threads"): 0 for name in ("double", "abs", "str")
    }


def test_a_chain_that_breaks_has_no_attempts_behind_the_break(recorded: Recording):
    """What was never reached is not told of, and not in flight any more."""

    def fail(number: int) -> int:
        raise RuntimeError("no")

    chain = td.workflow("chain", steps=[(double, [(fail, [str])])])
    with td.Runner(observers=[recorded.observer], scheduler=ChainScheduler()) as runner:
        runner.start(chain, "a")
        runner.run("a", 1).exception(PATIENCE_S)

    assert [span.name for span in recorded.spans("attempt")] == ["attempt double", "attempt fail"]
    assert set(recorded.metrics()["treadle.attempts.in_flight"].values()) == {0}


def test_inputs_and_runs_do_not_mix(recorded: Recording):
    """Two runs of two inputs each: four traces, each with the attempts of its own input, and two runs."""
    workflow = td.workflow("numbers", steps=[(double, [increase])])
    with td.Runner(observers=[recorded.observer], executor="threads:2") as runner:
        for run_id in ("a", "b"):
            runner.start(workflow, run_id)
        tickets = [runner.run(run_id, number) for number in (1, 2) for run_id in ("a", "b")]
        for ticket in tickets:
            ticket.result(PATIENCE_S)

    for run_id in ("a", "b"):
        for input in (0, 1):
            traces = {trace_of(span) for span in recorded.spans(run_id=run_id, input=input)}
            assert len(traces) == 1
            assert len(recorded.spans("attempt", run_id=run_id, input=input)) == 2
    assert len({trace_of(span) for span in recorded.spans()}) == 6
    assert len(linked(recorded.span("run", run_id="a"))) == 2


def test_a_stopped_run_goes_on_in_a_trace_that_links_back(recorded: Recording):
    """An input that was open is resumed in a new trace, which links to the old one; the run's spans are linked too."""
    gate = Gate()
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[td.step(gate.wait, name="wait")]), "a")
        runner.run("a", 1)
        assert gate.begun.wait(PATIENCE_S)
        runner.stop("a", now=True)
        gate.opened.set()
        with recorded.tracers.get_tracer("caller").start_as_current_span("somebody else's"):
            runner.resume("a")
        runner.wait("a")

    submitted, resumed = recorded.span("submit"), recorded.span("resume")
    first, second = recorded.spans("run")
    assert parent_of(resumed) is None
    assert linked(resumed) == [id_of(submitted)]
    assert trace_of(resumed) != trace_of(submitted)
    assert parent_of(recorded.span("attempt wait", outcome="ok")) == id_of(resumed)
    assert parent_of(recorded.span("attempt wait", verdict="dropped")) == id_of(submitted)
    assert parent_of(recorded.span("input", status="done")) == id_of(resumed)
    assert linked(second) == [id_of(first), id_of(resumed)]


def test_another_process_begins_traces_of_its_own(recorded: Recording):
    """What an earlier runner left in the store is resumed without a link: its trace is not known here."""
    gate, store = Gate(), MemoryStore()
    workflow = td.workflow("w", steps=[td.step(gate.wait, name="wait")])
    with td.Runner(store=store, drain_s=0) as runner:
        runner.start(workflow, "a")
        runner.run("a", 1)
        assert gate.begun.wait(PATIENCE_S)
    gate.opened.set()
    with td.Runner(store=store, workflows=[workflow], observers=[recorded.observer]) as runner:
        runner.resume("a")
        runner.wait("a")

    resumed = recorded.span("resume")
    assert linked(resumed) == []
    assert parent_of(recorded.span("attempt wait", outcome="ok")) == id_of(resumed)


def test_a_parked_run_is_an_error_and_can_go_on(recorded: Recording):
    """Treadle gave it up: its span says so, and the resumed one links to it."""
    store = FailingStore()
    with td.Runner(observers=[recorded.observer], store=store, restarts=td.Restarts(0)) as runner:
        runner.start(td.workflow("w", steps=[double]), "a")
        store.is_down = True
        with pytest.raises(td.errors.TreadleError):
            runner.run("a", 1)
        store.is_down = False
        runner.resume("a")
        runner.run("a", 2).result(PATIENCE_S)

    parked, stopped = recorded.spans("run")
    assert attributes(parked)["treadle.status"] == "parked"
    assert parked.status.status_code is StatusCode.ERROR
    assert linked(stopped)[0] == id_of(parked)


def test_a_run_that_crashed_has_one_span_for_each_attempt(recorded: Recording):
    """The machine begins again from the log, and hears once more what had come back."""
    store, gate = FailingStore(), Gate()
    with td.Runner(observers=[recorded.observer], store=store) as runner:
        runner.start(td.workflow("w", steps=[td.step(gate.wait, name="wait")]), "a")
        ticket = runner.run("a", 1)
        store.fail_once = True
        gate.opened.set()
        assert ticket.result(PATIENCE_S) == {"wait": 1}

    assert [span.name for span in recorded.spans("attempt")] == ["attempt wait"]
    assert recorded.spans("resume") == []
    assert recorded.metrics()["treadle.restarts"] == {("w",): 1}
    assert recorded.metrics()["treadle.attempts.in_flight"] == {("w", "wait", "threads"): 0}
    assert len(recorded.spans("run")) == 1


def test_a_run_that_was_put_away_is_still_one_run(recorded: Recording):
    """It left the memory while it was idle, and came back when it was touched: nothing ended."""
    with td.Runner(observers=[recorded.observer], keep_warm=1) as runner:
        for run_id in ("a", "b", "a", "b"):
            runner.start(td.workflow("w", steps=[double]), run_id, if_exists="resume")
            runner.run(run_id, 1).result(PATIENCE_S)
            runner.wait(run_id)

    for run_id in ("a", "b"):
        assert attributes(recorded.span("run", run_id=run_id))["treadle.inputs_finished"] == 2


def test_a_trace_goes_on_from_that_of_the_caller(recorded: Recording):
    """`run` is called within a span: the input's becomes its child, from a thread too; the run's own span does not."""
    tracer = recorded.tracers.get_tracer("caller")
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[double]), "a")
        with tracer.start_as_current_span("request") as request:
            runner.run("a", 1).result(PATIENCE_S)
        runner.run("a", 2).result(PATIENCE_S)
        with tracer.start_as_current_span("shutdown"):
            runner.stop("a")

    called, alone = recorded.spans("submit")
    assert parent_of(called) == request.get_span_context().span_id
    assert parent_of(alone) is None
    assert trace_of(recorded.span("attempt", input=0)) == request.get_span_context().trace_id
    assert parent_of(recorded.span("run")) is None


@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
def test_many_requests_at_once_keep_their_traces(recorded: Recording, store: type[MemoryStore]):
    """On one event loop, with the steps of all of them taking turns."""
    tracer = recorded.tracers.get_tracer("caller")
    workflow = td.workflow("w", steps=[(increase, [td.step(increase, name="again")])])

    async def request(runner: td.AsyncRunner, number: int) -> tuple[int, int]:
        with tracer.start_as_current_span(f"request {number}") as span:
            ticket = await runner.run("a", number)
            await asyncio.wait_for(asyncio.wrap_future(ticket), PATIENCE_S)
        assert ticket.input is not None
        return ticket.input, span.get_span_context().trace_id

    async def main() -> list[tuple[int, int]]:
        async with td.AsyncRunner(observers=[recorded.observer], store=store()) as runner:
            await runner.start(workflow, "a")
            return await asyncio.gather(*[request(runner, number) for number in range(20)])

    for input, trace in asyncio.run(main()):
        found = recorded.spans(run_id="a", input=input)
        assert len(found) == 4
        assert {trace_of(span) for span in found} == {trace}


def test_a_trace_that_is_not_sampled_costs_no_spans():
    """The sampler decides where an input is accepted, for all below."""
    recorded = Recording(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[double]), "a")
        assert runner.run("a", 1).result(PATIENCE_S) == {"double": 2}

    assert recorded.spans() == []
    assert recorded.metrics()["treadle.inputs"] == {("w", "done"): 1}
    recorded.close()


def test_without_an_sdk_nothing_happens():
    """The API alone gives spans and instruments that do nothing."""
    with td.Runner(observers=[OpenTelemetryObserver()]) as runner:
        runner.start(td.workflow("w", steps=[double]), "a")
        assert runner.run("a", 1).result(PATIENCE_S) == {"double": 2}


class Broken(td.Observer):
    """Raises whatever it is told."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            raise RuntimeError(name)
        return super().__getattribute__(name)


def test_an_observer_that_raises_harms_nothing(
    recorded: Recording, caplog: pytest.LogCaptureFixture
):
    """Neither the run nor the observer after it; the log says who it was."""
    with td.Runner(observers=[Broken(), recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[double]), "a")
        assert runner.run("a", 1).result(PATIENCE_S) == {"double": 2}

    assert len(recorded.spans()) == 4
    assert "Broken.on_dispatch raised" in caplog.messages
    assert "Broken.on_return raised" in caplog.messages


class BrokenExporter(SpanExporter):
    """Raises at each span."""

    def export(self, spans):
        """Raise."""
        raise ConnectionError("no collector")


class BrokenProcessor(SpanProcessor):
    """Raises at each end of a span."""

    def on_end(self, span):
        """Raise."""
        raise ConnectionError("no collector")


@pytest.mark.parametrize("processor", [SimpleSpanProcessor(BrokenExporter()), BrokenProcessor()])
def test_an_exporter_that_raises_harms_nothing(
    processor: SpanProcessor, caplog: pytest.LogCaptureFixture
):
    """Whether the SDK catches it or not: the runs give what they give, and metrics go on."""
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(processor)
    recorded = Recording(tracers)

    def flaky(number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return number

    with td.Runner(observers=[recorded.observer]) as runner:
        runner.start(td.workflow("w", steps=[flaky]), "a")
        assert runner.run("a", 1).result(PATIENCE_S) == {"flaky": 1}
        assert runner.run("a", -1).exception(PATIENCE_S) is not None
        assert runner.wait("a") == "idle"

    assert "no collector" in caplog.text
    assert recorded.metrics()["treadle.attempts.in_flight"] == {("w", "flaky", "threads"): 0}
    recorded.close()
