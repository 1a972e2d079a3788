"""What a machine has stored, and in which order others see of it; and how the next one goes on from there."""

from typing import Any

import pytest

import treadle as td
from tests.runner.machines import Desk, boom, desk, line_of, same
from treadle.model.events import Applied, Baseline
from treadle.runner import stimuli as say

# ------------------------------------------------------------------- a store that takes its time


def slow_desk(workflow: Any, policies: Any = None, **options: Any) -> Desk:
    """A machine whose store takes its time."""
    return desk(workflow, policies, is_instant=False, **options)


def test_nothing_is_seen_before_what_led_to_it_is_stored():
    """Not executed, not answered, not finished: all that waits comes in its order."""
    d = slow_desk(line_of("a"))

    assert d.submit(1) == ["store 0 to 2: Defined, InputAccepted"]
    assert d.submit(2) == []
    assert d.stored(2) == [
        "reply 1: 0",
        "execute 1: a@0 on threads",
        "store 2 to 3: InputAccepted",
    ]
    assert d.stored(3) == ["reply 2: 1", "execute 2: a@1 on threads"]
    assert d.finish(1) == ["store 3 to 4: Applied"]
    assert d.finish(2) == []
    assert d.stored(4) == ["input 0 finished", "store 4 to 5: Applied"]
    assert d.stored(5) == ["input 1 finished", "became idle"]


def test_requests_that_wait_for_the_store_are_known():
    """Should the machine be lost before they are answered, somebody else must answer them."""
    d = slow_desk(line_of("a"))
    d.submit(1)
    d.submit(2)

    assert d.machine.unstored_requests() == [1, 2]
    d.stored(2)
    assert d.machine.unstored_requests() == [2]


def test_a_refusal_waits_for_nothing():
    """Nothing led to it that would have to be stored."""
    d = slow_desk(line_of("a"), max_open=1)
    d.submit(1)

    assert d.submit(2) == ["reply 2: Overloaded"]


def test_nothing_is_withdrawn_before_it_was_given_out():
    """A cancellation waits behind the bundle that it means."""
    d = slow_desk(line_of("a"))
    d.submit(1)

    assert d.cancel(0) == []
    assert d.stored(2) == [
        "reply 1: 0",
        "execute 1: a@0 on threads",
        "store 2 to 3: ScopeCancelled",
    ]
    assert d.stored(3) == [
        "withdraw 1",
        "reply 2: True",
        "input 0 finished: asked for",
        "became idle",
    ]


def test_work_in_line_waits_for_the_store_too():
    """No body runs for an input that may yet be lost."""
    d = slow_desk(line_of("a"), default="inline")

    assert d.submit(1) == ["store 0 to 2: Defined, InputAccepted"]
    assert d.stored(2) == ["reply 1: 0", "execute 1: a@0 on inline"]
    assert d.finish(1) == ["store 2 to 3: Applied"]


def test_a_run_has_ended_when_its_log_is_stored():
    """Stopped is told last."""
    d = slow_desk(line_of("a"))
    d.submit(1)
    d.stored(2)

    assert d.stop() == ["reply 2: None"]
    assert d.finish(1) == ["store 2 to 3: Applied"]
    assert d.machine.status == say.STOPPING
    assert d.stored(3) == ["input 0 finished", "became stopped"]


# ------------------------------------------------------------------------------------ restarts


def test_work_that_was_out_is_adopted():
    """The next machine does not dispatch it again, and takes its outcome."""
    d = desk(line_of("a", "b"))
    d.submit(1)
    d.restart()

    assert d.begin() == []
    assert d.machine.status == say.RUNNING
    assert d.finish(1) == ["store 2 to 3: Applied", "execute 2: b@0 on threads"]
    assert d.finish(2) == ["store 3 to 4: Applied", "input 0 finished", "became idle"]


def test_what_was_not_out_is_dispatched():
    """Work that was lost with the program is done again."""
    d = desk(line_of("a"))
    d.submit(1)
    d.out.clear()
    d.restart()

    assert d.begin() == ["execute 2: a@0 on threads"]


