"""One run as a state machine: what it says to requests, and to what comes back. Each test compares all that it says."""

from typing import Any

import pytest

import treadle as td
from tests.runner.machines import (
    Desk,
    Together,
    boom,
    desk,
    line_of,
    machine_of,
    same,
    side_by_side,
)
from treadle.errors import RunEnded
from treadle.runner import stimuli as say

# ----------------------------------------------------------------------------- the usual way


def test_an_input_goes_through_two_steps():
    """Begun, fed, executed, finished: what is stored comes first, then what others see of it."""
    d = Desk(line_of("a", "b"))

    assert d.begin() == []
    assert d.machine.status == say.IDLE
    assert d.submit(7) == [
        "store 0 to 2: Defined, InputAccepted",
        "reply 1: 0",
        "execute 1: a@0 on threads",
    ]
    assert d.machine.status == say.RUNNING
    assert d.finish(1) == ["store 2 to 3: Applied", "execute 2: b@0 on threads"]
    assert d.finish(2) == ["store 3 to 4: Applied", "input 0 finished", "became idle"]
    assert d.machine.status == say.IDLE
    assert d.machine.workflow.results() == {"b": 7}


def test_inputs_are_in_flight_together():
    """A second input does not wait for the first; the run is idle when both are finished."""
    d = desk(line_of("a"))
    d.submit("one")

    assert d.submit("two") == [
        "store 2 to 3: InputAccepted",
        "reply 2: 1",
        "execute 2: a@1 on threads",
    ]
    assert d.finish(2) == ["store 3 to 4: Applied", "input 1 finished"]
    assert d.finish(1) == ["store 4 to 5: Applied", "input 0 finished", "became idle"]


def test_what_comes_back_together_is_applied_together():
    """One stimulus, one store, and what follows is dispatched in order."""
    d = desk(line_of("a", "b"))
    d.submit(1)
    d.submit(2)

    assert d.finish(2, 1) == [
        "store 3 to 5: Applied, Applied",
        "execute 3: b@1 on threads",
        "execute 4: b@0 on threads",
    ]


def test_an_input_that_sets_nothing_off_is_finished_at_once():
    """No rule held: the input is finished with its acceptance."""
    rule = td.rule(same, name="large", condition=lambda value: value > 9)
    d = desk(td.workflow("rules").add(rule))

    assert d.submit(1) == [
        "store 0 to 3: Defined, InputAccepted, Planned",
        "reply 1: 0",
        "input 0 finished",
        "became idle",
    ]


def test_an_input_of_a_known_key_is_the_first_one_again():
    """The second submit under a key is answered with the first's number, and changes nothing."""
    d = desk(line_of("a"))
    d.submit(1, key="k")

    assert d.submit(2, key="k") == ["reply 2: 0"]
    assert d.submit(2, key="other") == [
        "store 2 to 3: InputAccepted",
        "reply 3: 1",
        "execute 2: a@1 on threads",
    ]


def test_a_run_takes_no_more_than_it_may_have_open():
    """What is too much is refused, unless it is an input that is there already."""
    d = desk(line_of("a"), max_open=1)
    d.submit(1, key="k")

    assert d.submit(2) == ["reply 2: Overloaded"]
    assert d.submit(1, key="k") == ["reply 3: 0"]
    d.finish(1)
    assert d.submit(2)[1] == "reply 4: 1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": 3},
        {"context": {"a": 3}},
        {"policies": [(lambda subject: subject.nothing, td.Policy())]},
    ],
    ids=["key", "context", "policies"],
)
def test_a_request_that_cannot_be_is_refused(wrong: Any):
    """A wrong key, context or matcher is the asker's business: the run goes on, and nothing is kept of it."""
    d = desk(line_of("a"))
    (refused,) = d.submit(1, **wrong)

    assert refused.startswith("reply 1: ")
    assert "Error" in refused
    assert d.machine.status == say.IDLE
    assert (d.machine.contexts.by_input, d.machine.own_wishes, d.machine.open) == ({}, {}, {})
    assert d.submit(1)[1:] == ["reply 2: 0", "execute 1: a@0 on threads"]


