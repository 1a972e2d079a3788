"""Which policy a component gets: the forms of matchers, their order, and rules over rules."""

import re
from typing import Any

import pytest

import treadle as td
from treadle.components.fan_out import Map
from treadle.components.step import Step
from treadle.errors import UsageError
from treadle.policies.matching import (
    DEFAULT,
    NO_POLICIES,
    NO_POLICY,
    Kind,
    Policies,
    Subject,
    matches,
    of_kind,
    only,
    policies_from,
)
from treadle.policies.policy import Policy

ONE, TWO, THREE = Policy(max_retries=1), Policy(max_retries=2), Policy(max_retries=3)


def subject(name: str = "charge", kind: str = "step", **more: Any) -> Subject:
    """What a matcher is asked about."""
    return Subject(name, kind, **more)


def is_slow(subject: Subject) -> bool:
    """A predicate."""
    return subject.name.endswith("_slow")


CASES = [
    ("charge", subject("charge"), True),
    ("charge", subject("charge_card"), False),
    ("charge", subject("Charge"), False),
    ("notify_*", subject("notify_mail"), True),
    ("notify_*", subject("mail_notify_"), False),
    ("Notify_*", subject("notify_mail"), False),
    ("step_?", subject("step_1"), True),
    ("step_?", subject("step_10"), False),
    ("step_[12]", subject("step_2"), True),
    ("step_[12]", subject("step_[12]"), True),
    ("sub.*", subject("sub.charge"), True),
    (DEFAULT, subject("anything at all"), True),
    (DEFAULT, subject(""), True),
    (re.compile("arge"), subject("charge"), True),
    (re.compile("^arge"), subject("charge"), False),
    (re.compile("CHARGE", re.IGNORECASE), subject("charge"), True),
    (of_kind("step"), subject(kind="step"), True),
    (of_kind("map", "step"), subject(kind="step"), True),
    (of_kind("map"), subject(kind="step"), False),
    (of_kind(), subject(kind="step"), False),
    (Step, subject(component=td.step(str)), True),
    (Map, subject(component=td.step(str)), False),
    (Map, subject(component=td.map(str)), True),
    (Step, subject(), False),
    (is_slow, subject("charge_slow"), True),
    (is_slow, subject("charge"), False),
    (lambda each: each.part or "", subject(part="key"), True),
    (lambda each: each.part or "", subject(), False),
]


@pytest.mark.parametrize(("matcher", "asked", "expected"), CASES, ids=lambda each: str(each)[:40])
def test_a_matcher_means_these_components(matcher: Any, asked: Subject, expected: bool):
    """Names, globs, regular expressions, types, kinds and predicates."""
    assert matches(matcher, asked) is expected
    assert policies_from({matcher: ONE}).find(asked) is (ONE if expected else NO_POLICY)


def test_the_first_rule_that_matches_wins():
    """However exact a later one is; and without any, there is the default policy."""
    rules = policies_from([("ch*", ONE), ("charge", TWO), (of_kind("map"), THREE)])

    assert rules.find(subject("charge")) is ONE
    assert rules.find(subject("notify", "map")) is THREE
    assert rules.find(subject("notify")) is NO_POLICY
    assert policies_from([("charge", TWO), ("ch*", ONE)]).find(subject("charge")) is TWO
    assert policies_from({"charge": TWO, DEFAULT: ONE}).find(subject("notify")) is ONE


def test_each_form_is_asked_in_its_turn():
    """Forms may be mixed, in any order."""
    asked = subject("charge", component=td.step(str, name="charge"))
    forms = ["charge", "c*", re.compile("c"), Step, of_kind("step"), lambda _: True, DEFAULT]
    for first in forms:
        rules = [(first, ONE), *((form, TWO) for form in forms)]
        assert policies_from(rules).find(asked) is ONE


def test_a_component_means_itself():
    """It is callable, but no predicate: its function is not called to find out."""
    called = []
    charge = td.step(lambda value: called.append(value), name="charge")
    rules = policies_from([(charge, ONE)])

    assert rules.find(subject("charge")) is ONE
    assert rules.find(subject("notify")) is NO_POLICY
    assert called == []


