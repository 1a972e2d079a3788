"""Bundles in a real Dask cluster on this machine: its failures, and values that stay there."""

import asyncio
import gc
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from typing import Any

import pytest
from msgspec import structs

from tests.executors.clusters import (
    Locked,
    increment,
    kept,
    kill,
    large,
    link,
    made_in,
    make_homebody,
    note_and_knock,
    raise_locked,
    size,
    work,
)
from tests.executors.driving import Desk, Door, cancelled_how, opened, shown, until
from treadle.errors import (
    MissingExtra,
    NotPortable,
    RemoteFailure,
    UsageError,
    ValueLost,
    WorkerDied,
)
from treadle.executors.dask import DaskExecutor
from treadle.executors.dask_inside import PREFIX
from treadle.model.remote import Remote
from treadle.testing.executors import CHECKS, check_executor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("distributed") is None, reason="Dask is not installed"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers of one thread each, in processes of their own. Dask would run lost tasks again, thrice."""
    import distributed

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


@pytest.fixture
def threads() -> Iterator[Any]:
    """A small cluster inside this process, for whoever breaks it."""
    import dask
    import distributed

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def shared_client(cluster: Any) -> Iterator[Any]:
    """A client of the program's own."""
    import distributed

    with distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def client(shared_client: Any) -> Any:
    """The client, when both workers are there, whatever was done to them."""
    shared_client.wait_for_workers(2)
    return shared_client


@pytest.fixture
def desk(client: Any) -> Iterator[Desk]:
    """An executor over the client."""
    with opened(DaskExecutor(client)) as desk:
        yield desk


def test_keeps_its_promises(client):
    """Dask keeps what executors promise."""
    before = {*client.futures}  # another test's values may not have been collected yet
    report = check_executor(lambda: DaskExecutor(client, capacity=2), portable=True)

    assert {*report.passed} == {*CHECKS}
    assert client.status == "running"
    assert not [key for key in {*client.futures} - before if key.startswith(PREFIX)]


def test_exception_that_cannot_be_rebuilt_is_told(desk):
    """What was raised arrives as data, and as an error that tells of it."""
    outcome = desk.run(work(raise_locked, "shut"))[0]

    assert str(outcome.error) == "Locked: shut"
    assert isinstance(outcome.exception, RemoteFailure)
    assert "shut" in str(outcome.exception)
    with pytest.raises(TypeError, match="lock"):
        pickle.dumps(Locked("shut"))


def test_function_without_a_name_travels(desk):
    """A lambda, and what it holds, goes to the worker by value."""
    step = 3

    assert shown(desk.run(work(lambda value: value + step, 4))) == [7]


def test_what_has_a_problem_is_not_run(desk, tmp_path):
    """Work whose values could not be made fails with the reason."""
    ledger = tmp_path / "ledger"
    broken = work(note_and_knock, str(ledger), 0)
    broken = structs.replace(broken, problem=ValueError("no value"))

    assert shown(desk.run(broken)) == ["ValueError"]
    assert not ledger.exists()


# ------------------------------------------------------------------------------ workers that go


def test_killed_worker_fails_its_own_bundle_only(desk, client, door, tmp_path):
    """SIGKILL in a body: WorkerDied, the other worker goes on, and Dask does not run the body again."""
    ledger = tmp_path / "ledger"
    lost, victim = begin(desk, door, ledger)
    other, witness = begin(desk, door, tmp_path / "other")

    kill(victim.name)
    outcome = desk.answer(lost)[0]
    witness.let_pass()

    assert isinstance(outcome.exception, WorkerDied)
    assert "'note_and_knock'" in outcome.exception.message
    assert shown(desk.answer(other)) == ["passed"]
    assert_all_workers_answer(desk, client)
    assert ledger.read_text(encoding="utf-8") == "begun\n"


def test_worker_that_leaves_politely_does_not_pass_its_body_on(threads, door, tmp_path):
    """Dask gives what a retiring worker had to another one; there it is refused."""
    ledger = tmp_path / "ledger"
    with opened(DaskExecutor(address=threads.scheduler_address)) as desk:
        lost, visitor = begin(desk, door, ledger)
        threads.sync(leave, threads.scheduler)
        outcome = desk.answer(lost)[0]
        visitor.let_pass()

    assert isinstance(outcome.exception, WorkerDied)
    assert ledger.read_text(encoding="utf-8") == "begun\n"