def test_an_input_has_context_values_of_its_own():
    """They come before the run's, for this input alone, and are let go when it is finished."""

    def greet(name: Any, word: Any = td.context("word"), mark: Any = td.context("mark")) -> str:
        return f"{word} {name}{mark}"

    workflow = td.workflow("greeting").add(td.step(greet, name="greet"))
    d = desk(workflow.with_context({"_global": {"word": "hello", "mark": "."}}))
    d.submit("Ada", context={"greet": {"word": "goodbye"}})
    d.submit("Bob")
    d.finish(1, 2)

    assert d.machine.workflow.raw_productions("greet") == ["goodbye Ada.", "hello Bob."]
    assert d.machine.contexts.by_input == {}


def test_an_input_has_policies_of_its_own():
    """They come before the run's, for this input alone; the others keep theirs."""
    d = desk(line_of("a", function=boom), {"a": td.Policy(max_retries=1)})
    d.submit(1, policies={"a": td.Policy(on_failure="skip", priority="high")})
    d.submit(2)

    assert d.finish(1) == [
        "store 3 to 4: Skipped",
        "tell: a@0 attempt 1 failed, give_up",
        "input 0 finished",
    ]
    assert d.machine.own_wishes == {}
    assert d.finish(2) == [
        "store 4 to 5: AttemptFailed",
        "tell: a@1 attempt 1 failed, retry",
        "execute 3: a@1 attempt 2 on threads",
    ]


def test_late_and_double_answers_change_nothing():
    """A bundle is answered once; what comes again is counted."""
    d = desk(line_of("a"))
    d.submit(1)
    outcomes = d.outcomes(1)
    d.tell(say.Finished(((1, outcomes),), 0.0))

    assert d.tell(say.Finished(((1, outcomes), (99, outcomes)), 0.0)) == []
    assert d.machine.late == 2
    assert d.machine.workflow.position == 3


def test_a_machine_that_is_observed_tells_what_it_took_and_what_came_back():
    """Observers hear of inputs and of each outcome; they are told before the effects."""
    d = desk(line_of("a"), is_observed=True)

    assert d.submit(1) == [
        "store 0 to 2: Defined, InputAccepted",
        "accepted 0",
        "reply 1: 0",
        "execute 1: a@0 on threads",
    ]
    assert d.finish(1) == [
        "store 2 to 3: Applied",
        "tell: a@0 attempt 1 ok",
        "input 0 finished",
        "became idle",
    ]


# -------------------------------------------------------------------------------- cancelling


def test_a_cancelled_input_is_finished_and_its_work_withdrawn():
    """What is out is to be cancelled, and its outcome is orphaned; the input need not wait for it."""
    d = desk(line_of("a", "b"))
    d.submit(1)

    assert d.cancel(0, "no need") == [
        "store 2 to 3: ScopeCancelled",
        "withdraw 1",
        "reply 2: True",
        "input 0 finished: no need",
        "became idle",
    ]
    assert d.give_up(1) == ["store 3 to 4: Orphaned"]
    assert d.machine.out == {}


def test_cancelling_what_is_finished_or_was_never_there_is_answered():
    """Whether there was anything to withdraw, or why not."""
    d = desk(line_of("a"))

    assert d.cancel(0) == ["reply 1: UsageError"]
    d.submit(1)
    d.finish(1)
    assert d.cancel(-1) == ["reply 3: False"]


def shared_bundle() -> Desk:
    """A machine with one bundle out that works for two inputs."""
    d = desk(line_of("a", "b"), scheduler=Together(), are_seen=True)
    d.submit(1)
    d.submit(2)
    assert d.finish(1, 2)[-1] == "execute 3: b@0 + b@1 on threads"
    return d


