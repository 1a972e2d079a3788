"""Filling in a form: values read from what somebody typed, and an answer checked before it is sent anywhere.

What is refused here would be refused where the wait is, too; the other way round, the wait's own type may know more.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Mapping
from functools import lru_cache, reduce
from operator import or_
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from treadle.errors import BadValue
from treadle.model import forms
from treadle.model.calls import shown
from treadle.model.forms import Field, Form, form_from, root_of
from treadle.model.sentinels import ABSENT

PLAIN: Final[Mapping[str, Any]] = {
    forms.TEXT: str,
    forms.INTEGER: int,
    forms.NUMBER: float,
    forms.DECIMAL: decimal.Decimal,
    forms.BOOLEAN: bool,
    forms.DATE: dt.date,
    forms.DATETIME: dt.datetime,
    forms.TIME: dt.time,
    forms.DURATION: dt.timedelta,
    forms.UUID: uuid.UUID,
    forms.BINARY: bytes,
    forms.NOTHING: type(None),
}
NUMBERS: Final = frozenset({forms.INTEGER, forms.NUMBER})
YES: Final = frozenset({"yes", "y", "true", "on", "1"})
NO: Final = frozenset({"no", "n", "false", "off", "0"})

EXAMPLES: Final[Mapping[str, str]] = {
    forms.INTEGER: "a whole number",
    forms.NUMBER: "a number",
    forms.DECIMAL: "a number, such as 12.50",
    forms.BOOLEAN: "yes or no",
    forms.DATE: "a date, such as 2026-11-22",
    forms.DATETIME: "a date with a time, such as 2026-11-22T10:30:00Z",
    forms.TIME: "a time, such as 10:30:00",
    forms.DURATION: "a duration, such as P2D or PT90M",
    forms.UUID: "a UUID",
    forms.BINARY: "bytes as base64",
    forms.NOTHING: "nothing",
}


def check(what: str, payload: Any, schema: str | None) -> None:
    """Refuse a payload that does not fit the form of a JSON Schema; one that nobody can look into here passes.

    Errors: `BadValue`, with the path to what is wrong.
    """
    if schema is not None:
        _check(what, payload, _type_for(schema))


def check_form(what: str, form: Form, payload: Any) -> None:
    """The same, of a form. Errors: `BadValue`, with the path to what is wrong."""
    _check(what, payload, _usable(root_of(form)))


def _check(what: str, payload: Any, kind: Any) -> None:
    plain = as_plain(payload)
    if plain is ABSENT:
        return
    try:
        msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise BadValue(f"{what} was given {shown(payload)}. {error}.") from None


def check_field(field: Field, value: Any) -> None:
    """Refuse what a field does not take. Errors: `BadValue`, with the path to what is wrong."""
    try:
        msgspec.convert(value, _usable(field))
    except msgspec.ValidationError as error:
        raise BadValue(f"{error}.") from None


def as_plain(payload: Any) -> Any:
    """A value as JSON would have it; ABSENT where only its own class knows."""
    dump = getattr(payload, "model_dump", None)
    try:
        if callable(dump) and not isinstance(payload, type):  # pydantic's own
            return dump(mode="json", by_alias=True)
        return msgspec.to_builtins(payload, str_keys=True)
    except Exception:  # noqa: BLE001 - whatever a user's class raises
        return ABSENT


def read(field: Field, text: str) -> Any:
    """The value that somebody typed for a field, plain and checked.

    A choice is named by its value, its label, or its number from 1; what has parts is typed as JSON.

    Errors: `BadValue`.
    """
    typed = text.strip()
    if field.nullable and typed == "null":
        return None
    value = _read(field, text, typed)
    check_field(field, value)
    return value


def _read(field: Field, text: str, typed: str) -> Any:
    kind = field.kind
    if kind == forms.CHOICE:
        return _chosen(field, typed)
    if kind == forms.BOOLEAN:
        word = typed.lower()
        return True if word in YES else False if word in NO else _refuse(field, typed)
    if kind in NUMBERS:
        try:
            return int(typed) if kind == forms.INTEGER else float(typed)
        except ValueError:
            return _refuse(field, typed)
    if kind == forms.TEXT:
        return text
    if kind in PLAIN:
        return typed
    try:
        return msgspec.json.decode(typed)
    except (msgspec.DecodeError, RecursionError):
        return typed if kind in {forms.ANY, forms.ONE_OF} else _refuse(field, typed)


def _chosen(field: Field, typed: str) -> Any:
    for choice in field.choices:
        if typed == str(choice.value):
            return choice.value
    for number, choice in enumerate(field.choices, 1):
        if typed.lower() == choice.label.lower() or typed == str(number):
            return choice.value
    return _refuse(field, typed)


def _refuse(field: Field, typed: str) -> Any:
    raise BadValue(f"{typed!r:.80} is not {expected(field)}.")


def expected(field: Field) -> str:
    """What a field takes, in words.

    >>> expected(Field(name="day", kind="date"))
    'a date, such as 2026-11-22'
    """
    if field.kind == forms.CHOICE:
        return f"one of {', '.join(str(choice.value) for choice in field.choices)}"
    return EXAMPLES.get(field.kind, "text" if field.kind == forms.TEXT else "JSON")


# ------------------------------------------------------------------------------------- as a type


@lru_cache(maxsize=256)
def _type_for(schema: str) -> Any:
    return _usable(root_of(form_from(schema)))


def _usable(field: Field) -> Any:
    """The type of a field; any where what it says cannot be said in one."""
    made = _type_of(field)
    try:
        msgspec.convert(None, made)
    except msgspec.ValidationError:
        return made
    except Exception:  # noqa: BLE001 - the bounds may be of a language that is not known here
        return Any
    return made


def _type_of(field: Field) -> Any:
    kind = _bare_type(field)
    return kind | None if field.nullable and kind is not Any else kind


def _bare_type(field: Field) -> Any:
    if field.kind in PLAIN:
        return _bounded(field, PLAIN[field.kind])
    if field.kind == forms.CHOICE:
        return _choice_type(field)
    if field.kind == forms.LIST and field.item is not None:
        listed: Any = list
        return _bounded(field, listed[_usable(field.item)])
    if field.kind == forms.MAPPING and field.item is not None:
        mapped: Any = dict
        return _bounded(field, mapped[str, _usable(field.item)])
    if field.kind == forms.GROUP:
        made: Any = TypedDict
        return made(field.name or "answer", {each.name: _part_type(each) for each in field.fields})
    if field.kind == forms.TUPLE:
        is_whole = all(each.required for each in field.fields)
        of_parts: Any = tuple
        return of_parts[tuple(map(_usable, field.fields))] if is_whole else list[Any]
    if field.kind == forms.ONE_OF and field.options:
        return reduce(or_, map(_usable, field.options))
    return Any


def _part_type(field: Field) -> Any:
    kind: Any = _usable(field)
    optional: Any = NotRequired
    return kind if field.required else optional[kind]


def _choice_type(field: Field) -> Any:
    values = [choice.value for choice in field.choices]
    if not values or not all(isinstance(value, (str, int)) for value in values):
        return Any
    return Literal[tuple(values)]


def _bounded(field: Field, kind: Any) -> Any:
    """A type within the bounds that a field has for it."""
    bounds: dict[str, Any] = {}
    if field.kind in NUMBERS:
        bounds = {
            "ge": field.minimum,
            "le": field.maximum,
            "gt": field.exclusive_minimum,
            "lt": field.exclusive_maximum,
            "multiple_of": field.multiple_of,
        }
    elif field.kind in {forms.TEXT, forms.LIST, forms.MAPPING}:
        bounds = {"min_length": field.min_length, "max_length": field.max_length}
        if field.kind == forms.TEXT:
            bounds["pattern"] = field.pattern
    said = {name: value for name, value in bounds.items() if value is not None}
    return Annotated[kind, Meta(**said)] if said else kind
