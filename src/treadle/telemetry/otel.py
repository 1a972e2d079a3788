"""Traces and metrics by OpenTelemetry, through its API only: without an SDK they go nowhere."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from time import time_ns
from typing import TYPE_CHECKING, Final

from treadle.errors import MissingExtra
from treadle.interfaces import Observer
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome, Runnable
from treadle.telemetry.spans import (
    DROPPED,
    Attempt,
    Ended,
    Key,
    Origin,
    Piece,
    RunNote,
    Spans,
    outcome_name,
    pieces,
    placed,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import SpanContext, TracerProvider

SCOPE: Final = "treadle"
ENDED_MAX: Final = 1024
"""For so many ended runs it is remembered what a resumed one should link to."""
SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
)
"""Bounds of the histograms."""


class OpenTelemetryObserver(Observer):
    """Makes spans and metrics of what happens in the runs of a runner.

    Without providers it uses the global ones. It needs the package `opentelemetry-api`, and an SDK for anything to be
    seen. `docs/observability.md` lists spans, metrics and attributes. The id of a run is on spans only.

    Errors: `MissingExtra` without the package.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise MissingExtra(
                "OpenTelemetryObserver needs the package 'opentelemetry-api'.",
                hint='pip install "treadle[telemetry]"',
            ) from error
        self._spans = Spans(trace.get_tracer(SCOPE, tracer_provider=tracer_provider))
        self._meters = Meters(metrics.get_meter(SCOPE, meter_provider=meter_provider))
        self._runs: dict[str, RunNote] = {}
        self._ended: OrderedDict[str, Ended] = OrderedDict()
        self._out: dict[Key, deque[Attempt]] = {}
        """Attempts that are out; two of one key if what a fallback wished for was sent under its number."""
        self._told: dict[Key, tuple[Outcome, str, int]] = {}
        """What came of attempts that are just coming back, what follows, and when that was told."""

    # ---------------------------------------------------------------------------------------- runs

    def on_start(self, run_id: str, workflow: str) -> None:
        """Note when the run began; one that was put away or crashed goes on as it was."""
        if run_id not in self._runs:
            self._runs[run_id] = RunNote(
                id=run_id,
                workflow=workflow,
                began_ns=time_ns(),
                before=self._ended.pop(run_id, None),
            )

    def on_end(self, run_id: str, status: str) -> None:
        """Make the run's span, from its start to now."""
        run = self._runs.pop(run_id, None)
        if run is None:  # it never began here
            return
        still_open = {input: origin.span for input, origin in run.open.items()}
        self._ended[run_id] = Ended(self._spans.run(run, status), still_open)
        if len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)

    def on_restart(
        self,
        run_id: str,
        error: BaseException,  # noqa: ARG002 - the log has it
    ) -> None:
        """Count it."""
        self._meters.restarts.add(1, {"treadle.workflow": self._run(run_id).workflow})

    def on_append(
        self,
        run_ids: Iterable[str],  # noqa: ARG002 - no run is named in a metric
        events: int,
        seconds: float,
    ) -> None:
        """Measure it."""
        self._meters.append_duration.record(seconds)
        self._meters.events.add(events)

    def _run(self, run_id: str) -> RunNote:
        """What is known of a run; next to nothing if its start was not told."""
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = RunNote(id=run_id, workflow="", began_ns=time_ns())
        return run

    # -------------------------------------------------------------------------------------- inputs

    def on_accept(self, run_id: str, input: int) -> None:
        """Begin a trace, or join that of the caller."""
        run = self._run(run_id)
        note(run, input, self._spans.origin(run, input, is_new=True))

    def on_input(self, run_id: str, input: int, status: str) -> None:
        """Make the input's span, since it was accepted or resumed."""
        run = self._run(run_id)
        origin = self._origin(run, input)
        run.open.pop(input, None)
        run.finished += 1
        self._spans.input(run, input, status, origin)
        self._meters.inputs.add(1, {"treadle.workflow": run.workflow, "treadle.status": status})

    def _origin(self, run: RunNote, input: int) -> Origin:
        """The parent of what happens for an input; one that was open when the run was resumed gets a new one."""
        found = run.open.get(input)
        if found is None:
            left: SpanContext | None = None if run.before is None else run.before.open.get(input)
            found = self._spans.origin(run, input, left=left)
            note(run, input, found)
        return found

    # ------------------------------------------------------------------------------------ attempts

    def on_dispatch(self, run_id: str, bundle: Bundle) -> None:
        """Note when its attempts left."""
        now = time_ns()
        for piece in pieces(bundle):
            attempt = self._attempt(run_id, piece, bundle.executor, now)
            self._out.setdefault(attempt.key, deque()).append(attempt)
            self._meters.in_flight.add(1, attempt.labels)

    def _attempt(self, run_id: str, piece: Piece, executor: str | None, at_ns: int) -> Attempt:
        run = self._run(run_id)
        origin = self._origin(run, piece[3][0])
        return Attempt(run_id, run.workflow, piece, executor, origin, at_ns)

    def on_complete(
        self,
        run_id: str,
        runnable: Runnable,  # noqa: ARG002 - the outcome says it all
        outcome: Outcome,
    ) -> None:
        """Note it."""
        self._tell(run_id, outcome, "")

    def on_failed(
        self,
        run_id: str,
        runnable: Runnable,  # noqa: ARG002 - the outcome says it all
        outcome: Outcome,
        then: str,
    ) -> None:
        """Note it, and what follows."""
        self._tell(run_id, outcome, then)
        if then in {"retry", "fallback"}:
            labels = {
                "treadle.workflow": self._run(run_id).workflow,
                "treadle.component": outcome.component,
                "treadle.verdict": then,
            }
            self._meters.retries.add(1, labels)

    def _tell(self, run_id: str, outcome: Outcome, then: str) -> None:
        key = (run_id, outcome.id, outcome.attempt)
        now = time_ns()
        if key in self._out:
            self._told[key] = (outcome, then, now)
        elif outcome.seconds is None:  # it never left: refused by a breaker, or a fallback's value
            piece = (outcome.id, outcome.component, outcome.node, outcome.scope, outcome.attempt)
            self._is_over(self._attempt(run_id, piece, None, now), outcome, then, (now, now))

    def on_return(self, run_id: str, bundle: Bundle, outcomes: Sequence[Outcome]) -> None:
        """Make the spans of its attempts."""
        keys = [(run_id, piece[0], piece[4]) for piece in pieces(bundle)]
        now = min((self._told[key][2] for key in keys if key in self._told), default=time_ns())
        came = [attempt for key in keys if (attempt := self._take(key)) is not None]
        if not came:  # it left before this observer was there
            return
        times = placed(outcomes, came[0].began_ns, max(now, came[0].began_ns))
        gave = {each.id: (each, when) for each, when in zip(outcomes, times, strict=True)}
        for attempt in came:
            self._meters.in_flight.add(-1, attempt.labels)
            if attempt.piece[0] in gave:
                outcome, when = gave[attempt.piece[0]]
                outcome, then, _ = self._told.pop(attempt.key, (outcome, DROPPED, now))
                self._is_over(attempt, outcome, then, when)
        if not outcomes:  # of a chain, it is not known how far it came
            for attempt in came[: len(bundle.runnables)]:
                self._is_over(attempt, None, DROPPED, (attempt.began_ns, now))

    def _take(self, key: Key) -> Attempt | None:
        """An attempt that is out no more; of two of one key, that which left first."""
        waiting = self._out.get(key)
        if waiting is None:
            return None
        attempt = waiting.popleft()
        if not waiting:
            del self._out[key]
        return attempt

    def _is_over(
        self, attempt: Attempt, outcome: Outcome | None, then: str, when: tuple[int, int]
    ) -> None:
        """Tell of one attempt, whatever came of it."""
        labels = {
            "treadle.workflow": attempt.workflow,
            "treadle.component": attempt.piece[1],
            "treadle.outcome": outcome_name(outcome, then),
        }
        measured = None if outcome is None else outcome.seconds
        took_s = (when[1] - when[0]) / 1e9 if measured is None else measured
        self._meters.attempts.add(1, labels)
        self._meters.duration.record(took_s, labels)
        self._spans.attempt(attempt, outcome, then, when)


