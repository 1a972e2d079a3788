"""One by one."""

from tests.schedulers.ready import Ready, items, steps
from treadle.schedulers import DefaultScheduler
from treadle.testing.schedulers import check_scheduler


def test_it_keeps_its_promises():
    """The kit finds nothing, and sees singles only."""
    report = check_scheduler(DefaultScheduler)

    assert report.singles == report.runnables
    assert (report.chains, report.batches, report.largest) == (0, 0, 1)


def test_each_runnable_has_a_bundle_of_its_own_in_order():
    """What became ready first comes first, and nothing is bundled that could be."""
    ready = items(3)

    assert ready.ids(DefaultScheduler()) == [["score@0"], ["score@1"], ["score@2"]]
    assert Ready(steps("a", "b"), 1).ids(DefaultScheduler()) == [["a@0"]]
    assert {bundle.reason for bundle in ready.plan(DefaultScheduler())} == {
        "alone: every runnable has a bundle of its own"
    }
