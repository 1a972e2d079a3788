"""Limits, rates and breakers that count over all runners of a database."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import treadle as td
from tests.runner.fleet import Table
from treadle.model.quotas import BreakerNews, BreakerState, Share, ShareWish

TTL_S = 30.0
WAIT_S = 60.0


def wish(kind: str = "limit", key: str = "k", count: int = 3, **given: Any) -> ShareWish:
    """A wish for part of a limit of three."""
    return ShareWish(kind=kind, key=key, count=count, **{"keep": 0, "need": 0, **given})


def only(answers: Any) -> Any:
    """The one answer."""
    (answer,) = answers
    return answer


def test_shares_are_never_more_than_the_limit(open_store: Any) -> None:
    """Of many who ask at the same moment, over connections of their own."""
    stores = [open_store() for _ in range(6)]
    keys = [f"key {number}" for number in range(70)]

    def ask(store: Any) -> list[Share]:
        wishes = [wish(key=key, need=3) for key in keys]
        return store.ration(f"owner {stores.index(store)}", TTL_S, wishes)

    with ThreadPoolExecutor(len(stores)) as pool:
        answers = list(pool.map(ask, stores))
    for place, key in enumerate(keys):
        shares = [each[place] for each in answers]
        assert {share.key for share in shares} == {key}
        assert sum(share.held for share in shares) == 3
        assert all(share.room <= share.held for share in shares)


NUMBERS = itertools.count()
WORDS = st.sampled_from(["a", "b", "c"])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(WORDS, st.sampled_from(["limit", "rate"]), st.integers(0, 4), st.integers(0, 4)),
        max_size=12,
    )
)
def test_the_server_divides_as_the_model_does(store: Any, steps: Any) -> None:
    """Whatever is asked in whichever order."""
    table, key = Table(), f"key {next(NUMBERS)}"
    for owner, kind, keep, need in steps:
        per_s = 5.0 if kind == "rate" else 0.0
        asked = wish(kind, key=key, keep=keep, need=need, per_s=per_s)
        assert store.ration(owner, TTL_S, [asked]) == table.ration(owner, TTL_S, [asked])
        table.now += 1e-6  # who asked earlier is known to have asked earlier


def test_who_was_not_heard_of_for_too_long_needs_another_name(store: Any) -> None:
    """What it had is another's by then."""
    assert only(store.ration("a", 0.01, [wish(need=3)])).room == 3
    deadline = monotonic() + WAIT_S
    while store.beat("a", 0.01) is not None and monotonic() < deadline:
        threading.Event().wait(0.02)
    assert store.ration("a", TTL_S, [wish(keep=3, need=3)]) is None
    assert only(store.ration("b", TTL_S, [wish(need=3)])).room == 3
    assert only(store.ration("a again", TTL_S, [wish(keep=1, need=3)])) == Share(
        kind="limit", key="k", room=1, held=1
    )


def test_who_leaves_frees_limits_at_once_and_rates_when_their_window_is_over(store: Any) -> None:
    """What was begun in the last moment still counts."""
    asked = [wish(need=3), wish("rate", need=3, per_s=1_000.0)]
    store.ration("a", TTL_S, asked)
    store.leave("a")
    limit, rate = store.ration("b", TTL_S, asked)
    assert (limit.room, rate.room) == (3, 0)


def test_who_has_hears_that_others_want(store: Any) -> None:
    """With the next sign of life, which says how long it counts."""
    store.ration("a", TTL_S, [wish(need=3), wish(key="other one", need=3)])
    left_s, wanted = store.beat("a", TTL_S)
    assert 0 < left_s <= TTL_S
    assert wanted == set()
    store.ration("b", TTL_S, [wish(key="other one", need=1)])
    assert store.beat("a", TTL_S)[1] == {"limit other one"}
    assert store.beat("nobody", TTL_S) is None


