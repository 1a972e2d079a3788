"""A process with a disk of its own that is full, or may only be read for a while, under a runner at work.

It is to be run in a mount namespace of its own, in which whatever it mounts goes with it.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import treadle as td
from tests.durability.disk import GUARD_S, fill, is_in_trouble, said
from treadle.codec import Apart, Codec
from treadle.errors import StoreError, StoreUnavailable, UsageError
from treadle.runner import keeping
from treadle.runner import runner as faces
from treadle.stores.sqlite import SqliteStore


def is_done(*words: object) -> bool:
    """Run a program of the system; whether it went well."""
    return not subprocess.run([*map(str, words)], check=False, capture_output=True).returncode


class Steered:
    """A step that waits for the test, and then gives something large."""

    def __init__(self) -> None:
        self.entered, self.gate = threading.Event(), threading.Event()
        self.workflow = td.workflow("w").add(td.step(self.held, name="held"))

    def held(self, number: int) -> bytes:
        """The step."""
        self.entered.set()
        self.gate.wait(GUARD_S)
        return os.urandom(200_000 + number)


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that comes by itself."""
    never, end = threading.Event(), monotonic() + GUARD_S
    while not holds() and monotonic() < end:
        never.wait(0.01)


def refused(runner: Any) -> str:
    """What is said of an input now."""
    try:
        runner.run("a", 9)
    except StoreUnavailable as error:
        return str(error)
    return "taken"


def values(place: str) -> None:
    """The disk with the folder of large values is full, then may only be read; the one with the store is as ever."""
    folder = Path(place, "values")
    folder.mkdir()
    if not is_done("mount", "-t", "tmpfs", "-o", "size=2m", "none", folder):
        said("no mount")
        return
    codec, steered = Apart(Codec(), folder, over=10_000), Steered()
    store = SqliteStore(Path(place, "runs.db"), codec)
    with td.Runner(store=store, poll_s=0.01) as runner:
        runner.start(steered.workflow, "a")
        ticket = runner.run("a", 1)
        steered.entered.wait(GUARD_S)
        fill(folder / "ballast")
        steered.gate.set()
        until(lambda: is_in_trouble(runner))
        said("waits", not ticket.done(), store.blobs(), store.load("a").info.position)
        (folder / "ballast").unlink()
        said("stored", len(ticket.result(GUARD_S)["held"]))
        said("read only", is_done("mount", "-o", "remount,ro", folder))
        ticket = runner.run("a", 2)
        until(lambda: is_in_trouble(runner))
        said("waits", not ticket.done(), len(store.blobs()))
        said("read and written", is_done("mount", "-o", "remount,rw", folder))
        said("goes on", len(ticket.result(GUARD_S)["held"]))
    with closing(SqliteStore(Path(place, "runs.db"), codec)) as store:
        lies = sorted(each.name for each in folder.iterdir())
        said("sound", store.verify() == [] and lies == sorted(m.hex() for m in store.blobs()))


def snapshots(place: str) -> None:
    """The disk is full whenever a snapshot is saved, and then once not."""
    if not is_done("mount", "-t", "tmpfs", "-o", "size=2m", "none", place):
        said("no mount")
        return
    settings: Any = keeping
    settings.SNAPSHOT_EVERY, settings.SNAPSHOT_AGAIN = 20, 5
    path, ballast = Path(place, "runs.db"), Path(place, "ballast")
    tried: list[tuple[int, str]] = []

    class Crowded(SqliteStore):
        """Saves snapshots on a full disk, at first."""

        def save_snapshot(self, run_id: str, epoch: int, baseline: Any) -> bool:
            if len(tried) < 2:
                fill(ballast)
            try:
                done = super().save_snapshot(run_id, epoch, baseline)
            except StoreError as error:
                tried.append((baseline.position, type(error).__name__))
                raise
            finally:
                ballast.unlink(missing_ok=True)
            tried.append((baseline.position, str(done)))
            return done

    made = td.workflow("w").add(td.step(abs))
    with td.Runner(store=Crowded(path, Codec()), poll_s=0.01) as runner:
        runner.start(made, "a")
        given = [runner.run("a", -number).result(GUARD_S)["abs"] for number in range(20)]
        said("given", given == [*range(20)])
    said(*(what for _, what in tried[:3]))
    said("apart", tried[1][0] - tried[0][0] < 20, tried[2][0] - tried[1][0] < 20)
    with closing(sqlite3.connect(path)) as connection:
        (kept,) = connection.execute("SELECT min(position) FROM snapshot").fetchone()
    said("the first that is kept", kept == tried[2][0] or len(tried) > 4)
    with closing(SqliteStore(path, Codec())) as store:
        said("sound", store.verify() == [], store.load("a").events[0].position > 0)


class Counted(SqliteStore):
    """Counts how often something is to be appended."""

    appends = 0

    def append(self, batch: Any) -> Any:
        self.appends += 1
        return super().append(batch)


