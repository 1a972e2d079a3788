"""What a bundle costs on Dask and on Ray, against giving the same function to them directly.

All tasks are in flight together, on a cluster of two processes on this machine. Rows of what is not installed are
skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from threading import Event
from typing import Any

from bench.measure import Bench, Effort, Measured, Skip, Work, child_environment, compare, same
from treadle.executors.dask import DaskExecutor
from treadle.executors.ray import RayExecutor
from treadle.interfaces import Executor
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome, Runnable

WAIT_S = 120.0


class Answers:
    """Counts the answers of an executor."""

    def __init__(self) -> None:
        self.missing = 0
        self.all_there = Event()

    def expect(self, count: int) -> None:
        """Begin to count down from here."""
        self.missing = count
        self.all_there.clear()

    def __call__(self, _: int, outcomes: Sequence[Outcome]) -> None:
        """Hear an answer."""
        if not outcomes[0].is_ok:
            raise AssertionError(outcomes[0])
        self.missing -= 1
        if not self.missing:
            self.all_there.set()


def bundle_of(value: Any) -> Bundle:
    """One call of the trivial step."""
    runnable = Runnable(component="same", node="same/step", scope=(0,), call=same, args=(value,))
    return Bundle(runnables=(runnable,))


def measured(
    executor: Executor, answers: Answers, direct: Callable[[int], Any], effort: Effort
) -> Measured:
    """The cost of a bundle in direct tasks; the executor is open."""
    tasks = effort.size(300, 50)
    numbers = iter(range(10**9))

    def by_executor(_: Any) -> None:
        answers.expect(tasks)
        for value in range(tasks):
            executor.submit(next(numbers), bundle_of(value))
        if not answers.all_there.wait(WAIT_S):
            raise AssertionError(f"{answers.missing} of {tasks} bundles were not answered")

    longer = replace(effort, seconds=effort.seconds * 10)
    ratio = compare(Work(by_executor, tasks), Work(lambda _: direct(tasks), tasks), longer)
    return ratio.measured(note=f"{tasks} tasks at once")


def on_dask(effort: Effort) -> Measured:
    """A local cluster of Dask, one thread in each process."""
    needs("distributed")
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def direct(tasks: int) -> None:
            futures = [client.submit(same, value, pure=False) for value in range(tasks)]
            client.gather(futures)

        answers, executor = Answers(), DaskExecutor(client)
        executor.open(answers)
        try:
            return measured(executor, answers, direct, effort)
        finally:
            executor.close()


def on_ray(effort: Effort) -> Measured:
    """A local Ray, one process for each of two cores."""
    needs("ray")
    os.environ["PYTHONPATH"] = child_environment()["PYTHONPATH"]
    import ray

    answers, executor = Answers(), RayExecutor(num_cpus=2, log_to_driver=False)
    executor.open(answers)
    task = ray.remote(same)

    def direct(tasks: int) -> None:
        ray.get([task.remote(value) for value in range(tasks)])

    try:
        return measured(executor, answers, direct, effort)
    finally:
        executor.close()


def needs(package: str) -> None:
    """Skip the row if a package is not installed."""
    if find_spec(package) is None:
        raise Skip(f"{package} is not installed")


BENCHES = [
    Bench("clusters.dask", "tasks", on_dask, bound=1.2, note="against client.submit and gather"),
    Bench("clusters.ray", "tasks", on_ray, bound=1.2, note="against remote and get"),
]
