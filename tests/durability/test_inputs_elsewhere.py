"""Inputs for runs that another runner or process has: left in the inbox, taken once, answered at the sender."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from tests.durability.owner import flow, owning, until
from tests.stores.sqlite.places import below
from treadle import errors
from treadle.codec import Codec
from treadle.interfaces import Append, Message
from treadle.model.events import InputAccepted
from treadle.stores.sqlite import SqliteStore

GUARD_S = 30.0
POLL_S = 0.01


def inverse(number: float) -> float:
    """It fails for 0."""
    return 10 / number


def plain(function: Any = inverse, **options: Any) -> td.Workflow:
    """One step."""
    return td.workflow("w", **options).add(td.step(function, name="inverse"))


def stuck() -> tuple[td.Workflow, threading.Event]:
    """One step that waits for somebody."""
    gate = threading.Event()

    def held(number: float) -> float:
        assert gate.wait(GUARD_S)
        return inverse(number)

    return plain(held), gate


class Two:
    """Two runners on one store: one that has the runs, and one that knows of no workflow."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteStore(path / "runs.db", Codec())
        self.near = td.Runner(store=self.store, poll_s=POLL_S)
        self.far = td.Runner(store=self.store, poll_s=POLL_S)

    def info(self) -> Any:
        """How the run stands."""
        return self.store.info("a")

    def inputs(self, id: str = "a") -> list[Any]:
        """The values of all inputs in the stored log."""
        events = self.store.load_all(id).events
        return [event.value for event in events if isinstance(event, InputAccepted)]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    """The sender's store is the other's; who has the runs is closed first, since the store goes with it."""
    made = Two(tmp_path)
    yield made
    made.near.close()
    made.far.close()


def test_the_ticket_has_what_came_of_it(two: Two):
    """Its number when it was taken; a second one of the key is the first, whoever gives it."""
    two.near.start(plain(), "a")
    two.near.run("a", 1, key="here").result(GUARD_S)
    ticket = two.far.run("a", 5, key="there")
    again = two.far.run("a", 5, key="there")
    assert ticket.result(GUARD_S) == again.result(GUARD_S) == {"inverse": 2.0}
    assert two.far.run("a", 1, key="here").result(GUARD_S) == {"inverse": 10.0}
    assert two.near.run("a", 5, key="there").result(GUARD_S) == {"inverse": 2.0}
    assert (ticket.run_id, ticket.input, again.input) == ("a", 1, 1)
    assert two.inputs() == [1, 5]
    unkeyed = [two.far.run("a", 2) for _ in range(3)]
    assert [each.result(GUARD_S) for each in unkeyed] == [{"inverse": 5.0}] * 3
    assert sorted(each.input or 0 for each in unkeyed) == [2, 3, 4]


def test_it_fails_as_a_ticket_there_would(two: Two):
    """A failure, a cancellation from either side, a deadline, and an end before it was finished."""
    made, gate = stuck()
    two.near.start(made, "a")
    failing = two.far.run("a", 0)
    cancelled, withdrawn = two.far.run("a", 1, key="c"), two.far.run("a", 2)
    late, left = two.far.run("a", 3, deadline_s=0.05), two.far.run("a", 4)
    with pytest.raises(errors.DeadlineExceeded, match="input 3 of 'a' ran out of time"):
        late.result(GUARD_S)
    assert cancelled.cancel()
    two.near.cancel("a", input=2, reason="enough")
    with pytest.raises(errors.Cancelled, match="input 1 .* its ticket was cancelled"):
        cancelled.result(GUARD_S)
    with pytest.raises(errors.Cancelled, match="input 2 of 'a' was cancelled: enough"):
        withdrawn.result(GUARD_S)
    assert not cancelled.cancel()
    assert (repr(left), left.done()) == ("<Ticket 'a' input 4: open>", False)
    gate.set()
    with pytest.raises(errors.StepFailed, match="'inverse' failed for input 0: Zero") as caught:
        failing.result(GUARD_S)
    failed = caught.value
    assert (failed.component, failed.input, failed.attempt) == ("inverse", 0, 1)
    assert left.result(GUARD_S) == {"inverse": 2.5}


