"""The quick question: is a value such as MessagePack keeps it, so that it can be written as it is?

Asked for every value of every event, so it is answered by comparing sets of types. Two doubts are left to whoever
encodes, who is told by an exception: integers of more than 64 bits, and text with lone surrogates.
"""

from __future__ import annotations

from typing import Any, Final

DOUBTS: Final = (OverflowError, UnicodeEncodeError, RuntimeError)
"""What writing a plain value may raise: a large integer, a lone surrogate, no room on the stack."""

DEPTH_MAX: Final = 200
"""How deep a value may nest, written or read. What contains itself is found by it, too."""

ATOMS: Final = frozenset({type(None), bool, int, float, str, bytes})
TEXT: Final = frozenset({str})


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is made of atoms, lists, and dicts whose keys are text: of these very types, not subclasses.

    False also for what nests too deep; whoever packs it says so.
    """
    kind = type(value)
    if kind is dict:
        if not TEXT.issuperset(map(type, value)):
            return False
        inside: Any = value.values()
    elif kind is list:
        inside = value
    else:
        return kind in ATOMS
    if ATOMS.issuperset(map(type, inside)):
        return depth < DEPTH_MAX
    if depth >= DEPTH_MAX:
        return False
    depth += 1
    try:
        for item in inside:
            if type(item) not in ATOMS and not is_plain(item, depth):
                return False
    except RuntimeError:  # no room on the stack, or somebody changes the value meanwhile
        return False
    return True


def is_sayable(text: str) -> bool:
    """Whether text can be written as UTF-8: it has no lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
