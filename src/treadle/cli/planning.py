"""What would be dispatched of what is ready now, together with what, where, and why; no step is executed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.text import Text

from treadle.cli.driving import Plugs
from treadle.cli.feed import Given
from treadle.cli.terminal import clean
from treadle.model.runnables import Runnable
from treadle.policies.policy import Policy
from treadle.runner.bundling import RunView, explained
from treadle.runner.options import gather, places_of
from treadle.runner.wishes import Wishes
from treadle.value import Workflow
from treadle.wiring import make_scheduler

SHOWN_MAX: Final = 3
"""So many pieces of work of one group are named."""


class SameForAll(Struct):
    """Answers what a scheduler asks: all inputs are under the same policies."""

    wishes: Wishes
    own_wishes: dict[int, Wishes] = {}

    def wishes_of(self, runnable: Runnable) -> Wishes:  # noqa: ARG002
        """What is wished of a runnable."""
        return self.wishes


class Group(Struct):
    """Bundles that look alike: one of them, how many they are, and how much work is in them."""

    like: dict[str, Any]
    count: int = 0
    work: int = 0
    first: list[str] = []


def planned(workflow: Workflow, givens: Iterable[Given], plugs: Plugs) -> list[dict[str, Any]]:
    """The bundles that a runner with these plugs would dispatch, most urgent first: JSON-ready.

    Conditions are asked, as they are whenever facts are planned.
    """
    for given in givens:
        if given.problem is None:
            workflow = workflow.plan_eagerly(given.value)
    with workflow.inspect() as (memory, _):
        program = memory.program
    places = places_of(*gather(plugs.executor, plugs.executors))
    policies = workflow.policies.over(plugs.policies)
    wishes = Wishes(workflow.name, program, policies, places, are_seen=True)
    ready = workflow.next_runnables()
    scheduler = plugs.scheduler or make_scheduler("default")
    bundles = scheduler.plan(ready, RunView(SameForAll(wishes))) if ready else []
    told = [
        {
            **explained(bundle, wishes, ()),
            "components": list(dict.fromkeys(each.component for each in bundle.runnables)),
            "policy": fields_of(wishes.policy(bundle.runnables[0].node)),
        }
        for bundle in bundles
    ]
    return sorted(told, key=lambda bundle: -bundle["priority"])


def fields_of(policy: Policy) -> dict[str, str]:
    """What a policy wishes, beside what all wish."""
    return {
        name: repr(value)
        for name in policy.__struct_fields__
        if (value := getattr(policy, name)) != getattr(PLAIN, name)
    }


PLAIN: Final = Policy()


def show_plan(
    workflow: Workflow, bundles: list[dict[str, Any]], inputs: int, console: Console
) -> None:
    """Bundles that look alike are told as one."""
    for group in grouped(bundles):
        show_group(group, console)
    work = sum(len(bundle["work"]) for bundle in bundles)
    told = f"{inputs} input{'s' * (inputs != 1)}: {work} ready, in {len(bundles)} bundles"
    console.print(Text(f"{clean(workflow.name)}, {told}", style="bold"), soft_wrap=True)


def grouped(bundles: list[dict[str, Any]]) -> list[Group]:
    """The bundles by how they look, in the order of their first."""
    groups: dict[bytes, Group] = {}
    for bundle in bundles:
        like = {name: value for name, value in bundle.items() if name != "work"}
        key = msgspec.json.encode(like)
        group = groups.setdefault(key, Group(like))
        group.count += 1
        group.work += len(bundle["work"])
        group.first += bundle["work"][: SHOWN_MAX - len(group.first)]
    return list(groups.values())


def show_group(group: Group, console: Console) -> None:
    """What is dispatched, where to, why so, and what its policy wishes."""
    like = group.like
    what = ", then ".join([", ".join(like["components"]), *like["then"]])
    console.print(Text(clean(what), style="bold"), soft_wrap=True)
    more = f" and {group.work - len(group.first)} more" if group.work > len(group.first) else ""
    how = form_of(like["kind"], group.count)
    lines = [f"{how} to {like['executor']}: {', '.join(group.first)}{more}", like["reason"]]
    if like["priority"]:
        lines.append(f"priority {like['priority']}")
    if like["policy"]:
        wishes = ", ".join(f"{name}={value}" for name, value in like["policy"].items())
        lines.append(f"policy: {wishes}")
    for line in lines:
        console.print(Text(f"    {clean(line)}"), soft_wrap=True)
    console.print()


def form_of(kind: str, count: int) -> str:
    """In what the work goes there.

    >>> form_of("single", 3), form_of("chain", 1), form_of("parallel", 2)
    ('one by one', 'in one chain', 'in 2 batches')
    """
    if kind == "single":
        return "one by one" if count > 1 else "alone"
    one, several = ("chain", "chains") if kind == "chain" else ("batch", "batches")
    return f"in one {one}" if count == 1 else f"in {count} {several}"
