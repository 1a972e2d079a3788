"""Many outcomes at one go: they come to what each comes to when it is applied by itself."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

import treadle as td
from treadle.engine.execute import execute_cohort
from treadle.engine.loop import Answered, Drive
from treadle.model.cohorts import CohortOutcomes
from treadle.model.runnables import Again

LIMIT = 1000
"""More than is ever ready here."""


def doubled(items: list[int]) -> list[list[int]]:
    """Items that are lists themselves."""
    return [[item, item + 1] for item in items]


def unless_odd(item: int) -> Any:
    """Gives a value, nothing, or a failure."""
    if item % 5 == 3:
        raise ValueError(item)
    return td.ABSENT if item % 5 == 4 else item


def graph(on_failure: Any) -> td.Workflow:
    """Fan-outs in fan-outs, with a state, a condition, a marker and a reduce below."""
    workflow = td.workflow("many").add(td.step(doubled, name="doubled"))
    workflow = workflow.add(td.map(lambda part: part, name="parts"), to="doubled")
    workflow = workflow.add(td.map(unless_odd, name="each", on_failure=on_failure), to="parts")
    workflow = workflow.add(td.step(lambda item: item, name="after"), to="each")
    workflow = workflow.add(td.accumulator(lambda n, i: n + i, initial=0, name="sum"), to="after")
    workflow = workflow.add(
        td.rule(lambda item: item, condition=lambda item: item > 2, name="big", dispatch=True),
        to="each",
    )
    workflow = workflow.add(
        td.step(lambda item, seen=td.count("each"): (item, seen), name="seen"), to="each"
    )
    return workflow.add(td.collect(name="all", on_item_failure="skip"), to="after")


@settings(max_examples=100)
@given(
    inputs=st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=2),
    on_failure=st.sampled_from(["block", "skip", "halt"]),
    seed=st.integers(0, 2**16),
)
def test_many_answers_are_single_answers(inputs: list[list[int]], on_failure: Any, seed: int):
    """In any order, some twice, some tried again, some put back meanwhile, some of an input that was cancelled."""
    choose = Random(seed)
    whole = graph(on_failure)
    for value in inputs:
        whole = whole.plan_eagerly(value)
    single = whole.at(whole.position)
    while True:
        whole, drive = whole.advance(limit=LIMIT)
        single, ready = single.prepare_for_dispatch()
        assert [each.id for each in drive.handed] == [each.id for each in ready]
        if not ready:
            break
        if choose.random() < 0.1:
            number = choose.randrange(len(inputs))
            whole, single = whole.cancel(number), single.cancel(number)
        places = choose.sample(range(len(ready)), len(ready))
        places += [at for at in places if choose.random() < 0.1]
        for at in places:
            if choose.random() < 0.05:
                whole, single = whole.release(drive.handed[at]), single.release(ready[at])
        answers: list[Any] = []
        for at in places:
            outcome = td.execute_runnable(drive.handed[at])
            is_tried = outcome.status == "failed" and outcome.attempt == 1 and at % 2 == 0
            is_bare = choose.random() < 0.9
            answers.append(
                Answered(outcome, Again())
                if is_tried
                else outcome
                if is_bare
                else Answered(outcome)
            )
            single = single.apply_runnable(td.execute_runnable(ready[at]), retry=is_tried)
        whole, _ = whole.advance(answers)

    assert list(whole.log()) == list(single.log())
    assert whole == single


@settings(max_examples=50)
@given(
    inputs=st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=2),
    on_failure=st.sampled_from(["block", "skip", "halt"]),
    seed=st.integers(0, 2**16),
)
def test_following_an_answer_is_applying_it_and_preparing(
    inputs: list[list[int]], on_failure: Any, seed: int
):
    """One by one and in any order, some twice, some put back meanwhile, some of an input that was cancelled."""
    choose = Random(seed)
    followed = graph(on_failure)
    for value in inputs:
        followed = followed.plan_eagerly(value)
    single = followed.at(followed.position)
    followed, drive = followed.advance(limit=LIMIT)
    single, ready = single.prepare_for_dispatch()
    mine, theirs = drive.handed, ready
    while mine:
        if choose.random() < 0.05:
            number = choose.randrange(len(inputs))
            followed, single = followed.cancel(number), single.cancel(number)
        at = choose.randrange(len(mine))
        if choose.random() < 0.05:
            followed, single = followed.release(mine[at]), single.release(theirs[at])
        outcomes = td.execute_runnable(mine[at]), td.execute_runnable(theirs[at])
        if choose.random() < 0.9:
            del mine[at], theirs[at]
        followed, drive = followed.follow(outcomes[0], LIMIT, 0.0)
        single, ready = single.apply_runnable(outcomes[1]).prepare_for_dispatch()
        assert drive.handed == [
            structs.replace(each, branch=drive.branch, position=mine_too.position)
            for each, mine_too in zip(ready, drive.handed, strict=True)
        ]
        assert drive.position == single.position
        mine, theirs = [*mine, *drive.handed], [*theirs, *ready]

    assert list(followed.log()) == list(single.log())
    assert followed == single


def test_an_exception_beside_a_value_that_is_followed_is_kept():
    """As in a batch."""
    workflow = td.workflow("w").add(td.step(unless_odd, name="only")).plan_eagerly(1)
    workflow, drive = workflow.advance(limit=LIMIT)
    fault = OSError("the second copy was lost")
    outcome = structs.replace(td.execute_runnable(drive.handed[0]), exception=fault)

    _, drive = workflow.follow(outcome, LIMIT, 0.0)

    assert drive.exceptions == {drive.position - 1: fault}


def test_an_outcome_of_another_branch_is_not_followed():
    """What was prepared after two versions parted is of one of them only; what is ready goes out all the same."""
    workflow = td.workflow("w").add(td.step(unless_odd, name="only")).plan_eagerly(1)
    ahead = workflow.plan_eagerly(2)
    _, other = workflow.prepare_for_dispatch()  # rebuilt, on a branch of its own

    after, drive = ahead.follow(td.execute_runnable(other[0]), LIMIT, 0.0)

    assert after.position == ahead.position
    assert [each.id for each in drive.handed] == ["only@0", "only@1"]


def test_what_is_handed_out_in_short_is_whole():
    """Plain, async and with markers, it is what anybody else would be given."""

    async def later(item: int) -> int:
        return item

    workflow = td.workflow("w").add(td.step(unless_odd, name="now")).add(td.step(later))
    workflow = workflow.add(td.step(lambda item, n=td.attempt(): (item, n), name="marked"))
    workflow = workflow.plan_eagerly(1)
    ready = workflow.next_runnables()

    _, drive = workflow.advance(limit=LIMIT)

    assert [each.is_async for each in ready] == [False, True, False]
    assert drive.handed == ready


def test_what_no_input_was_given_to_follows_nothing():
    """A workflow that was not begun knows no work."""
    fresh = td.workflow("w").add(td.step(unless_odd, name="only"))
    _, other = fresh.plan_eagerly(1).prepare_for_dispatch()

    same, drive = fresh.follow(td.execute_runnable(other[0]), LIMIT, 0.0)

    assert same.position == 0
    assert drive.handed == []


def test_an_exception_beside_a_value_is_kept():
    """An executor may say of a value what went wrong on the way to it; it stays beside the log."""
    workflow = td.workflow("w").add(td.map(unless_odd, name="each")).plan_eagerly([0, 1])
    workflow, drive = workflow.advance(limit=LIMIT)
    workflow, drive = workflow.advance(map(td.execute_runnable, drive.handed), limit=LIMIT)
    fault = OSError("the second copy was lost")
    first, second = map(td.execute_runnable, drive.handed)

    _, drive = workflow.advance([first, structs.replace(second, exception=fault)])

    events: list[Any] = drive.entries
    assert [event.value for event in events] == [0, 1]
    assert drive.exceptions == {events[1].position: fault}


def test_outcomes_of_another_branch_are_left_out():
    """What was prepared after two versions parted is of one of them only."""
    start = td.workflow("w").add(td.map(unless_odd, name="each")).plan_eagerly([0, 1])
    start, drive = start.advance(limit=LIMIT)
    start, _ = start.advance([td.execute_runnable(each) for each in drive.handed])
    ahead, drive = start.advance(limit=LIMIT)
    ahead, _ = ahead.advance([td.execute_runnable(each) for each in drive.handed])
    _, other = start.prepare_for_dispatch()  # rebuilt, on a branch of its own
    outcomes = [td.execute_runnable(each) for each in other]
    assert len(outcomes) == 2

    again, drive = ahead.advance(outcomes)

    assert again.position == ahead.position
    assert drive.entries == []


def test_a_version_that_is_rebuilt_has_the_same_work_out_in_the_same_order():
    """What was handed out in runs of several nodes, with other work between, is out again after a fork."""
    workflow = td.workflow("w").add(td.map(unless_odd, name="a"))
    workflow = workflow.add(td.map(unless_odd, name="b"))
    for value in ([0, 1], [2, 5]):
        workflow = workflow.plan_eagerly(value)
    workflow, drive = workflow.advance(limit=LIMIT)
    before, drive = workflow.advance(
        [td.execute_runnable(each) for each in drive.handed], limit=LIMIT
    )
    before = before.release(drive.handed[3])
    known = before.in_flight()
    assert len(known) == 7

    before.apply_runnable(
        td.execute_runnable(drive.handed[0])
    )  # goes on with the memory of `before`

    assert before.in_flight() == known


def items_of(workflow: td.Workflow, **how: Any) -> tuple[td.Workflow, Drive]:
    """A workflow whose fan-outs are open, and their items, handed out."""
    workflow, drive = workflow.advance(limit=LIMIT)
    return workflow.advance(map(td.execute_runnable, drive.handed), limit=LIMIT, **how)


@pytest.mark.parametrize("count", [3, 60])
def test_items_of_one_input_are_handed_out_as_one(count: int):
    """With a log and a memory as if they had been handed out one by one; too few of them are."""
    workflow = td.workflow("w").add(td.map(unless_odd, name="each")).plan_eagerly(range(count))

    together, drive = items_of(workflow, may_be_cohort=True)
    single, alone = items_of(workflow)

    assert (drive.cohort is None) == (count == 3)
    assert [each.id for each in drive.cohort or drive.handed] == [each.id for each in alone.handed]
    assert together == single
    assert together.in_flight() == single.in_flight()
    assert len(together.in_flight()) == count


def test_no_more_than_the_limit_is_handed_out_as_one():
    """The rest stays ready, in its order."""
    workflow = td.workflow("w").add(td.map(unless_odd, name="each")).plan_eagerly(range(60))
    workflow, drive = workflow.advance(limit=LIMIT)
    workflow, _ = workflow.advance(map(td.execute_runnable, drive.handed))
    seen: list[str] = []
    while True:
        workflow, drive = workflow.advance(limit=25, may_be_cohort=True)
        handed = drive.cohort or drive.handed
        assert drive.has_more == (len(seen) + len(handed) < 60)
        if not handed:
            break
        seen += [each.id for each in handed]

    assert seen == [f"each@0.{item}" for item in range(60)]


@pytest.mark.parametrize("other", ["input", "node", "attempt"])
def test_what_is_not_alike_is_not_handed_out_as_one(other: str):
    """Items of two inputs, of two nodes, or with one that failed before."""
    workflow = td.workflow("w").add(td.map(unless_odd, name="each"))
    if other == "node":
        workflow = workflow.add(td.map(unless_odd, name="beside"))
    workflow = workflow.plan_eagerly(range(60))
    if other == "input":
        workflow = workflow.plan_eagerly(range(60))
    if other == "attempt":
        workflow, drive = items_of(workflow)
        workflow = workflow.apply_runnable(td.execute_runnable(drive.handed[3]), retry=True)
        for each in [*drive.handed[:3], *drive.handed[4:]]:
            workflow = workflow.release(each)
        workflow, drive = workflow.advance(limit=LIMIT, may_be_cohort=True)
    else:
        workflow, drive = items_of(workflow, may_be_cohort=True)

    assert drive.cohort is None
    assert len(drive.handed) == (60 if other == "attempt" else 120)


def test_the_outcomes_of_a_cohort_are_applied_like_any():
    """Values and others, some of work that was answered or put back meanwhile."""
    start = td.workflow("w").add(td.map(unless_odd, name="each", on_failure="skip"))
    start = start.add(td.collect(name="all"), to="each").plan_eagerly(range(60))
    ends = []
    for may_be_cohort in (True, False):
        workflow, drive = items_of(start.at(start.position), may_be_cohort=may_be_cohort)
        handed = drive.cohort or drive.handed
        workflow = workflow.apply_runnable(td.execute_runnable(handed[5]))
        workflow = workflow.release(handed[6])
        answers: list[Any] = [td.execute_runnable(each) for each in handed]
        if drive.cohort is not None:
            values = CohortOutcomes(drive.cohort[:3])
            execute_cohort(values, lambda: 0.0)
            mixed = CohortOutcomes(drive.cohort[3:])
            execute_cohort(mixed, lambda: 0.0)
            assert (values.are_all_values, mixed.are_all_values) == (True, False)
            answers = [values, mixed, values]
        workflow, drive = workflow.advance(answers, limit=LIMIT)
        ends.append(workflow.react_until_satisfied())

    together, single = ends
    assert together.facts() == single.facts()
    assert [type(each) for each in together.log()] == [type(each) for each in single.log()]


def test_a_cohort_of_another_branch_is_left_out():
    """Units of another memory are none of ours; their outcomes are asked as any are."""
    workflow = td.workflow("w").add(td.map(lambda item: item, name="each")).plan_eagerly(range(60))
    workflow, drive = workflow.advance(limit=LIMIT)
    workflow, _ = workflow.advance(map(td.execute_runnable, drive.handed))
    ahead, _ = workflow.advance(limit=LIMIT)
    _, other = workflow.advance(limit=LIMIT, may_be_cohort=True)  # rebuilt, on its own branch
    assert other.cohort is not None
    done = CohortOutcomes(other.cohort)
    execute_cohort(done, lambda: 0.0)
    assert done.are_all_values

    _, drive = ahead.advance([done])

    assert drive.entries == []
