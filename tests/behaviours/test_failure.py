"""Failures: rules S24 to S26."""

import gc
import logging
import pickle
import traceback
import weakref
from typing import Any

import pytest

import treadle as td
from treadle import errors


class Declined(Exception):
    """A user's own error."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


def charge(order: Any) -> Any:
    """Decline what is too much."""
    if order > 100:
        reason = "too much"
        raise Declined(reason, 402)
    return f"charged {order}"


def shop(**options: Any) -> td.Workflow:
    """Charge, then ship; and a step beside it."""
    return td.workflow(
        "shop",
        steps=[
            (td.step(charge, **options), [td.step(lambda c: f"shipped, {c}", name="ship")]),
            td.step(lambda order: order, name="note"),
        ],
    )


def handler(failure: td.Failure) -> str:
    """Say what failed."""
    return f"{failure.component} failed: {failure.error.text}"


def only(w: td.Workflow) -> td.Failure:
    """The one failure."""
    [failure] = w.failures()
    return failure


# ------------------------------------------------------------------------------------- what is told


def test_a_failure_is_data():
    """S2, S24: component, inputs, error with type, text and frames, attempt and scope."""
    failure = only(shop().react_until_satisfied(500))

    assert (failure.component, failure.part, failure.scope) == ("charge", None, (0,))
    assert (failure.inputs, failure.input, failure.attempt) == ((500,), 0, 1)
    assert (failure.on_failure, failure.handled) == ("block", False)
    assert failure.error.type.endswith("Declined")
    assert (failure.error.name, failure.error.text) == ("Declined", "too much")
    assert failure.error.frames[-1].function == "charge"
    assert failure.error.frames[-1].file == __file__


def test_frames_are_the_users():
    """S2: the engine's own frames are not shown."""
    failure = only(shop().react_until_satisfied(500))
    threaded = only(shop().react_until_satisfied(500, executor="threads"))

    assert [frame.function for frame in failure.error.frames] == ["charge"]
    assert "treadle" not in "".join(frame.file for frame in threaded.error.frames)


def test_causes_are_data_too():
    """S2: causes and groups are kept with the failure."""

    def translate(x: Any) -> Any:
        try:
            return charge(x)
        except Declined as error:
            message = "no deal"
            raise RuntimeError(message) from error

    def several(x: Any) -> Any:
        message = "several"
        raise ExceptionGroup(message, [ValueError("a"), KeyError("b")])

    w = td.workflow("w", steps=[translate, several]).react_until_satisfied(500)
    caused, grouped = w.failures()

    assert [cause.name for cause in caused.error.causes] == ["Declined"]
    assert [cause.name for cause in grouped.error.causes] == ["ValueError", "KeyError"]


def test_a_failure_reads_well():
    """S24: as text it says who failed, for which input and item, and why."""
    w = td.workflow("w", components=[td.map(charge, name="each")]).react_until_satisfied([1, 500])

    assert str(only(w)) == "'each' failed for input 0, item 1: Declined: too much"


def test_errors_whose_own_methods_fail_are_recorded():
    """S25: a broken __str__ must not hide the failure."""

    class Broken(Exception):
        def __str__(self) -> str:
            message = "even this"
            raise RuntimeError(message)

        __repr__ = __str__

    def fails(x: Any) -> Any:
        raise Broken

    w = td.workflow("w", steps=[fails]).react_until_satisfied(1)

    assert only(w).error.name == "Broken"
    with pytest.raises(errors.StepFailed):
        w.results(raise_on_failure=True)


# ------------------------------------------------------------------------------------ error ports


def test_a_handler_gets_the_failure_in_the_same_scope():
    """S24: add(handler, to=td.error_of(...)) gets component, inputs, error and attempt."""
    got: Any = []
    w = shop().add(td.step(lambda f: got.append(f) or "told", name="h"), to=td.error_of("charge"))
    w = w.react_until_satisfied(500)
    [failure] = got

    assert isinstance(failure, td.Failure)
    assert (failure.component, failure.inputs, failure.attempt) == ("charge", (500,), 1)
    assert (failure.error.text, failure.scope) == ("too much", (0,))
    assert w.facts("h")[0].scope == (0,)


