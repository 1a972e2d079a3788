"""What is written below a component's name where state is shown."""

from __future__ import annotations

from treadle.views.graph import COUNTS, ComponentEntry


def counted(entry: ComponentEntry) -> list[str]:
    """How many are done, failed, waiting ...: one line, or none if there is nothing to say."""
    counts = entry.get("counts", {})
    told = [f"{counts[what]} {what.replace('_', ' ')}" for what in COUNTS if counts.get(what)]
    return [", ".join(told)] if told else []