def test_a_bundle_that_others_share_is_not_withdrawn_for_one_of_them():
    """It goes on for the input that is left; when that is cancelled too, it is withdrawn."""
    d = shared_bundle()

    assert d.cancel(0) == [
        "store 5 to 6: ScopeCancelled",
        "reply 3: True",
        "input 0 finished: asked for",
    ]
    assert d.cancel(1) == [
        "store 6 to 7: ScopeCancelled",
        "withdraw 3",
        "reply 4: True",
        "input 1 finished: asked for",
        "became idle",
    ]
    assert d.give_up(3) == ["store 7 to 9: Orphaned, Orphaned"]


def test_a_cancelled_run_waits_for_what_is_out():
    """All inputs are withdrawn, shared bundles too; the run has ended when nothing is out any more."""
    d = shared_bundle()

    assert d.cancel_run("enough") == [
        "store 5 to 7: ScopeCancelled, ScopeCancelled",
        "withdraw 3",
        "reply 3: None",
        "input 0 finished: enough",
        "input 1 finished: enough",
    ]
    assert d.machine.status == say.CANCELLING
    assert d.submit(3) == ["reply 4: RunEnded"]
    assert d.cancel(0) == ["reply 5: RunEnded"]
    assert d.change(lambda w: w) == ["reply 6: RunEnded"]
    assert d.cancel_run() == ["reply 7: RunEnded"]
    assert d.stop() == ["reply 8: None"]
    assert d.machine.status == say.CANCELLING
    assert d.give_up(3) == ["store 7 to 9: Orphaned, Orphaned", "became cancelled: enough"]


def test_a_cancelled_run_dispatches_nothing_more():
    """Room that one input's withdrawal makes is not given to the next, which is withdrawn as well."""
    later = td.Policy(max_retries=1, backoff="linear", base_delay_s=60.0, max_delay_s=60.0)
    d = desk(line_of("a", function=boom), {"a": later}, window=1)
    d.submit(1)
    d.submit(2)
    assert d.finish(1) == [
        "store 3 to 4: AttemptFailed",
        "tell: a@0 attempt 1 failed, retry",
        "wake at 60",
    ]

    assert d.cancel_run() == [
        "store 4 to 6: ScopeCancelled, ScopeCancelled",
        "reply 3: None",
        "input 0 finished: asked for",
        "input 1 finished: asked for",
        "became cancelled: asked for",
    ]


# ------------------------------------------------------------------------------------ stopping


def test_a_stopped_run_waits_for_what_is_out():
    """What is out comes back and is stored; nothing new is dispatched, and nothing waits for its moment."""
    again = td.Policy(max_retries=3, backoff="linear", base_delay_s=1.0)
    workflow = line_of("a").add(td.step(boom, name="b")).add(td.step(same, name="c"))
    d = desk(workflow, {"b": again}, max_concurrency=2)
    d.submit(1)
    d.finish(2)

    assert d.stop() == ["reply 2: None"]
    assert d.submit(2) == ["reply 3: RunEnded"]
    assert d.woke(1.0) == []
    assert d.finish(1) == ["store 3 to 4: Applied"]
    assert d.finish(3) == ["store 4 to 5: Applied", "became stopped"]


def test_a_run_stopped_at_once_waits_for_nothing():
    """What is out is withdrawn, and stays to be done; its outcome comes too late."""
    d = desk(line_of("a"))
    d.submit(1)

    assert d.stop(now=True) == ["reply 2: None", "withdraw 1", "became stopped"]
    assert d.finish(1) == []
    assert d.machine.late == 1
    d.out.clear()
    d.restart()
    assert d.begin() == ["execute 2: a@0 on threads"]


def test_a_run_may_be_stopped_at_once_while_it_stops():
    """Whoever tires of waiting stops it again."""
    d = desk(line_of("a"))
    d.submit(1)
    d.stop()

    assert d.stop(now=True) == ["reply 3: None", "withdraw 1", "became stopped"]
    assert d.stop() == ["reply 4: None"]


def test_a_stopping_run_may_be_edited_and_cancelled():
    """What is asked of it before its end is done."""
    d = desk(line_of("a"))
    d.submit(1)
    d.submit(2)
    d.stop()

    assert d.change(lambda w: w.add(td.step(same, name="b"))) == [
        "store 3 to 4: ComponentAdded",
        "reply 4: None",
    ]
    assert d.cancel(0)[0] == "store 4 to 5: ScopeCancelled"
    assert d.cancel_run()[-2:] == ["reply 6: None", "input 1 finished: asked for"]
    d.give_up(1)
    assert d.give_up(2) == ["store 7 to 8: Orphaned", "became cancelled: asked for"]


