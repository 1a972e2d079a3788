"""Bundles in a real Ray cluster on this machine: its failures, and values that stay there."""

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from msgspec import structs

from tests.executors.clusters import (
    increment,
    kept,
    kill,
    knock_and_spin,
    large,
    link,
    made_in,
    make_homebody,
    note_and_knock,
    raise_locked,
    size,
    work,
)
from tests.executors.driving import Desk, Door, Visitor, cancelled_how, opened, shown, until
from tests.executors.ray_cluster import ray_cluster
from treadle.errors import (
    MissingExtra,
    NotPortable,
    RemoteFailure,
    UsageError,
    ValueLost,
    WorkerDied,
)
from treadle.executors.ray import RayExecutor
from treadle.model.remote import Remote
from treadle.testing.executors import CHECKS, check_executor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A node of two processes on loopback, and this process connected to it."""
    with ray_cluster() as cluster:
        yield cluster


@pytest.fixture
def desk(cluster: Any) -> Iterator[Desk]:
    """An executor that uses the connection of the process."""
    with opened(RayExecutor()) as desk:
        yield desk


def begin(desk: Desk, door: Door, ledger: Any) -> tuple[int, Visitor]:
    """A bundle whose body has begun, and the visitor at the door."""
    number = desk.give(work(note_and_knock, str(ledger), door.port))
    return number, door.visitor()


def test_keeps_its_promises(cluster):
    """Ray keeps what executors promise."""
    report = check_executor(lambda: RayExecutor(capacity=2), portable=True)

    assert {*report.passed} == {*CHECKS}


def test_exception_that_cannot_be_rebuilt_is_told(desk):
    """What was raised arrives as data, and as an error that tells of it."""
    outcome = desk.run(work(raise_locked, "shut"))[0]

    assert str(outcome.error) == "Locked: shut"
    assert isinstance(outcome.exception, RemoteFailure)
    assert "shut" in str(outcome.exception)


def test_function_without_a_name_travels(desk):
    """A lambda, and what it holds, goes to the worker by value."""
    step = 3

    assert shown(desk.run(work(lambda value: value + step, 4))) == [7]


def test_what_has_a_problem_is_not_run(desk, tmp_path):
    """Work whose values could not be made fails with the reason."""
    ledger = tmp_path / "ledger"
    broken = work(note_and_knock, str(ledger), 0)

    outcomes = desk.run(structs.replace(broken, problem=ValueError("no value")))

    assert shown(outcomes) == ["ValueError"]
    assert not ledger.exists()


def test_killed_worker_fails_its_own_bundle_only(desk, door, tmp_path):
    """SIGKILL in a body: WorkerDied, the other worker goes on, and Ray does not run the body again."""
    ledger = tmp_path / "ledger"
    lost, victim = begin(desk, door, ledger)
    other, witness = begin(desk, door, tmp_path / "other")

    kill(victim.name)
    outcome = desk.answer(lost)[0]
    witness.let_pass()

    assert isinstance(outcome.exception, WorkerDied)
    assert "'note_and_knock'" in outcome.exception.message
    assert shown(desk.answer(other)) == ["passed"]
    numbers = [desk.give(work(increment, value)) for value in range(8)]
    assert [shown(desk.answer(number)) for number in numbers] == [[n] for n in range(1, 9)]
    assert ledger.read_text(encoding="utf-8") == "begun\n"


# --------------------------------------------------------------------------------- cancellation


def test_body_that_does_not_listen_is_killed(desk, door, tmp_path):
    """A body in a system call ends with its worker; what has not begun is withdrawn and never begins."""
    ledger = tmp_path / "ledger"
    number, visitor = begin(desk, door, ledger)
    other, witness = begin(desk, door, ledger)
    waiting = desk.give(work(note_and_knock, str(ledger), door.port))

    desk.executor.cancel(waiting)
    desk.executor.cancel(number)

    assert cancelled_how(desk.answer(waiting)[0]) == "withdrawn"
    assert cancelled_how(desk.answer(number)[0]) == "stopped"
    assert visitor.hears() == ""
    witness.let_pass()
    assert shown(desk.answer(other)) == ["passed"]
    assert shown(desk.run(work(increment, 1))) == [2]
    assert ledger.read_text(encoding="utf-8") == "begun\n" * 2
    assert desk.is_quiet()


def test_body_that_listens_may_tidy_up(desk, door):
    """An interrupt comes first, and so `finally` blocks run."""
    number = desk.give(work(knock_and_spin, door.port))
    visitor = door.visitor()

    desk.executor.cancel(number)

    assert cancelled_how(desk.answer(number)[0]) == "stopped"
    assert visitor.hears() == "tidied"


# ------------------------------------------------------------------------------ values that stay


def test_large_value_never_comes_here(desk):
    """The next step gets it from the cluster; this process could not even hold it."""
    remote = kept(desk, 1001, work(make_homebody, os.getpid()))[0].value

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
    assert repr(first).startswith(f"<Remote {first.key}: {first.size} bytes in Ray node ")
    assert first.fetch() == large("x")
    with pytest.raises(NotPortable, match="fetch"):
        pickle.dumps(first)


def test_each_large_result_of_a_chain_stays(desk):
    """Links pass their values on in the worker; what is small comes back as it is."""
    outcomes = kept(desk, 1001, work(large, "x"), link(large), link(size), link(increment))

    assert [isinstance(each.value, Remote) for each in outcomes] == [True, True, False, False]
    assert outcomes[0].value != outcomes[1].value
    assert outcomes[3].value == len(large("x")) + 1


def test_value_outlives_the_worker_that_made_it(desk, door, tmp_path):
    """It belongs to its node: a worker that is killed takes nothing of others with it."""
    remote = kept(desk, 1001, work(make_homebody, os.getpid()))[0].value
    (maker,) = shown(desk.run(work(made_in, remote)))

    kill(maker)

    # The first may still go to the worker that is dying.
    until(lambda: shown(desk.run(work(made_in, remote))) == [maker])


def test_value_is_dropped_when_nobody_has_it(desk):
    """Ray keeps a value as long as its Remote lives, and not longer; tasks are not kept at all."""
    import ray

    def references() -> dict[str, Any]:
        worker: Any = ray._private.worker.global_worker
        counts: dict[str, Any] = worker.core_worker.get_all_reference_counts()
        return counts

    remote = kept(desk, 1001, work(large, "x"))[0].value
    assert remote.key.encode() in {*references()}

    desk.answers.clear()
    del remote
    gc.collect()

    until(lambda: not references())


def test_lost_value_is_told(desk, cluster, door, tmp_path):
    """When the node that held it is killed, fetching fails, and so does every bundle that takes it."""
    held = [
        begin(desk, door, tmp_path / "ledger") for _ in range(2)
    ]  # so that it is made elsewhere
    node = cluster.add_node(num_cpus=1)
    remote = kept(desk, 1001, work(large, "x"))[0].value
    assert remote.where == f"Ray node {node.node_id}"

    for process in node.all_processes["raylet"]:
        kill(process.process.pid)
    for number, visitor in held:
        visitor.let_pass()
        desk.answer(number)
    outcome = desk.run(work(size, remote))[0]

    assert isinstance(outcome.exception, ValueLost)
    assert remote.key in str(outcome.error)
    with pytest.raises(ValueLost, match="gone"):
        remote.fetch()


# ------------------------------------------------------------------------------- making and ending

ALONE = """
import os
from tests.executors.clusters import increment, work
from tests.executors.driving import opened, shown
from treadle.executors.ray import RayExecutor

