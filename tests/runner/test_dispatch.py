"""What becomes of single pieces of work: attempts, delays, slots, bundles, and what plugs and hooks do wrong."""

from collections.abc import Sequence
from typing import Any

import pytest

import treadle as td
from tests.runner.machines import Desk, Together, boom, desk, line_of, same, side_by_side
from treadle.engine.jobs import failed_bundle
from treadle.model.bundles import Bundle
from treadle.runner import stimuli as say
from treadle.schedulers import ChainScheduler

LATER = td.Policy(max_retries=2, backoff="linear", base_delay_s=1.5)

# ------------------------------------------------------------------------------------ attempts


def test_a_failed_attempt_is_followed_by_another_at_once():
    """Without a delay the work goes out again in the same breath; the log says that it failed before."""
    d = desk(line_of("a", function=boom), {"a": td.Policy(max_retries=1)})
    d.submit(1)

    assert d.finish(1) == [
        "store 2 to 3: AttemptFailed",
        "tell: a@0 attempt 1 failed, retry",
        "execute 2: a@0 attempt 2 on threads",
    ]
    assert d.machine.workflow.log()[-1].retry_at is None
    assert d.finish(2) == [
        "store 3 to 4: Failed",
        "tell: a@0 attempt 2 failed, give_up",
        "input 0 finished",
        "became idle",
    ]


def test_a_delayed_attempt_waits_for_its_moment():
    """It asks to be woken at the earliest moment, and goes on with what is due then, and no more."""
    d = desk(line_of("a", function=boom), {"a": LATER})
    d.submit(1)
    d.submit(2)

    assert d.finish(1) == [
        "store 3 to 4: AttemptFailed",
        "tell: a@0 attempt 1 failed, retry",
        "wake at 1.5",
    ]
    d.now = 1.0
    assert d.finish(2) == ["store 4 to 5: AttemptFailed", "tell: a@1 attempt 1 failed, retry"]
    assert d.woke(1.5) == ["execute 3: a@0 attempt 2 on threads", "wake at 2.5"]
    assert d.finish(3) == ["store 5 to 6: AttemptFailed", "tell: a@0 attempt 2 failed, retry"]
    assert d.woke(2.5) == ["execute 4: a@1 attempt 2 on threads", "wake at 4.5"]


def test_an_earlier_moment_replaces_a_later_one():
    """There is one wake at a time: the next one."""
    policies = {"a": td.Policy(max_retries=1, backoff="linear", base_delay_s=9.0)}
    d = desk(line_of("a", function=boom), policies)
    d.submit(1, deadline_at=50.0)

    assert d.finish(1)[-1] == "wake at 9"
    assert d.submit(2, deadline_at=4.0)[-1] == "wake at 4"
    assert d.submit(3, deadline_at=6.0)[-1] == "execute 3: a@2 on threads"
    assert d.woke(4.0)[-1] == "wake at 6"


def test_a_delay_survives_a_restart():
    """The log says when work is to be tried again: not before, and not all over again."""
    d = desk(line_of("a", function=boom), {"a": LATER})
    d.submit(1)
    d.finish(1)
    d.restart()

    assert d.begin() == ["wake at 1.5"]
    assert d.woke(1.5) == ["execute 2: a@0 attempt 2 on threads"]
    d.out.clear()
    d.restart()
    assert d.begin() == ["execute 3: a@0 attempt 2 on threads"]


def test_an_input_that_is_cancelled_forgets_its_delayed_work():
    """Its moment comes, and there is nothing left to try."""
    d = desk(line_of("a", function=boom), {"a": LATER})
    d.submit(1)
    d.finish(1)

    assert d.cancel(0)[-1] == "became idle"
    assert d.woke(1.5) == []
    assert (d.machine.delayed, d.machine.where) == ([], {})


