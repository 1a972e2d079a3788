"""Batches: independent work shares slots."""

from typing import Any

import pytest
from msgspec import structs

import treadle as td
from tests.schedulers.ready import Ready, awaited, fan, items, same
from treadle.errors import UsageError
from treadle.model.cohorts import Cohort
from treadle.policies.policy import Policy
from treadle.schedulers import BatchScheduler
from treadle.testing.schedulers import check_scheduler


def sizes(ready, scheduler=None):
    """How many runnables each bundle holds."""
    return [len(bundle) for bundle in ready.plan(scheduler or BatchScheduler())]


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_it_keeps_its_promises(rounds):
    """The kit finds nothing, and sees batches."""
    report = check_scheduler(lambda: BatchScheduler(min_size=2, rounds=rounds))

    assert report.batches > 50
    assert (report.chains, report.moved) == (0, 0)


def test_the_items_of_a_fan_out_are_batched():
    """Many facts of one node: each slot gets two batches, and each batch says what it is."""
    ready = Ready(fan(), list(range(40)), generations=1, slots=4)
    bundles = ready.plan(BatchScheduler())

    assert [len(bundle) for bundle in bundles] == [5] * 8
    assert [each.id for bundle in bundles for each in bundle.runnables] == [
        f"score@0.{item}" for item in range(40)
    ]
    assert {bundle.kind for bundle in bundles} == {"parallel"}
    assert (
        bundles[0].reason
        == "5 of 40 items of 'score' in one batch: they go to 'threads', 4 at once"
    )
    assert bundles[0].executor is None


@pytest.mark.parametrize(
    ("count", "slots", "rounds", "expected"),
    [
        (8, 4, 2, [1] * 8),  # each slot gets two without batching
        (9, 4, 2, [2, 2, 2, 2, 1]),
        (9, 4, 1, [3, 3, 3]),
        (9, 1, 2, [5, 4]),
        (9, 64, 1, [1] * 9),  # all at once: batching would make them wait for one another
        (3, 1, 1, [1] * 3),  # too few to bother
        (4, 1, 1, [4]),
        (25, 1, 1, [10, 10, 5]),  # max_size
    ],
)
def test_batches_are_as_large_as_slots_are_scarce(count, slots, rounds, expected):
    """Each slot gets about `rounds` batches, within the sizes that are allowed."""
    scheduler = BatchScheduler(min_size=4, max_size=10, rounds=rounds)

    assert sizes(items(count, slots=slots), scheduler) == expected


def test_who_is_not_batched_is_told_why():
    """Too few, or room for all."""
    few = items(3, slots=1).plan(BatchScheduler())
    room = items(9, slots=64).plan(BatchScheduler())

    assert few[0].reason == "alone: only 3 are ready, and they go to 'threads', 1 at once"
    assert room[0].reason == "alone: 9 are ready, and they go to 'threads', 64 at once"


def test_what_is_async_is_not_batched():
    """A batch would await one after the other what an event loop awaits side by side, wherever it goes."""
    loop = items(40, function=awaited)
    elsewhere = items(40, function=awaited, policies={"score": Policy(executor="processes")})

    assert sizes(loop) == sizes(elsewhere) == [1] * 40
    assert (
        loop.plan(BatchScheduler())[0].reason == "alone: 'score' is async, and waits beside others"
    )


def test_an_executor_without_a_limit_has_so_many_slots_at_most():
    """Ten thousand tiny items need not be ten thousand messages to a cluster."""
    ready = items(5000, slots=1_000_000_000)

    assert sizes(ready) == [3] * 1666 + [2]
    assert ready.plan(BatchScheduler())[0].reason == (
        "3 of 5000 items of 'score' in one batch: they go to 'threads', which takes as many as come"
    )


def test_different_components_share_batches_and_different_executors_do_not():
    """Whatever is independent and goes to the same place may share a slot."""
    workflow = td.workflow("wide")
    for number in range(8):
        workflow = workflow.add(td.step(same, name=f"s{number}"))
    ready = Ready(workflow, 1, slots=1, policies={"s[1357]": Policy(executor="processes")})

    assert ready.ids(BatchScheduler(rounds=1)) == [
        ["s0@0", "s2@0", "s4@0", "s6@0"],
        ["s1@0", "s3@0", "s5@0", "s7@0"],
    ]
    assert ready.plan(BatchScheduler(rounds=1))[1].reason == (
        "4 of 4 items of 's1', 's3', 's5' and 1 more in one batch: they go to 'processes', 1 at once"
    )


