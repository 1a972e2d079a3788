"""What is executed, or given, where a policy falls back; and what a fallback may ask for in its turn."""

import asyncio
import pickle
from typing import Any

import pytest

import treadle as td
from tests.runner.machines import Desk, boom, desk, line_of, same
from treadle.engine.execute import aexecute_runnable, execute_runnable, outcome_of
from treadle.errors import BadValue
from treadle.model import nodes as kinds
from treadle.model.runnables import FAILED, Again, Outcome, Runnable
from treadle.policies.policy import NO_FALLBACK, Policy
from treadle.runner.fallback import (
    failure_of,
    fall_back,
    fit,
    is_async_callable,
    retry_with,
    wants_retry,
)


def ask(
    question: Any,
    model: Any = td.context("model", default="large"),
    tone: Any = td.context("tone", default="dry"),
) -> Any:
    """A step whose large model fails."""
    if model == "large":
        raise ConnectionError("busy")
    return (question, model, tone)


ASKING = td.workflow("asking").add(td.step(ask, name="ask"))


def failed_once(workflow: td.Workflow, value: Any = 1) -> Runnable:
    """The work of a workflow's step, to be done by its fallback."""
    w, (first,) = workflow.plan_eagerly(value).prepare_for_dispatch()
    w = w.apply_runnable(execute_runnable(first), retry=Again(fallback=True))
    _, (runnable,) = w.prepare_for_dispatch()
    assert runnable.is_fallback
    return runnable


def instead(fallback: Any, workflow: td.Workflow | None = None, kind: str = kinds.STEP) -> Any:
    """What a policy with this fallback gives for work that failed."""
    return fall_back(
        failed_once(workflow or line_of("a", function=boom)), Policy(fallback=fallback), kind
    )


def name_of_error(failure: Any) -> str:
    """A fallback function."""
    return f"{failure.component} {failure.inputs} {failure.error.text} {failure.attempt}"


async def aname_of_error(failure: Any) -> str:
    """The same, async."""
    return name_of_error(failure)


# --------------------------------------------------------------------------- what is executed


@pytest.mark.parametrize("value", [7, None, "text", [1]])
def test_a_value_is_given_without_executing_anything(value: Any):
    """None is a value, too."""
    outcome = instead(value)

    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.value, outcome.attempt) == ("ok", value, 2)


def test_a_function_is_called_with_the_failure():
    """It learns what failed, with which inputs, how, and at which attempt."""
    runnable = instead(name_of_error)

    assert isinstance(runnable, Runnable)
    assert execute_runnable(runnable).value == "a (1,) 1 1"


def test_an_async_function_is_awaited_with_the_failure():
    """The runnable says that it must be."""
    runnable = instead(aname_of_error)

    assert runnable.is_async
    assert asyncio.run(aexecute_runnable(runnable)).value == "a (1,) 1 1"


def test_a_component_is_called_with_the_same_inputs():
    """And with no injected values of the one that failed."""
    other = td.step(lambda question: f"{question}?", name="other")

    assert execute_runnable(instead(other, ASKING)).value == "1?"


def test_an_async_component_is_awaited():
    """Whether it is async is told by its function."""

    async def other(question: Any) -> str:
        return f"{question}?"

    runnable = instead(td.step(other, name="other"), ASKING)

    assert runnable.is_async
    assert asyncio.run(aexecute_runnable(runnable)).value == "1?"


def test_the_work_is_retried_with_other_values():
    """Only those named are different."""
    runnable = instead(td.RetryWith(model="small"), ASKING)

    assert execute_runnable(runnable).value == (1, "small", "dry")


def test_a_wish_for_a_value_that_nobody_asks_for_fails():
    """The error names it, and says what there is."""
    outcome = instead(td.RetryWith(modell="small"), ASKING)

    assert outcome.status == FAILED
    assert "no injected parameter 'modell'" in outcome.error.text
    assert "it has 'model', 'tone'" in outcome.error.text


