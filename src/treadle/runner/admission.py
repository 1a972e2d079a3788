"""Admission: which of the bundles that want to start may start now. Pure: no clock, no threads; `now` is in seconds.

What a claim is up against is its executor's capacity, the limit over all, and its *gates*: limits, rates and circuit
breakers that it shares, by key, with claims of any run. Claims of one run and rank that are up against the same form a
*group*, of which only the first claim needs looking at. Groups whose gates are open compete for their executor; those
before a closed gate are parked there (see `parking.py`). So neither ten thousand claims for a full executor nor a
thousand groups before one gate are ever looked through.

The groups of one run, for one executor and of one rank, are a *party*. Parties of the same rank take turns, so that a
run with thousands of claims does not hold up the others; within a party the order is that of offering.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from operator import itemgetter
from typing import Any

from msgspec import Struct

from treadle.errors import TreadleBug, UsageError, nearest
from treadle.model.quotas import Quota, QuotaWish
from treadle.policies.policy import CircuitBreaker, RateLimit
from treadle.runner.gates import BreakerGate
from treadle.runner.parking import (
    BREAKER,
    GATES,
    LIMIT,
    RATE,
    Demand,
    Group,
    Key,
    Line,
    Parking,
    Party,
    Rank,
)
from treadle.runner.shared_gates import Fleet, SharedLimitGate, SharedRateGate


class Claim(Struct, frozen=True, gc=False):
    """A bundle that wants to start: of a higher `rank` first. Limits and the like are given with their keys.

    `number` must be of this claim alone as long as it waits or is at work.
    """

    number: int
    run_id: str
    executor: str
    rank: int = 0
    limits: tuple[tuple[str, int], ...] = ()
    rates: tuple[tuple[str, RateLimit], ...] = ()
    breakers: tuple[tuple[str, CircuitBreaker], ...] = ()


class Lane:
    """One executor: who is at work there, who waits for it, and the parties that compete for it."""

    __slots__ = ("capacity", "competing", "live", "name", "parties", "waiting")

    def __init__(self, name: str, capacity: int | None) -> None:
        check_room(f"the capacity of executor {name!r}", capacity)
        self.name = name
        self.capacity = capacity
        self.live: set[int] = set()
        self.waiting: set[int] = set()
        self.parties: dict[tuple[str, int], Party] = {}
        """By run and rank: whose claims wait, here or before a gate."""
        self.competing = Line()

    @property
    def is_full(self) -> bool:
        """Whether nothing more may start there."""
        return self.capacity is not None and len(self.live) >= self.capacity


class Admission:
    """Who may start, over all runs of a runner.

    `offer` what wants to start, then `admit`; `finish` what has ended, then `admit` again. `try_start` is the short way
    for what need not wait. After `admit(now)` nothing more can start before something finishes, something is
    offered, or the moment comes that `next_at` tells.
    """

    def __init__(
        self, capacities: dict[str, int | None], max_concurrency: int | None = None
    ) -> None:
        check_room("max_concurrency", max_concurrency)
        self._max = max_concurrency
        self._lanes = {name: Lane(name, capacity) for name, capacity in capacities.items()}
        self._live: dict[int, Claim | Lane] = {}
        """Who is at work: the claim, or only the executor's lane where there is no more to be given back."""
        self._waiting: dict[int, tuple[Claim, Group]] = {}
        self._failing: dict[Key, dict[Group, None]] = {}
        """The groups that a breaker, if it opens, refuses rather than holds back."""
        self._parking = Parking()
        self._offers = 0
        self._turns = 0
        self._now = 0.0

    # ------------------------------------------------------------------------- what the runner says

    def add_executor(self, name: str, capacity: int | None) -> None:
        """One more executor."""
        self._lanes[name] = Lane(name, capacity)

    def try_start(self, claim: Claim, now: float) -> bool:
        """Start a claim at once, where nothing limits it and none that waits might come first; whether it did."""
        self._check_new(claim)
        lane = self._lane(claim.executor)
        if lane.waiting or lane.is_full:
            return False
        if self._max is not None and (self._waiting or len(self._live) >= self._max):
            return False
        if claim.limits or claim.rates or claim.breakers:
            wanted = demands(claim)
            if self._waiting or self._parking.blocking(wanted, now) is not None:
                return False
            self._parking.take(claim.number, wanted, now)
        self._live[claim.number] = claim
        lane.live.add(claim.number)
        return True

    def start_free(self, number: int, executor: str) -> bool:
        """`try_start` for what no gate limits, without a claim: the commonest case by far."""
        lane = self._lanes.get(executor)
        if lane is None or lane.waiting:
            return False
        if lane.capacity is not None and len(lane.live) >= lane.capacity:
            return False
        if self._max is not None and (self._waiting or len(self._live) >= self._max):
            return False
        self._live[number] = lane
        lane.live.add(number)
        return True

    def offer(self, claim: Claim) -> None:
        """Let a claim wait for its turn."""
        self._check_new(claim)
        lane = self._lane(claim.executor)
        party = lane.parties.get((claim.run_id, claim.rank))
        if party is None:  # it comes after all that have had their turn before it came
            party = Party(claim.run_id, claim.rank, claim.executor, self._turns)
            lane.parties[claim.run_id, claim.rank] = party
        wanted = demands(claim)
        group = party.groups.get(wanted)
        self._offers += 1
        if group is not None:
            group.claims.put(claim.number, self._offers)
        else:
            group = party.groups[wanted] = Group(party, wanted)
            group.claims.put(claim.number, self._offers)
            for key, _ in group.failing():
                self._failing.setdefault(key, {})[group] = None
            lane.competing.put(group)
        self._waiting[claim.number] = (claim, group)
        lane.waiting.add(claim.number)

    def admit(self, now: float) -> tuple[list[int], list[int]]:
        """The numbers of those that start now, in order, and of those that an open circuit breaker refuses."""
        self._now = now
        self._parking.open_gates(now)
        started: list[int] = []
        refused: list[int] = []
        while True:
            for group in self._parking.wake(now):
                self._compete(group)
            lane = self._most_urgent()
            if lane is not None:
                self._give_turn(lane, now, started)
            elif not self._refuse(now, refused):
                return started, refused

    def finish(self, number: int, now: float, *, failed: bool | None) -> None:
        """A claim that was at work ended; None: neither well nor badly. Any other number is ignored."""
        claim = self._live.pop(number, None)
        if claim is None:
            return
        if isinstance(claim, Lane):
            claim.live.discard(number)
            return
        self._now = now
        self._lanes[claim.executor].live.discard(number)
        if claim.limits or claim.rates or claim.breakers:
            self._parking.give_back(number, demands(claim), now, failed=failed)

    def withdraw(self, number: int) -> None:
        """A claim that waits no longer wants to start. Any other number is ignored."""
        if number not in self._waiting:
            return
        _, group = self._waiting[number]
        was_first = group.top[1] == number
        self._stop_waiting(number)
        if not group.claims:
            self._drop(group)
        elif was_first and group.parked_at is not None:
            self._parking.park(group, group.parked_at)
        elif was_first:
            self._compete(group)
            self._parking.end_turn(group)  # another group may be more urgent now

    # ------------------------------------------------------------------ limits shared with others

    def share(self, fleet: Fleet) -> None:
        """Count all limits, rates and breakers over a fleet from now on."""
        self._parking.fleet = fleet

    @property
    def is_shared_now(self) -> bool:
        """Whether there is any gate that others may want something of."""
        return bool(self._parking.gates)

    def wishes(self, now: float) -> list[QuotaWish]:
        """What there is to ask the fleet's store; each such question is to be followed by `hear` or `unsay`."""
        return self._parking.wishes(now)

    def hear(self, quotas: Iterable[Quota], now: float) -> None:
        """What the store answered; then `admit`."""
        self._parking.hear(quotas, now)

    def unsay(self) -> None:
        """The store did not hear the question."""
        for gate in self._parking.shared():
            gate.unsay()

    def press(self, wanted: Collection[str]) -> None:
        """Others want some of these, each as `"kind key"`."""
        for name in wanted:
            kind, _, key = name.partition(" ")
            gate = self._parking.gates.get((kind, key))
            if isinstance(gate, (SharedLimitGate, SharedRateGate)):
                gate.part.is_pressed = True

    def void(self) -> None:
        """What the store gave is somebody else's."""
        for gate in self._parking.shared():
            gate.void()

    # --------------------------------------------------------------------------- what it answers

    def next_at(self, now: float) -> float | None:
        """When something that waits for time alone may start; None: nothing does."""
        if self._parking.turns:
            return now
        top = self._parking.openings.top()
        return None if top is None else top[0]

    def waiting(self, executor: str | None = None) -> int:
        """How many wait, for one executor or in all."""
        return len(self._waiting if executor is None else self._lane(executor).waiting)

    def live(self, executor: str | None = None) -> int:
        """How many are at work, on one executor or in all."""
        return len(self._live if executor is None else self._lane(executor).live)

    def why_waiting(self, number: int) -> str:
        """What a claim waits for, in words: `"limit 'charge': 3 of 3 at work"`; "" if it does not wait."""
        if number not in self._waiting:
            return ""
        _, group = self._waiting[number]
        demand = self._parking.blocking(group.demands, self._now)
        if demand is not None:
            (kind, key), wanted = demand
            return f"{kind} {key!r}: {self._parking.gates[kind, key].why(wanted, self._now)}"
        lane = self._lanes[group.executor]
        if lane.is_full:
            return f"executor {lane.name!r}: {len(lane.live)} of {lane.capacity} at work"
        if self._max is not None and len(self._live) >= self._max:
            return f"max_concurrency: {len(self._live)} of {self._max} at work"
        return "nothing: it starts when the runner next looks"

    def state(self) -> dict[str, Any]:
        """All of it for people to look at, JSON-ready."""
        told: dict[str, Any] = {
            "live": len(self._live),
            "waiting": len(self._waiting),
            "max_concurrency": self._max,
            "executors": {
                lane.name: {
                    "capacity": lane.capacity,
                    "live": len(lane.live),
                    "waiting": len(lane.waiting),
                }
                for lane in self._lanes.values()
            },
        }
        for kind in GATES:
            gates = {key: gate for (of, key), gate in self._parking.gates.items() if of == kind}
            told[f"{kind}s"] = {key: gates[key].told() for key in sorted(gates)}
        return told

    # ------------------------------------------------------------------------------------- inside

    def _check_new(self, claim: Claim) -> None:
        if claim.number in self._live or claim.number in self._waiting:
            raise TreadleBug(f"claim {claim.number} of {claim.run_id!r} was made twice.")

    def _lane(self, executor: str) -> Lane:
        lane = self._lanes.get(executor)
        if lane is None:
            raise UsageError(
                f"there is no executor named {executor!r}.{nearest(executor, self._lanes)}"
            )
        return lane

    def _most_urgent(self) -> Lane | None:
        """The executor with room whose first party is the most urgent of all."""
        if self._max is not None and len(self._live) >= self._max:
            return None
        best: tuple[Rank, Lane] | None = None
        for lane in self._lanes.values():
            if not lane.competing or lane.is_full:
                continue
            top = lane.competing.top()
            if top is not None and (best is None or top[0] < best[0]):
                best = (top[0], lane)
        return None if best is None else best[1]

    def _give_turn(self, lane: Lane, now: float, started: list[int]) -> None:
        """Start the first claim of an executor's first party, or park its group at the gate that blocks it."""
        top = lane.competing.top()
        assert top is not None
        group = top[1]
        self._parking.end_turn(group)
        demand = self._parking.blocking(group.demands, now)
        if demand is not None:
            lane.competing.discard(group)
            self._parking.park(group, demand)
            return
        self._turns += 1
        party = group.party
        party.turn = self._turns
        if party.woken:
            self._parking.end_turns(party)
        number = group.top[1]
        self._parking.take(number, group.demands, now)
        self._live[number] = self._stop_waiting(number)
        lane.live.add(number)
        started.append(number)
        if not group.claims:
            self._drop(group)

    def _refuse(self, now: float, refused: list[int]) -> bool:
        """Take out all that wait behind an open breaker and would rather fail; whether there were any."""
        before = len(refused)
        for key in list(self._failing):
            gate = self._parking.gates.get(key)
            if not isinstance(gate, BreakerGate) or gate.opened_at is None:
                continue
            for group in list(self._failing.get(key, ())):
                if self._parking.blocking(group.failing(), now) is not None:
                    for number in group.claims:
                        self._stop_waiting(number)
                        refused.append(number)
                    self._drop(group)
        return len(refused) > before

    def _stop_waiting(self, number: int) -> Claim:
        claim, group = self._waiting.pop(number)
        group.claims.discard(number)
        self._lanes[group.executor].waiting.discard(number)
        return claim

    def _compete(self, group: Group) -> None:
        self._lanes[group.executor].competing.put(group)

    def _drop(self, group: Group) -> None:
        """Forget a group that has no claims left."""
        party, lane = group.party, self._lanes[group.executor]
        del party.groups[group.demands]
        if not party.groups:
            del lane.parties[party.run_id, party.rank]
        lane.competing.discard(group)
        self._parking.unpark(group)
        self._parking.end_turn(group)
        for key, _ in group.failing():
            groups = self._failing.get(key, {})
            groups.pop(group, None)
            if not groups:
                self._failing.pop(key, None)


def demands(claim: Claim) -> tuple[Demand, ...]:
    """What a claim wants of which gates, in the order in which all claims of all runners come past them."""
    return (
        *(((LIMIT, key), count) for key, count in sorted(claim.limits, key=itemgetter(0))),
        *(((RATE, key), rate) for key, rate in sorted(claim.rates, key=itemgetter(0))),
        *(((BREAKER, key), breaker) for key, breaker in claim.breakers),
    )


def check_room(what: str, count: Any) -> None:
    """There must be room for one at least."""
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise UsageError(f"{what} is {count!r:.80}, and should be a number of at least 1, or None.")
