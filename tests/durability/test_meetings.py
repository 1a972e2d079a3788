"""Things that seldom meet: what is asked of a run while something of it is on its way to the store, or it is away."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import treadle as td
from tests.runner.running import PATIENCE_S, Body, increment, until
from treadle import errors
from treadle.codec import Codec
from treadle.interfaces import Append, Message, RunInfo
from treadle.runner import keeping
from treadle.runner.custody import Custody
from treadle.runner.keeper import Keeper
from treadle.stores.sqlite import SqliteStore


class Gated(SqliteStore):
    """Has the writer wait before a gate."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Codec())
        self.gate = threading.Event()
        self.gate.set()
        self.is_gate_for_each = False
        """It closes behind each batch."""

    def append(self, batch: Sequence[Append]) -> list[Exception | None]:
        """Wait, then store."""
        assert self.gate.wait(PATIENCE_S)
        if self.is_gate_for_each:
            self.gate.clear()
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


def position_of(store: SqliteStore, id: str) -> int:
    """How long a stored log is."""
    info = store.info(id)
    assert info is not None
    return info.position


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
        after = store_of(store.path)
        assert after.verify() == []
        after.close()

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


def test_what_came_about_before_a_run_is_parked_is_stored(store: Gated) -> None:
    """An attempt that came to its end is not made again when somebody resumes the run."""
    body, plain = Body(is_open=False), Body()
    once = td.Policy(effects="at_most_once")
    made = td.workflow("w", steps=[td.step(body, name="pay"), td.step(plain, name="plain")])
    made = made.with_policies({"pay": once})
    first = td.Runner(store=store, workflows=[made])
    first.start(made, "a", max_concurrency=1)
    first.run("a", 1)
    body.wait_for_calls()
    first.close(drain_s=0)
    body.let_go()

    with td.Runner(store=store_of(store.path), workflows=[made], recover=False) as second:
        low = {"pay": td.Policy(effects="at_most_once", priority="low")}
        second.start(made, "a", if_exists="resume", max_concurrency=1, policies=low)
        assert second.wait("a", PATIENCE_S) == "parked"
    after = store_of(store.path)
    assert [type(each).__name__ for each in after.load("a").events].count("Applied") == 1
    info = after.info("a")
    assert info is not None
    assert info.status == "parked"
    after.close()
    assert plain.calls == [1]


