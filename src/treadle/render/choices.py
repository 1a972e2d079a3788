"""Refusing what a picture cannot be."""

from __future__ import annotations

from typing import Any

from treadle.errors import UsageError


def check_choice(what: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the choices, naming them all."""
    if not (isinstance(value, str) and value in choices):
        listed = ", ".join(map(repr, choices))
        raise UsageError(f"{what}={value!r:.80} cannot be drawn.", hint=f"choose one of {listed}.")
