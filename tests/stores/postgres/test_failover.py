"""A failover to a replica that lagged behind: what the runner was told to be stored is not there any more."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
import pytest

import treadle as td
from tests.durability.backlog import PATIENCE_S, until
from tests.stores.postgres.server import Server
from treadle.codec import Codec
from treadle.errors import PlugError, RunEnded, UnknownRun
from treadle.model.events import InputAccepted
from treadle.stores.postgres import PostgresStore


def flow() -> td.Workflow:
    """It counts what it was given."""
    return (
        td.workflow("w")
        .add(td.step(abs, name="step"))
        .add(td.accumulator(lambda total, _: total + 1, initial=0, name="count"), to="step")
    )


def has_caught_up(replica: Server, schema: str, run_id: str, length: int) -> bool:
    """Whether a run's log is as long there."""
    with psycopg.connect(replica.conninfo) as connection:
        row = connection.execute(
            f"SELECT head FROM {schema}.run WHERE id = %s", (run_id,)
        ).fetchone()
    return row is not None and row[0] == length


@pytest.mark.slow
def test_a_live_runner_goes_on_with_what_a_replica_that_lagged_behind_has(
    own_server: Server, caplog: Any
) -> None:
    """The run that lost commits begins anew from its log; one that lost all is let go of; others notice nothing.

    Nothing is added to a log of another length than the runner knows, so all logs are whole.
    """
    store = PostgresStore(own_server.conninfo, Codec())
    with td.Runner(store=store, workflows=[flow()], poll_s=0.02) as runner:
        for id in ("calm", "behind"):
            runner.start(flow(), id)
            assert runner.run(id, -1).result(PATIENCE_S)["count"] == 1
        replica = own_server.replica()
        replica.start()
        assert runner.run("behind", -2).result(PATIENCE_S)["count"] == 2
        length = runner.checkpoint("behind")
        until(lambda: has_caught_up(replica, store.schema, "behind", length))
        replica.stop()
        assert runner.run("behind", -3).result(PATIENCE_S)["count"] == 3  # at the old server alone
        runner.start(flow(), "young")
        assert runner.run("young", -1).result(PATIENCE_S)["count"] == 1
        own_server.stop("immediate")
        replica.port = own_server.port
        replica.start()
        replica.promote()

        assert runner.run("calm", -2).result(PATIENCE_S)["count"] == 2
        with caplog.at_level(logging.ERROR, "treadle.runner"):
            with pytest.raises((PlugError, RunEnded)):
                runner.run("behind", -4).result(PATIENCE_S)
            assert "Conflict" in caplog.text
        assert runner.checkpoint("behind") == length
        assert runner.run("behind", -5).result(PATIENCE_S)["count"] == 3
        with pytest.raises((PlugError, RunEnded, UnknownRun)):
            runner.run("young", -2).result(PATIENCE_S)
        until(lambda: "young" not in runner._runner._core.runs)
        runner.start(flow(), "young")
        assert runner.run("young", -1).result(PATIENCE_S)["count"] == 1
        assert runner._runner._core.runs["calm"].crashes == ()
        assert len(runner._runner._core.runs["behind"].crashes) == 1

    store = PostgresStore(own_server.conninfo, Codec())
    try:
        assert store.verify() == []
        inputs = [
            each.value for each in store.load("behind").events if isinstance(each, InputAccepted)
        ]
        assert inputs == [-1, -2, -5]
    finally:
        store.close()
        replica.stop("immediate")
