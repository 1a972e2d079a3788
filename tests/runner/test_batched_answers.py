"""Outcomes that come back together: what a batch leads to is what its members lead to when each goes alone."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from tests.runner.machines import Desk, Together, desk
from treadle.model.bundles import Bundle
from treadle.model.events import AttemptFailed, Failed, Orphaned
from treadle.model.runnables import Outcome
from treadle.runner import stimuli as say
from treadle.runner.budget import Purse, RetryBudget
from treadle.schedulers import BatchScheduler

KINDS = ("value", "absent", "fails", "fails once")

ITEMS = st.lists(st.sampled_from(KINDS), max_size=7)


class Body:
    """What an item does is what its value says."""

    def __init__(self) -> None:
        self.calls: Counter[Any] = Counter()

    def __call__(self, item: Any) -> Any:
        """Give a value or ABSENT, or fail."""
        self.calls[item] += 1
        _, _, kind = item
        if kind == "fails" or (kind == "fails once" and self.calls[item] == 1):
            raise ValueError(kind)
        return td.ABSENT if kind == "absent" else item


SHAPES: dict[str, Any] = {
    "nothing": None,
    "step": lambda: td.step(lambda item: item, name="after"),
    "reduce": lambda: td.collect(name="all", on_item_failure="skip"),
    "gate": lambda: td.rule(
        lambda item: item, condition=lambda item: item[1] % 2 == 0, name="even"
    ),
    "check": lambda: td.rule(lambda item: item, condition=is_even, name="even", dispatch=True),
    "state": lambda: td.accumulator(lambda n, _: n + 1, initial=0, name="count"),
    "fan-out": lambda: td.map(lambda part: part, name="parts"),
    "marker": lambda: td.step(with_marker, name="after"),
}
"""What may stand below the items."""


def is_even(item: Any) -> bool:
    """A condition that is dispatched."""
    return item[1] % 2 == 0


def with_marker(item: Any, seen: Any = td.count("each")) -> Any:
    """A step that asks for history."""
    return item, seen


def fan_out(shape: str = "nothing") -> td.Workflow:
    """A fan-out with something below its items."""
    body = Body()
    workflow = td.workflow("fan").add(td.map(lambda item: body(item), name="each"))
    below = SHAPES[shape]
    return workflow if below is None else workflow.add(below(), to="each")


def inputs_of(items: list[list[str]]) -> list[Any]:
    """Items that tell each other apart, by input."""
    return [[(n, at, kind) for at, kind in enumerate(kinds)] for n, kinds in enumerate(items)]


def run_through(d: Desk, inputs: list[Any], *, gone: int | None, seed: int) -> list[Any]:
    """Feed all inputs, then give everything back that is out, until nothing is; `gone` is cancelled meanwhile."""
    for value in inputs:
        d.submit(value)
    turns = 0
    while d.out:
        turns += 1
        if turns == 2 and gone is not None:
            d.cancel(gone)
        d.tell(say.Finished(answers(d, Random(seed + turns)), d.now))
    return d.events


def answers(d: Desk, choose: Random) -> tuple[tuple[int, list[Outcome]], ...]:
    """All that is out, executed, in one order for all ways in which it may be bundled; some of it comes twice."""
    given = tuple([(number, d.outcomes(number)) for number in sorted(d.out)])
    again = [entry for entry in given if choose.random() < 0.2]
    return (*given, *again)


@settings(max_examples=150)
@given(
    items=st.lists(ITEMS, min_size=1, max_size=2),
    shape=st.sampled_from(sorted(SHAPES)),
    policy=st.builds(
        td.Policy,
        max_retries=st.integers(0, 1),
        on_failure=st.sampled_from([None, "skip", "halt"]),
    ),
    gone=st.sampled_from([None, 0, -1]),
    seed=st.integers(0, 2**16),
)
def test_a_batch_leaves_the_log_of_its_members(
    items: list[list[str]],
    shape: str,
    policy: td.Policy,
    gone: int | None,
    seed: int,
):
    """Values, skips, failures, retries, halts, withdrawn inputs, double answers: the same events in the same order."""
    logs = []
    for scheduler in (None, Together(), BatchScheduler(min_size=2, max_size=3)):
        d = desk(fan_out(shape), {"each": policy}, scheduler=scheduler)
        logs.append(run_through(d, inputs_of(items), gone=gone, seed=seed))
        assert (d.machine.out, d.machine.where, d.machine.open) == ({}, {}, {})

    assert logs[0] == logs[1] == logs[2]


def batch_of(kinds: list[str], **policy: Any) -> tuple[Desk, int]:
    """A desk whose batch of such items is out, and its number."""
    d = desk(fan_out(), {"each": td.Policy(**policy)}, scheduler=Together())
    d.submit(inputs_of([kinds])[0])
    d.finish(*d.out)
    (number,) = d.out
    return d, number


def ends_of(events: list[Any]) -> list[tuple[str, int]]:
    """What became of each item, in the order of the log."""
    return [
        (type(event).__name__, event.scope[-1])
        for event in events
        if len(getattr(event, "scope", ())) == 2
    ]


def test_a_mixed_batch_is_recorded_in_its_order():
    """Each member for itself: a value, a failure, a skip, a failure that is tried again, a value."""
    d, number = batch_of(["value", "fails", "absent", "fails once", "value"], max_retries=1)

    d.finish(number)

    assert ends_of(d.events) == [
        ("Applied", 0),
        ("AttemptFailed", 1),
        ("Skipped", 2),
        ("AttemptFailed", 3),
        ("Applied", 4),
    ]
    (again,) = d.out.values()
    assert [(each.scope[-1], each.attempt) for each in again.runnables] == [(1, 2), (3, 2)]

    d.finish(*d.out)

    assert ends_of(d.events)[5:] == [("Failed", 1), ("Applied", 3)]


@pytest.mark.parametrize("order", [(2, 0, 1), (2, 1, 0)])
def test_outcomes_in_another_order_find_their_work(order: tuple[int, ...]):
    """Whoever executes a batch may answer in any order; that is the order of the log."""
    d, number = batch_of(["value", "fails", "value"])
    outcomes = d.outcomes(number)

    given = [outcomes[at] for at in order]
    told = d.machine.handle(say.Finished(((number, given),), d.now))

    (store,) = [each for each in told if isinstance(each, say.Store)]
    assert [item for _, item in ends_of(list(store.events))] == list(order)
    (tell,) = [each for each in told if isinstance(each, say.Tell)]
    assert tell.runnable.scope == tell.outcome.scope == (0, 1)


def test_what_is_not_answered_has_failed():
    """An executor that forgets a member of a batch does not hold up the others."""
    d, number = batch_of(["value", "value", "value"])

    d.tell(say.Finished(((number, d.outcomes(number)[:2]),), d.now))

    assert ends_of(d.events) == [("Applied", 0), ("Applied", 1), ("Failed", 2)]
    assert "gave no outcome" in str(d.events[-1].error)


def test_outcomes_of_another_run_are_not_taken():
    """Values that carry the run key of somebody else change nothing."""
    d, number = batch_of(["value", "value"])
    other = desk(fan_out().with_run_key("other"), scheduler=Together())
    other.machine.handle(say.Submit(request=99, value=inputs_of([["value", "value"]])[0], at=0.0))
    strange = [
        td.Outcome(component=each.component, node=each.node, scope=each.scope, run_key="other")
        for each in d.out[number].runnables
    ]

    d.tell(say.Finished(((number, strange),), d.now))

    assert ends_of(d.events) == []


def test_members_of_a_replaced_component_are_orphans():
    """What was out under old code is answered too late; the same items go out again under the new."""
    d, number = batch_of(["value", "value"])
    d.change(lambda workflow: workflow.replace("each", td.map(lambda item: "new", name="each")))

    d.finish(number)
    d.finish(*d.out)

    assert ends_of(d.events) == [("Orphaned", 0), ("Orphaned", 1), ("Applied", 0), ("Applied", 1)]
    assert [event.value for event in d.events[-2:]] == ["new", "new"]


def test_a_halt_in_a_batch_lets_go_of_what_was_not_out():
    """The members behind the one that halts their input were out, so their values are recorded all the same."""
    d, number = batch_of(["value", "fails", "value"], on_failure="halt")

    d.finish(number)

    assert ends_of(d.events) == [("Applied", 0), ("Failed", 1), ("Applied", 2)]
    assert isinstance(d.events[-2], Failed)
    assert not d.machine.open


def test_members_of_a_cancelled_input_are_orphans():
    """One bundle with items of two inputs, one of which was cancelled."""
    d = desk(fan_out(), scheduler=Together())
    for value in inputs_of([["value"] * 2, ["value"] * 2]):
        d.submit(value)
    d.finish(*d.out)
    (number,) = d.out
    assert len(d.out[number].runnables) == 4

    d.cancel(0)
    d.finish(number)

    ends = [
        (type(each).__name__, each.scope)
        for each in d.events
        if len(getattr(each, "scope", ())) == 2
    ]
    assert ends == [
        ("Orphaned", (0, 0)),
        ("Orphaned", (0, 1)),
        ("Applied", (1, 0)),
        ("Applied", (1, 1)),
    ]


class Learner(Together):
    """Notes what it is shown, and raises at a certain value."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def observe(self, outcome: Any) -> None:
        """Learn, or refuse to."""
        self.seen.append(outcome.status)
        if len(self.seen) == 3:
            raise RuntimeError("too much")


