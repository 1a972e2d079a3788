"""The classes whose instances may be written and read: a list that only the program makes, never the bytes.

A class stands in the bytes by its name: `module:qualname`, or the alias it was registered by, which stays when the
class moves. Reading looks the name up here and nowhere else.
"""

from __future__ import annotations

import builtins
import enum
import sys
import threading
import types
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any, Final

import msgspec

from treadle import errors
from treadle.codec.refusals import full_name
from treadle.errors import Corrupt, TreadleError, UnknownType, UsageError, nearest
from treadle.model.errordata import ErrorData, Frame
from treadle.model.facts import Fact, Failure
from treadle.model.nodes import ComponentShape, NodeShape
from treadle.model.sentinels import Sentinel

ENUM: Final = "enum"
STRUCT: Final = "struct"
EXCEPTION: Final = "exception"
OBJECT: Final = "object"

IMMUTABLE: Final = (int, float, complex, str, bytes, tuple, frozenset)
MUTABLE: Final = (list, dict, set, bytearray)
BASES: Final = frozenset({object, *IMMUTABLE, *MUTABLE})
"""Of what the instances of a class may be made, besides their attributes."""

NO_DATA: Final = frozenset({"typing", "abc", "types", "collections.abc"})
"""Modules whose classes are words of annotations, not values."""

PYTHON_CLASS: Final = 1 << 9
"""The flag of a class that was made while running; those written in C seldom have it."""


class Shape(msgspec.Struct, frozen=True):
    """A class as the codec sees it: its name in the bytes, its form, what is below its attributes, its slots."""

    cls: Any
    name: str
    form: str
    base: Any = object
    slots: tuple[tuple[str, Any], ...] = ()
    bare: Any = None
    """Of a `Struct` with `__post_init__`: the same without it."""


def default_name(cls: type) -> str:
    """The name that a class has in the bytes if it is given no other."""
    return f"{cls.__module__}:{cls.__qualname__}"


def shape_of(cls: type, name: str) -> Shape | None:
    """How instances of a class are kept, or None where only the class itself could tell."""
    if issubclass(cls, enum.Enum):
        return Shape(cls, name, ENUM) if cls.__members__ else None
    if cls is msgspec.Struct:
        return None
    if issubclass(cls, msgspec.Struct):
        try:
            return Shape(cls, name, STRUCT, bare=_without_post_init(cls))
        except Exception:  # noqa: BLE001 - it does not let itself be derived from
            return None
    if cls.__module__ in NO_DATA:
        return None
    base = _base_of(cls)
    if issubclass(cls, BaseException):
        return Shape(cls, name, EXCEPTION, base, _slots_of(cls, base))
    if base not in BASES or cls in BASES or cls.__module__ == "builtins":
        return None
    if getattr(cls, "__abstractmethods__", None) or getattr(cls, "_is_protocol", False):
        return None
    if hasattr(cls, "__del__"):  # it holds something that is no data
        return None
    try:
        _new(base, cls)
    except Exception:  # noqa: BLE001 - it is made of more than can be seen
        return None
    return Shape(cls, name, OBJECT, base, _slots_of(cls, base))


def _new(base: Any, cls: Any) -> Any:
    return base.__new__(cls)


def _base_of(cls: type) -> type:
    """The nearest class above (or this one) that is not written in Python."""
    for above in cls.__mro__:
        if not above.__flags__ & PYTHON_CLASS or above.__module__ == "builtins":
            return above
    return object


def _slots_of(cls: type, base: type) -> tuple[tuple[str, Any], ...]:
    """The slots of a class and of those above it that are written in Python, the nearest of a name alone."""
    found: dict[str, Any] = {}
    for above in cls.__mro__:
        if above is base:
            break
        for name, attribute in vars(above).items():
            if type(attribute) is types.MemberDescriptorType and name != "__weakref__":
                found.setdefault(name, attribute)
    return tuple(found.items())


def _without_post_init(cls: type[msgspec.Struct]) -> Any:
    if not hasattr(cls, "__post_init__"):
        return None
    body = {
        "__post_init__": lambda _: None,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
    }
    made: Any = type(cls)
    return made(cls.__name__, (cls,), body)


