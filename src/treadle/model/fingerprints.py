"""What a function *is*, for comparing: its code and what that uses, not its line numbers or formatting.

Two questions, two answers: `sharing_key` is quick and holds within a process (may two rules share a condition?);
`fingerprint` is a digest that is stable between processes of one Python version (did the code change?).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import CodeType, FunctionType
from typing import Any, Final

import msgspec

NARROW: Final = 1
"""The first scheme: a function and what it captured. Its digests bear no mark."""
REACHING: Final = 2
"""The scheme of today: also what the function uses by global names."""

MARK: Final = f"{REACHING}:"


def sharing_key(function: Callable[..., Any]) -> Any:
    """A hashable that equals another's if the two functions say the same; None if that cannot be told."""
    if not isinstance(function, FunctionType):
        return ("is", id(function))
    cells = tuple([id(contents(cell)) for cell in function.__closure__ or ()])
    defaults = tuple([id(value) for value in function.__defaults__ or ()])
    keywords = tuple([(name, id(value)) for name, value in (function.__kwdefaults__ or {}).items()])
    return (_code_key(function.__code__), cells, defaults, keywords, id(function.__globals__))


def _code_key(code: CodeType) -> Any:
    constants = tuple(
        [_code_key(c) if isinstance(c, CodeType) else (type(c), repr(c)) for c in code.co_consts]
    )
    return (code.co_code, constants, code.co_names, code.co_varnames[: code.co_argcount])


def scheme_of(recorded: str) -> int:
    """The scheme by which a fingerprint was made.

    >>> scheme_of("2:00d1e5d7a3b2c4f6"), scheme_of("00d1e5d7a3b2c4f6")
    (2, 1)
    """
    return REACHING if recorded.startswith(MARK) else NARROW


def fingerprint(parts: Iterable[Any], scheme: int = REACHING) -> str:
    """A short digest of functions and plain values: 16 hexadecimal digits of BLAKE2b, marked with the scheme.

    Errors: none; a captured value that has no plain form counts by its type alone.

    >>> fingerprint([lambda x: x + 1]) == fingerprint([lambda x: x + 1])
    True
    >>> fingerprint([lambda x: x + 1]) == fingerprint([lambda x: x + 2])
    False
    """
    import hashlib  # loads OpenSSL, which most programs never need

    from treadle.model.description import Description
    from treadle.model.reach import Reach

    digest = hashlib.blake2b(digest_size=8)
    encode = msgspec.json.encode
    if scheme == NARROW:
        narrow = Description()
        for part in parts:
            digest.update(encode(narrow.plain(part, 0)) + b"\0")
        return digest.hexdigest()
    reach = Reach()
    for part in parts:
        digest.update(encode(reach.plain(part, 0)) + b"\0")
    for page in reach.pages():
        digest.update(encode(page) + b"\0")
    return MARK + digest.hexdigest()


def contents(cell: Any) -> Any:
    """What a closure captured."""
    try:
        return cell.cell_contents
    except ValueError:  # a cell that was never filled
        return None
