"""What schedulers share: cutting runnables into bundles, and saying in plain words why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from treadle.interfaces import View
from treadle.model.bundles import Bundle
from treadle.model.cohorts import Cohort
from treadle.model.runnables import Runnable

Placed: TypeAlias = tuple[int, Bundle]
"""A bundle, and where in the given order its first runnable stood."""

SLOTS_MAX: Final = 1024
"""An executor that sets no limit has hardly more real slots than this, so batches are cut as if it had so many."""

NAMES_MAX: Final = 3
"""How many components a reason names."""


def single(runnable: Runnable, why: str) -> Bundle:
    """One runnable by itself."""
    return Bundle(runnables=(runnable,), reason=f"alone: {why}")


def in_order(placed: Iterable[Placed]) -> list[Bundle]:
    """The bundles in the order in which their first runnables were given."""
    return [bundle for _, bundle in sorted(placed, key=lambda each: each[0])]


def slots_of(view: View, executor: str) -> int:
    """How many bundles that executor can be thought to run at once."""
    return max(1, min(view.capacity_of(executor), SLOTS_MAX))


def destination(view: View, executor: str) -> str:
    """Where a batch goes, in words."""
    capacity = view.capacity_of(executor)
    if capacity > SLOTS_MAX:
        return f"they go to {executor!r}, which takes as many as come"
    return f"they go to {executor!r}, {capacity} at once"


def share(runnables: Sequence[Runnable], total: int) -> str:
    """How much of what is in one bundle, in words: `3 of 40 items of 'score'`."""
    some = runnables[:1] if isinstance(runnables, Cohort) else runnables
    names = list(dict.fromkeys(repr(each.component) for each in some))
    more = len(names) - NAMES_MAX
    listed = ", ".join(names[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
    return f"{len(runnables)} of {total} items of {listed}"
