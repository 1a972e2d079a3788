"""Adaptive: what was measured decides."""

import math

import pytest
from msgspec import structs

import treadle as td
from tests.schedulers.ready import Ready, awaited, items, same
from treadle.errors import Cancelled, UsageError
from treadle.model.bundles import Bundle
from treadle.model.runnables import Runnable
from treadle.policies.policy import Policy
from treadle.schedulers import AdaptiveScheduler
from treadle.testing.schedulers import check_scheduler

QUICK_S, MEDIUM_S, SLOW_S = 0.0001, 0.002, 0.5


def outcome(seconds, *, error=None, ready=None) -> td.Outcome:
    """What came of one attempt of a component."""
    runnable = (ready or items(1)).runnables[0]
    if error is not None:
        return structs.replace(td.failed_outcome(runnable, error), seconds=seconds)
    return structs.replace(td.execute_runnable(runnable), seconds=seconds)


def taught(*seconds, ready=None, **options) -> AdaptiveScheduler:
    """A scheduler that saw a component take so long, attempt by attempt."""
    scheduler = AdaptiveScheduler(**options)
    for each in seconds:
        scheduler.observe(outcome(each, ready=ready))
    return scheduler


def sizes(bundles: list[Bundle]) -> list[int]:
    """How many runnables each bundle holds."""
    return [len(bundle) for bundle in bundles]


def test_it_keeps_its_promises():
    """The kit finds nothing, and sees all that it can do."""
    report = check_scheduler(AdaptiveScheduler)

    assert report.singles > 100
    assert report.batches > 100
    assert report.moved > 100
    assert report.chains == 0


def test_what_was_not_measured_often_enough_goes_alone():
    """Three measurements are needed, and others' do not count."""
    ready = items(8)
    other = items(1, 7)
    twice = taught(QUICK_S, QUICK_S)
    twice.observe(structs.replace(outcome(QUICK_S, ready=other), node="other", component="other"))

    assert sizes(ready.plan(AdaptiveScheduler())) == sizes(ready.plan(twice)) == [1] * 8
    assert ready.plan(twice)[0].reason == "alone: 'score' was measured 2 times, and 3 are needed"
    assert sizes(ready.plan(taught(QUICK_S, warm_up=1))) == [8]


def test_what_is_quick_runs_inline_in_bundles():
    """Dispatching would cost more than running; no bundle holds the runner up for longer than `bundle_s`."""
    bundles = items(300).plan(taught(*[QUICK_S] * 3))

    assert [(len(bundle), bundle.executor) for bundle in bundles] == [
        (200, "inline"),
        (100, "inline"),
    ]
    assert bundles[1].reason == "100 of 300 items of 'score' run inline: about 0.1 ms each"


def test_however_quick_work_is_a_bundle_has_an_end():
    """What takes no time at all is still cut."""
    assert sizes(items(3000).plan(taught(0.0, 0.0, 0.0))) == [1024, 1024, 952]


def test_what_is_medium_is_batched_so_that_a_batch_takes_its_time():
    """20 ms at 2 ms each is ten, where slots are scarce."""
    bundles = items(40, slots=2).plan(taught(*[MEDIUM_S] * 3))

    assert sizes(bundles) == [10] * 4
    assert {bundle.executor for bundle in bundles} == {None}
    assert bundles[0].reason == (
        "10 of 40 items of 'score' in one batch: about 2 ms each, they go to 'threads', 2 at once"
    )


def test_free_slots_are_used_before_anything_waits_in_a_batch():
    """Where each can have a slot, each has one; where three share a slot, a batch holds three."""
    scheduler = taught(*[MEDIUM_S] * 3)

    assert sizes(items(40, slots=40).plan(scheduler)) == [1] * 40
    assert sizes(items(12, slots=4).plan(scheduler)) == [3] * 4


def test_what_is_slow_goes_alone():
    """And the reason says how slow it is."""
    bundles = items(8, slots=1).plan(taught(*[SLOW_S] * 3))

    assert sizes(bundles) == [1] * 8
    assert bundles[0].reason == "alone: 'score' takes about 500 ms"
    assert items(1).plan(taught(*[2.5] * 3))[0].reason == "alone: 'score' takes about 2.5 s"


def test_a_component_that_changes_its_ways_is_found_out():
    """The newest measurement counts 30 %, so one long wait ends inlining at once, and quick ones bring it back."""
    scheduler = taught(*[QUICK_S] * 50)
    ready = items(8)
    assert ready.plan(scheduler)[0].executor == "inline"

    scheduler.observe(outcome(SLOW_S))
    assert sizes(ready.plan(scheduler)) == [1] * 8

    for _ in range(25):
        scheduler.observe(outcome(QUICK_S))
    assert ready.plan(scheduler)[0].executor == "inline"


def test_what_fails_often_goes_alone():
    """One failure in a row of successes is enough for a while; it takes four more successes to be trusted again."""
    scheduler = taught(*[MEDIUM_S] * 9)
    scheduler.observe(outcome(0.0, error=ValueError("no")))
    ready = items(8, slots=1)

    assert ready.plan(scheduler)[0].reason == "alone: 'score' fails in about 30% of its attempts"
    for _ in range(3):
        scheduler.observe(outcome(MEDIUM_S))
    assert sizes(ready.plan(scheduler)) == [1] * 8
    scheduler.observe(outcome(MEDIUM_S))
    assert sizes(ready.plan(scheduler)) == [8]


