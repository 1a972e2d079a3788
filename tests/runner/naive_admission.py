"""Admission, written a second time as plainly as can be: every question looks through everything."""

from typing import Any

from treadle.runner.admission import Claim


class Naive:
    """Who waits, who is at work, and all that ever began or failed."""

    def __init__(self, capacities: dict[str, int | None], most: int | None) -> None:
        self.capacities = capacities
        self.most = most
        self.waiting: list[Claim] = []
        self.live: dict[int, Claim] = {}
        self.starts: dict[str, list[float]] = {}
        self.failures: dict[str, int] = {}
        self.opened_at: dict[str, float] = {}
        self.trials: dict[str, int] = {}
        self.turns: dict[tuple[str, int, str], int] = {}
        """When each party came, or had its last turn; a party is what one run wants of one executor at one rank."""
        self.turn = 0

    def offer(self, claim: Claim) -> None:
        """Let a claim wait; its party, if it had none waiting, comes after all that had their turn before."""
        if all(party_of(each) != party_of(claim) for each in self.waiting):
            self.turns[party_of(claim)] = self.turn
        self.waiting.append(claim)

    def is_closed_to(self, key: str, wanted: Any, now: float) -> bool:
        """Whether a breaker lets nobody through."""
        if key not in self.opened_at:
            return False
        return key in self.trials or now < self.opened_at[key] + wanted.reset_s

    def may_start(self, claim: Claim, now: float) -> bool:
        """Whether there is room for a claim in everything it is up against."""
        live = list(self.live.values())
        capacity = self.capacities[claim.executor]
        if self.most is not None and len(live) >= self.most:
            return False
        if capacity is not None and sum(c.executor == claim.executor for c in live) >= capacity:
            return False
        for key, count in claim.limits:
            if sum(key in dict(each.limits) for each in live) >= count:
                return False
        for key, rate in claim.rates:
            if sum(at + rate.per_s > now for at in self.starts.get(key, [])) >= rate.count:
                return False
        return not any(self.is_closed_to(key, wanted, now) for key, wanted in claim.breakers)

    def start(self, claim: Claim, now: float) -> None:
        """Put a claim to work."""
        if claim in self.waiting:
            self.waiting.remove(claim)
        self.live[claim.number] = claim
        for key in {key for key, _ in claim.rates}:
            self.starts.setdefault(key, []).append(now)
        for key, _ in claim.breakers:
            if key in self.opened_at:
                self.trials[key] = claim.number

    def admit(self, now: float) -> tuple[list[int], list[int]]:
        """Start the most urgent that may, again and again; refuse what no breaker lets through."""
        started: list[int] = []
        refused: list[int] = []
        while True:
            able = [claim for claim in self.waiting if self.may_start(claim, now)]
            if able:
                first = min(able, key=lambda claim: (-claim.rank, self.turns[party_of(claim)]))
                self.start(first, now)
                self.turn += 1
                self.turns[party_of(first)] = self.turn
                started.append(first.number)
                continue
            unwanted = [claim for claim in self.waiting if self.would_fail(claim, now)]
            if not unwanted:
                return started, refused
            for claim in unwanted:
                self.waiting.remove(claim)
                refused.append(claim.number)

    def would_fail(self, claim: Claim, now: float) -> bool:
        """Whether a claim is behind an open breaker that refuses."""
        return any(
            wanted.when_open == "fail" and self.is_closed_to(key, wanted, now)
            for key, wanted in claim.breakers
        )

    def finish(self, number: int, now: float, *, failed: bool | None) -> None:
        """Take a claim off work, and let its breakers learn from it."""
        claim = self.live.pop(number)
        for key, wanted in claim.breakers:
            if self.trials.get(key) == number:
                del self.trials[key]
                if failed is False:
                    del self.opened_at[key]
                    self.failures[key] = 0
                elif failed:
                    self.opened_at[key] = now
            elif key not in self.opened_at and failed is not None:
                self.failures[key] = self.failures.get(key, 0) + 1 if failed else 0
                if self.failures[key] >= wanted.failures:
                    self.opened_at[key] = now

    def first_moment(self, now: float) -> float | None:
        """When, nothing else happening, something may start or must be refused: looks at every moment in question."""
        moments = {
            at + rate.per_s
            for claim in self.waiting
            for key, rate in claim.rates
            for at in self.starts.get(key, [])
        } | {
            self.opened_at[key] + wanted.reset_s
            for claim in self.waiting
            for key, wanted in claim.breakers
            if key in self.opened_at
        }
        for moment in sorted(moments):
            if moment > now and any(self.may_start(claim, moment) for claim in self.waiting):
                return moment
        return None


def party_of(claim: Claim) -> tuple[str, int, str]:
    """With which others a claim shares its turns."""
    return (claim.run_id, claim.rank, claim.executor)
