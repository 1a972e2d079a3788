"""One run as a state machine: what it says to requests, and to what comes back. Each test compares all that it says."""

from typing import Any

import pytest

import treadle as td
from tests.runner.machines import Desk
from treadle.runner import stimuli as say


def same(value: Any) -> Any:
    """What most steps do."""
    return value


def boom(value: Any) -> Any:
    """What failing steps do."""
    raise ValueError(value)


def line_of(*names: str, function: Any = same) -> td.Workflow:
    """A workflow of steps in a row."""
    workflow, above = td.workflow("line"), None
    for name in names:
        workflow, above = workflow.add(td.step(function, name=name), to=above), name
    return workflow


def side_by_side(*names: str) -> td.Workflow:
    """A workflow of steps that all take the input."""
    workflow = td.workflow("wide")
    for name in names:
        workflow = workflow.add(td.step(same, name=name))
    return workflow


def desk(workflow: Any, policies: Any = None, **options: Any) -> Desk:
    """A machine that has begun."""
    made = Desk(workflow, policies, **options)
    made.begin()
    return made


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


def test_a_bundle_that_others_share_is_not_withdrawn_for_one_of_them():
    """It goes on for the input that is left; when that is cancelled too, it is withdrawn."""
    d = desk(side_by_side("a"), scheduler=Together(), are_seen=True, max_concurrency=1)
    d.submit(1)
    d.submit(2)
    d.submit(3)
    d.finish(1)
    d.machine.numbers = iter([7])
    assert d.cancel(1) == [
        "store 5 to 6: ScopeCancelled",
        "reply 4: True",
        "input 1 finished: asked for",
    ]


class Together:
    """A scheduler that makes one bundle of all it is given."""

    def plan(self, ready: Any, view: Any) -> list[td.Bundle]:
        """All in one."""
        return [td.Bundle(runnables=tuple(ready))]

    def observe(self, outcome: Any) -> None:
        """Learns nothing."""
