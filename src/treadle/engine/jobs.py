"""Execute a bundle, here or in a worker that knows nothing of workflows; and tell its outcomes.

The caller gives the clock: `seconds` of an outcome is what its own function took.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import Any, TypeAlias

from msgspec import structs

from treadle.engine.execute import (
    CAUGHT,
    ENGINE,
    ODD_TYPES,
    aexecute_runnable,
    check_runnable,
    execute_timed,
    failed_outcome,
    not_awaited,
    odd_value,
)
from treadle.errors import Cancelled
from treadle.model.bundles import Bundle, Job, Link, Report
from treadle.model.errordata import describe
from treadle.model.portable import from_reference, to_reference
from treadle.model.runnables import FAILED, OK, SKIPPED, Outcome, Runnable
from treadle.model.sentinels import ABSENT

Clock: TypeAlias = Callable[[], float]


def follow(link: Link, before: Runnable, value: Any) -> Runnable:
    """The runnable of a chain's next step, as the workflow would have prepared it."""
    return structs.replace(
        before,
        component=link.component,
        node=link.node,
        call=link.call,
        args=(value,),
        injected=None,
        is_async=link.is_async,
        generation=link.generation,
        attempt=1,
        read_at=None,
        problem=None,
        retry_at=None,
        deadline_at=None,
        last_error=None,
        is_fallback=False,
    )


def timed(outcome: Outcome, seconds: float) -> Outcome:
    """The outcome, saying how long its function took."""
    return structs.replace(outcome, seconds=seconds)


def execute_bundle(bundle: Bundle, clock: Clock) -> list[Outcome]:
    """Execute all of a bundle in this thread; a chain ends at the first that gives no value."""
    outcomes: list[Outcome] = []
    for runnable in bundle.runnables:
        check_runnable(runnable)
        outcomes.append(execute_timed(runnable, clock))
    last = bundle.runnables[0]
    for link in bundle.links:
        if outcomes[-1].status != OK:
            break
        last = follow(link, last, outcomes[-1].value)
        outcomes.append(execute_timed(last, clock))
    return outcomes


async def aexecute_bundle(bundle: Bundle, clock: Clock) -> list[Outcome]:
    """Execute all of a bundle on the running event loop, one after the other."""
    outcomes: list[Outcome] = []
    for runnable in bundle.runnables:
        begin = clock()
        outcome = await aexecute_runnable(runnable)
        outcomes.append(timed(outcome, clock() - begin))
    last = bundle.runnables[0]
    for link in bundle.links:
        if outcomes[-1].status != OK:
            break
        last = follow(link, last, outcomes[-1].value)
        begin = clock()
        outcome = await aexecute_runnable(last)
        outcomes.append(timed(outcome, clock() - begin))
    return outcomes


def failed_bundle(bundle: Bundle, error: BaseException) -> list[Outcome]:
    """The outcomes of a bundle that came to nothing: a lost worker, a refusal, a cancellation.

    Of a chain only the first is answered: the others were never ready.
    """
    return [failed_outcome(runnable, error) for runnable in bundle.runnables]


def cancelled_bundle(bundle: Bundle, how: str) -> list[Outcome]:
    """The outcomes of a bundle that was cancelled; `how` as in `errors.Cancelled`."""
    names = ", ".join(dict.fromkeys(repr(each.component) for each in bundle.runnables))
    return failed_bundle(bundle, Cancelled(f"{names} was cancelled: {how}.", how=how))


def job_of(bundle: Bundle) -> Job:
    """What a worker needs of a bundle, functions as they are (see `portable_job`)."""
    calls: dict[Any, int] = {}
    names: list[str] = []

    def index_of(call: Any, component: str) -> int:
        found = calls.get(id(call))
        if found is None:
            found = calls[id(call)] = len(listed)
            listed.append(call)
            names.append(component)
        return found

    listed: list[Any] = []
    tasks = tuple(
        (index_of(each.call, each.component), each.args, each.injected) for each in bundle.runnables
    )
    links = tuple(index_of(each.call, each.component) for each in bundle.links)
    return Job(
        calls=tuple(listed),
        tasks=tasks,
        links=links,
        is_async=bundle.is_async,
        names=tuple(names),
    )


