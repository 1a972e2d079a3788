"""Ready work of real workflows, and a view on it, for tests of schedulers."""

from typing import Any

import treadle as td
from treadle.policies.matching import policies_from
from treadle.testing.ready_work import GraphView, Scenario


class Ready:
    """What is ready in a workflow that was fed some inputs, and what a scheduler may ask of it."""

    def __init__(
        self,
        workflow: td.Workflow,
        *inputs: Any,
        policies: Any = None,
        slots: int = 4,
        generations: int = 0,
    ) -> None:
        scenario = Scenario(
            name=workflow.name,
            workflow=workflow,
            inputs=inputs,
            policies=policies_from(policies),
            slots=slots,
        )
        self.view = GraphView(scenario)
        for value in inputs:
            workflow = workflow.plan_eagerly(value)
        for _ in range(generations):
            workflow = workflow.react()
        self.workflow, self.runnables = workflow.prepare_for_dispatch()

    def plan(self, scheduler: Any) -> list[Any]:
        """The bundles that a scheduler makes of it."""
        return list(scheduler.plan(self.runnables, self.view))

    def ids(self, scheduler: Any) -> list[list[str]]:
        """The same, as the ids of runnables and the nodes of links."""
        return [
            [each.id for each in bundle.runnables] + [link.node for link in bundle.links]
            for bundle in self.plan(scheduler)
        ]


def same(value: Any) -> Any:
    """What most steps of these workflows do."""
    return value


async def awaited(value: Any) -> Any:
    """What async steps do."""
    return value


def steps(*names: str, above: str | None = None, start: td.Workflow | None = None) -> td.Workflow:
    """A line of plain steps, below a component of a workflow or in one of their own."""
    workflow = td.workflow("line") if start is None else start
    for name in names:
        workflow, above = workflow.add(td.step(same, name=name), to=above), name
    return workflow


def fan(name: str = "score") -> td.Workflow:
    """A fan-out, whose items are ready one generation after its input."""
    return td.workflow("fan").add(td.map(same, name=name))


def items(count: int, *inputs: Any, function: Any = same, **wishes: Any) -> Ready:
    """So many ready runnables of one node: one for each input."""
    workflow = td.workflow("items").add(td.step(function, name="score"))
    return Ready(workflow, *(inputs or range(count)), **wishes)
