"""What an upgrade would do to one run, before it is done: rows for programs, a text for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from treadle.errors import CodeChanged
from treadle.model.events import Event
from treadle.upgrade.carry import carried, decided
from treadle.upgrade.differences import Difference, compare, compare_run, recorded_run
from treadle.upgrade.rules import REFUSE
from treadle.value import Workflow

ALIKE: Final = ("component", "change", "detail", "policy", "would")
"""What a difference of one run has in common with the same difference of another."""

USE: Final = re.compile(r" \((used|pending|used, pending)\)")


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

    @property
    def changed(self) -> list[dict[str, Any]]:
        """The rows of the components that differ."""
        return [row for row in self.rows if row["change"] != "same"]

    def likeness(self) -> tuple[Any, ...]:
        """What would happen, without what is this run's alone: runs of the same likeness can be told as one."""
        rows = [tuple([row[name] for name in ALIKE]) for row in self.changed]
        why = re.sub(r"\d+", "", self.why_not) if all(row[-2] != REFUSE for row in rows) else ""
        return (self.goes_on, self.is_fork, tuple(rows), USE.sub("", why))

    def text(self, title: str = "") -> str:
        """This plan in words; what is the same is only counted. `title`: the run's id, say."""
        changed = self.changed
        same = len(self.rows) - len(changed)
        lines = [f"{title or self.workflow}: {self._verdict(bool(changed))}"]
        width = max((len(row["component"]) for row in changed), default=0)
        for row in changed:
            how = [
                word if row[word] is True else f"{word} in {row[word]}"
                for word in ("used", "pending")
                if row[word]
            ] or ["not used"]
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
    if not logged:
        same = compare(definition, logged)
        rows = rows_of(same, decided(same, on_code_change, definition, definition))
        return Plan(definition.name, True, False, definition.run_key, "", rows)  # noqa: FBT003
    run = recorded_run(definition, logged, known, components)
    differences = compare_run(definition, logged, run, components)
    words = decided(differences, on_code_change, run, definition)
    why_not, key = "", run.run_key
    try:
        key = carried(definition, logged, run, differences, words).run_key
    except CodeChanged as error:
        why_not = str(error)
    is_fork = not why_not and key != run.run_key
    rows = rows_of(differences, words)
    return Plan(definition.name, not why_not, is_fork, key, why_not, rows)


def rows_of(
    differences: Iterable[Difference], words: Mapping[str, str]
) -> tuple[dict[str, Any], ...]:
    """One JSON-ready dict for each component: how it differs, and what is to be done."""
    return tuple(
        [
            {
                "component": each.component,
                "kind": each.kind,
                "change": each.change,
                "recorded": each.recorded,
                "today": each.today,
                "used": each.used,
                "pending": each.pending,
                "has_code": each.has_code,
                "first": each.first,
                "detail": each.detail,
                "policy": words[each.component],
                "would": each.would(words[each.component]),
            }
            for each in differences
        ]
    )
