"""A scheduler of your own: inputs take turns, so that a small one does not wait behind a large one.

    from fair_scheduler import FairScheduler

By default, what became ready first is dispatched first. An input that opens ten thousand items is then served before
all that became ready with it or after. Here each input that has ready work gets one slot, then each gets its second,
and so on; whoever has used least time so far begins. The turns are among what is ready together: work that was
planned before keeps its place.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import zip_longest

import treadle as td
from treadle.interfaces import View

REMEMBERED = 10_000
"""How many inputs' times are kept: without a limit, a scheduler that lives for months would grow for months."""


class FairScheduler:
    """Dispatches one runnable of each input in turn, the input that has used least time first."""

    def __init__(self) -> None:
        self.used_s: OrderedDict[tuple[str | None, int], float] = OrderedDict()

    def plan(self, ready: Sequence[td.Runnable], view: View) -> list[td.Bundle]:  # noqa: ARG002
        """Put each runnable into a bundle of its own, one input after the other."""
        queues: dict[tuple[str | None, int], list[td.Runnable]] = {}
        for runnable in ready:
            queues.setdefault((runnable.run_key, runnable.input), []).append(runnable)
        least_first = sorted(queues, key=lambda who: self.used_s.get(who, 0.0))  # stable
        turns = zip_longest(*[queues[who] for who in least_first])
        return [
            td.Bundle(runnables=(runnable,), reason=f"turn {number} of input {runnable.input}")
            for number, turn in enumerate(turns, 1)
            for runnable in turn
            if runnable is not None
        ]

    def observe(self, outcome: td.Outcome) -> None:
        """Add to the time that an input has used; one that was not measured costs nothing."""
        who = (outcome.run_key, outcome.scope[0])
        self.used_s[who] = self.used_s.pop(who, 0.0) + (outcome.seconds or 0.0)
        if len(self.used_s) > REMEMBERED:
            self.used_s.popitem(last=False)  # the one that was not heard of for longest
