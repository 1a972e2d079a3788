"""Graphs that nobody drew for a benchmark: recorded scientific workflows, and joins of many widths.

The recordings (WfCommons, LGPL, data only) are read where they are, and not part of this repository: in the folder
that TREADLE_WF_INSTANCES names, or in ../shared/data/wf_instances. Without them their rows are skipped.
"""

from __future__ import annotations

import functools
import gzip
import json
import os
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from bench.measure import ROOT, Bench, Effort, Measured, Skip, Work, compare, in_calls
from bench.workloads import (
    Graph,
    Workload,
    as_workflow,
    checked,
    count_values,
    make_graph,
    run_sorter,
)

VARIABLE = "TREADLE_WF_INSTANCES"
INSTANCES = {
    "rnaseq": "rnaseq-dirt02-001.json",
    "bwa": "bwa-chameleon-large-001.json.gz",
    "epigenomics": "epigenomics-chameleon-ilmn-6seq-50k-001.json.gz",
}
WIDTHS = (10, 100, 500, 1_000, 2_000)
EDGES = 10_000
"""About so many in one sample."""


def read_instance(name: str) -> dict[str, tuple[str, ...]]:
    """The tasks of a recording with their parents, in an order that runs, under names without dots."""
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else ROOT.parent / "shared" / "data" / "wf_instances"
    path = folder / INSTANCES[name]
    if not path.exists():
        raise Skip(f"{path.name} is not there; name its folder in {VARIABLE}")
    raw = path.read_bytes()
    told = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    tasks = told["workflow"]["specification"]["tasks"]
    numbers = {task["id"]: f"t{number}" for number, task in enumerate(tasks)}
    parents = {
        numbers[task["id"]]: tuple(numbers[parent] for parent in task["parents"]) for task in tasks
    }
    return {name: parents[name] for name in TopologicalSorter(parents).static_order()}


@functools.cache
def recording(name: str) -> Workload:
    """A recording whose tasks count their parents."""
    graph = make_graph(read_instance(name), lambda _: count_values)
    tasks = len(graph.parents)
    repeats = max(1, 3_000 // tasks)
    return checked(Workload(name, "", tasks, repeats, graph, as_workflow(graph), 1))


def replayed(name: str, effort: Effort, *, whole: bool) -> Measured:
    """A fresh run against the hand-driven sorter, a task; `whole`: the making of the sorter included."""
    workload = recording(name)
    graph, count = workload.graph, workload.repeats
    units = workload.units * count

    def react(_: Any) -> None:
        for _ in range(count):
            workload.template.react_until_satisfied(1)

    def sorters() -> list[TopologicalSorter[str]]:
        return [TopologicalSorter(graph.parents) for _ in range(count)]

    def drive(made: list[TopologicalSorter[str]] | None) -> None:
        for sorter in made or sorters():
            run_sorter(graph, sorter)

    against = Work(drive, units) if whole else Work(drive, units, sorters)
    widest = max(map(len, graph.parents.values()))
    note = f"{workload.units:,} tasks, {graph.edges:,} edges, widest join {widest:,}"
    return compare(Work(react, units), against, effort).measured(note=note)


def join_graph(width: int) -> Graph:
    """One source, so many steps, and one join of them all."""
    middle = tuple(f"m{i}" for i in range(width))
    parents: dict[str, tuple[str, ...]] = {"source": ()}
    parents.update(dict.fromkeys(middle, ("source",)))
    return make_graph({**parents, "join": middle}, lambda _: count_values)


def dense_graph(side: int) -> Graph:
    """Two layers; each node of the second joins all of the first."""
    first = tuple(f"a{i}" for i in range(side))
    parents: dict[str, tuple[str, ...]] = dict.fromkeys(first, ())
    parents.update({f"b{i}": first for i in range(side)})
    return make_graph(parents, lambda _: count_values)


def edge_work(graph: Graph) -> Work:
    """Fresh runs, by the edge; that a root hangs on the raw input counts as one."""
    edges = graph.edges + len(graph.given)
    repeats = max(1, EDGES // edges)
    last = list(graph.parents)[-1]
    workload = checked(Workload(last, "", edges, repeats, graph, as_workflow(graph), 1))

    def run(_: Any) -> None:
        for _ in range(repeats):
            workload.template.react_until_satisfied(1)

    return Work(run, edges * repeats)


def by_edge(graph: Graph, effort: Effort) -> Measured:
    """The cost of an edge in bare calls."""
    return in_calls(edge_work(graph), effort, f"{graph.edges:,} edges")


def edge_growth(effort: Effort) -> Measured:
    """An edge of a wide join against one of a narrow join."""
    narrow, wide = 100, WIDTHS[-1]
    ratio = compare(edge_work(join_graph(wide)), edge_work(join_graph(narrow)), effort)
    return ratio.measured(
        note=f"a join of {wide:,} against one of {narrow}; the square would be 20"
    )


BENCHES = [
    *(
        Bench(f"recorded.{name}", "x sorter", partial(replayed, name, whole=False), 2.5)
        for name in INSTANCES
    ),
    *(
        Bench(
            f"recorded.{name}_whole",
            "x sorter",
            partial(replayed, name, whole=True),
            note="a new sorter made for each run",
        )
        for name in INSTANCES
    ),
    *(
        Bench(f"edges.join_{width}", "calls/edge", partial(by_edge, join_graph(width)))
        for width in WIDTHS
    ),
    Bench("edges.dense", "calls/edge", partial(by_edge, dense_graph(100))),
    Bench("edges.growth", "x", edge_growth, 2),
]
