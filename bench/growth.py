"""What does not grow: the cost of a step with the graph, of an input with history, and memory with retain=0."""

from __future__ import annotations

import functools
import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import treadle as td
from bench import soak
from bench.measure import (
    ROOT,
    Bench,
    Effort,
    Measured,
    Skip,
    Work,
    child_environment,
    compare,
    shown_number,
)
from bench.workloads import (
    Feed,
    as_workflow,
    chain,
    chain_graph,
    map_workflow,
    order,
    order_graph,
    run_by_hand,
)

WINDOW = 200
"""So many inputs are averaged."""


def long_chain(effort: Effort) -> Measured:
    """A step of a long chain against one of a short chain, each run fresh from its template."""
    short, length = chain(1_000), effort.size(100_000, 10_000)
    template = as_workflow(chain_graph(length))  # not kept: nothing else uses it
    runs = 20

    def run_short(_: Any) -> None:
        for _ in range(runs):
            short.template.react_until_satisfied(1)

    ratio = compare(
        Work(lambda _: template.react_until_satisfied(1), length),
        Work(run_short, runs * short.units),
        effort,
    )
    return ratio.measured(note=f"a chain of {length:,} against one of 1,000")


def late_inputs(retain: str | int, effort: Effort) -> Measured:
    """Inputs of an old workflow against those around the 100th of a young one, in windows taken in turn."""
    late = effort.size(20_000, 2_000)
    template = as_workflow(order_graph(), retain)
    old = Feed(template, [1])
    old.go(
        late - WINDOW // 2
    )  # compare's own first window stands around the input meant; then older
    ratio = compare(
        Work(lambda _: old.go(WINDOW), WINDOW),
        Work(lambda feed: feed.go(WINDOW), WINDOW, lambda: Feed(template, [1])),
        effort,
    )
    return ratio.measured(
        note=f"from the {late:,}th on against around the 100th, retain={retain!r}"
    )


def mean_input(effort: Effort) -> Measured:
    """The mean over a whole long life, which the garbage collector's full passes are in."""
    late = effort.size(20_000, 2_000)
    template = order().template
    ratio = compare(
        Work(lambda feed: feed.go(late), late, lambda: Feed(template, [1])),
        Work(lambda feed: feed.go(WINDOW), WINDOW, lambda: Feed(template, [1])),
        effort,
    )
    return ratio.measured(note=f"mean of the first {late:,} against that of the first {WINDOW}")


@functools.cache
def soaked(inputs: int) -> dict[str, list[int]]:
    """What a process that fed so many inputs says of its memory, at 10, 50 and 100 per cent."""
    run = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", soak.__name__, str(inputs)],
        cwd=ROOT,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(run.stderr.strip().rpartition("\n")[2])
    told: dict[str, list[int]] = json.loads(run.stdout)
    return told


def resident(effort: Effort) -> Measured:
    """The memory that the system counts, at the end against a tenth of the way."""
    inputs = effort.size(1_000_000, 50_000)
    told = soaked(inputs)["resident"]
    if not told:
        raise Skip("this system does not tell a process its resident memory in /proc")
    shown = ", ".join(f"{size / 2**20:.1f}" for size in told)
    note = f"{inputs:,} inputs, retain=0; {shown} MiB at 10, 50, 100%"
    return Measured(told[-1] / told[0], note, {"bytes": told})


def blocks(effort: Effort) -> Measured:
    """The blocks that Python has allocated: to the block, where the system counts in pages."""
    inputs = effort.size(1_000_000, 50_000)
    told = soaked(inputs)["blocks"]
    shown = ", ".join(f"{count:,}" for count in told)
    note = f"allocated from 10 to 100% of {inputs:,} inputs; {shown}"
    return Measured(told[-1] - told[0], note, {"blocks": told})


def traced(template: td.Workflow, live: Callable[[td.Workflow], td.Workflow]) -> Measured:
    """Bytes a fact of a history that is kept; all values are one small int, which costs nothing itself."""
    live(template)  # compiles the program, which is not history
    gc.collect()
    tracemalloc.start()
    try:
        workflow = live(template)
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    facts = len(workflow.facts())
    note = f"{facts:,} facts in {shown_number(size / 1024)} KiB"
    return Measured(size / facts, note, {"bytes": size, "facts": facts})


def kept_chain(_: Effort) -> Measured:
    """One input, many steps."""
    return traced(chain(1_000).template, lambda template: template.react_until_satisfied(1))


def kept_by_hand(_: Effort) -> Measured:
    """The same in three phases, whose marks are kept with the facts."""
    return traced(chain(1_000).template, lambda template: run_by_hand(template, 1))


def kept_inputs(effort: Effort) -> Measured:
    """Many inputs, few steps."""

    def live(template: td.Workflow) -> td.Workflow:
        feed = Feed(template, [1])
        feed.go(effort.size(2_000, 500))
        return feed.workflow

    return traced(order().template, live)


def kept_items(effort: Effort) -> Measured:
    """One input, many items."""
    items = [1] * effort.size(10_000, 2_000)
    return traced(map_workflow(), lambda template: template.react_until_satisfied(items))


BENCHES = [
    Bench("growth.chain", "x", long_chain, 1.3),
    Bench("growth.inputs", "x", partial(late_inputs, "all"), 1.2),
    Bench("growth.inputs_forgotten", "x", partial(late_inputs, 0), 1.2),
    Bench("growth.inputs_mean", "x", mean_input),
    Bench("growth.resident", "x", resident, 1.05),
    Bench("growth.blocks", "blocks", blocks, 1_000),
    Bench("memory.chain", "bytes/fact", kept_chain, 700),
    Bench("memory.by_hand", "bytes/fact", kept_by_hand, 700),
    Bench("memory.inputs", "bytes/fact", kept_inputs, 700),
    Bench("memory.map", "bytes/fact", kept_items, 700),
]
