"""Who may start when: against a naive twin, and law by law."""

import json
import random
import sys
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.runner.naive_admission import Naive
from treadle.errors import TreadleBug, UsageError
from treadle.policies.policy import CircuitBreaker, RateLimit
from treadle.runner.admission import Admission, Claim

LIMITS = [("a", 1), ("b", 2), ("b", 3), ("c", 3)]
RATES = [("x", RateLimit(1, 1.0)), ("y", RateLimit(2, 1.0)), ("z", RateLimit(3, 2.5))]
BREAKERS = [
    ("p", CircuitBreaker(1, 1.0, "fail")),
    ("q", CircuitBreaker(2, 2.5, "wait")),
    ("s", CircuitBreaker(2, 1.0, "fail")),
    ("t", CircuitBreaker(1, 0.5, "wait")),
    ("t", CircuitBreaker(1, 1.0, "fail")),
]
STEPS_S = [0.25, 0.5, 1.0, 2.5]


class Pair:
    """An admission and its naive twin, told the same."""

    def __init__(self, capacities: dict[str, int | None], most: int | None = None) -> None:
        self.admission = Admission(capacities, most)
        self.naive = Naive(capacities, most)
        self.now = 0.0
        self.made = 0

    def claim(self, executor: str, rank: int, *wanted: Any) -> Claim:
        """A claim with the next number."""
        self.made += 1
        return Claim(self.made, f"run-{self.made % 3}", executor, rank, *wanted)

    def offer(self, claim: Claim) -> None:
        """Let it wait."""
        self.admission.offer(claim)
        self.naive.offer(claim)

    def try_start(self, claim: Claim) -> None:
        """Start it at once, or offer it: nobody who waits for the same may be overtaken."""
        may = self.naive.may_start(claim, self.now)
        if not self.admission.try_start(claim, self.now):
            assert self.naive.waiting or not may
            self.offer(claim)
            return
        assert may
        assert all(other.executor != claim.executor for other in self.naive.waiting)
        assert not (self.naive.waiting and (claim.limits or claim.rates or claim.breakers))
        self.naive.start(claim, self.now)

    def finish(self, number: int, failed: bool | None) -> None:
        """End it."""
        self.admission.finish(number, self.now, failed=failed)
        self.naive.finish(number, self.now, failed=failed)

    def withdraw(self, claim: Claim) -> None:
        """Let it wait no more."""
        self.admission.withdraw(claim.number)
        self.naive.waiting.remove(claim)

    def admit(self) -> None:
        """Both let the same start, in the same order, and nobody sleeps through a moment that matters."""
        started, refused = self.admission.admit(self.now)
        expected, unwanted = self.naive.admit(self.now)
        assert (started, sorted(refused)) == (expected, sorted(unwanted))
        moment, at = self.naive.first_moment(self.now), self.admission.next_at(self.now)
        assert at is None or at > self.now
        assert moment is None or (at is not None and at <= moment)
        self.check_told()

    def check_told(self) -> None:
        """What it says of itself is so."""
        admission, naive = self.admission, self.naive
        assert (admission.waiting(), admission.live()) == (len(naive.waiting), len(naive.live))
        for claim in naive.waiting:
            assert admission.why_waiting(claim.number).partition(" ")[0] in {
                "limit",
                "rate",
                "breaker",
                "executor",
                "max_concurrency:",
            }
        json.dumps(admission.state())

    def finish_all(self) -> None:
        """When all that is at work finishes, all that waits gets its turn, and nothing is left behind."""
        rounds = 0
        self.admit()
        while self.naive.live or self.naive.waiting:
            for number in list(self.naive.live):
                self.finish(number, failed=False)
            self.now += 3.0
            self.admit()
            rounds += 1
            assert rounds <= self.made + 1
        self.now += 3.0
        self.admit()
        assert remembered(self.admission) == []


def remembered(admission: Admission) -> list[Any]:
    """Every claim, group, key and moment that an admission still holds; failures that count are no leak."""
    parking = admission._parking
    held: list[Any] = [*admission._live, *admission._waiting]
    held += [*admission._failing, *parking.turns, *parking.openings, *parking._parked]
    held += [*parking._expiries]
    held += [key for key, gate in parking.gates.items() if not getattr(gate, "failures", 0)]
    for lane in admission._lanes.values():
        held += [*lane.live, *lane.waiting, *lane.competing._groups, *lane.parties]
    return held