def test_without_a_fallback_the_work_itself_is_done():
    """The policy may have changed since the attempt that failed."""
    runnable = failed_once(line_of("a", function=boom))

    assert fall_back(runnable, Policy(fallback=NO_FALLBACK), kinds.STEP) is runnable


def test_a_problem_of_the_work_is_none_of_its_fallback():
    """What a marker could not give is not needed by a function that is called with the failure."""

    def needy(value: Any, name: Any = td.context("name")) -> Any:
        return name

    workflow = td.workflow("needy").add(td.step(needy, name="a"))
    runnable = failed_once(workflow)
    assert runnable.problem is not None

    assert execute_runnable(instead(lambda failure: 3, workflow)).value == 3


# ------------------------------------------------------------------------------- made to fit


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ([1, 2], kinds.ITEMS, (1, 2)),
        (range(2), kinds.ITEMS, (0, 1)),
        ({"x": 1}, kinds.ITEMS, ("x",)),
        ([], kinds.CHECK, False),
        ("yes", kinds.CHECK, True),
        ([1, 2], kinds.STEP, [1, 2]),
    ],
)
def test_a_value_is_made_to_fit_its_node(value: Any, kind: str, expected: Any):
    """Elements for a fan-out, a truth for a check, anything for a step."""
    assert fit(value, kind) == expected
    assert type(fit(value, kind)) is type(expected)


@pytest.mark.parametrize("value", ["text", b"bytes", 3, None])
def test_what_has_no_elements_does_not_fit_a_fan_out(value: Any):
    """As it would not, were it the value of the map's own function."""
    with pytest.raises(BadValue, match="has no elements"):
        fit(value, kinds.ITEMS)

    assert instead(value, kind=kinds.ITEMS).status == FAILED
    assert execute_runnable(instead(lambda _: value, kind=kinds.ITEMS)).status == FAILED


def test_functions_and_components_are_made_to_fit():
    """Plain and async."""
    assert execute_runnable(instead(lambda _: [1, 2], kind=kinds.ITEMS)).value == (1, 2)
    assert execute_runnable(instead(td.step(str, name="s"), kind=kinds.CHECK)).value is True

    async def empty(_: Any) -> list[Any]:
        return []

    for made in (
        instead(empty, kind=kinds.ITEMS),
        instead(td.step(empty, name="e"), kind=kinds.ITEMS),
    ):
        assert asyncio.run(aexecute_runnable(made)).value == ()


def test_what_is_executed_instead_can_travel():
    """A fallback function is pickled by reference, as any function of a workflow is."""
    runnable = failed_once(line_of("a", function=boom))
    made: Any = fall_back(runnable, Policy(fallback=name_of_error), kinds.STEP)
    there: Any = pickle.loads(pickle.dumps(made))

    assert execute_runnable(there).value == "a (1,) 1 1"


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (name_of_error, False),
        (aname_of_error, True),
        (td.step(same), False),
        (td.step(aname_of_error), True),
    ],
)
def test_whether_a_fallback_is_async(function: Any, is_async: bool):
    """Of a function and of a component."""
    assert is_async_callable(function) is is_async


def test_an_object_may_be_async_when_called():
    """What counts is its `__call__`."""

    class Caller:
        async def __call__(self, failure: Any) -> int:
            return 5

    assert is_async_callable(Caller())
    assert asyncio.run(aexecute_runnable(instead(Caller()))).value == 5


# ---------------------------------------------------------------------------------- the wishes


def test_only_a_fallback_function_may_wish():
    """A value that looks like a wish is a value where the node's own function gave it."""
    wish = td.RetryWith(model="small")
    runnable = failed_once(ASKING)
    made: Any = fall_back(runnable, Policy(fallback=lambda failure: wish), kinds.STEP)

    assert wants_retry(made, execute_runnable(made)) is wish
    assert wants_retry(runnable, outcome_of(runnable, wish)) is None
    assert wants_retry(made, outcome_of(made, 3)) is None