def test_a_handler_is_not_called_without_a_failure():
    """S24: the error port gives nothing where nothing failed."""
    w = shop().add(handler, to=td.error_of("charge")).react_until_satisfied(5)

    assert w.results("handler") == {"handler": td.ABSENT}
    assert w.results() == {"ship": "shipped, charged 5", "note": 5}


def test_a_component_with_only_handlers_is_an_output():
    """Section 4: children on the error port alone leave it an output."""
    w = td.workflow("w", steps=[charge]).add(handler, to=td.error_of("charge"))

    assert w.react_until_satisfied(5).results() == {"charge": "charged 5"}
    assert w.react_until_satisfied(500).results() == {"handler": "charge failed: too much"}


def test_a_handled_failure_stays_listed_as_handled():
    """S24: handled by a handler that succeeded; it raises no more."""
    w = shop().add(handler, to=td.error_of("charge"))
    w = w.run_or_raise(500)

    assert only(w).handled
    assert [entry["status"] for entry in w.inputs()] == ["done"]
    assert w.results(raise_on_failure=True) == {"handler": "charge failed: too much", "note": 500}


def test_a_handler_that_fails_handles_nothing():
    """S24: both failures are listed, none handled."""
    w = shop().add(td.step(lambda f: 1 / 0, name="h"), to=td.error_of("charge"))
    w = w.react_until_satisfied(500)

    assert [(f.component, f.handled) for f in w.failures()] == [("charge", False), ("h", False)]


def test_a_rule_as_handler_handles_when_it_fired():
    """S24: a rule on the error port handles where its condition holds and its reaction succeeds."""
    w = shop()
    w = w.add(
        td.rule(handler, name="h", condition=lambda f: f.inputs[0] < 1000),
        to=td.error_of("charge"),
    )

    assert only(w.react_until_satisfied(500)).handled
    assert not only(w.react_until_satisfied(5000)).handled


def test_a_rule_whose_reaction_fails_handles_nothing():
    """S24: it is the handler that must succeed."""
    w = shop().add(
        td.rule(lambda f: 1 / 0, name="h", condition=lambda f: True), to=td.error_of("charge")
    )
    w = w.react_until_satisfied(500)

    assert [(f.component, f.handled) for f in w.failures()] == [("charge", False), ("h", False)]
    with pytest.raises(errors.StepFailed, match="charge"):
        w.results(raise_on_failure=True)


def test_an_accumulator_as_handler():
    """S24: failures may be counted over all inputs."""
    w = shop().add(
        td.accumulator(lambda n, f: n + 1, initial=0, name="failed"), to=td.error_of("charge")
    )
    for order in (500, 5, 700):
        w = w.react_until_satisfied(order)

    assert w.states() == {"failed": {None: 2}}
    assert [failure.handled for failure in w.failures()] == [True, True]


def test_a_handler_gives_a_fallback_into_a_join():
    """S24: value and fallback meet in an `any` join."""
    w = td.workflow("w", steps=[charge])
    w = w.add(td.step(lambda f: "on account", name="fallback"), to=td.error_of("charge"))
    w = w.add(
        td.step(lambda how: f"paid: {how}", name="paid"), to=["charge", "fallback"], join="any"
    )

    assert w.react_until_satisfied(5).results() == {"paid": "paid: charged 5"}
    assert w.react_until_satisfied(500).results() == {"paid": "paid: on account"}


def test_a_handler_with_the_input_beside():
    """S24: the error port joins like any parent."""
    w = td.workflow("w", steps=[charge])
    w = w.add(
        td.step(lambda f, order: (f.component, order), name="h"),
        to=[td.error_of("charge"), td.INPUT],
    )

    assert w.react_until_satisfied(500).results() == {"h": ("charge", 500)}


def test_handlers_of_handlers():
    """S24: every node has an error port, handlers too."""
    w = td.workflow("w", steps=[charge])
    w = w.add(td.step(lambda f: 1 / 0, name="h"), to=td.error_of("charge"))
    w = w.add(td.step(lambda f: f.component, name="hh"), to=td.error_of("h")).react_until_satisfied(
        500
    )

    assert w.results() == {"hh": "h"}
    assert [(f.component, f.handled) for f in w.failures()] == [("charge", False), ("h", True)]


