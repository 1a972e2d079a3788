"""The same workloads without Treadle, and on threads: what the figures mean. Shown, not bounded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from graphlib import TopologicalSorter
from queue import SimpleQueue
from typing import Any

from bench.measure import Bench, Effort, Measured, Work, in_calls
from bench.workloads import WORKLOADS, Graph, Workload, run_sorter

THREADS = 8


def by_sorter(workload: Workload) -> None:
    """Plain calls in the order of a sorter, made anew for each run."""
    run_sorter(workload.graph, TopologicalSorter(workload.graph.parents))


def by_pool(workload: Workload) -> None:
    """A sorter that submits to a pool what is ready, as it becomes ready."""
    graph = workload.graph
    sorter = TopologicalSorter(graph.parents)
    sorter.prepare()
    with ThreadPoolExecutor(THREADS) as pool:
        _Submitting(graph, sorter, pool).run()


class _Submitting:
    """One run on a pool: the least that is needed to start each node as soon as its parents are done."""

    def __init__(
        self, graph: Graph, sorter: TopologicalSorter[str], pool: ThreadPoolExecutor
    ) -> None:
        self.graph, self.sorter, self.pool = graph, sorter, pool
        self.results: dict[str, Any] = {}
        self.out: dict[Future[Any], str] = {}
        self.back: SimpleQueue[Future[Any]] = SimpleQueue()

    def submit_ready(self) -> None:
        graph, results = self.graph, self.results
        for node in self.sorter.get_ready():
            values = [results[parent] for parent in graph.parents[node]] or graph.given[node]
            future = self.pool.submit(graph.functions[node], *values)
            self.out[future] = node
            future.add_done_callback(self.back.put)

    def run(self) -> None:
        self.submit_ready()
        while self.out:
            future = self.back.get()
            node = self.out.pop(future)
            self.results[node] = future.result()
            self.sorter.done(node)
            self.submit_ready()


def on_threads(workload: Workload) -> None:
    """Treadle's own threads."""
    workload.template.react_until_satisfied(
        workload.value, executor="threads", max_concurrency=THREADS
    )


DRIVERS: dict[str, tuple[Callable[[Workload], None], str]] = {
    "sorter": (by_sorter, "plain calls driven by graphlib"),
    "pool": (by_pool, f"bare ThreadPoolExecutor({THREADS}), futures"),
    "threads": (on_threads, f'treadle, executor="threads", {THREADS}'),
}


def driven(name: str, driver: str, effort: Effort) -> Measured:
    """A workload by one of the drivers, in bare calls a unit."""
    workload = WORKLOADS[name](effort)
    run_once, _ = DRIVERS[driver]
    # A sample on threads is long enough without.
    repeats = workload.repeats if driver == "sorter" else max(1, workload.repeats // 20)

    def run(_: Any) -> None:
        for _ in range(repeats):
            run_once(workload)

    return in_calls(Work(run, workload.units * repeats), effort)


UNITS = {"chain": "step", "grid": "node", "map": "item", "run": "run"}

BENCHES = [
    Bench(f"{name}.{driver}", f"calls/{unit}", partial(driven, name, driver), note=note)
    for name, unit in UNITS.items()
    for driver, (_, note) in DRIVERS.items()
]
