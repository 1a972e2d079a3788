"""What a wait asks of a person, as data: a form with typed fields, made from the JSON Schema that stands in the log.

So it is the same of a live workflow, and of a stored run whose classes cannot be imported. Filling it in and checking
what was filled in needs nothing but the form, too (`model/filling.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from treadle.model.annotated import LABELS, label_of

TEXT: Final = "text"
INTEGER: Final = "integer"
NUMBER: Final = "number"
DECIMAL: Final = "decimal"
BOOLEAN: Final = "boolean"
DATE: Final = "date"
DATETIME: Final = "datetime"
TIME: Final = "time"
DURATION: Final = "duration"
UUID: Final = "uuid"
BINARY: Final = "binary"
"""Bytes, as base64."""
CHOICE: Final = "choice"
"""One of `choices`."""
LIST: Final = "list"
"""Any number of `item`s."""
TUPLE: Final = "tuple"
"""A list of just these `fields`, which have numbers for names."""
MAPPING: Final = "mapping"
"""Names of the filler's own, with an `item` each."""
GROUP: Final = "group"
"""An object of these `fields`."""
ONE_OF: Final = "one_of"
"""Whatever fits one of `options`."""
NOTHING: Final = "nothing"
"""None alone."""
ANY: Final = "any"
"""Any JSON; it is looked at where the wait is."""

FORMATS: Final[Mapping[str, str]] = {
    "date": DATE,
    "date-time": DATETIME,
    "time": TIME,
    "partial-time": TIME,
    "duration": DURATION,
    "uuid": UUID,
    "decimal": DECIMAL,
    "binary": BINARY,
}
SIMPLE: Final[Mapping[str, str]] = {
    "string": TEXT,
    "integer": INTEGER,
    "number": NUMBER,
    "boolean": BOOLEAN,
    "null": NOTHING,
}
BOUNDS: Final[Mapping[str, str]] = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusiveMinimum": "exclusive_minimum",
    "exclusiveMaximum": "exclusive_maximum",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "minProperties": "min_length",
    "maxProperties": "max_length",
    "pattern": "pattern",
}


class Choice(Struct, frozen=True):
    """One value of a choice, and what people call it."""

    value: Any
    label: str


