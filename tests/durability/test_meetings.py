"""Things that seldom meet: what is asked of a run while something of it is on its way to the store, or it is away."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from tests.runner.running import PATIENCE_S, Body, increment, until
from treadle import errors
from treadle.codec import Codec
from treadle.interfaces import Append, RunInfo
from treadle.runner.custody import Custody
from treadle.stores.sqlite import SqliteStore


class Gated(SqliteStore):
    """Has the writer wait before a gate."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Codec())
        self.gate = threading.Event()
        self.gate.set()

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        """Wait, then store."""
        assert self.gate.wait(PATIENCE_S)
        return super().append(batch)


@pytest.fixture
def store(tmp_path: Path) -> Gated:
    """A file that may be made to wait."""
    return Gated(tmp_path / "runs.db")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is to be said: no warning and no error, but that of two runners one closed the store of both."""
    yield
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert [text for text in said if not text.endswith("was closed.")] == []


def one_step() -> td.Workflow:
    """A workflow that adds one."""
    return td.workflow("w").add(td.step(increment, name="step"))


def asking() -> td.Workflow:
    """A workflow that waits for somebody."""
    return td.workflow("asking").add(td.wait_for("ok", key=str))


def on_a_loop(main: Callable[[], Awaitable[None]]) -> None:
    """Run this to its end, within reason."""

    async def within() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await main()

    asyncio.run(within())


def machines(runner: Any) -> set[str]:
    """The runs of a runner that are in memory as they are."""
    runs = (getattr(runner, "_runner", runner))._core.runs
    return {id for id, run in list(runs.items()) if run.machine is not None}


async def asked(request: Awaitable[Any]) -> asyncio.Future[Any]:
    """A request that has reached the runner, and whose answer is still to come."""
    future = asyncio.ensure_future(request)
    for _ in range(3):
        await asyncio.sleep(0)
    return future


# --------------------------------------------------------------------- on its way to the store


def test_a_run_that_was_forgotten_leaves_its_id_to_another(store: Gated) -> None:
    """The new one stays this runner's, whatever of the old one was still on its way."""
    with td.Runner(store=store, poll_s=0.01) as runner:
        for number in range(20):
            runner.start(one_step(), "a")
            assert runner.run("a", number).result(PATIENCE_S) == {"step": number + 1}
            assert runner.stop("a", persist=False) == "stopped"
        assert runner.runs() == []


def test_a_run_that_is_forgotten_before_it_is_stored_is_forgotten(store: Gated) -> None:
    """It is deleted after it was made, and not before."""

    async def main() -> None:
        async with td.AsyncRunner(store=store) as runner:
            store.gate.clear()
            starting = await asked(runner.start(one_step(), "a"))
            stopping = await asked(runner.stop("a", persist=False))
            with pytest.raises(errors.UnknownRun):
                await runner.get_workflow("a")
            store.gate.set()
            assert await starting == "a"
            assert await stopping == "stopped"
            assert store.info("a") is None
            assert await runner.runs() == []

    on_a_loop(main)


def test_an_id_can_be_used_again_while_its_run_is_being_forgotten(store: Gated) -> None:
    """The new run is made after the old one is deleted."""

    async def main() -> None:
        async with td.AsyncRunner(store=store) as runner:
            await runner.start(one_step(), "a")
            assert await (await runner.run("a", 1)) == {"step": 2}
            store.gate.clear()
            stopping = await asked(runner.stop("a", persist=False))
            starting = await asked(runner.start(one_step(), "a", if_exists="resume"))
            store.gate.set()
            assert (await stopping, await starting) == ("stopped", "a")
            assert await (await runner.run("a", 5)) == {"step": 6}
            assert len((await runner.get_workflow("a")).inputs()) == 1
            assert [info.id for info in store.list()] == ["a"]

    on_a_loop(main)


def test_a_run_that_is_resumed_at_once_has_all_that_it_had(store: Gated) -> None:
    """It begins again from its log when all of that is stored."""

    async def main() -> None:
        async with td.AsyncRunner(store=store, workflows=[one_step()]) as runner:
            await runner.start(one_step(), "a", durability="relaxed")
            store.gate.clear()
            for number in range(3):
                assert await (await runner.run("a", number)) == {"step": number + 1}
            stopping = await asked(runner.stop("a"))
            resuming = await asked(runner.resume("a"))
            store.gate.set()
            assert await stopping in {"stopped", "idle"}
            assert await resuming == "a"
            assert await (await runner.run("a", 3)) == {"step": 4}
            workflow = await runner.get_workflow("a")
            assert [each["value"] for each in workflow.inputs()] == [0, 1, 2, 3]
        assert store_of(store.path).verify() == []

    on_a_loop(main)


def store_of(path: Any) -> SqliteStore:
    """The file, for somebody else."""
    return SqliteStore(path, Codec())