def started(admission: Admission, now: float = 0.0) -> list[int]:
    """Who starts now, where nobody is refused."""
    numbers, refused = admission.admit(now)
    assert refused == []
    return numbers


# ----------------------------------------------------------------------- against the naive twin


def drawn(dice: random.Random, pair: Pair) -> Claim:
    """A claim that wants anything."""
    limits = tuple(dice.sample(LIMITS, dice.choice([0, 0, 1, 1, 2])))
    rates = tuple(dice.sample(RATES, dice.choice([0, 0, 0, 1, 2])))
    breakers = tuple(dice.sample(BREAKERS, dice.choice([0, 0, 0, 1, 2])))
    return pair.claim(dice.choice("XYZ"), dice.choice([0, 0, 10, -10, 5]), limits, rates, breakers)


def walk(dice: random.Random, steps: int) -> None:
    """Do anything to a pair, then let all of it finish."""
    most = dice.choice([None, None, 3])
    pair = Pair({"X": dice.choice([None, 1, 2]), "Y": 3, "Z": dice.choice([None, 1])}, most)
    is_lazy = dice.random() < 0.3
    for _ in range(steps):
        chance = dice.random()
        if chance < 0.4:
            dice.choice([pair.offer, pair.offer, pair.try_start])(drawn(dice, pair))
        elif chance < 0.65 and pair.naive.live:
            failed = dice.choice([True, True, False, None])
            pair.finish(dice.choice(list(pair.naive.live)), failed)
        elif chance < 0.8 and pair.naive.waiting:
            pair.withdraw(dice.choice(pair.naive.waiting))
        else:
            pair.now += dice.choice(STEPS_S)
        if not is_lazy or dice.random() < 0.5:
            pair.admit()
    pair.finish_all()


@pytest.mark.parametrize("first", range(0, 300, 15))
def test_a_random_walk_ends_where_the_naive_twin_does(first: int):
    """Every limit, rate and breaker holds, in the order of urgency, and nothing is lost or kept."""
    for number in range(first, first + 15):
        walk(random.Random(number), 80)