def test_an_attempt_is_withdrawn_when_its_time_is_over():
    """Its time counts from when it began; what comes back is no result, and may be tried again."""
    d = desk(line_of("a"), {"a": td.Policy(timeout_s=2.0, max_retries=1)})

    assert d.submit(1)[-1] == "execute 1: a@0 on threads telling"
    d.now = 5.0
    assert d.began(1) == ["wake at 7"]
    assert d.woke(7.0) == ["withdraw 1"]
    assert d.finish(1) == [
        "store 2 to 3: AttemptFailed",
        "tell: a@0 attempt 1 failed, retry",
        "execute 2: a@0 attempt 2 on threads telling",
    ]
    assert d.machine.workflow.log()[-1].error.type == "treadle.errors.TimedOut"
    assert d.began(2) == ["wake at 9"]
    assert d.finish(2)[-1] == "became idle"
    assert d.woke(9.0) == []


def test_a_result_that_took_too_long_is_none():
    """Wherever it ran, and whoever was late to notice."""
    d = desk(line_of("a"), {"a": td.Policy(timeout_s=2.0)})
    d.submit(1)

    assert d.finish(1, seconds=3.0) == [
        "store 2 to 3: Failed",
        "tell: a@0 attempt 1 failed, give_up",
        "input 0 finished",
        "became idle",
    ]
    (failure,) = d.machine.workflow.failures()
    assert failure.error.text == "'a' took longer than 2.0 s."


def test_all_attempts_are_over_at_the_deadline():
    """It counts from the first dispatch, over retries and delays; no attempt is begun that could not end in time."""
    policy = td.Policy(deadline_s=4.0, max_retries=9, backoff="linear", base_delay_s=1.5)
    d = desk(line_of("a", function=boom), {"a": policy})

    assert d.submit(1)[-1] == "wake at 4"
    d.now = 1.0
    assert d.finish(1)[-2:] == ["tell: a@0 attempt 1 failed, retry", "wake at 2.5"]
    assert d.woke(2.5) == ["execute 2: a@0 attempt 2 on threads", "wake at 4"]
    assert d.woke(4.0) == ["withdraw 2"]
    assert d.give_up(2)[:2] == ["store 3 to 4: Failed", "tell: a@0 attempt 2 failed, give_up"]
    (failure,) = d.machine.workflow.failures()
    assert "was not done 4.0 s after it was first dispatched" in failure.error.text


@pytest.mark.parametrize(
    ("on_failure", "event", "following"),
    [
        ("block", "Failed", []),
        ("skip", "Skipped", ["execute 3: c@0 on threads"]),
        ("halt", "Failed", []),
    ],
)
def test_a_policy_says_what_a_failure_does_to_the_rest(on_failure: Any, event: str, following: Any):
    """In place of what the component says."""
    workflow = line_of("a", function=boom).add(td.step(same, name="b"))
    workflow = workflow.add(td.step(lambda *_: 0, name="c"), to=["a", "b"])
    d = desk(workflow, {"a": td.Policy(on_failure=on_failure)})
    d.submit(1)
    d.finish(2)

    assert d.finish(1)[:2] == [f"store 3 to 4: {event}", "tell: a@0 attempt 1 failed, give_up"]
    assert list(d.out) == [3] * len(following)


def test_a_halt_withdraws_what_has_not_begun():
    """What waits for its slot or its moment was prepared, and is no more out than ready work is."""
    workflow = td.workflow("halting").add(td.step(boom, name="a", on_failure="halt"))
    workflow = workflow.add(td.step(boom, name="b")).add(td.step(same, name="c"))
    d = desk(workflow, {"b": LATER, "a": td.Policy(priority="low")}, max_concurrency=1)
    d.submit(1)
    d.submit(2)
    d.machine.planned.sort()
    assert d.out[1].runnables[0].id == "b@0"

    assert d.finish(1) == [
        "store 3 to 4: AttemptFailed",
        "tell: b@0 attempt 1 failed, retry",
        "execute 2: c@0 on threads",
        "wake at 1.5",
    ]
    d.cancel(1)
    assert d.finish(2)[-1] == "execute 3: a@0 on threads rank -10"
    assert d.finish(3) == [
        "store 6 to 7: Failed",
        "tell: a@0 attempt 1 failed, give_up",
        "input 0 finished",
        "became idle",
    ]
    assert (d.machine.delayed, d.machine.where) == ([], {})


