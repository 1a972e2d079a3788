"""The lock on a file: one process at a time runs its workflows, and the system knows when that process is gone."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final
from weakref import WeakSet

from treadle.errors import ReadOnly, StoreError, StoreTaken, StoreUnavailable
from treadle.stores.sqlite.file import BUSY_S, OUT_OF_FILES

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

UNSAID_S: Final = 0.02
"""How long a lock is tried for that somebody keeps."""

FOR_A_MOMENT: Final = b"for a moment"
"""What the lock's file says where a process has it only to move the write-ahead log."""


class Lock:
    """Says that one process, and no other, runs the workflows of a file. The system lets go of it with the process."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + "-runner")
        self._file: int | None = None

    def take(self) -> bool:
        """Take it; False if it was ours already. Errors: `StoreTaken` naming who has it, `ReadOnly`."""
        if self._file is not None or fcntl is None:  # without it SQLite's own locks have to do
            return False
        file = self._opened()
        if not is_locked(file):
            holder = os.pread(file, 100, 0).decode(errors="replace") or "another process"
            os.close(file)
            raise StoreTaken(
                f"{holder} runs the workflows of this file already ({self._path}).",
                hint="stop it first; to have many runners on one store, take PostgreSQL.",
            )
        self._keep(file, f"process {os.getpid()}".encode())
        return True

    @contextmanager
    def for_a_moment(self) -> Generator[bool]:
        """Have it for as long as this takes, if it is to be had; whether it is ours."""
        if self._file is not None or fcntl is None:
            yield True
            return
        try:
            file = self._opened()
        except StoreError:  # who may not even open it leaves the log to others
            yield False
            return
        if not is_locked(file, patience_s=0.0):
            os.close(file)
            yield False
            return
        self._keep(file, FOR_A_MOMENT)
        try:
            yield True
        finally:
            self.release()

    def _opened(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            kind = StoreUnavailable if error.errno in OUT_OF_FILES else ReadOnly
            raise kind(
                f"{self._path} cannot be opened: {error}.", hint="the folder must be writable."
            ) from error

    def _keep(self, file: int, name: bytes) -> None:
        with suppress(OSError):  # on a full disk, only the name is missing
            os.ftruncate(file, 0)
            os.pwrite(file, name, 0)
        self._file = file
        _LOCKS.add(self)

    @property
    def is_taken(self) -> bool:
        """Whether it is ours."""
        return self._file is not None

    def release(self) -> None:
        """Let another process have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_locked(file: int, *, patience_s: float = BUSY_S) -> bool:
    """Lock a file; False if another has it. Who says that it is only for a moment is waited for."""
    assert fcntl is not None
    begin = monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            is_brief = os.pread(file, len(FOR_A_MOMENT), 0) == FOR_A_MOMENT
            # who has just locked it has not said for how long
            if monotonic() - begin >= min(patience_s, BUSY_S if is_brief else UNSAID_S):
                return False
            sleep(0.002)
        else:
            return True


_LOCKS: Final[WeakSet[Lock]] = WeakSet()


def _let_go_in_child() -> None:
    """A forked child has the lock's file, too, and would keep it locked after this process is gone."""
    for lock in list(_LOCKS):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
