"""The cache under a runner: what was computed before is not computed again, and nobody can tell but by the calls."""

from dataclasses import dataclass

import pytest

import treadle as td
from tests.runner.running import PATIENCE_S, Body, SetClock, log_of, of_kind
from treadle import errors
from treadle.codec import Codec
from treadle.model.events import Applied
from treadle.stores.memory import MemoryStore
from treadle.stores.sqlite import SqliteStore

CACHED = td.Policy(cache=td.Cache())


@pytest.fixture(params=["memory", "sqlite"])
def store_of(request, tmp_path):
    """A store that several runners have one after the other."""
    kept = MemoryStore()

    def make():
        return kept if request.param == "memory" else SqliteStore(tmp_path / "runs.db", Codec())

    return make


def cached(body, policy=CACHED, name="work"):
    """A workflow of one step whose results are kept."""
    return td.workflow(name, steps=[td.step(body, name="body")], policies={"body": policy})


def once(runner, workflow, id, value=3, **options):
    """What a run of its own gives for one input."""
    runner.start(workflow, id, **options)
    return runner.run(id, value).result(PATIENCE_S)


def explained(runner, id):
    """Why its last work was computed, or was not."""
    found = runner.explain_cache(id, "body")
    assert found is not None
    return found


def test_a_second_run_calls_nothing(store_of):
    """Also under another runner; its log has a result like any other."""
    body = Body(gives=lambda x: {"twice": (x, x)})
    with td.Runner(store=store_of()) as runner:
        first = once(runner, cached(body), "a")
    with td.Runner(store=store_of()) as runner:
        assert once(runner, cached(body), "b") == first == {"body": {"twice": (3, 3)}}
        assert once(runner, cached(body, name="another"), "c") == first
        assert len(of_kind(runner, "b", Applied)) == 1
        assert explained(runner, "b")["hit"]
    assert body.calls == [3]


def test_async_functions_too(store_of):
    """They are awaited once."""
    counted = Body()

    class Awaited:
        async def __call__(self, x):
            return counted(x)

    with td.Runner(store=store_of()) as runner:
        for id in ("a", "b"):
            assert once(runner, cached(Awaited()), id) == {"body": 3}
    assert counted.calls == [3]


@pytest.mark.parametrize("executor", ["inline", "threads", "asyncio"])
def test_wherever_it_runs(executor):
    """The cache is asked before an executor is, also for what would be done in line."""
    body = Body()
    with td.Runner(executor="inline" if executor == "asyncio" else executor) as runner:
        for number in range(5):
            assert once(runner, cached(body), f"run-{number}") == {"body": 3}
    assert len(body.calls) == 1


def greet(name, *, word=td.context("word")):
    """Depends on its context."""
    return f"{word} {name}"


def test_each_part_of_the_key_counts_and_is_named(store_of):
    """Other code, inputs, context or extras are another entry; the newest one says what was other."""
    other = td.Policy(cache=td.Cache(extras=("v2",)))
    with td.Runner(store=store_of()) as runner:

        def why(id, function=greet, policy=CACHED, value="Ann", word="Hello"):
            workflow = cached(function, policy)
            once(runner, workflow, id, value, run_context={"body": {"word": word}})
            return explained(runner, id)["why"]

        assert "nothing was kept" in why("a")
        assert why("b", value="Bob").endswith(": inputs")
        assert why("c", value="Bob", word="Bye").endswith(": context")
        assert why("d", value="Bob", word="Bye", policy=other).endswith(": extras")
        assert why(
            "e", lambda name, *, word=td.context("word"): word, other, "Bob", "Bye"
        ).endswith(": code")
        assert "computed 0 s ago" in why("f", value="Bob")
        assert runner.get_results("f") == {"body": "Hello Bob"}


def test_old_entries_are_computed_anew():
    """By the clock of the runner; the new one counts from then."""
    clock, body = SetClock(), Body()
    policy = td.Policy(cache=td.Cache(ttl_s=60))
    with td.Runner(clock=clock) as runner:
        once(runner, cached(body, policy), "a")
        clock.go_on(60)
        once(runner, cached(body, policy), "b")
        assert len(body.calls) == 1
        clock.go_on(1)
        once(runner, cached(body, policy), "c")
        assert "61 s old, and ttl_s is 60" in explained(runner, "c")["why"]
        clock.go_on(60)
        once(runner, cached(body, policy), "d")
    assert len(body.calls) == 2