def test_only_one_of_two_forks_gets_an_id(store: Gated) -> None:
    """Also where both were asked for before either could begin; the one that did is whole."""

    async def main() -> None:
        async with td.AsyncRunner(store=store, workflows=[one_step()]) as runner:
            await runner.start(one_step(), "a")
            await (await runner.run("a", 1))
            store.gate.clear()
            feeding = await asked(runner.run("a", 2))
            forks = [await asked(runner.fork("a", new_id="b")) for _ in range(2)]
            store.gate.set()
            await feeding
            one, other = await asyncio.gather(*forks, return_exceptions=True)
            assert one == "b"
            assert isinstance(other, errors.DuplicateRun)
            assert await (await runner.run("b", 5)) == {"step": 6}

    on_a_loop(main)


def test_no_fork_begins_in_a_runner_that_closes(store: Gated) -> None:
    """Whoever asked for it is told so, and nothing is left that works on."""

    async def main() -> None:
        runner = td.AsyncRunner(store=store, workflows=[one_step()])
        await runner.start(one_step(), "a")
        store.gate.clear()
        feeding = await asked(runner.run("a", 2))
        forking = await asked(runner.fork("a", new_id="b"))
        closing = await asked(runner.close())
        store.gate.set()
        await closing
        await feeding
        with pytest.raises(errors.RunEnded):
            await forking

    on_a_loop(main)
    left = store_of(store.path)
    assert [info.id for info in left.list()] == ["a"]
    left.close()


def test_idle_runs_are_put_away_when_they_are_stored(store: Gated) -> None:
    """Their turn came while something of them was on its way."""

    async def main() -> None:
        async with td.AsyncRunner(store=store, keep_warm=2) as runner:
            for id in "abcdef":
                await runner.start(one_step(), id, durability="relaxed")
            store.gate.clear()
            for id in "abcdef":
                assert await (await runner.run(id, 1)) == {"step": 2}
            store.gate.set()
            for id in "abcdef":
                await runner.checkpoint(id)
            assert len(machines(runner)) == 2
            assert set(runner._core.custody.claimed) == machines(runner)

    on_a_loop(main)


def test_a_run_that_is_parked_does_nothing_more_and_says_why(store: Gated) -> None:
    """What another input of it was about to begin does not begin, and does not overwrite the reason."""
    body = Body(is_open=False)
    once = td.Policy(effects="at_most_once")
    made = td.workflow("w").add(td.step(body, name="pay")).with_policies({"pay": once})
    first = td.Runner(store=store, workflows=[made], max_concurrency=1)
    first.start(made, "a", max_concurrency=1)
    for amount in (1, 2):
        first.run("a", amount)
    body.wait_for_calls()
    first.close(drain_s=0)
    body.let_go()

    with td.Runner(store=store_of(store.path), workflows=[made]) as second:
        assert second.wait("a", PATIENCE_S) == "parked"
    after = store_of(store.path)
    info = after.info("a")
    assert info is not None
    assert (info.status, (info.note or "").partition(":")[0]) == ("parked", "ambiguous")
    assert len(after.load("a").intents) == 1
    after.close()


# --------------------------------------------------------------------------------------- away


def away(runner: td.Runner) -> td.Ticket:
    """A run `a` that waits for somebody, put away by another one; the ticket of its input."""
    runner.start(asking(), "a")
    ticket = runner.run("a", 1)
    runner.start(asking(), "b")
    runner.run("b", 1)
    until(lambda: "a" not in machines(runner))
    return ticket


def owner_of(store: SqliteStore, id: str) -> str | None:
    """Who has a run."""
    info = store.info(id)
    assert info is not None
    return info.owner


def in_a_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Call this elsewhere; what is given waits for its answer."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(call()), daemon=True)
    thread.start()

    def answer() -> Any:
        thread.join(PATIENCE_S)
        assert answers, "there was no answer"
        return answers[0]

    return answer


def waiters(runner: td.Runner, id: str) -> int:
    """How many wait for a run."""
    run: Any = runner._runner._core.runs[id]
    return len(run.waiters)


def test_who_waits_for_a_run_that_is_away_is_told_that_it_was_stopped(store: Gated) -> None:
    """And so is the ticket of its input."""
    with td.Runner(store=store, workflows=[asking()], keep_warm=1) as runner:
        ticket = away(runner)
        waiting = in_a_thread(lambda: runner.wait("a", PATIENCE_S))
        until(lambda: waiters(runner, "a") == 1)
        runner.start(asking(), "c")
        runner.run("c", 1)
        until(lambda: "a" not in machines(runner))
        assert runner.stop("a") == "stopped"
        assert waiting() == "stopped"
        assert isinstance(ticket.exception(PATIENCE_S), errors.RunEnded)


def test_nobody_waits_for_a_run_that_is_away_when_its_runner_closes(store: Gated) -> None:
    """Nor is the store blamed for it; the run goes on where somebody begins next."""
    runner = td.Runner(store=store, workflows=[asking()], keep_warm=1)
    ticket = away(runner)
    waiting = in_a_thread(lambda: runner.wait("a", PATIENCE_S))
    until(lambda: waiters(runner, "a") == 1)
    events = in_a_thread(lambda: list(runner.stream("b")))
    until(lambda: runner._runner._core.runs["b"].streams)
    runner.close()
    assert waiting() == "stopped"
    assert events() == []
    error = ticket.exception(PATIENCE_S)
    assert isinstance(error, errors.RunEnded)
    assert "could not be written" not in str(error)
    with td.Runner(store=store_of(store.path), workflows=[asking()]) as after:
        after.signal("a", "ok", "yes")
        assert after.wait("a", PATIENCE_S) == "idle"
        assert after.get_results("a") == {"ok": "yes"}


