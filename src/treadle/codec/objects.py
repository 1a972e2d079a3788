"""Instances of registered classes: enum members, structs, exceptions, and whatever is made of its attributes.

An instance is taken apart into its state and made again from it. No constructor, no validator and no `__setattr__` of
its class runs: what comes back is what was there, also where the constructor would not make it so today.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import structs

from treadle.codec.classes import ENUM, EXCEPTION, IMMUTABLE, OBJECT, STRUCT, Classes, Shape
from treadle.codec.kinds import Kind, Label
from treadle.codec.refusals import Refused, shown
from treadle.errors import Corrupt, RemoteFailure, UnknownType
from treadle.model.errordata import describe

ATTRS_HASH: Final = "_attrs_cached_hash"
"""Where attrs keeps a hash that is right in one process only."""

BESIDE_ARGS: Final[dict[type, tuple[str, ...]]] = {
    ImportError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name",),
    OSError: ("filename", "filename2"),
}
"""What exceptions of the language hold besides their arguments."""


# ------------------------------------------------------------------------------------------ enums


def _take_member(value: enum.Enum, classes: Classes) -> Sequence[Any]:
    shape = classes.by_class[type(value)]
    name: Any = value._name_  # None of a combination of flags
    if name is not None and shape.cls.__members__.get(name) is value:
        return (shape.name, name)
    if isinstance(value, enum.Flag):
        return (shape.name, int(value._value_))
    raise Refused("is no member of its enum that has a name")


def _make_member(parts: list[Any], classes: Classes) -> Any:
    name, member = parts
    cls = classes.found(name, ENUM).cls
    if type(member) is int and issubclass(cls, enum.Flag):
        return cls(member)
    try:
        return cls.__members__[member]
    except KeyError:
        raise UnknownType(
            f"{name!r} has no member {member!r} here.",
            hint="a member that was stored once is to stay; give it as an alias of another.",
        ) from None


# ---------------------------------------------------------------------------------------- structs


def _take_struct(value: Any, classes: Classes) -> Sequence[Any]:
    parts: list[Any] = [classes.by_class[type(value)].name]
    for name in type(value).__struct_fields__:
        parts += (name, object.__getattribute__(value, name))
    extra = getattr(value, "__dict__", None)
    for name, part in (extra or {}).items():
        parts += (name, part)
    return parts


def _make_struct(parts: list[Any], classes: Classes) -> Any:
    shape = classes.found(parts[0], STRUCT)
    state = _state_in(parts[1:])
    cls = shape.cls
    fields = {name: state.pop(name) for name in cls.__struct_fields__ if name in state}
    try:
        value = (shape.bare or cls)(**fields)
    except TypeError as error:
        raise UnknownType(f"{shape.name!r} was stored with other fields: {error}.") from None
    if shape.bare is not None:
        structs.force_setattr(value, "__class__", cls)
    if state:
        if not hasattr(value, "__dict__"):
            raise _no_place(shape, next(iter(state)))
        value.__dict__.update(state)
    return value


# ---------------------------------------------------------------------------------------- objects


def _take_object(value: Any, classes: Classes) -> Sequence[Any]:
    shape = classes.by_class[type(value)]
    parts: list[Any] = [shape.name, _content(value, shape.base)]
    for name, part in _attributes(value, shape):
        parts += (name, None if name == ATTRS_HASH else part)
    return parts


def _content(value: Any, base: type) -> Any:
    """What is below the attributes, as a value of the built-in class."""
    if base is object:
        return None
    if base is dict:
        return dict(dict.items(value))
    if base in {int, float, complex, str, bytes}:
        return CONTENT[base](value)
    return base(base.__iter__(value))  # type: ignore[attr-defined]


CONTENT: Final[dict[type, Any]] = {
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: bytes.__bytes__,
}


def _attributes(value: Any, shape: Shape) -> Iterator[tuple[str, Any]]:
    for name, slot in shape.slots:
        try:
            yield name, slot.__get__(value)
        except AttributeError:  # never set, and so it stays
            continue
    try:
        held = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return
    yield from held.items()


def _make_object(parts: list[Any], classes: Classes) -> Any:
    shape = classes.found(parts[0], OBJECT)
    content, state = parts[1], _state_in(parts[2:])
    if shape.base is object:
        value = object.__new__(shape.cls)
    elif type(content) is not shape.base:
        raise Corrupt(f"{shape.name!r} was expected to be made of {shape.base.__name__}.")
    elif shape.base in IMMUTABLE:
        value = shape.base.__new__(shape.cls, content)
    else:
        value = _filled(shape, content)
    _set_state(value, shape, state)
    return value


def _filled(shape: Shape, content: Any) -> Any:
    base = shape.base
    value = base.__new__(shape.cls)
    fill = base.extend if base in {list, bytearray} else base.update
    fill(value, content)
    return value


def _set_state(value: Any, shape: Shape, state: dict[str, Any]) -> None:
    slots = dict(shape.slots)
    try:
        held = object.__getattribute__(value, "__dict__")
    except AttributeError:
        held = None
    for name, default in _defaults(shape.cls):
        if name in state:
            continue
        if default is REQUIRED:
            raise UnknownType(
                f"{shape.name!r} was stored without {name!r}, which it has now.",
                hint="give the new field a default, so that older values can be read.",
            )
        state[name] = default()
    for name, part in state.items():
        if name in slots:
            slots[name].__set__(value, part)
        elif held is None:
            raise _no_place(shape, name)
        else:
            held[name] = part


def _no_place(shape: Shape, name: str) -> UnknownType:
    return UnknownType(
        f"{shape.name!r} was stored with {name!r}, for which it has no place any more.",
        hint="keep fields that were stored, or register a class that has them under this name.",
    )


REQUIRED: Final = object()


def _defaults(cls: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a class that says which it has, each with what makes its default."""
    if "__dataclass_fields__" in vars(cls):
        yield from _dataclass_defaults(cls)
    elif "__attrs_attrs__" in vars(cls):
        yield from _attrs_defaults(cls)
    elif hasattr(cls, "__pydantic_fields__"):
        for name, field in cls.__pydantic_fields__.items():
            yield name, REQUIRED if field.is_required() else _pydantic_default(field)