# ------------------------------------------------------------------------------------- editing


def test_an_edit_goes_on_at_once():
    """A component that is added sees what comes after, and with a backfill what was there before."""
    d = desk(line_of("a"))
    d.submit(1)
    d.finish(1)

    assert d.change(lambda w: w.add(td.step(same, name="b"), to="a", backfill=True)) == [
        "store 3 to 4: ComponentAdded",
        "reply 2: None",
        "execute 2: b@0 on threads",
    ]
    assert d.finish(2) == ["store 4 to 5: Applied", "input 0 finished", "became idle"]


def test_an_edit_that_cannot_be_is_refused():
    """The run goes on as it was."""
    d = desk(line_of("a"))

    assert d.change(lambda w: w.remove("z")) == ["reply 1: UnknownComponent"]
    assert d.machine.workflow.components() == ["a"]


def test_work_of_replaced_code_is_done_anew():
    """What is out goes on, but its outcome is orphaned; what waits for a slot goes out with the new code alone."""
    d = desk(line_of("a"), max_concurrency=1)
    d.submit(1)
    d.submit(2)

    assert d.change(lambda w: w.replace("a", td.step(lambda value: -value, name="a"))) == [
        "store 3 to 4: ComponentReplaced",
        "reply 3: None",
    ]
    assert d.finish(1) == ["store 4 to 5: Orphaned", "execute 2: a/#1@0 on threads"]
    assert d.finish(2) == [
        "store 5 to 6: Applied",
        "input 0 finished",
        "execute 3: a/#1@1 on threads",
    ]
    d.finish(3)
    assert d.machine.workflow.raw_productions("a") == [-1, -2]


def test_work_of_a_removed_component_is_withdrawn():
    """What waited is forgotten, and an outcome of what is out is orphaned, a failure too."""
    d = desk(line_of("a", function=boom), {"a": td.Policy(max_retries=2)}, max_concurrency=1)
    d.submit(1)
    d.submit(2)

    assert d.change(lambda w: w.remove("a")) == [
        "store 3 to 4: ComponentRemoved",
        "reply 3: None",
        "input 0 finished",
        "input 1 finished",
        "became idle",
    ]
    assert d.finish(1) == ["store 4 to 5: Orphaned"]
    assert d.machine.where == {}


def test_new_code_is_under_the_policy_of_its_name():
    """Policies are matched anew after an edit."""
    d = desk(line_of("a"), {"b": td.Policy(executor="cluster")})
    d.submit(1)
    d.change(lambda w: w.add(td.step(same, name="b"), to="a"))

    assert d.finish(1) == ["store 3 to 4: Applied", "execute 2: b@0 on cluster"]


def test_what_an_edit_opens_again_was_finished_in_time():
    """The deadline of an input that met it does not hold for what is added afterwards."""
    d = desk(line_of("a"))
    d.submit(1, deadline_at=5.0)
    d.finish(1)
    assert d.woke(5.0) == []

    assert d.change(lambda w: w.add(td.step(same, name="b"), to="a", backfill=True)) == [
        "store 3 to 4: ComponentAdded",
        "reply 2: None",
        "execute 2: b@0 on threads",
    ]


# ----------------------------------------------------------------------------------- deadlines


def test_an_input_is_cancelled_at_its_deadline():
    """What is left to do for it then is withdrawn; an earlier answer spares it that."""
    d = desk(line_of("a"))

    assert d.submit(1, deadline_at=5.0) == [
        "store 0 to 2: Defined, InputAccepted",
        "reply 1: 0",
        "execute 1: a@0 on threads",
        "wake at 5",
    ]
    assert d.submit(2, deadline_at=9.0)[-1] == "execute 2: a@1 on threads"
    d.finish(2)
    assert d.woke(5.0) == [
        "store 4 to 5: ScopeCancelled",
        "withdraw 1",
        "input 0 finished: deadline",
        "became idle",
    ]
    assert d.woke(9.0) == []
    assert d.machine.moments == []


