"""Worker processes: what kills one harms nothing else, and what must end does."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executors import bodies
from tests.executors.driving import (
    GUARD_S,
    Desk,
    Door,
    cancelled_how,
    failure,
    opened,
    raised,
    shown,
    until,
)
from treadle.errors import RemoteFailure, UsageError, WorkerDied
from treadle.executors import worker
from treadle.executors.processes import ProcessExecutor
from treadle.testing.executors import link, runnable


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Two workers."""
    with opened(ProcessExecutor(2)) as desk:
        yield desk


class Slow:
    """Takes its time to be pickled."""

    def __init__(self) -> None:
        self.begun, self.release = threading.Event(), threading.Event()

    def __reduce__(self):
        self.begun.set()
        self.release.wait()
        return (int, (1,))


# ------------------------------------------------------------------------------- workers that die


@pytest.mark.parametrize(
    ("body", "argument", "exit_code", "text"),
    [
        (bodies.segfault, 0, -11, "it was killed by SIGSEGV (exit code -11). Hint: set PYTHONFAULTHANDLER=1"),
        (bodies.leave, 3, 3, "it left with exit code 3. Hint: something that the function called ended"),
        (bodies.leave, 0, 0, "it left with exit code 0."),
    ],
)  # fmt: skip
def test_a_dead_worker_fails_the_call_it_was_in(desk: Desk, body, argument, exit_code, text):
    """The failure says how it died; the next bundle gets a fresh worker."""
    (outcome,) = desk.run(runnable(body, argument))

    assert isinstance(outcome.exception, WorkerDied)
    assert outcome.exception.exit_code == exit_code
    assert f"the worker process that ran '{body.__name__}' died: {text}" in str(outcome.exception)
    assert shown(desk.run(runnable(bodies.double, 1))) == [2]


def test_bystanders_are_not_harmed(desk: Desk, door: Door):
    """A bundle that runs at the same time in another worker goes on."""
    number = desk.give(runnable(bodies.knock, door.port))
    visitor = door.visitor()
    assert shown(desk.run(runnable(bodies.segfault, 0))) == ["WorkerDied"]
    visitor.let_pass()

    assert shown(desk.answer(number)) == ["passed"]


def test_the_rest_of_a_parallel_bundle_is_not_harmed(desk: Desk):
    """What was done is done, and what had not begun runs in the next worker."""
    calls = [
        (bodies.double, 1),
        (bodies.segfault, 0),
        (bodies.leave, 3),
        (bodies.double, 2),
        (bodies.fail, 3),
    ]

    outcomes = desk.run(*[runnable(body, given, item=n) for n, (body, given) in enumerate(calls)])

    assert shown(outcomes) == [2, "WorkerDied", "WorkerDied", 4, "ValueError"]
    assert [each.scope for each in outcomes] == [(7, item) for item in range(5)]
    assert "that ran 'segfault' died" in failure(outcomes[1]).text
    assert "that ran 'leave' died" in failure(outcomes[2]).text


def test_a_chain_keeps_what_was_done_before_its_worker_died(desk: Desk):
    """The failure is that of the link that ran."""
    links = (link(bodies.double), link(bodies.segfault), link(bodies.double))

    outcomes = desk.run(runnable(bodies.double, 1), links=links)

    assert shown(outcomes) == [2, 4, "WorkerDied"]
    assert outcomes[-1].component == "after_segfault"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (None, None, "(exit code -9). Hint: where nobody sent that, it was probably out of memory."),
        ("low 0\noom_kill 2\n", "low 0\noom_kill 3\n", "(exit code -9), probably out of memory: meanwhile"),
        ("oom_kill 2\n", "oom_kill 2\n", "probably out of memory, although the kernel counts no"),
    ],
)  # fmt: skip
def test_a_worker_killed_from_outside(tmp_path: Path, door: Door, before, after, text):
    """SIGKILL without anybody's asking smells of memory; where the kernel counts such kills, that is said."""
    executor = ProcessExecutor(1)
    with opened(executor) as desk:
        executor._kills_file = tmp_path / "memory.events"
        if before is not None:
            executor._kills_file.write_text(before)
        number = desk.give(runnable(bodies.knock, door.port))
        visitor = door.visitor()
        if after is not None:
            executor._kills_file.write_text(after)
        os.kill(int(visitor.name), signal.SIGKILL)

        (outcome,) = desk.answer(number)
        assert raised(outcome).exit_code == -9
        assert text in str(outcome.exception)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_body_that_hits_a_limit_of_memory_fails(desk: Desk):
    """That is its own failure, and the worker goes on."""
    (outcome,) = desk.run(runnable(bodies.take_too_much, 64 << 20))

    assert isinstance(outcome.exception, MemoryError)
    assert shown(desk.run(runnable(bodies.double, 1))) == [2]


def test_a_worker_killed_while_it_waits_harms_nothing():
    """It is replaced before it gets a job."""
    with opened(ProcessExecutor(1)) as desk:
        (outcome,) = desk.run(runnable(bodies.pid, 0))
        os.kill(outcome.value, signal.SIGKILL)
        until(lambda: is_gone(outcome.value))

        assert shown(desk.run(runnable(bodies.double, 1))) == [2]


