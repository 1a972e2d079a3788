"""Inputs for runs at other processes of one database: taken once, also where a process is killed with them."""

import pytest

import treadle as td
from tests.durability.owner import flow, owning, until
from tests.durability.test_inputs_elsewhere import accepted, ledger
from treadle import errors

GUARD_S = 30.0
LEASE_S = 1.0


@pytest.fixture
def place(server, store):
    """Where owners find the schema of this test."""
    return f"{server.conninfo} {store.schema}"


@pytest.mark.slow
def test_a_sender_without_workflows_feeds_a_run_at_another_process(
    tmp_path, place, store, open_store
):
    """Its tickets end as they would there: results, a failure, a cancellation; a key is one input."""
    with (
        owning(tmp_path, place, "a", "b") as owner,
        td.Runner(store=open_store(), poll_s=0.02) as sender,
    ):
        tickets = [sender.run("a", number, key=f"n{number}") for number in (5, 0, 5)]
        waiting = sender.run("b", -1)
        assert tickets[0].result(GUARD_S) == tickets[2].result(GUARD_S) == {"work": 2.0}
        with pytest.raises(errors.StepFailed, match="division by zero"):
            tickets[1].result(GUARD_S)
        assert [ticket.input for ticket in tickets] == [0, 1, 0]
        waiting.cancel()
        with pytest.raises(errors.Cancelled, match="its ticket was cancelled"):
            waiting.result(GUARD_S)
        (tmp_path / "gate").touch()
        assert owner.poll() is None
        assert accepted(store, "a") == [("n5", 5), ("n0", 0)]
    assert store.verify() == []


@pytest.mark.slow
def test_another_process_takes_what_the_killed_one_had_or_never_saw(
    tmp_path, place, store, open_store
):
    """The sender's tickets end all the same; each input counts once."""
    with (
        td.Runner(store=open_store(), poll_s=0.02) as sender,
        owning(tmp_path, place, "a", lease_s=LEASE_S) as first,
        owning(tmp_path, place, "b", poll_s=GUARD_S, lease_s=LEASE_S) as deaf,
    ):
        done = sender.run("a", 5, key="five")
        assert done.result(GUARD_S) == {"work": 2.0}
        under_way, unseen = sender.run("a", -1, key="minus one"), sender.run("b", 4, key="four")
        until(lambda: under_way.input == 1, "it is taken")
        until(lambda: [first.pid, -1] in ledger(tmp_path), "it has begun")
        first.kill()
        deaf.kill()
        (tmp_path / "gate").touch()
        again = [sender.run("a", -1, key="minus one"), sender.run("b", 4, key="four")]
        with owning(tmp_path, place, lease_s=LEASE_S) as heir:
            found = [ticket.result(GUARD_S) for ticket in (under_way, unseen, *again)]
            assert found == [{"work": -10.0}, {"work": 2.5}] * 2
            assert [heir.pid, -1] in ledger(tmp_path)
    assert accepted(store, "a") == [("five", 5), ("minus one", -1)]
    assert accepted(store, "b") == [("four", 4)]
    assert store.verify() == []


@pytest.mark.slow
def test_a_sender_that_takes_the_run_over_answers_its_own_ticket(
    tmp_path, place, store, open_store
):
    """It knows the workflow, and there is nobody else."""
    (tmp_path / "gate").touch()
    with owning(tmp_path, place, "a", poll_s=GUARD_S, lease_s=LEASE_S) as deaf:
        with td.Runner(
            store=open_store(), workflows=[flow(tmp_path)], poll_s=0.02, lease_s=LEASE_S
        ) as heir:
            ticket = heir.run("a", 5, key="five")
            deaf.kill()
            assert ticket.result(GUARD_S) == {"work": 2.0}
            assert heir.run("a", 5, key="five").input == 0
    assert accepted(store, "a") == [("five", 5)]
