"""What a function's signature says: its input ports, its injected parameters, its types.

A required positional parameter is a port; `*values` takes all remaining parents; a parameter whose default is
a marker is injected; any other parameter with a default is left alone, so that `lambda x, k=k: ...` stays a
function of one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from msgspec import Struct

from treadle.errors import DefinitionError
from treadle.model.markers import Marker

VARARGS = 0x04
GENERATOR = 0x20
COROUTINE = 0x80
ASYNC_GENERATOR = 0x200


class Signature(Struct, frozen=True):
    """`ports` is the number of required ports, `None` where a builtin does not say."""

    ports: int | None
    rest: bool
    injected: tuple[tuple[str, Marker], ...]
    names: tuple[str, ...]
    is_async: bool
    is_generator: bool


def read_signature(function: Callable[..., Any]) -> Signature:
    """Read the ports of anything callable; a plain function's code is read directly, since that is fast."""
    if isinstance(function, FunctionType):
        return _of_function(function, bound=0)
    if isinstance(function, MethodType) and isinstance(function.__func__, FunctionType):
        return _of_function(function.__func__, bound=1)
    return _of_other(function)


def _of_function(function: FunctionType, *, bound: int) -> Signature:
    code = function.__code__
    positional = code.co_varnames[bound : code.co_argcount]
    defaults = function.__defaults__ or ()
    required = len(positional) - len(defaults)
    injected = [
        (name, default)
        for name, default in zip(positional[required:], defaults, strict=True)
        if type(default) is Marker
    ]
    if code.co_kwonlyargcount:
        injected += _keyword_only(function, code.co_argcount)
    flags = code.co_flags
    return Signature(
        ports=required,
        rest=bool(flags & VARARGS),
        injected=tuple(injected),
        names=positional[:required],
        is_async=bool(flags & COROUTINE),
        is_generator=bool(flags & (GENERATOR | ASYNC_GENERATOR)),
    )


def _keyword_only(function: FunctionType, first: int) -> list[tuple[str, Marker]]:
    names = function.__code__.co_varnames[first : first + function.__code__.co_kwonlyargcount]
    defaults = function.__kwdefaults__ or {}
    needed = [name for name in names if name not in defaults]
    if needed:
        message = (
            f"{function.__qualname__!r} requires keyword {needed[0]!r}, which nothing will give."
        )
        raise DefinitionError(
            message, hint="make it positional (a port), or give it a default or a marker."
        )
    return [(name, defaults[name]) for name in names if type(defaults[name]) is Marker]


def _of_other(function: Callable[..., Any]) -> Signature:
    """Classes, partials, builtins and callable objects, through `inspect`."""
    import inspect

    call = function if isinstance(function, type) else type(function).__call__
    inner = getattr(function, "func", call)
    is_async = inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(call)
    is_generator = inspect.isgeneratorfunction(inner) or inspect.isgeneratorfunction(call)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some builtins do not say
        return Signature(
            None, rest=False, injected=(), names=(), is_async=False, is_generator=False
        )
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p.name for p in positional if p.default is p.empty]
    rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    injected = tuple((p.name, p.default) for p in parameters if type(p.default) is Marker)
    # `list`, `str` and their kind take an optional argument: they are meant to be given it.
    says_nothing = not required and not rest and not injected and bool(positional)
    return Signature(
        ports=None if says_nothing else len(required),
        rest=rest,
        injected=injected,
        names=tuple(required),
        is_async=is_async,
        is_generator=is_generator,
    )


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The function's annotations, resolved where they are strings; empty where they cannot be."""
    while isinstance(function, partial):
        function = function.func
    raw = getattr(function, "__annotations__", None)
    if not raw or isinstance(function, type):
        return {}
    if not any(isinstance(value, str) for value in raw.values()):
        return {name: type(None) if value is None else value for name, value in raw.items()}
    import typing

    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - an annotation may raise anything
        return {name: value for name, value in raw.items() if not isinstance(value, str)}
