"""`on_code_change`: which word a component gets."""

import re

import pytest

import treadle as td
from treadle.policies.matching import Subject
from treadle.upgrade import on_change_from


def test_the_first_rule_that_matches_wins():
    """As with policies: names, globs, regular expressions, kinds; without a rule, refuse."""
    rules = on_change_from(
        {
            "charge": "keep",
            re.compile("^mail"): "adopt",
            td.of_kind("map"): "recompute",
            "ch*": "adopt",
        }
    )

    def word(name, kind="step"):
        return rules.find(Subject(name, kind))

    assert [word("charge"), word("check"), word("mailing"), word("x", "map"), word("x")] == [
        "keep",
        "adopt",
        "adopt",
        "recompute",
        "refuse",
    ]
    assert on_change_from("adopt").find(Subject("any", "step")) == "adopt"
    assert on_change_from(rules) is rules


@pytest.mark.parametrize(
    "given", ["adapt", {"a": "guess"}, {"a": None}, {3: "keep"}, ["keep"], None]
)
def test_what_is_no_rule_is_refused(given):
    """A misspelt word does nothing silently."""
    with pytest.raises(td.errors.UsageError):
        on_change_from(given)
