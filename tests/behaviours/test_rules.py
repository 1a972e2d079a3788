"""Rules and conditions: behaviours C, rules S12 to S15."""

import asyncio
from typing import Any

import pytest

import treadle as td
from treadle import errors


class Order:
    """Something with attributes."""

    def __init__(self, status: str, total: int) -> None:
        self.status = status
        self.total = total


def counting(answer: Any) -> tuple[Any, list[Any]]:
    """A predicate and the values it was asked about."""
    asked: list[Any] = []

    def predicate(value: Any) -> Any:
        asked.append(value)
        return answer(value) if callable(answer) else answer

    return predicate, asked


def fires(condition: Any, value: Any, **options: Any) -> bool:
    """Whether a rule with this condition fires for a value."""
    rule = td.rule(lambda x: "fired", name="rule", condition=condition, **options)
    w = td.workflow("w", rules=[rule]).react_until_satisfied(value)
    assert w.failures() == []
    return w.results() == {"rule": "fired"}


# ------------------------------------------------------------------------------------------ firing


def test_a_rule_fires_where_its_condition_holds():
    """C31: x > 10 fires for 15; for 5 nothing is produced and nothing is left to do."""
    big = td.rule(lambda x: f"big {x}", name="big", condition=lambda x: x > 10)
    w = td.workflow("w", rules=[big])
    yes, no = w.react_until_satisfied(15), w.react_until_satisfied(5)

    assert yes.results() == {"big": "big 15"}
    assert (no.results(), no.is_runnable(), no.is_satisfied()) == ({}, False, True)
    assert (no.facts("big"), no.failures()) == ([], [])


def test_nothing_runs_before_the_condition_is_planned():
    """C31: planning a fact that does not match leaves an empty agenda."""
    big = td.rule(lambda x: x, name="big", condition=lambda x: x > 10)
    w = td.workflow("w", rules=[big])

    assert w.plan_eagerly(15).is_runnable()
    assert not w.plan_eagerly(5).is_runnable()
    assert w.plan_eagerly(5).is_satisfied()


def test_all_matching_rules_fire():
    """C34: several rules on one fact fire independently."""
    rules = [
        td.rule(lambda x, n=n: n, name=f"over {n}", condition=lambda x, n=n: x > n)
        for n in (1, 5, 10)
    ]
    w = td.workflow("w", rules=rules).react_until_satisfied(7)

    assert w.results() == {"over 1": 1, "over 5": 5}


def test_a_rule_without_condition_always_fires():
    """C37: only a reaction matches anything, None too."""
    w = td.workflow("w", rules=[td.rule(lambda x: [x], name="always")])

    assert w.react_until_satisfied(None).results() == {"always": [None]}
    assert w.react_until_satisfied("x").results() == {"always": ["x"]}


def test_a_rule_takes_its_reaction_in_three_ways():
    """Section 4: as the function, as `reaction=`, and as a decorator."""

    @td.rule(name="decorated", condition=lambda x: x > 0)
    def decorated(x: int) -> int:
        return x

    given = td.rule(lambda x: x, name="given", condition=lambda x: x > 0)
    named = td.rule(name="named", condition=lambda x: x > 0, reaction=lambda x: x)
    w = td.workflow("w", rules=[decorated, given, named]).react_until_satisfied(1)

    assert w.results() == {"decorated": 1, "given": 1, "named": 1}
    assert decorated(3) == 3


def test_a_rule_without_reaction_is_refused_when_it_is_built():
    """C38: no reaction is a build error, not a step that gives a rule."""
    with pytest.raises((errors.DefinitionError, ExceptionGroup)) as caught:
        td.workflow("w", rules=[td.rule(name="no reaction", condition=lambda x: x > 0)])

    assert "no reaction" in str(getattr(caught.value, "exceptions", [caught.value])[0])


def test_both_styles_at_once_are_refused():
    """C38: a reaction given twice is a build error."""
    with pytest.raises(errors.DefinitionError, match="twice"):
        td.rule(lambda x: x, reaction=lambda x: x)  # type: ignore[call-overload]


