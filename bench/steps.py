"""What a step costs: in a chain, in a grid of joins, in a map with a reduce, and in a short run of its own."""

from __future__ import annotations

from functools import partial
from typing import Any

from bench.measure import Bench, Effort, Measured, Work, in_calls
from bench.workloads import WORKLOADS, run_by_hand


def react(name: str, effort: Effort) -> Measured:
    """Through `react_until_satisfied`, each time from the template."""
    workload = WORKLOADS[name](effort)
    template, value = workload.template, workload.value

    def run(_: Any) -> None:
        for _ in range(workload.repeats):
            template.react_until_satisfied(value)

    return in_calls(Work(run, workload.units * workload.repeats), effort, workload.note)


def by_hand(name: str, effort: Effort) -> Measured:
    """Through the three phases, as schedulers do it."""
    workload = WORKLOADS[name](effort)

    def run(_: Any) -> None:
        for _ in range(workload.repeats):
            run_by_hand(workload.template, workload.value)

    return in_calls(Work(run, workload.units * workload.repeats), effort)


def with_results(effort: Effort) -> Measured:
    """The short run, and its results read."""
    workload = WORKLOADS["run"](effort)
    template, value = workload.template, workload.value

    def run(_: Any) -> None:
        for _ in range(workload.repeats):
            template.react_until_satisfied(value).results()

    return in_calls(Work(run, workload.repeats), effort)


BENCHES = [
    Bench("chain.react", "calls/step", partial(react, "chain"), 50),
    Bench("chain.by_hand", "calls/step", partial(by_hand, "chain")),
    Bench("grid.react", "calls/node", partial(react, "grid"), 65),
    Bench("grid.by_hand", "calls/node", partial(by_hand, "grid")),
    Bench("map.react", "calls/item", partial(react, "map"), 65),
    Bench("map.by_hand", "calls/item", partial(by_hand, "map")),
    Bench("run.react", "calls/run", partial(react, "run"), 350),
    Bench("run.results", "calls/run", with_results, note="and results()"),
    Bench("run.by_hand", "calls/run", partial(by_hand, "run")),
]
