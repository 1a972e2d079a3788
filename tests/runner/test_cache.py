"""The cache under a runner: what was computed before is not computed again, and nobody can tell but by the calls."""

from dataclasses import dataclass

import pytest

import treadle as td
from tests.conftest import url_of
from tests.durability.places import looked_into
from tests.runner.running import PATIENCE_S, Body, SetClock, log_of, of_kind, until
from treadle import errors
from treadle.model.events import Applied
from treadle.runner.caching import newest_of
from treadle.stores.memory import MemoryStore
from treadle.wiring import make_store

CACHED = td.Policy(cache=td.Cache())


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store_of(request, tmp_path):
    """A store that several runners have one after the other."""
    kept = MemoryStore()
    url = "" if request.param == "memory" else url_of(request.param, request, tmp_path)

    def make():
        return make_store(url) if url else kept

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


def of_today(x):
    """What a step calls."""
    return x + 1


def calls_another(x):
    """A step whose code stays what it is."""
    return of_today(x)


def test_a_changed_helper_is_another_code(store_of, monkeypatch):
    """What the function calls is part of its code, so what was computed with the old one is not found."""
    with td.Runner(store=store_of()) as runner:
        assert once(runner, cached(calls_another), "a") == {"body": 4}
    monkeypatch.setitem(globals(), "of_today", lambda x: x + 100)
    with td.Runner(store=store_of()) as runner:
        assert once(runner, cached(calls_another), "b") == {"body": 103}


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


def test_damage_is_a_miss(url, caplog):
    """What is not as it was written is computed again, and that is told."""
    body = Body()
    longer = "CAST(body || x'00' AS BLOB)" if url.startswith("sqlite") else "body || 'x'::bytea"
    with td.Runner(store=url) as runner:
        once(runner, cached(body), "a")
        with looked_into(url) as connection, connection:
            connection.execute(f"UPDATE cache SET body = {longer}")
        once(runner, cached(body), "b")
        assert "is damaged" in explained(runner, "b")["why"]
        once(runner, cached(body), "c")
        assert explained(runner, "c")["hit"]
    assert "is damaged" in caplog.text
    assert len(body.calls) == 2


def test_why_is_known_after_a_restart(store_of):
    """What each run found stays with it in the store, also for who never asked for a cache; it goes with the run."""
    body, clock = Body(), SetClock()
    with td.Runner(store=store_of(), clock=clock) as runner:
        once(runner, cached(body), "a")
        clock.go_on(40)
        once(runner, cached(body), "b")
        runner.run("b", 3).result(PATIENCE_S)
        runner.run("b", 4).result(PATIENCE_S)
    with td.Runner(store=store_of(), workflows=[cached(body, td.Policy())]) as runner:
        first, second = explained(runner, "a"), explained(runner, "b")
        assert "nothing was kept" in first["why"]
        assert (first["hits"], first["misses"]) == (0, 1)
        assert second["why"].endswith("last: inputs")
        assert (second["hits"], second["misses"], second["hit"]) == (2, 1, False)
        runner.stop("a", persist=False)
        runner.start(cached(body, td.Policy()), "a")
        assert runner.explain_cache("a", "body") is None


def test_who_computed_it_and_when_is_told(store_of):
    """By the explanation, the story, and to observers; in the log nothing took any time."""
    body, clock, seen = Body(), SetClock(), []
    hooks = td.Hooks(on_complete=lambda id, runnable, outcome: seen.append((id, outcome.cached)))
    with td.Runner(store=store_of(), clock=clock, observers=[hooks]) as runner:
        once(runner, cached(body), "order-7")
        clock.go_on(40)
        once(runner, cached(body), "order-8")
        found = explained(runner, "order-8")
        told = "computed 40 s ago by run 'order-7'"
        assert (found["why"], found["run"]) == (told, "order-7")
        assert found["at"] - found["computed_at"] == 40
        assert [row["cached"] for row in runner.story("order-8") if "cached" in row] == [told]
        assert not [row for row in runner.story("order-7") if "cached" in row]
        assert [id for id, cached in seen if cached == told] == ["order-8"]
        took = {
            id: [each.seconds for each in of_kind(runner, id, Applied)][-1]
            for id in ("order-7", "order-8")
        }
    assert took["order-7"] is not None
    assert took["order-8"] is None


def test_counts_go_on_where_another_runner_left_them(store_of):
    """A run that is brought back is counted on."""
    body = Body()
    for _ in range(3):
        with td.Runner(store=store_of()) as runner:
            runner.start(cached(body), "a", if_exists="resume")
            runner.run("a", 3).result(PATIENCE_S)
            runner.checkpoint("a")
    with td.Runner(store=store_of(), workflows=[cached(body)]) as runner:
        found = explained(runner, "a")
        assert (found["hits"], found["misses"]) == (2, 1)