@pytest.mark.parametrize("stays", [True, False], ids=["stays there", "is put away there"])
def test_who_waits_for_a_run_that_another_runner_went_on_with_hears_of_it(
    store: Gated, *, stays: bool
) -> None:
    """Where the other one keeps it, it says so; where that one has put it away, it reads what came of it."""
    settings: Any = {"store": store, "workflows": [asking()]}
    with (
        td.Runner(**settings, keep_warm=1, poll_s=60.0) as first,
        td.Runner(**settings, keep_warm=1, poll_s=0.01, recover=False) as second,
    ):
        ticket, look = away(first), first._runner._core.custody.hurry
        look()
        until(lambda: owner_of(store, "a") is None)
        second.signal("a", "ok", "yes")
        assert second.wait("a", PATIENCE_S) == "idle"
        if stays:
            look()
            assert isinstance(ticket.exception(PATIENCE_S), errors.RunElsewhere)
            assert first.get_results("a") == {"ok": "yes"}
        else:
            second.start(one_step(), "c")
            until(lambda: owner_of(store, "a") is None)
            look()
            assert ticket.result(PATIENCE_S) == {"ok": "yes"}


# ------------------------------------------------------------------------------- whose it is


def test_a_new_run_of_an_old_id_is_not_let_go_of_with_the_old_one(tmp_path: Path) -> None:
    """What was to be let go of, and what the keeper says of before, is of another run."""
    store = SqliteStore(tmp_path / "runs.db", Codec())
    keeps: Any = None
    custody = Custody(
        store, keeps, names=list, room=lambda: 9, now=lambda: 0.0, lease_s=60.0, poll_s=60.0
    )
    custody.signed(RunInfo(id="a", workflow="w", run_key="k"))
    custody.born("a")
    custody.leave("a")
    custody.signed(RunInfo(id="a", workflow="w", run_key="l"))
    keeper: Any = custody.keeper
    assert keeper._leaving == {}
    assert custody.is_another("a", 1)
    custody.born("a")
    assert not custody.is_another("a", 1)
    assert custody.note(RunInfo(id="a", workflow="w", run_key="l", epoch=2))
    store.close()


def test_a_run_that_could_not_be_read_is_let_go_of(
    store: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was claimed, and nobody here is at work on it: whoever looks next may have it."""
    with td.Runner(store=store, workflows=[asking()], keep_warm=1, poll_s=0.01) as runner:
        away(runner)
        until(lambda: owner_of(store, "a") is None)

        def load(run_id: str) -> Any:
            raise errors.StoreUnavailable(f"{run_id} cannot be read now.")

        with monkeypatch.context() as now:
            now.setattr(store, "load", load)
            with pytest.raises(errors.StoreUnavailable):
                runner.signal("a", "ok", "yes")
        until(lambda: owner_of(store, "a") is None)
        runner.signal("a", "ok", "yes")
        assert runner.wait("a", PATIENCE_S) == "idle"


def test_inputs_of_a_run_that_was_found_are_taken_while_it_gets_options(store: Gated) -> None:
    """It begins anew with them when all is stored that it has taken: nobody waits in vain."""

    async def main() -> None:
        async with td.AsyncRunner(store=store, workflows=[one_step()]) as runner:
            await runner.checkpoint("a")
            runner._core.runs["a"].was_found = True  # as if the keeper had come upon it
            store.gate.clear()
            first = await asked(runner.run("a", 1))
            starting = await asked(runner.start(one_step(), "a", if_exists="resume", max_open=5))
            second = await asked(runner.run("a", 2))
            store.gate.set()
            assert await starting == "a"
            assert [await (await each) for each in (first, second)] == [{"step": 2}, {"step": 3}]
            assert len((await runner.get_workflow("a")).inputs()) == 2

    with td.Runner(store=store_of(store.path)) as before:
        before.start(one_step(), "a")
    on_a_loop(main)


def test_a_log_is_folded_when_all_of_it_is_stored(store: Gated) -> None:
    """Also what came while the first of it was on its way."""

    async def main() -> None:
        async with td.AsyncRunner(store=store) as runner:
            await runner.start(one_step(), "a")
            assert await (await runner.run("a", 1)) == {"step": 2}
            store.gate.clear()
            adding = [await asked(runner.add("a", td.step(increment, name=n))) for n in "xy"]
            folding = await asked(runner.continue_as_new("a"))
            store.gate.set()
            await asyncio.gather(*adding)
            assert await folding == await runner.checkpoint("a")
            assert await (await runner.run("a", 2)) == {"step": 3, "x": 3, "y": 3}

    on_a_loop(main)
