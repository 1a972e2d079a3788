"""The small callables that stand between a runnable's arguments and a user's function.

They are classes, not closures, so that a `Runnable` pickles. Functions travel by reference (`portable.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import CoroutineType
from typing import Any

from treadle.errors import BadValue
from treadle.model import types
from treadle.model.portable import Portable
from treadle.model.sentinels import ABSENT


class Unpack(Portable):
    """One parent feeds several ports: its list or tuple of just that length is spread over them."""

    def __init__(self, function: Callable[..., Any], ports: int) -> None:
        self.function = function
        self.ports = ports

    def __call__(self, value: Any, **injected: Any) -> Any:
        return self.function(*spread(value, self.ports), **injected)


def spread(value: Any, ports: int) -> list[Any] | tuple[Any, ...]:
    """The value as arguments for `ports` ports, or `BadValue`."""
    if isinstance(value, (list, tuple)) and len(value) == ports:
        return value
    shown = (
        f"{type(value).__name__} of {len(value)}"
        if isinstance(value, (list, tuple))
        else repr(value)
    )
    raise BadValue(
        f"needs a list or tuple of {ports}, one for each port, and was given {shown:.200}."
    )


def shown(value: Any) -> str:
    """A value in a message, short; one that cannot show itself is named by its type."""
    try:
        return f"{value!r:.200}"
    except Exception:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"an object of {type(value).__name__}, which cannot be shown"


class Ignore(Portable):
    """The function takes no ports: it is called once its parents gave, without what they gave."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *_: Any, **injected: Any) -> Any:
        return self.function(**injected)


class Validated(Portable):
    """Checks arguments and result against the annotations, where a component asks for it."""

    def __init__(
        self,
        function: Callable[..., Any],
        takes: tuple[Any, ...],
        gives: Any,
        *,
        is_async: bool,
    ) -> None:
        self.function = function
        self.takes = takes
        self.gives = gives
        self.is_async = is_async

    def __call__(self, *values: Any, **injected: Any) -> Any:
        for place, (value, hint) in enumerate(zip(values, self.takes, strict=False)):
            _demand(value, hint, f"port {place}")
        if self.is_async:
            return self._awaited(values, injected)
        return self._returned(self.function(*values, **injected))

    async def _awaited(self, values: tuple[Any, ...], injected: dict[str, Any]) -> Any:
        return self._returned(await self.function(*values, **injected))

    def _returned(self, result: Any) -> Any:
        _demand(result, self.gives, "the result")
        return result


def _demand(value: Any, hint: Any, where: str) -> None:
    if value is not ABSENT and not types.is_instance(value, hint):
        raise BadValue(f"{where} should be {types.name_of(hint)}, and is {shown(value)}.")


def truth(answer: Any) -> bool:
    """A predicate's answer as a bool; a coroutine, which is always true, is async in disguise."""
    if isinstance(answer, CoroutineType):
        answer.close()
        raise BadValue(
            "the condition gave a coroutine, which is always true: make it `async def` under "
            "rule(..., dispatch=True)."
        )
    return bool(answer)


class Truth(Portable):
    """A dispatched predicate: its answer as a plain bool, so that one without truth is its own failure."""

    def __init__(self, function: Callable[..., Any], *, is_async: bool) -> None:
        self.function = function
        self.is_async = is_async

    def __call__(self, *values: Any, **injected: Any) -> Any:
        if self.is_async:
            return self._awaited(values, injected)
        return truth(self.function(*values, **injected))

    async def _awaited(self, values: tuple[Any, ...], injected: dict[str, Any]) -> bool:
        return truth(await self.function(*values, **injected))


class Elements(Portable):
    """The fan-out itself: the elements of a collection, as a tuple."""

    def __call__(self, value: Any) -> tuple[Any, ...]:
        return tuple(elements(value, "map"))


def elements(value: Any, wanted_by: str) -> Iterable[Any]:
    """The elements of a collection; text and non-iterables are refused, a dict gives its keys."""
    if isinstance(value, (str, bytes, bytearray)):
        raise BadValue(
            f"{wanted_by} takes a collection and was given {type(value).__name__}: {shown(value)}. "
            "Wrap it in a list to treat it as one element."
        )
    try:
        items: Iterable[Any] = iter(value)
    except TypeError:
        raise BadValue(f"{wanted_by} takes a collection and was given {shown(value)}.") from None
    return items


class Pack(Portable):
    """Several parents before something that takes one: their values as a tuple."""

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        return values


class PassOn(Portable):
    """The value itself, for a join of several parents that gives only one of them."""

    def __call__(self, value: Any) -> Any:
        return value


class Constant(Portable):
    """The same for every value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, _: Any) -> Any:
        return self.value


class Fold(Portable):
    """A whole reduce: fold the values in item order, from `initial` where there is one."""

    def __init__(self, function: Callable[..., Any], initial: Callable[[], Any] | None) -> None:
        self.function = function
        self.initial = initial

    def __call__(self, values: Any, **injected: Any) -> Any:
        function = functools.partial(self.function, **injected) if injected else self.function
        items = elements(values, "reduce")
        if self.initial is not None:
            return functools.reduce(function, items, self.initial())
        items = list(items)
        if not items:
            raise BadValue("an empty group, and this reduce has no `initial` to give for it.")
        return functools.reduce(function, items)


class Gather(Portable):
    """A whole collect: the list of values in item order, given to a function at once."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, values: Any, **injected: Any) -> Any:
        return self.function(list(elements(values, "collect")), **injected)


class Initial(Portable):
    """The first value of a state: a factory's result, else a copy made once per state."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        if callable(self.value):
            return self.value()
        import copy

        return copy.deepcopy(self.value)


class FoldInto(Portable):
    """One accumulator step: `function(state, value)`; unpacks the value where there are several ports."""

    def __init__(self, function: Callable[..., Any], ports: int) -> None:
        self.function = function
        self.ports = ports

    def __call__(self, state: Any, value: Any, **injected: Any) -> Any:
        if self.ports == 1:
            return self.function(state, value, **injected)
        return self.function(state, *spread(value, self.ports), **injected)


class Part(tuple[Any, Any]):
    """What one value adds to a merging accumulator: the key, and the state it would make alone."""

    __slots__ = ()


class FoldAlone(Portable):
    """A merging accumulator's first half: fold one value into a fresh `initial`, anywhere, in parallel."""

    def __init__(
        self,
        function: FoldInto,
        initial: Callable[[], Any],
        key_of: Callable[[Any], Any] | None,
    ) -> None:
        self.function = function
        self.initial = initial
        self.key_of = key_of

    def __call__(self, value: Any, **injected: Any) -> Part:
        key = None if self.key_of is None else self.key_of(value)
        return Part((key, self.function(self.initial(), value, **injected)))


class Merge(Portable):
    """A merging accumulator's second half: `merge(state, part)`."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function

    def __call__(self, state: Any, part: Part) -> Any:
        return self.function(state, part[1])


def key_of_part(part: Part) -> Any:
    """The key that `FoldAlone` computed beside the value."""
    return part[0]