def test_a_worker_that_cannot_speak_any_more_is_replaced():
    """A body that closes all files takes the worker's voice; the worker is killed."""
    with opened(ProcessExecutor(1, grace_s=0.0)) as desk:
        assert shown(desk.run(runnable(bodies.close_everything, 0))) == ["WorkerDied"]
        assert shown(desk.run(runnable(bodies.double, 1))) == [2]


@pytest.mark.parametrize("body", [bodies.leave_fork, bodies.leave_program])
def test_what_a_dead_worker_leaves_behind_is_killed(door: Door, body):
    """Its death is seen although a process that it forked holds its pipes; and that one goes too."""
    with opened(ProcessExecutor(1)) as desk:
        number = desk.give(runnable(body, door.port))
        visitor = door.visitor()
        visitor.let_pass()

        assert raised(desk.answer(number)[0]).exit_code == 3
        assert visitor.hears() == ""


def test_a_silent_worker_is_not_a_dead_one(monkeypatch: pytest.MonkeyPatch, door: Door):
    """However often it is looked at while a body takes its time."""
    monkeypatch.setattr(worker, "POLL_S", 0.0)
    with opened(ProcessExecutor(1)) as desk:
        number = desk.give(runnable(bodies.knock, door.port))
        door.visitor().let_pass()

        assert shown(desk.answer(number)) == ["passed"]


def test_out_of_memory_is_a_failure():
    """Where the system says so in time, the worker lives and says so too."""
    with opened(ProcessExecutor(1)) as desk:
        assert shown(desk.run(runnable(bodies.hog, 0))) == ["MemoryError"]
        assert shown(desk.run(runnable(bodies.lift_limit, 0))) == ["lifted"]


# --------------------------------------------------------------------------------- cancelling


def test_a_cancelled_body_is_stopped_and_may_clean_up(desk: Desk, door: Door):
    """Its `finally` runs before it ends, and the answer comes when it has ended."""
    number = desk.give(runnable(bodies.clean_up, door.port))
    visitor = door.visitor()
    desk.executor.cancel(number)

    assert cancelled_how(desk.answer(number)[0]) == "stopped"
    assert (visitor.hears(), visitor.hears()) == ("tidied", "")


def test_a_body_that_clings_is_killed_with_its_children(door: Door):
    """One that ignores SIGTERM, and a process it started that does so too, are gone after the grace."""
    with opened(ProcessExecutor(1, grace_s=0.0)) as desk:
        number = desk.give(runnable(bodies.cling, door.port))
        visitor = door.visitor()
        desk.executor.cancel(number)

        assert cancelled_how(desk.answer(number)[0]) == "stopped"
        assert visitor.hears() == ""  # nobody holds the connection any more


def test_what_is_done_of_a_cancelled_bundle_stays_done(desk: Desk, door: Door):
    """The rest of it is not run elsewhere."""
    number = desk.give(
        runnable(bodies.double, 1),
        runnable(bodies.knock, door.port, item=1),
        runnable(bodies.knock, door.port, item=2),
    )
    door.visitor()
    desk.executor.cancel(number)

    assert shown(desk.answer(number)) == [2, "Cancelled", "Cancelled"]


def test_what_has_not_begun_is_withdrawn(door: Door):
    """It does not cost a worker its life."""
    with opened(ProcessExecutor(1)) as desk:
        running = desk.give(runnable(bodies.knock, door.port))
        visitor = door.visitor()
        queued = desk.give(runnable(bodies.knock, door.port))
        desk.executor.cancel(queued)
        assert cancelled_how(desk.answer(queued)[0]) == "withdrawn"

        visitor.let_pass()
        assert shown(desk.answer(running)) == ["passed"]
        assert shown(desk.run(runnable(bodies.pid, 0))) == [int(visitor.name)]


def test_what_is_cancelled_on_its_way_to_a_worker_is_withdrawn(desk: Desk):
    """It does not arrive there."""
    slow = Slow()
    number = desk.give(runnable(bodies.double, slow))
    assert slow.begun.wait(timeout=GUARD_S)
    desk.executor.cancel(number)
    slow.release.set()

    assert cancelled_how(desk.answer(number)[0]) == "withdrawn"
    assert shown(desk.run(runnable(bodies.double, 1))) == [2]


def test_closing_kills_what_runs(door: Door):
    """With a second chance to clean up, and no answer."""
    with opened(ProcessExecutor(1)) as desk:
        desk.give(runnable(bodies.clean_up, door.port))
        visitor = door.visitor()
        desk.executor.close()

        assert (visitor.hears(), visitor.hears()) == ("tidied", "")
        assert desk.is_quiet()


# ------------------------------------------------------------------------- what does not travel


