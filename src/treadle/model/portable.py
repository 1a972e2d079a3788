"""Pickling functions by reference, also those that a decorator hid behind a component.

`@td.step def f` binds the name `f` to a component, so the plain function can no longer be found under its own
name and pickle would refuse it. It is still reachable: as a part of some component in its module. That is
looked up when something is pickled, and again when it is loaded; code itself never travels.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from treadle.errors import NotPortable


class Portable:
    """A callable value whose fields are pickled, functions among them by reference; equal by fields."""

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: to_reference(value) for name, value in self.__dict__.items()}
        return (_load, (type(self), fields))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash(type(self))


def _load(kind: type[Portable], fields: dict[str, Any]) -> Portable:
    portable = kind.__new__(kind)
    portable.__dict__.update({name: from_reference(value) for name, value in fields.items()})
    return portable


class FunctionReference(tuple[str, ...]):
    """Where a function is found: `(module, name)`, or `(module, component, place in it, qualified name)`."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return (FunctionReference, (tuple(self),))


def to_reference(value: Any) -> Any:
    """Replace a plain function by where it can be found again; anything else is left to pickle."""
    if not isinstance(value, FunctionType):
        return value
    found = _find(value.__module__, value.__qualname__)
    if found is value:
        return FunctionReference((value.__module__, value.__qualname__))
    for name, functions in _components(value.__module__):
        for place, function in enumerate(functions):
            if function is value:
                return FunctionReference((value.__module__, name, str(place), value.__qualname__))
    message = f"the function {value.__qualname__!r} of module {value.__module__!r} cannot be found by name."
    hint = "define it at the top level of a module, or bind the component that holds it there."
    raise NotPortable(message, hint=hint)


def from_reference(value: Any) -> Any:
    """Undo `to_reference`."""
    if not isinstance(value, FunctionReference):
        return value
    module, name, *part = value
    __import__(module)
    owner = _find(module, name)
    if not part:
        if isinstance(owner, FunctionType):
            return owner
    elif owner is not None:
        place, qualified_name = int(part[0]), part[1]
        functions = owner.functions()
        if place < len(functions) and functions[place].__qualname__ == qualified_name:
            return functions[place]
    message = f"the function {name!r} is no longer found in module {module!r}."
    raise NotPortable(message, hint="load it with the code that pickled it.")


def _components(module: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The components bound at the top level of a module, each with the plain functions inside it."""
    for name, value in list(vars(sys.modules.get(module) or object).items()):
        if getattr(type(value), "is_treadle_component", False):
            yield name, value.functions()


def _find(module: str, qualified_name: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in qualified_name.split("."):
        found = getattr(found, name, None)
    return found


def reduce_struct(struct: Any) -> Any:
    """Pickle a struct with the functions in its fields replaced by references."""
    fields = {name: to_reference(getattr(struct, name)) for name in struct.__struct_fields__}
    return (_load_struct, (type(struct), fields))


def _load_struct(kind: Any, fields: dict[str, Any]) -> Any:
    return kind(**{name: from_reference(value) for name, value in fields.items()})


def component_reference(component: Any) -> Any:
    """How a component pickles: by the module-level name it is bound to, else by its fields."""
    for function in component.functions():
        for name, value in list(vars(sys.modules.get(function.__module__) or object).items()):
            if value is component:
                return (_load_by_name, (function.__module__, name))
    fields = {
        name: to_reference(value)
        for name, value in component.__dict__.items()
        if not name.startswith("__")
    }
    return (_load, (type(component), fields))


def _load_by_name(module: str, name: str) -> Any:
    __import__(module)
    found = _find(module, name)
    if found is None:
        message = f"module {module!r} has no component {name!r} any more."
        raise NotPortable(message, hint="load it with the code that pickled it.")
    return found
