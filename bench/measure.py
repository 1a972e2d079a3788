"""The instrument: costs as ratios to something measured right beside them, and what a row of the table is.

Machines differ and one machine differs from second to second, so nearly every row is a ratio within one run. The
floor is a bare Python function call in a loop. What is measured stands between two samples of what it is measured
against, and that is repeated; the row shows the *median of these ratios*. The slow drift of a machine (its clock,
its neighbours) is in both parts of a ratio and cancels; a preemption spoils one ratio, and the median leaves that
out. The ratio of the two minima is in the JSON as `best`, but is not what is judged: the short floor finds a fast
moment more easily than a long measurement does, and minima leave out the passes of the garbage collector, which
users pay for too. So before each repeat the collector runs, and during it stays on.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any, Final

import treadle

ROOT: Final = Path(__file__).resolve().parents[1]

FLOOR_CALLS: Final = 50_000
"""Enough to last a millisecond or more, so that reading the clock and one interrupt weigh little."""


class Skip(Exception):
    """A row cannot be measured here; says why."""


@dataclass(frozen=True)
class Effort:
    """How large workloads are, and how often they are repeated."""

    quick: bool
    seconds: float
    """A row repeats for this long ..."""
    least: int
    """... but at least this often,"""
    most: int
    """and no oftener than this."""

    def size(self, full: int, quick: int) -> int:
        """Choose a size."""
        return quick if self.quick else full


FULL: Final = Effort(quick=False, seconds=1.2, least=5, most=101)
QUICK: Final = Effort(quick=True, seconds=0.1, least=3, most=11)


def nothing() -> None:
    """Set nothing up."""


@dataclass(frozen=True)
class Work:
    """Something to measure: `run` is timed with what `setup` made, which is not; it does so many units."""

    run: Callable[[Any], Any]
    units: int = 1
    setup: Callable[[], Any] = nothing

    def time(self) -> float:
        """Nanoseconds a unit, once. The result is dropped in the timing: making garbage is part of a cost."""
        made = self.setup()
        run = self.run
        start = perf_counter_ns()
        run(made)
        return (perf_counter_ns() - start) / self.units


def same(value: Any) -> Any:
    """The trivial step of all workloads, and the bare call of the floor."""
    return value


def call_bare(function: Callable[[int], Any]) -> None:
    """The floor: a bare call of a Python function in a loop."""
    for i in range(FLOOR_CALLS):
        function(i)


FLOOR: Final = Work(call_bare, FLOOR_CALLS, lambda: same)


@dataclass(frozen=True)
class Measured:
    """What a row found: its value, a short note, and more for the JSON."""

    value: float
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ratio:
    """The repeats of one comparison, in nanoseconds a unit."""

    costs: list[float]
    references: list[float]

    @property
    def ratios(self) -> list[float]:
        """One ratio for each repeat."""
        return [cost / beside for cost, beside in zip(self.costs, self.references, strict=True)]

    @property
    def value(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def cost(self) -> float:
        """The median cost in nanoseconds a unit."""
        return statistics.median(self.costs)

    @property
    def reference(self) -> float:
        """The median of what it was measured against, in nanoseconds a unit."""
        return statistics.median(self.references)

    def measured(self, value: float | None = None, note: str = "") -> Measured:
        """As a row: the ratio (or a value made from it), the cost in time, and the spread of the ratios."""
        low, _, high = quartiles(self.ratios)
        ratios = self.ratios
        details = {
            "ns": self.cost,
            "reference_ns": self.reference,
            "ratio": self.value,
            "low": low,
            "high": high,
            "best": min(self.costs) / min(self.references),
            "repeats": len(ratios),
        }
        spread = f"{shown_time(self.cost)}, quartiles {shown_number(low)} to {shown_number(high)}"
        spread += f" of {len(ratios)}"
        return Measured(
            self.value if value is None else value, f"{note}; {spread}" if note else spread, details
        )


def compare(work: Work, against: Work, effort: Effort) -> Ratio:
    """Measure work between two samples of what it is measured against, repeatedly.

    Each sample begins after a collection: one of them must not pay for the garbage of the one before it.
    """
    work.time()  # compiles programs, fills caches
    against.time()
    costs: list[float] = []
    references: list[float] = []
    end = perf_counter() + effort.seconds
    while len(costs) < effort.least or (len(costs) < effort.most and perf_counter() < end):
        gc.collect()
        before = against.time()
        gc.collect()
        costs.append(work.time())
        gc.collect()
        references.append((before + against.time()) / 2)
    return Ratio(costs, references)


def in_calls(work: Work, effort: Effort, note: str = "") -> Measured:
    """The cost of a unit in bare calls."""
    return compare(work, FLOOR, effort).measured(note=note)


def in_microseconds(work: Work, effort: Effort, note: str = "") -> Measured:
    """The cost of a unit in microseconds, where the bound is absolute; the spread is in bare calls."""
    ratio = compare(work, FLOOR, effort)
    told = f"{note}, " if note else ""
    return ratio.measured(ratio.cost / 1000, f"{told}{shown_number(ratio.value)} bare calls")


def quartiles(numbers: list[float]) -> tuple[float, float, float]:
    """The quartiles of some numbers, also of one."""
    if len(numbers) < 2:
        return numbers[0], numbers[0], numbers[0]
    low, middle, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return low, middle, high


def shown_number(number: float) -> str:
    """A number with three digits or so."""
    if number >= 100:
        return f"{number:,.0f}"
    if number >= 10:
        return f"{number:.1f}"
    return f"{number:.2f}" if number >= 0.1 else f"{number:.1g}"


def shown_time(nanoseconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{shown_number(nanoseconds / size)} {unit}"
    return f"{nanoseconds:.0f} ns"


def child_environment() -> dict[str, str]:
    """For subprocesses: the same treadle, and bytecode is cached."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    ours = [str(ROOT), str(Path(treadle.__file__).resolve().parents[1])]
    known = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([*ours, known] if known else ours)
    return environment


@dataclass(frozen=True)
class Bench:
    """One row to measure. `bound` is the most its value may be; a row without is shown only."""

    name: str
    unit: str
    measure: Callable[[Effort], Measured]
    bound: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A row that was measured."""

    name: str
    value: float | None
    unit: str
    bound: float | None
    status: str
    note: str
    seconds: float
    """How long measuring took."""
    details: dict[str, Any]


def take(bench: Bench, effort: Effort) -> Row:
    """Measure one row. An error in it is its status, so that the other rows are measured all the same."""
    start = perf_counter()
    value, details = None, {}
    try:
        found = bench.measure(effort)
    except Skip as skip:
        status, note = "skipped", str(skip)
    except Exception as error:  # noqa: BLE001 - whatever the library raises
        sys.excepthook(type(error), error, error.__traceback__)
        status, note = "error", f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        value, details = found.value, found.details
        status = "-" if bench.bound is None else "ok" if found.value <= bench.bound else "over"
        note = "; ".join(part for part in (bench.note, found.note) if part)
    gc.collect()  # what this row leaves behind is not for the next to pay
    seconds = perf_counter() - start
    return Row(bench.name, value, bench.unit, bench.bound, status, note, seconds, details)
