"""Opening the file: what SQLite, file system and file must be like, and how their errors are told.

Every connection is set up here, so that none is forgotten.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import urllib.parse  # noqa: F401 # pyright: ignore[reportUnusedImport] # `as_uri` looks for it when it may be late
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from treadle.errors import (
    Corrupt,
    OutcomeUnknown,
    ReadOnly,
    SchemaTooNew,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UsageError,
)
from treadle.stores.sqlite.schema import APPLICATION_ID, SCRIPTS, VERSION

logger = logging.getLogger("treadle.stores")

OLDEST: Final = (3, 37, 0)
"""STRICT tables."""

OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE)

NOT_SYNCED_HERE: Final = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP)
"""A folder that may not be listed, or a file system that does not sync folders."""

BUSY_S: Final = 5.0
"""How long a connection waits for another process's lock."""

SHARED_FILE_SYSTEMS: Final = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse.ceph",
        "fuse.ceph-fuse",
        "fuse.davfs2",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.juicefs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.smbnetfs",
        "fuse.sshfs",
        "gfs2",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
    ]
)
"""WAL needs memory that all processes share, on one host."""


def connect(path: Path, *, is_reader: bool = False, is_frozen: bool = False) -> sqlite3.Connection:
    """A connection with all settings that the store relies on. Errors: those of `told`, `UsageError`.

    `is_frozen`: nobody writes to the file, nor to its folder, so that there is nothing to lock.
    """
    check_library()
    mode = "ro" if is_reader else "rwc"
    with told(path, "opening"):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}{'&immutable=1' if is_frozen else ''}",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _set_up(connection, is_reader=is_reader)
        except BaseException:
            connection.close()
            raise
    return connection