def portable_job(bundle: Bundle) -> Job:
    """A job whose functions are replaced by where they are found, for pickle.

    Errors: `NotPortable` if a function has no import path.
    """
    job = job_of(bundle)
    return structs.replace(job, calls=tuple([to_reference(call) for call in job.calls]))


def run_job(job: Job, clock: Clock, drive: Callable[[Any], list[Report]]) -> list[Report]:
    """Do a job in a worker: one report per task, then one per link as far as the chain came.

    `drive` runs a coroutine to its end (`asyncio.run`); it is called only for a job with async functions.
    """
    calls = [from_reference(call) for call in job.calls]
    if job.is_async:
        return drive(_run_async(job, calls, clock))
    reports = [_call(calls, job.names, *task, clock) for task in job.tasks]
    for index in job.links:
        if reports[-1].status != OK:
            break
        reports.append(_call(calls, job.names, index, (reports[-1].value,), None, clock))
    return reports


async def _run_async(job: Job, calls: list[Any], clock: Clock) -> list[Report]:
    reports = [await _acall(calls, *task, clock) for task in job.tasks]
    for index in job.links:
        if reports[-1].status != OK:
            break
        reports.append(await _acall(calls, index, (reports[-1].value,), None, clock))
    return reports


def _call(
    calls: list[Any],
    names: tuple[str, ...],
    index: int,
    args: tuple[Any, ...],
    injected: dict[str, Any] | None,
    clock: Clock,
) -> Report:
    begin = clock()
    try:
        value = calls[index](*args, **(injected or {}))
        if isinstance(value, CoroutineType):
            value.close()
            raise not_awaited(names[index])
        if type(value) in ODD_TYPES:
            raise odd_value(value)
    except CAUGHT as error:
        return failed_report(error, clock() - begin)
    return _report(value, clock() - begin)


async def _acall(
    calls: list[Any],
    index: int,
    args: tuple[Any, ...],
    injected: dict[str, Any] | None,
    clock: Clock,
) -> Report:
    begin = clock()
    try:
        value = calls[index](*args, **(injected or {}))
        if isinstance(value, CoroutineType):
            value = await value
        if type(value) in ODD_TYPES:
            raise odd_value(value)
    except CAUGHT as error:
        return failed_report(error, clock() - begin)
    return _report(value, clock() - begin)


def _report(value: Any, seconds: float) -> Report:
    if value is ABSENT:
        return Report(status=SKIPPED, value=value, seconds=seconds)
    return Report(status=OK, value=value, seconds=seconds)


def failed_report(error: BaseException, seconds: float | None = None) -> Report:
    """What a worker says of a call that raised."""
    return Report(
        status=FAILED, error=describe(error, skip=ENGINE), exception=error, seconds=seconds
    )


def outcomes_from(bundle: Bundle, reports: list[Report]) -> list[Outcome]:
    """The outcomes that a worker's reports stand for, in the order of the bundle."""
    outcomes = [
        outcome_from(runnable, report)
        for runnable, report in zip(bundle.runnables, reports, strict=False)
    ]
    last = bundle.runnables[0]
    for link, report in zip(bundle.links, reports[len(bundle.runnables) :], strict=False):
        last = follow(link, last, None)
        outcomes.append(outcome_from(last, report))
    return outcomes


def outcome_from(runnable: Runnable, report: Report) -> Outcome:
    """The outcome that a worker's report of one call stands for."""
    return Outcome(
        component=runnable.component,
        node=runnable.node,
        scope=runnable.scope,
        status=report.status,
        value=report.value,
        error=report.error,
        exception=report.exception,
        generation=runnable.generation,
        attempt=runnable.attempt,
        run_key=runnable.run_key,
        branch=runnable.branch,
        position=runnable.position,
        read_at=runnable.read_at,
        seconds=report.seconds,
    )