def test_the_error_port_of_a_fold():
    """S24: of accumulators and reduces too."""
    w = td.workflow(
        "w",
        components=[
            td.accumulator(lambda s, v: s + 1 // v, initial=0, name="acc"),
            td.reduce(lambda a, b: a, initial=0, name="red"),
        ],
    )
    w = w.add(td.step(lambda f: f.error.name, name="h1"), to=td.error_of("acc"))
    w = w.add(td.step(lambda f: f.error.name, name="h2"), to=td.error_of("red"))

    assert w.react_until_satisfied(0).results() == {"h1": "ZeroDivisionError", "h2": "BadValue"}


def test_error_of_takes_the_component():
    """S24: by name or by the component itself."""
    component = td.step(charge)
    w = td.workflow("w", steps=[component]).add(handler, to=td.error_of(component))

    assert "handler" in w.react_until_satisfied(500).results()


def test_error_of_an_unknown_component_is_refused():
    """S24, S28: with the nearest name."""
    with pytest.raises(errors.UnknownComponent, match="Did you mean 'charge'"):
        shop().add(handler, to=td.error_of("chrage"))


# ------------------------------------------------------------------------------------- on_failure


def test_block_stops_what_needs_the_value():
    """S25: the default: the lineage ends there; other branches and inputs go on."""
    w = shop().plan_eagerly(500).plan_eagerly(5).react_until_satisfied()

    assert w.results(input=0) == {"note": 500}
    assert w.results(input=1) == {"ship": "shipped, charged 5", "note": 5}
    assert [entry["status"] for entry in w.inputs()] == ["failed", "done"]
    assert w.is_satisfied()


def test_skip_gives_absent():
    """S25: what follows gets ABSENT and is not called where it gets nothing else."""
    w = shop(on_failure="skip").add(
        td.step(lambda c, n: (c, n), name="both"), to=["charge", "note"]
    )
    w = w.react_until_satisfied(500)

    assert w.results("ship", "both") == {"ship": td.ABSENT, "both": (td.ABSENT, 500)}
    assert (only(w).on_failure, only(w).handled) == ("skip", False)
    assert [entry["status"] for entry in w.inputs()] == ["done"]


def test_skip_still_feeds_the_error_port():
    """S24: and is listed, handled where the handler succeeded."""
    w = shop(on_failure="skip").add(handler, to=td.error_of("charge")).react_until_satisfied(500)

    assert w.results("handler") == {"handler": "charge failed: too much"}
    assert only(w).handled


def test_skip_does_not_raise():
    """S25, S26: a skipped failure is no failure of the input."""
    w = shop(on_failure="skip").run_or_raise(500)

    assert w.results(raise_on_failure=True) == {"note": 500}


def test_halt_withdraws_the_ready_work_of_this_input():
    """S25: nothing else of this input runs; other inputs go on."""
    calls: list[Any] = []
    w = td.workflow(
        "w",
        steps=[
            td.step(charge, on_failure="halt"),
            td.step(lambda x: calls.append(x), name="second"),
        ],
    )
    w = w.plan_eagerly(500).plan_eagerly(5).react_until_satisfied()

    assert calls == [5]
    assert [entry["status"] for entry in w.inputs()] == ["halted", "done"]
    assert w.is_satisfied()
    assert only(w).on_failure == "halt"


def test_halt_lets_no_barrier_fire():
    """S25: no settled join, no reduce."""
    w = td.workflow("w", components=[td.map(charge, name="m", on_failure="halt")])
    w = w.add(td.collect(name="all", on_item_failure="skip"), to="m")
    w = w.add(td.step(lambda a, b: (a, b), name="s"), to=["all", td.INPUT], join="settled")
    w = w.react_until_satisfied([1, 500, 2])

    assert w.results("all", "s") == {"all": td.ABSENT, "s": td.ABSENT}
    assert w.is_satisfied()


def test_what_is_in_flight_at_a_halt_still_comes_back():
    """S25: only ready work is withdrawn; an outcome in flight is taken, and leads to nothing."""
    w = td.workflow("w", steps=[td.step(charge, on_failure="halt")])
    w = w.add(td.step(lambda x: x, name="slow")).add(td.step(abs, name="after"), to="slow")
    w, [failing, slow] = w.plan_eagerly(500).prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(failing))
    open_still = w.is_satisfied()
    w = w.apply_runnable(td.execute_runnable(slow))

    assert not open_still
    assert w.results("slow", "after") == {"slow": 500, "after": td.ABSENT}
    assert w.is_satisfied()
    assert not w.is_runnable()


