"""The scheme of today: what a function is, and what it reaches by global names, as far as that is the user's own code.

Each function and class that is reached is described on a page of its own, and pages are numbered in the order in which
they are found: so cycles end, and nothing depends on where things lie, on lines, or on who imported what first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from functools import cached_property, partial
from re import Pattern
from types import (
    CodeType,
    EllipsisType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    NotImplementedType,
)
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from treadle.model.description import Description, type_name
from treadle.model.fingerprints import contents
from treadle.model.global_names import Chain, behind, codes_of, rebound_in, uses_of
from treadle.model.written import is_worked_out

PAGES_MAX: Final = 2_000
"""So many functions and classes are followed; what lies beyond counts by its name."""

LONG: Final = 200
"""Texts and bytes longer than this count by their digest."""

CALLED: Final = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200
"""The flags of code that say how it is called: `*args`, `**kwargs`, generator, coroutine."""

PLAIN: Final = (type(None), bool, int, float, complex, EllipsisType, NotImplementedType)
TOLD: Final = {
    *(
        "builtins.range",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
    ),
    *(
        "datetime.timezone",
        "zoneinfo.ZoneInfo",
        "decimal.Decimal",
        "fractions.Fraction",
        "uuid.UUID",
    ),
}
"""Values that never change, and whose `repr` says all."""

INSTALLED: Final = ("site-packages", "dist-packages")

COMPILED: Final = ("__annotate__", "__annotate_func__")
"""Functions that the compiler made of annotations."""

ALWAYS_FIRST: Final = sys.version_info < (3, 14)
"""The first constant of a function is its docstring, or None; later it is there only if the flag says so."""
HAS_DOCSTRING: Final = 0x4000000

_CODE: WeakKeyDictionary[CodeType, str] = WeakKeyDictionary()


class Reach(Description):
    """Describes some functions and values, and then, page by page, what they reach."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._found: list[Any] = []
        """What has a number, in their order; held, so that no other object takes its place."""
        self._origin = ""
        """The package of the page that is written: what belongs to it is the user's own, wherever it is installed."""
        self._is_ordered = True
        """Not so within a set, whose members come in no order that could give numbers."""

    def pages(self) -> Iterator[Any]:
        """What was reached: first by what was described before, then by the pages themselves."""
        number = 0
        while number < len(self._found):
            found = self._found[number]
            self._origin = package_of(module_of(found))
            number += 1
            try:
                yield self._class(found) if isinstance(found, type) else self._function(found)
            except Exception:  # noqa: BLE001 - a class may do what it likes when it is looked at
                yield ["named", "", found.__qualname__]

    def _reached(self, value: Any) -> Any:
        """A function or class by its number."""
        number = self._numbers.get(id(value))
        if number is None:
            if not self._is_ordered or len(self._found) >= PAGES_MAX:
                return ["named", "", value.__qualname__]
            number = self._numbers[id(value)] = len(self._found)
            self._found.append(value)
        return ["reached", number]

    # --- what a component is made of: as before, and followed -------------------------------

    def function(self, function: FunctionType, depth: int) -> Any:  # noqa: ARG002 - pages do not nest
        """Any function that is part of the component itself is looked into, whoever wrote it."""
        return self._reached(function)

    def code(self, code: CodeType, depth: int, docstring: str | None = None) -> Any:  # noqa: ARG002
        """Code by its digest."""
        return ["code", code_digest(code)]

    def kind(self, value: type) -> Any:
        """A class: the user's own is looked into."""
        return self._reached(value) if self._is_own(value) else ["type", type_name(value)]

    def owner(self, method: MethodType, depth: int) -> Any:
        """What a method is bound to, and for an object its class, which is where the rest of its code is."""
        value = method.__self__
        return [self.plain(value, depth), self.kind(type(value))]

    def collection(self, value: Any, depth: int) -> Any:
        """An object that is called as a function is what its class says."""
        if getattr(type(value), "is_treadle_component", False):
            return self._object(value)
        told = super().collection(value, depth)
        if told[0] in {"a", "value"} and callable(value):
            return [*told, self.kind(type(value))]
        return told

    def unordered(self, items: set[Any] | frozenset[Any], depth: int) -> list[Any]:
        """The members of a set; functions and classes among them count by their names."""
        before, self._is_ordered = self._is_ordered, False
        try:
            return super().unordered(items, depth)
        finally:
            self._is_ordered = before

    # --- pages --------------------------------------------------------------------------------

    def _function(self, function: FunctionType) -> Any:
        code = function.__code__
        named = code.co_argcount + code.co_kwonlyargcount
        captured = [self.plain(contents(cell), 1) for cell in function.__closure__ or ()]
        defaults = [self.plain(value, 1) for value in function.__defaults__ or ()]
        keywords = self.plain(function.__kwdefaults__ or {}, 1)
        arguments = code.co_varnames[code.co_argcount : named]
        page = ["function", code_digest(code), arguments, captured, defaults, keywords]
        reads = uses_of(code).reads
        if not reads or not self._is_own(function):
            return page
        namespace = function.__globals__
        rebound = rebound_in(namespace)
        for chain in reads:
            told = self._name(namespace, rebound, chain)
            if told is not None:
                page.append([".".join(chain), told])
        return page

    def _name(self, namespace: dict[str, Any], rebound: frozenset[str], chain: Chain) -> Any:
        """What a global name stands for; None where the name, which is in the code, is all there is to say."""
        name = chain[0]
        if name not in namespace or name in rebound or is_dunder(name):
            return None
        if is_fixed(namespace[name]) and is_worked_out(namespace, name):
            return None
        return self._global(namespace[name], chain[1:])

    def _global(self, value: Any, chain: Chain = ()) -> Any:
        """What a name outside the function stands for. What may change while the program runs counts by its type."""
        try:
            return self._seen(value, chain)
        except Exception:  # noqa: BLE001 - an object may do what it likes when it is looked at
            return ["a", type_name(type(value))]

    def _seen(self, value: Any, chain: Chain) -> Any:
        if isinstance(value, ModuleType):
            return self._in_module(value, chain)
        if isinstance(value, type):
            return self.kind(value)
        if isinstance(value, FunctionType):
            return self._called(value)
        if isinstance(value, Enum):
            return ["enum", self.kind(type(value)), value.name, self._global(value.value)]
        told = constant(value)
        if told is not None:
            return told
        if isinstance(value, (tuple, frozenset, MappingProxyType)):
            return self._container(value)
        if isinstance(value, (partial, MethodType)):
            return self._bound(value)
        return self._object(value)

    def _in_module(self, module: ModuleType, chain: Chain) -> Any:
        """What a module has under a name, where the module is the user's own."""
        namespace = vars(module)
        if not chain or chain[0] not in namespace or not self._is_own(module):
            return ["module", module.__name__]
        told = self._name(namespace, rebound_in(namespace), chain)
        return ["module", module.__name__] if told is None else told

    def _called(self, function: FunctionType) -> Any:
        """A function: the user's own is looked into, another's counts by its name, and is asked what it wraps."""
        if self._is_own(function):
            return self._reached(function)
        told = ["named", function.__globals__.get("__name__"), function.__code__.co_qualname]
        inner = [*behind(function), *[contents(cell) for cell in function.__closure__ or ()]]
        return [*told, *[self._global(each) for each in inner if type(each) is FunctionType]]

    def _container(self, value: Any) -> Any:
        name = type_name(type(value))
        if isinstance(value, tuple):
            return [name, *[self._global(item) for item in value]]
        if isinstance(value, MappingProxyType):
            return [name, *[[self._global(k), self._global(v)] for k, v in value.items()]]
        before, self._is_ordered = self._is_ordered, False
        try:
            return [name, *sorted([self._global(item) for item in value], key=msgspec.json.encode)]
        finally:
            self._is_ordered = before

    def _bound(self, value: Any) -> Any:
        if isinstance(value, MethodType):
            return ["method", self._global(value.__func__), self.kind(type(value.__self__))]
        given = [self._global(each) for each in value.args]
        named = [[name, self._global(each)] for name, each in value.keywords.items()]
        return ["partial", self._global(value.func), given, named]

    def _object(self, value: Any) -> Any:
        """A component by what it is made of, a frozen object by its fields, any other by its type and what it wraps."""
        kind = type(value)
        if getattr(kind, "is_treadle_component", False):
            return ["component", value.kind, *[self.plain(part, 1) for part in value.parts()]]
        if hasattr(kind, "fingerprint_data"):
            return ["own", self.kind(kind), self.plain(value.fingerprint_data(), 1)]
        fields = frozen_fields(value)
        if fields is not None:
            told = [[name, self._global(getattr(value, name, None))] for name in fields]
            return ["frozen", self.kind(kind), told]
        if callable(value) and kind.__module__ == "builtins" and hasattr(value, "__name__"):
            return ["named", str(getattr(value, "__module__", "")), str(value.__name__)]
        wrapped = [self._global(each) for each in behind(value) if type(each) is FunctionType]
        return ["a", self.kind(kind), *wrapped]

    def _class(self, kind: type) -> Any:
        """A class of the user's: its bases, and what stands in it, by name."""
        members = vars(kind)
        sets: set[str] = set()
        for code in codes_of(members.values()):
            sets |= uses_of(code).sets
        if not issubclass(kind, Enum):
            namespace = vars(sys.modules.get(kind.__module__, object))
            sets |= {
                name
                for name, value in members.items()
                if is_fixed(value) and is_worked_out(namespace, f"{kind.__qualname__}.{name}")
            }
        told = [[name, self._member(name, members[name], sets)] for name in sorted(members)]
        bases = [self.kind(base) for base in (*kind.__bases__, type(kind)) if base is not object]
        values = [self._global(each) for each in kind] if issubclass(kind, Enum) else []
        hints = annotated(members)
        return [
            "class",
            kind.__qualname__,
            bases,
            [each for each in told if each[1]],
            values,
            hints,
        ]

    def _member(self, name: str, member: Any, sets: set[str]) -> Any:
        """What stands in a class under a name; None for what Python keeps there, and for what its methods set."""
        if type(member) is FunctionType:
            return None if name in COMPILED else self._global(member)
        if issubclass(type(member), (property, staticmethod, classmethod, cached_property)):
            return [type(member).__name__, *[self._global(each) for each in behind(member)]]
        return None if is_dunder(name) or name in sets else self._global(member)

    def _is_own(self, value: Any) -> bool:
        """Whether this is the user's own code: of the page's package, or nobody's who installed or shipped it."""
        module = module_of(value)
        package = package_of(module)
        if package in sys.stdlib_module_names or package == "treadle":
            return False
        if package in {self._origin, "__main__", "__mp_main__", ""}:
            return True
        if isinstance(value, FunctionType):
            file = value.__globals__.get("__file__")
        else:
            file = getattr(sys.modules.get(module), "__file__", None)
        return not any(part in INSTALLED for part in str(file).replace("\\", "/").split("/"))