def test_failures_are_not_kept(store_of):
    """Nor is what came of a retry kept under another key: the attempt after it is the same work."""
    fails = [ValueError("not yet")]

    def body(x):
        if fails:
            raise fails.pop()
        return x

    policy = td.Policy(cache=td.Cache())
    with td.Runner(store=store_of()) as runner:
        with pytest.raises(errors.StepFailed):
            once(runner, cached(body, policy), "a")
        assert once(runner, cached(body, policy), "b") == {"body": 3}
        assert not explained(runner, "b")["hit"]
        assert once(runner, cached(body, policy), "c") == {"body": 3}
        assert explained(runner, "c")["hit"]


@dataclass
class Order:
    """A class that the port names."""

    number: int


def take(order: Order) -> Order:
    """One more."""
    return Order(order.number + 1)


def test_classes_of_the_ports_are_kept_as_they_are(store_of):
    """They come back as what they were."""
    with td.Runner(store=store_of()) as runner:
        for id in ("a", "b"):
            assert once(runner, cached(take), id, Order(1)) == {"body": Order(2)}
        assert explained(runner, "b")["hit"]


def test_what_cannot_be_stored_is_computed_each_time():
    """In memory such values are fine, and so they are under a cache, as inputs and as results."""
    body, odd = Body(), Body(gives=lambda x: object())
    with td.Runner() as runner:
        for id in ("a", "b"):
            once(runner, cached(body), id, object())
            once(runner, cached(odd), f"{id}-odd")
        assert "cannot be stored" in explained(runner, "b")["why"]
    assert len(body.calls) == len(odd.calls) == 2


def test_state_is_not_cached():
    """An accumulator counts on: what it gives depends on more than its input."""
    workflow = td.workflow("sums", policies={"*": CACHED}).add(
        td.accumulator(lambda total, x: total + x, initial=0, name="total")
    )
    with td.Runner() as runner:
        runner.start(workflow, "a")
        for expected in (3, 6, 9):
            assert runner.run("a", 3).result(PATIENCE_S) == {"total": expected}


def test_a_map_is_cached_item_by_item():
    """Those that were there before are not computed again."""
    body = Body(gives=lambda x: x * 10)
    workflow = (
        td.workflow("packing", policies={"pack": CACHED})
        .add(td.step(lambda items: items, name="items"))
        .add(td.map(body, name="pack"), to="items")
        .add(td.collect(name="all"), to="pack")
    )
    with td.Runner() as runner:
        assert once(runner, workflow, "a", [1, 2]) == {"all": [10, 20]}
        assert once(runner, workflow, "b", [2, 3]) == {"all": [20, 30]}
    assert sorted(body.calls) == [1, 2, 3]


def test_what_is_withdrawn_while_it_is_looked_for_is_not_begun(store_of):
    """A cancelled run ends, whatever the cache says."""
    body = Body(is_open=False)
    with td.Runner(store=store_of()) as runner:
        runner.start(cached(body), "a")
        ticket = runner.run("a", 3)
        runner.cancel("a")
        body.let_go()
        assert isinstance(ticket.exception(PATIENCE_S), errors.Cancelled)
        assert once(runner, cached(body), "b") == {"body": 3}


def test_without_a_store_the_policy_is_refused():
    """When the runner is made, or the run is; a bare workflow just does the work."""
    with pytest.raises(errors.UsageError, match="no store that keeps results"):
        td.Runner(store=None, policies={"body": CACHED})
    with td.Runner(store=None) as runner:
        with pytest.raises(errors.UsageError, match="no store that keeps results"):
            runner.start(cached(len), "a")
        with pytest.raises(errors.UsageError, match="no store that keeps results"):
            runner.start(cached(len, td.Policy()), "b", policies={"body": CACHED})
    assert cached(len).react_until_satisfied("four").results() == {"body": 4}


def test_who_asks_for_no_cache_has_none():
    """The loop has nothing to ask, and nothing is explained."""
    with td.Runner() as runner:
        once(runner, cached(len, td.Policy()), "a", "four")
        assert runner._runner._core.loop.caching is None
        assert runner.explain_cache("a", "body") is None
        with pytest.raises(errors.UsageError, match="Did you mean 'body'"):
            runner.explain_cache("a", "bod")
        assert len(log_of(runner, "a")) == 3


def test_damage_is_a_miss(tmp_path):
    """What is not as it was written is computed again."""
    body, store = Body(), SqliteStore(tmp_path / "runs.db", Codec())
    with td.Runner(store=store) as runner:
        once(runner, cached(body), "a")
        with store._connections.writing("damaging") as connection:
            connection.execute("UPDATE cache SET body = CAST(body || x'00' AS BLOB)")
        once(runner, cached(body), "b")
    assert len(body.calls) == 2