class Meters:
    """The instruments. Their labels are names that the program itself gives, so there are only so many of them."""

    def __init__(self, meter: Meter) -> None:
        self.attempts = meter.create_counter(
            "treadle.attempts", unit="{attempt}", description="Attempts that are over."
        )
        self.duration = meter.create_histogram(
            "treadle.attempt.duration",
            unit="s",
            description="How long attempts took: their function alone, where that was measured.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.retries = meter.create_counter(
            "treadle.retries",
            unit="{attempt}",
            description="Failed attempts that another one follows, or a fallback.",
        )
        self.in_flight = meter.create_up_down_counter(
            "treadle.attempts.in_flight",
            unit="{attempt}",
            description="Attempts that are at an executor.",
        )
        self.inputs = meter.create_counter(
            "treadle.inputs", unit="{input}", description="Inputs that are finished."
        )
        self.restarts = meter.create_counter(
            "treadle.restarts", unit="{restart}", description="Crashes of runs."
        )
        self.append_duration = meter.create_histogram(
            "treadle.store.append.duration",
            unit="s",
            description="How long storing a batch took.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.events = meter.create_counter(
            "treadle.store.events", unit="{event}", description="Events that were stored."
        )


def note(run: RunNote, input: int, origin: Origin) -> None:
    """Keep the origin of an input while it is open."""
    run.open[input] = origin
    run.latest.append(origin.span)
