"""Retention: how long runs that are over stay in a store, and how many of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from treadle.errors import UsageError
from treadle.interfaces import RunInfo, Store
from treadle.runner.stimuli import CANCELLED, IDLE, PARKED, STOPPED

FINISHED: Final = (IDLE, CANCELLED)
"""What is left of them to do is nothing."""
FAILED: Final = (PARKED, STOPPED)
"""They did not come to their end."""

AT_ONCE: Final = 32
"""So many runs are let go of at a time: others get a word in between."""
EVERY_S: Final = 60.0
"""How often the store is looked through when nothing was found."""


class Retention:
    """How long runs stay when they are over. None: for ever.

    `finished_for_s`: those that are idle or were cancelled; `failed_for_s`: those that were stopped or parked; seconds
    since anything last happened in them. `most`: how many idle and cancelled ones of a workflow stay at most, the
    latest of them. A run that is at work, waits, or has a message waiting is never let go of. One that is idle only
    between inputs is idle, too: give it time enough.

    Errors: `UsageError` for what says nothing, or less than 0.
    """

    __slots__ = ("failed_for_s", "finished_for_s", "most")

    def __init__(
        self,
        *,
        finished_for_s: float | None = None,
        failed_for_s: float | None = None,
        most: int | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "finished_for_s": finished_for_s,
            "failed_for_s": failed_for_s,
            "most": most,
        }
        for name, value in given.items():
            kinds = (int,) if name == "most" else (int, float)
            is_number = isinstance(value, kinds) and not isinstance(value, bool)
            if value is not None and (not is_number or not value >= 0):
                raise UsageError(f"Retention({name}={value!r:.80}): it is no number from 0 on.")
        if all(value is None for value in given.values()):
            raise UsageError(
                "Retention() would keep everything for ever.",
                hint="td.Retention(finished_for_s=30 * 86400)",
            )
        self.finished_for_s = finished_for_s
        self.failed_for_s = failed_for_s
        self.most = most

    def __repr__(self) -> str:
        said = [f"{name}={getattr(self, name)!r}" for name in self.__slots__]
        return f"Retention({', '.join(said)})"

    def due(self, infos: Iterable[RunInfo], now: float) -> list[RunInfo]:
        """Those of the runs of one workflow that have had their time, the longest unchanged first."""
        resting = [info for info in infos if info.wake_at is None and changed_at(info) is not None]
        finished = sorted(
            (info for info in resting if info.status in FINISHED), key=time_of, reverse=True
        )
        late = [] if self.most is None else finished[self.most :]
        found = {info.id: info for info in late}
        for statuses, kept_for_s in (
            (FINISHED, self.finished_for_s),
            (FAILED, self.failed_for_s),
        ):
            if kept_for_s is not None:
                before = now - kept_for_s
                old = (each for each in resting if each.status in statuses)
                found.update((each.id, each) for each in old if time_of(each) <= before)
        return sorted(found.values(), key=time_of)


def changed_at(info: RunInfo) -> float | None:
    """When something last happened in a run, as far as that is known."""
    return info.updated_at if info.updated_at is not None else info.created_at


def time_of(info: RunInfo) -> float:
    """When something last happened in a run."""
    return changed_at(info) or 0.0


def rules_from(given: Any) -> dict[str, Retention]:
    """By workflow: one `Retention` for all, or one for each name, `"*"` for the others. Errors: `UsageError`."""
    rules = {"*": given} if isinstance(given, Retention) else given
    if not isinstance(rules, Mapping) or not all(
        isinstance(name, str) and isinstance(rule, Retention) for name, rule in rules.items()
    ):
        raise UsageError(
            f"retention={given!r:.80} is neither a Retention nor a dict of them by workflow.",
            hint="retention=td.Retention(finished_for_s=30 * 86400)",
        )
    return dict(rules)


class Retiring:
    """Looks for runs that have had their time, among those of the workflows that a runner knows. For one thread."""

    def __init__(
        self,
        store: Store,
        rules: Any,
        names: Callable[[], Sequence[str]],
        now: Callable[[], float],
        owner: str,
    ) -> None:
        self._store = store
        self._rules = rules_from(rules)
        self._names = names
        self._now = now
        self._owner = owner
        self._next_at: float | None = None

    def look(self) -> list[RunInfo]:
        """A few that are due; none before it is time to look again."""
        now = self._now()
        if self._next_at is not None and now < self._next_at:
            return []
        found: list[RunInfo] = []
        for name in self._names():
            rule = self._rules.get(name) or self._rules.get("*")
            if rule is not None and len(found) < AT_ONCE:
                infos = self._store.list(workflow=name)
                due = rule.due(infos, now)
                found += [each for each in due if each.owner in (None, self._owner)]
        if len(found) < AT_ONCE:
            self._next_at = now + EVERY_S
        return found[:AT_ONCE]
