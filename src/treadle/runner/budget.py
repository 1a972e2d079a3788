"""The retry budget: how many retries a runner may spend over all its runs. Pure: `now` is given, in seconds.

A service that is down fails all who call it, and if each tries again, more calls than ever come to a service that
cannot serve any. Backoff and jitter spread them, and a breaker looks at one key; the budget bounds them all.
"""

from __future__ import annotations

import math
from typing import Any

from msgspec import structs

from treadle.engine.execute import failed_outcome
from treadle.errors import RetryBudgetSpent, UsageError
from treadle.model.runnables import Outcome, Runnable


class RetryBudget:
    """At most `ratio` retries for each first attempt, and `per_s` a second besides, over all runs of the runner.

    What is not spent is saved, up to `burst` retries; a runner begins with so many.

    >>> RetryBudget(ratio=0.1)
    RetryBudget(ratio=0.1, per_s=10, burst=100)
    """

    __slots__ = ("burst", "per_s", "ratio")

    def __init__(self, ratio: float = 0.2, per_s: float = 10, burst: int = 100) -> None:
        for name, value in (("ratio", ratio), ("per_s", per_s)):
            if not is_number(value) or value < 0:
                raise UsageError(f"RetryBudget.{name}={value!r:.80} is not a number of at least 0.")
        if not is_number(burst) or burst < 1:
            raise UsageError(f"RetryBudget.burst={burst!r:.80} is not a number of at least 1.")
        self.ratio = ratio
        self.per_s = per_s
        self.burst = burst

    def __repr__(self) -> str:
        return f"RetryBudget(ratio={self.ratio:g}, per_s={self.per_s:g}, burst={self.burst:g})"


def is_number(value: Any) -> bool:
    """A finite number, and no truth."""
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


class Purse:
    """What is left of a budget."""

    __slots__ = ("at", "budget", "left", "refused")

    def __init__(self, budget: RetryBudget) -> None:
        self.budget = budget
        self.left = float(budget.burst)
        self.at: float | None = None
        """When time was last turned into retries."""
        self.refused = 0
        """How many retries there were not, since nothing was left."""

    def earn(self, count: int = 1) -> None:
        """There were so many first attempts."""
        self.left = min(self.left + count * self.budget.ratio, self.budget.burst)

    def spend(self, now: float) -> bool:
        """Take one retry out, if there is one."""
        budget = self.budget
        if self.at is not None and now > self.at:
            self.left = min(self.left + (now - self.at) * budget.per_s, budget.burst)
        self.at = now
        if self.left < 1:
            self.refused += 1
            return False
        self.left -= 1
        return True


def not_retried(runnable: Runnable, outcome: Outcome) -> Outcome:
    """A failure that would have been followed by another attempt, if there had been one left."""
    why = "" if outcome.error is None else f": {outcome.error}"
    error = RetryBudgetSpent(
        f"{runnable.component!r} failed and was not tried again: the retry budget of this runner is spent{why}",
        hint="if that many retries are as it should be, give the runner a larger retry_budget.",
    )
    error.__cause__ = outcome.exception
    return structs.replace(failed_outcome(runnable, error), seconds=outcome.seconds)