def test_how_long_failures_take_says_nothing():
    """A connection that is refused at once does not make a slow call a quick one."""
    scheduler = taught(*[SLOW_S] * 3, unreliable_above=1.0)
    for _ in range(20):
        scheduler.observe(outcome(0.0, error=ConnectionError("refused")))

    assert items(4).plan(scheduler)[0].reason == "alone: 'score' takes about 500 ms"


def test_being_cancelled_is_nobody_s_fault():
    """Withdrawn work says nothing of its component."""
    scheduler = taught(*[MEDIUM_S] * 3)
    for _ in range(5):
        scheduler.observe(outcome(None, error=Cancelled("withdrawn")))

    assert sizes(items(8, slots=1).plan(scheduler)) == [8]


@pytest.mark.parametrize("seconds", [None, math.nan, math.inf, -1.0])
def test_what_was_not_measured_does_not_count(seconds):
    """A clock that was set back, or none at all, spoils no average."""
    scheduler = taught(QUICK_S, seconds, QUICK_S, seconds, QUICK_S)

    assert items(8).plan(scheduler)[0].reason == (
        "8 of 8 items of 'score' run inline: about 0.1 ms each"
    )


def test_new_code_is_measured_anew():
    """A component that was replaced is another one."""
    workflow = td.workflow("w").add(td.step(same, name="score")).plan_eagerly(0)
    replaced = Ready(workflow.replace("score", abs), 1)
    scheduler = taught(*[QUICK_S] * 3)

    assert replaced.runnables[0].generation == 1
    assert replaced.plan(scheduler)[0].reason.startswith("alone: 'score' was measured 0 times")


def test_what_is_async_is_neither_inlined_nor_batched():
    """However quick it was."""
    ready = items(8, function=awaited)
    bundles = ready.plan(taught(*[QUICK_S] * 5))

    assert sizes(bundles) == [1] * 8
    assert {bundle.executor for bundle in bundles} == {None}
    assert bundles[0].reason == "alone: 'score' is async, and waits beside others"


def test_a_policy_has_the_last_word():
    """What must not share a slot does not; what is to run elsewhere is batched there, and not inlined."""
    scheduler = taught(*[QUICK_S] * 3)
    apart = items(8, policies={"score": Policy(timeout_s=1)}).plan(scheduler)
    elsewhere = items(8, slots=2, policies={"score": Policy(executor="processes")}).plan(scheduler)

    assert sizes(apart) == [1] * 8
    assert apart[0].reason == "alone: the policy of 'score' keeps it apart"
    assert sizes(elsewhere) == [4, 4]
    assert elsewhere[0].executor is None
    assert elsewhere[0].reason.endswith("they go to 'processes', 2 at once")


def test_a_fallback_goes_alone():
    """It may be another function, and what was measured was not that."""
    ready = items(2)
    fallbacks: list[Runnable] = [
        structs.replace(each, attempt=2, is_fallback=True) for each in ready.runnables
    ]
    bundles = taught(*[QUICK_S] * 3).plan(fallbacks, ready.view)

    assert [(len(bundle), bundle.executor) for bundle in bundles] == [(1, None), (1, None)]
    assert bundles[0].reason == "alone: it is the fallback of 'score', and was not measured"


def test_bundles_stand_where_their_first_members_stood():
    """Quick, medium and slow ones in between each other keep their order."""
    workflow = td.workflow("wide")
    for name in ("slow", "quick", "medium", "quick_too", "medium_too"):
        workflow = workflow.add(td.step(same, name=name))
    ready = Ready(workflow, 1, slots=1)
    scheduler = AdaptiveScheduler()
    for runnable in ready.runnables * 3:
        seconds = {"q": QUICK_S, "m": MEDIUM_S, "s": SLOW_S}[runnable.component[0]]
        scheduler.observe(structs.replace(td.execute_runnable(runnable), seconds=seconds))

    assert ready.ids(scheduler) == [
        ["slow@0"],
        ["quick@0", "quick_too@0"],
        ["medium@0", "medium_too@0"],
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inline_below_s": -1}, r"inline_below_s=-1 is not a number from 0 to 1\. Hint: 0 means"),
        ({"inline_below_s": 2}, r"inline_below_s=2 is not a number from 0 to 1"),
        ({"bundle_below_s": "5ms"}, r"bundle_below_s='5ms' is not a number of at least 0"),
        ({"bundle_s": math.nan}, r"bundle_s=nan is not a number of at least 0"),
        ({"bundle_s": True}, r"bundle_s=True is not a number"),
        (
            {"unreliable_above": 10},
            r"unreliable_above=10 is not a number from 0 to 1\. Hint: a ratio",
        ),
        ({"warm_up": 0}, r"warm_up=0 is not a whole number of at least 1"),
        ({"bundle_below_s": 0.0001}, r"bundle_below_s=0\.0001 is less than inline_below_s=0\.0002"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(options, message):
    """Each message names the argument, what it may be, and what it means."""
    with pytest.raises(UsageError, match=message):
        AdaptiveScheduler(**options)


def test_zero_thresholds_switch_things_off():
    """Without inlining, quick work is batched; without batches, it goes alone."""
    ready = items(8, slots=1)
    batched = ready.plan(taught(*[QUICK_S] * 3, inline_below_s=0))
    alone = ready.plan(taught(*[QUICK_S] * 3, inline_below_s=0, bundle_below_s=0))

    assert [(len(bundle), bundle.executor) for bundle in batched] == [(8, None)]
    assert sizes(alone) == [1] * 8