def module_of(value: Any) -> str:
    """The name of the module that a function, class or module is of."""
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, FunctionType):
        return str(value.__globals__.get("__name__") or "")
    return str(getattr(value, "__module__", None) or "")


def package_of(module: str) -> str:
    """The package at the top.

    >>> package_of("shop.prices.tax")
    'shop'
    """
    return module.partition(".")[0]


def is_dunder(name: str) -> bool:
    """Whether a name is Python's own, as `__file__`, which tells of the place and not of the code."""
    return name.startswith("__") and name.endswith("__")


def code_digest(code: CodeType) -> str:
    """Code as 32 hexadecimal digits: byte code, constants, names, how it is called, and what it catches."""
    found = _CODE.get(code)
    if found is None:
        instructions, values = without_docstring(code)
        constants = [_constant_in(each) for each in values]
        arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        table = getattr(code, "co_exceptiontable", b"")
        told = (instructions.hex(), constants, code.co_names, arguments, code.co_flags & CALLED)
        found = _CODE[code] = digest_of(msgspec.json.encode((*told, table.hex())))
    return found


def digest_of(data: bytes) -> str:
    """32 hexadecimal digits of BLAKE2b."""
    import hashlib  # loads OpenSSL, which most programs never need

    return hashlib.blake2b(data, digest_size=16).hexdigest()