def _dataclass_defaults(cls: Any) -> Iterator[tuple[str, Any]]:
    import dataclasses

    for field in dataclasses.fields(cls):
        if field.default is not dataclasses.MISSING:
            yield field.name, _constant(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            yield field.name, field.default_factory
        elif field.init:
            yield field.name, REQUIRED


def _attrs_defaults(cls: Any) -> Iterator[tuple[str, Any]]:
    for field in cls.__attrs_attrs__:
        default = field.default
        if type(default).__name__ == "Factory":
            yield field.name, REQUIRED if default.takes_self else default.factory
        elif getattr(default, "name", None) != "NOTHING" and str(default) != "NOTHING":
            yield field.name, _constant(default)
        elif field.init:
            yield field.name, REQUIRED


def _constant(value: Any) -> Any:
    return lambda: value


def _pydantic_default(field: Any) -> Any:
    return lambda: field.get_default(call_default_factory=True, validated_data={})


# ------------------------------------------------------------------------------------- exceptions


def _take_exception(value: BaseException, classes: Classes) -> Sequence[Any]:
    """Of a class that is not registered, only what it is called and says."""
    told = describe(value)
    shape = classes.by_class.get(type(value))
    if shape is None:
        return (told.type, told.text)
    parts: list[Any] = [
        shape.name,
        told.text,
        value.args,
        value.__cause__,
        value.__suppress_context__,
    ]
    for name, part in _attributes(value, shape):
        parts += (name, part)
    for name in _beside(shape.base):
        if getattr(value, name, None) is not None:
            parts += (name, getattr(value, name))
    return parts


def _beside(base: type) -> tuple[str, ...]:
    for cls, names in BESIDE_ARGS.items():
        if issubclass(base, cls):
            return names
    return ()


def _make_exception(parts: list[Any], classes: Classes) -> BaseException:
    name, text = parts[:2]
    if type(name) is not str or type(text) is not str:
        raise Corrupt("The name or the text of an exception is no text.")
    if len(parts) == 2 or name not in classes.by_name:
        return RemoteFailure(f"{name}: {text}" if text else name)
    shape = classes.found(name, EXCEPTION)
    args, cause, suppresses = parts[2:5]
    state = _state_in(parts[5:])
    value: BaseException = shape.base.__new__(shape.cls, *args)
    shape.base.__init__(value, *args)
    value.args = args
    value.__cause__ = cause
    value.__suppress_context__ = suppresses
    for beside in _beside(shape.base):
        if beside in state:
            setattr(value, beside, state.pop(beside))
    _set_state(value, shape, state)
    return value


# ------------------------------------------------------------------------------------------------


def _state_in(parts: list[Any]) -> dict[str, Any]:
    state = dict(zip(parts[::2], parts[1::2], strict=True))
    if any(type(name) is not str for name in state):
        raise Corrupt("An attribute has a name that is no text.")
    return state


def _label(first: int) -> Label:
    """Attributes stand by turns, name and value, from some part on."""

    def label(parts: Sequence[Any], index: int) -> str:
        if index < first:
            return ""
        return (
            f".{parts[index - 1]}" if (index - first) % 2 else f".<attribute {shown(parts[index])}>"
        )

    return label


MEMBER: Final = Kind(30, _take_member, _make_member, is_leaf=True)
STRUCT_KIND: Final = Kind(31, _take_struct, _make_struct, label=_label(1))
INSTANCE: Final = Kind(32, _take_object, _make_object, label=_label(2))


def _label_exception(parts: Sequence[Any], index: int) -> str:
    return {2: ".args", 3: ".__cause__"}.get(index) or _label(5)(parts, index)


RAISED: Final = Kind(33, _take_exception, _make_exception, label=_label_exception)

BY_FORM: Final = {ENUM: MEMBER, STRUCT: STRUCT_KIND, OBJECT: INSTANCE, EXCEPTION: RAISED}
