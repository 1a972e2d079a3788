"""Gates that count over a fleet: one runner lets through its share of a limit, and knows what all know of a breaker.

They are the gates of `gates.py`, with a smaller limit: the share that the store gave, which is nothing until it was
asked, and nothing any more when it was not heard of for too long. What they want of the store they say by `wish`; what
it answers they are told. Pure.
"""

# ruff: noqa: ARG002 - the kinds of gates are asked alike, whatever each needs to know

from __future__ import annotations

from typing import Any, Final, Protocol, TypeAlias

from msgspec import structs

from treadle.model.quotas import BreakerNews, BreakerState, Quota, QuotaWish, Share, ShareWish
from treadle.policies.policy import CircuitBreaker, RateLimit
from treadle.runner.gates import ALWAYS, BreakerGate, LimitGate, RateGate

LINGER_S: Final = 10.0
"""How long a share is kept that nobody uses: the next claim need not wait for the store then."""


class Fleet(Protocol):
    """What a gate knows of the others."""

    def is_current(self) -> bool:
        """Whether what the store gave is still this runner's for certain."""
        ...

    def stir(self, key: tuple[str, str]) -> None:
        """Have the store asked soon, for this reason: once for each between two looks."""
        ...


class _Part:
    """A runner's part of something shared: what it has, and for how long it was of no use."""

    def __init__(self, key: tuple[str, str], fleet: Fleet) -> None:
        self.kind, self.key = key
        self.fleet = fleet
        self.room = self.held = 0
        self.is_pressed = False
        """Others want some of it."""
        self.is_listed = False
        """The store may have a row for it."""
        self.is_leaving = False
        self.idle_since: float | None = None

    def usable(self) -> int:
        """How many units there are to use now."""
        return self.room if self.room and self.fleet.is_current() else 0

    def stir(self) -> None:
        """Have the store asked soon."""
        self.fleet.stir((self.kind, self.key))

    def wish(
        self, count: int, per_s: float, in_use: int, waiting: int, now: float
    ) -> ShareWish | None:
        """What to ask the store for, if there is anything."""
        if in_use or waiting:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now
        since = self.idle_since
        self.is_leaving = since is not None and not since <= now < since + LINGER_S
        if self.is_leaving:
            self.room = 0
        keep = max(in_use, self.room)
        need = min(count, in_use + waiting)
        has_reason = self.is_pressed or need > self.room or self.held > keep
        if not (has_reason or (self.is_leaving and self.is_listed)):
            return None
        self.is_listed = True
        return ShareWish(
            kind=self.kind, key=self.key, count=count, per_s=per_s, keep=keep, need=need
        )

    def hear(self, share: Share) -> None:
        """What the store gave."""
        self.room, self.held = share.room, share.held
        self.is_pressed = share.held > share.room
        if self.is_leaving and not share.held:
            self.is_listed = False

    def void(self) -> None:
        """The store has given it to others: nothing was heard of this runner for too long."""
        self.room = self.held = 0

    def is_over(self) -> bool:
        """Whether it was let go of."""
        return self.is_leaving and not self.is_listed


