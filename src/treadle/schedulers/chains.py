"""Chains: what follows in sequence is run by the same worker, without a way back in between."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.interfaces import View
from treadle.model.bundles import Bundle
from treadle.model.runnables import Outcome, Runnable
from treadle.schedulers.arguments import check_count
from treadle.schedulers.bundling import single


class ChainScheduler:
    """Bundles a runnable with the plain steps that follow it, where those take its value and nothing else.

    A chain of n steps costs one dispatch instead of n. Its outcomes come back together: what a crash of the worker
    interrupts is done again from the head. `min_length` counts the head; shorter chains are not bundled.

    Errors: `UsageError` for a `min_length` below 2.
    """

    def __init__(self, min_length: int = 2) -> None:
        check_count(
            "min_length", min_length, 2, "a chain is at least one runnable and one step after it."
        )
        self.min_length = min_length

    def plan(self, ready: Sequence[Runnable], view: View) -> list[Bundle]:
        """One bundle for each, with what follows it, in the order given."""
        return [self._bundle(runnable, view) for runnable in ready]

    def _bundle(self, runnable: Runnable, view: View) -> Bundle:
        if not view.may_bundle(runnable):
            return single(runnable, f"the policy of {runnable.component!r} keeps it apart")
        links = view.chain_after(runnable)
        if 1 + len(links) < self.min_length:
            return single(runnable, f"{followers(len(links))} {runnable.component!r}")
        names = ", ".join(repr(link.component) for link in links)
        reason = f"a chain of {1 + len(links)}: {runnable.component!r}, then {names}"
        return Bundle(runnables=(runnable,), links=links, reason=reason)

    def observe(self, outcome: Outcome) -> None:
        """Learns nothing."""


def followers(count: int) -> str:
    """How many steps could go along, in words."""
    return f"{count or 'no'} plain step{'s' if count > 1 else ''} follow{'' if count > 1 else 's'}"
