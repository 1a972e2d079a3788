"""What the runner adds to a step, by where it is executed; to a call from another thread; and what bundles save."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import treadle as td
from bench.measure import (
    Bench,
    Effort,
    Measured,
    Ratio,
    Skip,
    Work,
    compare,
    same,
    shown_number,
    shown_time,
)
from bench.runner_work import chain_of, in_turn, same_later, stage
from treadle.schedulers import BatchScheduler, ChainScheduler, DefaultScheduler

# ------------------------------------------------------------------------------- a step of a chain


def async_step(effort: Effort) -> Measured:
    """An async step against a task of its own for the same coroutine, awaited."""
    length = effort.size(1_000, 100)

    async def tasks() -> None:
        for _ in range(length):
            await asyncio.create_task(same_later(1))

    with stage() as made:
        bare = Work(lambda _: made.loop.run(tasks()), length)
        ratio = compare(made.work(chain_of(same_later, length), [1], length), bare, effort)
    return against(ratio, f"a chain of {length:,}", "a task")


def thread_step(effort: Effort) -> Measured:
    """A step in a thread against a future of a pool, waited for."""
    length = effort.size(1_000, 100)
    with stage() as made, ThreadPoolExecutor() as pool:

        def futures(_: Any) -> None:
            for _ in range(length):
                pool.submit(same, 1).result()

        work = made.work(chain_of(same, length), [1], length)
        ratio = compare(work, Work(futures, length), effort)
    return against(ratio, f"a chain of {length:,}", "a future")


def inline_step(effort: Effort) -> Measured:
    """A step in line against the same in `react_until_satisfied`."""
    length = effort.size(1_000, 100)
    template = chain_of(same, length)
    bare = Work(lambda _: template.react_until_satisfied(1), length)
    with stage(executor="inline") as made:
        ratio = compare(made.work(template, [1], length), bare, effort)
    return against(ratio, f"a chain of {length:,}", "without a runner")


def against(ratio: Ratio, note: str, reference: str) -> Measured:
    """The ratio, and what it is to."""
    return ratio.measured(note=f"{note}; {reference} {shown_time(ratio.reference)}")


# -------------------------------------------------------------------------- a call of the blocking


CALLS = 200
"""In one sample."""

CALL_BLOCKING: dict[str, Callable[[td.Runner, str], Any]] = {
    "run": lambda runner, run: runner.run(run, 1),
    "get_workflow": lambda runner, run: runner.get_workflow(run),
}


async def run_alone(runner: td.AsyncRunner, run: str) -> None:
    """An input that is executed before the next one comes, as those of a blocking caller are: one by one."""
    await runner.run(run, 1)
    await asyncio.sleep(0)


CALL_ASYNC: dict[str, Callable[[td.AsyncRunner, str], Any]] = {
    "run": run_alone,
    "get_workflow": lambda runner, run: runner.get_workflow(run),
}


async def nothing_later() -> None:
    """What a bare call across threads does."""


@contextmanager
def loop_elsewhere() -> Generator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def blocking_call(name: str, effort: Effort) -> Measured:
    """What a call of `Runner` takes beyond the same call of an `AsyncRunner`, in bare calls across threads.

    Both runners do the same work for the call; the difference is the way to the other thread and back.
    """
    template = chain_of(same, 1)
    blocking, direct = CALL_BLOCKING[name], CALL_ASYNC[name]
    with (
        td.Runner(executor="inline") as runner,
        stage(executor="inline") as made,
        loop_elsewhere() as loop,
    ):

        def start() -> str:
            run = runner.start(template)
            runner.run(run, 1).result()
            return run

        def start_direct() -> str:
            run = made.fresh(template)
            made.feed(run, [1])
            return run

        def call(run: str) -> None:
            for _ in range(CALLS):
                blocking(runner, run)
            runner.wait(run)

        async def call_direct(run: str) -> None:
            for _ in range(CALLS):
                await direct(made.runner, run)
            await made.runner.wait(run)

        def cross(_: Any) -> None:
            for _ in range(CALLS):
                asyncio.run_coroutine_threadsafe(nothing_later(), loop).result()

        ratio = added(
            Work(call, CALLS, start),
            Work(lambda run: made.loop.run(call_direct(run)), CALLS, start_direct),
            Work(cross, CALLS),
            effort,
        )
    return against(ratio, f"added to {name}", "run_coroutine_threadsafe(...).result()")


def added(work: Work, less: Work, reference: Work, effort: Effort) -> Ratio:
    """What one work takes beyond another, beside a reference."""
    times = list(in_turn((reference, work, less, reference), effort))
    costs = [whole - part for _, whole, part, _ in times]
    return Ratio(costs, [(before + after) / 2 for before, _, _, after in times])


# ------------------------------------------------------------------------------------ bundles


def batched_map(executor: str, effort: Effort) -> Measured:
    """The items of a map in batches against each dispatched alone."""
    count = effort.size(10_000, 1_000)
    template = td.workflow("items").add(td.map(same, name="each"))
    with stage(executor=executor) as made:
        alone, bundled = (
            made.work(template, [range(count)], count, scheduler=each)
            for each in (DefaultScheduler(), BatchScheduler())
        )
        return quicker(alone, bundled, effort, f"{count:,} items on {executor}")


def bundled_chain(effort: Effort) -> Measured:
    """A chain dispatched as one against each step alone."""
    length = effort.size(1_000, 100)
    template = chain_of(same, length)
    with stage() as made:
        alone = made.work(template, [1], length)
        bundled = made.work(template, [1], length, scheduler=ChainScheduler())
        return quicker(alone, bundled, effort, f"a chain of {length:,} on threads")


def quicker(alone: Work, bundled: Work, effort: Effort, note: str) -> Measured:
    """The cost of bundled work in that of the same dispatched one by one; the long one is measured least often."""
    ratio = compare(alone, bundled, replace(effort, least=3))
    shown = f"{note}: {shown_time(ratio.reference)} against {shown_time(ratio.cost)} each"
    return ratio.measured(1 / ratio.value, f"{shown}, {shown_number(ratio.value)} times quicker")


def compute(rounds: int) -> int:
    """A body that only computes."""
    value = 1
    for _ in range(rounds):
        value = (value * 31 + 7) % 1_000_003
    return value


SPREAD = 1 / 1.7
"""Two processes are to be at least 1.7 times as quick as one."""


def two_processes(effort: Effort) -> Measured:
    """A map that computes, on two worker processes against in line; a bare pool says what the machine gives."""
    items = [effort.size(400_000, 40_000)] * 16
    template = td.workflow("items").add(td.map(compute, name="each"))
    with (
        stage(executor="processes:2") as spread,
        stage(executor="inline") as alone,
        ProcessPoolExecutor(2) as pool,
    ):
        in_line, beside = (made.work(template, [items], 1) for made in (alone, spread))
        bare = Work(lambda _: list(pool.map(compute, items)))
        times = list(in_turn((in_line, beside, bare, in_line), effort))
    references = [(before + after) / 2 for before, _, _, after in times]
    ratio = Ratio([cost for _, cost, _, _ in times], references)
    pooled = Ratio([cost for _, _, cost, _ in times], references)
    found = f"{shown_number(1 / ratio.value)} times quicker, a bare pool {shown_number(1 / pooled.value)} times"
    if pooled.value > SPREAD and ratio.value > SPREAD:
        raise Skip(f"two processors are not free here: {found}")
    return ratio.measured(note=f"{len(items)} items on processes:2, {found}")


BENCHES = [
    Bench("runner.async_step", "x a task", async_step, 3),
    Bench("runner.thread_step", "x a future", thread_step, 3),
    Bench("runner.inline_step", "x react", inline_step, 2),
    Bench("runner.blocking_run", "bare calls", partial(blocking_call, "run"), 1.5),
    Bench("runner.blocking_read", "bare calls", partial(blocking_call, "get_workflow"), 1.5),
    Bench("runner.map_threads", "x one by one", partial(batched_map, "threads"), 0.1),
    Bench("runner.map_processes", "x one by one", partial(batched_map, "processes:2"), 0.1),
    Bench("runner.chain_threads", "x one by one", bundled_chain, 0.1),
    Bench("runner.two_processes", "x in line", two_processes, SPREAD),
]
