"""Gates: what is remembered of one limit, rate or circuit breaker, and whether anybody may pass now.

One gate stands for one key, over all runs. What exactly is wanted of it (a number, a `RateLimit`, a `CircuitBreaker`)
comes with each question, since two policies may share a key and differ in that. Pure: `now` is given, in seconds.
"""

# ruff: noqa: ARG002 - the kinds of gates are asked alike, whatever each needs to know

from __future__ import annotations

from collections import deque
from typing import Any, Final, TypeAlias

from treadle.policies.policy import CircuitBreaker, RateLimit

ALWAYS: Final = float("inf")
NO_MORE: Final = float("-inf")


class LimitGate:
    """Who is at work under one limit: never more than it allows."""

    def __init__(self) -> None:
        self.live: set[int] = set()

    def blocks(self, wanted: int, now: float) -> bool:
        """Whether nobody may pass."""
        return len(self.live) >= wanted

    def opens_at(self, wanted: int) -> float | None:
        """When it opens by itself: never, somebody must finish."""
        return None

    def take(self, number: int, wanted: int, now: float) -> None:
        """A claim passes."""
        self.live.add(number)

    def give_back(self, number: int, wanted: int, now: float, *, failed: bool | None) -> None:
        """A claim ended."""
        self.live.discard(number)

    def needed_until(self) -> float:
        """When it can be forgotten."""
        return ALWAYS if self.live else NO_MORE

    def why(self, wanted: int, now: float) -> str:
        """Why nobody may pass, in words."""
        return f"{len(self.live)} of {wanted} at work"

    def told(self) -> dict[str, Any]:
        """What is remembered, JSON-ready."""
        return {"live": len(self.live)}


class RateGate:
    """When the last ones began: at most `count` within any `per_s` seconds.

    It keeps as many moments as the largest count that was wanted of it.
    """

    def __init__(self) -> None:
        self.starts: deque[float] = deque()
        self.count = 0
        self.per_s = 0.0
        self.newest: int | None = None

    def blocks(self, wanted: RateLimit, now: float) -> bool:
        """Whether one more start would be one too many."""
        at = self.opens_at(wanted)
        return at is not None and at > now

    def opens_at(self, wanted: RateLimit) -> float | None:
        """When the oldest of the last `count` starts leaves the window."""
        if len(self.starts) < wanted.count:
            return None
        return self.starts[-wanted.count] + wanted.per_s

    def take(self, number: int, wanted: RateLimit, now: float) -> None:
        """A claim passes; once, also where it wants two things of this gate."""
        self.count = max(self.count, wanted.count)
        self.per_s = max(self.per_s, wanted.per_s)
        if number != self.newest:
            self.newest = number
            self.starts.append(now)
        while len(self.starts) > self.count:
            self.starts.popleft()

    def give_back(self, number: int, wanted: RateLimit, now: float, *, failed: bool | None) -> None:
        """A claim ended: that it began is still so."""

    def needed_until(self) -> float:
        """When it can be forgotten: the last start has left the longest window."""
        return self.starts[-1] + self.per_s if self.starts else NO_MORE

    def why(self, wanted: RateLimit, now: float) -> str:
        """Why nobody may pass, in words."""
        at = self.opens_at(wanted) or now
        return f"{wanted.count} began within {wanted.per_s:g} s, the next may in {max(0.0, at - now):.3g} s"

    def told(self) -> dict[str, Any]:
        """What is remembered, JSON-ready."""
        return {"starts": len(self.starts), "last_at": self.starts[-1] if self.starts else None}


class BreakerGate:
    """How many failed in a row; when too many had, and whether one is out to try again.

    Those that were at work when it opened say nothing any more: only the one that tries again closes it.
    """

    def __init__(self) -> None:
        self.live: set[int] = set()
        self.failures = 0
        self.opened_at: float | None = None
        self.trial: int | None = None

    def blocks(self, wanted: CircuitBreaker, now: float) -> bool:
        """Whether it is open, or half open with its one attempt out."""
        if self.opened_at is None:
            return False
        return self.trial is not None or now < self.opened_at + wanted.reset_s

    def opens_at(self, wanted: CircuitBreaker) -> float | None:
        """When one may try again; None while one does."""
        if self.opened_at is None or self.trial is not None:
            return None
        return self.opened_at + wanted.reset_s

    def take(self, number: int, wanted: CircuitBreaker, now: float) -> None:
        """A claim passes: as the one that decides, unless the breaker is closed."""
        self.live.add(number)
        if self.opened_at is not None:
            self.trial = number

    def give_back(
        self, number: int, wanted: CircuitBreaker, now: float, *, failed: bool | None
    ) -> None:
        """A claim ended; None counts neither way, and so leaves the deciding to another."""
        if number not in self.live:
            return
        self.live.discard(number)
        if number == self.trial:
            self.trial = None
            if failed is False:
                self.opened_at, self.failures = None, 0
            elif failed:
                self.opened_at = now
        elif self.opened_at is None and failed is not None:
            self.failures = self.failures + 1 if failed else 0
            if self.failures >= wanted.failures:
                self.opened_at = now

    def needed_until(self) -> float:
        """When it can be forgotten: what failed counts until something succeeds."""
        return ALWAYS if self.live or self.failures else NO_MORE

    def why(self, wanted: CircuitBreaker, now: float) -> str:
        """Why nobody may pass, in words."""
        if self.trial is not None:
            return "one attempt is out to decide whether it closes"
        at = self.opens_at(wanted) or now
        return f"open after {self.failures} failures in a row, tries again in {max(0.0, at - now):.3g} s"

    def told(self) -> dict[str, Any]:
        """What is remembered, JSON-ready."""
        state = "closed" if self.opened_at is None else "open" if self.trial is None else "trying"
        return {"state": state, "failures": self.failures, "opened_at": self.opened_at}


Gate: TypeAlias = LimitGate | RateGate | BreakerGate
