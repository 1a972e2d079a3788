"""Whether what a parent gives fits what its child takes.

Equal and plain classes are compared here; every other question over type hints goes to `beartype.door`,
which is imported only then.
"""

from __future__ import annotations

import typing
from typing import Any

NUMBERS: dict[type, tuple[type, ...]] = {float: (int,), complex: (int, float)}
"""What counts as what among numbers, by the convention of the typing documentation."""


def fits(gives: Any, takes: Any) -> bool:
    """Whether a value of hint `gives` may go where `takes` is annotated; unknown on either side fits."""
    if gives is None or takes is None or gives is takes:
        return True
    if gives is Any or takes is Any or takes is object:
        return True
    if isinstance(gives, typing.TypeVar) or isinstance(takes, typing.TypeVar):
        return True
    if type(gives) is type and type(takes) is type:
        return issubclass(gives, takes) or gives in NUMBERS.get(takes, ())
    if isinstance(gives, str) or isinstance(takes, str):
        return True
    return _ask_beartype(gives, takes)


def _ask_beartype(gives: Any, takes: Any) -> bool:
    from beartype.door import is_subhint

    try:
        return bool(is_subhint(gives, takes))
    except Exception:  # noqa: BLE001 - beartype refuses odd hints in many ways
        return True


def is_instance(value: Any, hint: Any) -> bool:
    """Whether `value` is of `hint`, asking beartype for all but plain classes."""
    if hint is None or hint is Any:
        return True
    if type(hint) is type:
        return isinstance(value, hint) or (
            not isinstance(value, bool) and isinstance(value, NUMBERS.get(hint, ()))
        )
    from beartype.door import is_bearable

    return bool(is_bearable(value, hint))


def element_of(hint: Any) -> Any:
    """The element type of a collection's hint, `None` where it is not plain."""
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin is tuple:
        return arguments[0] if len(arguments) == 2 and arguments[1] is Ellipsis else None
    return arguments[0] if isinstance(origin, type) and len(arguments) == 1 else None


def name_of(hint: Any) -> str:
    """A hint as people write it."""
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