class SharedLimitGate(LimitGate):
    """A limit over the fleet."""

    def __init__(self, key: tuple[str, str], fleet: Fleet) -> None:
        super().__init__()
        self.place = key
        self.part = _Part(key, fleet)
        self.count = 1

    def blocks(self, wanted: int, now: float) -> bool:
        """Whether nobody may pass here; whoever is short of more than the others have is."""
        self.count = wanted
        live = len(self.live)
        if live >= wanted:
            return True
        if live < self.part.usable():
            return False
        self.part.stir()
        return True

    def give_back(self, number: int, wanted: int, now: float, *, failed: bool | None) -> None:
        """A claim ended; if others wait for its unit, they are to have it soon."""
        super().give_back(number, wanted, now, failed=failed)
        if self.part.is_pressed:
            self.part.stir()

    def needed_until(self) -> float:
        """When it can be forgotten: not by itself, but when the store was told."""
        return ALWAYS

    def wish(self, waiting: int, now: float) -> QuotaWish | None:
        """What to ask the store for."""
        return self.part.wish(self.count, 0.0, len(self.live), waiting, now)

    def unsay(self) -> None:
        """The store did not hear the question: it is put again."""

    def void(self) -> None:
        """What it had is somebody else's."""
        self.part.void()

    def is_over(self) -> bool:
        """Whether it can be forgotten."""
        return self.part.is_over()

    def why(self, wanted: int, now: float) -> str:
        """Why nobody may pass, in words."""
        live = len(self.live)
        if live >= wanted:
            return super().why(wanted, now)
        return f"{live} of {wanted} at work here, and the others are with other runners"

    def told(self) -> dict[str, Any]:
        """What is remembered, JSON-ready."""
        return {**super().told(), "room": self.part.room}


class SharedRateGate(RateGate):
    """A rate over the fleet."""

    def __init__(self, key: tuple[str, str], fleet: Fleet) -> None:
        super().__init__()
        self.place = key
        self.part = _Part(key, fleet)
        self.wanted = RateLimit(1)

    def blocks(self, wanted: RateLimit, now: float) -> bool:
        """Whether one more start would be one too many here."""
        self.wanted = wanted
        mine = self._mine(wanted)
        if mine is not None and not super().blocks(mine, now):
            return False
        if mine is None or mine.count < wanted.count:
            self.part.stir()
        return True

    def opens_at(self, wanted: RateLimit) -> float | None:
        """When the oldest start of this runner's share leaves the window."""
        mine = self._mine(wanted)
        return None if mine is None else super().opens_at(mine)

    def needed_until(self) -> float:
        """When it can be forgotten: not by itself, but when the store was told."""
        return ALWAYS

    def wish(self, waiting: int, now: float) -> QuotaWish | None:
        """What to ask the store for."""
        per_s = max(self.per_s, self.wanted.per_s)
        begun = sum(1 for at in self.starts if at + per_s > now)
        return self.part.wish(self.wanted.count, per_s, begun, waiting, now)

    def unsay(self) -> None:
        """The store did not hear the question: it is put again."""

    def void(self) -> None:
        """What it had is somebody else's."""
        self.part.void()

    def is_over(self) -> bool:
        """Whether it can be forgotten."""
        return self.part.is_over()

    def why(self, wanted: RateLimit, now: float) -> str:
        """Why nobody may pass, in words."""
        mine = self._mine(wanted)
        if mine is None:
            return f"{wanted.count} in {wanted.per_s:g} s, and all of them are with other runners"
        if mine.count == wanted.count:
            return super().why(wanted, now)
        return f"{super().why(mine, now)}; the rest of {wanted.count} is with other runners"

    def told(self) -> dict[str, Any]:
        """What is remembered, JSON-ready."""
        return {**super().told(), "room": self.part.room}

    def _mine(self, wanted: RateLimit) -> RateLimit | None:
        count = min(wanted.count, self.part.usable())
        return structs.replace(wanted, count=count) if count else None


