"""The spans that OpenTelemetry is given: their names, parents, links, times and attributes.

No span is open while something is waited for: a run may wait for weeks, and its process may be gone by then. So each
span is made when its time is over, with explicit times. Only a parent must be there before its children: a trace begins
with a span of no length, made where an input is accepted, and all that happens for the input becomes its child.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from time import time_ns
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct, field

from treadle.model.bundles import Bundle
from treadle.model.errordata import ErrorData
from treadle.model.one_line import one_line
from treadle.model.runnables import FAILED, Outcome, runnable_id

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanContext, Tracer

logger = logging.getLogger("treadle.telemetry")

Attributes: TypeAlias = dict[str, str | int | float]
Key: TypeAlias = tuple[str, str, int]
"""Which attempt: run, runnable, number."""
Piece: TypeAlias = tuple[str, str, str, tuple[int, ...], int]
"""One attempt of a bundle: id, component, node, scope, number."""

LINKS_MAX: Final = 32
"""A run's span links to so many of its inputs, the latest."""
TEXT_MAX: Final = 8_000
"""How much of an error's text, and of its traceback, is told, in characters."""
CANCELLED: Final = "cancelled"
LEFT_BEHIND: Final = "left_behind"
"""What came of an attempt that was still out when its runner closed."""
DROPPED: Final = "dropped"
"""The verdict on an attempt that nobody waited for any more."""
FAULTY: Final = frozenset({FAILED, "parked"})
"""Statuses of inputs and runs that are errors."""


class Origin(Struct, frozen=True):
    """The span that stands for an input, as the parent of all that happens for it."""

    at_ns: int
    span: SpanContext
    parent: Context


class Ended(Struct, frozen=True):
    """What a run left behind at its end: its span, and those of its open inputs."""

    run: SpanContext
    open: dict[int, SpanContext]


class RunNote(Struct, kw_only=True):
    """What is known of a run from its start to its end."""

    id: str
    workflow: str
    began_ns: int
    before: Ended | None = None
    open: dict[int, Origin] = field(default_factory=dict)
    latest: deque[SpanContext] = field(default_factory=lambda: deque(maxlen=LINKS_MAX))
    finished: int = 0


class Attempt(Struct, frozen=True):
    """An attempt, as it left; without an executor, if it was over before it could."""

    run_id: str
    workflow: str
    piece: Piece
    executor: str | None
    origin: Origin
    began_ns: int

    @property
    def key(self) -> Key:
        """Which one it is."""
        return (self.run_id, self.piece[0], self.piece[4])

    @property
    def labels(self) -> Attributes:
        """What it is counted by while it is out."""
        return {
            "treadle.workflow": self.workflow,
            "treadle.component": self.piece[1],
            "treadle.executor": self.executor or "",
        }


class Spans:
    """Makes spans; every one has ended when its method returns."""

    def __init__(self, tracer: Tracer) -> None:
        from opentelemetry import trace
        from opentelemetry.context import Context

        self._api = trace
        self._tracer = tracer
        self._nowhere = Context()
        """For what is nobody's child: the span that happens to be current belongs to some other request."""

    def origin(
        self, run: RunNote, input: int, *, left: SpanContext | None = None, is_new: bool = False
    ) -> Origin:
        """Begin a trace for an input; a new one joins the trace in which `run` was called, if there is one.

        `left`: where an earlier trace of it ended.
        """
        now = time_ns()
        context = self._make(
            f"{'submit' if is_new else 'resume'} {run.workflow}",
            None if is_new else self._nowhere,
            {**about(run), "treadle.input": input},
            (now, now),
            links=[] if left is None else [left],
        )
        parent = self._api.set_span_in_context(self._api.NonRecordingSpan(context), self._nowhere)
        return Origin(now, context, parent)

    def input(self, run: RunNote, input: int, status: str, origin: Origin) -> None:
        """An input, since it was accepted or resumed."""
        self._make(
            f"input {run.workflow}",
            origin.parent,
            {**about(run), "treadle.input": input, "treadle.status": status},
            (origin.at_ns, time_ns()),
            fault=status if status in FAULTY else None,
        )

    def run(self, run: RunNote, status: str) -> SpanContext:
        """A run from its start to its end, linked to where it was resumed from, and to its latest inputs."""
        before = [] if run.before is None else [run.before.run]
        return self._make(
            f"run {run.workflow}",
            self._nowhere,
            {**about(run), "treadle.status": status, "treadle.inputs_finished": run.finished},
            (run.began_ns, time_ns()),
            links=[*before, *run.latest],
            fault=status if status in FAULTY else None,
        )

    def attempt(
        self, attempt: Attempt, outcome: Outcome | None, then: str, when: tuple[int, int]
    ) -> None:
        """An attempt, with an exception event if it failed."""
        error = None if outcome is None else outcome.error
        has_failed = outcome_name(outcome, then) == FAILED and error is not None
        self._make(
            f"attempt {attempt.piece[1]}",
            attempt.origin.parent,
            attributes_of(attempt, outcome, then),
            when,
            fault=one_line(str(error)) if has_failed else None,
            error=error if has_failed else None,
        )

    def _make(
        self,
        name: str,
        parent: Context | None,
        attributes: Attributes,
        when: tuple[int, int],
        *,
        links: Iterable[SpanContext] = (),
        fault: str | None = None,
        error: ErrorData | None = None,
    ) -> SpanContext:
        """Make a span and end it. One that cannot be made is logged, and what hangs on it goes on without it."""
        began_ns, ended_ns = when
        try:
            span = self._tracer.start_span(
                name,
                parent,
                attributes=attributes,
                links=[self._api.Link(each) for each in links if each.is_valid],
                start_time=began_ns,
            )
            if fault is not None:
                span.set_status(self._api.StatusCode.ERROR, fault)
            if error is not None and span.is_recording():
                span.add_event("exception", event_of(error), ended_ns)
            span.end(ended_ns)
            return span.get_span_context()
        except Exception:
            logger.exception("a span was lost: %s", name)
            return self._api.INVALID_SPAN_CONTEXT