def test_a_run_that_ends_first_says_so_and_the_input_stays_to_be_done(two: Two):
    """Stopped: what was taken and what was not goes on when somebody resumes it; cancelled: for good."""
    made, gate = stuck()
    two.near.start(made, "a")
    taken = two.far.run("a", 1)
    until(lambda: taken.input == 0, "it is taken")
    two.near.stop("a", now=True)
    with pytest.raises(errors.RunEnded, match="was stopped before its input 0 was finished"):
        taken.result(GUARD_S)
    letter = Message(id="late", run_id="a", kind="input", body=b'{"value": 2}')
    two.store.post(letter)  # as one that was on its way
    until(lambda: two.info().owner is None, "it is nobody's")
    with pytest.raises(errors.RunEnded, match="resume it first"):
        two.far.run("a", 3)
    gate.set()
    two.near.resume("a")
    until(lambda: two.near.get_results("a") == {"inverse": 5.0}, "both are done")
    two.near.cancel("a")
    until(lambda: two.info().status == "cancelled", "that is stored")
    with pytest.raises(errors.RunEnded, match="is cancelled"):
        two.far.run("a", 3)


def test_what_is_on_its_way_to_a_run_that_ends_hears_of_it(tmp_path: Path):
    """The run is stopped between the two; the input waits in the inbox, and is taken when the run goes on."""
    store: Any
    with closing(SqliteStore(tmp_path / "runs.db", Codec())) as store:
        deaf = td.Runner(store=store, poll_s=GUARD_S)
        with td.Runner(store=store, poll_s=POLL_S) as far:
            deaf.start(plain(), "a")
            ticket = far.run("a", 5)
            deaf.stop("a")
            with pytest.raises(errors.RunEnded, match="stopped before the input was taken") as told:
                ticket.result(GUARD_S)
            assert "when somebody resumes the run" in str(told.value)
            with td.Runner(store=store, workflows=[plain()], poll_s=POLL_S) as other:
                keeper: Any = deaf._runner._core.custody.keeper
                until(lambda: keeper.hurry() or store.info("a").owner is None, "it is let go of")
                other.resume("a")
                until(lambda: other.get_results("a") == {"inverse": 2.0}, "it is done")
        deaf.close()


def test_a_run_that_is_resumed_is_so_for_all(two: Two):
    """Before anything happens in it: inputs reach it, and it is no stopped run, should its runner end now."""
    store: Any = two.store
    asking = td.workflow("w").add(td.wait_for("said"))
    two.near.start(plain(), "a")
    two.near.start(asking, "waits")
    ticket = two.near.run("waits", "?")
    for id, status in (("a", "idle"), ("waits", "waiting")):
        two.near.stop(id)
        assert store.info(id).status == "stopped"
        assert two.near.resume(id) == id
        assert store.info(id).status == status
    assert two.far.run("a", 5).result(GUARD_S) == {"inverse": 2.0}
    two.far.signal("waits", "said", 1)
    assert isinstance(ticket.exception(GUARD_S), errors.RunEnded)
    until(lambda: two.near.get_results("waits") == {"said": 1}, "it goes on")
    assert {info.id: info.status for info in two.far.runs()} == {"a": "idle", "waits": "idle"}


def test_a_run_whose_process_ended_in_its_cancellation_is_cancelled(tmp_path: Path):
    """What was out then is not waited for by anybody; it takes no input again."""
    store: Any
    place = f"sqlite:///{tmp_path / 'runs.db'}"
    with td.Runner(store=place) as runner:
        runner.start(plain(), "a")
        runner.run("a", 5).result(GUARD_S)
    with closing(SqliteStore(tmp_path / "runs.db", Codec())) as store:
        (claimed,) = store.claim("lost", 0.0, run_id="a")
        left = Append(run_id="a", expected=None, status="cancelling", epoch=claimed.epoch)
        assert store.append([left]) == [None]
    with td.Runner(store=place, workflows=[plain()], poll_s=POLL_S) as runner:
        with pytest.raises(errors.RunEnded, match="cancelled"):
            runner.run("a", 4)
        until(lambda: runner.runs()[0].status == "cancelled", "it is over")
    with closing(SqliteStore(tmp_path / "runs.db", Codec())) as store:
        assert store.info("a").status == "cancelled"


