"""What the runner's rows share: workflows, an event loop with a runner on it, and works that are timed in turn."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter, sleep
from typing import Any

import treadle as td
from bench.measure import Effort, Work
from bench.workloads import as_workflow, chain_graph, decide, order_graph

SLEEPS_S = {"check_inventory": 0.2, "screen_fraud": 0.3, "estimate_shipping": 0.15}
"""How long the three branches of the order pipeline wait for their services."""

CRITICAL_S = 0.3


async def same_later(value: Any) -> Any:
    """The trivial async step."""
    return value


def chain_of(function: Callable[..., Any], length: int) -> td.Workflow:
    """Steps of one function, one after the other."""
    graph = chain_graph(length)
    return as_workflow(replace(graph, functions=dict.fromkeys(graph.functions, function)))


def wait_for(seconds: float) -> Callable[[Any], Any]:
    """A branch of the pipeline that blocks."""

    def wait(order: Any) -> Any:
        sleep(seconds)
        return order

    return wait


def await_for(seconds: float) -> Callable[[Any], Any]:
    """A branch of the pipeline that is awaited."""

    async def wait(order: Any) -> Any:
        await asyncio.sleep(seconds)
        return order

    return wait


async def decide_later(inventory: Any, fraud: Any, shipping: Any) -> Any:
    """The decision, as a program writes it whose steps are all async."""
    return decide(inventory, fraud, shipping)


def blocking_orders() -> td.Workflow:
    """The order pipeline in plain functions: a check, three that wait for a service, a decision."""
    graph = order_graph()
    waits = {name: wait_for(seconds) for name, seconds in SLEEPS_S.items()}
    return as_workflow(replace(graph, functions={**graph.functions, **waits}))


def async_orders() -> td.Workflow:
    """The order pipeline in async functions."""
    waits = {name: await_for(seconds) for name, seconds in SLEEPS_S.items()}
    functions: dict[str, Callable[..., Any]] = {
        "validate": same_later,
        **waits,
        "decide": decide_later,
    }
    return as_workflow(replace(order_graph(), functions=functions))


class Stage:
    """An `AsyncRunner` and the event loop that it lives on."""

    def __init__(self, loop: asyncio.Runner, options: dict[str, Any]) -> None:
        async def make() -> td.AsyncRunner:
            return td.AsyncRunner(**options)

        self.loop = loop
        self.runner: td.AsyncRunner = loop.run(make())
        self.ids: list[str] = []

    def fresh(self, template: td.Workflow, **options: Any) -> str:
        """A run without a past; those before it are forgotten."""

        async def start() -> str:
            return await self.runner.start(template, **options)

        self.forget()
        self.ids = [self.loop.run(start())]
        return self.ids[0]

    def feed(self, id: str, inputs: Sequence[Any]) -> None:
        """Give a run all its inputs, then wait until all are finished."""

        async def feed() -> None:
            tickets = [await self.runner.run(id, value) for value in inputs]
            for ticket in tickets:
                await ticket

        self.loop.run(feed())

    def feed_many(self, template: td.Workflow, inputs: Sequence[Any]) -> None:
        """Give each input a run of its own, then wait until all are finished."""

        async def feed() -> None:
            tickets = []
            for value in inputs:
                id = await self.runner.start(template)
                self.ids.append(id)
                tickets.append(await self.runner.run(id, value))
            for ticket in tickets:
                await ticket

        self.loop.run(feed())

    def forget(self) -> None:
        """Let go of all runs."""

        async def stop(ids: list[str]) -> None:
            for id in ids:
                await self.runner.stop(id, persist=False)

        ids, self.ids = self.ids, []
        self.loop.run(stop(ids))

    def work(
        self, template: td.Workflow, inputs: Sequence[Any], units: int, **options: Any
    ) -> Work:
        """To measure: the inputs of a fresh run, which is started before."""
        return Work(
            lambda started: self.feed(started, inputs),
            units,
            lambda: self.fresh(template, **options),
        )


@contextmanager
def stage(**options: Any) -> Generator[Stage]:
    """A runner with these options, closed at the end."""
    with asyncio.Runner() as loop:
        made = Stage(loop, options)
        try:
            yield made
        finally:
            loop.run(made.runner.close())


def in_turn(works: Sequence[Work], effort: Effort) -> Iterator[list[float]]:
    """Time several works, one after the other, repeatedly; as `compare` does with two."""
    for work in works:
        work.time()  # compiles programs, fills caches
    count, end = 0, perf_counter() + effort.seconds
    while count < effort.least or (count < effort.most and perf_counter() < end):
        gc.collect()
        yield [work.time() for work in works]
        count += 1
