"""How an input ended: its results, or why there are none. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from treadle.errors import Cancelled, DeadlineExceeded
from treadle.value import Workflow


class End(NamedTuple):
    """What came of an input: results; or an error; or the reason why it was cancelled."""

    results: dict[str, Any]
    error: BaseException | None = None
    reason: str | None = None


def end_of(workflow: Workflow, number: int, reason: str | None = None) -> End:
    """How an input ended that is finished; `reason`: why it was cancelled, if that is known."""
    try:
        if reason is None:
            reason = workflow.cancelled_because(number)
        if reason is None:
            return End(workflow.results(input=number, raise_on_failure=True))
    except Exception as failed:  # noqa: BLE001 - StepFailed, Forgotten, whatever it is goes to who asked
        return End({}, failed)
    return End({}, None, reason)


def error_of(run_id: str, number: int, end: End) -> BaseException | None:
    """What a ticket of this input raises, if it does."""
    if end.reason is None:
        return end.error
    if end.reason == "deadline":
        return DeadlineExceeded(f"input {number} of {run_id!r} ran out of time.")
    return Cancelled(f"input {number} of {run_id!r} was cancelled: {end.reason}.")


def how_it_ended(workflow: Workflow, input: int) -> str:
    """How a finished input ended: done, failed or cancelled."""
    if workflow.cancelled_because(input) is not None:
        return "cancelled"
    failures = workflow.failures(input=input)
    return (
        "failed"
        if any(not each.handled and each.on_failure != "skip" for each in failures)
        else "done"
    )