def test_who_is_refused_there_is_told(two: Two):
    """Too many inputs, and what cannot be read; neither comes again."""
    made, gate = stuck()
    two.near.start(made, "a", max_open=1)
    first = two.far.run("a", 1)
    with pytest.raises(errors.Overloaded, match="no more than 1 may be"):
        two.far.run("a", 2).result(GUARD_S)
    gate.set()
    assert first.result(GUARD_S) == {"inverse": 10.0}
    assert two.far.run("a", 2).result(GUARD_S) == {"inverse": 5.0}
    body = json.dumps({"value": 1, "deadline_at": "soon"}).encode()
    two.store.post(Message(id="m", run_id="a", kind="input", body=body))
    until(lambda: two.store.answered("a", "m"), "it is taken")
    told: Any = two.store.standing([("a", "m")])["a", "m"]
    assert "cannot be read" in Codec().decode(told.body)["text"]
    assert two.inputs() == [1, 2]


def test_what_cannot_travel_is_refused_at_once(two: Two):
    """Policies have functions; context values travel, where they can be stored. Nothing is left."""

    def greet(name: str, *, word: Any = td.context("word", default="hello")) -> str:
        return f"{word} {name}"

    two.near.start(td.workflow("w").add(td.step(greet)), "a")
    with pytest.raises(errors.UsageError, match="policies= of an input do not reach"):
        two.far.run("a", "Ann", policies={"greet": td.Policy()})
    with pytest.raises(errors.EncodeError, match="value is a function"):
        two.far.run("a", greet)
    with pytest.raises(errors.EncodeError, match="context.*cannot be stored"):
        two.far.run("a", "Ann", run_context={"greet": {"word": greet}})
    with pytest.raises(errors.UsageError, match="should be a dict by component name"):
        two.far.run("a", "Ann", run_context=[])  # type: ignore[arg-type]
    ticket = two.far.run("a", "Ann", run_context={"greet": {"word": "hej"}})
    assert ticket.result(GUARD_S) == {"greet": "hej Ann"}
    assert two.inputs() == ["Ann"]


def test_finished_inputs_may_be_forgotten_there(two: Two):
    """What came of it was told when it was finished."""
    two.near.start(plain(retain=0), "a")
    tickets = [two.far.run("a", number) for number in (1, 2, 5)]
    assert [each.result(GUARD_S)["inverse"] for each in tickets] == [10.0, 5.0, 2.0]


def test_a_run_of_an_unknown_workflow_is_left_alone(tmp_path: Path):
    """Nobody has it: inputs, signals and cancellations wait for a runner that knows what it does."""
    place = f"sqlite:///{tmp_path / 'runs.db'}"
    with td.Runner(store=place) as runner:
        runner.start(plain(), "a")
    with td.Runner(store=place, poll_s=POLL_S) as far:
        ticket = far.run("a", 5)
        far.signal("a", "nobody waits for it")
        far.cancel("a", input=7)
        assert (far.runs()[0].status, ticket.done()) == ("idle", False)
    with pytest.raises(errors.RunEnded, match="closed before it heard"):
        ticket.result(GUARD_S)
    with td.Runner(store=place, workflows=[plain()], poll_s=POLL_S) as runner:
        until(lambda: runner.get_results("a") == {"inverse": 2.0}, "it is taken")


def test_a_sender_that_becomes_the_owner_hears_of_it(tmp_path: Path):
    """The one that had the run took nothing, and let go of it."""
    store: Any = SqliteStore(tmp_path / "runs.db", Codec())
    deaf = td.Runner(store=store, poll_s=GUARD_S)
    deaf.start(plain(), "a")
    with td.Runner(store=store, workflows=[plain()], poll_s=POLL_S) as heir:
        ticket = heir.run("a", 5)
        withdrawn = heir.run("a", 4)
        deaf._runner._core.store = None  # it is not to close the store of the other
        core = deaf._runner._core
        store.release({"a": core.custody.claimed["a"]})
        assert ticket.result(GUARD_S) == {"inverse": 2.0}
        withdrawn.exception(GUARD_S)
        assert store.info("a").owner == heir._runner._core.custody.owner
        assert heir.run("a", 1).input == 2
        core.custody.claimed.clear()
        deaf.close()