async def leave(scheduler: Any) -> None:
    """Let the worker go that is at work."""
    (busy,) = [address for address, worker in scheduler.workers.items() if worker.processing]
    await scheduler.remove_worker(busy, stimulus_id="test", expected=True)


def test_lost_result_is_not_computed_again(client, tmp_path, door):
    """When only the result is lost, Dask runs nothing again to get it back."""
    with opened(DaskExecutor(client)):
        ledger = tmp_path / "ledger"
        future = client.submit(
            note_and_knock, str(ledger), door.port, key=f"{PREFIX}lost-1", pure=False
        )
        visitor = door.visitor()
        visitor.let_pass()
        future.result()
        kill(visitor.name)

        until(lambda: future.status == "cancelled")

    assert ledger.read_text(encoding="utf-8") == "begun\n"


def begin(desk: Desk, door: Door, ledger: Any) -> tuple[int, Any]:
    """A bundle whose body has begun, and the visitor at the door."""
    number = desk.give(work(note_and_knock, str(ledger), door.port))
    return number, door.visitor()


def assert_all_workers_answer(desk: Desk, client: Any) -> None:
    """Both workers have done something since."""
    client.wait_for_workers(2)
    numbers = [desk.give(work(increment, value)) for value in range(8)]
    assert [shown(desk.answer(number)) for number in numbers] == [[n] for n in range(1, 9)]


def test_lost_scheduler_fails_what_it_had_and_what_it_would_have(threads, door, tmp_path):
    """Without a scheduler nothing can be known: WorkerDied at once, also for what is submitted later."""
    with opened(DaskExecutor(address=threads.scheduler_address)) as desk:
        lost, visitor = begin(desk, door, tmp_path / "ledger")
        threads.sync(threads.scheduler.close)

        assert shown(desk.answer(lost)) == ["WorkerDied"]
        assert shown(desk.run(work(increment, 1))) == ["WorkerDied"]
        visitor.let_pass()


def test_new_scheduler_at_the_old_address_is_used():
    """When a scheduler comes back, so does the executor, and the new one is told not to run things twice."""
    with small_cluster(port=0) as first:
        address = first.scheduler_address
        executor = DaskExecutor(address=address)
        desk = Desk(executor)
        assert shown(desk.run(work(increment, 1))) == [2]
    with small_cluster(port=int(address.rpartition(":")[2])) as second, closing(executor):
        until(lambda: shown(desk.run(work(increment, 1))) == [2])

        assert "treadle-once-only" in second.scheduler.plugins


def small_cluster(port: int) -> Any:
    """A scheduler at a port, and a worker in this process."""
    import distributed

    return distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        scheduler_port=port,
        dashboard_address="127.0.0.1:0",
    )


# --------------------------------------------------------------------------------- cancellation


def test_running_body_is_abandoned(desk, door, tmp_path):
    """A body that has begun goes on, unheard; what has not begun is withdrawn and never begins."""
    ledger = tmp_path / "ledger"
    number, visitor = begin(desk, door, ledger)
    other, witness = begin(desk, door, ledger)
    waiting = desk.give(work(note_and_knock, str(ledger), door.port))

    desk.executor.cancel(waiting)
    desk.executor.cancel(number)

    assert cancelled_how(desk.answer(waiting)[0]) == "withdrawn"
    assert cancelled_how(desk.answer(number)[0]) == "abandoned"
    visitor.let_pass()
    witness.let_pass()
    assert shown(desk.answer(other)) == ["passed"]
    assert shown(desk.run(work(increment, 1))) == [2]
    assert ledger.read_text(encoding="utf-8") == "begun\n" * 2
    assert desk.is_quiet()


# ------------------------------------------------------------------------------ values that stay


def test_large_value_never_comes_here(desk):
    """The next step gets it from the cluster, on whichever worker; this process could not even hold it."""
    outcome = kept(desk, 1001, work(make_homebody, os.getpid()))[0]
    remote = outcome.value

    assert isinstance(remote, Remote)
    assert remote.size > 64 * 1024
    numbers = [desk.give(work(made_in, remote), work(made_in, remote)) for _ in range(8)]
    (place,) = {value for number in numbers for value in shown(desk.answer(number))}
    assert place != os.getpid()
    with pytest.raises(Exception, match="cannot be rebuilt here"):
        remote.fetch()


