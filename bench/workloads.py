"""What is measured: graphs that any driver can run, and the same as Treadle workflows."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import treadle as td
from bench.measure import Effort, same


def pick_first(left: Any, upper: Any) -> Any:
    """A join of two."""
    return left


def decide(inventory: Any, fraud: Any, shipping: Any) -> Any:
    """A join of three."""
    return inventory


def total_of(*values: int) -> int:
    """A fold without a workflow."""
    return functools.reduce(operator.add, values, 0)


def count_values(*values: Any) -> int:
    """A join of as many parents as there are."""
    return len(values)


@dataclass(frozen=True)
class Graph:
    """Nodes in an order that runs, with their parents, functions, and what those without parents are given."""

    parents: dict[str, tuple[str, ...]]
    functions: dict[str, Callable[..., Any]]
    given: dict[str, tuple[Any, ...]]

    @property
    def edges(self) -> int:
        """How many there are."""
        return sum(map(len, self.parents.values()))


def make_graph(
    parents: dict[str, tuple[str, ...]], function_of: Callable[[str], Callable[..., Any]]
) -> Graph:
    """A graph whose roots are given the input 1: a small int, which costs no memory of its own."""
    given = {name: (1,) for name, above in parents.items() if not above}
    return Graph(parents, {name: function_of(name) for name in parents}, given)


def chain_graph(length: int) -> Graph:
    """Steps one after the other."""
    names = [f"s{i}" for i in range(length)]
    parents = {name: (above,) for above, name in itertools.pairwise(names)}
    return make_graph({names[0]: (), **parents}, lambda _: same)


def grid_graph(side: int) -> Graph:
    """Each node joins its left and its upper neighbour."""
    parents = {}
    for row, column in itertools.product(range(side), repeat=2):
        left = (f"n{row}_{column - 1}",) if column else ()
        upper = (f"n{row - 1}_{column}",) if row else ()
        parents[f"n{row}_{column}"] = left + upper
    return make_graph(parents, lambda name: pick_first if len(parents[name]) == 2 else same)


def order_graph() -> Graph:
    """Five steps: a check, three that need it, and a decision that needs the three."""
    middle = ("check_inventory", "screen_fraud", "estimate_shipping")
    parents: dict[str, tuple[str, ...]] = {"validate": ()}
    parents.update(dict.fromkeys(middle, ("validate",)))
    parents["decide"] = middle
    return make_graph(parents, lambda name: decide if name == "decide" else same)


def map_graph(items: list[int]) -> Graph:
    """A map and a reduce drawn out: a node for each item, and one that folds them."""
    names = [f"i{k}" for k in range(len(items))]
    parents: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
    parents["total"] = tuple(names)
    functions: dict[str, Callable[..., Any]] = dict.fromkeys(names, same)
    functions["total"] = total_of
    given = {name: (item,) for name, item in zip(names, items, strict=True)}
    return Graph(parents, functions, given)


def as_workflow(graph: Graph, retain: str | int = "all") -> td.Workflow:
    """The graph as a workflow, built by single adds."""
    workflow = td.workflow("bench", retain=retain)
    for node, parents in graph.parents.items():
        workflow = workflow.add(td.step(graph.functions[node], name=node), to=parents or None)
    return workflow


def map_workflow() -> td.Workflow:
    """A map over the items of the input, and a reduce."""
    workflow = td.workflow("bench").add(td.map(same, name="each"))
    return workflow.add(td.reduce(operator.add, initial=0, name="total"), to="each")


@dataclass(frozen=True)
class Workload:
    """One piece of work for all drivers: a graph, the same as a workflow, its input, and how many units it is."""

    name: str
    note: str
    units: int
    repeats: int
    """So often in one sample, so that a sample lasts for milliseconds."""
    graph: Graph
    template: td.Workflow
    value: Any


def checked(workload: Workload) -> Workload:
    """Make sure that the workflow gives what the graph gives, before its speed is of interest."""
    done = workload.template.react_until_satisfied(workload.value)
    last = list(workload.graph.parents)[-1]
    expected = run_sorter(workload.graph, TopologicalSorter(workload.graph.parents))[last]
    found = done.results(last)[last]
    if found != expected:
        raise AssertionError(f"{workload.name}: {found!r} instead of {expected!r}")
    return workload


@functools.cache
def chain(length: int) -> Workload:
    """A chain of trivial steps."""
    graph = chain_graph(length)
    repeats = max(1, 5_000 // length)
    note = f"{length:,} steps"
    return checked(Workload("chain", note, length, repeats, graph, as_workflow(graph), 1))


@functools.cache
def grid(side: int) -> Workload:
    """A square of joins."""
    graph = grid_graph(side)
    note = f"{side} x {side} joins of two"
    return checked(Workload("grid", note, side**2, 5, graph, as_workflow(graph), 1))


@functools.cache
def map_reduce(length: int) -> Workload:
    """A map over many items with a reduce."""
    items = [1] * length
    note = f"{length:,} items and a reduce"
    return checked(Workload("map", note, length, 1, map_graph(items), map_workflow(), items))


@functools.cache
def order(runs: int = 500) -> Workload:
    """A fresh run of a template of five steps."""
    graph = order_graph()
    note = "fresh run of 5 steps: 1, 3, 1"
    return checked(Workload("run", note, 1, runs, graph, as_workflow(graph), 1))


WORKLOADS: dict[str, Callable[[Effort], Workload]] = {
    "chain": lambda _: chain(1_000),
    "grid": lambda _: grid(30),
    "map": lambda effort: map_reduce(effort.size(10_000, 1_000)),
    "run": lambda effort: order(effort.size(500, 100)),
}
"""By name; built when a row first asks for them."""


# ------------------------------------------------------------------------------------ the drivers


def run_by_hand(template: td.Workflow, value: Any) -> td.Workflow:
    """The three phases, one runnable after the other."""
    workflow = template.plan_eagerly(value)
    while workflow.is_runnable():
        workflow, runnables = workflow.prepare_for_dispatch()
        for runnable in runnables:
            workflow = workflow.apply_runnable(td.execute_runnable(runnable))
        workflow = workflow.plan_eagerly()
    return workflow


def run_sorter(graph: Graph, sorter: TopologicalSorter[str]) -> dict[str, Any]:
    """Plain calls in the order of the standard library's sorter: what one would write without Treadle."""
    parents, functions, given = graph.parents, graph.functions, graph.given
    results: dict[str, Any] = {}
    sorter.prepare()
    while sorter.is_active():
        for node in sorter.get_ready():
            values = [results[parent] for parent in parents[node]] or given[node]
            results[node] = functions[node](*values)
            sorter.done(node)
    return results


class Feed:
    """A long-lived workflow that is fed one input after the other."""

    def __init__(self, template: td.Workflow, inputs: Iterable[Any]) -> None:
        self.workflow = template
        self.inputs = itertools.cycle(inputs)

    def go(self, count: int) -> None:
        """Feed so many more, each until nothing is left to do."""
        workflow = self.workflow
        for value in itertools.islice(self.inputs, count):
            workflow = workflow.react_until_satisfied(value)
        self.workflow = workflow