def without_docstring(code: CodeType) -> tuple[bytes, list[Any]]:
    """Byte code and constants as they would be without a docstring: it is words about the code, and no part of it."""
    constants = list(code.co_consts)
    if ALWAYS_FIRST:
        has = bool(code.co_flags & 0x01) and not code.co_name.startswith("<")
        if has and constants and isinstance(constants[0], str):
            constants[0] = None
        return code.co_code, constants
    if not code.co_flags & HAS_DOCSTRING:
        return code.co_code, constants
    return _one_further_to_the_front(code.co_code), constants[1:]


def _one_further_to_the_front(code: bytes) -> bytes:
    """Byte code whose constants have lost their first one."""
    import dis  # costs milliseconds, and is needed only where code is compared

    instructions = bytearray(code)
    for place in range(
        0, len(instructions), 2
    ):  # what it takes by its number stands one further to the front
        if instructions[place] in dis.hasconst and instructions[place + 1]:
            instructions[place + 1] -= 1
    return bytes(instructions)


def _constant_in(value: Any) -> Any:
    """A constant of code: plain, or a tuple, a frozenset, or further code."""
    if isinstance(value, CodeType):
        return ["code", code_digest(value)]
    if isinstance(value, tuple):
        return ["tuple", *[_constant_in(item) for item in value]]
    if isinstance(value, frozenset):
        items = sorted([_constant_in(item) for item in value], key=msgspec.json.encode)
        return ["frozenset", *items]
    return constant(value)


