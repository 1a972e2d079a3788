"""What a function *is*, for comparing: its code and captured values, not its line numbers or formatting.

Two questions, two answers: `sharing_key` is quick and holds within a process (may two rules share a condition?);
`fingerprint` is a digest that is stable between processes of one Python version (did the code change?).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import msgspec

NESTING_MAX = 6


def sharing_key(function: Callable[..., Any]) -> Any:
    """A hashable that equals another's if the two functions say the same; None if that cannot be told."""
    if not isinstance(function, FunctionType):
        return ("is", id(function))
    cells = tuple([id(_contents(cell)) for cell in function.__closure__ or ()])
    defaults = tuple([id(value) for value in function.__defaults__ or ()])
    keywords = tuple([(name, id(value)) for name, value in (function.__kwdefaults__ or {}).items()])
    return (_code_key(function.__code__), cells, defaults, keywords, id(function.__globals__))


def _code_key(code: CodeType) -> Any:
    constants = tuple(
        [_code_key(c) if isinstance(c, CodeType) else (type(c), repr(c)) for c in code.co_consts]
    )
    return (code.co_code, constants, code.co_names, code.co_varnames[: code.co_argcount])


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that was never filled
        return None


def fingerprint(parts: Iterable[Any]) -> str:
    """A short digest of functions and plain values: 16 hexadecimal digits of BLAKE2b.

    Errors: none; a captured value that has no plain form counts by its type alone.

    >>> fingerprint([lambda x: x + 1]) == fingerprint([lambda x: x + 1])
    True
    >>> fingerprint([lambda x: x + 1]) == fingerprint([lambda x: x + 2])
    False
    """
    import hashlib  # loads OpenSSL, which most programs never need

    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(msgspec.json.encode(_plain(part, 0)))
        digest.update(b"\0")
    return digest.hexdigest()


def _plain(value: Any, depth: int) -> Any:
    """A plain-data description of a value that says what it is and not where it lies."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return [type(value).__name__, repr(value)]
    if depth > NESTING_MAX:
        return ["deeper", _type_name(type(value))]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, FunctionType):
        return _function(value, depth)
    if isinstance(value, CodeType):
        return _code(value, depth)
    if isinstance(value, MethodType):
        return ["method", _plain(value.__func__, depth + 1), _plain(value.__self__, depth + 1)]
    if isinstance(value, partial):
        inside = [value.func, value.args, value.keywords]
        return ["partial", *[_plain(part, depth + 1) for part in inside]]
    if isinstance(value, type):
        return ["type", _type_name(value)]
    return _collection(value, depth)


def _collection(value: Any, depth: int) -> Any:
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *[_plain(item, depth + 1) for item in value]]
    if isinstance(value, (set, frozenset)):
        items = [_plain(item, depth + 1) for item in value]
        return [type(value).__name__, *sorted(items, key=msgspec.json.encode)]
    if isinstance(value, dict):
        return ["dict", *[[_plain(k, depth + 1), _plain(v, depth + 1)] for k, v in value.items()]]
    own = getattr(value, "fingerprint_data", None)
    if own is not None and not isinstance(value, type):
        return ["own", _type_name(type(value)), _plain(own(), depth + 1)]
    fields = getattr(value, "__dict__", None)
    if fields and type(value).__module__.startswith("treadle."):
        return ["object", _type_name(type(value)), _plain(fields, depth + 1)]
    if hasattr(value, "__name__"):  # builtins and modules
        return ["named", str(getattr(value, "__module__", "")), str(value.__name__)]
    try:
        return ["value", _type_name(type(value)), msgspec.json.encode(value).decode()]
    except Exception:  # noqa: BLE001 - what cannot be encoded counts by its type
        return ["a", _type_name(type(value))]


def _function(function: FunctionType, depth: int) -> Any:
    captured = [_plain(_contents(cell), depth + 1) for cell in function.__closure__ or ()]
    defaults = [_plain(value, depth + 1) for value in function.__defaults__ or ()]
    keywords = _plain(function.__kwdefaults__ or {}, depth + 1)
    return [
        "function",
        _code(function.__code__, depth, function.__doc__),
        captured,
        defaults,
        keywords,
    ]


def _code(code: CodeType, depth: int, docstring: str | None = None) -> Any:
    """Code as data; a docstring is words about the code and no part of it: None stands where it would."""
    found = list(code.co_consts)
    if docstring is not None and found and found[0] == docstring:
        found[0] = None
    constants = [_plain(constant, depth + 1) for constant in found]
    return ["code", code.co_code.hex(), constants, list(code.co_names), code.co_argcount]


def _type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