# ---------------------------------------------------------------------------------- who goes when


def test_no_more_bundles_are_out_than_the_run_may_have():
    """What waits for a slot gets it in order, as soon as one is free."""
    d = desk(side_by_side("a", "b", "c"), max_concurrency=2)

    assert d.submit(1)[2:] == ["execute 1: a@0 on threads", "execute 2: b@0 on threads"]
    assert d.finish(2) == ["store 2 to 3: Applied", "execute 3: c@0 on threads"]
    assert d.finish(1) == ["store 3 to 4: Applied"]


def test_no_more_is_prepared_than_the_window_holds():
    """The rest stays in the workflow, where it costs nothing, until something comes back."""
    d = desk(side_by_side("a", "b", "c"), window=2)

    assert d.submit(1)[2:] == ["execute 1: a@0 on threads", "execute 2: b@0 on threads"]
    assert len(d.machine.workflow.next_runnables()) == 1
    assert d.submit(2) == ["store 2 to 3: InputAccepted", "reply 2: 1"]
    assert d.finish(1) == ["store 3 to 4: Applied", "execute 3: c@0 on threads"]


def test_a_full_window_hides_no_end():
    """An input is finished by its cancellation, also while there is no room to prepare anything."""
    d = desk(line_of("a"), window=1)
    d.submit(1)
    d.submit(2)

    assert d.cancel(1) == [
        "store 3 to 4: ScopeCancelled",
        "reply 3: True",
        "input 1 finished: asked for",
    ]


def test_urgent_work_goes_first():
    """Where slots are scarce; among equals the order is that of the workflow."""
    policies = {"b": td.Policy(priority="high"), "c": td.Policy(priority=3)}
    d = desk(side_by_side("a", "b", "c", "d"), policies, max_concurrency=1)

    assert d.submit(1)[2:] == ["execute 1: b@0 on threads rank 10"]
    assert d.finish(1)[1:] == ["execute 2: c@0 on threads rank 3"]
    assert d.finish(2)[1:] == ["execute 3: a@0 on threads"]
    assert d.finish(3)[1:] == ["execute 4: d@0 on threads"]


def test_urgent_work_is_offered_first():
    """Also where this run has slots enough: others may not have. An input's own policies count for it."""
    d = desk(side_by_side("a", "b"), {"b": td.Policy(priority="high")})
    assert d.submit(1)[2:] == ["execute 1: b@0 on threads rank 10", "execute 2: a@0 on threads"]

    d = desk(side_by_side("a", "b"))
    assert d.submit(1, policies={"b": td.Policy(priority="high")})[2:] == [
        "execute 1: b@0 on threads rank 10",
        "execute 2: a@0 on threads",
    ]


def test_work_goes_out_on_the_terms_of_its_policy():
    """Executor, rank, limits, rates and breakers; a limit without a key is the component's own."""
    policy = td.Policy(
        executor="cluster",
        priority="low",
        max_concurrency=2,
        rate_limit=td.RateLimit(5, per_s=2.0, key="api"),
        circuit_breaker=td.CircuitBreaker(key="api"),
        timeout_s=1.0,
    )
    d = desk(line_of("a"), {"a": policy})

    assert d.submit(1)[-1] == (
        "execute 1: a@0 on cluster rank -10 under line/a=2 under api=5/2.0s under api telling"
    )


