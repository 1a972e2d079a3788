"""Adaptive: measured durations decide what is run at once, what shares a slot, and what has one of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from treadle.errors import Cancelled, UsageError
from treadle.interfaces import View
from treadle.model.bundles import Bundle
from treadle.model.runnables import FAILED, Outcome, Runnable
from treadle.schedulers.arguments import check_count, check_number
from treadle.schedulers.bundling import Placed, destination, in_order, share, single, slots_of

ALPHA: Final = 0.3
"""How much the newest measurement counts against all before it."""

INLINE: Final = "inline"
"""The executor that runs a bundle in the runner's own thread."""

SIZE_MAX: Final = 1024
"""No bundle is larger, however quick its members."""


class Estimate:
    """What was seen of one node: moving averages of its seconds and of its failures."""

    __slots__ = ("count", "errors", "seconds")

    def __init__(self) -> None:
        self.count = 0
        """How often its seconds were measured."""
        self.seconds = 0.0
        self.errors = 0.0

    def take(self, outcome: Outcome) -> None:
        """Learn from an outcome. How long a failure took says little of how long a success takes."""
        failed = outcome.status == FAILED
        self.errors += ALPHA * (failed - self.errors)
        seconds = outcome.seconds
        if failed or seconds is None or not 0.0 <= seconds < math.inf:
            return
        self.seconds += (ALPHA if self.count else 1.0) * (seconds - self.seconds)
        self.count += 1


UNKNOWN: Final = Estimate()
"""Of what was never seen; it takes no outcome."""


class AdaptiveScheduler:
    """Learns how long each component takes and how often it fails, and bundles accordingly.

    - quick (under `inline_below_s`): run in the runner's own thread, many in one bundle; unless its policy names an
      executor;
    - medium (under `bundle_below_s`): batched, so that a batch takes about `bundle_s`, or less where slots are free;
    - slow, unreliable (more than `unreliable_above` of its attempts fail), async, or seen fewer than `warm_up` times:
      dispatched singly.

    All times are in seconds. Averages are exponential (the newest counts 30 %), so a component that changes its ways is
    found out after a few outcomes. One scheduler may serve many runs: it keeps two numbers per component.

    Errors: `UsageError` for thresholds that cannot be.
    """

    def __init__(
        self,
        *,
        inline_below_s: float = 0.0002,
        bundle_below_s: float = 0.005,
        bundle_s: float = 0.02,
        unreliable_above: float = 0.1,
        warm_up: int = 3,
    ) -> None:
        check_number("inline_below_s", inline_below_s, 0.0, 1.0, "0 means that nothing is inlined.")
        check_number("bundle_below_s", bundle_below_s, 0.0, math.inf, "0 means no batches.")
        check_number("bundle_s", bundle_s, 0.0, math.inf, "how long one batch may take, about.")
        check_number("unreliable_above", unreliable_above, 0.0, 1.0, "a ratio: 0.1 is 10 %.")
        check_count("warm_up", warm_up, 1, "how often to measure before deciding anything.")
        if bundle_below_s < inline_below_s:
            raise UsageError(
                f"bundle_below_s={bundle_below_s} is less than inline_below_s={inline_below_s}.",
                hint="what is quick enough for a bundle is slower than what is run inline.",
            )
        self.inline_below_s = inline_below_s
        self.bundle_below_s = bundle_below_s
        self.bundle_s = bundle_s
        self.unreliable_above = unreliable_above
        self.warm_up = warm_up
        self._seen: dict[tuple[str, int], Estimate] = {}

    def observe(self, outcome: Outcome) -> None:
        """Learn from an outcome; that somebody cancelled the work says nothing of it."""
        if isinstance(outcome.exception, Cancelled):
            return
        self._seen.setdefault((outcome.node, outcome.generation), Estimate()).take(outcome)

    def plan(self, ready: Sequence[Runnable], view: View) -> list[Bundle]:
        """Inlined, batched and single runnables, in the order in which their first members were given."""
        placed: list[Placed] = []
        sharing: dict[tuple[str, bool], list[tuple[int, Runnable]]] = {}
        for place, runnable in enumerate(ready):
            why = self._why_alone(runnable, view)
            if why is not None:
                placed.append((place, single(runnable, why)))
                continue
            group = (view.executor_of(runnable), self._is_inlined(runnable, view))
            sharing.setdefault(group, []).append((place, runnable))
        for (executor, inlined), members in sharing.items():
            if inlined:
                placed += self._inline(members)
            else:
                placed += self._batches(members, executor, view)
        return in_order(placed)

    def _estimate(self, runnable: Runnable) -> Estimate:
        return self._seen.get((runnable.node, runnable.generation), UNKNOWN)

    def _why_alone(self, runnable: Runnable, view: View) -> str | None:
        """Why a runnable should have a slot of its own; None: it need not."""
        name, seen = repr(runnable.component), self._estimate(runnable)
        if runnable.is_async:
            return f"{name} is async, and waits beside others"
        if not view.may_bundle(runnable):
            return f"the policy of {name} keeps it apart"
        if runnable.is_fallback:
            return f"it is the fallback of {name}, and was not measured"
        if seen.errors > self.unreliable_above:
            return f"{name} fails in about {seen.errors:.0%} of its attempts"
        if seen.count < self.warm_up:
            return f"{name} was measured {seen.count} times, and {self.warm_up} are needed"
        if seen.seconds >= self.bundle_below_s:
            return f"{name} takes about {milliseconds(seen.seconds)}"
        return None

    def _is_inlined(self, runnable: Runnable, view: View) -> bool:
        quick = self._estimate(runnable).seconds < self.inline_below_s
        return quick and view.policy_of(runnable).executor is None

    def _inline(self, members: list[tuple[int, Runnable]]) -> Iterable[Placed]:
        """Bundles for the runner's own thread, none of which holds it up for long."""
        for place, part in self._cut(members, SIZE_MAX):
            each = milliseconds(self._seconds(part) / len(part))
            reason = f"{share(part, len(members))} run inline: about {each} each"
            yield place, Bundle(runnables=part, executor=INLINE, reason=reason)

    def _batches(
        self, members: list[tuple[int, Runnable]], executor: str, view: View
    ) -> Iterable[Placed]:
        """Batches for an executor; where slots would stay free, smaller ones."""
        fair = -(-len(members) // slots_of(view, executor))
        for place, part in self._cut(members, min(SIZE_MAX, fair)):
            each = milliseconds(self._seconds(part) / len(part))
            reason = f"{share(part, len(members))} in one batch: about {each} each, {destination(view, executor)}"
            yield place, Bundle(runnables=part, reason=reason)

    def _cut(
        self, members: list[tuple[int, Runnable]], size_max: int
    ) -> Iterable[tuple[int, tuple[Runnable, ...]]]:
        """Parts that take about `bundle_s` each, and the place of the first member of each."""
        part: list[Runnable] = []
        first, seconds = 0, 0.0
        for place, runnable in members:
            expected = self._estimate(runnable).seconds
            if part and (len(part) >= size_max or seconds + expected / 2 > self.bundle_s):
                yield first, tuple(part)
                part, seconds = [], 0.0
            if not part:
                first = place
            part.append(runnable)
            seconds += expected
        yield first, tuple(part)

    def _seconds(self, part: Iterable[Runnable]) -> float:
        return sum(self._estimate(runnable).seconds for runnable in part)


def milliseconds(seconds: float) -> str:
    """A short time in words: `0.05 ms`, `12 ms`."""
    return f"{seconds * 1000:.3g} ms" if seconds < 0.999 else f"{seconds:.3g} s"