class Field(Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """One thing that is asked: JSON-ready, what is not said left out.

    `kind`: text, integer, number, decimal, boolean, date, datetime, time, duration, uuid, binary (base64), choice,
    list, tuple, mapping, group, one_of, nothing, or any (any JSON). Times, decimals and the like are text in an answer.
    """

    name: str
    """What it is called in the answer; empty where it has no name, as the items of a list."""
    kind: str
    title: str = ""
    """What people call it."""
    description: str = ""
    required: bool = True
    nullable: bool = False
    """None is an answer, too."""
    default: Any | UnsetType = UNSET
    """What counts where nothing is said; unset also where that is made anew each time."""
    choices: tuple[Choice, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    """Of text in characters; how many items of a list or mapping."""
    max_length: int | None = None
    pattern: str | None = None
    """A regular expression that is somewhere in the text."""
    fields: tuple[Field, ...] = ()
    item: Field | None = None
    options: tuple[Field, ...] = ()


class Form(Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """What a wait asks for. `is_single`: the answer is what its only field takes, and not an object with names."""

    fields: tuple[Field, ...]
    is_single: bool = False
    title: str = ""
    description: str = ""


class OpenWait(Struct, frozen=True, kw_only=True):
    """A wait of a run that somebody may answer: what is asked, about what, and until when.

    Units: seconds since 1970 UTC. JSON-ready but for the `subject`: the value that waits.
    """

    run: str
    workflow: str
    name: str
    key: str
    """Tells the waits of this name apart."""
    input: int
    scope: tuple[int, ...]
    since: float | None
    deadline: float | None
    """None: as long as it takes."""
    form: Form
    subject: Any


Node: TypeAlias = Mapping[str, Any]


@lru_cache(maxsize=256)
def form_from(schema: str | None) -> Form:
    """The form of a JSON Schema, given as text; without one, a form that takes anything."""
    if schema is None:
        return ANYTHING
    node: Node = msgspec.json.decode(schema)
    field = _Reader(node.get("$defs", {})).field("", node)
    whole = _resolved(node, node.get("$defs", {}))
    title, description = whole.get("title", ""), whole.get("description", "")
    if field.kind == GROUP and not field.nullable:
        return Form(fields=field.fields, title=title, description=description)
    single = structs.replace(field, title="", description="")
    return Form(fields=(single,), is_single=True, title=title, description=description)


ANYTHING: Final = Form(fields=(Field(name="", kind=ANY, nullable=True),), is_single=True)


def root_of(form: Form) -> Field:
    """The form as the one field that takes the whole answer."""
    return form.fields[0] if form.is_single else Field(name="", kind=GROUP, fields=form.fields)


def _resolved(node: Node, defs: Mapping[str, Any]) -> Node:
    """What a reference leads to, with what is said beside it."""
    if "$ref" not in node:
        return node
    return {**defs.get(node["$ref"].rpartition("/")[2], {}), **node}


class _Reader:
    """Reads fields from a JSON Schema with these definitions."""

    def __init__(self, defs: Mapping[str, Any]) -> None:
        self.defs = defs
        self.open: list[str] = []
        """The references that are being followed: what contains itself has no end."""

    def field(self, name: str, node: Node, *, required: bool = True) -> Field:
        """One field."""
        ref = node.get("$ref")
        title = node.get("title") or label_of(name)
        said: dict[str, Any] = {"name": name, "title": title, "required": required}
        if "default" in node:
            said["default"] = node["default"]
        if ref is None:
            return self._typed(node, said)
        if ref in self.open:
            return Field(kind=ANY, description=node.get("description", ""), **said)
        self.open.append(ref)
        try:
            return self._typed(_resolved(node, self.defs), said)
        finally:
            self.open.pop()

    def _typed(self, node: Node, said: dict[str, Any]) -> Field:
        said["description"] = node.get("description", "")
        options = node.get("anyOf") or node.get("oneOf")
        if options:
            return self._union(options, said)
        if "const" in node or "enum" in node:
            return _choice(node, said)
        kind = node.get("type")
        bounds = {BOUNDS[word]: value for word, value in node.items() if word in BOUNDS}
        if kind == "object":
            return self._object(node, said, bounds)
        if kind == "array":
            return self._array(node, said, bounds)
        if kind == "string" and node.get("contentEncoding") == "base64":
            return Field(kind=BINARY, **said)
        if kind == "string" and node.get("format") in FORMATS:
            return Field(kind=FORMATS[node["format"]], **said, **bounds)
        if isinstance(kind, str) and kind in SIMPLE:
            return Field(kind=SIMPLE[kind], **said, **bounds)
        return Field(kind=ANY, nullable=True, **said)

    def _union(self, options: list[Node], said: dict[str, Any]) -> Field:
        found = [self.field("", option) for option in options]
        members = [each for each in found if each.kind != NOTHING]
        is_nullable = len(members) < len(found) or any(each.nullable for each in members)
        if len(members) != 1:
            return Field(kind=ONE_OF, options=tuple(members), nullable=is_nullable, **said)
        said["description"] = said["description"] or members[0].description
        return structs.replace(members[0], nullable=is_nullable, **said)

    def _object(self, node: Node, said: dict[str, Any], bounds: dict[str, Any]) -> Field:
        properties = node.get("properties")
        if properties is not None:
            needed = set(node.get("required", ()))
            fields = [
                self.field(name, each, required=name in needed) for name, each in properties.items()
            ]
            return Field(kind=GROUP, fields=tuple(fields), **said)
        values = node.get("additionalProperties")
        item = self.field("", values) if isinstance(values, Mapping) else ANYTHING.fields[0]
        return Field(kind=MAPPING, item=item, **said, **bounds)

    def _array(self, node: Node, said: dict[str, Any], bounds: dict[str, Any]) -> Field:
        parts = node.get("prefixItems")
        if parts is not None:
            least = node.get("minItems", len(parts))
            fields = [self.field(str(n), part, required=n < least) for n, part in enumerate(parts)]
            return Field(kind=TUPLE, fields=tuple(fields), **said)
        items = node.get("items")
        item = self.field("", items) if isinstance(items, Mapping) else ANYTHING.fields[0]
        return Field(kind=LIST, item=item, **said, **bounds)


def _choice(node: Node, said: dict[str, Any]) -> Field:
    values = node["enum"] if "enum" in node else [node["const"]]
    labels = node.get(LABELS) or [str(value) for value in values]
    choices = [
        Choice(value, label)
        for value, label in zip(values, labels, strict=True)
        if value is not None
    ]
    return Field(kind=CHOICE, choices=tuple(choices), nullable=None in values, **said)
