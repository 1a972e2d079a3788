"""The cache in a database: what one runner computed is there for another."""

import pytest

import treadle as td
from tests.runner.running import PATIENCE_S, Body


@pytest.mark.slow
def test_what_one_runner_computed_another_finds(open_store):
    """And what is not as it was written is no entry."""
    body = Body(gives=lambda x: {"of": x})
    workflow = td.workflow("work", steps=[td.step(body, name="body")])
    policies = {"body": td.Policy(cache=td.Cache())}
    for id in ("a", "b"):
        with td.Runner(store=open_store(), policies=policies) as runner:
            runner.start(workflow, id)
            assert runner.run(id, 3).result(PATIENCE_S) == {"body": {"of": 3}}
    store = open_store()
    store.put_cached("key", b"one")
    store.put_cached("key", b"two")

    assert body.calls == [3]
    assert store.cached("key") == b"two"
    assert store.cached("another") is None
