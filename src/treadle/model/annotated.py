"""What a type says beyond its JSON Schema, written into that: the order and the names of choices, naive times.

Whoever fills in a form wants the choices in the order in which somebody thought of them, and by their names.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import types
from collections.abc import Mapping
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NewType,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

LABELS: Final = "x-labels"
"""The keyword for what people call the values of an `enum`, in the same order."""

WRAPPERS: Final = (Annotated, Required, NotRequired)
UNIONS: Final = (Union, types.UnionType)


def annotate(kind: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema with what its type says beyond it; as it is where the type cannot be read."""
    try:
        _add(kind, schema, schema.get("$defs", {}), set())
    except Exception:  # noqa: BLE001 - annotations may name what is not there
        return schema
    return schema


def label_of(name: str) -> str:
    """A name as people read it.

    >>> label_of("cost_center"), label_of("NOT_YET")
    ('Cost center', 'Not yet')
    """
    words = name.replace("_", " ").strip()
    words = words.lower() if words.isupper() else words
    return words[:1].upper() + words[1:]


def _add(kind: Any, node: Any, defs: Mapping[str, Any], seen: set[int]) -> None:
    kind = _bare(kind)
    if not isinstance(node, dict):
        return
    if "$ref" in node:
        node = defs[node["$ref"].rpartition("/")[2]]
        if id(node) in seen:
            return
        seen.add(id(node))
    origin, args = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        node["enum"] = [member.value for member in kind]
        node[LABELS] = [label_of(member.name) for member in kind]
    elif origin is Literal:
        node["enum"] = list(dict.fromkeys(args))
    elif origin in UNIONS:
        _add_union(args, node, defs, seen)
    elif kind is decimal.Decimal and "anyOf" in node:  # so pydantic writes it: a number, or text
        number = node.pop("anyOf")[0]
        node |= {**number, "type": "string", "format": "decimal"}
    elif kind is dt.datetime:
        node.setdefault("format", "date-time")
    elif kind is dt.time:
        node.setdefault("format", "time")
    elif "properties" in node or "prefixItems" in node:
        _add_fields(origin or kind, args, node, defs, seen)
    elif args and "items" in node:
        _add(args[0], node["items"], defs, seen)
    elif len(args) == 2 and "additionalProperties" in node:
        _add(args[1], node["additionalProperties"], defs, seen)


def _bare(kind: Any) -> Any:
    """A type without what is said about it."""
    while True:
        if isinstance(kind, NewType):
            kind = kind.__supertype__
        elif type(kind).__name__ == "TypeAliasType":  # since Python 3.12
            kind = kind.__value__
        elif get_origin(kind) in WRAPPERS:
            kind = get_args(kind)[0]
        else:
            return kind


def _add_union(
    args: tuple[Any, ...], node: dict[str, Any], defs: Mapping[str, Any], seen: set[int]
) -> None:
    """What msgspec writes of a union: all but its `Struct`s in their order, then these, then None."""
    members = [arg for arg in args if arg is not types.NoneType]
    structs = [arg for arg in members if _is_struct(arg)]
    others = [arg for arg in members if not _is_struct(arg)]
    options = node.get("anyOf", [])
    for kind, option in zip(others, options, strict=False):
        _add(kind, option, defs, seen)
    rest = options[len(others) :]
    tagged = rest[0].get("anyOf", rest) if rest else []
    for kind, option in zip(structs, tagged, strict=False):
        _add(kind, option, defs, seen)


def _is_struct(kind: Any) -> bool:
    kind = _bare(kind)
    kind = get_origin(kind) or kind
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _add_fields(
    cls: Any,
    args: tuple[Any, ...],
    node: dict[str, Any],
    defs: Mapping[str, Any],
    seen: set[int],
) -> None:
    if cls is tuple:
        for kind, part in zip(args, node["prefixItems"], strict=True):
            _add(kind, part, defs, seen)
        return
    hints = get_type_hints(cls, include_extras=True)
    if "properties" in node:
        named = (
            dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
            if (_is_struct(cls))
            else {}
        )
        properties = node["properties"]
        for name, kind in hints.items():
            _add(kind, properties.get(named.get(name, name)), defs, seen)
        order = [named.get(name, name) for name in hints]
        first = [name for name in properties if name not in order]  # as a tag
        node["properties"] = {
            name: properties[name] for name in (*first, *order) if name in properties
        }
        return
    names = list(getattr(cls, "__struct_fields__", getattr(cls, "_fields", ())))
    parts = node["prefixItems"][-len(names) :] if names else []
    for name, part in zip(names, parts, strict=True):
        _add(hints[name], part, defs, seen)