def test_a_rule_consumes_a_named_step():
    """C51: a rule added to a step takes that step's output."""
    w = td.workflow("w", steps=[td.step(lambda x: x * 10, name="tens")])
    w = w.add(td.rule(lambda x: x + 1, name="big", condition=lambda x: x > 10), to="tens")

    assert w.react_until_satisfied(5).results() == {"big": 51}
    assert w.react_until_satisfied(1).results() == {}


def test_a_step_takes_a_rules_reaction():
    """C52: what follows a rule gets the reaction's value, and nothing where it did not fire."""
    w = td.workflow("w", rules=[td.rule(lambda x: x + 1, name="r", condition=lambda x: x > 10)])
    w = w.add(td.step(lambda x: [x], name="after"), to="r")

    assert w.react_until_satisfied(20).results() == {"after": [21]}
    assert w.react_until_satisfied(2).results() == {}


def test_a_rule_of_several_parents_is_asked_about_all_of_them():
    """C46: a condition with several parents stands behind a join."""
    w = td.workflow("w", steps=[td.step(lambda x: x, name="a"), td.step(lambda x: -x, name="b")])
    rule = td.rule(lambda a, b: (a, b), name="r", condition=lambda a, b: a > b)
    w = w.add(rule, to=["a", "b"])

    assert w.react_until_satisfied(3).results() == {"r": (3, -3)}
    assert w.react_until_satisfied(-3).results() == {}


# ------------------------------------------------------------------------------- gates and algebra


def test_a_condition_is_a_gate():
    """C45: its children get the very fact where it holds, and nothing where it does not."""
    w = td.workflow("w", components=[td.condition(lambda x: x > 10, name="big")])
    w = w.add(td.step(lambda x: x * 2, name="double"), to="big")

    assert w.react_until_satisfied(20).results() == {"double": 40}
    assert w.react_until_satisfied(2).results() == {}


def test_gates_stand_behind_gates():
    """C45: a gate below a gate is asked only about what came through."""
    inner, asked = counting(lambda x: x < 100)
    w = td.workflow("w", components=[td.condition(lambda x: x > 10, name="big")])
    w = w.add(td.condition(inner, name="not too big"), to="big")
    w = w.add(td.step(lambda x: x, name="end"), to="not too big")
    results = [w.react_until_satisfied(x).results() for x in (1, 50, 500)]

    assert results == [{}, {"end": 50}, {}]
    assert asked == [50, 500]


def test_a_gate_passes_facts_with_their_lineage():
    """S16: a gate makes no lineage of its own: its child joins with its sibling."""
    w = td.workflow("w", components=[td.condition(lambda x: x % 2, name="odd")])
    w = w.add(td.step(lambda x: x, name="a"), to="odd").add(td.step(lambda x: -x, name="b"))
    w = w.add(td.step(lambda a, b: (a, b), name="pair"), to=["a", "b"])
    for x in range(6):
        w = w.plan_eagerly(x)
    w = w.react_until_satisfied()

    assert w.raw_productions("pair") == [(1, -1), (3, -3), (5, -5)]


def test_a_gate_of_several_parents_stands_behind_a_join():
    """C46: a condition of two ports is asked when both have come."""
    w = td.workflow("w", steps=[td.step(lambda x: x, name="a"), td.step(lambda x: 10, name="b")])
    w = w.add(td.condition(lambda a, b: a > b, name="more"), to=["a", "b"])
    w = w.add(td.step(lambda a, b: a - b, name="by"), to="more")

    assert w.react_until_satisfied(15).results() == {"by": 5}
    assert w.react_until_satisfied(5).results() == {}


@pytest.mark.parametrize(
    ("condition", "held"),
    [
        (td.all_of("big", "even"), [12]),
        (td.any_of("big", "even"), [2, 11, 12]),
        (td.not_("big"), [1, 2]),
        (td.all_of("big", td.not_("even")), [11]),
        (td.any_of(td.all_of("big", "even"), td.match(1)), [1, 12]),
        (td.all_of("big", lambda x: x % 3 == 0), [12]),
        (td.not_(td.any_of("big", "even")), [1]),
        (td.all_of(td.not_("big"), td.not_("even")), [1]),
        (td.not_(td.not_("big")), [11, 12]),
        (td.any_of("big"), [11, 12]),
        (td.all_of(td.gt(1), int), [2, 11, 12]),
    ],
)
def test_conditions_are_combined(condition: Any, held: list[int]):
    """C39, C41, C43: all_of, any_of and not_ over names, patterns and predicates."""
    w = td.workflow(
        "w",
        components=[
            td.condition(lambda x: x > 10, name="big"),
            td.condition(lambda x: x % 2 == 0, name="even"),
        ],
    )
    w = w.add(td.rule(lambda x: x, name="r", condition=condition))
    fired = [x for x in (1, 2, 11, 12) if w.react_until_satisfied(x).results("r")["r"] == x]

    assert fired == held


