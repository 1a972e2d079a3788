"""Functions and values as data that says what they are: the first scheme of fingerprints, and the base of today's.

What the first scheme says of something must never change: logs that were begun under it are compared by it.
"""

from __future__ import annotations

from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import msgspec

from treadle.model.fingerprints import contents

NESTING_MAX = 6


class Description:
    """Describes by byte code, constants and captured values, and sees no further than the function."""

    def plain(self, value: Any, depth: int) -> Any:
        """A plain-data description of a value that says what it is and not where it lies."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return [type(value).__name__, repr(value)]
        if depth > NESTING_MAX:
            return ["deeper", type_name(type(value))]
        if isinstance(value, bytes):
            return ["bytes", value.hex()]
        if isinstance(value, FunctionType):
            return self.function(value, depth)
        if isinstance(value, CodeType):
            return self.code(value, depth)
        if isinstance(value, MethodType):
            return ["method", self.plain(value.__func__, depth + 1), self.owner(value, depth + 1)]
        if isinstance(value, partial):
            inside = [value.func, value.args, value.keywords]
            return ["partial", *[self.plain(part, depth + 1) for part in inside]]
        if isinstance(value, type):
            return self.kind(value)
        return self.collection(value, depth)

    def collection(self, value: Any, depth: int) -> Any:
        """What holds other values, and whatever is nothing better known."""
        if isinstance(value, (list, tuple)):
            return [type(value).__name__, *[self.plain(item, depth + 1) for item in value]]
        if isinstance(value, (set, frozenset)):
            return [type(value).__name__, *self.unordered(value, depth)]
        if isinstance(value, dict):
            pairs = [[self.plain(k, depth + 1), self.plain(v, depth + 1)] for k, v in value.items()]
            return ["dict", *pairs]
        own = getattr(value, "fingerprint_data", None)
        if own is not None and not isinstance(value, type):
            return ["own", type_name(type(value)), self.plain(own(), depth + 1)]
        fields = getattr(value, "__dict__", None)
        if fields and type(value).__module__.startswith("treadle."):
            return ["object", type_name(type(value)), self.plain(fields, depth + 1)]
        if hasattr(value, "__name__"):  # builtins and modules
            return ["named", str(getattr(value, "__module__", "")), str(value.__name__)]
        try:
            return ["value", type_name(type(value)), msgspec.json.encode(value).decode()]
        except Exception:  # noqa: BLE001 - what cannot be encoded counts by its type
            return ["a", type_name(type(value))]

    def unordered(self, items: set[Any] | frozenset[Any], depth: int) -> list[Any]:
        """The members of a set, in an order that does not depend on hashes."""
        return sorted([self.plain(item, depth + 1) for item in items], key=msgspec.json.encode)

    def owner(self, method: MethodType, depth: int) -> Any:
        """What a method is bound to."""
        return self.plain(method.__self__, depth)

    def kind(self, value: type) -> Any:
        """A class."""
        return ["type", type_name(value)]

    def function(self, function: FunctionType, depth: int) -> Any:
        """A function: its code, and what it captured."""
        captured = [self.plain(contents(cell), depth + 1) for cell in function.__closure__ or ()]
        defaults = [self.plain(value, depth + 1) for value in function.__defaults__ or ()]
        keywords = self.plain(function.__kwdefaults__ or {}, depth + 1)
        code = self.code(function.__code__, depth, function.__doc__)
        return ["function", code, captured, defaults, keywords]

    def code(self, code: CodeType, depth: int, docstring: str | None = None) -> Any:
        """Code as data; a docstring is words about the code and no part of it: None stands where it would."""
        found = list(code.co_consts)
        if docstring is not None and found and found[0] == docstring:
            found[0] = None
        constants = [self.plain(constant, depth + 1) for constant in found]
        return ["code", code.co_code.hex(), constants, list(code.co_names), code.co_argcount]


def type_name(kind: type) -> str:
    """A class by where it is found."""
    return f"{kind.__module__}.{kind.__qualname__}"