def test_who_must_not_share_a_slot_stays_alone_in_its_place():
    """The order of what was given is kept: a bundle stands where its first runnable stood."""
    workflow = td.workflow("wide")
    for number in range(6):
        workflow = workflow.add(td.step(same, name=f"s{number}"))
    ready = Ready(workflow, 1, slots=1, policies={"s[03]": Policy(timeout_s=1)})

    assert ready.ids(BatchScheduler()) == [["s0@0"], ["s1@0", "s2@0"], ["s3@0"], ["s4@0", "s5@0"]]
    assert ready.plan(BatchScheduler())[0].reason == "alone: the policy of 's0' keeps it apart"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_size": 1}, r"min_size=1 is not a whole number of at least 2\. Hint: one runnable"),
        ({"max_size": 1}, r"max_size=1 is not a whole number of at least 2"),
        ({"rounds": 0}, r"rounds=0 is not a whole number of at least 1"),
        ({"rounds": 1.5}, r"rounds=1\.5 is not a whole number"),
        ({"min_size": 9, "max_size": 8}, r"max_size=8 is less than min_size=9"),
    ],
)
def test_sizes_that_cannot_be_are_refused(arguments, message):
    """Each message names the argument and what it may be."""
    with pytest.raises(UsageError, match=message):
        BatchScheduler(**arguments)


class Guarded:
    """A view on work of which some must stay alone: by component, by input, or since it could not be prepared."""

    def may_bundle(self, runnable: Any) -> bool:
        """Component `b` may not, nor may input 2."""
        return runnable.problem is None and runnable.component != "b" and runnable.input != 2

    def executor_of(self, runnable: Any) -> str:
        """Component `c` goes elsewhere."""
        return "elsewhere" if runnable.component == "c" else "here"

    def capacity_of(self, executor: str) -> int:
        """One slot each."""
        return 1


def test_what_holds_for_one_item_holds_for_those_behind_it_alone():
    """Work of several components and inputs in turns, and some that could not be prepared: each is asked for."""
    ready = [
        td.Runnable(component=name, node=name, scope=(number, place), call=same, args=(1,))
        for place, name in enumerate("aabbaaccaa")
        for number in (1, 1, 2)
    ]
    ready[4] = structs.replace(ready[4], problem=ValueError("no key"))
    scheduler = BatchScheduler(min_size=2, rounds=1)

    view: Any = Guarded()

    bundles = scheduler.plan(ready, view)

    shared = {key: [each for each in ready if key == where(each)] for key in ("here", "elsewhere")}
    alone = [(each,) for each in ready if where(each) == "alone"]
    expected = [tuple(members) for members in shared.values()] + alone
    given = [bundle.runnables for bundle in bundles]
    assert given == sorted(expected, key=lambda members: ready.index(members[0]))


def where(runnable: Any) -> str:
    """Where a runnable is to go under `Guarded`."""
    view = Guarded()
    return view.executor_of(runnable) if view.may_bundle(runnable) else "alone"


@pytest.mark.parametrize("count", [20, 40, 161])
@pytest.mark.parametrize("policy", [None, Policy(timeout_s=1.0)])
def test_a_cohort_is_planned_as_its_members_are(count: int, policy: Policy | None):
    """The same bundles for the same reasons, whether all may share, few are there, or each must stay alone."""
    policies = None if policy is None else {"score": policy}
    ready = Ready(fan(), list(range(count)), policies=policies, generations=1)
    cohort = prepared_as_one(fan(), list(range(count)))

    bundles = list(BatchScheduler(min_size=30).plan(cohort, ready.view))

    known = ready.plan(BatchScheduler(min_size=30))
    assert [(each.reason, each.executor, each.kind) for each in bundles] == [
        (each.reason, each.executor, each.kind) for each in known
    ]
    assert [[each.id for each in bundle.runnables] for bundle in bundles] == [
        [each.id for each in bundle.runnables] for bundle in known
    ]
    is_shared = policy is None and count == 161  # in slices of twenty and more
    assert all(isinstance(each.runnables, Cohort) == is_shared for each in bundles)


def prepared_as_one(workflow: td.Workflow, value: Any) -> Cohort:
    """The items of a fan-out, handed out as one."""
    workflow, drive = workflow.plan_eagerly(value).advance(limit=1)
    opened = [td.execute_runnable(each) for each in drive.handed]
    _, drive = workflow.advance(opened, limit=1000, may_be_cohort=True)
    assert drive.cohort is not None
    return drive.cohort
