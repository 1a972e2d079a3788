"""The cache in a database: what one runner computed is there for another."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

import treadle as td
from tests.runner.running import PATIENCE_S, Body
from treadle.errors import Corrupt

CACHED = {"body": td.Policy(cache=td.Cache())}


def told(store, statement, *given):
    """A statement of one's own."""
    statement = statement.format(s=store.schema)
    with store._connections.borrowed("testing") as connection:
        return connection.execute(statement, given)


def flip(store):
    """Flip a bit of all entries."""
    told(store, "UPDATE {s}.cache SET body = set_byte(body, 3, get_byte(body, 3) # 1)")


@pytest.mark.slow
def test_what_one_runner_computed_another_finds(open_store):
    """And each says who computed it, also after both are gone."""
    body = Body(gives=lambda x: {"of": x})
    workflow = td.workflow("work", steps=[td.step(body, name="body")])
    for id in ("a", "b"):
        with td.Runner(store=open_store(), policies=CACHED) as runner:
            runner.start(workflow, id)
            assert runner.run(id, 3).result(PATIENCE_S) == {"body": {"of": 3}}
            runner.checkpoint(id)
            with td.Runner(store=open_store(), workflows=[workflow]) as other:
                elsewhere = other.explain_cache(id, "body")
            assert elsewhere == runner.explain_cache(id, "body")
    with td.Runner(store=open_store(), workflows=[workflow]) as runner:
        first, second = (runner.explain_cache(id, "body") for id in ("a", "b"))

    assert body.calls == [3]
    assert first is not None
    assert second is not None
    assert (first["hit"], second["hit"], second["run"]) == (False, True, "a")


@pytest.mark.slow
def test_a_flipped_bit_is_a_miss(open_store):
    """It is told, and computed anew; never given."""
    body, store = Body(), open_store()
    workflow = td.workflow("work", steps=[td.step(body, name="body")])
    with td.Runner(store=store, policies=CACHED) as runner:
        for id in ("a", "b", "c"):
            runner.start(workflow, id)
            assert runner.run(id, 3).result(PATIENCE_S) == {"body": 3}
            if id == "a":
                flip(store)
        found = runner.explain_cache("b", "body")
        assert found is not None
        assert "is damaged" in found["why"]
    assert body.calls == [3, 3]


@pytest.mark.slow
def test_who_keeps_the_same_at_once_keeps_it_whole(open_store):
    """Of many that keep the same keys in any order one is the last, and none waits for another in a circle."""
    stores = [open_store() for _ in range(3)]
    keys = ["a", "b", "c"]

    def keep(number):
        store = stores[number % 3]
        order = list(itertools.permutations(keys))[number % 6]
        body = b"%d " % number * 20_000
        for _ in range(4):
            store.put_cached(dict.fromkeys(order, body))
        return body, [store.cached(key) for key in keys]

    with ThreadPoolExecutor(6) as threads:
        rounds = list(threads.map(keep, range(12)))
    bodies = {body for body, _ in rounds}
    assert {found for _, seen in rounds for found in seen} <= bodies
    assert {stores[0].cached(key) for key in keys} <= bodies


@pytest.mark.slow
def test_asking_is_using(open_store):
    """By the server's clock, and noted where the last time was some while ago."""
    store = open_store()
    for key in ("asked", "forgotten", "fresh"):
        store.put_cached({key: b"x" * 99})
    told(store, "UPDATE {s}.cache SET used_at = used_at - 1000 WHERE key <> 'fresh'")
    assert store.cached("asked") == b"x" * 99
    gone = store.trim_cache(unused_for_s=500.0)
    assert (gone.entries, gone.entries_left) == (1, 2)
    assert store.cached("forgotten") is None
    assert store.cached("asked") is not None


@pytest.mark.slow
def test_what_another_one_keeps_just_now_is_not_waited_for(open_store):
    """An entry that somebody is about to replace is in use."""
    store = open_store()
    for key in ("a", "b"):
        store.put_cached({key: b"x"})
    with store._connections.borrowed("testing") as connection:
        connection.execute("BEGIN")
        connection.execute(f"UPDATE {store.schema}.cache SET body = body WHERE key = 'a'")
        assert store.trim_cache(most_bytes=0).entries == 1
        connection.execute("COMMIT")
    assert store.cached("a") == b"x"
    assert store.cached("b") is None
    flip(store)
    with pytest.raises(Corrupt, match="'a' is damaged"):
        store.cached("a")