def test_what_is_let_go_of_is_computed_anew(store_of):
    """The runner trims the cache, also while it is at work, and says by how much."""
    body, store = Body(), store_of()
    with td.Runner(store=store) as runner:
        once(runner, cached(body), "a")
        gone = runner.trim_cache(unused_for_s=1_000)
        assert (gone.entries, gone.entries_left) == (0, 2)
        once(runner, cached(body), "b")
        with_newest = store.cached(newest_of("work/body"))
        gone = runner.trim_cache(most_bytes=0)
        assert (gone.entries, gone.entries_left, gone.bytes_left) == (2, 0, 0)
        once(runner, cached(body), "c")
        assert "let go of" in explained(runner, "c")["why"]
        runner.trim_cache(unused_for_s=-1)
        store.put_cached({newest_of("work/body"): with_newest})
        once(runner, cached(body), "d")
        assert explained(runner, "d")["why"] == "what was kept was let go of: it is there no more"
    assert len(body.calls) == 3
    with td.Runner(store=None) as runner, pytest.raises(errors.UsageError, match="keeps results"):
        runner.trim_cache()


def test_what_cannot_be_kept_is_told(tmp_path):
    """A result that no store takes, and a store that takes nothing."""

    class Full(MemoryStore):
        def put_cached(self, entries):
            raise errors.StoreFull("no room.")

    with td.Runner() as runner:
        once(runner, cached(lambda x: object()), "a")
        assert "what it gave cannot be stored" in explained(runner, "a")["why"]
    body = Body()
    with td.Runner(store=Full()) as runner:
        for id in "ab":
            once(runner, cached(body), id)
        assert "could not be kept: no room." in explained(runner, "b")["why"]
    assert len(body.calls) == 2


def test_two_that_want_the_same_at_once_compute_it_once(store_of):
    """The second waits for the first, and is given what that gave."""
    body = Body(is_open=False)
    with td.Runner(store=store_of(), executor="threads:4") as runner:
        tickets = []
        for id in ("a", "b", "c"):
            runner.start(cached(body), id)
            tickets.append(runner.run(id, 3))
        body.wait_for_calls()
        body.let_go()
        assert [ticket.result(PATIENCE_S) for ticket in tickets] == [{"body": 3}] * 3
        found = [explained(runner, id) for id in "abc"]
        assert sum(each["hit"] for each in found) == 2
        assert {each["run"] for each in found if each["hit"]} <= {"a", "b", "c"}
    assert body.calls == [3]


def test_where_the_first_fails_each_computes_for_itself(store_of):
    """Nobody fails because somebody else did, and nobody waits for a third."""
    body = Body(is_open=False, gives=lambda x: 1 / 0)
    with td.Runner(store=store_of(), executor="threads:4") as runner:
        tickets = []
        for id in ("a", "b", "c"):
            runner.start(cached(body), id)
            tickets.append(runner.run(id, 3))
        body.wait_for_calls()
        until(lambda: waiting(runner) == 2)
        assert len(body.calls) == 1
        body.let_go()
        for ticket in tickets:
            with pytest.raises(errors.StepFailed):
                ticket.result(PATIENCE_S)
    assert len(body.calls) == 3


def test_who_waits_for_another_can_be_cancelled(store_of):
    """At once, and not only when the other is done."""
    body = Body(is_open=False)
    with td.Runner(store=store_of(), executor="threads:4") as runner:
        runner.start(cached(body), "a")
        first = runner.run("a", 3)
        body.wait_for_calls()
        runner.start(cached(body), "b")
        second = runner.run("b", 3)
        until(lambda: waiting(runner) == 1)
        runner.cancel("b")
        assert isinstance(second.exception(PATIENCE_S), errors.Cancelled)
        assert not first.done()
        body.let_go()
        assert first.result(PATIENCE_S) == {"body": 3}
    assert body.calls == [3]


def test_the_plan_says_that_the_cache_is_asked():
    """Before anything is dispatched."""
    limited = td.Policy(cache=td.Cache(), max_concurrency=1)
    body = Body(is_open=False)
    with td.Runner(executor="threads:2") as runner:
        runner.start(cached(body, limited), "a", max_concurrency=1)
        tickets = [runner.run("a", number) for number in range(2)]
        body.wait_for_calls()
        reasons = [row["reason"] for row in runner.plan("a")]
        assert any(reason.endswith("the cache is asked first") for reason in reasons)
        body.let_go()
        for ticket in tickets:
            ticket.result(PATIENCE_S)


def waiting(runner):
    """How many bundles wait for what another one is about to give."""
    return len(runner._runner._core.loop.caching._waits)