class SharedBreakerGate(BreakerGate):
    """A circuit breaker over the fleet: what failed elsewhere counts, and one attempt of one runner decides."""

    def __init__(self, key: tuple[str, str], fleet: Fleet) -> None:
        super().__init__()
        self.place = key
        self.fleet = fleet
        self.wanted = CircuitBreaker()
        self.is_known = self.may_try = False
        self.news = _Unsaid()
        self.said = _Unsaid()
        """What the store is being told."""
        self.used_at: float | None = None
        self.is_leaving = False

    def blocks(self, wanted: CircuitBreaker, now: float) -> bool:
        """Whether it is open, or another attempt decides; and as long as nobody knows."""
        self.wanted = wanted
        if not self.is_known:
            self.fleet.stir(self.place)
            return True
        if super().blocks(wanted, now):
            return True
        if self.opened_at is None or self.may_try:
            return False
        self.news.wants_try = True
        self.fleet.stir(self.place)
        return True

    def opens_at(self, wanted: CircuitBreaker) -> float | None:
        """When one may ask to try again; None while one does."""
        return None if self.news.wants_try or self.said.wants_try else super().opens_at(wanted)

    def take(self, number: int, wanted: CircuitBreaker, now: float) -> None:
        """A claim passes."""
        super().take(number, wanted, now)
        self.used_at = now
        self.may_try = False

    def give_back(
        self, number: int, wanted: CircuitBreaker, now: float, *, failed: bool | None
    ) -> None:
        """A claim ended: the others are to hear of it, at once if they act on it."""
        was_trial, was_open = number == self.trial, self.opened_at is not None
        super().give_back(number, wanted, now, failed=failed)
        self.used_at = now
        if was_trial:
            self.news.verdict = "none" if failed is None else "failed" if failed else "ok"
        elif was_open or failed is None:
            return
        elif failed:
            self.news.failed += 1
        else:
            self.news.succeeded, self.news.failed = True, 0
        if was_trial or self.opened_at is not None:
            self.fleet.stir(("verdict", self.place[1]))

    def needed_until(self) -> float:
        """When it can be forgotten: not by itself, but when the store was told."""
        return ALWAYS

    def wish(self, waiting: int, now: float) -> QuotaWish | None:
        """What to tell the store, which answers how it stands; None where it was not used for long."""
        if self.live or waiting or self.used_at is None:
            self.used_at = now
        self.is_leaving = not self.used_at <= now < self.used_at + LINGER_S
        if self.is_leaving and self.news.is_empty():
            return None
        self.said, self.news = self.news, _Unsaid()
        return BreakerNews(
            key=self.place[1],
            failures=self.wanted.failures,
            reset_s=self.wanted.reset_s,
            succeeded=self.said.succeeded,
            failed=self.said.failed,
            verdict=self.said.verdict,
            wants_try=self.said.wants_try,
        )

    def hear(self, state: BreakerState, now: float) -> None:
        """How it stands, over all runners."""
        self.is_known = True
        self.said = _Unsaid()
        self.failures = self.news.failed + (0 if self.news.succeeded else state.failures)
        if state.open_for_s is not None:
            self.opened_at = now - state.open_for_s
        elif self.trial is None and self.failures < self.wanted.failures:
            self.opened_at = None
        self.may_try = state.may_try and self.trial is None and not self.news.verdict

    def unsay(self) -> None:
        """The store did not hear it."""
        said, self.said = self.said, _Unsaid()
        if not self.news.succeeded:
            self.news.failed += said.failed
        self.news.succeeded = self.news.succeeded or said.succeeded
        self.news.verdict = self.news.verdict or said.verdict
        self.news.wants_try = self.news.wants_try or said.wants_try

    def void(self) -> None:
        """What it knows is in the store, whatever became of this runner's part in it."""

    def is_over(self) -> bool:
        """Whether it was not used for long: how it stands is in the store."""
        return self.is_leaving and self.news.is_empty()


class _Unsaid:
    """What a breaker has to tell."""

    def __init__(self) -> None:
        self.succeeded = self.wants_try = False
        self.failed = 0
        self.verdict = ""

    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.succeeded or self.failed or self.verdict)


SharedGate: TypeAlias = SharedLimitGate | SharedRateGate | SharedBreakerGate

SHARED: Final[dict[str, type[SharedGate]]] = {
    "limit": SharedLimitGate,
    "rate": SharedRateGate,
    "breaker": SharedBreakerGate,
}


def tell(gate: SharedGate, quota: Quota, now: float) -> None:
    """Give a gate the store's answer."""
    if isinstance(gate, SharedBreakerGate):
        if isinstance(quota, BreakerState):
            gate.hear(quota, now)
    elif isinstance(quota, Share):
        gate.part.hear(quota)