def _set_up(connection: sqlite3.Connection, *, is_reader: bool) -> None:
    run = connection.execute
    connection.text_factory = as_text
    run(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")
    run("PRAGMA trusted_schema = OFF")
    run("PRAGMA cell_size_check = ON")
    run("PRAGMA mmap_size = 0")  # an I/O error is to be an error, not a signal
    run("PRAGMA temp_store = MEMORY")
    run("PRAGMA cache_size = -16000")
    run("PRAGMA wal_autocheckpoint = 0")  # the one writer alone says when
    if is_reader:
        run("PRAGMA query_only = ON")
        return
    run("PRAGMA synchronous = FULL")
    run("PRAGMA fullfsync = ON")
    run("PRAGMA checkpoint_fullfsync = ON")
    run("PRAGMA journal_size_limit = 67108864")


def as_text(stored: bytes) -> str:
    """Text that is damaged is to be seen as such, and not to make a whole list of runs unreadable."""
    return str(stored, errors="replace")


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring them up to date. Errors: `SchemaTooNew`, `UsageError`, those of `told`."""
    with told(path, "preparing"):
        version = _version(connection, path)
        if version == VERSION:
            return
        if version == 0:  # these two can only be said before there are tables
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        for number in range(version, VERSION):
            _migrate(connection, number)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema of a file. Errors: `SchemaTooNew`, `UsageError`."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application not in (0, APPLICATION_ID) or (application == 0 and _has_tables(connection)):
        raise UsageError(
            f"{path} is a database of something else.", hint="name another file for the store."
        )
    if version > VERSION:
        raise SchemaTooNew(
            f"{path} was written by a later version (schema {version}, this one knows {VERSION}).",
            hint="install that version of treadle, or name another file.",
        )
    return int(version)


def look_into(path: Path) -> sqlite3.Connection:
    """A connection to a file as it is: nothing is made, and nothing written, not even beside it if that cannot be.

    Errors: `UsageError` if there is no store, or an older one; `SchemaTooNew`; those of `told`.
    """
    if not path.is_file():
        raise UsageError(f"there is no store {path}.", hint="correct the path of the store.")
    try:
        return _looking(path, is_frozen=False)
    except ReadOnly:
        # SQLite needs files beside it, and none can be made. Where the log beside it is empty, all is in the file.
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _looking(path, is_frozen=True)


def _looking(path: Path, *, is_frozen: bool) -> sqlite3.Connection:
    connection = connect(path, is_reader=True, is_frozen=is_frozen)
    try:
        with told(path, "reading"):
            version = _version(connection, path)
        if version < VERSION:
            raise UsageError(
                f"{path} was written by an earlier version (schema {version}, this one reads {VERSION}).",
                hint="open it with a runner once, which brings it up to date.",
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def _migrate(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == number:  # nobody else was quicker
            for statement in SCRIPTS[number]:
                connection.execute(statement)
            if number == 0:
                made = ("store", uuid.uuid4().hex)
                connection.execute("INSERT INTO meta VALUES (?, ?)", made)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_library() -> None:
    """Errors: `UsageError` if this SQLite is too old."""
    if sqlite3.sqlite_version_info < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise UsageError(
            f"this Python has SQLite {sqlite3.sqlite_version}, and the store needs {oldest}.",
            hint="a newer Python brings a newer SQLite.",
        )


def check_place(path: Path) -> None:
    """Refuse a folder, one in a folder that is not there, and file systems where several hosts could open the file."""
    if path.is_dir():
        raise UsageError(
            f"{path} is a folder, and a store is a file.", hint=f"{path / 'treadle.db'}"
        )
    folder = path.resolve().parent  # the file itself may be a link to elsewhere
    if not folder.is_dir():
        raise UsageError(f"the folder {folder} is not there.", hint="make it first.")
    kind = file_system_of(folder)
    if kind in SHARED_FILE_SYSTEMS:
        raise UsageError(
            f"{path} lies on a network file system ({kind}), where SQLite cannot keep its promises.",
            hint='use a local disk, or PostgreSQL: store="postgresql://...".',
        )


def sync_folder(folder: Path) -> None:
    """Have the names of file and log outlast a power cut. SQLite does that, too, and says nothing where it fails.

    Errors: `StoreUnavailable`.
    """
    if os.name != "posix":
        return
    try:
        with opened_folder(folder) as handle:
            os.fsync(handle)
    except OSError as error:
        if error.errno not in NOT_SYNCED_HERE:
            kind = ReadOnly if error.errno == errno.EROFS else StoreUnavailable
            raise kind(
                f"the folder {folder} could not be synced: {error}.",
                hint="look at the disk before anything else.",
            ) from error


@contextmanager
def opened_folder(folder: Path) -> Generator[int]:
    """The handle of a folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def file_system_of(folder: Path, mounts: str = "/proc/self/mounts") -> str | None:
    """The kind of file system that holds a folder, where the system tells."""
    try:
        lines = Path(mounts).read_text(errors="replace").splitlines()
    except OSError:
        return None
    place = str(folder.resolve())
    best: tuple[int, str | None] = (-1, None)
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best[0]:
            best = (len(point), fields[2])
    return best[1]


@contextmanager
def told(path: Path, doing: str) -> Generator[None]:
    """Tell SQLite's errors as ours."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise as_ours(error, path, doing) from error


def as_ours(error: sqlite3.Error | UnicodeDecodeError, path: Path, doing: str) -> StoreError:
    """What an error of SQLite means to who uses the store; one whose very text cannot be read is of a damaged file."""
    if isinstance(error, UnicodeDecodeError):
        return Corrupt(
            f"{doing} {path}: it names what cannot be read.",
            hint="restore a backup; `treadle verify` says what is damaged.",
        )
    name = getattr(error, "sqlite_errorname", None) or ""
    make: Callable[..., StoreError] = StoreError
    hint = "this is not expected: please report it."
    for prefix, kind, remedy in _MEANINGS:
        if name.startswith(prefix):
            make, hint = kind, remedy
            break
    else:
        if isinstance(error, sqlite3.ProgrammingError):
            make, hint = StoreUnavailable, "the store was closed."
    return make(f"{doing} {path}: {error} ({name or type(error).__name__}).", hint=hint)


_MEANINGS: Final[tuple[tuple[str, Callable[..., StoreError], str], ...]] = (
    ("SQLITE_FULL", StoreFull, "make room on the disk; what waits is stored then."),
    ("SQLITE_READONLY", ReadOnly, "file and folder must be writable."),
    ("SQLITE_CANTOPEN", ReadOnly, "folder and file must be there, and be readable and writable."),
    ("SQLITE_PERM", ReadOnly, "file and folder must be readable and writable."),
    ("SQLITE_BUSY", StoreUnavailable, "another process keeps the file locked."),
    ("SQLITE_LOCKED", StoreUnavailable, "another connection keeps the file locked."),
    ("SQLITE_CORRUPT", Corrupt, "restore a backup; `treadle verify` says what is damaged."),
    ("SQLITE_NOTADB", Corrupt, "the file is no SQLite database, or its beginning is damaged."),
    ("SQLITE_IOERR", OutcomeUnknown, "the disk reports an error: look at it before anything else."),
    ("SQLITE_NOMEM", StoreUnavailable, "the machine is out of memory."),
    ("SQLITE_INTERRUPT", StoreUnavailable, "try again."),
)
