"""Send a bundle to a worker that shares no memory with this process, and bring back what it says.

The parent calls `dump_job` and `outcomes_of`; the worker `run_portable` (or `reports_of`, one report at a time).
What cannot travel costs only what depends on it: each value and each exception is pickled alone, and one that
is refused, by the worker or on arrival, becomes the failure of its own runnable.

Functions travel by name. One that has none (a lambda, a closure) travels by value where cloudpickle is installed.
"""

from __future__ import annotations

import asyncio
import functools
import io
import pickle
import sys
from collections.abc import Callable, Iterator
from operator import attrgetter
from time import perf_counter
from types import FunctionType
from typing import Any

from msgspec import structs

from treadle.engine.execute import CAUGHT
from treadle.engine.jobs import failed_report, job_of, outcomes_from, portable_job, run_job
from treadle.errors import BadValue, NotPortable, RemoteFailure
from treadle.executors.leaves import bad_leaf
from treadle.model.bundles import Bundle, Job, Link, Report
from treadle.model.errordata import ErrorData, Frame, describe
from treadle.model.portable import Portable, from_reference, to_reference
from treadle.model.runnables import FAILED, OK, Outcome, Runnable

PROTOCOL = 5
"""The newest pickle protocol that every supported Python reads: a cluster's workers may run another version."""

Line = tuple[str, "bytes | None", "ErrorData | None", "bytes | None", "float | None"]
"""A report on its way: status, pickled value, error, pickled exception, seconds."""


# ------------------------------------------------------------------------------ the way there


def dump_job(bundle: Bundle, *, shares_main: bool = True) -> bytes:
    """What `load_job` makes a job of, in a process that can import what this one imports.

    `shares_main`: the worker has this program's `__main__`, so what is defined there can go by name. Errors:
    `NotPortable`, naming the component and, of a value, the way to the part that cannot be pickled.
    """
    try:
        data = pickle.dumps(portable_job(bundle), PROTOCOL)
    except Exception as error:  # noqa: BLE001 - a user's object may refuse in any way
        refused = error
    else:
        # Text that only looks like the module's name costs the longer way, nothing else.
        if shares_main or b"__main__" not in data:
            return data
        refused = NotPortable("the worker does not have this program's __main__.")
    pickler = by_value_pickler(shares_main)
    if pickler is None:
        raise not_portable(bundle, shares_main) from refused
    try:
        return dump_with(pickler, job_of(bundle))
    except Exception as error:
        raise not_portable(bundle, shares_main) from error


def load_job(data: bytes) -> Job:
    """The job that `dump_job` wrote, its functions found. Errors: whatever importing them raises."""
    job: Job = pickle.loads(data)  # noqa: S301 - from the process that this one works for
    return structs.replace(job, calls=tuple([from_reference(call) for call in job.calls]))


def dump_with(pickler: Any, value: Any) -> bytes:
    """A value as bytes, by a pickler of one's own."""
    buffer = io.BytesIO()
    pickler(buffer, PROTOCOL).dump(value)
    return buffer.getvalue()


@functools.cache
def by_value_pickler(shares_main: bool) -> Any:  # noqa: FBT001 - the one key of the cache
    """A pickler that sends code where there is no name to send, or None where cloudpickle is not installed."""
    try:
        import cloudpickle  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        return None

    class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc,unused-ignore]
        """Names first, as everywhere; code only where there is none."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, FunctionType) and obj is not from_reference:
                reference = reference_to(obj, shares_main)
                if reference is not None:
                    return (from_reference, (reference,))
            if isinstance(obj, Portable):
                return (portable_value, (type(obj), obj.__dict__))
            if shares_main and isinstance(obj, type) and is_of_main(obj):
                return NotImplemented  # a copy would be another class than that of the worker
            return super().reducer_override(obj)

    return ByValuePickler


def is_of_main(kind: type) -> bool:
    """Whether a class is found by its name in this program's main module."""
    if kind.__module__ != "__main__":
        return False
    try:
        return attrgetter(kind.__qualname__)(sys.modules["__main__"]) is kind
    except AttributeError:
        return False


def portable_value(kind: type[Portable], fields: dict[str, Any]) -> Portable:
    """Rebuild a callable value of ours from its fields."""
    value = kind.__new__(kind)
    value.__dict__.update(fields)
    return value


def reference_to(function: FunctionType, shares_main: bool) -> Any:  # noqa: FBT001 - passed on
    """Where a worker finds a function, or None if it cannot."""
    if function.__module__ == "__main__" and not shares_main:
        return None
    try:
        return to_reference(function)
    except NotPortable:
        return None