def test_a_halted_input_raises():
    """S26: results(raise_on_failure=True) raises for it."""
    with pytest.raises(errors.StepFailed, match="charge"):
        td.workflow("w", steps=[td.step(charge, on_failure="halt")]).run_or_raise(500)


@pytest.mark.parametrize("dispatch", [False, True])
@pytest.mark.parametrize(
    ("on_failure", "joined", "beside", "status"),
    [
        ("block", td.ABSENT, 2, "failed"),
        ("skip", (td.ABSENT, 1), 2, "done"),
        ("halt", td.ABSENT, td.ABSENT, "halted"),
    ],
)
def test_a_raising_condition_fails_as_its_rule_says(
    on_failure: Any, joined: Any, beside: Any, status: str, dispatch: bool
):
    """S24, S25: it is a failure of the rule, so the rule's on_failure decides."""
    rule = td.rule(
        lambda x: x, name="r", condition=lambda x: 1 / 0, on_failure=on_failure, dispatch=dispatch
    )
    w = td.workflow("w", rules=[rule], steps=[td.step(lambda x: x, name="note")])
    w = w.add(td.step(lambda a, b: (a, b), name="both"), to=["r", "note"])
    w = w.add(td.step(lambda x: x + 1, name="beside"), to="note").react_until_satisfied(1)

    assert w.results("both", "beside") == {"both": joined, "beside": beside}
    assert (only(w).component, only(w).on_failure) == ("r", on_failure)
    assert [entry["status"] for entry in w.inputs()] == [status]
    assert w.is_satisfied()


@pytest.mark.parametrize("on_failure", ["block", "skip", "halt"])
def test_failures_survive_the_log(on_failure: Any):
    """S2: failures are data in the log, what they led to follows from it."""
    template = shop(on_failure=on_failure).add(handler, to=td.error_of("charge"))
    w = template.plan_eagerly(500).plan_eagerly(5).react_until_satisfied()
    again = td.Workflow.from_log(template, w.log())

    assert again == w
    assert again.failures() == w.failures()
    assert again.inputs() == w.inputs()


# ------------------------------------------------------------------------------------ raising


def test_react_until_satisfied_does_not_raise():
    """S26: a failed step is in failures()."""
    w = shop().react_until_satisfied(500)

    assert w.results() == {"note": 500}
    assert only(w).component == "charge"


@pytest.mark.parametrize("how", ["run_or_raise", "results"])
def test_raising_names_component_input_and_attempt(how: str):
    """S26: StepFailed, with the original exception as its cause, traceback kept."""
    w = shop().react_until_satisfied(5)
    ways = {
        "run_or_raise": lambda: w.run_or_raise(500),
        "results": lambda: w.react_until_satisfied(500).results(raise_on_failure=True),
    }
    with pytest.raises(errors.StepFailed) as caught:
        ways[how]()
    error = caught.value
    cause = error.__cause__

    assert (error.component, error.input, error.attempt) == ("charge", 1, 1)
    assert isinstance(error, errors.WorkError)
    assert isinstance(error, errors.TreadleError)
    assert isinstance(cause, Declined)
    assert cause.code == 402
    assert traceback.extract_tb(cause.__traceback__)[-1].name == "charge"
    assert "charge" in str(error)
    assert "too much" in str(error)


def test_run_or_raise_gives_the_workflow():
    """S26: where nothing failed it is react_until_satisfied."""
    assert shop().run_or_raise(5) == shop().react_until_satisfied(5)