def test_a_breaker_is_one_for_all(store: Any) -> None:
    """Failures add up, one may try, and what came of it counts for all."""

    def tell(owner: str, **given: Any) -> BreakerState:
        news = BreakerNews(key="k", failures=3, reset_s=0.0, **given)
        answer = only(store.ration(owner, TTL_S, [news]))
        assert isinstance(answer, BreakerState)
        return answer

    assert tell("a", failed=2).open_for_s is None
    assert tell("b", failed=1).open_for_s is not None
    assert tell("b", wants_try=True).may_try
    assert not tell("a", wants_try=True).may_try
    assert tell("b", verdict="failed").open_for_s is not None
    assert tell("a", wants_try=True).may_try
    closed = tell("a", verdict="ok")
    assert (closed.open_for_s, closed.failures) == (None, 0)
    assert tell("b").open_for_s is None


@pytest.mark.parametrize("key", ["", "a\x00b", "\ud800", "'; DROP TABLE share; --", "ключ " * 50])
def test_any_text_is_a_key(store: Any, key: str) -> None:
    """Keys are values, and come back as they were given."""
    assert only(store.ration("a", TTL_S, [wish(key=key, need=1)])).key == key


class Counted:
    """A step that knows how many of it are under way, in all runners of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = self.done = 0
        self.by_thread: dict[str, int] = {}
        self.may_go = threading.Event()

    def __call__(self, number: int) -> int:
        """Be under way until others had the chance to be, too."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.may_go.wait(0.01)
        with self.lock:
            self.now -= 1
            self.done += 1
        return number


@pytest.fixture
def runners(open_store: Any) -> Iterator[Any]:
    """Opens runners that share a database."""
    opened: list[td.Runner] = []

    def open_one(flow: td.Workflow, **given: Any) -> td.Runner:
        opened.append(td.Runner(store=open_store(), workflows=[flow], poll_s=0.02, **given))
        return opened[-1]

    yield open_one
    for runner in opened:
        runner.close()


@pytest.mark.slow
def test_two_runners_keep_one_limit_together(runners: Any) -> None:
    """Never more than two of them, and both take part."""
    body = Counted()
    flow = td.workflow("limited").add(td.step(body, name="work"))
    policies = {"work": td.Policy(max_concurrency=td.Limit(2, key="service"), executor="threads")}
    both = [runners(flow.with_policies(policies)) for _ in range(2)]
    for name, runner in zip("ab", both, strict=True):
        runner.start(flow.with_policies(policies), name)
    tickets = [
        runner.run(name, n) for n in range(20) for name, runner in zip("ab", both, strict=True)
    ]
    for ticket in tickets:
        ticket.result(WAIT_S)
    assert body.most == 2
    assert body.done == 40


@pytest.mark.slow
def test_a_breaker_that_opened_at_one_runner_is_open_at_the_other(runners: Any, store: Any) -> None:
    """The other does not try what is known to be broken."""
    tried: list[int] = []

    def call(number: int) -> int:
        tried.append(number)
        raise ConnectionError("it is down")

    breaker = td.CircuitBreaker(2, reset_s=600.0, key="service")
    flow = td.workflow("broken").add(td.step(call, name="call"))
    flow = flow.with_policies({"call": td.Policy(circuit_breaker=breaker, executor="threads")})
    first, second = runners(flow), runners(flow)
    first.start(flow, "a")
    second.start(flow, "b")
    for number in range(2):
        with pytest.raises(td.errors.StepFailed, match="it is down"):
            first.run("a", number).result(WAIT_S)
    with pytest.raises(td.errors.StepFailed, match="circuit breaker"):
        first.run("a", 3).result(WAIT_S)
    news = BreakerNews(key="service", failures=2, reset_s=600.0)
    deadline = monotonic() + WAIT_S
    while only(store.ration("x", TTL_S, [news])).open_for_s is None and monotonic() < deadline:
        pass
    with pytest.raises(td.errors.StepFailed, match="circuit breaker"):
        second.run("b", 4).result(WAIT_S)
    assert tried == [0, 1]