def test_an_edit_that_waits_for_the_store_is_refused_by_a_run_that_ended(
    store: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked for it does not wait in vain, and the run stays stopped."""
    monkeypatch.setattr(keeping, "SNAPSHOT_EVERY", 5)

    async def main() -> None:
        async with td.AsyncRunner(store=store) as runner:
            await runner.start(one_step(), "a")
            for number in range(5):
                await (await runner.run("a", number))
            store.gate.clear()
            feeding = await asked(runner.run("a", 9))
            late = td.step(increment, name="late")
            adding = await asked(runner.add("a", late, backfill=True))
            stopping = await asked(runner.stop("a"))
            store.gate.set()
            await feeding
            assert await stopping == "stopped"
            with pytest.raises(errors.RunEnded):
                await adding
            assert [info.status for info in await runner.runs()] == ["stopped"]

    on_a_loop(main)


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


def test_who_listens_to_a_run_that_another_runner_went_on_with_hears_no_more(
    store: Gated,
) -> None:
    """The stream ends, as where a run is lost."""
    settings: Any = {"store": store, "workflows": [asking()]}
    with (
        td.Runner(**settings, keep_warm=1, poll_s=60.0) as first,
        td.Runner(**settings, poll_s=0.01, recover=False) as second,
    ):
        away(first)
        look = first._runner._core.custody.hurry
        events = in_a_thread(lambda: list(first.stream("a")))
        until(lambda: first._runner._core.runs["a"].streams)
        first.start(asking(), "c")
        first.run("c", 1)
        until(lambda: "a" not in machines(first))
        look()
        until(lambda: owner_of(store, "a") is None)
        second.signal("a", "ok", "yes")
        assert second.wait("a", PATIENCE_S) == "idle"
        look()
        assert events() == []


# ------------------------------------------------------------------------------- whose it is


def test_a_new_run_is_not_given_up_since_an_old_one_of_its_id_was_stored(
    store: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is still on its way then, and the store does not know of it."""
    may_delete = threading.Event()

    def delete(run_id: str) -> bool:
        assert may_delete.wait(PATIENCE_S)
        return SqliteStore.delete(store, run_id)

    monkeypatch.setattr(store, "delete", delete)

    async def main() -> None:
        async with td.AsyncRunner(store=store) as runner:
            custody = runner._core.custody
            store.gate.clear()
            starting = await asked(runner.start(one_step(), "a"))
            stopping = await asked(runner.stop("a", persist=False))
            again = await asked(runner.start(one_step(), "a"))
            store.gate.set()
            assert await starting == "a"
            assert custody.is_another("a", 1)
            may_delete.set()
            assert (await stopping, await again) == ("stopped", "a")
            assert not custody.is_another("a", 1)

    on_a_loop(main)


def test_a_run_that_is_not_deleted_after_all_can_be_taken_up(
    store: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had its time, and somebody wants something of it: also while the others of its lot are still deleted."""
    entered, may_go_on = threading.Event(), threading.Event()

    def sweep(**_: Any) -> int:
        entered.set()
        assert may_go_on.wait(PATIENCE_S)
        return 0

    with td.Runner(store=store_of(store.path)) as before:
        before.start(asking(), "a")
        before.run("a", 1)
    monkeypatch.setattr(store, "sweep", sweep)
    with td.Runner(store=store, workflows=[asking()], poll_s=60.0) as runner:
        core: Any = runner._runner._core
        until(lambda: core.custody.keeper._taken == 0 and not core.runs)
        body = b'{"name": "ok", "payload": "yes"}'
        store.post(Message(id="m", run_id="a", kind="signal", body=body, at=0.0))
        core.call(lambda: core._outlived([store.info("a")]))
        assert entered.wait(PATIENCE_S)
        core.custody.hurry()
        try:
            until(lambda: "a" in machines(runner))
        finally:
            may_go_on.set()
        core.custody.hurry()  # now for the message
        assert runner.wait("a", PATIENCE_S) == "idle"


def test_a_runner_that_closes_takes_nothing_over(store: Gated) -> None:
    """What nobody has while it waits for its own work is for others, at once."""
    body = Body(is_open=False)
    made = td.workflow("w").add(td.step(body, name="step"))
    runner = td.Runner(store=store, workflows=[made], poll_s=0.01)
    looks: list[None] = []
    core: Any = runner._runner._core
    runner.start(made, "a")
    runner.run("a", 1)
    body.wait_for_calls()
    closing = in_a_thread(lambda: runner.close(drain_s=PATIENCE_S))
    until(lambda: core.is_closing)
    info = RunInfo(id="b", workflow="w", run_key="k", fingerprint=made.fingerprint)
    store.create(structs.replace(info, status="running"))
    core.custody.keeper.chores.append(lambda: looks.append(None))
    until(lambda: len(looks) > 5)
    body.let_go()
    closing()
    after = store_of(store.path)
    left = after.info("b")
    assert left is not None
    assert (left.owner, left.epoch) == (None, 0)
    after.close()


def test_what_a_keeper_took_last_is_let_go_of(tmp_path: Path) -> None:
    """Who is told of it may close before hearing of it."""

    class Deaf:
        def found(self, runs: Any) -> None:
            """Hear nothing."""

    store, deaf = SqliteStore(tmp_path / "runs.db", Codec()), Deaf()
    store.create(RunInfo(id="a", workflow="w", run_key="k", status="running"))
    keeps: Any = deaf
    keeper = Keeper(
        store, "me", keeps, names=lambda: ["w"], epochs=dict, unborn=set, room=lambda: 9
    )
    keeper.look()
    assert owner_of(store, "a") == "me"
    keeper.close()
    assert owner_of(store, "a") is None
    store.close()


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


def test_an_edit_that_looks_back_and_comes_too_late_is_refused(store: Gated) -> None:
    """It waits until all is stored, and by then the run was stopped: it stays so, and whoever asked hears of it."""

    async def main() -> None:
        async with td.AsyncRunner(store=store) as runner:
            await runner.start(one_step(), "a")
            assert await (await runner.run("a", 1)) == {"step": 2}
            await runner.continue_as_new("a")
            store.gate.clear()
            await asked(runner.run("a", 2))
            after = td.step(increment, name="after")
            adding = await asked(runner.add("a", after, to="step", backfill=True))
            stopping = await asked(runner.stop("a"))
            store.gate.set()
            assert await stopping == "stopped"
            with pytest.raises(errors.RunEnded, match="is stopped"):
                await adding
            assert machines(runner) == set()

    on_a_loop(main)


def test_an_input_that_was_stored_when_its_run_crashed_is_answered(
    store: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    """The crash comes with the news that the input is stored: it stands in the log, and gets its ticket."""
    calls: list[int] = []

    def keep_back_then_raise(_: str, ready: list[Any]) -> list[Any]:
        calls.append(len(ready))
        if len(calls) == 2:
            raise Fault
        return [] if len(calls) == 1 else ready

    async def main() -> None:
        hooks = td.Hooks(transform_runnables=keep_back_then_raise)
        async with td.AsyncRunner(store=store, hooks=hooks) as runner:
            await runner.start(one_step(), "a")
            assert await (await runner.run("a", 1)) == {"step": 2}

    on_a_loop(main)
    assert [each.getMessage() for each in caplog.records] == ["run a crashed"]
    caplog.clear()


class Fault(BaseException):
    """What no plug should raise: the run crashes."""


def test_what_was_stored_before_a_crash_is_not_taken_for_what_comes_after_it(
    store: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    """Both logs are as long: each input is answered for itself, and the one that found no place is refused."""

    def raise_on_many(_: str, ready: list[Any]) -> list[Any]:
        if any(each.args == (13,) for each in ready):
            raise Fault
        return ready

    async def main() -> None:
        hooks = td.Hooks(transform_runnables=raise_on_many)
        async with td.AsyncRunner(store=store, hooks=hooks) as runner:
            await runner.start(one_step(), "a")
            assert await (await runner.run("a", 1)) == {"step": 2}
            store.gate.clear()
            five = await asked(runner.run("a", 5, "five"))
            thirteen = await asked(runner.run("a", 13))
            six = await asked(runner.run("a", 6, "six"))
            store.is_gate_for_each = True
            store.gate.set()
            await asyncio.to_thread(until, lambda: position_of(store, "a") == 4)
            await asked(asyncio.sleep(0))  # the runner has heard that the first of them is stored
            store.is_gate_for_each = False
            store.gate.set()
            for each in (five, thirteen, six):
                with pytest.raises(errors.PlugError, match="crashed over this"):
                    await each
            assert await (await runner.run("a", 6, "six")) == {"step": 7}
            assert await (await runner.run("a", 5, "five")) == {"step": 6}
            inputs = (await runner.get_workflow("a")).inputs()
            assert [each["value"] for each in inputs] == [1, 5, 6]

    on_a_loop(main)
    assert {each.getMessage() for each in caplog.records} == {"run a crashed"}
    caplog.clear()


def test_no_snapshot_has_what_came_to_no_store(
    store: Gated, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run crashes between the snapshot and what it was to store then, and other events take the place of those."""
    monkeypatch.setattr(keeping, "SNAPSHOT_EVERY", 1)
    is_ready: list[bool] = []
    kept: list[Any] = []
    save_snapshot = store.save_snapshot

    def save(run_id: str, epoch: int, baseline: Any) -> bool:
        is_taken = save_snapshot(run_id, epoch, baseline)
        if is_taken:
            inputs = td.Workflow.from_log(one_step(), [baseline]).inputs()
            kept.extend(each["value"] for each in inputs)
        return is_taken

    monkeypatch.setattr(store, "save_snapshot", save)

    async def main() -> None:
        def ask_and_raise(_: str, ready: list[Any]) -> list[Any]:
            if is_ready:
                is_ready.clear()
                runner._core.submit("a", 30)
                raise Fault
            return [] if not store.gate.is_set() else ready

        hooks = td.Hooks(transform_runnables=ask_and_raise)
        async with td.AsyncRunner(store=store, hooks=hooks) as runner:
            await runner.start(one_step(), "a")
            await runner.checkpoint("a")
            store.gate.clear()
            first = await asked(runner.run("a", 10))
            second = await asked(runner.run("a", 20))
            is_ready.append(True)
            store.gate.set()
            assert await (await first) == {"step": 11}
            with pytest.raises(errors.PlugError):
                await second
            assert await runner.wait("a") == "idle"
            inputs = (await runner.get_workflow("a")).inputs()
            assert [each["value"] for each in inputs] == [10, 30]

    on_a_loop(main)
    assert set(kept) <= {10, 30}
    assert 30 in kept
    assert {each.getMessage() for each in caplog.records} == {"run a crashed"}
    caplog.clear()


def test_a_run_that_crashes_before_it_is_stored_goes_on(
    store: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no log yet to begin again from: it waits for that, and is not given up."""

    def raise_on_many(_: str, ready: list[Any]) -> list[Any]:
        if any(each.args == (13,) for each in ready):
            raise Fault
        return ready

    hooks = td.Hooks(transform_runnables=raise_on_many)

    async def main() -> None:
        async with td.AsyncRunner(store=store, hooks=hooks) as runner:
            store.gate.clear()
            starting = await asked(runner.start(one_step(), "a"))
            thirteen = await asked(runner.run("a", 13))
            with pytest.raises(errors.PlugError, match="crashed over this"):
                await thirteen
            store.gate.set()
            assert await starting == "a"
            while True:
                with contextlib.suppress(errors.StoreUnavailable):
                    assert await (await runner.run("a", 1)) == {"step": 2}
                    break
                await asyncio.sleep(0)

    on_a_loop(main)
    said = [each.getMessage().partition(":")[0] for each in caplog.records]
    assert said == ["run a crashed", "run a goes on when its log can be read"]
    caplog.clear()


def test_a_run_that_goes_elsewhere_while_its_runner_closes_is_no_error(
    store: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever closes waits for it no more, and nothing is said of it but where it is."""
    body = Body(is_open=False)

    async def main() -> None:
        flow = td.workflow("w").add(td.step(body, name="step"))
        runner = td.AsyncRunner(store=store)
        await runner.start(flow, "a")
        await runner.run("a", 1)
        await asyncio.to_thread(body.wait_for_calls)
        closing = await asked(runner.close(PATIENCE_S))
        runner._core.lose(runner._core.runs["a"], None)
        body.let_go()
        assert await closing == 0
        del closing
        gc.collect()

    on_a_loop(main)
    assert [each.getMessage() for each in caplog.records] == ["run a is with another runner now"]
    caplog.clear()
