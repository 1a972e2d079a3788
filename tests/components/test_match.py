"""The constructors of patterns, as a user writes them."""

import pytest

from treadle.components import match as constructors
from treadle.components.match import (
    anything,
    between,
    ge,
    gt,
    instance,
    le,
    lt,
    match,
    ne,
    one_of,
    regex,
)
from treadle.errors import PatternError
from treadle.model.patterns import Pattern

ORDER = {
    "items": ["book"],
    "customer_id": "c1",
    "total": 250,
    "address": {"country": "SE", "zip": "12345"},
}


class Ticket:
    """Has attributes, also one named like a parameter."""

    def __init__(self, status: str, cls: str = "economy") -> None:
        self.status = status
        self.cls = cls


@pytest.mark.parametrize(
    "pattern",
    [
        match(items=list, customer_id=str),
        match({"items": list}),
        match(items=["book"]),
        match(items=[str, ...]),
        match(total=gt(100)),
        match(total=ge(250) & le(250)),
        match(total=between(200, 300)),
        match(total=~lt(250)),
        match(address={"country": one_of("SE", "NO"), "zip": regex(r"\d{5}")}),
        match(customer_id=ne("c2")),
        match(customer_id=anything),
        match(customer_id=anything()),
        match(customer_id="c1") & match(total=int),
        match(vip=True) | match(total=gt(200)),
        match(match(vip=True) | match(total=gt(200))),
        match(dict),
        instance(dict),
        anything,
    ],
    ids=repr,
)
def test_constructors_describe_an_order(pattern: Pattern) -> None:
    """Each of the ways to write a pattern matches an order that is like it."""
    assert pattern.matches(ORDER)


def test_a_class_takes_attributes() -> None:
    """Keywords of a class are attributes, whatever they are called."""
    assert match(Ticket, status="open").matches(Ticket("open"))
    assert instance(Ticket, cls="first").matches(Ticket("open", "first"))
    assert not match(Ticket, status="open").matches({"status": "open"})


def test_keys_may_have_any_name() -> None:
    """The names of parameters are free to be keys."""
    assert match(pattern="x", self=1, cls=2).matches({"pattern": "x", "self": 1, "cls": 2})


def test_a_pattern_stays_what_it_is() -> None:
    """`match` of a pattern is that pattern."""
    pattern = gt(5)

    assert match(pattern) is pattern


def test_none_is_a_value() -> None:
    """`match(None)` matches `None`, and is not `match()`."""
    assert match(None).matches(None)
    with pytest.raises(PatternError, match="says nothing"):
        match()


def test_all_names_what_users_call() -> None:
    """Every public name of the module is there, callable and documented."""
    for name in constructors.__all__:
        assert callable(getattr(constructors, name))
        assert getattr(constructors, name).__doc__