class AdmissionMachine(RuleBasedStateMachine):
    """The same walk, for Hypothesis to shorten when it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair({"X": 1, "Y": 2, "Z": None}, 4)

    @rule(
        executor=st.sampled_from("XYZ"),
        rank=st.sampled_from([0, 10, -10]),
        limits=st.lists(st.sampled_from(LIMITS), max_size=2, unique=True),
        rates=st.lists(st.sampled_from(RATES), max_size=1),
        breakers=st.lists(st.sampled_from(BREAKERS), max_size=1),
        at_once=st.booleans(),
    )
    def come(self, *, executor, rank, limits, rates, breakers, at_once):
        """Something wants to start."""
        claim = self.pair.claim(executor, rank, tuple(limits), tuple(rates), tuple(breakers))
        (self.pair.try_start if at_once else self.pair.offer)(claim)

    @precondition(lambda self: self.pair.naive.live)
    @rule(data=st.data(), failed=st.sampled_from([True, False, None]))
    def go(self, data, failed):
        """Something ends."""
        self.pair.finish(data.draw(st.sampled_from(sorted(self.pair.naive.live))), failed)

    @precondition(lambda self: self.pair.naive.waiting)
    @rule(data=st.data())
    def give_up(self, data):
        """Something no longer wants to start."""
        self.pair.withdraw(data.draw(st.sampled_from(self.pair.naive.waiting)))

    @rule(by=st.sampled_from(STEPS_S))
    def let_time_pass(self, by):
        """The clock goes on."""
        self.pair.now += by

    @invariant()
    def both_agree(self):
        """After each of these, the same may start."""
        self.pair.admit()

    def teardown(self):
        """Nothing is lost or kept."""
        self.pair.finish_all()


TestAdmissionMachine = pytest.mark.slow(AdmissionMachine.TestCase)
TestAdmissionMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


# ----------------------------------------------------------------------------------- law by law


def test_what_nothing_limits_starts_at_once():
    """The common case needs no queue: it starts, and ends, and leaves nothing behind."""
    admission = Admission({"threads": None})

    assert admission.try_start(Claim(1, "run", "threads"), 0.0)
    assert (admission.live(), admission.live("threads"), admission.waiting()) == (1, 1, 0)

    admission.finish(1, 1.0, failed=False)
    assert remembered(admission) == []


def test_a_full_executor_takes_the_most_urgent_first():
    """Rank first, then the order of offering."""
    admission = Admission({"threads": 1})
    assert admission.try_start(Claim(1, "run", "threads"), 0.0)
    for number, rank in [(2, 0), (3, 10), (4, -10), (5, 10), (6, 0)]:
        assert not admission.try_start(Claim(number, "run", "threads", rank), 0.0)
        admission.offer(Claim(number, "run", "threads", rank))

    order = [1]
    while admission.live():
        assert started(admission) == []
        admission.finish(order[-1], 0.0, failed=False)
        order += started(admission)

    assert order == [1, 3, 5, 2, 6, 4]


def test_the_limit_over_all_takes_the_most_urgent_of_all_executors():
    """With one place left, it does not matter which executor was named first."""
    admission = Admission({"a": None, "b": None}, max_concurrency=1)
    assert admission.try_start(Claim(1, "run", "a"), 0.0)
    admission.offer(Claim(2, "run", "a", 0))
    admission.offer(Claim(3, "run", "b", 10))
    assert not admission.try_start(Claim(4, "run", "b", 20), 0.0)
    assert admission.why_waiting(2) == "max_concurrency: 1 of 1 at work"

    admission.finish(1, 0.0, failed=None)
    assert started(admission) == [3]


def test_what_waits_for_its_own_limit_holds_up_nobody():
    """No head-of-line blocking: the urgent one waits for its key, others of the executor go by."""
    admission = Admission({"threads": 2})
    charge = (("charge", 1),)
    admission.offer(Claim(1, "run", "threads", 0, charge))
    admission.offer(Claim(2, "run", "threads", 20, charge))
    admission.offer(Claim(3, "run", "threads", 20, charge))
    admission.offer(Claim(4, "run", "threads", -10))

    assert started(admission) == [2, 4]
    assert admission.why_waiting(3) == "limit 'charge': 1 of 1 at work"

    admission.finish(4, 0.0, failed=False)
    assert started(admission) == []
    admission.finish(2, 0.0, failed=False)
    assert started(admission) == [3]


def test_a_limit_counts_over_executors_and_runs():
    """A key is one key wherever the work runs."""
    admission = Admission({"a": None, "b": None})
    assert admission.try_start(Claim(1, "run-1", "a", 0, (("db", 2),)), 0.0)
    assert admission.try_start(Claim(2, "run-2", "b", 0, (("db", 2), ("run-2", 9))), 0.0)
    assert not admission.try_start(Claim(3, "run-3", "b", 0, (("db", 2),)), 0.0)
    assert admission.try_start(Claim(4, "run-3", "b", 0, (("other", 2),)), 0.0)


def test_what_waits_is_not_overtaken_by_what_starts_at_once():
    """A claim that a limit holds back may go as soon as there is room, so nobody takes that room from it."""
    admission = Admission({"a": None, "b": None})
    db = (("db", 1),)
    assert admission.try_start(Claim(1, "run", "a", 0, db), 0.0)
    admission.offer(Claim(2, "run", "a", 0, db))
    assert started(admission) == []
    admission.finish(1, 0.0, failed=False)

    assert not admission.try_start(Claim(3, "run", "b", 0, db), 0.0)
    assert not admission.try_start(Claim(4, "run", "a"), 0.0)
    assert admission.try_start(Claim(5, "run", "b"), 0.0)
    assert started(admission) == [2]


def test_a_group_that_lost_its_first_claim_lets_a_more_urgent_one_by():
    """The gate opened for the most urgent; when that withdraws, the next most urgent goes, of whatever group."""
    admission = Admission({"x": 1, "y": 1})
    assert admission.try_start(Claim(1, "run", "y", 0, (("k", 1),)), 0.0)
    admission.offer(Claim(2, "run", "x", 10, (("k", 1), ("first", 9))))
    admission.offer(Claim(3, "run", "x", 0, (("k", 1), ("first", 9))))
    admission.offer(Claim(4, "run", "x", 5, (("k", 1), ("second", 9))))
    admission.offer(Claim(5, "run", "x", -10))
    assert started(admission) == [5]
    admission.finish(1, 0.0, failed=False)
    assert started(admission) == []

    admission.withdraw(2)
    admission.finish(5, 0.0, failed=False)
    assert started(admission) == [4]


def before_a_gate(*ranks: int) -> Admission:
    """Claim 0 is at work under the limit `k`; for each rank a claim of a group of its own waits for it."""
    admission = Admission({"x": None})
    assert admission.try_start(Claim(0, "run", "x", 0, (("k", 1),)), 0.0)
    for number, rank in enumerate(ranks, 1):
        admission.offer(Claim(number, "run", "x", rank, (("k", 1), (f"run-{number}", 9))))
    assert started(admission) == []
    return admission


def test_before_a_closed_gate_a_new_claim_may_be_the_most_urgent():
    """A group that waits moves forward with a more urgent claim."""
    admission = before_a_gate(0, 5)
    admission.offer(Claim(9, "run", "x", 10, (("k", 1), ("run-1", 9))))
    assert started(admission) == []

    admission.finish(0, 0.0, failed=False)
    assert started(admission) == [9]


def test_before_a_closed_gate_a_group_moves_back_when_its_first_claim_withdraws():
    """What is left of it is as urgent as its next claim."""
    admission = before_a_gate(10, 5)
    admission.offer(Claim(9, "run", "x", 0, (("k", 1), ("run-1", 9))))
    admission.withdraw(1)

    admission.finish(0, 0.0, failed=False)
    assert started(admission) == [2]


def test_a_rate_is_a_window_that_slides():
    """At most `count` begin within any `per_s` seconds, and the next at the very moment the window lets it."""
    admission = Admission({"threads": None})
    api = (("api", RateLimit(2, 10.0)),)
    assert admission.try_start(Claim(1, "run", "threads", 0, (), api), 0.0)
    assert admission.try_start(Claim(2, "run", "threads", 0, (), api), 7.0)
    admission.finish(1, 7.0, failed=False)
    for number in (3, 4, 5):
        assert not admission.try_start(Claim(number, "run", "threads", 0, (), api), 8.0)
        admission.offer(Claim(number, "run", "threads", 0, (), api))

    assert started(admission, 8.0) == []
    assert admission.why_waiting(3) == "rate 'api': 2 began within 10 s, the next may in 2 s"
    assert admission.next_at(8.0) == 10.0
    assert started(admission, 9.999) == []
    assert started(admission, 10.0) == [3]
    assert admission.next_at(10.0) == 17.0
    assert started(admission, 17.0) == [4]
    assert started(admission, 20.0) == [5]
    assert admission.next_at(20.0) is None


def test_a_rate_is_forgotten_when_its_window_has_passed():
    """The moments of the last starts stay exactly as long as they matter, also where nothing ever waits."""
    admission = Admission({"threads": None})
    for number, moment in enumerate([0.0, 2.0]):
        rates = ((f"api-{number}", RateLimit(1, 5.0)),)
        assert admission.try_start(Claim(number, "run", "threads", 0, (), rates), moment)

    admission.finish(0, 4.9, failed=False)
    assert list(admission.state()["rates"]) == ["api-0", "api-1"]
    admission.finish(1, 5.0, failed=False)
    assert list(admission.state()["rates"]) == ["api-1"]
    admission.admit(7.0)
    assert remembered(admission) == []


def breaking(number: int, when_open: str = "fail", executor: str = "threads") -> Claim:
    """A claim behind a breaker that opens after two failures, for ten seconds."""
    breaker = CircuitBreaker(failures=2, reset_s=10.0, when_open=when_open)
    return Claim(number, "run", executor, 0, (), (), (("api", breaker),))


def opened(capacity: int | None = None) -> Admission:
    """An admission whose breaker opened at 0 s."""
    admission = Admission({"threads": capacity, "other": None})
    for number in (1, 2):
        assert admission.try_start(breaking(number), 0.0)
        admission.finish(number, 0.0, failed=True)
    return admission


def test_failures_in_a_row_open_the_breaker_and_a_success_between_does_not():
    """Two failures with a success between them are not two in a row; what was cancelled counts neither way."""
    admission = Admission({"threads": None})
    for number, failed in enumerate([True, False, True, None, True]):
        assert admission.try_start(breaking(number), 0.0)
        admission.finish(number, 0.0, failed=failed)

    assert not admission.try_start(breaking(9), 0.0)
    assert admission.state()["breakers"] == {
        "api": {"state": "open", "failures": 2, "opened_at": 0.0}
    }


def test_an_open_breaker_refuses_or_holds_back():
    """`when_open` says which; both may share a key."""
    admission = opened()
    admission.offer(breaking(3, "fail"))
    admission.offer(breaking(4, "wait"))

    assert admission.admit(1.0) == ([], [3])
    assert (
        admission.why_waiting(4)
        == "breaker 'api': open after 2 failures in a row, tries again in 9 s"
    )
    assert admission.next_at(1.0) == 10.0
    assert admission.admit(9.9) == ([], [])
    assert admission.admit(10.0) == ([4], [])


def test_one_attempt_decides_and_the_others_wait_or_are_refused():
    """Half open: one goes through; its failure opens anew, its success closes for all."""
    admission = opened()
    for number in (3, 4, 5):
        admission.offer(breaking(number, "wait"))
    assert admission.admit(10.0) == ([3], [])
    admission.offer(breaking(6, "fail"))
    assert admission.admit(10.0) == ([], [6])
    assert (
        admission.why_waiting(4) == "breaker 'api': one attempt is out to decide whether it closes"
    )
    assert admission.next_at(10.0) is None
    assert admission.state()["breakers"]["api"]["state"] == "trying"

    admission.finish(3, 12.0, failed=True)
    assert admission.admit(12.0) == ([], [])
    assert admission.next_at(12.0) == 22.0
    assert admission.admit(22.0) == ([4], [])

    admission.finish(4, 23.0, failed=False)
    assert admission.admit(23.0) == ([5], [])
    assert admission.try_start(breaking(7), 23.0)


def test_a_trial_that_was_cancelled_leaves_the_deciding_to_the_next():
    """Neither a success nor a failure: the breaker stays half open."""
    admission = opened()
    assert admission.try_start(breaking(3), 10.0)
    assert not admission.try_start(breaking(4), 10.0)
    admission.finish(3, 10.5, failed=None)

    assert admission.try_start(breaking(5), 10.5)


def test_what_was_at_work_when_the_breaker_opened_does_not_move_it():
    """Only the attempt that was let through to decide closes it, or opens it anew."""
    admission = Admission({"threads": None})
    for number in (1, 2, 3, 4):
        assert admission.try_start(breaking(number), 0.0)
    admission.finish(1, 1.0, failed=True)
    admission.finish(2, 1.0, failed=True)

    admission.finish(3, 2.0, failed=False)
    admission.finish(4, 3.0, failed=True)
    assert not admission.try_start(breaking(5), 10.9)
    assert admission.try_start(breaking(6), 11.0)


def test_an_open_breaker_refuses_also_what_waits_for_a_full_executor():
    """It is said at once, not when a place is free at last."""
    admission = Admission({"threads": 2})
    for number in (1, 2):
        assert admission.try_start(breaking(number), 0.0)
    for number in (3, 4):
        admission.offer(breaking(number))
    admission.finish(1, 0.0, failed=True)
    assert admission.admit(0.0) == ([3], [])
    admission.finish(2, 0.0, failed=True)
    admission.offer(Claim(5, "run", "threads"))
    admission.offer(Claim(6, "run", "threads"))

    assert admission.admit(0.0) == ([5], [4])


def test_what_is_over_or_unknown_is_ignored():
    """Finishing twice, finishing what waits, withdrawing what works: nothing happens."""
    admission = Admission({"threads": 1})
    limited = (("k", 1),)
    assert admission.try_start(Claim(1, "run", "threads", 0, limited), 0.0)
    admission.offer(Claim(2, "run", "threads", 0, limited))
    before = admission.state()

    admission.finish(2, 0.0, failed=False)
    admission.finish(77, 0.0, failed=False)
    admission.withdraw(1)
    admission.withdraw(77)
    assert admission.state() == before

    admission.finish(1, 0.0, failed=False)
    admission.finish(1, 0.0, failed=False)
    assert started(admission) == [2]
    assert (admission.live(), admission.why_waiting(1), admission.why_waiting(2)) == (1, "", "")


def test_what_withdraws_never_starts():
    """Cancelled while waiting: gone, wherever it stood."""
    admission = Admission({"threads": 1})
    assert admission.try_start(Claim(1, "run", "threads"), 0.0)
    for number in (2, 3, 4):
        admission.offer(Claim(number, "run", "threads"))
    admission.withdraw(2)
    admission.withdraw(4)
    admission.finish(1, 0.0, failed=False)

    assert started(admission) == [3]
    admission.finish(3, 0.0, failed=False)
    assert remembered(admission) == []


def test_misuse_is_named():
    """Executors that are not there, rooms for nobody, and numbers given twice."""
    admission = Admission({"threads": 1})
    with pytest.raises(UsageError, match=r"no executor named 'thread'\. Did you mean 'threads'"):
        admission.offer(Claim(1, "run", "thread"))
    with pytest.raises(UsageError, match="the capacity of executor 'x' is 0"):
        Admission({"x": 0})
    with pytest.raises(UsageError, match="max_concurrency is True"):
        Admission({}, max_concurrency=True)
    admission.offer(Claim(1, "run", "threads"))
    for again in (admission.offer, lambda claim: admission.try_start(claim, 0.0)):
        with pytest.raises(TreadleBug, match="claim 1 of 'run' was made twice"):
            again(Claim(1, "run", "threads"))


def test_the_state_is_for_people():
    """What is at work, what waits, and what is remembered of each key, as plain data."""
    admission = Admission({"threads": 1, "processes": None}, max_concurrency=8)
    rates = (("api", RateLimit(5, 1.0)),)
    admission.try_start(Claim(1, "run", "threads", 0, (("charge", 3),), rates), 0.5)
    admission.offer(Claim(2, "run", "threads"))
    admission.offer(Claim(3, "run", "processes"))

    assert admission.why_waiting(2) == "executor 'threads': 1 of 1 at work"
    assert admission.why_waiting(3) == "nothing: it starts when the runner next looks"
    assert admission.state() == {
        "live": 1,
        "waiting": 2,
        "max_concurrency": 8,
        "executors": {
            "threads": {"capacity": 1, "live": 1, "waiting": 1},
            "processes": {"capacity": None, "live": 0, "waiting": 1},
        },
        "limits": {"charge": {"live": 1}},
        "rates": {"api": {"starts": 1, "last_at": 0.5}},
        "breakers": {},
    }


# ------------------------------------------------------------------------------------ what it costs


def calls_of_a_turn(waiting: int, keys: int) -> int:
    """How many calls it takes to finish one and start the next, with so many waiting, under so many keys."""
    admission = Admission({"threads": 2})
    for number in range(waiting):
        limits = ((f"run-{number % keys}", 3), ("charge", 1))
        admission.offer(Claim(number, "run", "threads", 0, limits))
    (first,) = started(admission)
    count = 0

    def counted(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    try:
        admission.finish(first, 0.0, failed=False)
        numbers, _ = admission.admit(0.0)
    finally:
        sys.setprofile(None)
    assert len(numbers) == 1
    return count


@pytest.mark.slow
@pytest.mark.parametrize("keys", [1, 5_000])
def test_a_turn_costs_the_same_however_many_wait(keys: int):
    """Neither the claims of a group nor the groups before a gate are looked through."""
    assert calls_of_a_turn(5_000, keys) <= calls_of_a_turn(10, min(keys, 10)) + 20


def test_withdrawn_claims_leave_the_queue():
    """What came and went behind a full executor is not kept until a place is free."""
    admission = Admission({"threads": 1})
    admission.try_start(Claim(0, "run", "threads"), 0.0)
    admission.offer(Claim(1, "run", "threads", 10))
    for number in range(2, 2_000):
        admission.offer(Claim(number, "run", "threads", 0, ((f"run-{number}", 1),)))
        admission.offer(Claim(-number, "run", "threads"))
        admission.withdraw(number)
        admission.withdraw(-number)

    lane = admission._lanes["threads"]
    (party,) = lane.parties.values()
    (group,) = party.groups.values()
    line = lane.competing
    heaps: list[Any] = [group.claims, line._parties, *line._groups.values()]
    assert sum(len(queue._heap) for queue in heaps) < 150