def test_a_predicate_that_raises_is_heard():
    """It is the user's mistake, and nothing is guessed in its place."""
    rules = policies_from([("notify", TWO), (lambda each: each.part.startswith("x"), ONE)])

    assert rules.find(subject("notify")) is TWO
    with pytest.raises(UsageError, match="AttributeError for 'charge'") as told:
        rules.find(subject("charge"))
    assert isinstance(told.value.__cause__, AttributeError)


def test_rules_come_in_several_forms():
    """A dict, pairs, one policy for all, rules made before, or nothing; fields instead of a policy anywhere."""
    made = policies_from({"charge": {"max_retries": 1}})

    assert made.find(subject()) == ONE
    assert policies_from(made) is made
    assert policies_from(pair for pair in [("charge", ONE)]).find(subject()) is ONE
    assert policies_from(ONE).find(subject("anything")) is ONE
    assert policies_from(None) is NO_POLICIES
    assert not policies_from({})
    assert repr(made) == "<Policies 'charge'>"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({5: ONE}, "5 matches no component"),
        ({None: ONE}, "None matches no component"),
        ([(("charge", "notify"), ONE)], r"\('charge', 'notify'\) matches no component"),
        ({re.compile(b"charge"): ONE}, "matches no component"),
        ({"charge": 3}, "a policy is a Policy or a dict of its fields, and this is 3"),
        ({"charge": {"retries": 3}}, "a policy has no field 'retries'"),
        ({"max_retries": 3}, "a policy is a Policy or a dict of its fields"),
        (["charge"], r"is neither a dict nor a list of \(matcher, policy\)"),
        ([("charge", ONE, TWO)], r"is neither a dict nor a list of \(matcher, policy\)"),
        ("charge", r"is neither a dict nor a list of \(matcher, policy\)"),
        (7, r"policies=7 is neither a dict nor a list of \(matcher, policy\)"),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_rules_that_cannot_be_are_refused(rules: Any, message: str):
    """At once, and not when a component first asks."""
    with pytest.raises(UsageError, match=message):
        policies_from(rules)


def test_rules_come_before_those_below():
    """Run-time rules first, then those of the workflow; what neither knows has the default policy."""
    above, below = policies_from({"charge": ONE}), policies_from({"charge": TWO, "notify": THREE})
    both = above.over(below)

    assert [both.find(subject(name)) for name in ("charge", "notify", "ship")] == [
        ONE,
        THREE,
        NO_POLICY,
    ]
    assert above.over(NO_POLICIES) is above
    assert NO_POLICIES.over(below).find(subject("notify")) is THREE
    assert [matcher for matcher, _ in below.rules] == ["charge", "notify"]


def test_only_replaces_what_is_below():
    """Nothing below counts, at any depth; what is above still comes first."""
    template = policies_from({DEFAULT: THREE})
    alone = only({"charge": ONE})

    assert alone.over(template).find(subject("charge")) is ONE
    assert alone.over(template).find(subject("notify")) is NO_POLICY
    assert only(None).over(template).find(subject("charge")) is NO_POLICY
    over_all = policies_from({"notify": TWO}).over(alone).over(template)
    assert [over_all.find(subject(name)) for name in ("notify", "charge", "ship")] == [
        TWO,
        ONE,
        NO_POLICY,
    ]
    nothing_below = policies_from({"notify": TWO}).over(only({})).over(template)
    assert nothing_below.find(subject("charge")) is NO_POLICY


def test_rules_are_values():
    """Neither putting rules over others nor asking changes them, and no rule is kept by reference."""
    given = {"charge": ONE}
    rules = policies_from(given)
    given["notify"] = TWO
    rules.over(policies_from({"ship": TWO}))

    assert rules.rules == (("charge", ONE),)
    assert not rules.is_alone
    assert bool(rules)
    assert isinstance(rules, Policies)
    assert of_kind("step") == Kind(("step",))