def test_a_run_is_cancelled_at_its_deadline():
    """All its inputs are; the note says why. After its end, the moment changes nothing."""
    d = Desk(line_of("a"), deadline_at=5.0)

    assert d.begin() == ["wake at 5"]
    d.submit(1)
    assert d.woke(5.0) == [
        "store 2 to 3: ScopeCancelled",
        "withdraw 1",
        "input 0 finished: deadline",
    ]
    assert d.give_up(1) == ["store 3 to 4: Orphaned", "became cancelled: deadline"]


@pytest.mark.parametrize("end", [lambda d: d.stop(), lambda d: d.cancel_run()])
def test_a_deadline_after_the_end_changes_nothing(end: Any):
    """A run that was stopped or cancelled stays so, whatever it had asked to be woken for."""
    d = Desk(line_of("a"), deadline_at=5.0)
    d.begin()
    d.submit(1, deadline_at=4.0)
    d.finish(1)
    end(d)
    status = d.machine.status

    assert d.woke(5.0) == []
    assert d.machine.status == status


def test_a_run_that_ends_asks_for_no_more_moments():
    """Whatever lies ahead."""
    d = Desk(line_of("a"), deadline_at=5.0)
    d.begin()
    d.submit(1, deadline_at=9.0)
    d.finish(1)

    assert d.woke(5.0) == ["became cancelled: deadline"]


# ------------------------------------------------------------------------------ work in line


def test_plain_work_of_the_runners_own_thread_is_driven():
    """It is executed in bulk, without a dispatch; when the budget ends, there is another drive."""
    d = desk(line_of("a", "b", "c"), default="inline")

    assert d.submit(1) == ["store 0 to 2: Defined, InputAccepted", "reply 1: 0", "drive on"]
    assert d.drive(budget=2) == ["store 2 to 4: Applied, Applied", "drive on"]
    assert d.drive() == ["store 4 to 5: Applied", "input 0 finished", "became idle"]


def test_a_drive_hands_out_what_must_not_be_done_in_line():
    """What another executor, a limit or an async function is wished for goes out, no more than the window holds."""
    workflow = line_of("a").add(td.map(same, name="m"), to="a").add(td.step(same, name="b"), to="m")
    d = desk(workflow, {"b": td.Policy(executor="threads")}, default="inline", window=2)
    d.submit([1, 2, 3])

    assert d.drive() == [
        "store 2 to 7: Applied, Expanded, Applied, Applied, Applied",
        "execute 1: b@0.0 on threads",
        "execute 2: b@0.1 on threads",
    ]
    assert d.finish(1) == ["store 7 to 8: Applied", "drive on"]
    assert d.drive() == ["execute 3: b@0.2 on threads"]


def test_a_failure_in_line_has_a_say():
    """It is judged by its policy, and tried again by a dispatch of its own."""
    workflow = line_of("a").add(td.step(boom, name="b"))
    d = desk(workflow, {"b": td.Policy(max_retries=1)}, default="inline")
    d.submit(1)

    assert d.drive() == [
        "store 2 to 4: Applied, AttemptFailed",
        "tell: b@0 attempt 1 failed, retry",
        "drive on",
    ]
    assert d.drive() == ["execute 1: b@0 attempt 2 on inline"]
    assert d.finish(1) == [
        "store 4 to 5: Failed",
        "tell: b@0 attempt 2 failed, give_up",
        "input 0 finished",
        "became idle",
    ]


def test_a_final_failure_in_line_is_warned_about():
    """Without a policy that has a say, the failure is recorded where it happened."""
    d = desk(line_of("a", function=boom), default="inline")
    d.submit(1)

    assert d.drive() == [
        "store 2 to 3: Failed",
        "warn: a failed for input 0: ValueError: 1",
        "input 0 finished",
        "became idle",
    ]


async def asame(value: Any) -> Any:
    """An async step."""
    return value


