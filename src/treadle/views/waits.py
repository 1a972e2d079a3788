"""Waits: who waits for what, since when and until when, JSON-ready but for the user's value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from treadle.engine.waits import waits_in_order
from treadle.model import nodes as kinds
from treadle.model.forms import Form, form_from
from treadle.model.work import Wait
from treadle.views.reading import number_of

if TYPE_CHECKING:
    from treadle.timed import Timed


def waiting(workflow: Timed, input: Any) -> list[dict[str, Any]]:
    """The waits of all inputs, or of one, in the order of opening."""
    with workflow.reading() as memory:
        number = None if input is None else number_of(memory, input)
        return [
            told(unit)
            for unit in waits_in_order(memory)
            if number is None or unit.scope.root.number == number
        ]


def told(unit: Wait) -> dict[str, Any]:
    """One wait."""
    opened, shape = unit.opened, unit.node.shape
    return {
        "name": unit.node.component,
        "key": None if opened is None else opened.key,
        "kind": "wait_for" if shape.kind == kinds.WAIT else "sleep",
        "scope": unit.scope.path,
        "input": unit.scope.root.number,
        "value": unit.args[0],
        "since": None if opened is None else opened.at,
        "timeout_s": None if opened is None else opened.timeout_s,
        "due_at": unit.due_at,
        "schema": None if shape.schema is None else msgspec.json.decode(shape.schema),
        "form": as_data(form_from(shape.schema)) if shape.kind == kinds.WAIT else None,
    }


def as_data(form: Form) -> dict[str, Any]:
    """A form as JSON has it."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(form))
    return found