def test_a_fallback_is_no_attempt_at_the_same_service():
    """It goes out under no limit and no breaker, and after the deadline too; but its attempt has its time."""
    policy = td.Policy(
        deadline_s=5.0,
        timeout_s=1.0,
        circuit_breaker=td.CircuitBreaker(),
        fallback=lambda failure: failure.error.type.rpartition(".")[2],
    )
    d = desk(line_of("a"), {"a": policy})
    d.submit(1)
    assert d.woke(5.0) == ["withdraw 1"]

    assert d.give_up(1) == [
        "store 2 to 3: AttemptFailed",
        "tell: a@0 attempt 1 failed, fallback",
        "execute 2: a@0 attempt 2 (fallback) on threads telling",
    ]
    assert d.finish(2)[-1] == "became idle"
    assert d.machine.workflow.results() == {"a": "DeadlineExceeded"}


def test_what_cannot_be_called_fails_in_the_runners_own_thread():
    """A value that a marker could not give needs no executor to fail."""

    def needy(value: Any, name: Any = td.context("name")) -> Any:
        return name

    d = desk(
        td.workflow("needy").add(td.step(needy, name="a")), {"a": td.Policy(executor="cluster")}
    )

    assert d.submit(1)[-1] == "execute 1: a@0 on inline"
    assert d.finish(1)[1] == "tell: a@0 attempt 1 failed, give_up"


def test_a_value_stays_where_only_a_plain_step_there_takes_it():
    """The bundle says so to an executor that can keep values; a bundle of several is none that can."""
    everywhere = td.Policy(executor="cluster")
    d = desk(line_of("a", "b"), everywhere, keepers=["cluster"], may_keep=True)

    assert d.submit(1)[-1] == "execute 1: a@0 on cluster keeping"
    assert d.finish(1)[-1] == "execute 2: b@0 on cluster"
    d = desk(
        line_of("a", "b"),
        everywhere,
        keepers=["cluster"],
        may_keep=True,
        scheduler=ChainScheduler(),
    )
    assert d.submit(1)[-1] == "execute 1: a@0 > b on cluster"


# --------------------------------------------------------------------------------------- bundles


def test_a_chain_comes_back_together():
    """Each of its outcomes is applied as if it had been dispatched alone, and what follows them is dispatched."""
    workflow = line_of("a", "b", "c").add(td.step(same, name="d"), to="b")
    d = desk(workflow, scheduler=ChainScheduler(), are_seen=True)

    assert d.submit(1)[-1] == "execute 1: a@0 > b on threads"
    assert d.finish(1) == [
        "store 2 to 4: Applied, Applied",
        "execute 2: c@0 on threads",
        "execute 3: d@0 on threads",
    ]


def test_a_chain_ends_at_the_first_failure():
    """What was done before it counts; the failed step is judged by its own policy, and goes on alone."""
    workflow = (
        line_of("a").add(td.step(boom, name="b"), to="a").add(td.step(same, name="c"), to="b")
    )
    policies = {"b": td.Policy(max_retries=1)}
    d = desk(workflow, policies, scheduler=ChainScheduler(), are_seen=True)

    assert d.submit(1)[-1] == "execute 1: a@0 > b > c on threads"
    assert d.finish(1) == [
        "store 2 to 4: Applied, AttemptFailed",
        "tell: b@0 attempt 1 failed, retry",
        "execute 2: b@0 attempt 2 on threads",
    ]
    assert d.finish(2)[:2] == ["store 4 to 5: Failed", "tell: b@0 attempt 2 failed, give_up"]


def test_a_chain_that_was_lost_begins_again_at_its_head():
    """Its steps were never ready: only the head failed."""
    d = desk(
        line_of("a", "b"),
        {"a": td.Policy(max_retries=1)},
        scheduler=ChainScheduler(),
        are_seen=True,
    )
    d.submit(1)
    lost = failed_bundle(d.out.pop(1), ConnectionError("gone"))

    assert d.tell(say.Finished(((1, lost),), 0.0)) == [
        "store 2 to 3: AttemptFailed",
        "tell: a@0 attempt 1 failed, retry",
        "execute 2: a@0 attempt 2 on threads",
    ]


