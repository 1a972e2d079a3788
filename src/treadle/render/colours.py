"""The colours of all pictures: by kind of component, or by status where state is shown."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from treadle.views.graph import ComponentEntry

_SLATE: Final = "#1e293b"


class Colours(Struct, frozen=True):
    """Of a node: its outline and its text, on its ground."""

    stroke: str
    text: str
    fill: str = _SLATE


OF_ROOT: Final = Colours("#94a3b8", "#f8fafc")
OF_OUTPUT: Final = Colours("#10b981", "#34d399")
OTHER: Final = Colours("#94a3b8", "#cbd5e1")

OF_KIND: Final = {
    "step": Colours("#3b82f6", "#60a5fa"),
    "rule": Colours("#f59e0b", "#fbbf24"),
    "condition": Colours("#f59e0b", "#fbbf24"),
    "map": Colours("#8b5cf6", "#a78bfa"),
    "reduce": Colours("#8b5cf6", "#a78bfa"),
    "collect": Colours("#8b5cf6", "#a78bfa"),
    "accumulator": Colours("#ec4899", "#f472b6"),
}

OF_STATUS: Final = {
    "done": Colours("#10b981", "#a7f3d0", "#064e3b"),
    "failed": Colours("#ef4444", "#fecaca", "#7f1d1d"),
    "waiting": Colours("#f59e0b", "#fde68a", "#78350f"),
    "ready": Colours("#3b82f6", "#bfdbfe", "#1e3a8a"),
    "idle": Colours("#475569", "#94a3b8"),
}


def of_component(entry: ComponentEntry) -> Colours:
    """By status where it is known, else green for an output, else by kind."""
    status = entry.get("status")
    if status is not None:
        return OF_STATUS[status]
    return OF_OUTPUT if entry["is_output"] else OF_KIND.get(entry["kind"], OTHER)
