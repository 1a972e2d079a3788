"""Limits, rates and breakers that count over several runners."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.runner.fleet import TTL_S, Member, Table, settle
from treadle.policies.policy import CircuitBreaker, RateLimit
from treadle.runner.shared_gates import LINGER_S

LIMIT: Any = {"limits": (("k", 3),)}
RATE = RateLimit(2, per_s=2.0)
BREAKER = CircuitBreaker(3, reset_s=5.0, when_open="wait")


def two() -> tuple[Table, Member, Member]:
    """Two runners and their table."""
    table = Table()
    return table, Member("a", table), Member("b", table)


def test_nobody_begins_before_the_store_was_asked() -> None:
    """A limit that others may have used up lets nobody through at once, and soon whoever may."""
    _, a, _ = two()
    a.want(**LIMIT)
    assert a.live == []
    a.settle()
    assert len(a.live) == 1


def test_one_runner_alone_has_all_of_it() -> None:
    """With nobody else there, the whole limit is used."""
    _, a, _ = two()
    for _ in range(5):
        a.want(**LIMIT)
    settle(a)
    assert len(a.live) == 3


def test_two_runners_together_have_no_more_than_one() -> None:
    """What one has in use the other has not, and gets when it is free."""
    _, a, b = two()
    for _ in range(3):
        a.want(**LIMIT)
    settle(a)
    for _ in range(3):
        b.want(**LIMIT)
    settle(a, b)
    assert (len(a.live), len(b.live)) == (3, 0)
    a.end(a.live[0])
    settle(a, b)
    assert (len(a.live), len(b.live)) == (2, 1)


def test_a_runner_that_has_all_gives_its_part_to_the_other() -> None:
    """Although it could go on using it: nobody has more than a fair part while another is short."""
    _, a, b = two()
    for _ in range(50):
        a.want(limits=(("k", 4),))
        b.want(limits=(("k", 4),))
    settle(a)
    assert len(a.live) == 4
    for _ in range(4):
        a.end(a.live[0])
        settle(a, b)
    assert (len(a.live), len(b.live)) == (2, 2)


def test_one_that_cannot_be_divided_goes_round() -> None:
    """Of a limit of one, each of three has a turn."""
    table = Table()
    members = [Member(name, table) for name in "abc"]
    done = dict.fromkeys("abc", 0)
    for member in members:
        for _ in range(100):
            member.want(limits=(("k", 1),))
    for _ in range(120):
        settle(*members, rounds=1)
        table.now += 0.25
        for name, member in zip("abc", members, strict=True):
            for number in list(member.live):
                done[name] += 1
                member.end(number)
    assert min(done.values()) >= 20, done
    assert sum(done.values()) >= 90, done


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"limits": (("x", 1), ("y", 1))}, {"limits": (("x", 1), ("y", 1))}),
        ({"limits": (("x", 1), ("y", 1))}, {"limits": (("y", 1), ("x", 1))}),
        (
            {"limits": (("x", 1),), "rates": (("r", RateLimit(1, per_s=0.1)),)},
            {"limits": (("x", 1),), "rates": (("r", RateLimit(1, per_s=0.1)),)},
        ),
    ],
    ids=["two limits", "in another order", "a limit and a rate"],
)
def test_who_wants_two_things_does_not_wait_for_ever(first: Any, second: Any) -> None:
    """Neither keeps, or gives away in turn, what the other one needs beside what it has."""
    table = Table()
    members = [Member("a", table), Member("b", table)]
    done = dict.fromkeys("ab", 0)
    for member, gates in zip(members, (first, second), strict=True):
        for _ in range(50):
            member.want(**gates)
    for _ in range(160):
        settle(*members, rounds=1)
        table.now += 0.25
        for name, member in zip("ab", members, strict=True):
            member.wake()
            for number in list(member.live):
                done[name] += 1
                member.end(number)
    assert min(done.values()) >= 25, done


def test_what_a_dead_runner_had_is_free_after_its_time() -> None:
    """It is not heard of, so what it had is nobody's."""
    table, a, b = two()
    for _ in range(3):
        a.want(**LIMIT)
        b.want(**LIMIT)
    settle(a)
    assert len(a.live) == 3
    settle(b)
    table.now += TTL_S - 0.5
    settle(b)
    assert b.live == []
    table.now += 1.0
    settle(b)
    assert len(b.live) == 3


