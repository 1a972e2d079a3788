"""What stands for a value whose class is not registered here, where somebody only wants to look."""

from __future__ import annotations

from typing import Any

from treadle.codec.objects import INSTANCE, MEMBER, STRUCT_KIND


class StandIn:
    """Says which class a value is of, and holds what was stored of it, so that it can be stored again as it was."""

    __slots__ = ("name", "parts", "tag")

    def __init__(self, tag: int, parts: list[Any]) -> None:
        self.tag = tag
        self.parts = parts
        self.name = parts[0] if parts and isinstance(parts[0], str) else f"kind {tag}"

    def stands_for(self) -> Any:
        """What can be seen of it without its class: its attributes by name, or of an `Enum` the member's name.

        None where only the class could tell.
        """
        if self.tag == MEMBER.tag:
            return self.parts[1]
        if self.tag == STRUCT_KIND.tag:
            return _pairs(self.parts[1:])
        if self.tag == INSTANCE.tag and self.parts[1] is None:
            return _pairs(self.parts[2:])
        return None

    def __repr__(self) -> str:
        return f"<not registered: {self.name}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StandIn):
            return NotImplemented
        return (self.tag, self.parts) == (other.tag, other.parts)

    def __hash__(self) -> int:
        return hash((self.tag, self.name))


def _pairs(parts: list[Any]) -> dict[str, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))
