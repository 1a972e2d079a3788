"""One by one: what becomes ready first is dispatched first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from treadle.interfaces import View
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome, Runnable
from treadle.schedulers.bundling import single

WHY: Final = "every runnable has a bundle of its own"


class DefaultScheduler:
    """Gives each runnable a bundle of its own, in the order in which they became ready.

    Each is retried, timed and cancelled for itself, and its outcome is stored as soon as it is there. Where steps are
    so short that dispatching them costs more than running them, see the others.
    """

    def plan(self, ready: Sequence[Runnable], view: View) -> list[Bundle]:  # noqa: ARG002 - it asks nothing
        """One bundle each, in the order given."""
        return [single(runnable, WHY) for runnable in ready]

    def observe(self, outcome: Outcome) -> None:
        """Learns nothing."""
