"""The schedulers under a real runner with real threads: the same results, and bundles that really go out."""

import math

import pytest

import treadle as td
from treadle.schedulers import (
    AdaptiveScheduler,
    BatchScheduler,
    ChainScheduler,
    DefaultScheduler,
    PriorityScheduler,
)

PATIENCE_S = 20

# Each scheduler with the kinds of bundles that it must have made; an adaptive one depends on the machine.
SCHEDULERS = {
    "default": (DefaultScheduler, {"single"}),
    "chains": (ChainScheduler, {"single", "chain"}),
    "batches": (BatchScheduler, {"single", "parallel"}),
    "adaptive": (AdaptiveScheduler, set()),
    "priority": (lambda: PriorityScheduler(BatchScheduler()), {"single", "parallel"}),
}


def roots() -> td.Workflow:
    """A fan-out with a chain in each item, one of which fails."""
    workflow = td.workflow("roots").add(td.map(math.sqrt, name="root"))
    workflow = workflow.add(td.step(math.floor, name="floor"), to="root")
    workflow = workflow.add(td.step(math.factorial, name="factorial"), to="floor")
    return workflow.add(td.collect(name="all", on_item_failure="skip"), to="factorial")


@pytest.mark.parametrize(("make", "kinds"), SCHEDULERS.values(), ids=SCHEDULERS)
def test_a_runner_gives_the_results_of_the_bare_loop(make, kinds):
    """Several inputs in flight, items that fail, few slots."""
    inputs = [list(range(count)) for count in (30, 5, 0, 12)] + [[4, -1, 9]]
    dispatched: list[td.Bundle] = []
    hooks = td.Hooks(on_dispatch=lambda _, bundle: dispatched.append(bundle))
    with td.Runner(scheduler=make(), executor="threads:2", hooks=hooks) as runner:
        runner.start(roots(), "numbers")
        tickets = [runner.run("numbers", value) for value in inputs]
        results = [ticket.result(timeout=PATIENCE_S) for ticket in tickets]

    assert results == [roots().react_until_satisfied(value).results() for value in inputs]
    assert {bundle.kind for bundle in dispatched} >= kinds
