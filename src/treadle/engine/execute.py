"""Execute: run one runnable, with no workflow at hand. The only place that calls a step's function."""

from __future__ import annotations

from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, TypeAlias

from treadle.errors import BadValue, UsageError
from treadle.model.cohorts import CohortOutcomes
from treadle.model.errordata import describe
from treadle.model.runnables import FAILED, OK, SKIPPED, Outcome, Runnable
from treadle.model.sentinels import ABSENT

ODD_TYPES: Final = frozenset({GeneratorType, CoroutineType, AsyncGeneratorType})
"""Values that can be used up once only: they cannot be facts."""

ENGINE: Final = __file__.removesuffix("execute.py")
"""Frames of this folder say how a user's function came to be called, and nothing of why it failed."""

CAUGHT: Final = (Exception, SystemExit)
"""What counts as a failure of the user's function. An interrupt or cancellation is the caller's business."""

Raised: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]


def execute_runnable(runnable: Runnable) -> Outcome:
    """Call a runnable's function and say what came of it; never raises for a user's error.

    An async function is not called: its outcome is a failure that says to `await aexecute_runnable`.
    """
    check_runnable(runnable)
    if runnable.is_async and runnable.problem is None:
        return failed_outcome(runnable, not_awaited(runnable.component))
    try:
        value = _call(runnable)
        if type(value) in ODD_TYPES:
            raise odd_value(value)
    except CAUGHT as error:
        return failed_outcome(runnable, error)
    return outcome_of(runnable, value)


async def aexecute_runnable(runnable: Runnable) -> Outcome:
    """Call a runnable's function, awaiting it if it is async; never raises for a user's error."""
    check_runnable(runnable)
    try:
        value = _call(runnable)
        if isinstance(value, CoroutineType):
            value = await value
        if type(value) in ODD_TYPES:
            raise odd_value(value)
    except CAUGHT as error:
        return failed_outcome(runnable, error)
    return outcome_of(runnable, value)


def execute_timed(
    runnable: Runnable,
    clock: Callable[[], float],
    caught: Raised = CAUGHT,
    through: Raised = (),
) -> Outcome:
    """`execute_runnable` for an executor: says how long it took, and leaves out what an executor knows.

    `caught`: what counts as a failure of its function, but for what goes `through`.
    """
    call = runnable.call
    begin = clock()
    try:
        if runnable.problem is not None or call is None:
            value = _call(runnable)
        elif runnable.is_async:
            return failed_outcome(runnable, not_awaited(runnable.component), clock() - begin)
        elif runnable.injected:
            value = call(*runnable.args, **runnable.injected)
        else:
            value = call(*runnable.args)
        if type(value) in ODD_TYPES:
            raise odd_value(value)
    except caught as error:
        if isinstance(error, through):
            raise
        return failed_outcome(runnable, error, clock() - begin)
    return outcome_of(runnable, value, clock() - begin)


def execute_cohort(
    done: CohortOutcomes,
    clock: Callable[[], float],
    caught: Raised = CAUGHT,
    through: Raised = (),
) -> None:
    """`execute_timed` for all of a cohort, adding to `done`. The clock is read once between two calls."""
    cohort = done.runnables
    call: Any = cohort.like.call
    values, seconds = done.values, done.seconds
    begin = clock()
    for place, unit in enumerate(cohort.units):
        try:
            value = call(*unit.args)
            if type(value) in ODD_TYPES:
                raise odd_value(value)
        except caught as error:
            if isinstance(error, through):
                raise
            done.append(failed_outcome(cohort[place], error, clock() - begin))
            begin = clock()
            continue
        end = clock()
        if value is ABSENT:
            done.append(outcome_of(cohort[place], value, end - begin))
        else:
            values.append(value)
            seconds.append(end - begin)
        begin = end


async def aexecute_timed(runnable: Runnable, clock: Callable[[], float], begin: float) -> Outcome:
    """`aexecute_runnable` for an executor: says how long it took from `begin` on, in short."""
    try:
        call = runnable.call
        if runnable.problem is not None or call is None:
            value = _call(runnable)
        elif runnable.injected:
            value = call(*runnable.args, **runnable.injected)
        else:
            value = call(*runnable.args)
        if type(value) is CoroutineType:
            value = await value
        if type(value) in ODD_TYPES:
            raise odd_value(value)
    except CAUGHT as error:
        return failed_outcome(runnable, error, clock() - begin)
    return outcome_of(runnable, value, clock() - begin)


def check_runnable(runnable: Any) -> None:
    """Only what a workflow prepared can be executed."""
    if not isinstance(runnable, Runnable):
        raise UsageError(
            f"a Runnable is executed, and this is {runnable!r:.80} ({type(runnable).__name__}).",
            hint="pass one of those that prepare_for_dispatch() returned.",
        )


def _call(runnable: Runnable) -> Any:
    if runnable.problem is not None:
        raise runnable.problem
    if runnable.call is None:
        raise UsageError(f"{runnable.component!r} has no function to call.")
    if runnable.injected:
        return runnable.call(*runnable.args, **runnable.injected)
    return runnable.call(*runnable.args)


def odd_value(value: Any) -> BadValue:
    """A step gave something that could be read only once."""
    if isinstance(value, CoroutineType):
        value.close()  # nobody will await it: say so once, here, and not in a warning later
        return BadValue(
            "gave a coroutine. Make the step `async def` and drive it with areact_until_satisfied "
            "(or await aexecute_runnable)."
        )
    return BadValue(
        f"gave {type(value).__name__.replace('_', ' ')}, which can be read only once. Return a list."
    )


def not_awaited(component: str) -> UsageError:
    """An async step met a synchronous caller."""
    return UsageError(
        f"{component!r} is async and was executed by a synchronous call.",
        hint="use areact_until_satisfied, or await td.aexecute_runnable(runnable).",
    )


def outcome_of(runnable: Runnable, value: Any, seconds: float | None = None) -> Outcome:
    """The outcome of a runnable whose function gave a value."""
    return Outcome(
        component=runnable.component,
        node=runnable.node,
        scope=runnable.scope,
        status=SKIPPED if value is ABSENT else OK,
        value=value,
        generation=runnable.generation,
        attempt=runnable.attempt,
        run_key=runnable.run_key,
        branch=runnable.branch,
        position=runnable.position,
        read_at=runnable.read_at,
        seconds=seconds,
    )


def failed_outcome(
    runnable: Runnable, error: BaseException, seconds: float | None = None
) -> Outcome:
    """The outcome of a runnable that failed with `error`, for whoever executes it elsewhere.

    `execute_runnable` makes its own; this is for a crashed task or a lost worker, which never got to say.
    """
    return Outcome(
        component=runnable.component,
        node=runnable.node,
        scope=runnable.scope,
        status=FAILED,
        error=describe(error, skip=ENGINE),
        exception=error,
        generation=runnable.generation,
        attempt=runnable.attempt,
        run_key=runnable.run_key,
        branch=runnable.branch,
        position=runnable.position,
        read_at=runnable.read_at,
        seconds=seconds,
    )
