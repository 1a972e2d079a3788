"""All runs of a store in a file that is a store itself: a backup of what is no file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, cast

from treadle.errors import UsageError
from treadle.interfaces import Codec
from treadle.stores.sqlite import SqliteStore
from treadle.stores.whole import Copied, Source, copy_runs


def copy_to_file(source: Source, path: Path, codec: Codec) -> Copied:
    """Put all runs of a store, as they are at one moment, into a new SQLite store; it has its name when all is in it.

    Errors: `UsageError`; those of stores.
    """
    if path.exists():
        raise UsageError(f"{path} is there already.", hint="name a file that is not.")
    part = path.with_name(f"{path.name}.part")
    forget(part)
    try:
        with closing(SqliteStore(part, cast("Codec", InPlace(codec)))) as target:
            target.list()  # the file is made, also where there are no runs
            copied = copy_runs(source, target)
        part.replace(path)
    finally:
        forget(part)
    return copied


class InPlace:
    """The codec of a store, with which values that lie apart come into the file."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.encode_event = getattr(codec, "encode_whole", codec.encode_event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)


def forget(part: Path) -> None:
    """Remove a file that was begun, and what lies beside it."""
    for end in ("", "-wal", "-shm", "-runner", "-anchor"):
        part.with_name(part.name + end).unlink(missing_ok=True)