def test_results_raise_for_the_input_asked_for():
    """S26: `input=` chooses whose failures raise."""
    w = shop().react_until_satisfied(500).react_until_satisfied(5)

    assert "ship" in w.results(raise_on_failure=True)
    with pytest.raises(errors.StepFailed):
        w.results(input=0, raise_on_failure=True)
    with pytest.raises(errors.StepFailed):
        w.results(input=td.ALL, raise_on_failure=True)


def test_run_or_raise_speaks_of_this_input_only():
    """S26: a key that was seen makes the input a no-op: another input's failure is not its own."""
    w = shop().react_until_satisfied(5, key="a").react_until_satisfied(500, key="b")
    again = w.run_or_raise(5, key="a")

    assert again.log() == w.log()
    with pytest.raises(errors.StepFailed):
        w.run_or_raise(500, key="b")


def test_the_cause_is_kept_on_threads():
    """S26: the live exception comes back from an executor."""
    w = shop().react_until_satisfied(500, executor="threads")
    with pytest.raises(errors.StepFailed) as caught:
        w.results(raise_on_failure=True)

    assert isinstance(caught.value.__cause__, Declined)


def test_a_rebuilt_workflow_raises_without_the_live_cause():
    """S2: the live exception is kept beside the log, not in it; the text is there all the same."""
    template = shop()
    again = td.Workflow.from_log(template, template.react_until_satisfied(500).log())
    with pytest.raises(errors.StepFailed, match="Declined: too much") as caught:
        again.results(raise_on_failure=True)

    assert caught.value.__cause__ is None


class Stubborn(Exception):
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        message = "not portable"
        raise TypeError(message)


def test_a_cause_is_never_another_branchs():
    """S26: what failed on another branch, at the same position, is not this failure's cause."""

    def fails(x: Any) -> Any:
        raise Stubborn(x)

    w = td.workflow("w", steps=[td.step(fails, name="a"), td.step(fails, name="b")]).plan_eagerly(1)
    w, [a, b] = w.prepare_for_dispatch()
    w.apply_runnable(td.execute_runnable(a))
    travelled = pickle.loads(pickle.dumps(td.execute_runnable(b)))
    fork = w.apply_runnable(travelled)
    with pytest.raises(errors.StepFailed) as caught:
        fork.results(raise_on_failure=True)

    assert travelled.exception is None
    assert caught.value.component == "b"
    assert caught.value.__cause__ is None


def test_an_abandoned_operation_leaves_no_cause_behind():
    """S26: nor is what failed in an operation that was interrupted."""

    def fails(x: Any) -> Any:
        raise Stubborn(x)

    def interrupted(x: Any) -> Any:
        raise KeyboardInterrupt

    w = td.workflow("w", steps=[td.step(fails, name="a"), td.step(interrupted, name="b")])
    w = w.plan_eagerly(1)
    with pytest.raises(KeyboardInterrupt):
        w.react_until_satisfied()
    w, [a, _] = w.prepare_for_dispatch()
    w = w.apply_runnable(pickle.loads(pickle.dumps(td.execute_runnable(a))))
    with pytest.raises(errors.StepFailed) as caught:
        w.results(raise_on_failure=True)

    assert caught.value.__cause__ is None


def test_a_failed_workflow_can_be_collected():
    """Section 6: a failed workflow is gone after gc.collect()."""

    class Big:
        pass

    def fails(big: Any) -> Any:
        raise ValueError(big)

    logging.getLogger("treadle").setLevel(logging.CRITICAL)
    try:
        big = Big()
        gone = weakref.ref(big)
        w = td.workflow("w", steps=[fails]).react_until_satisfied(big)
        assert len(w.failures()) == 1
        del w, big
        gc.collect()
    finally:
        logging.getLogger("treadle").setLevel(logging.NOTSET)

    assert gone() is None


# -------------------------------------------------------------------------------------- attempts


def flaky_workflow() -> td.Workflow:
    """A step that succeeds at its third attempt."""

    def flaky(x: int, *, attempt: int = td.attempt()) -> int:
        if attempt < 3:
            message = f"attempt {attempt}"
            raise OSError(message)
        return x * 10

    return td.workflow("w", steps=[(flaky, [td.step(str, name="after")])])