def locked(place: str) -> None:
    """A disk of its own on which nothing may be changed for a while, and then may."""
    disk = mounted(place)
    if disk is None:
        return
    files = [disk / "runs.db", disk / "runs.db-wal", disk]
    store, steered = Counted(disk / "runs.db", Codec()), Steered()
    with td.Runner(store=store, poll_s=0.01) as runner:
        runner.start(steered.workflow, "a")
        ticket = runner.run("a", 1)
        steered.entered.wait(GUARD_S)
        if not is_done("chattr", "+i", *files):
            said("no mount")
            steered.gate.set()
            return
        told_of_trouble(runner, store, steered, ticket)
        said("back", is_done("chattr", "-i", *files))
        said("stored", len(ticket.result(GUARD_S)["held"]))
        said("goes on", len(runner.run("a", 2).result(GUARD_S)["held"]))
    with closing(SqliteStore(disk / "runs.db", Codec())) as again:
        said("sound", again.verify() == [])


def told_of_trouble(runner: Any, store: Counted, steered: Steered, ticket: Any) -> None:
    """Nothing can be written any more: what the runner says and does."""
    before, begin = store.appends, monotonic()
    steered.gate.set()
    until(lambda: store.appends >= before + 5)
    said("patient", monotonic() - begin > 0.05 + 0.1 + 0.2 + 0.4)
    said("trouble", type(runner._runner._core.writer.trouble).__name__)
    said("waits", not ticket.done(), refused(runner).split(":")[0])
    with closing(SqliteStore(store.path, Codec(), read_only=True)) as reader:
        said("read", reader.load("a").info.status, store.load("a").info.status)


def failing(place: str) -> None:
    """A file system with an error: the system lets it only be read from then on."""
    disk = mounted(place)
    if disk is None:
        return
    device = subprocess.check_output(["findmnt", "-n", "-o", "SOURCE", disk], text=True).strip()
    trigger = Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error")
    store, steered = Counted(disk / "runs.db", Codec()), Steered()
    settings: Any = faces
    settings.LAST_S = 0.01
    runner = td.Runner(store=store, poll_s=0.01)
    runner.start(steered.workflow, "a")
    ticket = runner.run("a", 1)
    steered.entered.wait(GUARD_S)
    trigger.write_text("1")
    told_of_trouble(runner, store, steered, ticket)
    said("closed", runner.close(drain_s=0.01))
    is_done("umount", disk)
    is_done(
        "e2fsck", "-fy", Path(place, "image")
    )  # which says by its code that it mended something
    said("mounted", is_done("mount", "-o", "loop", Path(place, "image"), disk))
    again = SqliteStore(disk / "runs.db", Codec())
    with td.Runner(store=again, workflows=[steered.workflow], poll_s=0.01) as runner:
        until(lambda: bool(runner.get_results("a")))
        said("stored", len(runner.get_results("a")["held"]))
    with closing(SqliteStore(disk / "runs.db", Codec())) as again:
        said("sound", again.verify() == [])


def far(place: str) -> None:
    """A file system that says it is a network's, which this process answers for itself."""
    folder = Path(place, "far")
    folder.mkdir()
    fuse = os.open("/dev/fuse", os.O_RDWR)
    given = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", bytes(folder), b"fuse.sshfs", 0, given):
        said("no mount")
        return
    threading.Thread(target=answering, args=(fuse,), daemon=True).start()
    try:
        SqliteStore(folder / "runs.db", Codec()).close()
    except UsageError as error:
        said(error)


def answering(fuse: int) -> None:
    """Say of a file system that it is there, and has one empty folder."""
    init, getattr, owned = 26, 3, 0o40755
    while True:
        asked = os.read(fuse, 1 << 20)
        _, what, number = struct.unpack_from("=IIQ", asked)
        if what == init:
            answer = struct.pack("=IIIIHHIIHHI28x", 7, 31, 0, 0, 1, 1, 4096, 1, 1, 0, 0)
        elif what == getattr:
            answer = struct.pack("=16xQ52xII20x", 1, owned, 2)
        else:
            answer = b""
        error = 0 if answer else -errno.ENOENT
        try:
            os.write(fuse, struct.pack("=IiQ", 16 + len(answer), error, number) + answer)
        except OSError:  # or whoever asked would wait for ever
            os._exit(1)


def mounted(place: str) -> Path | None:
    """A file system of one's own, in a file."""
    image, disk = Path(place, "image"), Path(place, "disk")
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    if is_done("mkfs.ext4", "-q", "-O", "^has_journal", image) and is_done(
        "mount", "-o", "loop,errors=remount-ro", image, disk
    ):
        return disk
    said("no mount")
    return None


if __name__ == "__main__":
    logging.disable()
    acts: dict[str, Callable[[str], None]] = {
        "values": values,
        "snapshots": snapshots,
        "locked": locked,
        "failing": failing,
        "far": far,
    }
    acts[sys.argv[1]](*sys.argv[2:])