def test_a_condition_may_be_given_itself():
    """S12: a Condition can be a rule's condition without being a component of its own."""

    @td.condition
    def is_large(amount: int) -> bool:
        return amount > 1000

    assert fires(is_large, 2000)
    assert not fires(is_large, 20)
    assert not fires(td.not_(is_large), 2000)


def test_an_unresolved_condition_names_rule_reference_and_hint():
    """C44: the error names the rule, the missing condition and what to do."""
    w = td.workflow("w", components=[td.condition(lambda x: x > 10, name="is_large")])
    with pytest.raises(errors.UnknownComponent) as caught:
        w.add(td.rule(lambda x: x, name="ship", condition="is_lrage"))

    assert "'ship'" in str(caught.value)
    assert "'is_lrage'" in str(caught.value)
    assert "Did you mean 'is_large'?" in str(caught.value)
    assert caught.value.hint is not None


# -------------------------------------------------------------------------------- asked only once


def test_a_named_condition_is_asked_once_for_all_rules():
    """C49, C50, S12: rules that share a condition share its answer."""
    predicate, asked = counting(lambda x: x > 0)
    w = td.workflow("w", components=[td.condition(predicate, name="c")])
    for number in range(8):
        w = w.add(td.rule(lambda x: x, name=f"r{number}", condition="c"))
    w = w.add(td.rule(lambda x: x, name="not", condition=td.not_("c")))
    w = w.add(td.rule(lambda x: x, name="both", condition=td.all_of("c", "c")))
    done = w.react_until_satisfied(1).react_until_satisfied(1)

    assert asked == [1, 1]
    assert {name for name in done.results() if name != "c"} == {f"r{n}" for n in range(8)} | {
        "both"
    }


def test_equal_conditions_are_one():
    """C49: the same predicate in several rules is asked once per fact."""
    predicate, asked = counting(True)
    rules = [td.rule(lambda x: x, name=f"r{n}", condition=predicate) for n in range(5)]
    w = td.workflow("w", rules=rules).react_until_satisfied(1)

    assert asked == [1]
    assert len(w.results()) == 5


@pytest.mark.parametrize("how", ["plan_eagerly", "react", "prepare", "until", "peek"])
def test_siblings_are_asked_once_under_every_way_of_planning(how: str):
    """C50: n sibling conditions and one fact are n evaluations, however it is driven."""
    predicates = [counting(True) for _ in range(6)]
    parent = td.step(lambda x: x, name="parent")
    w = td.workflow("w", steps=[parent])
    for number, (predicate, _) in enumerate(predicates):
        rule = td.rule(lambda x: x, name=f"r{number}", condition=predicate)
        w = w.add(rule, to="parent")
    w = w.plan_eagerly(1)
    if how == "plan_eagerly":
        w, [runnable] = w.prepare_for_dispatch()
        w = w.apply_runnable(td.execute_runnable(runnable)).plan_eagerly().plan_eagerly()
    elif how == "react":
        w = w.react().react().react()
    elif how == "prepare":
        w, [runnable] = w.prepare_for_dispatch()
        w, _ = w.apply_runnable(td.execute_runnable(runnable)).prepare_for_dispatch()
    elif how == "peek":
        w = w.react()
        w.next_runnables()
        w.is_runnable()
    else:
        w = w.react_until_satisfied()

    assert [asked for _, asked in predicates] == [[1]] * 6


def test_recovery_never_asks_again():
    """S12: from_log, at and forks take the answers from the log."""
    answers = iter([True])
    predicate, asked = counting(lambda x: next(answers))
    template = td.workflow("w", rules=[td.rule(lambda x: "yes", name="r", condition=predicate)])
    w = template.plan_eagerly(1)
    again = td.Workflow.from_log(template, w.log())
    fork = w.at(w.position)

    assert again.react_until_satisfied().results() == {"r": "yes"}
    assert fork.react_until_satisfied().results() == {"r": "yes"}
    assert w.react_until_satisfied().results() == {"r": "yes"}
    assert asked == [1]


