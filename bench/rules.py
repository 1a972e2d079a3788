"""What a fact costs where many rules watch: by the rules that can match, not by all of them."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import treadle as td
from bench.measure import Bench, Effort, Measured, Work, compare, in_calls, same
from bench.workloads import Feed

INPUTS = 200
"""In one sample."""

FEW = 10


def literal(i: int) -> Any:
    """One kind each, on a shared key."""
    return td.match(kind=f"k{i}")


def threshold(i: int) -> Any:
    """One lower limit each."""
    return td.match(amount=td.gt(i))


def band(i: int) -> Any:
    """One band each; they lie side by side."""
    return td.match(amount=td.between(10 * i, 10 * i + 9))


def common(_: int) -> Any:
    """The same pattern for all."""
    return td.match(kind="k0")


CONDITIONS = {"literal": literal, "gt": threshold, "between": band, "common": common}


def one_match(kind: str, count: int) -> list[dict[str, Any]]:
    """Inputs of which each matches one rule of so many, in no order that a cache could like."""
    if kind == "gt":  # only above the lowest limit does exactly one hold
        return [{"kind": "order", "amount": 0.5}]
    numbers = random.Random(7).sample(range(count), min(count, 1_000))
    if kind == "between":
        return [{"kind": "order", "amount": 10 * i + 5} for i in numbers]
    return [{"kind": f"k{i}", "amount": 5} for i in numbers]


def watched(kind: str, count: int) -> td.Workflow:
    """A workflow of so many rules."""
    workflow = td.workflow("rules")
    for i in range(count):
        condition = CONDITIONS[kind](i)
        workflow = workflow.add(td.rule(same, name=f"r{i}", condition=condition))
    return workflow


def fired(template: td.Workflow, value: Any) -> int:
    """How many rules fire for a value."""
    return len(template.react_until_satisfied(value).results())


def check_fired(template: td.Workflow, value: Any, expected: int) -> None:
    """Make sure of what is measured."""
    if (found := fired(template, value)) != expected:
        raise AssertionError(f"{found} rules fired for {value!r}, not {expected}")


def many(kind: str, effort: Effort) -> Measured:
    """An input of a long-lived workflow of many rules against one of few."""
    count = effort.size(10_000, 1_000)
    feeds = []
    for size in (count, FEW):
        template, inputs = watched(kind, size), one_match(kind, size)
        check_fired(template, inputs[0], 1)
        feeds.append(Feed(template, inputs))
    large, small = feeds
    ratio = compare(
        Work(lambda _: large.go(INPUTS), INPUTS), Work(lambda _: small.go(INPUTS), INPUTS), effort
    )
    return ratio.measured(note=f"{count:,} rules and one match against {FEW}")


def fresh(effort: Effort) -> Measured:
    """The same where each input has a run of its own."""
    count = effort.size(10_000, 1_000)

    def run(template: td.Workflow, inputs: list[Any], _: Any) -> None:
        for value in inputs:
            template.react_until_satisfied(value)

    large, small = (
        Work(partial(run, watched("literal", size), inputs), len(inputs))
        for size, inputs in ((size, one_match("literal", size)[:INPUTS]) for size in (count, FEW))
    )
    return compare(large, small, effort).measured(note="as rules.literal, each input a fresh run")


def all_match(kind: str, value: Any, effort: Effort) -> Measured:
    """Inputs that all rules match, by the match; each a fresh run, since what is kept would fill the memory."""
    count = effort.size(10_000, 1_000)
    template = watched(kind, count)
    check_fired(template, value, count)
    work = Work(lambda _: template.react_until_satisfied(value), count)
    return in_calls(work, effort, f"all of {count:,} fire")


BENCHES = [
    Bench("rules.literal", "x", partial(many, "literal"), 3),
    Bench("rules.gt", "x", partial(many, "gt"), 3),
    Bench("rules.between", "x", partial(many, "between"), 3),
    Bench("rules.fresh", "x", fresh),
    Bench("rules.literal_all", "calls/match", partial(all_match, "common", {"kind": "k0"})),
    Bench("rules.gt_all", "calls/match", partial(all_match, "gt", {"amount": 1e9})),
]
