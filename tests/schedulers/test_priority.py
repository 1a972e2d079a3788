"""Priority: the most urgent first."""

import pytest

import treadle as td
from tests.schedulers.ready import Ready, items, same, steps
from treadle.errors import UsageError
from treadle.model.bundles import Bundle
from treadle.policies.policy import Policy
from treadle.schedulers import BatchScheduler, ChainScheduler, PriorityScheduler
from treadle.testing.schedulers import check_scheduler

RANKS = {
    "high*": Policy(priority="high"),
    "low*": Policy(priority="low"),
    "own": Policy(priority=5),
}


def urgent() -> td.Workflow:
    """Steps of several ranks, all on the raw input."""
    workflow = td.workflow("urgent")
    for name in ("low", "plain", "high", "own", "high_too"):
        workflow = workflow.add(td.step(same, name=name))
    return workflow


@pytest.mark.parametrize("inner", [None, ChainScheduler(), BatchScheduler(rounds=1)])
def test_it_keeps_its_promises(inner):
    """The kit finds nothing, whatever plans within a rank."""
    report = check_scheduler(lambda: PriorityScheduler(inner))

    assert report.runnables > 1000


def test_the_highest_rank_goes_first_and_equals_keep_their_order():
    """Sorting is stable: within one rank, what became ready first goes first."""
    ready = Ready(urgent(), 1, 2, policies=RANKS)

    assert [bundle.runnables[0].id for bundle in ready.plan(PriorityScheduler())] == [
        "high@0", "high_too@0", "high@1", "high_too@1", "own@0", "own@1", "plain@0", "plain@1",
        "low@0", "low@1",
    ]  # fmt: skip
    assert [bundle.reason.split(";")[0] for bundle in ready.plan(PriorityScheduler())][::3] == [
        "priority 10",
        "priority 10",
        "alone: every runnable has a bundle of its own",
        "priority -10",
    ]


def test_no_urgent_work_waits_in_a_batch_with_work_that_is_not():
    """What plans within a rank sees that rank alone."""
    ready = Ready(urgent(), *range(4), policies=RANKS, slots=1)
    bundles = ready.plan(PriorityScheduler(BatchScheduler(rounds=1)))

    assert [{each.component for each in bundle.runnables} for bundle in bundles] == [
        {"high", "high_too"},
        {"own"},
        {"plain"},
        {"low"},
    ]
    assert bundles[0].reason.startswith(
        "priority 10; 8 of 8 items of 'high', 'high_too' in one batch"
    )


def test_what_plans_within_a_rank_learns():
    """Outcomes are handed on."""

    class Listening(ChainScheduler):
        heard = None

        def observe(self, outcome):
            self.heard = outcome

    inner = Listening()
    outcome = td.execute_runnable(items(1).runnables[0])
    PriorityScheduler(inner).observe(outcome)

    assert inner.heard is outcome
    assert Ready(steps("a", "b"), 1).ids(PriorityScheduler(inner)) == [["a@0", "b"]]


def test_a_reason_that_is_not_given_is_not_made_up():
    """A scheduler that says nothing adds nothing behind the rank."""

    class Silent:
        def plan(self, ready, view):
            return [Bundle(runnables=(each,)) for each in ready]

        def observe(self, outcome):
            pass

    ready = Ready(urgent(), 1, policies=RANKS)

    assert [bundle.reason for bundle in ready.plan(PriorityScheduler(Silent()))] == [
        "priority 10", "priority 10", "priority 5", "", "priority -10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (
            BatchScheduler,
            r"is not a scheduler\. Hint: make one: PriorityScheduler\(BatchScheduler\(\)\)",
        ),
        ("batches", r"inner='batches' is not a scheduler\. Hint: a scheduler has the methods"),
    ],
)
def test_what_is_no_scheduler_is_refused(inner, message):
    """A class is not yet a scheduler, and a name is none."""
    with pytest.raises(UsageError, match=message):
        PriorityScheduler(inner)