def test_planning_is_one_event_that_lists_what_held():
    """S12: one Planned event names the conditions that held."""
    w = td.workflow(
        "w",
        components=[
            td.condition(lambda x: True, name="yes"),
            td.condition(lambda x: False, name="no"),
        ],
    )
    w = w.add(td.step(lambda x: x, name="a"), to="yes").add(td.step(lambda x: x, name="b"), to="no")
    planned = [event for event in w.plan_eagerly(1).log() if type(event).__name__ == "Planned"]

    assert [event.held for event in planned] == [("yes",)]


# ---------------------------------------------------------------------------- kinds of predicates


def test_a_typed_predicate_is_false_for_another_type():
    """C32, S13: where the parameter is annotated, a value of another type is just false."""

    def large(amount: int) -> bool:
        return amount > 1000

    def some(names: list[str]) -> bool:
        return len(names) > 0

    assert fires(large, 2000)
    assert not fires(large, "2000")
    assert not fires(large, None)
    assert fires(some, ["a"])
    assert not fires(some, [1])
    assert not fires(some, "a")


@pytest.mark.parametrize("answer", [1, "x", [0], 2.5])
def test_any_true_value_holds(answer: Any):
    """C39: a predicate's answer is taken for its truth."""
    assert fires(lambda x: answer, 0)


@pytest.mark.parametrize("answer", [0, "", [], None])
def test_any_false_value_does_not_hold(answer: Any):
    """C39: what is falsy does not hold."""
    assert not fires(lambda x: answer, 0)


ORDER = {"items": ["book"], "customer_id": "c1", "total": 250, "to": {"country": "SE"}}


@pytest.mark.parametrize(
    ("pattern", "value", "held"),
    [
        (td.match(items=list, customer_id=str), ORDER, True),
        (td.match(items=list, missing=str), ORDER, False),
        (td.match(items=dict), ORDER, False),
        (td.match(to={"country": td.one_of("SE", "NO")}), ORDER, True),
        (td.match(to={"country": {"deeper": 1}}), ORDER, False),
        (td.match(total=td.between(200, 300)), ORDER, True),
        (td.match(total=td.gt(250)), ORDER, False),
        (td.match(total=td.ge(250) & td.le(250)), ORDER, True),
        (td.match(total=td.lt("x")), ORDER, False),
        (td.match(customer_id=td.regex(r"c\d")), ORDER, True),
        (td.match(customer_id=td.regex(r"c")), ORDER, False),
        (td.match(customer_id=td.ne("c2")), ORDER, True),
        (td.match(customer_id=td.anything), ORDER, True),
        (td.match(vip=True) | td.match(total=250), ORDER, True),
        (~td.match(vip=True), ORDER, True),
        (td.match([str, int]), ("a", 1), True),
        (td.match([str, int]), ("a", 1, 2), False),
        (td.match([int, ...]), [1, 2, 3], True),
        (td.match([int, ...]), [1, "any rest"], True),
        (td.match([int, ...]), ["1", 2], False),
        (td.match([int, int, ...]), [1], False),
        (td.match((int, (str, int))), (1, ("a", 2)), True),
        (td.match({"a": [1, {"b": int}]}), {"a": [1, {"b": 2}], "c": 0}, True),
        (td.match(Order, status="open", total=td.gt(1)), Order("open", 2), True),
        (td.match(Order, status="open"), Order("shut", 2), False),
        (td.match(Order, status="open"), {"status": "open"}, False),
        (td.instance(int), True, False),
        (td.instance(int), 1, True),
        (td.match(1), True, False),
        (td.match(None), None, True),
        (td.match("x"), "x", True),
        (td.match("x"), ["x"], False),
    ],
)
def test_patterns(pattern: Any, value: Any, held: bool):
    """C32, C36, S13: patterns match by shape; another shape is just false, never an error."""
    assert fires(pattern, value) is held


@pytest.mark.parametrize("value", [None, 5, "x", [], {}, {"items": None}, object(), b"", (1, 2)])
def test_a_pattern_of_another_shape_is_no_error(value: Any):
    """C32, S13: whatever comes, a pattern is true or false."""
    assert not fires(td.match(items=[str, ...], total=td.gt(3)), value)


