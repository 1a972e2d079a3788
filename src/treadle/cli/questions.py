"""Questions on a terminal: a form asked field by field, and asked again where an answer does not fit."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import structs

from treadle.cli.terminal import clean
from treadle.errors import BadValue, UsageError
from treadle.model import forms
from treadle.model.filling import expected, read
from treadle.model.forms import Field, Form
from treadle.model.sentinels import ABSENT

EMPTY: Final = '""'
"""What is typed for a text without characters: nothing at all is no answer."""


def is_terminal() -> bool:
    """Whether somebody is there to answer: questions go to stderr, so that stdout may be for programs."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(form: Form) -> Any:
    """The answer that somebody gives to a form. Errors: `UsageError` when there is nobody to answer any more."""
    if form.is_single:
        return ask_value(form.fields[0], "answer")
    return ask_fields(form.fields, "")


def ask_fields(fields: Iterable[Field], before: str) -> dict[str, Any]:
    """Values for fields, by name; those that were left out are not among them."""
    answer = {}
    for field in fields:
        value = ask_value(field, f"{before}{field.title or field.name}")
        if value is not ABSENT:
            answer[field.name] = value
    return answer


def ask_value(field: Field, label: str) -> Any:
    """A value for one field; ABSENT where it may be left out and was."""
    if field.description:
        say(f"  {field.description}")
    if field.kind == forms.GROUP and not may_be_left_out(field):
        return ask_fields(field.fields, f"{label}: ")
    if field.kind == forms.GROUP:
        wants = ask_line(Field(name="", kind=forms.BOOLEAN, default=False), f"{label}: fill it in?")
        return ask_fields(field.fields, f"{label}: ") if wants is True else left_out(field)
    if field.kind == forms.LIST and field.item is not None:
        return ask_items(field, label)
    if field.kind == forms.CHOICE:
        for number, choice in enumerate(field.choices, 1):
            value = "" if choice.label == str(choice.value) else f" ({choice.value})"
            say(f"  {number}. {choice.label}{value}")
    return ask_line(field, label)


def ask_items(field: Field, label: str) -> Any:
    """The items of a list, until nothing is typed for one; again where they are too few or too many."""
    assert field.item is not None
    item = structs.replace(field.item, required=False, default=msgspec.UNSET)
    say(f"  {label}: one a line; nothing ends the list")
    while True:
        items: list[Any] = []
        while True:
            value = ask_value(item, f"{label} {len(items) + 1}")
            if value is ABSENT:
                break
            items.append(value)
        if not items and may_be_left_out(field):
            return left_out(field)
        least, most = field.min_length or 0, field.max_length
        if least <= len(items) and (most is None or len(items) <= most):
            return items
        say(f"  {len(items)} are given; there are to be {least} to {most or 'any number'}")


def ask_line(field: Field, label: str) -> Any:
    """A value that is typed in one line."""
    while True:
        text = typed(f"{label} ({hint_of(field)}): ")
        if not text.strip():
            if may_be_left_out(field):
                return left_out(field)
            say(f"  something is needed{f', or {EMPTY}' if field.kind == forms.TEXT else ''}")
            continue
        try:
            return read(field, "" if text.strip() == EMPTY else text)
        except BadValue as error:
            say(f"  {error.message}")


def hint_of(field: Field) -> str:
    """What may be typed, and what counts if nothing is."""
    parts = [
        "a number or a name" if field.kind == forms.CHOICE else expected(field),
        *bounds(field),
    ]
    if field.default not in (msgspec.UNSET, None, ""):
        parts.append(f"else {text_of(field.default)}")
    elif may_be_left_out(field):
        parts.append("may be left out")
    return ", ".join(parts)


def bounds(field: Field) -> Iterable[str]:
    """The bounds of a field, as people read them."""
    known = {
        "from": field.minimum,
        "above": field.exclusive_minimum,
        "to": field.maximum,
        "below": field.exclusive_maximum,
    }
    yield from [f"{word} {value:g}" for word, value in known.items() if value is not None]


def may_be_left_out(field: Field) -> bool:
    """Whether nothing is an answer."""
    return not field.required or field.nullable


def left_out(field: Field) -> Any:
    """What nothing stands for."""
    return None if field.required else ABSENT


def text_of(value: Any) -> str:
    """A value as it would be typed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def typed(prompt: str) -> str:
    """A line that somebody types."""
    print(clean(prompt), end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)
        raise UsageError("nothing more was typed; nothing was sent.")
    return line.rstrip("\n")


def say(text: str) -> None:
    """Tell who answers something."""
    for line in text.splitlines():
        print(clean(line), file=sys.stderr, flush=True)


# --------------------------------------------------------------------------------- without a terminal


def filled(form: Form, given: Iterable[str]) -> Any:
    """The answer that `--set` options make: `field=value`, `group.field=value`, and of a list one for each item.

    The only field of a form without names is `value`. Errors: `UsageError`, naming what is missing or wrong.
    """
    only = form.is_single
    fields = (structs.replace(form.fields[0], name="value"),) if only else form.fields
    answer: dict[str, Any] = {}
    for text in given:
        path, is_set, value = text.partition("=")
        if not is_set:
            raise UsageError(f"--set {text!r:.80} is not FIELD=VALUE.")
        put(answer, fields, path, path.split("."), value)
    check_complete(fields, answer)
    return answer["value"] if only else answer


def put(
    answer: dict[str, Any], fields: Iterable[Field], path: str, steps: list[str], text: str
) -> None:
    """Set one field, which may be in a group."""
    name, *rest = steps
    field = next((each for each in fields if each.name == name), None)
    if field is None:
        known = ", ".join(each.name for each in fields)
        raise UsageError(f"--set {path}: there is no field {name!r}.", hint=f"one of {known}.")
    try:
        if rest and field.kind == forms.GROUP:
            put(answer.setdefault(name, {}), field.fields, path, rest, text)
        elif rest:
            raise UsageError(f"--set {path}: {name!r} has no fields.")
        elif field.kind == forms.LIST and field.item is not None and not text.startswith("["):
            answer.setdefault(name, []).append(read(field.item, text))
        else:
            answer[name] = read(field, text)
    except BadValue as error:
        raise UsageError(f"--set {path}: {error.message}") from None


def check_complete(fields: Iterable[Field], answer: Any, before: str = "") -> None:
    """Errors: `UsageError` for a field that is needed and was not set."""
    lacking = [
        field
        for field in fields
        if field.required and not field.nullable and field.name not in answer
    ]
    if lacking:
        names = ", ".join(f"{before}{field.name}" for field in lacking)
        raise UsageError(
            f"not set, and needed: {names}.", hint="--set FIELD=VALUE, for each; or on a terminal."
        )
    for field in fields:
        if field.name not in answer and field.required:
            answer[field.name] = None
        elif field.kind == forms.GROUP and isinstance(answer.get(field.name), dict):
            check_complete(field.fields, answer[field.name], f"{before}{field.name}.")