def test_a_chain_that_waits_for_a_slot_is_cut_by_an_edit():
    """Old code is not executed after its replacement."""
    d = desk(line_of("a", "b"), scheduler=ChainScheduler(), are_seen=True, max_concurrency=1)
    d.submit(1)
    d.submit(2)
    d.change(lambda w: w.replace("b", td.step(lambda value: -value, name="b")))

    assert d.finish(1) == [
        "store 4 to 5: Applied",
        "execute 2: a@1 on threads",
    ]
    d.finish(2)
    d.finish(3)
    d.finish(4)
    assert d.machine.workflow.raw_productions("b") == [-1, -2]


def halves(value: Any) -> Any:
    """Fails for odd values."""
    if value % 2:
        raise ValueError(value)
    return value // 2


def batch() -> Desk:
    """A machine with a batch out: the items of a fan-out, one of which will fail."""
    workflow = td.workflow("fan").add(td.map(same, name="m"))
    workflow = workflow.add(td.step(halves, name="half"), to="m")
    d = desk(workflow, {"half": td.Policy(max_retries=1)}, scheduler=Together(), are_seen=True)
    d.submit([2, 3, 4])
    d.finish(1)
    d.finish(2)
    return d


def test_the_members_of_a_batch_fail_each_for_itself():
    """The others' values count, and the one that failed goes on alone."""
    assert batch().finish(3) == [
        "store 6 to 9: Applied, AttemptFailed, Applied",
        "tell: half@0.1 attempt 1 failed, retry",
        "execute 4: half@0.1 attempt 2 on threads",
    ]


def test_what_an_executor_does_not_answer_has_failed():
    """A batch that comes back with less than was given: what is missing must not be waited for."""
    d = batch()
    outcomes = d.outcomes(3)[:1]

    assert d.tell(say.Finished(((3, outcomes),), 0.0)) == [
        "store 6 to 9: Applied, AttemptFailed, AttemptFailed",
        "tell: half@0.1 attempt 1 failed, retry",
        "tell: half@0.2 attempt 1 failed, retry",
        "execute 4: half@0.1 + half@0.2 attempt 2 on threads",
    ]
    assert "gave no outcome for half@0.2" in d.machine.workflow.log()[-1].error.text


# -------------------------------------------------------------------------- schedulers that fail


class Wrong:
    """A scheduler that does something wrong with the plan."""

    def __init__(self, wrong: Any) -> None:
        self.wrong = wrong

    def plan(self, ready: Sequence[Any], view: Any) -> Any:
        """One bundle each, and then that."""
        return self.wrong([Bundle(runnables=(each,)) for each in ready])

    def observe(self, outcome: Any) -> None:
        """Does not work either."""
        raise RuntimeError("not observed")


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda bundles: bundles[1:], "left out a@0"),
        (lambda bundles: [*bundles, bundles[0]], "dispatched a@0 twice"),
        (
            lambda bundles: [*bundles, Bundle(runnables=())],
            "made a bundle of no work, or a chain of several",
        ),
        (lambda bundles: bundles[5], "failed"),
        (lambda bundles: None, "failed"),
        (lambda bundles: [1], "failed"),
    ],
)
def test_a_scheduler_that_fails_is_done_without(wrong: Any, text: str):
    """What it loses, doubles or trips over is dispatched one by one; somebody hears of it."""
    d = desk(side_by_side("a", "b"), scheduler=Wrong(wrong), are_seen=True)

    assert d.submit(1)[2:] == [
        f"warn: Wrong {text}; work is dispatched one by one",
        "execute 1: a@0 on threads",
        "execute 2: b@0 on threads",
    ]


def test_a_scheduler_that_cannot_learn_harms_nothing():
    """The outcome counts all the same."""
    d = desk(line_of("a"), scheduler=Wrong(lambda bundles: bundles), are_seen=True)
    d.submit(1)

    assert d.finish(1) == [
        "store 2 to 3: Applied",
        "warn: the scheduler's observe failed",
        "input 0 finished",
        "became idle",
    ]