def test_what_cannot_travel_fails_alone(desk: Desk):
    """An argument that cannot leave or cannot arrive, a result that cannot come back: the others are as ever."""
    there = desk.run(
        runnable(bodies.double, 1),
        runnable(bodies.double, threading.Lock()),
        runnable(bodies.double, 2),
    )
    arriving = desk.run(
        runnable(bodies.double, 1), runnable(bodies.double, bodies.Sour()), runnable(len, "a")
    )
    back = desk.run(
        runnable(bodies.hide_lock, 1), runnable(bodies.give_sour, 1), runnable(bodies.double, 1)
    )

    assert shown(there) == [2, "NotPortable", 4]
    assert shown(arriving) == [2, "RuntimeError", 1]
    assert shown(back) == ["BadValue", "BadValue", 2]
    assert "['orders'][1]['socket'].held is a _thread.lock" in failure(back[0]).text


def test_a_worker_whose_reports_were_not_read_is_replaced():
    """Else the next bundle would be answered with what the last one left."""
    with opened(ProcessExecutor(1)) as desk:
        (before,) = desk.run(runnable(bodies.pid, 0))
        assert shown(desk.run(runnable(bodies.give_interrupting, 0))) == ["KeyboardInterrupt"]

        (after,) = desk.run(runnable(bodies.pid, 0))
        assert after.value != before.value


def test_a_chain_goes_as_far_as_it_can_travel(desk: Desk):
    """A link that cannot be sent does not fail what goes before it; the first one that cannot fails itself."""
    lock = threading.Lock()
    links = (link(bodies.double), link(lock.acquire))

    assert shown(desk.run(runnable(bodies.double, 1), links=links)) == [2]
    assert shown(desk.run(runnable(bodies.double, lock), links=links)) == ["NotPortable"]


def test_exceptions_that_cannot_travel_harm_nothing(desk: Desk):
    """One that pickles but cannot be rebuilt breaks a pool of the standard library; here it comes back."""
    two, holding, after = desk.run(
        runnable(bodies.raise_two, 0), runnable(bodies.raise_holding, 0), runnable(bodies.double, 1)
    )

    assert (type(two.exception).__name__, raised(two).args) == ("TwoArguments", ("3 at home",))
    assert isinstance(holding.exception, RemoteFailure)
    assert [frame.function for frame in failure(holding).frames] == ["raise_holding"]
    assert after.value == 2


# ------------------------------------------------------------------------------ workers as such


def test_workers_are_replaced_after_so_many_jobs():
    """Against leaks; within that many they are kept."""
    with opened(ProcessExecutor(1, max_jobs_per_worker=2)) as desk:
        pids = [desk.run(runnable(bodies.pid, 0))[0].value for _ in range(4)]

    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_workers_lead_sessions_of_their_own(desk: Desk):
    """So a Ctrl-C in the terminal does not reach them, and a signal to their group reaches their children."""
    pid, session, group = desk.run(runnable(bodies.session, 0))[0].value

    assert pid == session == group != os.getsid(0)


def test_an_interrupt_is_left_to_the_runner(desk: Desk, door: Door):
    """Even one that is sent to the worker itself."""
    number = desk.give(runnable(bodies.knock, door.port))
    visitor = door.visitor()
    os.kill(int(visitor.name), signal.SIGINT)
    visitor.let_pass()

    assert shown(desk.answer(number)) == ["passed"]


def test_a_body_that_listens_to_signals_does_not_do_so_for_the_next(door: Door):
    """Each job can be asked to end."""
    with opened(ProcessExecutor(1, grace_s=GUARD_S)) as desk:
        assert shown(desk.run(runnable(bodies.ignore_termination, 0))) == [None]
        number = desk.give(runnable(bodies.clean_up, door.port))
        visitor = door.visitor()
        desk.executor.cancel(number)

        assert cancelled_how(desk.answer(number)[0]) == "stopped"
        assert visitor.hears() == "tidied"


def test_async_functions_are_awaited(desk: Desk):
    """On a loop of their own, also in the midst of a chain."""
    outcomes = desk.run(runnable(bodies.double, 1), links=(link(bodies.adouble),))

    assert shown(outcomes) == [2, 4]


@pytest.mark.slow
def test_spawned_workers_do_the_same():
    """The other way to start one."""
    with opened(ProcessExecutor(1, start_method="spawn")) as desk:
        assert shown(desk.run(runnable(bodies.double, 1), runnable(bodies.leave, 3))) == [
            2,
            "WorkerDied",
        ]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"capacity": 0}, "capacity=...) is a whole number of at least 1, and was given 0"),
        ({"grace_s": -1}, "grace_s=...) is a number of seconds, 0 or more, and was given -1"),
        ({"max_jobs_per_worker": 0}, "max_jobs_per_worker=...) is a whole number of at least 1"),
        ({"start_method": "fork"}, "('forkserver', 'spawn'), and was given 'fork'. Hint: 'fork' copies"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_where_it_is_given(given, text):
    """Each message says what is expected."""
    with pytest.raises(UsageError) as caught:
        ProcessExecutor(**given)

    assert text in str(caught.value)


def test_it_shows_what_it_is():
    """For logs and messages; by default one worker per core."""
    assert repr(ProcessExecutor(3)) == "ProcessExecutor(capacity=3, start_method='forkserver')"
    assert ProcessExecutor().capacity == os.cpu_count()


def is_gone(pid: int) -> bool:
    """Whether a process has left, and was seen off."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
