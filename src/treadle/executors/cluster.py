"""What the executors of clusters have in common: kept arguments on the way there, kept results on the way back.

In the worker, a result that is large enough is not reported but given to the cluster; the report says `Kept`
in its place, and becomes a `Remote` on arrival.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from msgspec import Struct, structs

from treadle.engine.jobs import failed_report
from treadle.errors import MissingExtra
from treadle.executors.portable import (
    PROTOCOL,
    dump_report,
    framed,
    load_job,
    load_reports,
    outcomes_of_reports,
    reports_of,
    run_portable,
)
from treadle.model.bundles import Bundle, Report
from treadle.model.remote import Remote, put_back
from treadle.model.runnables import OK, Outcome

KEEP_ABOVE_BYTES: Final = 64 * 1024
"""Smaller results are brought back also where they may stay: their way is shorter than the bookkeeping."""


class Kept(Struct, frozen=True):
    """In place of a result that stayed: the cluster's name for it, who holds it, its size when pickled."""

    key: Any
    where: str
    size: int


class Parcel:
    """A value that the cluster keeps, as pickle sees it.

    Dask would look through a plain list element by element before it sends it, and Ray would write what is in it
    twice as two.
    """

    __slots__ = ("size", "value")

    def __init__(self, value: Any, size: int) -> None:
        self.value = value
        self.size = size

    def __sizeof__(self) -> int:
        return self.size

    def __reduce__(self) -> tuple[Any, ...]:
        return (Parcel, (self.value, self.size))


Keep: TypeAlias = Callable[[Parcel], Kept]
"""Give a value to the cluster."""


def missing_extra(extra: str, package: str) -> MissingExtra:
    """The error where the package of a cluster is not installed."""
    return MissingExtra(
        f"the {extra} executor needs the package {package!r}.",
        hint=f'pip install "treadle[{extra}]"',
    )


def names_of(bundle: Bundle) -> str:
    """The components of a bundle, for messages."""
    return ", ".join(dict.fromkeys(repr(each.component) for each in bundle.runnables))


def first_problem(bundle: Bundle) -> BaseException | None:
    """Why a bundle must not be run at all: what was to be given to its functions is not there."""
    return next((each.problem for each in bundle.runnables if each.problem is not None), None)


# ------------------------------------------------------------------------------ in the worker


def do_job(
    data: bytes,
    parcels: tuple[Parcel, ...] = (),
    keep: Keep | None = None,
    keep_above_bytes: int = KEEP_ABOVE_BYTES,
) -> bytes:
    """Do a job with the kept values that it takes; `keep` its large results, if they may stay."""
    if keep is None and not parcels:
        return run_portable(data)
    try:
        job = put_back(load_job(data), tuple([parcel.value for parcel in parcels]))
    except BaseException as error:  # noqa: BLE001 - importing a user's module may raise anything
        return framed(dump_report(failed_report(error)))
    lines: list[bytes] = []
    for component, report in reports_of(job):
        shown = report if keep is None else kept_report(report, keep, keep_above_bytes)
        lines.append(framed(dump_report(shown, component)))
    return b"".join(lines)


def kept_report(report: Report, keep: Keep, keep_above_bytes: int) -> Report:
    """The report with `Kept` for a result that is large enough to stay."""
    if report.status != OK:
        return report
    size = pickled_size(report.value)
    if size is None or size <= keep_above_bytes:
        return report
    try:
        return structs.replace(report, value=keep(Parcel(report.value, size)))
    except Exception:  # noqa: BLE001 - a cluster that cannot keep it now; it is brought back
        return report


class Scale:
    """A file that forgets what is written to it and remembers how much it was."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: Any) -> int:
        """Count some bytes."""
        size = memoryview(data).nbytes
        self.size += size
        return size

    def weigh(self, buffer: pickle.PickleBuffer) -> None:
        """Count a large buffer that pickle need not copy."""
        self.size += buffer.raw().nbytes


def pickled_size(value: Any) -> int | None:
    """About how many bytes a value has when pickled, None if it cannot be; large buffers are not copied."""
    scale = Scale()
    try:
        pickle.Pickler(scale, PROTOCOL, buffer_callback=scale.weigh).dump(value)
    except Exception:  # noqa: BLE001 - a user's object may refuse in any way
        return None
    return scale.size


# ------------------------------------------------------------------------------ the way back


def outcomes_with_kept(
    bundle: Bundle, data: bytes, remote_for: Callable[[Kept], Remote]
) -> list[Outcome]:
    """The outcomes of a bundle whose results may have stayed, with a `Remote` for each that did."""
    reports = [
        structs.replace(report, value=remote_for(report.value))
        if isinstance(report.value, Kept)
        else report
        for report in load_reports(data)
    ]
    return outcomes_of_reports(bundle, reports)
