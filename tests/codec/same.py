"""Whether two values are the same in every respect that a program could see, but identity."""

import dataclasses
import math
from collections import deque
from typing import Any

import msgspec


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types at every level; NaN is the same as NaN, and -0.0 is not 0.0."""
    kind = type(left)
    if kind is not type(right):
        return False
    if issubclass(kind, float):
        is_nan = math.isnan(left) and math.isnan(right)
        is_equal = is_nan or (left == right and math.copysign(1, left) == math.copysign(1, right))
        return is_equal and getattr(left, "__dict__", None) == getattr(right, "__dict__", None)
    if kind is complex:
        return same(left.real, right.real) and same(left.imag, right.imag)
    if kind in {set, frozenset}:
        rest = list(right)
        for part in left:
            found = next((index for index, other in enumerate(rest) if same(part, other)), None)
            if found is None:
                return False
            del rest[found]
        return not rest
    if isinstance(left, dict):
        return same([*left.items()], [*right.items()]) and attributes(left) == attributes(right)
    if isinstance(left, list | tuple | deque):
        return (
            len(left) == len(right)
            and all(map(same, left, right))
            and attributes(left) == attributes(right)
        )
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return all(same(getattr(left, name), getattr(right, name)) for name in names)
    if isinstance(left, msgspec.Struct):
        return all(
            same(getattr(left, name), getattr(right, name)) for name in left.__struct_fields__
        )
    if type(left).__name__ == "Decimal":
        return left.as_tuple() == right.as_tuple()
    return bool(left == right) and spelt(left) == spelt(right)


def spelt(value: Any) -> str:
    """A value and its type as text."""
    if vars(object)["__repr__"] is type(value).__repr__:
        return type(value).__name__
    return f"{type(value).__name__}:{value!r}"


def attributes(value: Any) -> Any:
    """What an instance holds beside its content."""
    return (
        getattr(value, "__dict__", None),
        getattr(value, "default_factory", None),
        getattr(value, "maxlen", None),
    )
