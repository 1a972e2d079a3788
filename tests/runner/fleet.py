"""A fleet in one thread: admissions that share limits by way of a table, with messages that take their time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from treadle.errors import StoreUnavailable
from treadle.model.quotas import Quota, QuotaWish, ShareWish
from treadle.runner.admission import Admission, Claim
from treadle.runner.rationing import Rationing
from treadle.stores.quotas import Fuse, Holding, divided, judged

TTL_S = 3.0


class Table:
    """What the database does, with a time that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.until: dict[str, float] = {}
        self.shares: dict[tuple[str, str], dict[str, tuple[Holding, float]]] = {}
        self.fuses: dict[str, Fuse] = {}
        self.is_away = False

    def ration(self, owner: str, ttl_s: float, wishes: Sequence[QuotaWish]) -> list[Quota] | None:
        """Answer wishes, as the protocol says."""
        self._check()
        if self.until.get(owner, self.now + 1) <= self.now:
            return None
        self.until[owner] = max(self.until.get(owner, 0.0), self.now + ttl_s)
        return [self._answer(owner, wish) for wish in wishes]

    def _answer(self, owner: str, wish: QuotaWish) -> Quota:
        if not isinstance(wish, ShareWish):
            fuse = self.fuses.get(wish.key, Fuse())
            state, self.fuses[wish.key] = judged(wish, owner, fuse, self.now, TTL_S)
            return state
        rows = self.shares.setdefault((wish.kind, wish.key), {})
        before = rows.pop(owner)[0] if owner in rows else None
        others = []
        for name, (row, per_s) in list(rows.items()):
            if self.until[name] + per_s <= self.now:
                del rows[name]
            elif self.until[name] <= self.now:
                others.append(Holding(owner=name, held=row.held, since=row.since))
            else:
                others.append(row)
        share, mine = divided(wish, owner, before, others, self.now)
        if mine is not None:
            rows[owner] = (mine, wish.per_s)
        return share

    def beat(self, owner: str, ttl_s: float) -> tuple[float, frozenset[str]] | None:
        """Say that an owner is there."""
        self._check()
        if self.until.get(owner, 0.0) <= self.now:
            return None
        self.until[owner] = self.now + ttl_s
        wanted = {
            f"{kind} {key}"
            for (kind, key), rows in self.shares.items()
            if owner in rows
            and rows[owner][0].held
            and any(
                row.need > row.held and self.until[name] > self.now
                for name, (row, _) in rows.items()
                if name != owner
            )
        }
        return ttl_s, frozenset(wanted)

    def leave(self, owner: str) -> None:
        """An owner is not there any more."""
        self._check()
        if self.until.get(owner, 0.0) > self.now:
            self.until[owner] = self.now

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable("it is away")


class Member:
    """One runner of the fleet, as far as limits go. It stands in for the loop, too."""

    def __init__(self, name: str, table: Table) -> None:
        self.table = table
        self.clock = self
        self.admission = Admission({"threads": None})
        self.jobs: deque[Callable[[], Any]] = deque()
        self.calls: deque[Callable[[], None]] = deque()
        self.live: list[int] = []
        self.refused: list[int] = []
        self.began: list[tuple[float, int]] = []
        self.numbers = 0
        self.limited: set[int] = set()
        self.rated: set[int] = set()
        loop: Any = self
        self.rationing = Rationing(
            table,
            name,
            TTL_S,
            loop=loop,
            do=self.jobs.append,
            call=self.calls.append,
            ticks=self.now,
        )

    def now(self) -> float:
        """The time, of which there is one for all."""
        return self.table.now

    def wake(self) -> None:
        """Start what may start."""
        started, refused = self.admission.admit(self.now())
        self._begin(started)
        self.refused += refused

    def _begin(self, started: Sequence[int]) -> None:
        self.live += started
        self.began += [(self.now(), number) for number in started]

    def want(self, run: str = "r", **gates: Any) -> int:
        """A claim comes."""
        self.numbers += 1
        claim = Claim(self.numbers, run, "threads", **gates)
        if claim.limits:
            self.limited.add(claim.number)
        if claim.rates:
            self.rated.add(claim.number)
        if self.admission.try_start(claim, self.now()):
            self._begin([claim.number])
        else:
            self.admission.offer(claim)
            self.wake()
        return self.numbers

    def end(self, number: int, *, failed: bool | None = False) -> None:
        """A claim's work ended."""
        self.live.remove(number)
        self.admission.finish(number, self.now(), failed=failed)
        self.wake()

    def work_one(self) -> None:
        """The thread that writes does one thing."""
        if self.jobs:
            self.jobs.popleft()()

    def call_one(self) -> None:
        """The loop's thread does one thing."""
        if self.calls:
            self.calls.popleft()()

    def look(self) -> None:
        """The keeper looks."""
        if not self.table.is_away:
            self.rationing.look()

    def settle(self) -> None:
        """All that is under way comes to its end."""
        while self.jobs or self.calls:
            self.work_one()
            self.call_one()


def settle(*members: Member, rounds: int = 4) -> None:
    """All look, and hear what they are told, a few times."""
    for _ in range(rounds):
        for member in members:
            member.look()
            member.settle()