def test_a_runner_that_was_frozen_begins_nothing_with_what_it_had() -> None:
    """When it wakes up others have it; it asks again, and says what is still in use."""
    table, a, b = two()
    for _ in range(2):
        a.want(**LIMIT)
    settle(a)
    for _ in range(4):
        b.want(**LIMIT)
    table.now += TTL_S + 0.1
    settle(b)
    assert len(b.live) == 3
    a.end(a.live[0])
    a.want(**LIMIT)
    assert len(a.live) == 1
    settle(a, b)
    assert len(a.live) == 1
    b.end(b.live[0])
    settle(a, b)
    assert len(a.live) + len(b.live) == 3


def test_while_the_store_is_away_nothing_new_begins_after_its_time() -> None:
    """What was given counts for its time, and then no more; when the store is back all goes on."""
    table, a, _ = two()
    a.want(**LIMIT)
    a.want(**LIMIT)
    settle(a)
    table.is_away = True
    a.end(a.live[0])
    a.want(**LIMIT)
    assert len(a.live) == 2
    table.now += TTL_S + 0.1
    a.end(a.live[0])
    a.want(**LIMIT)
    settle(a)
    assert len(a.live) == 1
    table.is_away = False
    settle(a)
    assert len(a.live) == 2


def test_a_question_says_what_the_answer_before_it_allowed() -> None:
    """Else the store would give to others what has begun meanwhile."""
    _, a, b = two()
    for _ in range(3):
        a.want(**LIMIT)
        b.want(**LIMIT)
    a.call_one()  # it asks
    a.look()
    a.call_one()  # it would ask again, and waits for the answer
    a.work_one()
    a.call_one()
    assert len(a.live) == 3
    b.settle()
    a.settle()
    settle(b)
    assert (len(a.live), len(b.live)) == (3, 0)


def test_a_share_that_is_not_used_is_let_go_of() -> None:
    """After a while the store knows nothing of it any more, and neither does the runner."""
    table, a, _ = two()
    a.want(**LIMIT)
    settle(a)
    a.end(a.live[0])
    settle(a)
    assert table.shares["limit", "k"]
    table.now += 0.1
    for _ in range(12):
        settle(a, rounds=1)
        table.now += LINGER_S / 10
    assert not table.shares["limit", "k"]
    assert a.admission.state()["limits"] == {}


def test_a_rate_is_kept_by_all_together() -> None:
    """Two in any two seconds, whoever begins them."""
    table, a, b = two()
    for _ in range(6):
        a.want(rates=(("k", RATE),))
        b.want(rates=(("k", RATE),))
    for _ in range(100):
        settle(a, b, rounds=1)
        a.wake()
        b.wake()
        table.now += 0.125
    starts = sorted(at for member in (a, b) for at, _ in member.began)
    assert len(starts) == 12
    assert all(later - at >= RATE.per_s for at, later in zip(starts, starts[2:], strict=False))


def test_what_a_dead_runner_began_counts_until_its_window_is_over() -> None:
    """Its last start may have been at the end of its time."""
    table, a, b = two()
    a.want(rates=(("k", RATE),))
    a.want(rates=(("k", RATE),))
    settle(a)
    b.want(rates=(("k", RATE),))
    table.now += TTL_S + RATE.per_s - 0.1
    settle(b)
    assert b.live == []
    table.now += 0.2
    settle(b)
    assert len(b.live) == 1


def test_failures_of_several_runners_open_a_breaker_for_all() -> None:
    """Three in a row, two here and one there; the third runner hears of it before it begins anything."""
    table, a, b = two()
    gates: Any = {"breakers": (("k", BREAKER),)}
    for member in (a, a, b):
        number = member.want(**gates)
        settle(a, b)
        member.end(number, failed=True)
        settle(a, b)
    a.want(**gates)
    b.want(**gates)
    settle(a, b)
    assert a.live == b.live == []
    c = Member("c", table)
    c.want(**gates)
    settle(c)
    assert c.live == []


def test_a_success_anywhere_begins_the_count_anew() -> None:
    """In a row means: with no success of any runner in between."""
    _, a, b = two()
    gates: Any = {"breakers": (("k", BREAKER),)}
    for member, failed in ((a, True), (a, True), (b, False), (a, True), (b, True)):
        number = member.want(**gates)
        settle(a, b)
        member.end(number, failed=failed)
        settle(a, b)
    number = a.want(**gates)
    settle(a, b)
    assert a.live == [number]