def test_a_drive_heeds_what_came_since_it_was_ordered():
    """An edit, or an input with policies of its own, counts for a drive that was ordered before."""
    d = desk(line_of("a"), default="inline")
    assert d.submit(1)[-1] == "drive on"
    d.change(lambda w: w.add(td.step(asame, name="b"), to="a"))
    assert d.drive() == ["store 3 to 4: Applied", "execute 1: b@0 on asyncio"]
    d.finish(1)

    assert d.submit(2)[-1] == "drive on"
    d.submit(3, policies={"a": td.Policy(timeout_s=1.0)})
    assert d.drive() == []
    assert [bundle.runnables[0].id for bundle in d.out.values()] == ["a@1", "a@2"]


def test_what_is_cancelled_while_a_drive_is_ordered_ends_with_it():
    """The drive finds nothing to do; the run is not idle before."""
    d = desk(line_of("a"), default="inline")
    d.submit(1)

    assert d.cancel(0) == ["store 2 to 3: ScopeCancelled", "reply 2: True"]
    assert d.machine.status == say.RUNNING
    assert d.drive() == ["input 0 finished: asked for", "became idle"]


def test_a_stopping_run_waits_for_the_drive():
    """What was ordered is done and stored, and what that hands out stays to be done."""
    d = desk(line_of("a", "b"), {"b": td.Policy(executor="threads")}, default="inline")
    d.submit(1)

    assert d.stop() == ["reply 2: None"]
    assert d.drive() == ["store 2 to 3: Applied", "became stopped"]


def test_a_drive_of_a_run_that_was_stopped_at_once_changes_nothing():
    """Its log is stored already, and must not go on unnoticed."""
    d = desk(line_of("a"), default="inline")
    d.submit(1)

    assert d.stop(now=True) == ["reply 2: None", "became stopped"]
    assert d.drive() == []
    assert d.machine.workflow.position == 2


# ------------------------------------------------------------------------------------- the end


REQUESTS: list[Any] = [
    lambda n: say.Submit(request=n, value=1, at=0.0),
    lambda n: say.Change(request=n, change=lambda w: w, at=0.0),
    lambda n: say.CancelInput(request=n, input=0, at=0.0),
    lambda n: say.CancelRun(request=n, at=0.0),
]


def ended(end: str) -> Desk:
    """A machine at its end."""
    d = desk(line_of("a"))
    d.submit(1)
    d.finish(1)
    assert (d.stop() if end == say.STOPPED else d.cancel_run())[-1].startswith(f"became {end}")
    return d


@pytest.mark.parametrize("end", [say.STOPPED, say.CANCELLED])
@pytest.mark.parametrize("make", REQUESTS, ids=["submit", "change", "cancel input", "cancel run"])
def test_after_the_end_each_request_is_refused(end: str, make: Any):
    """By exactly one reply, that says how the run ended."""
    d = ended(end)
    (told,) = d.machine.handle(make(50))

    assert isinstance(told, say.Reply)
    assert told.request == 50
    assert isinstance(told.error, RunEnded)
    assert end in str(told.error)


@pytest.mark.parametrize("end", [say.STOPPED, say.CANCELLED])
def test_after_the_end_a_stop_is_granted(end: str):
    """It has been done already."""
    assert ended(end).stop() == ["reply 3: None"]


def test_a_machine_begins_where_its_workflow_is():
    """A workflow that was under way goes on; what somebody else has out is left alone."""
    w = side_by_side("a", "b").plan_eagerly(1)
    w, _ = w.prepare_for_dispatch(1)
    d = Desk(w, stored=w.position)

    assert d.begin() == ["execute 1: b@0 on threads"]
    assert d.finish(1) == ["store 2 to 3: Applied"]
    assert d.machine.status == say.RUNNING


def test_a_machine_that_has_not_begun_takes_nothing_else():
    """The error says what it could take."""
    with pytest.raises(
        td.errors.TreadleBug, match="that is new cannot take Woke; it can take: Begin"
    ):
        machine_of(line_of("a")).handle(say.Woke(0.0))