def test_a_scheduler_sees_each_member():
    """One that raises at one of them is warned of, and shown the others."""
    scheduler = Learner()
    d = desk(fan_out(), scheduler=scheduler)
    d.submit(inputs_of([["value", "fails", "absent", "value"]])[0])
    d.finish(*d.out)

    told = d.finish(*d.out)

    assert scheduler.seen == ["ok", "ok", "failed", "skipped", "ok"]
    assert [text for text in told if "observe failed" in text] == [
        "warn: the scheduler's observe failed"
    ]


def test_an_observer_is_told_of_each_member():
    """Where hooks listen, each value and each failure is told, in order."""
    d = desk(fan_out(), scheduler=Together(), is_observed=True)
    d.submit(inputs_of([["value", "fails", "value"]])[0])
    d.finish(*d.out)
    (number,) = d.out
    outcomes = d.outcomes(number)

    told = d.machine.handle(say.Finished(((number, outcomes),), d.now))

    assert [each.outcome for each in told if isinstance(each, say.Tell)] == outcomes


def test_a_batch_that_was_adopted_is_judged_by_the_clock():
    """A run that is resumed under a timeout holds what was out to it: a value that took too long is none."""
    d, number = batch_of(["value", "value"])
    d.policies = {"each": td.Policy(timeout_s=1.0)}
    d.restart()
    d.begin()

    d.finish(number, seconds=2.0)

    errors = [event.error.type for event in d.events if isinstance(event, Failed)]
    assert errors == ["treadle.errors.TimedOut"] * 2


def test_nothing_of_these_kinds_is_missed():
    """The law above does meet retries, failures and orphans."""
    d = desk(fan_out(), {"each": td.Policy(max_retries=1)}, scheduler=Together())
    kinds = inputs_of([["fails", "fails once"], ["value"]])

    events = run_through(d, kinds, gone=-1, seed=1)

    assert {Failed, AttemptFailed, Orphaned} <= {type(event) for event in events}
    assert all(isinstance(bundle, Bundle) for bundle in d.out.values())


def test_each_first_attempt_of_a_batch_earns_for_the_retry_budget():
    """The values of a batch pay for a retry as those of single dispatches do."""
    purse = Purse(RetryBudget(ratio=0.25, per_s=0.01, burst=1))
    assert purse.spend(0.0)
    d = desk(fan_out(), {"each": td.Policy(max_retries=1)}, scheduler=Together(), purse=purse)
    d.submit(inputs_of([["value", "value", "fails once"]])[0])
    d.finish(*d.out)

    d.finish(*d.out)

    assert [type(event).__name__ for event in d.events[-3:]] == [
        "Applied",
        "Applied",
        "AttemptFailed",
    ]