def not_portable(bundle: Bundle, shares_main: bool) -> NotPortable:  # noqa: FBT001 - passed on
    """Say which component's function or values cannot travel."""
    pickler = by_value_pickler(shares_main)
    parts: list[Runnable | Link] = [*bundle.runnables, *bundle.links]
    for each in parts:
        if not can_send(each.call, shares_main):
            name = getattr(each.call, "__qualname__", None) or repr(each.call)
            hint = "define it at the top level of a module"
            if pickler is None:
                hint += ', or pip install "treadle[processes]"'
            return NotPortable(
                f"the function {name} of {each.component!r} cannot be sent to a worker.",
                hint=f"{hint}.",
            )
    for runnable in bundle.runnables:
        ports: dict[int | str, Any] = dict(enumerate(runnable.args))
        ports.update(runnable.injected or {})
        for port, value in ports.items():
            problem = refusal(value, pickler)
            if problem is not None:
                return NotPortable(
                    f"what {runnable.component!r} takes cannot be sent to a worker: "
                    f"{shown_leaf(value, f'argument {port}', problem)}.",
                    hint="pass plain data, or run it in this process (executor 'threads').",
                )
    return NotPortable("the bundle cannot be sent to a worker.")


def can_send(call: Any, shares_main: bool) -> bool:  # noqa: FBT001 - passed on
    """Whether a function can go to a worker, by name or by value."""
    pickler = by_value_pickler(shares_main)
    if pickler is None and isinstance(call, FunctionType):
        return reference_to(call, shares_main) is not None
    return refusal(call, pickler) is None


def refusal(value: Any, pickler: Any = None) -> Exception | None:
    """Why a value cannot be pickled, or None if it can."""
    try:
        dump_with(pickler or pickle.Pickler, value)
    except Exception as error:  # noqa: BLE001 - a user's object may refuse in any way
        return error
    return None


def shown_leaf(value: Any, whole: str, problem: Exception) -> str:
    """Where in a value the part is that cannot be pickled, of what type it is, and what pickle said."""
    path, leaf = bad_leaf(value)
    kind = type(leaf)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{whole}{path} is a {module}{kind.__qualname__} ({text_of(problem)})"


def text_of(error: BaseException) -> str:
    """The first line of an error's message, whatever its `__str__` does."""
    text = describe(error).text.strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


# ------------------------------------------------------------------------------ in the worker


def run_portable(data: bytes) -> bytes:
    """Do a job as bytes, and give its reports as bytes: all that a worker needs. Never raises an Exception."""
    return b"".join(map(framed, lines_of(data)))


def lines_of(data: bytes) -> Iterator[bytes]:
    """The reports of a job, each as bytes as soon as it is there: what is done survives a worker's death."""
    try:
        job = load_job(data)
    except BaseException as error:  # noqa: BLE001 - importing a user's module may raise anything
        yield dump_report(failed_report(error))
        return
    for component, report in reports_of(job):
        yield dump_report(report, component)


def reports_of(job: Job, clock: Callable[[], float] = perf_counter) -> Iterator[tuple[str, Report]]:
    """Do a job call by call: (component, report) for each task, and for each link as far as the chain comes.

    Whatever a body raises is its own failure, interrupts too: nobody else's work is lost with it.
    """
    report = None
    for task in job.tasks:
        report = report_of(structs.replace(job, tasks=(task,), links=()), clock)
        yield job.names[task[0]], report
    for index in job.links:
        if report is None or report.status != OK:
            return
        task = (index, (report.value,), None)
        report = report_of(structs.replace(job, tasks=(task,), links=()), clock)
        yield job.names[index], report


def report_of(job: Job, clock: Callable[[], float]) -> Report:
    """The report of a job that is a single call."""
    begin = clock()
    try:
        return run_job(job, clock, asyncio.run)[0]
    except BaseException as error:  # noqa: BLE001 - run_job lets interrupts through
        return failed_report(error, clock() - begin)


def dump_reports(reports: list[Report], components: list[str] | None = None) -> bytes:
    """Reports as bytes for `load_reports`. `components` are named in messages. Never fails."""
    names = components or [""] * len(reports)
    return b"".join(
        framed(dump_report(report, name)) for report, name in zip(reports, names, strict=True)
    )


def framed(line: bytes) -> bytes:
    """A report's bytes with their length before them, so that several can follow one another."""
    return len(line).to_bytes(8, "big") + line


def dump_report(report: Report, component: str = "") -> bytes:
    """One report as bytes. A value that cannot be pickled makes it a failed one that says where in it."""
    value = None
    if report.status != FAILED:
        try:
            value = dump_value(report.value)
        except Exception as problem:  # noqa: BLE001 - a user's object may refuse in any way
            report = failed_report(bad_value(report.value, component, problem), report.seconds)
    exception = None if report.exception is None else dump_exception(report.exception)
    line: Line = (report.status, value, report.error, exception, report.seconds)
    return pickle.dumps(line, PROTOCOL)


def dump_value(value: Any) -> bytes:
    """What a body gave or raised as bytes; what was made by code that travelled by value may need to travel so too."""
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception:
        pickler = by_value_pickler(shares_main=True)
        if pickler is None:
            raise
        return dump_with(pickler, value)


