"""What comes before the first input: importing, building a graph, and compiling it."""

from __future__ import annotations

import functools
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

import treadle as td
from bench.measure import (
    Bench,
    Effort,
    Measured,
    Work,
    child_environment,
    in_microseconds,
    quartiles,
    shown_time,
)


def plain() -> Callable[..., Any]:
    """A function of its own for each component, as programs have them."""
    return lambda value: value


def joining() -> Callable[..., Any]:
    """The same for two parents."""
    return lambda left, right: (left, right)


def annotated() -> Callable[..., Any]:
    """The same with annotations to read, which are text here as they are in many modules."""

    def passes(value: int) -> int:
        return value

    return passes


def add_steps(make: Callable[[], Callable[..., Any]], count: int, _: Any = None) -> td.Workflow:
    """A chain by single adds, the making of each step included."""
    workflow = td.workflow("steps").add(td.step(make(), name="s0"))
    for i in range(1, count):
        workflow = workflow.add(td.step(make(), name=f"s{i}"), to=f"s{i - 1}")
    return workflow


def add_joins(count: int, _: Any = None) -> td.Workflow:
    """Joins of the two before each by single adds."""
    workflow = td.workflow("joins").add(td.step(plain(), name="s0"))
    workflow = workflow.add(td.step(plain(), name="s1"))
    for i in range(2, count):
        step = td.step(joining(), name=f"s{i}")
        workflow = workflow.add(step, to=[f"s{i - 2}", f"s{i - 1}"])
    return workflow


def add_rules(count: int, _: Any = None) -> td.Workflow:
    """Rules by single adds, the making of each pattern included."""
    workflow = td.workflow("rules")
    for i in range(count):
        made = td.rule(plain(), name=f"r{i}", condition=td.match(kind=f"k{i}"))
        workflow = workflow.add(made)
    return workflow


def at_once(count: int, _: Any = None) -> td.Workflow:
    """Steps in one call."""
    steps = [td.step(plain(), name=f"s{i}") for i in range(count)]
    return td.workflow("steps", components=steps)


def build(add: Callable[[int], td.Workflow], effort: Effort) -> Measured:
    """Microseconds a component."""
    count = effort.size(10_000, 1_000)
    return in_microseconds(Work(partial(add, count), count), effort, f"{count:,} components")


def first_input(add: Callable[[int], td.Workflow], value: Any, effort: Effort) -> Measured:
    """Accepting the first input of a graph just built, which compiles what building left to do."""
    count = effort.size(10_000, 1_000)
    work = Work(lambda template: template.plan_eagerly(value), count, partial(add, count))
    return in_microseconds(work, effort, f"first input of {count:,} components")


@functools.cache
def starts(rounds: int) -> dict[str, list[float]]:
    """Nanoseconds of interpreters that import something and end, one of each in turn."""
    programs = {"bare": "pass", "msgspec": "import msgspec", "treadle": "import treadle"}
    taken: dict[str, list[float]] = {name: [] for name in programs}
    environment = child_environment()
    for number in range(rounds + 1):
        for name, program in programs.items():
            start = perf_counter_ns()
            subprocess.run([sys.executable, "-c", program], env=environment, check=True)  # noqa: S603 - our own
            if number:  # the first round writes the bytecode
                taken[name].append(perf_counter_ns() - start)
    return taken


def imported(effort: Effort, *, net: bool) -> Measured:
    """`import treadle` against `import msgspec`, by the medians of many starts of an interpreter."""
    taken = starts(effort.size(25, 5))
    times = {name: statistics.median(numbers) for name, numbers in taken.items()}
    base = times["bare"] if net else 0
    ratio = (times["treadle"] - base) / (times["msgspec"] - base)
    shown = ", ".join(f"{name} {shown_time(time)}" for name, time in times.items())
    note = f"{shown}; {len(taken['bare'])} rounds"
    return Measured(ratio, note, {"quartiles_ns": {n: quartiles(t) for n, t in taken.items()}})


BENCHES = [
    Bench("build.steps", "us/add", partial(build, partial(add_steps, plain)), 50),
    Bench("build.annotated", "us/add", partial(build, partial(add_steps, annotated)), 50),
    Bench("build.joins", "us/add", partial(build, add_joins), 50),
    Bench("build.rules", "us/add", partial(build, add_rules), 50),
    Bench("build.at_once", "us/component", partial(build, at_once)),
    Bench(
        "build.first_input",
        "us/component",
        partial(first_input, partial(add_steps, plain), 1),
    ),
    Bench(
        "build.first_input_rules",
        "us/component",
        partial(first_input, add_rules, {"kind": "k5"}),
    ),
    # The stricter reading is the bound: without the start of the interpreter, which is in both.
    Bench("import.net", "x msgspec", partial(imported, net=True), 1.5, "less a bare interpreter"),
    Bench(
        "import.whole", "x msgspec", partial(imported, net=False), note="interpreter start in both"
    ),
]
