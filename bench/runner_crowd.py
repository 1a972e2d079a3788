"""`python -m bench.runner_crowd`: have many runs or orders in one runner, and print this process's memory as JSON.

    python -m bench.runner_crowd one_run ORDERS       sleeping orders at once, given to one run
    python -m bench.runner_crowd many_runs ORDERS     the same, each a run of its own
    python -m bench.runner_crowd idle RUNS INPUTS     runs with nothing to do, after so many orders each

A process of its own, so that nothing else is in the figures.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import treadle as td
from bench.runner_work import async_orders, stage
from bench.workloads import order


def memory_of(name: str) -> int:
    """`VmRSS` or `VmHWM` of this process in bytes, where Linux tells; 0 elsewhere.

    The high-water mark in `resource.getrusage` would not do: it begins with that of the process that started this one.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = next((line for line in lines if line.startswith(f"{name}:")), "")
    return int(found.split()[1]) * 1024 if found else 0


def crowd(given: str, orders: int) -> dict[str, int]:
    """Memory before the first order, and the most there ever was."""
    template = async_orders()
    with stage() as made:
        gc.collect()
        before = memory_of("VmRSS")
        if given == "many_runs":
            made.feed_many(template, range(orders))
        else:
            made.feed(made.fresh(template), range(orders))
    return told(before=before, peak=memory_of("VmHWM"))


def idle(runs: int, inputs: int) -> dict[str, int]:
    """Memory without the runs, and with them."""
    template = order().template
    with stage(executor="inline") as made:
        made.loop.run(rest(made.runner, template, 100, inputs))  # what all runs share is not theirs
        gc.collect()
        before = memory_of("VmRSS")
        made.loop.run(rest(made.runner, template, runs, inputs))
        gc.collect()
        return told(before=before, after=memory_of("VmRSS"))


async def rest(runner: td.AsyncRunner, template: td.Workflow, runs: int, inputs: int) -> None:
    """Start runs that are idle when each has finished its inputs."""
    for _ in range(runs):
        id = await runner.start(template)
        for value in range(inputs):
            await (await runner.run(id, value))


def told(**figures: int) -> dict[str, int]:
    """The figures, or nothing where there are none."""
    return figures if all(figures.values()) else {}


def main(what: str, *counts: str) -> None:
    """Do as the arguments say."""
    numbers = list(map(int, counts))
    found = idle(*numbers) if what == "idle" else crowd(what, *numbers)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