with opened(RayExecutor("local", num_cpus=1, log_to_driver=False)) as desk:
    print(shown(desk.run(work(increment, 1))), shown(desk.run(work(os.getpid))))
    print(*[node["NodeManagerAddress"] for node in __import__("ray").nodes()])
"""


def test_cluster_of_its_own_ends_with_it(cluster):
    """At the address "local" it starts a cluster on this machine, and no worker outlives it."""
    run = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("[2] [")
    assert run.stdout.endswith("\n127.0.0.1\n")
    pid = int(run.stdout.split("[")[2].partition("]")[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_lost_connection_fails_what_is_submitted(cluster):
    """Ray would silently start a cluster of its own."""
    import ray

    address = cluster.address
    with opened(RayExecutor()) as desk:
        ray.shutdown()
        try:
            assert shown(desk.run(work(increment, 1))) == ["WorkerDied"]
            assert not ray.is_initialized()
        finally:
            ray.init(address=address, log_to_driver=False)


def test_second_connection_is_refused(cluster):
    """A process is in one Ray cluster at a time."""
    with pytest.raises(UsageError, match="connected to Ray already"):
        RayExecutor(num_cpus=1).open(lambda *_: None)
    with pytest.raises(UsageError, match="capacity"):
        RayExecutor(capacity=0)


def test_without_ray_it_says_what_to_install(monkeypatch):
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(MissingExtra, match=r"treadle\[ray\]"):
        RayExecutor().open(lambda *_: None)
