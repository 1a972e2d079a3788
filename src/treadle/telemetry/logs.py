"""What happens in a runner, as records of Python's logging: one line each, with fields to filter by."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from treadle.interfaces import Observer
from treadle.model.bundles import Bundle
from treadle.model.errordata import describe
from treadle.model.one_line import one_line
from treadle.model.runnables import SKIPPED, Outcome, Runnable

FIELDS: Final[Mapping[str, None]] = MappingProxyType(
    dict.fromkeys(("run_id", "component", "attempt", "input", "seconds"))
)
"""Every record has them, so that a format may name them; None where a record is about something else."""


class LogObserver(Observer):
    """Logs what happens in the runs of a runner, one line for each thing, to `logger` (else `"treadle.runs"`).

    `level` is for starts, ends, restarts, idleness, finished inputs and attempts. What only says how work travels is
    at DEBUG: inputs as they are taken, bundles as they leave and come back, what was stored. Each record has the
    fields `run_id`, `component`, `attempt`, `input` and `seconds`. Names and errors are escaped and cut.

    The runner warns of failed attempts by itself, on `"treadle.runner"`.
    """

    def __init__(self, level: int = logging.INFO, logger: logging.Logger | None = None) -> None:
        self.level = level
        self.logger = logging.getLogger("treadle.runs") if logger is None else logger

    def on_start(self, run_id: str, workflow: str) -> None:
        """Log that a run begins."""
        self._log(self.level, run_id, "run %s: begins (workflow %s)", workflow)

    def on_accept(self, run_id: str, input: int) -> None:
        """Log that an input was taken."""
        self._log(logging.DEBUG, run_id, "run %s: input %s accepted", input, input=input)

    def on_dispatch(self, run_id: str, bundle: Bundle) -> None:
        """Log that a bundle leaves."""
        self._log_bundle(run_id, bundle, "run %s: %s dispatched to %s")

    def on_return(self, run_id: str, bundle: Bundle, outcomes: Sequence[Outcome]) -> None:
        """Log that a bundle came back, or is not waited for any more."""
        text = "run %s: %s came back from %s" if outcomes else "run %s: %s left behind in %s"
        self._log_bundle(run_id, bundle, text)

    def on_complete(
        self,
        run_id: str,
        runnable: Runnable,  # noqa: ARG002 - the outcome says it all
        outcome: Outcome,
    ) -> None:
        """Log that an attempt succeeded."""
        text = "run %s: %s gave nothing" if outcome.status == SKIPPED else "run %s: %s done"
        self._log_attempt(run_id, outcome, text)

    def on_failed(
        self,
        run_id: str,
        runnable: Runnable,  # noqa: ARG002 - the outcome says it all
        outcome: Outcome,
        then: str,
    ) -> None:
        """Log that an attempt failed, and what follows."""
        self._log_attempt(run_id, outcome, "run %s: %s failed", outcome.error, then)

    def on_input(self, run_id: str, input: int, status: str) -> None:
        """Log that an input is finished."""
        self._log(self.level, run_id, "run %s: input %s %s", input, status, input=input)

    def on_idle(self, run_id: str) -> None:
        """Log that a run has nothing left to do."""
        self._log(self.level, run_id, "run %s: idle")

    def on_end(self, run_id: str, status: str) -> None:
        """Log that a run was stopped, cancelled or parked."""
        self._log(self.level, run_id, "run %s: %s", status)

    def on_restart(self, run_id: str, error: BaseException) -> None:
        """Log that a run crashed and is set up again from its log."""
        self._log(self.level, run_id, "run %s: crashed: %s", str(describe(error)))

    def on_append(self, run_ids: Iterable[str], events: int, seconds: float) -> None:
        """Log that a batch was stored: a line for each run in it, with the time that the whole batch took."""
        if self.logger.isEnabledFor(logging.DEBUG):
            for run_id in run_ids:
                self._log(
                    logging.DEBUG,
                    run_id,
                    "run %s: stored (%s events in the batch)",
                    events,
                    seconds=seconds,
                )

    def _log_bundle(self, run_id: str, bundle: Bundle, text: str) -> None:
        if not self.logger.isEnabledFor(logging.DEBUG):
            return
        fields: dict[str, Any] = {}
        if len(bundle.runnables) == 1:
            only = bundle.runnables[0]
            fields = {"component": only.component, "attempt": only.attempt, "input": only.input}
        names = [each.component for each in bundle.runnables]
        names += [link.component for link in bundle.links]
        self._log(
            logging.DEBUG, run_id, text, ", ".join(dict.fromkeys(names)), bundle.executor, **fields
        )

    def _log_attempt(self, run_id: str, outcome: Outcome, text: str, *more: object) -> None:
        if not self.logger.isEnabledFor(self.level):
            return
        place = ".".join(map(str, outcome.scope))
        took = "" if outcome.seconds is None else f" after {outcome.seconds:.3f} s"
        self._log(
            self.level,
            run_id,
            f"{text}%s (attempt %s, input %s)" + (": %s; %s" if more else ""),
            outcome.component,
            took,
            outcome.attempt,
            place,
            *map(str, more),
            component=outcome.component,
            attempt=outcome.attempt,
            input=outcome.scope[0],
            seconds=outcome.seconds,
        )

    def _log(self, level: int, run_id: str, text: str, *args: object, **fields: object) -> None:
        """Log a line; the first gap in its text is for the run."""
        if not self.logger.isEnabledFor(level):
            return
        fields = {**FIELDS, "run_id": run_id, **fields}
        extra = {name: _shown(value) for name, value in fields.items()}
        self.logger.log(level, text, extra["run_id"], *map(_shown, args), extra=extra)


def _shown(value: object) -> object:
    return one_line(value) if isinstance(value, str) else value
