"""Leases outlive what holds up the event loop: a thread of its own renews them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from tests.durability.backlog import PATIENCE_S, until
from treadle.codec import Codec
from treadle.stores.sqlite import SqliteStore

LEASE_S = 0.3


@pytest.mark.slow
def test_a_body_that_blocks_the_event_loop_costs_no_lease(tmp_path: Path) -> None:
    """Another runner, which takes what nobody keeps, takes nothing; the body runs once, and its outcome counts."""
    gate, entered, calls = threading.Event(), threading.Event(), []

    async def blocking(number: int) -> int:
        calls.append(number)
        entered.set()
        assert gate.wait(PATIENCE_S)
        return number

    made = td.workflow("w").add(td.step(blocking))
    store: Any = SqliteStore(tmp_path / "runs.db", Codec())
    settings: Any = {"store": store, "workflows": [made], "lease_s": LEASE_S, "poll_s": 0.01}

    looks: list[str | None] = []

    def watch() -> None:
        looks.append(store.info("a").owner)

    def until_when() -> float:
        return store.info("a").lease_until or 0.0

    with td.Runner(**settings, lag_s=None) as first, td.Runner(**settings) as second:
        first.start(made, "a")
        ticket = first.run("a", 7)
        assert entered.wait(PATIENCE_S)
        begun, owner = until_when(), store.info("a").owner
        taking: Any = second._runner._core.custody
        taking.keeper.chores.append(watch)
        until(lambda: until_when() > begun + 2 * LEASE_S and len(looks) > 10)
        gate.set()
        assert ticket.result(PATIENCE_S) == {"blocking": 7}
        assert taking.claimed == {}
        assert store.info("a").epoch == 1

    assert calls == [7]
    assert set(looks) == {owner}
