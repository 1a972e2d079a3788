"""`python -m bench.soak N`: feed N inputs to a workflow that retains none, and print its memory as JSON.

A process of its own, so that nothing else is in the figures. A step and an accumulator: what is kept is the
state, whose size does not change.
"""

from __future__ import annotations

import gc
import json
import operator
import os
import sys
from pathlib import Path

import treadle as td
from bench.measure import same
from bench.workloads import Feed


def resident() -> int | None:
    """The bytes of this process in memory now, where Linux tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGESIZE")


def soak(inputs: int) -> dict[str, list[int]]:
    """Resident bytes and allocated blocks at 10, 50 and 100 per cent of the inputs."""
    template = td.workflow("soak", retain=0).add(td.step(same, name="step"))
    template = template.add(td.accumulator(operator.add, initial=0, name="sum"), to="step")
    feed = Feed(template, [1])
    told: dict[str, list[int]] = {"resident": [], "blocks": []}
    fed = 0
    for target in (inputs // 10, inputs // 2, inputs):
        feed.go(target - fed)
        fed = target
        gc.collect()
        told["blocks"].append(sys.getallocatedblocks())
        size = resident()
        if size is not None:
            told["resident"].append(size)
    if feed.workflow.states() != {"sum": {None: inputs}}:
        raise AssertionError(feed.workflow.states())
    return told


if __name__ == "__main__":
    print(json.dumps(soak(int(sys.argv[1]))))
