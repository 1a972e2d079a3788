"""The order pipeline under a runner: one order on the clock, a thousand at once, and many without any waiting."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import sleep
from typing import Any

import treadle as td
from bench import runner_crowd
from bench.measure import (
    ROOT,
    Bench,
    Effort,
    Measured,
    Ratio,
    Skip,
    Work,
    child_environment,
    compare,
    in_calls,
    quartiles,
    shown_number,
    shown_time,
)
from bench.runner_work import (
    CRITICAL_S,
    SLEEPS_S,
    async_orders,
    blocking_orders,
    decide_later,
    in_turn,
    same_later,
    stage,
)
from bench.workloads import order

CROWD = 1_000


def alone(order: Callable[[Any], None], effort: Effort) -> Ratio:
    """One order at a time, each beside a bare sleep as long as its longest branch."""
    longer = replace(effort, least=effort.size(9, effort.least))
    times = list(in_turn((Work(order), Work(lambda _: sleep(CRITICAL_S))), longer))
    return Ratio([cost for cost, _ in times], [bare for _, bare in times])


def over_critical(ratio: Ratio, note: str) -> Measured:
    """How many milliseconds an order takes beyond its longest branch; a bare sleep takes some, too.

    The lower quartile: threads have to be woken one after the other, and where the processors are busy with other
    programs, in most samples one of them waits for a time slice.
    """
    over, bare = (
        [time / 1e6 - CRITICAL_S * 1e3 for time in times]
        for times in (ratio.costs, ratio.references)
    )
    value, median, _ = quartiles(over)
    shown = (
        f"median {shown_number(median)}; a bare sleep {shown_number(quartiles(bare)[1])} ms over"
    )
    details = {"over_ms": over, "bare_over_ms": bare}
    return Measured(value, f"{note}; lower quartile of {len(over)}, {shown}", details)


def one_on_threads(effort: Effort) -> Measured:
    """A fresh run of one order through `Runner`, plain functions in threads."""
    template = blocking_orders()

    with td.Runner() as runner:

        def run(_: Any) -> None:
            runner.run(runner.start(template), 1).result()

        return over_critical(alone(run, effort), "plain functions, Runner()")


def one_on_asyncio(effort: Effort) -> Measured:
    """A fresh run of one order through `AsyncRunner`."""
    template = async_orders()
    with stage() as made:
        ratio = alone(lambda _: made.feed_many(template, [1]), effort)
        return over_critical(ratio, "async functions, AsyncRunner()")


async def order_by_hand(value: Any) -> Any:
    """The pipeline as asyncio has it."""
    checked = await same_later(value)
    waits = [asyncio.create_task(wait_beside(seconds, checked)) for seconds in SLEEPS_S.values()]
    return await decide_later(*[await wait for wait in waits])


async def wait_beside(seconds: float, value: Any) -> Any:
    """One of its branches."""
    await asyncio.sleep(seconds)
    return value


def crowd_by_hand(loop: asyncio.Runner, count: int) -> None:
    """So many at once as bare tasks."""

    async def gather() -> None:
        await asyncio.gather(*[order_by_hand(number) for number in range(count)])

    loop.run(gather())


def crowd(effort: Effort, *, has_many_runs: bool) -> Measured:
    """A thousand sleeping orders against the same as bare tasks on the same loop."""
    template, count = async_orders(), effort.size(CROWD, CROWD // 10)
    with stage() as made:
        if has_many_runs:
            run = Work(lambda _: made.feed_many(template, range(count)), setup=made.forget)
        else:
            run = made.work(template, range(count), 1)
        ratio = compare(run, Work(lambda _: crowd_by_hand(made.loop, count)), effort)
    bare = shown_time(ratio.reference)
    given = "a run each" if has_many_runs else "one run"
    return ratio.measured(note=f"{count:,} at once, {given}; bare tasks {bare}")


def crowd_memory(effort: Effort, *, has_many_runs: bool) -> Measured:
    """The most memory that a process ever holds which does that once: interpreter, Treadle and all."""
    count = effort.size(CROWD, CROWD // 10)
    told = in_child("many_runs" if has_many_runs else "one_run", count)
    before, peak = told["before"] / 1e6, told["peak"] / 1e6
    note = f"the whole process at its peak; {before:.1f} before the first of {count:,} orders"
    return Measured(peak, note, {"bytes": told})


def idle(effort: Effort, *, inputs: int) -> Measured:
    """What a run costs that has nothing to do: here or in the store, as the runner keeps it."""
    count = effort.size(10_000, 1_000)
    told = in_child("idle", count, inputs)
    each = (told["after"] - told["before"]) / 1024 / count
    done = f"after {inputs} order each" if inputs else "never given an input"
    return Measured(each, f"{count:,} runs, {done}; resident memory", {"bytes": told})


def in_child(*arguments: str | int) -> dict[str, int]:
    """What a process of its own says of its memory."""
    run = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", runner_crowd.__name__, *map(str, arguments)],
        cwd=ROOT,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(run.stderr.strip().rpartition("\n")[2])
    told: dict[str, int] = json.loads(run.stdout)
    if not told:
        raise Skip("this system does not tell a process its memory in /proc")
    return told


def in_line(effort: Effort) -> Measured:
    """Many orders without any waiting, given to one run whose steps are executed in line."""
    template, count = order().template, effort.size(1_000, 100)
    with stage(executor="inline") as made:
        return in_calls(
            made.work(template, range(count), count), effort, f"{count:,} orders, one run"
        )


def stored(effort: Effort) -> Measured:
    """The same orders with the memory store against without any."""
    template, count = order().template, effort.size(1_000, 100)
    with stage(executor="inline") as kept, stage(executor="inline", store=None) as dropped:
        with_store, without = (made.work(template, range(count), count) for made in (kept, dropped))
        return compare(with_store, without, effort).measured(
            note=f"{count:,} orders in line, one run"
        )


BENCHES = [
    Bench("runner.order_threads", "ms over", one_on_threads, 3, "beyond the longest branch"),
    Bench("runner.order_asyncio", "ms over", one_on_asyncio, 3, "beyond the longest branch"),
    Bench("runner.crowd_one_run", "x bare tasks", partial(crowd, has_many_runs=False), 2),
    Bench("runner.crowd_many_runs", "x bare tasks", partial(crowd, has_many_runs=True), 2),
    Bench("runner.crowd_one_run_memory", "MB", partial(crowd_memory, has_many_runs=False), 80),
    Bench("runner.crowd_many_runs_memory", "MB", partial(crowd_memory, has_many_runs=True), 80),
    Bench("runner.idle_new", "KiB/run", partial(idle, inputs=0), 10),
    Bench("runner.idle_done", "KiB/run", partial(idle, inputs=1), 10),
    Bench("runner.orders_inline", "calls/order", in_line, 5_000),
    Bench("runner.memory_store", "x no store", stored, 1.3),
]
