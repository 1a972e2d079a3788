"""`python -m bench`: measure Treadle on this machine, against the bounds it is meant to keep."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

from bench import (
    building,
    clusters,
    comparisons,
    durable,
    growth,
    postgres,
    recorded,
    rules,
    runner_orders,
    runner_steps,
    steps,
)
from bench.measure import FLOOR, FULL, QUICK, Bench, Row, shown_number, take

HEADINGS = ("row", "value", "unit", "bound", "status", "note")
STATUSES = ("ok", "over", "-", "skipped", "error")


def all_benches() -> list[Bench]:
    """Every row, those of one workload together."""
    groups = (
        *(steps, comparisons, growth, rules, building, recorded),
        *(runner_orders, runner_steps, clusters, durable, postgres),
    )
    listed = [bench for group in groups for bench in group.BENCHES]
    order = list(dict.fromkeys(workload_of(bench) for bench in listed))
    return sorted(listed, key=lambda bench: order.index(workload_of(bench)))


def workload_of(bench: Bench) -> str:
    """What comes before the dot of a row's name."""
    return bench.name.partition(".")[0]


def chosen(benches: list[Bench], names: Iterable[str] | None) -> list[Bench]:
    """The rows of these names, or of these workloads; all without names."""
    if names is None:
        return benches
    wanted = set(names)
    known = {name for bench in benches for name in (bench.name, workload_of(bench))}
    if unknown := wanted - known:
        raise SystemExit(
            f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
        )
    return [bench for bench in benches if wanted & {bench.name, workload_of(bench)}]


def floor_ns() -> float:
    """A bare call, in nanoseconds."""
    return statistics.median(FLOOR.time() for _ in range(15))


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "compiler": platform.python_compiler(),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cpu_count": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "gc_threshold": gc.get_threshold(),
        "msgspec": importlib.metadata.version("msgspec"),
        "floor_ns": floor_ns(),
    }


def cpu_model() -> str:
    """The processor's name, where Linux tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")


def line(width: int, cells: Iterable[str]) -> str:
    """A line of the table."""
    name, value, unit, bound, status, note = cells
    return f"{name:<{width}} {value:>9}  {unit:<12} {bound:>6}  {status:<7}  {note}".rstrip()


def row_line(width: int, row: Row) -> str:
    """A row as a line of the table."""
    value = "" if row.value is None else shown_number(row.value)
    bound = "-" if row.bound is None else f"{row.bound:,g}"
    return line(width, (row.name, value, row.unit, bound, row.status, row.note))


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", metavar="PATH", type=Path, help="write the rows there too")
    parser.add_argument("--quick", action="store_true", help="smaller workloads, fewer repeats")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these rows or workloads only")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound is exceeded")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print each row as it comes, and write the JSON. Rows that raise give 1, with any options."""
    options = parsed(arguments)
    benches = chosen(all_benches(), options.only)
    about = machine()
    print(
        f"Python {about['python']}, {about['cpu_count']} CPUs ({about['cpu']}), load {about['load']}"
    )
    print(f"floor: a bare call takes {about['floor_ns']:.1f} ns; `calls` are counted in those\n")
    width = max(len(bench.name) for bench in benches)
    print(line(width, HEADINGS), flush=True)
    start = perf_counter()
    rows = []
    for bench in benches:
        rows.append(take(bench, QUICK if options.quick else FULL))
        print(row_line(width, rows[-1]), flush=True)
    about |= {"floor_ns_at_end": floor_ns(), "seconds": perf_counter() - start}
    counted = {status: [row.name for row in rows if row.status == status] for status in STATUSES}
    said = ", ".join(f"{len(names)} {status}" for status, names in counted.items() if names)
    print(f"\n{said}; floor {about['floor_ns_at_end']:.1f} ns at the end, {about['seconds']:.0f} s")
    if options.json is not None:
        told = {
            "machine": about,
            "quick": options.quick,
            "rows": list(map(dataclasses.asdict, rows)),
        }
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return int(bool(counted["error"] or (options.check and counted["over"])))


if __name__ == "__main__":
    sys.exit(main())