def test_an_attempt_that_is_stored_as_failed_is_not_waited_for():
    """Its outcome comes again after a crash, too late: the next attempt is under way."""
    d = desk(line_of("a", function=boom), {"a": td.Policy(max_retries=1)})
    d.submit(1)
    came = d.out[1]
    d.finish(1)
    d.out = {1: came}
    d.restart()

    assert d.begin() == ["execute 3: a@0 attempt 2 on threads"]
    assert d.finish(1) == ["tell: a@0 attempt 1 failed, retry"]
    assert d.finish(3)[-1] == "became idle"


def test_two_attempts_may_be_out_after_a_crash():
    """The newer one counts, in whatever order they are told of."""
    d = desk(line_of("a", function=boom), {"a": td.Policy(max_retries=2)})
    d.submit(1)
    came = d.out[1]
    d.finish(1)
    for out in ({1: came, 2: d.out[2]}, {2: d.out[2], 1: came}):
        d.out = dict(out)
        d.restart()
        assert d.begin() == []
        assert d.machine.where == {("a", (0,), 0): 2}
        d.out = {2: out[2]}


def test_adopted_work_is_under_a_deadline():
    """The log says when a later attempt is to be over; the first one's time begins anew."""
    d = desk(line_of("a"), {"a": td.Policy(deadline_s=5.0)})
    d.submit(1)
    d.restart()
    d.now = 3.0

    assert d.begin() == ["wake at 8"]
    assert d.woke(8.0) == ["withdraw 1"]


def test_a_machine_takes_over_nothing_of_what_is_finished():
    """What an input brought along is let go with it, also if that was not noticed before the crash."""
    d = desk(line_of("a"), default="inline")
    d.submit(1, context={"a": {"name": "Ada"}})
    d.cancel(0)
    old = d.machine
    assert old.contexts.by_input
    d.restart()
    d.machine.take_over(old)

    assert d.begin() == []
    assert d.machine.contexts.by_input == {}


def test_a_machine_takes_over_what_stands_in_no_log():
    """After a crash, inputs keep their own policies and context, and work the reason for which it was withdrawn."""

    def who(value: Any, name: Any = td.context("name")) -> Any:
        return name

    workflow = line_of("a").add(td.step(who, name="b"), to="a")
    d = desk(workflow)
    d.submit(
        1, context={"b": {"name": "Ada"}}, policies={"a": td.Policy(timeout_s=2.0, fallback=0)}
    )
    d.began(1)
    d.woke(2.0)
    old = d.machine
    d.restart()
    d.machine.take_over(old)

    assert d.begin() == ["withdraw 1"]
    assert d.give_up(1) == [
        "store 2 to 4: AttemptFailed, Applied",
        "tell: a@0 attempt 1 failed, fallback",
        "execute 2: b@0 on threads",
    ]
    d.finish(2)
    assert d.machine.workflow.results() == {"b": "Ada"}


def retaining(retain: Any) -> td.Workflow:
    """A workflow that forgets."""
    return td.workflow("forgetful", retain=retain).add(td.step(same, name="a"))


def test_a_log_that_was_folded_begins_with_a_baseline(monkeypatch: pytest.MonkeyPatch):
    """It takes the place of all that was stored; what is out is not disturbed by that."""
    monkeypatch.setattr("treadle.engine.baseline.TRIM_AFTER", 0)
    d = desk(retaining(0))
    d.submit(1)
    d.submit(2)
    d.finish(1)

    assert d.submit(3) == [
        "store 4 to 5: Baseline",
        "reply 3: 2",
        "execute 3: a@2 on threads",
    ]
    d.restart()
    assert d.begin() == []
    assert d.finish(2, 3) == [
        "store 5 to 7: Applied, Applied",
        "input 1 finished",
        "input 2 finished",
        "became idle",
    ]
    assert [type(event) for event in d.events] == [Baseline, Applied, Applied]