@pytest.mark.parametrize("outcome", [False, True, None])
def test_one_attempt_of_one_runner_decides(outcome: bool | None) -> None:
    """After its time one may try, whichever comes first; the others wait for what comes of it."""
    table, a, b = two()
    gates: Any = {"breakers": (("k", BREAKER),)}
    for _ in range(3):
        number = a.want(**gates)
        settle(a)
        a.end(number, failed=True)
    for member in (a, b):
        member.want(**gates)
        member.want(**gates)
    settle(a, b)
    assert len(a.live) + len(b.live) == 0
    table.now += BREAKER.reset_s
    for member in (a, b):
        member.wake()
    settle(a, b)
    assert len(a.live) + len(b.live) == 1
    tried = a if a.live else b
    tried.end(tried.live[0], failed=outcome)
    settle(a, b)
    assert len(a.live) + len(b.live) == {False: 3, True: 0, None: 1}[outcome]


def test_who_dies_with_the_deciding_attempt_holds_nobody_up_for_ever() -> None:
    """Another may try when nothing was heard of it."""
    table, a, b = two()
    gates: Any = {"breakers": (("k", BREAKER),)}
    for _ in range(3):
        number = a.want(**gates)
        settle(a)
        a.end(number, failed=True)
    a.want(**gates)
    settle(a)
    table.now += BREAKER.reset_s
    a.wake()
    settle(a)
    assert len(a.live) == 1
    b.want(**gates)
    settle(b)
    assert b.live == []
    for _ in range(10):
        table.now += 1.0
        b.wake()
        settle(b)
    assert len(b.live) == 1


class Fleets(RuleBasedStateMachine):
    """Three runners, whatever the order in which things happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.members = [Member(name, self.table) for name in "abc"]
        self.late: set[tuple[int, int]] = set()
        """Claims that outlived the time of their runner: the others could not know of them."""

    @rule(who=st.integers(0, 2), kind=st.sampled_from(["limit", "rate", "both"]))
    def want(self, who: int, kind: str) -> None:
        gates: dict[str, Any] = {}
        if kind != "rate":
            gates["limits"] = (("k", 3),)
        if kind != "limit":
            gates["rates"] = (("k", RATE),)
        self.members[who].want(run=f"{who}", **gates)

    @rule(who=st.integers(0, 2), which=st.integers(0, 5))
    def end(self, who: int, which: int) -> None:
        member = self.members[who]
        if member.live:
            number = member.live[which % len(member.live)]
            member.end(number)
            self.late.discard((who, number))

    @rule(who=st.integers(0, 2))
    def work(self, who: int) -> None:
        self.members[who].work_one()

    @rule(who=st.integers(0, 2))
    def call(self, who: int) -> None:
        self.members[who].call_one()

    @rule(who=st.integers(0, 2))
    def look(self, who: int) -> None:
        self.members[who].look()

    @rule(who=st.integers(0, 2))
    def wake(self, who: int) -> None:
        self.members[who].wake()

    @rule(who=st.integers(0, 2))
    def settle(self, who: int) -> None:
        settle(self.members[who], rounds=1)

    @rule(away=st.booleans())
    def go_away(self, away: bool) -> None:
        self.table.is_away = away

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, TTL_S + 0.5]))
    def wait(self, seconds: float) -> None:
        self.table.now += seconds
        for who, member in enumerate(self.members):
            if not member.rationing.is_current():
                self.late |= {(who, number) for number in member.live}

    @invariant()
    def nothing_is_exceeded(self) -> None:
        limited = [
            (who, number)
            for who, member in enumerate(self.members)
            for number in member.live
            if (who, number) not in self.late and number in member.limited
        ]
        assert len(limited) <= 3
        starts = sorted(at for m in self.members for at, n in m.began if n in m.rated)
        for at, later in zip(starts, starts[RATE.count :], strict=False):
            assert later - at >= RATE.per_s - 1e-9

    def teardown(self) -> None:
        self.table.is_away = False
        for _ in range(200):
            if not any(m.admission.waiting() or m.live for m in self.members):
                return
            for member in self.members:
                for number in list(member.live):
                    member.end(number)
                settle(member, rounds=1)
                member.wake()
            self.nothing_is_exceeded_at_the_end()
            self.table.now += 0.5
        raise AssertionError([m.admission.state() for m in self.members])

    def nothing_is_exceeded_at_the_end(self) -> None:
        self.late = {(w, n) for w, n in self.late if n in self.members[w].live}
        self.nothing_is_exceeded()


TestFleets = Fleets.TestCase
TestFleets.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