def bad_value(value: Any, component: str, problem: Exception) -> BadValue:
    """A result that cannot leave its worker."""
    who = repr(component) if component else "the step"
    where = shown_leaf(value, "its result", problem)
    return BadValue(
        f"{who} gave a {type(value).__qualname__} that cannot be brought back from the worker: {where}.",
        hint="return plain data, or run it in this process (executor 'threads').",
    )


def dump_exception(exception: BaseException) -> bytes | None:
    """An exception as bytes that give it back, type and message the same; else None.

    Many exceptions pickle but cannot be unpickled, since their `__init__` takes something else than their
    message: those are rebuilt without it, from what they hold.
    """
    for stand_in in (exception, Rebuilt(exception)):
        try:
            data = dump_value(stand_in)
            copy = pickle.loads(data)  # noqa: S301 - our own dump of a moment ago
            if type(copy) is type(exception) and str(copy) == str(exception):
                return data
        except BaseException:  # noqa: BLE001, S112 - a user's exception may refuse in any way
            continue
    return None


class Rebuilt:
    """Pickles as an exception that is made again without calling its `__init__`."""

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception

    def __reduce__(self) -> tuple[Any, ...]:
        exception = self.exception
        return (rebuild, (type(exception), exception.args, exception.__dict__))


def rebuild(
    kind: type[BaseException], args: tuple[Any, ...], fields: dict[str, Any]
) -> BaseException:
    """Undo `Rebuilt`."""
    exception = kind.__new__(kind, *args)
    exception.args = args
    exception.__dict__.update(fields)
    return exception


# ------------------------------------------------------------------------------ the way back


def outcomes_of(bundle: Bundle, data: bytes) -> list[Outcome]:
    """The outcomes of a bundle whose job gave these bytes.

    A worker that could not even begin reports once, for all.
    """
    return outcomes_of_reports(bundle, load_reports(data))


def outcomes_of_reports(bundle: Bundle, reports: list[Report]) -> list[Outcome]:
    """As `outcomes_of`, of reports that are loaded already."""
    missing = len(bundle.runnables) - len(reports)
    return outcomes_from(bundle, reports + reports[-1:] * missing)


def load_reports(data: bytes) -> list[Report]:
    """The reports that `dump_reports` or `run_portable` wrote. Never fails for what a report holds."""
    reports = []
    begin = 0
    while begin < len(data):
        end = begin + 8 + int.from_bytes(data[begin : begin + 8], "big")
        reports.append(load_report(data[begin + 8 : end]))
        begin = end
    return reports


def load_report(data: bytes) -> Report:
    """One report; what cannot be rebuilt here makes it a failed one that says so."""
    line: Line = pickle.loads(data)  # noqa: S301 - from a worker of this process
    status, value, error, exception, seconds = line
    if status == FAILED:
        return failed_from(error, exception, seconds)
    try:
        return Report(
            status=status,
            value=pickle.loads(value or b""),  # noqa: S301 - as above
            seconds=seconds,
        )
    except CAUGHT as problem:
        refused = BadValue(
            f"the result arrived from the worker and cannot be rebuilt here: {text_of(problem)}.",
            hint="return plain data, or make the class load what it pickles.",
        )
        return failed_report(refused, seconds)


def failed_from(error: ErrorData | None, exception: bytes | None, seconds: float | None) -> Report:
    """A failed report with the worker's exception, or with a `RemoteFailure` that tells of it."""
    try:
        live = pickle.loads(exception or b"")  # noqa: S301 - from a worker of this process
        if not isinstance(live, BaseException):
            live = remote_failure(error)
    except BaseException:  # noqa: BLE001 - a user's exception may refuse in any way
        live = remote_failure(error)
    error = error and as_in_parent(error)
    frames = "".join(map(shown_frame, error.frames)) if error is not None else ""
    if frames:
        live.add_note(f"Where it was raised, in the worker:\n{frames.rstrip()}")
    return Report(status=FAILED, error=error, exception=live, seconds=seconds)


def as_in_parent(error: ErrorData) -> ErrorData:
    """An exception of the program's main module under the name that it has here, not in a worker process."""
    return structs.replace(
        error,
        type=error.type.replace("__mp_main__.", "__main__.", 1),
        causes=tuple(map(as_in_parent, error.causes)),
    )


def remote_failure(error: ErrorData | None) -> RemoteFailure:
    """Stands for an exception that cannot be rebuilt here."""
    return RemoteFailure(
        f"the worker raised {error.type}: {error.text}" if error else "the worker failed.",
        hint="define the exception at the top level of a module, and let it hold only what pickles.",
    )


def shown_frame(frame: Frame) -> str:
    """One line of a traceback."""
    return f'  File "{frame.file}", line {frame.line}, in {frame.function}\n'
