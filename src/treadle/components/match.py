"""Constructors of patterns: conditions that are data, so that rules share them and thousands can be indexed.

    match(items=list, customer_id=str)            a mapping with these keys
    match({"kind": "paid", "amount": gt(100)})    the same for keys that are no identifiers, and nested
    match([int, int, ...])                        a list or tuple, here of at least two items
    match(Order, status="open")                   an instance of a class, with attributes
    match("x")                                    the very value
    match(a=1) | match(b=2)                       combined with &, | and ~

Within a pattern a class stands for its instances, a dict for a mapping that has all its keys, a list for a list
or tuple of its length, a pattern for itself, and any other value for what equals it.

A value of another shape does not match; that is never an error. `True` and `False` are no numbers here.
"""

from __future__ import annotations

from typing import Any

from treadle.errors import PatternError
from treadle.model.matching import MISSING
from treadle.model.patterns import (
    Literal,
    Not,
    OneOf,
    Pattern,
    Regex,
    Within,
    anything,
    to_instance,
    to_keyed,
    to_pattern,
)

__all__ = [
    "anything",
    "between",
    "ge",
    "gt",
    "instance",
    "le",
    "lt",
    "match",
    "ne",
    "one_of",
    "regex",
]


def match(pattern: Any = MISSING, /, **keys: Any) -> Pattern:
    """Return a pattern for mappings with these keys, or the one that a plain value stands for.

    `pattern`: a class, dict, list, literal or pattern. A class takes keywords: the attributes of its instances.
    Errors: PatternError, which says what to write instead.

    >>> match(items=list, amount=gt(100)).matches({"items": [], "amount": 250, "note": "more keys are fine"})
    True
    >>> match([str, ...]).matches(("first", 2, 3))
    True
    >>> match(customer={"age": between(18, 65)}) | match(vip=True)
    match(customer={'age': between(18, 65)}) | match(vip=True)
    """
    if pattern is MISSING:
        if not keys:
            hint = "Write match(kind='paid') for a key, or `anything` for any value."
            raise PatternError(
                "match() says nothing of the value; it takes keys or a pattern.", hint=hint
            )
        return to_keyed(keys, "match(...)")
    if not keys:
        return to_pattern(pattern)
    if isinstance(pattern, dict | list | tuple | Pattern):
        raise PatternError(
            f"match(...) was given {pattern!r} and keys ({', '.join(keys)}); only a class takes both.",
            hint="Write match({'a': 1, 'b': 2}), or combine two patterns with &.",
        )
    return to_instance(pattern, keys, "match(...)")


def gt(limit: Any) -> Pattern:
    """Return a pattern for what is greater than `limit`.

    >>> match(amount=gt(100)).matches({"amount": 100.5})
    True
    """
    return Within("gt", (limit,))


def ge(limit: Any) -> Pattern:
    """Return a pattern for what is greater than `limit` or equal to it.

    >>> ge("m").matches("m")
    True
    """
    return Within("ge", (limit,))


def lt(limit: Any) -> Pattern:
    """Return a pattern for what is less than `limit`.

    >>> lt(0).matches("text")
    False
    """
    return Within("lt", (limit,))


def le(limit: Any) -> Pattern:
    """Return a pattern for what is less than `limit` or equal to it.

    >>> le(0).matches(0)
    True
    """
    return Within("le", (limit,))


def between(low: Any, high: Any) -> Pattern:
    """Return a pattern for what lies between two ends, or on one of them.

    >>> [between(1, 3).matches(number) for number in (0, 1, 2.5, 3, 4)]
    [False, True, True, True, False]
    """
    return Within("between", (low, high))


def ne(value: Any) -> Pattern:
    """Return a pattern for what does not equal `value`, of whatever shape; the opposite of `match(value)`.

    >>> match(status=ne("closed")).matches({"status": "open"})
    True
    """
    return Not(Literal(value))


def one_of(*values: Any) -> Pattern:
    """Return a pattern for what equals one of several values.

    >>> match(country=one_of("SE", "NO")).matches({"country": "NO"})
    True
    """
    return OneOf(values)


def regex(text: str) -> Pattern:
    r"""Return a pattern for text that the expression matches from its first to its last character.

    >>> regex(r"\d+").matches("42"), regex(r"\d+").matches("42 pieces")
    (True, False)
    """
    return Regex(text)


def instance(cls: type, /, **attributes: Any) -> Pattern:
    """Return a pattern for the instances of a class whose attributes match.

    >>> instance(complex, imag=0).matches(3 + 0j)
    True
    >>> instance(int).matches(True)
    False
    """
    return to_instance(cls, attributes, "instance(...)")
