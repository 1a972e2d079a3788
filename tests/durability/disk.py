"""A process that appends to a store and tells how far it came, for tests that let the disk fail under it."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import treadle as td
from treadle.codec import Codec
from treadle.errors import Cancelled, OutcomeUnknown, StoreError, StoreUnavailable
from treadle.interfaces import Append, Message, RunInfo
from treadle.model.events import InputAccepted
from treadle.stores.sqlite import SqliteStore, connections
from treadle.testing.store_upkeep import baseline_at

GUARD_S = 30.0

NEW = [
    RunInfo(id=id, workflow="w", run_key="key", epoch=1, owner="x", lease_until=1e12) for id in "ab"
]


def said(*words: object) -> None:
    """Tell the test."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def appending(path: str, count: str) -> None:
    """Append events, and tell of each that counts, or of what was wrong."""
    settings: Any = connections
    settings.CHECKPOINT_AT, settings.LOOK_EVERY = 20_000, 4
    with closing(SqliteStore(path, Codec())) as store:
        position = 0
        try:
            store.create(RunInfo(id="a", workflow="w", run_key="key"))
        except StoreError as error:
            said("refused", type(error).__name__)
        while position < int(count):
            event = InputAccepted(position, (position,), position)
            try:
                (fault,) = store.append([Append(run_id="a", expected=position, events=(event,))])
            except StoreError as error:
                said("refused", type(error).__name__)
                return
            if fault is not None:
                said("refused", type(fault).__name__)
                return
            position += 1
            said("counts", position)


def every(place: str, call: str, most: str, *numbers: str) -> None:
    """For each of these n, a process in which the n-th of these calls is the one that fails.

    Whoever looks on lets the call of number `most` fail in each process, so each makes `most - n` of no consequence.
    """
    for number in map(int, numbers):
        pid = os.fork()
        if not pid:
            try:
                waste(call, Path(place, "scratch"), int(most) - number)
                played(Path(place, f"{number}.db"), Path(place, f"{number}.told"))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status:
            said("ended", number, status)


def waste(call: str, path: Path, times: int) -> None:
    """Make calls that change nothing."""
    acts: dict[str, Callable[[int], Any]] = {
        "pwrite64": lambda file: os.pwrite(file, b"x", 0),
        "ftruncate": lambda file: os.ftruncate(file, 1),
        "fdatasync": os.fdatasync,
        "fsync": os.fsync,
    }
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    for _ in range(times):
        acts[call](file)
    os.close(file)


PLAYED = 12


def played(path: Path, told: Path) -> None:
    """Append, move the log, begin it anew, and fold; what is no append is tried again once.

    Tell what counts, and then how many connections were opened.
    """
    settings: Any = connections
    settings.CHECKPOINT_AT, settings.LOOK_EVERY = 20_000, 3
    plain, opened = settings.connect, []

    def connect(*given: Any, **options: Any) -> Any:
        opened.append(1)
        return plain(*given, **options)

    settings.connect = connect
    with told.open("w") as out, closing(SqliteStore(path, Codec())) as store:

        def tried(do: Callable[[], Any]) -> Any:
            try:
                return do()
            except (OutcomeUnknown, StoreUnavailable):
                return do()

        for run in NEW:
            create = Append(run_id=run.id, expected=0, create=run, epoch=1)
            assert tried(partial(store.append, [create])) == [None]
        for position in range(PLAYED):
            event = InputAccepted(position, (position,), f"{position} " * 100)
            batch = [
                Append(run_id=run.id, expected=position, events=(event,), epoch=1) for run in NEW
            ]
            assert store.append(batch) == [None, None]  # which reads back, and tries again
            out.write(f"{position}\n")
            out.flush()
            if position == 5:
                tried(lambda: store.post(Message(id="m", run_id="a", kind="signal", body=b"x")))
                assert tried(lambda: store.save_snapshot("a", 1, baseline_at(4)))
            if position == 9:
                tried(lambda: store.compact("a"))
                tried(store.tidy_up)
        out.write(f"{len(opened)}\n")


def full(place: str) -> None:
    """A runner on a small disk of its own, which another file fills."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", place]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        said("no mount")
        return
    ballast, gate, entered = Path(place, "ballast"), threading.Event(), threading.Event()

    def held(number: int) -> bytes:
        entered.set()
        gate.wait(GUARD_S)
        return os.urandom(200_000)

    made = td.workflow("w").add(td.step(held, name="held"))
    with td.Runner(store=f"sqlite:///{place}/runs.db", poll_s=0.01) as runner:
        runner.start(made, "a")
        ticket = runner.run("a", 1)
        entered.wait(GUARD_S)
        fill(ballast)
        gate.set()
        try:
            never = threading.Event()
            while not is_in_trouble(runner):
                never.wait(0.01)
            runner.run("a", 2)
        except StoreUnavailable as error:
            said("refused", error)
        said("waits", not ticket.done())
        ballast.unlink()
        said("stored", len(ticket.result(GUARD_S)["held"]))
        said("goes on", len(runner.run("a", 2, key="two").result(GUARD_S)["held"]))


def is_in_trouble(runner: Any) -> bool:
    """Whether the runner knows that nothing can be stored."""
    return runner._runner._core.writer.trouble is not None


def fill(ballast: Path) -> None:
    """Leave no room."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def read_only(path: str, user: str) -> None:
    """Read and write as somebody who may only read."""
    if os.geteuid() == 0:
        os.setgid(int(user))
        os.setuid(int(user))
    with closing(SqliteStore(path, Codec())) as store:
        told: list[Any] = []
        for use in (
            lambda: store.load("a").info.position,
            lambda: store.create(RunInfo(id="b", workflow="w", run_key="key")),
        ):
            try:
                told.append(use())
            except StoreError as error:
                told.append(f"{type(error).__name__}: {error}")
        said("|".join(map(str, told)))


def serving(path: str) -> None:
    """A runner with an input that never finishes by itself."""
    made = td.workflow("w").add(td.step(lambda _: threading.Event().wait(GUARD_S), name="held"))
    runner = td.Runner(store=f"sqlite:///{path}", poll_s=0.01)
    runner.start(made, "a")
    ticket = runner.run("a", 1)
    said("ready")
    try:
        ticket.result(GUARD_S)
    except Cancelled as error:
        said("cancelled", error)
    runner.checkpoint("a")
    os._exit(0)  # the body is in a thread, and cannot be ended


def out_of_files(path: str) -> None:
    """Append while no file can be opened."""
    with closing(SqliteStore(path, Codec())) as store, closing(SqliteStore(path, Codec())) as late:
        store.create(RunInfo(id="a", workflow="w", run_key="key"))
        event = InputAccepted(0, (0,), 0)
        used = max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 1
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, most))
        said(store.append([Append(run_id="a", expected=0, events=(event,))]))
        for use in (lambda: late.load("a"), lambda: store.load("a")):
            try:
                said("position", use().info.position)
            except StoreError as error:
                said("refused", type(error).__name__)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, most))
        said("then", late.load("a").info.position, store.load("a").info.position)


if __name__ == "__main__":
    logging.disable()
    acts: dict[str, Callable[..., None]] = {
        "appending": appending,
        "every": every,
        "full": full,
        "read_only": read_only,
        "out_of_files": out_of_files,
        "serving": serving,
    }
    acts[sys.argv[1]](*sys.argv[2:])