def test_what_waits_is_explained_too():
    """What has its bundle and no slot yet, and what waits for its next attempt."""
    d = desk(side_by_side("a", "b", "c"), {"a": LATER}, max_concurrency=1)
    d.submit(1)
    lost = failed_bundle(d.out.pop(1), ConnectionError("gone"))
    d.tell(say.Finished(((1, lost),), 0.0))

    assert [(each["work"], each["reason"]) for each in d.machine.explain()] == [
        (["c@0"], "ready, and dispatched alone"),
        (["a@0"], "waits until 1.500 for attempt 2"),
    ]


def test_explaining_changes_nothing():
    """What would be dispatched, and why, is asked of the scheduler without dispatching it."""
    d = desk(side_by_side("a", "b"), window=1)
    d.submit(1)
    before = d.machine.workflow

    assert d.machine.explain() == [
        {
            "kind": "single",
            "work": ["b@0"],
            "then": [],
            "executor": "threads",
            "priority": 0,
            "reason": "ready, and dispatched alone",
        }
    ]
    assert d.machine.workflow is before
    assert d.finish(1)[-1] == "execute 2: b@0 on threads"


# ------------------------------------------------------------------------------------- the hook


def test_a_hook_puts_work_in_another_order():
    """What it gives back is dispatched as it gives it."""
    d = desk(side_by_side("a", "b"), transform=lambda ready: ready[::-1], are_seen=True)

    assert d.submit(1)[2:] == ["execute 1: b@0 on threads", "execute 2: a@0 on threads"]


def test_what_a_hook_keeps_back_is_offered_again():
    """Whenever something has happened in the run; until then it is not dispatched."""
    offered: list[list[str]] = []

    def hook(ready: list[Any]) -> list[Any]:
        offered.append([each.id for each in ready])
        return [] if len(offered) == 1 else ready

    d = desk(line_of("a"), transform=hook, are_seen=True)

    assert d.submit(1) == ["store 0 to 2: Defined, InputAccepted", "reply 1: 0", "wake at 0.1"]
    assert d.cancel(7) == ["reply 2: UsageError", "execute 1: a@0 on threads"]
    assert offered == [["a@0"], ["a@0"]]


def strangers(ready: list[Any]) -> list[Any]:
    """Work of another run."""
    return line_of("z").plan_eagerly(1).prepare_for_dispatch()[1]


@pytest.mark.parametrize(
    "wrong", [lambda ready: ready * 2, lambda ready: ready[9], lambda ready: 3, strangers]
)
def test_a_hook_that_fails_is_done_without(wrong: Any):
    """Where it doubles work, makes some up, or trips, the work goes on as it was."""
    d = desk(side_by_side("a", "b"), transform=wrong, are_seen=True)

    assert d.submit(1)[2:] == [
        "warn: transform_runnables failed; the work goes on as it was",
        "execute 1: a@0 on threads",
        "execute 2: b@0 on threads",
    ]


# --------------------------------------------------------------------------------- what is kept


def test_moments_of_what_is_over_are_forgotten():
    """Most work ends before its time is over, and leaves nothing that would grow."""
    policy = td.Policy(timeout_s=3600.0, deadline_s=7200.0)
    d = desk(line_of("a"), {"a": policy}, deadline_at=9500.0)
    d.submit(0, deadline_at=50.0)
    most = 0
    for number in range(2, 300):
        d.submit(number, deadline_at=9000.0)
        d.began(number)
        d.finish(number)
        most = max(most, len(d.machine.moments))

    assert most < 80
    assert d.woke(50.0)[:3] == [
        "store 598 to 599: ScopeCancelled",
        "withdraw 1",
        "input 0 finished: deadline",
    ]
    d.give_up(1)
    assert d.woke(9500.0) == ["became cancelled: deadline"]
