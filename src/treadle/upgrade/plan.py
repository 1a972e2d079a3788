"""What an upgrade would do to one run, before it is done: rows for programs, a text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from treadle.errors import CodeChanged
from treadle.model.events import Event
from treadle.upgrade.carry import decided, upgraded
from treadle.upgrade.differences import compare, recorded_run
from treadle.upgrade.rules import REFUSE
from treadle.value import Workflow


class Plan(Struct, frozen=True):
    """What would become of one run.

    `goes_on`: it would be continued. `is_fork`: as a run of its own, under `run_key`. `why_not` is the message of
    the error where it would not. `rows` has one JSON-ready dict for each component.
    """

    workflow: str
    goes_on: bool
    is_fork: bool
    run_key: str | None
    why_not: str
    rows: tuple[dict[str, Any], ...]

    def data(self) -> dict[str, Any]:
        """This plan as a JSON-ready dict."""
        return {
            "workflow": self.workflow,
            "goes_on": self.goes_on,
            "is_fork": self.is_fork,
            "run_key": self.run_key,
            "why_not": self.why_not,
            "components": list(self.rows),
        }

    def text(self, title: str = "") -> str:
        """This plan in words; what is the same is only counted. `title`: the run's id, say."""
        changed = [row for row in self.rows if row["change"] != "same"]
        same = len(self.rows) - len(changed)
        lines = [f"{title or self.workflow}: {self._verdict(bool(changed))}"]
        width = max((len(row["component"]) for row in changed), default=0)
        for row in changed:
            how = [word for word in ("used", "pending") if row[word]] or ["not used"]
            lines.append(
                f"  {row['component']:<{width}}  {row['change'].replace('_', ' ')} ({', '.join(how)}): "
                f"{row['detail']}"
            )
            lines.append(f"  {'':<{width}}  {row['policy']}: {row['would']}")
        if same:
            lines.append(f"  {same} component{'' if same == 1 else 's'} the same")
        if not self.goes_on and all(row["policy"] != REFUSE for row in changed):
            lines.extend(f"  {line.strip()}" for line in self.why_not.splitlines())
        return "\n".join(lines)

    def _verdict(self, is_changed: bool) -> str:  # noqa: FBT001 - one private caller
        if not self.goes_on:
            return "would not go on"
        if self.is_fork:
            return f"would go on as a fork, run key {self.run_key!r}"
        return "would go on" if is_changed else "would go on, unchanged"


def plan(
    definition: Workflow,
    events: Iterable[Event],
    on_code_change: Any = REFUSE,
    *,
    earlier: Iterable[Workflow] = (),
    components: Mapping[str, Any] | None = None,
) -> Plan:
    """What `upgraded` would do with the same arguments, component by component. Nothing is changed.

    Errors: `LogError` if the log is damaged or of another workflow.
    """
    logged, known = list(events), list(earlier)
    differences = compare(definition, logged, earlier=known, components=components)
    run = recorded_run(definition, logged, known, components)
    words = decided(differences, on_code_change, run, definition)
    rows = [
        {
            "component": each.component,
            "kind": each.kind,
            "change": each.change,
            "recorded": each.recorded,
            "today": each.today,
            "used": each.used,
            "pending": each.pending,
            "has_code": each.has_code,
            "detail": each.detail,
            "policy": words[each.component],
            "would": each.would(words[each.component]),
        }
        for each in differences
    ]
    why_not, key = "", run.run_key
    try:
        done = upgraded(definition, logged, on_code_change, earlier=known, components=components)
        key = done.run_key
    except CodeChanged as error:
        why_not = str(error)
    is_fork = not why_not and key != run.run_key
    return Plan(definition.name, not why_not, is_fork, key, why_not, tuple(rows))
