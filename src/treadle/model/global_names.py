"""Which global names a piece of code reads, and which it binds anew: found in its byte code, once for each."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from types import CodeType, FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary

from msgspec import Struct

READS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
ATTRIBUTES: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
BETWEEN: Final = frozenset({"EXTENDED_ARG", "PUSH_NULL", "CACHE"})
"""May stand between a name and its attribute, and says nothing."""

Chain = tuple[str, ...]
"""A global name, and the attributes that are read of it at once: `("tax", "rates", "REDUCED")`."""


class Uses(Struct, frozen=True):
    """What code does with names. `reads`: in the order of the code; the others: whatever it binds."""

    reads: tuple[Chain, ...] = ()
    rebinds: frozenset[str] = frozenset()
    """Global names that it binds or deletes (`global x`)."""
    sets: frozenset[str] = frozenset()
    """Attributes that it sets, of whatever."""


_USES: WeakKeyDictionary[CodeType, Uses] = WeakKeyDictionary()
_REBOUND: WeakKeyDictionary[Any, tuple[int, frozenset[str]]] = WeakKeyDictionary()
NONE: Final = Uses()


def uses_of(code: CodeType) -> Uses:
    """What a piece of code, with all functions and classes defined in it, does with names."""
    if not code.co_names and not any(isinstance(each, CodeType) for each in code.co_consts):
        return NONE
    found = _USES.get(code)
    if found is None:
        found = _USES[code] = _found_in(code)
    return found


def _found_in(code: CodeType) -> Uses:
    import dis  # costs milliseconds, and is needed only where code is compared

    reads: dict[Chain, None] = {}
    rebinds: set[str] = set()
    local: set[str] = set()
    sets: set[str] = set()
    chain: list[str] = []
    for each in dis.get_instructions(code):
        name = each.opname
        if chain and name in ATTRIBUTES:
            chain.append(str(each.argval))
            continue
        if name in BETWEEN:
            continue
        if chain:
            reads[tuple(chain)] = None
        chain = [str(each.argval)] if name in READS and each.argval not in local else []
        if name in {"STORE_GLOBAL", "DELETE_GLOBAL"}:
            rebinds.add(str(each.argval))
        elif name == "STORE_NAME":
            local.add(str(each.argval))
        elif name == "STORE_ATTR":
            sets.add(str(each.argval))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = uses_of(constant)
            reads.update(dict.fromkeys(inner.reads))
            rebinds |= inner.rebinds
            sets |= inner.sets
    return Uses(tuple(reads), frozenset(rebinds), frozenset(sets))


def rebound_in(namespace: dict[str, Any]) -> frozenset[str]:
    """The global names of a module that its own functions bind anew: what they stand for depends on what ran before."""
    module = sys.modules.get(str(namespace.get("__name__")))
    if module is None or vars(module) is not namespace:
        return _rebound(namespace)
    known = _REBOUND.get(module)
    if known is None or known[0] != len(namespace):
        known = _REBOUND[module] = (len(namespace), _rebound(namespace))
    return known[1]


def _rebound(namespace: dict[str, Any]) -> frozenset[str]:
    found: set[str] = set()
    for value in list(namespace.values()):
        members: Iterable[Any] = (value,)
        if issubclass(type(value), type) and value.__module__ == namespace.get("__name__"):
            members = vars(value).values()
        for code in codes_of(members):
            found |= uses_of(code).rebinds
    return frozenset(found)


def codes_of(members: Iterable[Any]) -> Iterator[CodeType]:
    """The code of functions, also of those that stand behind something else, as in a class."""
    for member in members:
        for each in (member, *behind(member)):
            if type(each) is FunctionType:
                yield each.__code__


def behind(member: Any) -> tuple[Any, ...]:
    """What is called where this is: the functions of a property, a class method, of what `functools.wraps` made."""
    kind = type(member)  # and not `isinstance`, which asks the object
    if issubclass(kind, property):
        return (member.fget, member.fset, member.fdel)
    if issubclass(kind, (staticmethod, classmethod)):
        return (member.__func__,)
    if issubclass(kind, cached_property):
        return (member.func,)
    fields = fields_of(member)
    return tuple([fields[name] for name in ("__wrapped__", "function") if name in fields])


def fields_of(value: Any) -> Mapping[str, Any]:
    """The instance's own attributes, as they lie there; none of a class, nor of what will not say."""
    if issubclass(type(value), type):
        return {}
    try:
        fields = object.__getattribute__(value, "__dict__")
    except Exception:  # noqa: BLE001 - it has none, or a class made of it what it likes
        return {}
    return fields if isinstance(fields, dict) else {}
