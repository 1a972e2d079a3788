"""Find the part of a value that pickle refuses, so that a message can point at it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

DEPTH_MAX = 50
"""A path longer than this helps nobody; it also ends a value that is nested for ever."""


def bad_leaf(value: Any) -> tuple[str, Any]:
    """The path from a value to the innermost part that cannot be pickled, and that part.

    It looks at what pickle would look at: elements, entries and attributes. Never raises.

    >>> bad_leaf({"orders": [1, (n for n in "ab")]})[0]
    "['orders'][1]"
    """
    path, seen = "", {id(value)}
    with suppress(Exception):  # a user's object may refuse to be looked into
        for _ in range(DEPTH_MAX):
            for step, part in parts_of(value):
                if id(part) not in seen and not can_pickle(part):
                    seen.add(id(part))
                    path, value = path + step, part
                    break
            else:
                break
    return path, value


def can_pickle(value: Any) -> bool:
    """Whether pickle takes a value."""
    try:
        pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - a user's object may refuse in any way
        return False
    return True


def parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value, each with how one would write the way to it."""
    if isinstance(value, Mapping):
        yield from ((f"[{key!r:.40}]", part) for key, part in list(value.items()))
        yield from ((f".keys()[{index}]", key) for index, key in enumerate(list(value)))
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", part) for index, part in enumerate(list(value)))
    elif not isinstance(value, type):
        yield from attributes_of(value)


def attributes_of(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that an object holds itself, in its dict or in slots."""
    names = [*getattr(value, "__dict__", ())]
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += (slots,) if isinstance(slots, str) else slots
    for name in dict.fromkeys(names):
        try:
            yield f".{name}", getattr(value, name)
        except Exception:  # noqa: BLE001, S112 - an empty slot, or a user's descriptor
            continue
