"""Leases outlive what holds up the event loop: a thread of its own renews them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from tests.durability.backlog import PATIENCE_S, until
from treadle.codec import Codec
from treadle.interfaces import Append
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


class SlowToBegin(SqliteStore):
    """Has its leases renewed, twice, while a new run is on its way to it."""

    renewals = 0

    def renew(self, owner: str, ttl_s: float, epochs: Mapping[str, int]) -> set[str]:
        still = super().renew(owner, ttl_s, epochs)
        self.renewals += 1
        return still

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        if any(append.create is not None for append in batch):
            before = self.renewals
            until(lambda: self.renewals > before + 1)
        return super().append(batch)


def test_a_run_that_is_not_stored_yet_is_nobody_elses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The store does not know of it when the leases are renewed: that is no reason to give it up."""

    async def same(number: int) -> int:
        return number

    made = td.workflow("w").add(td.step(same))
    store = SlowToBegin(tmp_path / "runs.db", Codec())
    with td.Runner(store=store, workflows=[made], lease_s=LEASE_S, poll_s=0.01) as runner:
        runner.start(made, "a")
        assert runner.run("a", 7).result(PATIENCE_S) == {"same": 7}
        renewals = store.renewals
        until(lambda: store.renewals > renewals + 1)  # by now it is renewed like any other
        assert runner.run("a", 8).result(PATIENCE_S) == {"same": 8}
    assert "another runner" not in caplog.text