class Classes:
    """What is registered. Grows while others read: each of the two tables is only ever replaced or added to."""

    def __init__(self) -> None:
        self.by_class: dict[type, Shape] = {}
        self.by_name: dict[str, Shape] = {}
        self.modules: dict[str, str] = modules_of_main()
        """Other names of modules: one file may be run by itself, and be imported elsewhere."""
        self._lock = threading.Lock()
        for shape in ALWAYS:
            self._add(shape)

    def register(self, cls: type, *, name: str | None = None) -> None:
        """Take a class in, by its own name or an alias. Errors: `UsageError`."""
        if not isinstance(cls, type):
            raise UsageError(f"{cls!r} is no class, so it cannot be registered.")
        shape = shape_of(cls, name or default_name(cls))
        if shape is None:
            raise UsageError(
                f"{full_name(cls)} cannot be registered: its instances are made of more than their attributes.",
                hint="store what it is made from instead, such as text, numbers or a dataclass.",
            )
        with self._lock:
            there = self.by_name.get(shape.name)
            if there is not None and there.cls is not cls and name is not None:
                raise UsageError(
                    f"{name!r} is the name of {full_name(there.cls)} already.",
                    hint="each class needs a name of its own.",
                )
            self._add(shape)
            self.by_name.setdefault(default_name(cls), shape)

    def learn(self, classes: Iterable[type]) -> None:
        """Take in those of some classes that can be; an alias that one has already stays."""
        for cls in classes:
            if cls not in self.by_class and cls.__module__ != "builtins":
                shape = shape_of(cls, default_name(cls))
                if shape is not None:
                    with self._lock:
                        self._add(shape)

    def found(self, name: Any, form: str | None = None) -> Shape:
        """The class of a name in the bytes, of the form that it was stored in. Errors: `UnknownType`, `Corrupt`."""
        if type(name) is not str:
            raise Corrupt("The name of a class is no text.")
        shape = self.by_name.get(name) or self._elsewhere(name)
        if shape is not None and form in {None, shape.form}:
            return shape
        if shape is not None:
            raise UnknownType(
                f"{name!r} was stored as another sort of class: {form}, not {shape.form}."
            )
        raise UnknownType(
            f"{name!r} is not registered here, so what was stored of it cannot be read.{nearest(name, self.yours())}",
            hint="give the class to the runner's codec: Codec(types=[...]); if it was renamed, register it "
            "by the old name too: codec.register(cls, name=...).",
        )

    def also_called(self, name: str, module: str) -> None:
        """Look for the classes of the module `name`, where they are not registered, in another one."""
        self.modules[name] = module

    def _elsewhere(self, name: str) -> Shape | None:
        module, _, rest = name.partition(":")
        other = self.modules.get(module)
        return None if other is None else self.by_name.get(f"{other}:{rest}")

    def yours(self) -> list[str]:
        """The names of what the program registered."""
        return [name for name, shape in self.by_name.items() if shape not in ALWAYS]

    def _add(self, shape: Shape) -> None:
        """Another class of the same name lost it: a program was read again, and its old values are of no use."""
        there = self.by_name.get(shape.name)
        if there is not None and there.cls is not shape.cls:
            self.by_class.pop(there.cls, None)
        self.by_name[shape.name] = shape
        self.by_class[shape.cls] = shape


def modules_of_main() -> dict[str, str]:
    """What the program's own file would be called if it were imported: so the command line, for one, stored it."""
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return {spec.name: "__main__"}
    return {} if file is None else {PurePath(file).stem: "__main__"}


def _classes_of(module: types.ModuleType, above: type) -> Iterator[type]:
    for cls in vars(module).values():
        if isinstance(cls, type) and issubclass(cls, above):
            yield cls


def _always() -> tuple[Shape, ...]:
    """What every codec knows: the language's exceptions, and what Treadle itself puts into logs."""
    shapes: list[Shape | None] = [
        shape_of(cls, f"treadle:{cls.__name__}")
        for cls in (Failure, Fact, ErrorData, Frame, ComponentShape, NodeShape, Sentinel)
    ]
    shapes += [shape_of(cls, cls.__name__) for cls in _classes_of(builtins, BaseException)]
    shapes += [
        shape_of(cls, f"treadle:{cls.__name__}") for cls in _classes_of(errors, TreadleError)
    ]
    return tuple({shape.cls: shape for shape in shapes if shape is not None}.values())


ALWAYS: Final = _always()
