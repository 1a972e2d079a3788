"""What stands for a value whose class is not registered here, where somebody only wants to look."""

from __future__ import annotations

from typing import Any


class StandIn:
    """Says which class a value is of, and holds what was stored of it, so that it can be stored again as it was."""

    __slots__ = ("name", "parts", "tag")

    def __init__(self, tag: int, parts: list[Any]) -> None:
        self.tag = tag
        self.parts = parts
        self.name = parts[0] if parts and isinstance(parts[0], str) else f"kind {tag}"

    def __repr__(self) -> str:
        return f"<not registered: {self.name}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StandIn):
            return NotImplemented
        return (self.tag, self.parts) == (other.tag, other.parts)

    def __hash__(self) -> int:
        return hash((self.tag, self.name))