def test_remote_is_a_value(desk):
    """It is equal to itself only, shows what it is, is fetched when asked, and does not travel elsewhere."""
    first, second = (kept(desk, 1001 + n, work(large, "x"))[0].value for n in range(2))

    assert first == first  # noqa: PLR0124 - that is the question
    assert first != second
    assert len({first, second}) == 2
    assert repr(first).startswith(f"<Remote {first.key}: {first.size} bytes in tcp://127.0.0.1:")
    assert first.fetch() == large("x")
    with pytest.raises(NotPortable, match="fetch"):
        pickle.dumps(first)


def test_each_large_result_of_a_chain_stays(desk):
    """Links pass their values on in the worker; what is small comes back as it is."""
    outcomes = kept(desk, 1001, work(large, "x"), link(large), link(size), link(increment))

    assert [isinstance(each.value, Remote) for each in outcomes] == [True, True, False, False]
    assert outcomes[3].value == len(large("x")) + 1


def test_remote_beside_other_values(desk):
    """One bundle may take several, some of them twice."""
    first, second = (kept(desk, 1001 + n, work(large, str(n)))[0].value for n in range(2))

    outcomes = desk.run(work(zip_ends, first, 5, second), work(zip_ends, second, 6, second))

    assert shown(outcomes) == [["0", 5, "1"], ["1", 6, "1"]]


def zip_ends(first, between, second):
    """Give the first elements of two collections."""
    return [first[0], between, second[0]]


def test_value_is_dropped_when_nobody_has_it(desk, cluster):
    """The cluster keeps a value as long as its Remote lives, and not longer; tasks are not kept at all."""
    remote = kept(desk, 1001, work(large, "x"))[0].value
    key = remote.key
    assert key in cluster.scheduler.tasks

    desk.answers.clear()
    del remote
    gc.collect()

    until(lambda: not [key for key in cluster.scheduler.tasks if key.startswith(PREFIX)])


def test_lost_value_is_told(desk, client):
    """When the worker that held it is killed, fetching fails, and so does every bundle that takes it."""
    remote = kept(desk, 1001, work(large, "x"))[0].value
    (holder,) = client.run(os.getpid, workers=[remote.where]).values()

    kill(holder)
    numbers = [desk.give(work(size, remote)) for _ in range(2)]

    for number in numbers:
        outcome = desk.answer(number)[0]
        assert isinstance(outcome.exception, ValueLost | WorkerDied)
    with pytest.raises(ValueLost, match="gone"):
        remote.fetch()
    outcome = desk.run(work(size, remote))[0]
    assert isinstance(outcome.exception, ValueLost)
    assert remote.key in str(outcome.error)


def test_remote_of_another_executor_is_refused(desk, threads):
    """A value of another cluster is not in this one; the failure says to fetch it."""
    with opened(DaskExecutor(address=threads.scheduler_address)) as other:
        remote = kept(other, 1001, work(large, "x"))[0].value

        outcome = desk.run(work(size, remote))[0]

    assert isinstance(outcome.exception, NotPortable)
    assert "fetch()" in str(outcome.exception)


# ------------------------------------------------------------------------------- making and ending


def test_cluster_of_its_own_ends_with_it():
    """Without a client or address it starts workers, and none of them outlives it."""
    executor = DaskExecutor(n_workers=1, threads_per_worker=1)
    with opened(executor) as desk:
        pid = desk.run(work(pid_of))[0].value
        assert str(executor).startswith("<DaskExecutor on <Client: 'tcp://127.0.0.1:")

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def pid_of():
    """Tell the process one is in."""
    return os.getpid()


def test_arguments_that_exclude_each_other_are_refused():
    """It cannot be in two clusters, nor change the size of one that is there."""
    with pytest.raises(UsageError, match="more than one"):
        DaskExecutor(address="tcp://127.0.0.1:1", n_workers=2)
    with pytest.raises(UsageError, match="capacity"):
        DaskExecutor(capacity=0)


def test_client_of_an_event_loop_is_refused(cluster):
    """Its calls would have to be awaited, and the executor cannot."""

    async def attempt():
        import distributed

        async with distributed.Client(
            cluster.scheduler_address, asynchronous=True, set_as_default=False
        ) as client:
            DaskExecutor(client).open(lambda *_: None)

    with pytest.raises(UsageError, match="event loop"):
        asyncio.run(attempt())


def test_without_dask_it_says_what_to_install(monkeypatch):
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "distributed", None)

    with pytest.raises(MissingExtra, match=r"treadle\[dask\]"):
        DaskExecutor().open(lambda *_: None)