def test_retry_makes_a_failed_attempt_ready_again():
    """S9: apply_runnable(retry=True) records the attempt and makes the same work ready."""
    w, [first] = flaky_workflow().plan_eagerly(1).prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(first), retry=True)
    pending = w.next_runnables()
    w, [second] = w.prepare_for_dispatch()

    assert [(runnable.id, runnable.attempt) for runnable in pending] == [("flaky@0", 2)]
    assert (second.id, second.idempotency_key) == (first.id, first.idempotency_key)
    assert type(w.log()[-1]).__name__ == "AttemptFailed"
    assert w.log()[-1].error.text == "attempt 1"
    assert w.failures() == []
    assert not w.is_satisfied()


def test_retry_of_a_success_is_a_success():
    """S9: retry=True matters to failures only."""
    w = flaky_workflow().plan_eagerly(1)
    while w.is_runnable():
        w, runnables = w.prepare_for_dispatch()
        for runnable in runnables:
            w = w.apply_runnable(td.execute_runnable(runnable), retry=True)

    assert w.results() == {"after": "10"}
    assert w.failures() == []


def test_the_last_attempt_is_the_one_recorded():
    """S24, S26: a failure after retries names its attempt."""
    w, [first] = flaky_workflow().plan_eagerly(1).prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(first), retry=True)
    w, [second] = w.prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(second))
    with pytest.raises(errors.StepFailed) as caught:
        w.results(raise_on_failure=True)

    assert (only(w).attempt, only(w).error.text) == (2, "attempt 2")
    assert caught.value.attempt == 2
    assert "attempt 2" in str(caught.value.__cause__)


def test_any_attempts_success_counts():
    """S9: a late success of an older attempt is applied, and the newer attempt is late then."""
    w, [first] = flaky_workflow().plan_eagerly(1).prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(first), retry=True)
    w, [second] = w.prepare_for_dispatch()
    late = td.Outcome(
        component=first.component,
        node=first.node,
        scope=first.scope,
        value="late",
        attempt=1,
        branch=first.branch,
        position=first.position,
    )
    w = w.apply_runnable(late)
    after = w.apply_runnable(td.execute_runnable(second))

    assert w.results("flaky") == {"flaky": "late"}
    assert after.log() == w.log()


def test_only_the_newest_attempts_failure_counts():
    """S9: a failure of an older attempt changes nothing."""
    w, [first] = flaky_workflow().plan_eagerly(1).prepare_for_dispatch()
    failed = td.execute_runnable(first)
    w = w.apply_runnable(failed, retry=True)
    w, [second] = w.prepare_for_dispatch()

    assert w.apply_runnable(failed).log() == w.log()
    assert w.apply_runnable(failed, retry=True).log() == w.log()
    assert w.in_flight() == [second.id]


def test_attempts_survive_the_log():
    """S2: a rebuilt workflow goes on with the next attempt."""
    template = flaky_workflow()
    w, [first] = template.plan_eagerly(1).prepare_for_dispatch()
    w = w.apply_runnable(td.execute_runnable(first), retry=True)
    again = td.Workflow.from_log(template, w.log())
    [pending] = again.next_runnables()

    assert (pending.id, pending.attempt) == ("flaky@0", 2)


def test_executing_never_raises_for_a_users_error():
    """Section 4: execute_runnable gives an outcome, whatever the user's function does."""
    _, runnables = shop().plan_eagerly(500).prepare_for_dispatch()
    outcome = td.execute_runnable(runnables[0])

    assert isinstance(outcome, td.Outcome)
    assert not outcome.is_ok
    assert outcome.error is not None
    assert outcome.error.name == "Declined"
    assert isinstance(outcome.exception, Declined)
    assert "charge@0" in repr(outcome)


def test_all_errors_derive_from_one():
    """S24: from treadle.errors.TreadleError, usage errors from ValueError too."""
    named = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    kinds = [kind for kind in named if issubclass(kind, Exception)]

    assert all(issubclass(kind, errors.TreadleError) for kind in kinds)
    assert issubclass(errors.DefinitionError, ValueError)
    assert issubclass(errors.UnknownComponent, LookupError)