def test_a_retry_keeps_the_values_that_it_does_not_name():
    """Those that were injected at the first attempt."""
    runnable = failed_once(ASKING.with_context({"ask": {"tone": "kind"}}))
    again: Any = retry_with(runnable, td.RetryWith(model="small"))

    assert again.injected == {"model": "small", "tone": "kind"}


def test_a_failure_says_which_attempt_failed():
    """The one before the fallback."""
    failure = failure_of(failed_once(line_of("a", function=boom)))

    assert (failure.component, failure.part, failure.scope, failure.attempt) == ("a", None, (0,), 1)
    assert failure.error.type == "ValueError"


# ----------------------------------------------------------------------------- under a machine


def fallen(fallback: Any, workflow: td.Workflow = ASKING, **more: Any) -> Desk:
    """A machine whose one step has failed, and falls back."""
    d = desk(workflow, td.Policy(fallback=fallback, **more))
    d.submit(1)
    d.finish(1)
    return d


def test_a_fallback_value_ends_the_work_at_once():
    """The failed attempt and the value are one store."""
    d = desk(ASKING, td.Policy(fallback="sorry"))
    d.submit(1)

    assert d.finish(1) == [
        "store 2 to 4: AttemptFailed, Applied",
        "tell: ask@0 attempt 1 failed, fallback",
        "input 0 finished",
        "became idle",
    ]


def test_a_fallback_function_may_wish_for_a_retry():
    """The work's own function is then called once more, with what was injected before and what is wished."""
    d = fallen(lambda failure: td.RetryWith(model="small"))

    assert d.finish(2) == ["execute 3: ask@0 attempt 2 (fallback) on threads"]
    assert d.finish(3) == ["store 3 to 4: Applied", "input 0 finished", "became idle"]
    assert d.machine.workflow.results() == {"ask": (1, "small", "dry")}


def test_a_wish_that_cannot_be_is_a_failure():
    """The fallback has failed, and that is the end of it."""
    d = fallen(lambda failure: td.RetryWith(nothing=0))

    assert d.finish(2) == [
        "store 3 to 4: Failed",
        "tell: ask@0 attempt 2 failed, give_up",
        "input 0 finished",
        "became idle",
    ]


def test_a_fallback_that_fails_is_not_retried():
    """Nor is there a fallback for it."""
    d = fallen(boom, line_of("a", function=boom), max_retries=5, retry_on=OSError)

    assert d.finish(2)[1] == "tell: a@0 attempt 2 failed, give_up"


def test_a_wish_for_work_that_is_gone_is_not_granted():
    """Its input was cancelled while the fallback ran: nothing is executed for it any more."""
    d = fallen(lambda failure: td.RetryWith(model="small"))
    d.cancel(0)

    assert d.finish(2) == ["store 4 to 5: Orphaned"]
    assert (d.machine.out, d.machine.where) == ({}, {})


@pytest.mark.parametrize("numbers", [(3, 2), (2, 3)])
def test_a_wish_is_granted_once(numbers: tuple[int, int]):
    """A fallback's outcome that comes again after a crash sets nothing off that is out already."""
    d = fallen(lambda failure: td.RetryWith(model="small"))
    came = d.out[2]
    d.finish(2)
    d.out[2] = came
    d.out = {number: d.out[number] for number in numbers}  # in the order in which they are adopted
    d.restart()

    assert d.begin() == []
    assert d.finish(2) == []
    assert d.finish(3)[-1] == "became idle"


def test_a_wish_for_work_that_was_not_prepared_again_waits():
    """After a restart with no room: the fallback is asked again when its work is."""
    d = fallen(lambda failure: td.RetryWith(model="small"))
    d.options["window"] = 0
    d.restart()
    d.begin()

    assert d.finish(2) == ["store 3 to 4: AttemptFailed"]
    d.options["window"] = 9
    d.restart()
    assert d.begin() == ["execute 3: ask@0 attempt 3 (fallback) on threads"]