def constant(value: Any) -> Any:
    """A value that never changes and holds no others, as data; None for any other value."""
    kind = type(value)
    if kind in PLAIN:
        return [kind.__name__, repr(value)]
    if kind is str or kind is bytes:
        data: bytes = value if kind is bytes else value.encode("utf-8", "surrogatepass")
        told = repr(value) if len(data) <= LONG else digest_of(data)
        return [kind.__name__, told]
    if isinstance(value, Pattern):
        return ["pattern", repr(value.pattern), value.flags]
    return [type_name(kind), repr(value)] if type_name(kind) in TOLD else None


def is_fixed(value: Any) -> bool:
    """Whether a value never changes, so that it would count by what it is; of an enumeration only the name does."""
    if isinstance(value, Enum) or is_dunder(str(getattr(value, "__name__", ""))):
        return False
    kinds = (tuple, frozenset, MappingProxyType)
    return constant(value) is not None or isinstance(value, kinds) or bool(frozen_fields(value))


def frozen_fields(value: Any) -> tuple[str, ...] | None:
    """The fields of an object of a frozen class, a dataclass or a Struct; None of any other."""
    parameters = getattr(type(value), "__dataclass_params__", None)
    if parameters is not None and parameters.frozen:
        return tuple(value.__dataclass_fields__)
    if isinstance(value, msgspec.Struct) and value.__struct_config__.frozen:
        return value.__struct_fields__
    return None


def annotated(members: Any) -> list[Any]:
    """The annotations of a class by name, as far as they say what they are."""
    found = members.get("__annotations__")
    if not isinstance(found, dict):
        return []
    return [[name, _hint(found[name])] for name in sorted(found)]


def _hint(hint: Any) -> str:
    if isinstance(hint, str):
        return hint
    return hint.__qualname__ if isinstance(hint, type) else type(hint).__qualname__
