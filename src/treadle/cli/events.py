"""One event of a log as a line for people, or as an object for programs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import structs

from treadle.cli.jsonl import as_json, told
from treadle.cli.terminal import clean
from treadle.model.errordata import ErrorData
from treadle.model.events import (
    Applied,
    AttemptFailed,
    Baseline,
    Defined,
    Event,
    Expanded,
    Failed,
    InputAccepted,
    Path,
    Planned,
    ScopeCancelled,
    Signalled,
    Skipped,
    TimerFired,
    WaitOpened,
)

VALUE_MAX: Final = 160
"""So much of a value stands in a line."""


def line_of(event: Event) -> str:
    """An event in a line: where it stands, what happened, to what, and what came of it."""
    node = getattr(event, "node", getattr(event, "name", ""))
    scope = getattr(event, "scope", None)
    parts = [
        f"{event.position:>6}",
        f"{type(event).__name__:<16}",
        *([node] if isinstance(node, str) and node else []),
        *([place_of(scope)] if scope else []),
        *details(event),
    ]
    return clean("  ".join(parts))


def place_of(scope: Path) -> str:
    """Which input, and which item in it.

    >>> place_of((3,)), place_of((3, 0, 2))
    ('input 3', 'input 3, item 0.2')
    """
    item = ".".join(map(str, scope[1:]))
    return f"input {scope[0]}, item {item}" if item else f"input {scope[0]}"


def details(event: Event) -> Iterable[str]:
    """What an event of its kind tells besides where."""
    match event:
        case InputAccepted():
            yield short(event.value)
            if event.key is not None:
                yield f"key {event.key!r}"
        case Applied():
            yield short(event.value)
            yield from tries(event.attempt)
        case Expanded():
            yield f"{len(event.values)} items"
        case AttemptFailed():
            yield of_error(event.error)
            yield f"attempt {event.attempt}"
            yield "falls back" if event.fallback else again(event.retry_at)
        case Failed():
            yield of_error(event.error)
            yield from tries(event.attempt)
            yield from [event.on_failure] if event.on_failure != "block" else []
        case Skipped():
            yield "nothing" if event.error is None else of_error(event.error)
        case Planned():
            yield from [f"held: {', '.join(event.held)}"] if event.held else []
            yield from [f"{name}: {of_error(error)}" for name, error in event.failed]
        case WaitOpened():
            yield awaited(event.name, event.key, event.due_at)
        case Signalled():
            yield short(event.value)
            yield from [] if event.key is None else [f"key {event.key!r}"]
        case TimerFired():
            yield from [] if event.at is None else [moment(event.at)]
        case ScopeCancelled():
            yield event.reason or "no reason given"
        case Defined():
            yield f"{len(event.components)} components"
        case Baseline():
            yield f"all before it, of {event.defined.name!r}"
        case _:
            component = getattr(event, "component", None)
            yield from [] if component is None else [component.name]


def awaited(name: str, key: Any, due_at: float | None) -> str:
    """What is waited for, and how long."""
    which = f"for the signal {name!r}" if name else "for its moment"
    told_key = "" if key is None else f" of key {key!r}"
    until = "" if due_at is None else f" until {moment(due_at)}"
    return f"{which}{told_key}{until}"


def tries(attempt: int) -> list[str]:
    """Which attempt it was, if it was not the first."""
    return [f"attempt {attempt}"] if attempt > 1 else []


def again(retry_at: float | None) -> str:
    """When the next attempt is."""
    return "tried again" if retry_at is None else f"tried again at {moment(retry_at)}"


def moment(at: float) -> str:
    """A time on the wall, in the place's own zone."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def of_error(error: ErrorData) -> str:
    """An error in one line."""
    return short_text(str(error))


def short(value: Any) -> str:
    """A value in one line, as much of it as there is room for."""
    return short_text(as_text(value))


def as_text(value: Any) -> str:
    """A value as JSON, where that says what it is; else its repr."""
    return bytes(as_json(value)).decode() if is_json(value) else told(value)


def is_json(value: Any) -> bool:
    """Whether a value is one that JSON has."""
    return isinstance(value, (str, int, float, bool, list, dict, type(None)))


def short_text(text: str) -> str:
    """Text that is cut where it is too long for a line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= VALUE_MAX else flat[: VALUE_MAX - 3] + "..."


def object_of(event: Event) -> dict[str, Any]:
    """An event as data: its kind, and its fields by name."""
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    if isinstance(event, Baseline):
        del fields["state"]
    return {"event": type(event).__name__} | {name: plain(value) for name, value in fields.items()}


def plain(value: Any) -> Any:
    """A field as JSON has it."""
    if isinstance(value, ErrorData):
        return structs.asdict(value) | {"causes": [plain(each) for each in value.causes]}
    if isinstance(value, msgspec.Struct):
        return as_json(msgspec.to_builtins(value, enc_hook=told))
    return as_json(value)