@pytest.mark.parametrize("retain", ["all", "results", 0, 1])
@pytest.mark.parametrize("is_instant", [True, False], ids=["instant", "slow"])
def test_what_is_stored_rebuilds_the_workflow(
    retain: Any, is_instant: bool, monkeypatch: pytest.MonkeyPatch
):
    """After each store, whatever was folded: the very same workflow."""
    monkeypatch.setattr("treadle.engine.baseline.TRIM_AFTER", 0)
    d = desk(retaining(retain), is_instant=is_instant)
    for value in range(5):
        d.submit(value)
        settle(d)
        rebuilt = td.Workflow.from_log(d.template, d.events)
        assert rebuilt == d.machine.workflow
        if value % 2:
            d.finish(*d.out)
            settle(d)


def settle(d: Desk) -> None:
    """Let the store come to its end."""
    while d.machine.storing_to is not None:
        d.stored(d.length)


def test_what_others_do_with_the_workflow_is_not_stored():
    """It is a value: whoever went on from it did so alone, and the log goes on from where it was."""
    d = desk(line_of("a"))
    d.submit(1)
    d.machine.workflow.react_until_satisfied(2)

    assert d.finish(1) == ["store 2 to 3: Applied", "input 0 finished", "became idle"]
    assert td.Workflow.from_log(d.template, d.events) == d.machine.workflow


def test_a_run_that_is_stored_nowhere_gives_no_events():
    """Until somebody wants to hear them: then those from now on."""
    d = desk(line_of("a"), is_stored=False)

    assert d.submit(1) == ["reply 1: 0", "execute 1: a@0 on threads"]
    d.machine.begin_telling()
    assert d.finish(1) == ["store 2 to 3: Applied", "input 0 finished", "became idle"]


# ------------------------------------------------------------------------------------- moments


def test_a_run_that_is_idle_waits_for_no_moment():
    """The store is told so, though a wait, an input and an attempt had time left when they ended."""
    workflow = td.workflow("asks").add(td.wait_for("yes", timeout_s=90.0))
    d = desk(workflow.add(td.step(same, name="a"), to="yes"), {"a": td.Policy(timeout_s=50.0)})
    d.submit(1, deadline_at=95.0)
    moments = [d.wake_at]
    d.signal("yes", True)
    d.began(1)
    d.submit(2, deadline_at=99.0)
    moments.append(d.wake_at)
    d.finish(1)
    moments.append(d.wake_at)  # the second input waits
    d.signal("yes", True)

    assert d.finish(2)[-1] == "became idle"
    assert [*moments, d.wake_at] == [90.0, 50.0, 90.0, None]
    assert d.woke(50.0) == []
    assert d.machine.moments == []


def test_a_run_that_is_idle_keeps_its_own_deadline():
    """It is to be cancelled then."""
    d = desk(line_of("a"), {"a": td.Policy(timeout_s=50.0)}, deadline_at=70.0)
    d.submit(1, deadline_at=60.0)
    d.began(1)
    d.finish(1)

    assert d.wake_at == 70.0


def test_the_end_of_a_wait_is_not_forgotten_among_other_moments():
    """However many attempts, each with a timeout, and inputs, each with a deadline, come and go meanwhile."""
    workflow = td.workflow("asks").add(td.step(same, name="a"))
    large = td.condition(lambda value: value > 100, name="large")
    workflow = workflow.add(large, to="a").add(
        td.wait_for("yes", timeout_s=90.0, default=False), to="large"
    )
    d = desk(workflow, {"a": td.Policy(timeout_s=500.0)})
    d.submit(101)
    d.finish(1)
    for number in range(100):
        d.submit(number, deadline_at=400.0)
        d.began(number + 2)
        d.finish(number + 2)

    assert d.wake_at == 90.0
    assert d.woke(90.0)[-2:] == ["input 0 finished", "became idle"]
    assert len(d.machine.moments) < 70
