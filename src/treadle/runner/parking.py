"""Parking: the gates that are remembered, and the groups of claims that wait before each.

A group that a gate blocks is parked there and costs nothing more. When the gate opens it lets its most urgent group
compete again, one for each executor, and the next one after that has had its turn. So a thousand groups before one
gate are never looked through. Pure: `now` is given, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from treadle.model.quotas import Quota, QuotaWish
from treadle.policies.policy import CircuitBreaker
from treadle.runner.gates import BreakerGate, Gate, LimitGate, RateGate
from treadle.runner.shared_gates import SHARED, Fleet, SharedGate, tell
from treadle.runner.urgency import Queue

LIMIT: Final = "limit"
RATE: Final = "rate"
BREAKER: Final = "breaker"

GATES: Final[dict[str, type[Gate]]] = {LIMIT: LimitGate, RATE: RateGate, BREAKER: BreakerGate}

Key: TypeAlias = tuple[str, str]
"""Which gate: its kind and key."""

Demand: TypeAlias = tuple[Key, Any]
"""A gate, and what is wanted of it: a number, a `RateLimit` or a `CircuitBreaker`."""

Rank: TypeAlias = tuple[int, int, int]
"""How urgent: the negative rank, then whose turn it is, then the ordinal of the offer."""


class Party:
    """What one run has waiting for one executor, at one rank: parties of the same rank take turns.

    So a run with thousands of claims holds up one with a single claim for a turn, and not for thousands.
    """

    __slots__ = ("executor", "groups", "rank", "run_id", "turn", "woken")

    def __init__(self, run_id: str, rank: int, executor: str, turn: int) -> None:
        self.run_id = run_id
        self.rank = rank
        self.executor = executor
        self.turn = turn
        """The number of its latest turn; whose is the least has the next one."""
        self.groups: dict[tuple[Demand, ...], Group] = {}
        self.woken: dict[Group, None] = {}
        """Its groups that a gate has let compete, and that have not had their turn."""


class Group:
    """Waiting claims of one party that are up against the same demands, in the order of offering.

    It stands in one line: its executor's, or, parked, before a gate.
    """

    __slots__ = ("claims", "demands", "parked_at", "party", "woken_by")

    def __init__(self, party: Party, demands: tuple[Demand, ...]) -> None:
        self.party = party
        self.demands = demands
        self.claims: Queue[int, int] = Queue()
        self.parked_at: Demand | None = None
        self.woken_by: Demand | None = None
        """The gate that let it compete, and waits for the end of its turn to let the next one."""

    @property
    def executor(self) -> str:
        """Where its claims want to be at work."""
        return self.party.executor

    @property
    def top(self) -> tuple[int, int]:
        """The ordinal and the number of its first claim."""
        top = self.claims.top()
        assert top is not None
        return top

    def kept(self, parked_at: Key) -> list[Key]:
        """The gates that it is to pass together with the one it stands before, as far as it has come, and that one."""
        if parked_at[0] == BREAKER:
            return [parked_at]
        keys = [key for key, _ in self.demands]
        return keys[: keys.index(parked_at) + 1]

    def failing(self) -> Iterator[Demand]:
        """The circuit breakers that refuse its claims when they are open, rather than hold them back."""
        for demand in self.demands:
            if isinstance(demand[1], CircuitBreaker) and demand[1].when_open == "fail":
                yield demand


class Line:
    """Groups that wait for the same: parties take turns, and each sends its groups in the order of offering.

    A party that has had a turn, here or elsewhere, and a group whose first claim has gone stand further back than
    before. That is looked up when they come to the top, so that a run that is alone pays nothing for it.
    """

    __slots__ = ("_groups", "_parties")

    def __init__(self) -> None:
        self._parties: Queue[Rank, Party] = Queue()
        self._groups: dict[Party, Queue[int, Group]] = {}

    def __len__(self) -> int:
        return len(self._parties)

    def groups(self) -> Iterator[Group]:
        """All that stand here."""
        return (group for groups in self._groups.values() for group in groups)

    def put(self, group: Group) -> None:
        """Let a group stand here, if it does not."""
        party, ordinal = group.party, group.top[0]
        groups = self._groups.get(party)
        if groups is None:
            groups = self._groups[party] = Queue()
        elif group in groups:
            return
        before = groups.top()
        groups.put(group, ordinal)
        if before is None or ordinal < before[0]:
            self._parties.put(party, (-party.rank, party.turn, ordinal))

    def discard(self, group: Group) -> None:
        """Take a group out, if it stands here."""
        groups = self._groups.get(group.party)
        if groups is None:
            return
        groups.discard(group)
        if not groups:
            del self._groups[group.party]
            self._parties.discard(group.party)

    def top(self) -> tuple[Rank, Group] | None:
        """The group whose turn it is, and how urgent it is."""
        while (top := self._parties.top()) is not None:
            stood_at, party = top
            groups = self._groups[party]
            first = groups.top()
            assert first is not None
            group, ordinal = first[1], first[1].top[0]
            if ordinal != first[0] and len(groups) > 1:
                groups.put(group, ordinal)
                continue
            rank = (-party.rank, party.turn, ordinal)
            if rank == stood_at or len(self._parties) == 1:
                return rank, group
            self._parties.put(party, rank)
        return None


class Parking:
    """All gates with a memory, and the groups before them."""

    def __init__(self) -> None:
        self.gates: dict[Key, Gate] = {}
        self.fleet: Fleet | None = None
        """With whom all gates are shared, if they are."""
        self.turns: dict[tuple[Demand, str], None] = {}
        """Gates that are to let the next group compete, for an executor."""
        self.openings: Queue[float, Demand] = Queue()
        """When gates with groups before them open by themselves."""
        self._parked: dict[Key, dict[tuple[Any, str], Line]] = {}
        """The groups before each gate, by what they want of it and by executor."""
        self._expiries: Queue[float, Key] = Queue()
        """When rates can be forgotten."""
        self._now = float("-inf")

    def blocking(self, demands: Iterable[Demand], now: float) -> Demand | None:
        """The first of some demands whose gate blocks."""
        for demand in demands:
            gate = self.gates.get(demand[0])
            if gate is None and self.fleet is not None:
                gate = self._made(demand[0])
            if gate is not None and gate.blocks(demand[1], now):
                return demand
        return None

    def _made(self, key: Key) -> Gate:
        """A gate that is not there yet."""
        kind = key[0]
        gate = GATES[kind]() if self.fleet is None else SHARED[kind](key, self.fleet)
        self.gates[key] = gate
        return gate

    def take(self, number: int, demands: Iterable[Demand], now: float) -> None:
        """A claim passes its gates."""
        for key, wanted in demands:
            gate = self.gates.get(key) or self._made(key)
            gate.take(number, wanted, now)
            if isinstance(gate, RateGate) and self.fleet is None:
                self._expiries.put(key, gate.needed_until())

    def give_back(
        self, number: int, demands: Iterable[Demand], now: float, *, failed: bool | None
    ) -> None:
        """A claim that passed ended."""
        self._now = now
        for key, wanted in demands:
            gate = self.gates.get(key)
            if gate is None:  # a rate, forgotten since; or named twice
                continue
            gate.give_back(number, wanted, now, failed=failed)
            for other, executor in self._parked.get(key, ()):
                self.turns[(key, other), executor] = None
            self._forget(key, now)
        self._forget_rates(now)

    def park(self, group: Group, demand: Demand) -> None:
        """Let a group wait before the gate that blocks it."""
        group.parked_at = demand
        key, wanted = demand
        queues = self._parked.setdefault(key, {})
        queues.setdefault((wanted, group.executor), Line()).put(group)
        self._note_opening(demand)

    def unpark(self, group: Group) -> None:
        """Let a group wait no longer, if it was parked at all."""
        if group.parked_at is None:
            return
        demand, group.parked_at = group.parked_at, None
        key, wanted = demand
        queues = self._parked[key]
        queue = queues[wanted, group.executor]
        queue.discard(group)
        if queue:
            return
        del queues[wanted, group.executor]
        if not any(other == wanted for other, _ in queues):
            self.openings.discard(demand)
        if not queues:
            del self._parked[key]
            self._forget(key, self._now)

    def end_turn(self, group: Group) -> None:
        """A group that a gate let compete has had its turn, so the next one may."""
        if group.woken_by is not None:
            self.turns[group.woken_by, group.executor] = None
            group.woken_by = None
            group.party.woken.pop(group, None)

    def end_turns(self, party: Party) -> None:
        """A party had a turn, so before the gates that let others of its groups compete, another's may come first."""
        for group in list(party.woken):
            self.end_turn(group)

    def open_gates(self, now: float) -> None:
        """Gates whose moment has come are to let groups compete; rates that matter no more are forgotten."""
        self._now = now
        self._forget_rates(now)
        while (top := self.openings.top()) is not None and top[0] <= now:
            key, wanted = self.openings.pop()
            for other, executor in self._parked[key]:
                if other == wanted:
                    self.turns[(key, wanted), executor] = None

    def wake(self, now: float) -> Iterator[Group]:
        """For each gate whose turn it is and which is open: its most urgent group, which waits there no longer."""
        while self.turns:
            (demand, executor), _ = self.turns.popitem()
            key, wanted = demand
            queue = self._parked.get(key, {}).get((wanted, executor))
            if queue is None:
                continue
            if self.gates[key].blocks(wanted, now):
                self._note_opening(demand)
                continue
            top = queue.top()
            assert top is not None
            group = top[1]
            self.unpark(group)
            group.woken_by = demand
            group.party.woken[group] = None
            yield group

    # ------------------------------------------------------------------------- gates that are shared

    def wishes(self, now: float) -> list[QuotaWish]:
        """What there is to ask the store for, and to tell it; gates that are of no use any more are forgotten."""
        found: list[QuotaWish] = []
        waiting = self._count_waiting()
        for gate in list(self.shared()):
            key = gate.place
            wish = gate.wish(waiting.get(key, 0), now)
            if wish is not None:
                found.append(wish)
            elif key not in self._parked and gate.is_over():
                del self.gates[key]
        return found

    def hear(self, quotas: Iterable[Quota], now: float) -> None:
        """What the store answered: whoever waited before those gates may look again."""
        for quota in quotas:
            key = (getattr(quota, "kind", BREAKER), quota.key)
            gate = self.gates.get(key)
            if isinstance(gate, SharedGate):
                tell(gate, quota, now)
            for other, executor in self._parked.get(key, ()):
                self.turns[(key, other), executor] = None

    def shared(self) -> Iterator[SharedGate]:
        """All gates that others know of."""
        return (gate for gate in self.gates.values() if isinstance(gate, SharedGate))

    def _count_waiting(self) -> dict[Key, int]:
        """How many claims wait at each gate: also those that have come past it, and stand before a later one.

        Else what they are to pass with would be given to others while they stand there. Since all come past their
        gates in the same order, no two runners each keep what the other one waits for. Before a breaker that is open
        nothing is kept: that may take long.
        """
        counts: dict[Key, int] = {}
        for parked_at, queues in self._parked.items():
            for group in (each for line in queues.values() for each in line.groups()):
                for key in group.kept(parked_at):
                    counts[key] = counts.get(key, 0) + len(group.claims)
        return counts

    def _note_opening(self, demand: Demand) -> None:
        at = self.gates[demand[0]].opens_at(demand[1])
        if at is not None:
            self.openings.put(demand, at)

    def _forget(self, key: Key, now: float) -> None:
        """Forget a gate that remembers nothing that matters, and before which nobody waits."""
        gate = self.gates.get(key)
        if gate is not None and key not in self._parked and gate.needed_until() <= now:
            del self.gates[key]
            self._expiries.discard(key)

    def _forget_rates(self, now: float) -> None:
        while (top := self._expiries.top()) is not None and top[0] <= now:
            self._forget(self._expiries.pop(), now)