def test_a_class_does_not_match_where_an_attribute_raises():
    """S13: an attribute that cannot be read does not match, and tears nothing down."""

    class Broken:
        @property
        def status(self) -> str:
            message = "no status"
            raise AttributeError(message)

    assert not fires(td.match(Broken, status="open"), Broken())


def test_many_rules_are_indexed_by_their_patterns():
    """S14: of a thousand patterns only those that can match a fact are tried."""
    compared: list[object] = []

    class Counted(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return str(self) == str(other)

        __hash__ = str.__hash__

    rules = [
        td.rule(lambda x: x, name=f"r{n}", condition=td.match(kind=f"kind {n}"))
        for n in range(1000)
    ]
    w = td.workflow("w", rules=rules).react_until_satisfied({"kind": Counted("kind 500")})

    assert list(w.results()) == ["r500"]
    assert len(compared) < 20


def test_match_patterns_are_predicates_of_their_own():
    """C48: a pattern can be asked without a workflow."""
    assert td.match(items=list).matches({"items": []})
    assert not td.match(items=list).matches({"items": 1})


# ---------------------------------------------------------------------------------------- dispatch


def test_a_dispatched_condition_is_a_runnable():
    """S13: with dispatch=True the predicate is work like any other, and not asked in planning."""
    predicate, asked = counting(lambda x: x > 10)
    w = td.workflow(
        "w", rules=[td.rule(lambda x: -x, name="r", condition=predicate, dispatch=True)]
    )
    planned, [runnable] = w.plan_eagerly(20).prepare_for_dispatch()
    before = list(asked)
    done = planned.apply_runnable(td.execute_runnable(runnable)).react_until_satisfied()

    assert before == []
    assert runnable.component == "r"
    assert done.results() == {"r": -20}
    assert w.react_until_satisfied(5).results() == {}
    assert asked == [20, 5]


def test_a_dispatched_condition_may_be_async():
    """S13: an async predicate is dispatched and awaited."""

    async def slow(x: int) -> bool:
        await asyncio.sleep(0)
        return x > 10

    w = td.workflow("w", rules=[td.rule(lambda x: -x, name="r", condition=slow, dispatch=True)])
    yes = asyncio.run(w.areact_until_satisfied(20))
    no = asyncio.run(w.areact_until_satisfied(5))

    assert yes.results() == {"r": -20}
    assert (no.results(), no.failures(), no.is_satisfied()) == ({}, [], True)


def test_a_dispatched_condition_may_be_a_pattern():
    """S13: patterns can be dispatched too."""
    assert fires(td.match(a=int), {"a": 1}, dispatch=True)
    assert not fires(td.match(a=int), {"a": "1"}, dispatch=True)


def test_a_dispatched_condition_that_raises_is_a_failure_of_the_rule():
    """C33, S13: it is recorded under the rule's name and does not fire."""
    rule = td.rule(lambda x: x, name="r", condition=lambda x: 1 / x, dispatch=True)
    w = td.workflow("w", rules=[rule]).react_until_satisfied(0)
    [failure] = w.failures()

    assert (failure.component, failure.error.name) == ("r", "ZeroDivisionError")
    assert w.results() == {}


class Undecided:
    """Has no truth, as arrays of several elements have none."""

    def __bool__(self) -> bool:
        message = "the truth of this is ambiguous"
        raise ValueError(message)


@pytest.mark.parametrize("dispatch", [False, True])
def test_an_answer_without_truth_is_a_failure_of_the_rule(dispatch: bool):
    """C33, S13: a predicate that gives what has no truth failed; nobody is torn down."""
    rule = td.rule(lambda x: x, name="r", condition=lambda x: Undecided(), dispatch=dispatch)
    w = td.workflow("w", rules=[rule]).react_until_satisfied(0)
    [failure] = w.failures()

    assert (failure.component, failure.error.name) == ("r", "ValueError")
    assert w.is_satisfied()


def test_async_conditions_are_refused():
    """S13: async predicates are refused, with what to do instead."""

    async def slow(x: int) -> bool:
        return True

    for refused in (
        lambda: td.condition(slow),
        lambda: td.rule(lambda x: x, condition=slow),
        lambda: td.workflow("w").add(td.rule(lambda x: x, condition=td.all_of(slow))),
    ):
        with pytest.raises(errors.DefinitionError, match="dispatch=True"):
            refused()


# ------------------------------------------------------------------------------------ that raise


def raising(x: Any) -> bool:
    """A condition with a fault."""
    return 1 / (x - 3) > 0


def test_a_condition_that_raises_is_recorded_and_does_not_fire():
    """C33, S13: the caller is not torn down, others fire, and the failure names the rule."""
    w = td.workflow(
        "w",
        rules=[
            td.rule(lambda x: x, name="bad", condition=raising),
            td.rule(lambda x: x, name="good", condition=lambda x: True),
        ],
    ).react_until_satisfied(3)
    [failure] = w.failures()

    assert w.results() == {"good": 3}
    assert (failure.component, failure.input) == ("bad", 0)
    assert failure.error.name == "ZeroDivisionError"
    assert w.is_satisfied()


def test_a_raising_condition_is_a_failure_of_each_rule_that_uses_it():
    """S24: of each rule, and of no other."""
    w = td.workflow("w", components=[td.condition(raising, name="c")])
    for name in ("r1", "r2"):
        w = w.add(td.rule(lambda x: x, name=name, condition="c"))
    w = w.add(td.rule(lambda x: x, name="free"))
    w = w.react_until_satisfied(3)
    failed = {failure.component for failure in w.failures()}

    assert {"r1", "r2"} <= failed
    assert "free" not in failed
    assert w.results() == {"free": 3}


def test_a_failure_of_a_condition_lists_what_it_was_asked():
    """S24: a Failure tells its inputs, also where a condition raised."""
    w = td.workflow("w", rules=[td.rule(lambda x: x, name="bad", condition=raising)])
    w = w.add(td.step(lambda failure: failure.inputs, name="told"), to=td.error_of("bad"))
    w = w.react_until_satisfied(3)
    [failure] = w.failures()

    assert w.results("told") == {"told": (3,)}
    assert failure.inputs == (3,)


def test_one_rules_handler_does_not_handle_anothers_failure():
    """S24: the condition they share raised; only the rule with a handler is handled."""
    w = td.workflow("w", components=[td.condition(raising, name="c")])
    for name in ("r1", "r2"):
        w = w.add(td.rule(lambda x: x, name=name, condition="c"))
    w = w.add(td.step(lambda failure: "handled", name="handler"), to=td.error_of("r1"))
    w = w.react_until_satisfied(3)
    handled = {failure.component: failure.handled for failure in w.failures()}

    assert (handled["r1"], handled["r2"]) == (True, False)
    with pytest.raises(errors.StepFailed):
        w.results(raise_on_failure=True)


def test_a_condition_that_raises_holds_neither_way():
    """S13: not_ of what raised does not fire either."""
    w = td.workflow("w", rules=[td.rule(lambda x: x, name="r", condition=td.not_(raising))])
    w = w.react_until_satisfied(3)

    assert w.results() == {}
    assert [failure.component for failure in w.failures()] == ["r"]


def test_the_cause_of_a_raising_condition_is_kept():
    """S26: run_or_raise gives the predicate's own exception."""
    w = td.workflow("w", rules=[td.rule(lambda x: x, name="bad", condition=raising)])
    with pytest.raises(errors.StepFailed) as caught:
        w.run_or_raise(3)

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert (caught.value.component, caught.value.input) == ("bad", 0)


def test_a_reaction_that_raises_is_a_failure_of_the_rule():
    """S25: rule and reaction are one component."""
    w = td.workflow("w", rules=[td.rule(lambda x: 1 / 0, name="r", condition=lambda x: True)])
    [failure] = w.react_until_satisfied(1).failures()

    assert (failure.component, failure.inputs) == ("r", (1,))


def test_conditions_are_false_on_absent():
    """S25: a condition is not asked about ABSENT."""
    predicate, asked = counting(True)
    w = td.workflow("w", steps=[td.step(lambda x: td.ABSENT, name="skip")])
    w = w.add(td.rule(lambda x: x, name="r", condition=predicate), to="skip")
    w = w.react_until_satisfied(1)

    assert asked == []
    assert w.results() == {}
    assert w.is_satisfied()
