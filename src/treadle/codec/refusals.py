"""Why a value is refused: where in it the part is that cannot be kept, what that is, and what to do."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from typing import Any

from treadle.codec.plain import DEPTH_MAX
from treadle.errors import EncodeError

SHOWN_MAX = 60
"""How many characters of a key or a name a message shows."""


class Refused(Exception):
    """Some part of a value cannot be kept; `why` goes on from the path to it. Where it stands is found out later."""

    def __init__(self, why: str, hint: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


PATH_MAX = 200
"""How much of a long path a message shows."""

Parts = Callable[[Any], Iterable[tuple[str, Any]]]
"""The parts of a value, with how a path names each."""


def explain(
    label: str, value: Any, parts_of: Parts, refuses: Callable[[Any], Refused | None]
) -> EncodeError:
    """The error for a value that is refused: goes down to the part that is to blame, one level at a time."""
    path, blame = label, refuses(value)
    seen: dict[int, str] = {}
    for _ in range(DEPTH_MAX + 1):
        if id(value) in seen:
            return EncodeError(
                f"{path} is {seen[id(value)]} again: a value that contains itself cannot be stored.",
                hint="refer to it by a name or a number.",
            )
        seen[id(value)] = path
        for step, part in parts_of(value):
            found = refuses(part)
            if found is not None:
                path, value, blame = f"{path}{step}", part, found
                break
        else:
            break
    if len(path) > PATH_MAX:
        path = f"{path[: PATH_MAX // 2]}...{path[-PATH_MAX // 2 :]}"
    why = "cannot be stored" if blame is None else blame.why
    joint = "" if why.startswith(".") else " "
    return EncodeError(f"{path}{joint}{why}.", hint=None if blame is None else blame.hint)


def shown(value: Any) -> str:
    """A short repr, whatever the value's own does."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's repr may raise anything
        return f"<{type(value).__qualname__}>"
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 3]}..."


WORDS: dict[type, str] = {
    types.FunctionType: "a function",
    types.BuiltinFunctionType: "a function",
    types.MethodType: "a method",
    types.ModuleType: "a module",
    types.GeneratorType: "a generator",
    types.CoroutineType: "a coroutine",
    types.AsyncGeneratorType: "an async generator",
    types.TracebackType: "a traceback",
    types.FrameType: "a frame",
}


def what_is(value: Any) -> str:
    """What a value is, in words: "a function", "the class app.Order", "an app.Order"."""
    kind = type(value)
    if kind in WORDS:
        return WORDS[kind]
    if isinstance(value, type):
        return f"the class {full_name(value)}"
    name = full_name(kind)
    return f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def full_name(kind: type) -> str:
    """A class as people write it: with its module, unless it is built in."""
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