def about(run: RunNote) -> Attributes:
    """Which run a span is of."""
    return {"treadle.run_id": run.id, "treadle.workflow": run.workflow}


def attributes_of(attempt: Attempt, outcome: Outcome | None, then: str) -> Attributes:
    """All that is told of an attempt."""
    _, component, node, scope, number = attempt.piece
    attributes: Attributes = {
        "treadle.run_id": attempt.run_id,
        "treadle.workflow": attempt.workflow,
        "treadle.component": component,
        "treadle.node": node,
        "treadle.input": scope[0],
        "treadle.scope": ".".join(map(str, scope)),
        "treadle.attempt": number,
        "treadle.outcome": outcome_name(outcome, then),
    }
    if then:
        attributes["treadle.verdict"] = then
    if attempt.executor is not None:
        attributes["treadle.executor"] = attempt.executor
    if outcome is not None and outcome.seconds is not None:
        attributes["treadle.seconds"] = outcome.seconds
    if outcome is not None and outcome.cached is not None:
        attributes["treadle.cached"] = storable(outcome.cached)
    if outcome is not None and outcome.error is not None:
        attributes["error.type"] = storable(outcome.error.type)
    return attributes


def event_of(error: ErrorData) -> Attributes:
    """An error, as the conventions of OpenTelemetry have it."""
    return {
        "exception.type": storable(error.type),
        "exception.message": storable(error.text),
        "exception.stacktrace": storable(traceback_of(error)),
    }


def outcome_name(outcome: Outcome | None, then: str) -> str:
    """What came of an attempt: ok, skipped (it gave ABSENT), failed, cancelled or left_behind."""
    if outcome is None:
        return LEFT_BEHIND
    error = outcome.error
    if then == DROPPED and error is not None and error.type == "treadle.errors.Cancelled":
        return CANCELLED
    return outcome.status


def pieces(bundle: Bundle) -> list[Piece]:
    """The attempts of a bundle, those of a chain's later steps too."""
    scope = bundle.runnables[0].scope
    return [
        *(
            (each.id, each.component, each.node, each.scope, each.attempt)
            for each in bundle.runnables
        ),
        *(
            (runnable_id(link.node, link.generation, scope), link.component, link.node, scope, 1)
            for link in bundle.links
        ),
    ]


def placed(outcomes: Sequence[Outcome], began_ns: int, ended_ns: int) -> list[tuple[int, int]]:
    """When each attempt of a bundle began and ended, of which is known how long it took, and when the bundle was out.

    An attempt alone took all the time, its way there and back included. Of several, one is placed behind the other
    if there was time for that; else they ran side by side.

    >>> [outcome] = [Outcome(component="c", node="c", scope=(0,), seconds=1.5)]
    >>> placed([outcome, outcome], 0, 4_000_000_000)
    [(0, 1500000000), (1500000000, 3000000000)]
    >>> placed([outcome, outcome], 0, 2_000_000_000)
    [(0, 1500000000), (0, 1500000000)]
    """
    if len(outcomes) == 1:
        return [(began_ns, ended_ns)]
    took = [None if each.seconds is None else int(each.seconds * 1e9) for each in outcomes]
    is_sequence = sum(each or 0 for each in took) <= ended_ns - began_ns
    at_ns, found = began_ns, list[tuple[int, int]]()
    for each in took:
        end_ns = ended_ns if each is None else min(at_ns + each, ended_ns)
        found.append((at_ns, end_ns))
        if is_sequence and each is not None:
            at_ns = end_ns
    return found


def traceback_of(error: ErrorData) -> str:
    """An error and its causes, as Python would print them as far as they were written down; cut where it gets long."""
    lines: list[str] = []
    length = 0
    waiting = [error]
    while waiting and length <= TEXT_MAX:
        each = waiting.pop()
        part = [
            f"  File {frame.file!r}, line {frame.line}, in {frame.function}"
            for frame in each.frames
        ]
        if part:
            part.insert(0, "Traceback (most recent call last):")
        part.append(f"{each.type}: {each.text}")
        if lines:
            part.insert(0, "\ncaused by:\n")
        length += sum(map(len, part))
        lines += part
        waiting += reversed(each.causes)
    return "\n".join(lines)


def storable(text: str) -> str:
    """Text that every exporter can encode, of a length that it can send."""
    return text[:TEXT_MAX].encode("utf-8", "backslashreplace").decode()
