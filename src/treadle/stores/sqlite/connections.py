"""The connections of one store: one that writes, one that reads, and what is done when the disk fails under them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Final

from treadle.errors import OutcomeUnknown, ReadOnly, StoreError, StoreUnavailable, UsageError
from treadle.stores.sqlite.anchor import TURN_EVERY, Anchor
from treadle.stores.sqlite.file import (
    as_ours,
    check_place,
    connect,
    logger,
    look_into,
    prepare,
    sync_folder,
    told,
)
from treadle.stores.sqlite.lock import Lock

CHECKPOINT_AT: Final = 4 * 1024 * 1024
"""How large the write-ahead log may grow, in bytes, before what it holds is moved into the file."""

LOOK_EVERY: Final = 32
"""After so many transactions its size is looked at."""

WAL_RESET_FIXED: Final = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""From these on, by branch, two connections that checkpoint and write at once cannot damage the file."""


class Connections:
    """Opens the file when first needed; one thread writes at a time, and one reads, also while another writes.

    `read_only`: the file has to be there, and nothing is written. `refuses_older`: nothing is run in a file that is
    older than the one that was run here last.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        refuses_older: bool = False,
    ) -> None:
        if str(path) in {"", ":memory:"}:
            raise UsageError(
                "a SQLite store needs a file.", hint='to keep nothing, say store="memory".'
            )
        self.path = Path(path)
        if not read_only:
            check_place(self.path)  # at once: who opens it later may be a thread that only logs
        self._is_read_only = read_only
        self._process = os.getpid()
        self._file = self.path.resolve()
        """Under whichever name it is opened, log and lock are those of the file."""
        self._lock = Lock(self._file)
        self._anchor = Anchor(self._file, is_strict=refuses_older)
        self._writing = RLock()
        self._reading = RLock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._guard: sqlite3.Connection | None = None
        """Keeps others from writing while the log is moved."""
        self._is_reader_stale = False
        self._is_synced = True
        self._count = 0
        self._turned_at = -TURN_EVERY  # the first transaction begins one
        self._is_closed = False
        self._identity: tuple[int, int] | None = None
        """Which file was opened: another one may stand at its place later."""

    # ------------------------------------------------------------------------------------ opening

    def _check_process(self) -> None:
        """A forked child must not even ask for the locks: a thread that it does not have may hold them."""
        if os.getpid() != self._process:
            raise UsageError(
                f"the store {self.path} was opened in another process, which this one was forked from.",
                hint="open a store of its own in each process.",
            )

    def _check(self) -> None:
        if self._is_closed:
            raise StoreUnavailable(f"the store {self.path} was closed.")
        if self._identity is not None and identity_of(self.path) != self._identity:
            raise StoreUnavailable(
                f"{self.path} was removed or replaced while it was in use: what is written now would be lost.",
                hint="put the file back, or stop this process and begin anew with the other one.",
            )

    def _open_writer(self) -> sqlite3.Connection:
        if self._is_read_only:
            raise ReadOnly(f"{self.path} was opened to be read only.")
        if self._writer is None:
            check_place(self.path)
            connection = connect(self.path)
            try:
                prepare(connection, self.path)
                sync_folder(self._file.parent)
            except BaseException:
                connection.close()
                raise
            self._writer, self._is_synced = connection, True
            self._identity = self._identity or identity_of(self.path)
            warn_of_version(self.path)
        return self._writer

    def _open_reader(self) -> None:
        if self._is_read_only:
            self._reader = look_into(self.path)
            return
        with self._writing:
            if self._reader is not None:
                with suppress(sqlite3.Error):
                    self._reader.close()
            self._reader = None
            try:
                self._open_writer()  # there may be no file yet, or an old one
            except ReadOnly:
                if not self.path.is_file():
                    raise
                self._reader = look_into(self.path)  # until the next look: somebody may write again
                return
            self._is_reader_stale = False
        self._reader = connect(self.path, is_reader=True)

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """A connection to read with, within one transaction: all that is read belongs together."""
        self._check_process()
        with self._reading:
            self._check()
            if self._reader is not None and self._reader.in_transaction:  # this thread's own
                yield self._reader
                return
            if self._reader is None or self._is_reader_stale:
                self._open_reader()
            assert self._reader is not None
            with told(self.path, "reading"):
                self._reader.execute("BEGIN")
                try:
                    yield self._reader
                finally:
                    if self._reader.in_transaction:
                        self._reader.execute("COMMIT")

    @contextmanager
    def at_one_moment(self) -> Generator[None]:
        """Whatever this thread reads meanwhile belongs together; others who read with this store wait."""
        with self.reading():
            yield

    @contextmanager
    def writing(
        self, doing: str, *, is_synced: bool = True, is_runner: bool = False
    ) -> Generator[sqlite3.Connection]:
        """A transaction that writes; rolled back where something is raised.

        `is_runner`: what only the process that runs the workflows may do.
        """
        self._check_process()
        with self._writing:
            self._check()
            connection = self._open_writer()
            if is_runner:
                self.take_lock()
            try:
                if is_synced != self._is_synced:
                    connection.execute(f"PRAGMA synchronous = {'FULL' if is_synced else 'NORMAL'}")
                    self._is_synced = is_synced
                connection.execute("BEGIN IMMEDIATE")  # a later upgrade of the lock could not wait
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back(connection)
                ours = as_ours(error, self.path, doing)
                if is_disk_error(error):
                    self.reopen()
                elif isinstance(ours, ReadOnly):
                    self._close_writer()  # to which it stays so, whatever becomes of the disk
                raise ours from error
            except BaseException:
                self._roll_back(connection)
                raise
            self._count += 1
            if self._count % LOOK_EVERY == 0:
                self._look_at_log()
            if self._count - self._turned_at >= TURN_EVERY:
                self.turn()

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def take_lock(self) -> None:
        """Be the one process that runs the workflows of this file: whoever had runs before is gone."""
        self._check_process()
        with self._writing:
            self._check()
            if not self._lock.take():
                return
            try:
                with self._told("taking over"):
                    self._anchor.check(self._open_writer())
                    self._open_writer().execute(
                        "UPDATE run SET lease_until = 0 WHERE owner IS NOT NULL"
                    )
            except BaseException:  # or nobody would look for what was left behind
                self._lock.release()
                raise

    def turn(self) -> None:
        """Where this process runs the file, begin a new turn: copies that were made before are older from then on."""
        if not self._lock.is_taken:
            return
        with self._writing:
            try:
                with self._told("beginning a turn of"):
                    self._turn()
            except StoreError as error:
                logger.warning("%s", error)
                self._turned_at = self._count

    def _turn(self) -> None:
        writer = self._open_writer()
        writer.execute("PRAGMA synchronous = FULL")
        self._is_synced = True
        writer.execute("BEGIN IMMEDIATE")
        try:
            turn = self._anchor.begin_turn(writer)
            writer.execute("COMMIT")
        except BaseException:
            self._roll_back(writer)
            raise
        self._turned_at = self._count
        self._anchor.note(turn)

    def rolled_back(self) -> str | None:
        """What is to be said of a file that is not the one that was run here last."""
        kept = self._anchor.read()
        with self.reading() as connection:
            return self._anchor.compared(kept, connection)

    def reopen(self) -> None:
        """Begin anew with the file: after an error of the disk, what the old connection believes is worth nothing."""
        with self._writing:
            self._close_writer()
            self._is_reader_stale = True  # another thread may be reading with it just now

    def _close_writer(self) -> None:
        for connection in (self._guard, self._writer):
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()
        self._writer = self._guard = None

    @contextmanager
    def _told(self, doing: str) -> Generator[None]:
        """Tell SQLite's errors as ours; after one of the disk, begin anew with the file."""
        try:
            with told(self.path, doing):
                yield
        except OutcomeUnknown:
            self.reopen()
            raise

    # --------------------------------------------------------------------------- write-ahead log

    def look_at_log(self) -> None:
        """Where this process runs the file: move what the log holds, if it is large. Others may have filled it."""
        if self._lock.is_taken and is_log_large(self._file):
            with self._writing:
                self._look_at_log()

    def _look_at_log(self) -> None:
        """One process at a time moves the log: that which runs the file, or any where there is none."""
        if not is_log_large(self._file):
            return
        try:
            with self._lock.for_a_moment() as is_ours:
                if is_ours:
                    self._move_log()
        except StoreError as error:  # what was to be stored is; this is tried again
            logger.error("%s", error)

    def _move_log(self) -> None:
        """Move what the log holds, as far as no reader is in the way, while nobody writes.

        A log that another process writes to, or begins anew, at the same instant is what some versions of SQLite
        lose commits by.
        """
        with self._told("moving the write-ahead log into"):
            writer = self._open_writer()
            if self._guard is None:
                self._guard = connect(self.path)
            self._guard.execute("BEGIN IMMEDIATE")
            try:
                writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            finally:
                self._guard.execute("ROLLBACK")

    def tidy_up(self) -> None:
        """Move what the write-ahead log holds into the file. Errors: `StoreTaken` while another process runs it."""
        self._check_process()
        with self._writing:
            self._check()
            self.take_lock()
            with self._told("tidying up"):
                self._open_writer().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Let go of the file. A forked child has nothing to let go of."""
        if os.getpid() != self._process:
            return
        with self._reading, self._writing:
            if self._is_closed:
                return
            self._is_closed = True
            if self._reader is not None:
                self._reader.close()
            if self._writer is not None and self._lock.is_taken:
                with suppress(sqlite3.Error):
                    if self._count > max(0, self._turned_at):
                        self._turn()
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._close_writer()
            self._reader = None
            self._lock.release()


def is_log_large(path: Path) -> bool:
    """Whether what a write-ahead log holds is to be moved into the file."""
    try:
        return os.stat(f"{path}-wal").st_size > CHECKPOINT_AT  # noqa: PTH116 - at each look
    except OSError:
        return False


def identity_of(path: Path) -> tuple[int, int] | None:
    """Which file stands at a path."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of the time, at each transaction
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_disk_error(error: Exception) -> bool:
    """Whether the disk failed: what the connection believes of the file is worth nothing then."""
    return (getattr(error, "sqlite_errorname", None) or "").startswith("SQLITE_IOERR")


_WARNED: Final[set[str]] = set()


def warn_of_version(path: Path) -> None:
    """Say once that this SQLite has a known fault, which the store works around."""
    version = sqlite3.sqlite_version_info
    if has_wal_reset_fault(version) and "wal-reset" not in _WARNED:
        _WARNED.add("wal-reset")
        logger.info(
            "SQLite %s can lose commits if two processes move its write-ahead log at once (mended in 3.51.3); "
            "this store lets one process alone do that. Never open %s with other tools while it is in use.",
            sqlite3.sqlite_version,
            path,
        )


def has_wal_reset_fault(version: tuple[int, ...]) -> bool:
    """Whether this version can lose commits when two connections checkpoint and write at once."""
    for fixed in WAL_RESET_FIXED:
        if version[:2] == fixed[:2]:
            return version < fixed
    return version < WAL_RESET_FIXED[-1]