def test_who_waits_for_a_run_that_is_deleted_is_told(two: Two):
    """Nothing will come of it."""
    made, gate = stuck()
    two.near.start(made, "a")
    ticket = two.far.run("a", 1)
    until(lambda: ticket.input == 0, "it is taken")
    two.store.delete("a")
    with pytest.raises(errors.UnknownRun, match="not in the store any more"):
        ticket.result(GUARD_S)
    gate.set()


def test_a_damaged_reply_is_told_as_such(two: Two):
    """It is never taken for a result, and `verify` finds it."""
    made, gate = stuck()
    two.near.start(made, "a")
    ticket = two.far.run("a", 1)
    until(lambda: ticket.input == 0, "it is taken")
    with below(two.store.path) as connection:
        connection.execute("UPDATE message SET reply = CAST('no reply' AS BLOB)")
    with pytest.raises(
        errors.Corrupt, match="what came of a message for 'a' is stored, and cannot"
    ):
        ticket.result(GUARD_S)
    (finding,) = two.store.verify()
    assert "is not what was told" in finding.what
    gate.set()


def test_an_async_runner_leaves_inputs_too(two: Two):
    """Its tickets are awaited; the inbox is written to in another thread."""
    two.near.start(plain(), "a")

    async def send() -> list[dict[str, Any]]:
        async with td.AsyncRunner(store=SqliteStore(two.store.path, Codec()), poll_s=POLL_S) as far:
            tickets = [await far.run("a", number) for number in (1, 2)]
            return await asyncio.gather(*tickets)

    assert asyncio.run(send()) == [{"inverse": 10.0}, {"inverse": 5.0}]


def ledger(folder: Path) -> list[list[int]]:
    """Each execution: the process, and the number."""
    path = folder / "ledger"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def accepted(store: Any, id: str) -> list[Any]:
    """The inputs of a stored run, by their keys."""
    events = store.load_all(id).events
    return [(event.key, event.value) for event in events if isinstance(event, InputAccepted)]


@pytest.mark.slow
def test_inputs_for_a_process_that_is_killed_count_once(tmp_path: Path):
    """One that was taken and not finished, its repetition, and ones that were not taken: the sender takes over all."""
    place = f"sqlite:///{tmp_path / 'runs.db'}"
    with owning(tmp_path, place, "a") as owner:
        with td.Runner(store=place, workflows=[flow(tmp_path)], poll_s=POLL_S) as sender:
            done = sender.run("a", 5, key="five")
            assert done.result(GUARD_S) == {"work": 2.0}
            under_way = sender.run("a", -1, key="minus one")
            until(lambda: under_way.input == 1, "it is taken")
            until(lambda: [owner.pid, -1] in ledger(tmp_path), "it has begun")
            owner.kill()
            owner.wait()
            (tmp_path / "gate").touch()
            assert under_way.result(GUARD_S) == {"work": -10.0}
    store = SqliteStore(tmp_path / "runs.db", Codec())
    assert accepted(store, "a") == [("five", 5), ("minus one", -1)]
    assert [number for _, number in ledger(tmp_path)] == [5, -1, -1]
    assert store.verify() == []
    store.close()


@pytest.mark.slow
def test_inputs_that_a_killed_process_never_saw_are_taken_once(tmp_path: Path):
    """It looked too seldom; the same key twice is one input, and a withdrawn one is none."""
    place = f"sqlite:///{tmp_path / 'runs.db'}"
    (tmp_path / "gate").touch()
    with owning(tmp_path, place, "a", poll_s=GUARD_S) as owner:
        with td.Runner(store=place, workflows=[flow(tmp_path)], poll_s=POLL_S) as sender:
            tickets = [sender.run("a", 5, key="five") for _ in range(2)]
            tickets.append(sender.run("a", 4))
            assert [ticket.input for ticket in tickets] == [None] * 3
            assert ledger(tmp_path) == []
            owner.kill()
            owner.wait()
            found = [ticket.result(GUARD_S) for ticket in tickets]
            assert found == [{"work": 2.0}, {"work": 2.0}, {"work": 2.5}]
            assert [ticket.input for ticket in tickets] == [0, 0, 1]
    store = SqliteStore(tmp_path / "runs.db", Codec())
    assert [value for _, value in accepted(store, "a")] == [5, 4]
    assert sorted(number for _, number in ledger(tmp_path)) == [4, 5]
    store.close()
