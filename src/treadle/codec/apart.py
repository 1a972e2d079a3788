"""Large values outside of the store: in a folder, or wherever fsspec reaches.

The store keeps their hashes, and which run refers to them; the bytes lie under names made of the hashes. A value is
written before anything refers to it, so that a crash in between leaves a value that nobody needs, never a reference
to nothing; `sweep` takes away the former.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

from treadle.errors import Corrupt, MissingExtra, StoreUnavailable, UsageError
from treadle.interfaces import Codec
from treadle.model.events import Event

ELSEWHERE = b""
"""What the store keeps in the place of a value that lies elsewhere."""


class Place(Protocol):
    """Where values lie, by name."""

    def put(self, name: str, data: bytes) -> None:
        """Keep a value, wholly or not at all; one of this name that is there already is the same."""
        ...

    def get(self, name: str) -> bytes:
        """A value. Errors: `LookupError`."""
        ...

    def names(self) -> Iterable[tuple[str, float]]:
        """The names of all values, each with when it was written, in seconds since 1970."""
        ...

    def remove(self, name: str) -> None:
        """Let go of a value."""
        ...


OURS: Final = re.compile(r"[0-9a-f]{64}|\.[0-9a-f]{32}")
"""The names of values, and of files that are being written: those of values come when they are whole."""


class Folder:
    """Values in files of one folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._are_names_synced = False
        """Those that are there last as long as what they stand for; nobody knows that of earlier processes."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file under another name first, so that a name never stands for half of a value."""
        target = self.path / name
        with _told(target, "written"):
            if self._are_names_synced and target.exists():
                os.utime(target)  # so that nobody sweeps it away just now
                return
            made = self.path / f".{uuid.uuid4().hex}"
            try:
                with made.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                made.replace(target)
            except OSError:
                with suppress(OSError):
                    made.unlink(missing_ok=True)
                raise
            self._sync()

    def _sync(self) -> None:
        """The name must last as long as what it stands for. Where that fails, the next try begins from the start."""
        self._are_names_synced = False
        if os.name == "posix":
            folder = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        self._are_names_synced = True

    def get(self, name: str) -> bytes:
        """Read a file."""
        with _told(self.path / name, "read"):
            try:
                return (self.path / name).read_bytes()
            except FileNotFoundError:
                raise LookupError(name) from None

    def names(self) -> Iterable[tuple[str, float]]:
        """The files, and when they were written."""
        with _told(self.path, "read"):
            return [(entry.name, entry.stat().st_mtime) for entry in os.scandir(self.path)]

    def remove(self, name: str) -> None:
        """Delete a file."""
        with _told(self.path / name, "deleted"):
            (self.path / name).unlink(missing_ok=True)


@contextmanager
def _told(path: Path, done: str) -> Generator[None]:
    """Tell the errors of the disk as ours: what they keep from being done is tried again."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{path} could not be {done}: {error}.") from error


class Remote:
    """Values wherever fsspec reaches: `s3://bucket/values`, `gs://...`, `memory://...`."""

    def __init__(self, url: str) -> None:
        try:
            fsspec: Any = import_module("fsspec")
        except ImportError:
            raise MissingExtra(
                f"{url} needs fsspec, which is not installed.", hint='pip install "treadle[blobs]"'
            ) from None
        self._files: Any
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._files.makedirs(self._root, exist_ok=True)

    def put(self, name: str, data: bytes) -> None:
        """Write an object; object stores show it when it is whole."""
        self._told(lambda: self._files.pipe_file(f"{self._root}/{name}", data))

    def get(self, name: str) -> bytes:
        """Read an object."""
        try:
            found: bytes = self._told(lambda: self._files.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            raise LookupError(name) from None
        return found

    def _told(self, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except FileNotFoundError:
            raise
        except Exception as error:
            raise StoreUnavailable(f"{self._root} does not answer: {error}.") from error

    def names(self) -> Iterable[tuple[str, float]]:
        """The objects, and when they were written, where that is told; else now."""
        for entry in self._files.ls(self._root, detail=True):
            made = entry.get("created") or entry.get("LastModified") or entry.get("mtime")
            at = made.timestamp() if hasattr(made, "timestamp") else made
            yield entry["name"].rpartition("/")[2], float(at or time.time())

    def remove(self, name: str) -> None:
        """Delete an object."""
        self._files.rm_file(f"{self._root}/{name}")


class Apart:
    """A codec whose large values lie outside of the store: `Apart(Codec(), "values/")`, or a URL.

    What is longer than `over` bytes goes there; the codec decides what stands out of line at all.
    """

    def __init__(
        self, codec: Codec, where: str | os.PathLike[str] | Place, *, over: int = 65_536
    ) -> None:
        if over < 0:
            raise UsageError(f"over={over} is no number of bytes.")
        self._codec = codec
        self._over = over
        self.place: Place = place_of(where)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)  # learning classes, and the like

    def encode_event(self, event: Event) -> tuple[bytes, dict[bytes, bytes]]:
        """An event as bytes; of its large values those that stay in the store, and the hashes of the others."""
        body, blobs = self._codec.encode_event(event)
        for mark, data in blobs.items():
            if len(data) > self._over:
                self.place.put(mark.hex(), data)
                blobs[mark] = ELSEWHERE
        return body, blobs

    def encode_whole(self, event: Event) -> tuple[bytes, dict[bytes, bytes]]:
        """An event and all of its large values, for a file that is to be read anywhere."""
        return self._codec.encode_event(event)

    def decode_event(self, body: bytes, fetch: Callable[[bytes], bytes]) -> Event:
        """The event, with its values from the store or from elsewhere."""
        return self._codec.decode_event(body, lambda mark: self._fetched(mark, fetch))

    def _fetched(self, mark: bytes, fetch: Callable[[bytes], bytes]) -> bytes:
        data = fetch(mark)
        if data != ELSEWHERE:
            return data
        try:
            return self.place.get(mark.hex())
        except LookupError:
            raise Corrupt(
                f"the value of hash {mark.hex()} is not where it was written.",
                hint="bring back the folder or bucket that the values were written to.",
            ) from None

    def encode(self, value: Any) -> bytes:
        """A value as bytes."""
        return self._codec.encode(value)

    def decode(self, stored: bytes) -> Any:
        """The value."""
        return self._codec.decode(stored)

    def check(self, value: Any) -> None:
        """Refuse what could not be stored."""
        self._codec.check(value)

    def sweep(self, known: Iterable[bytes], *, unused_for_s: float) -> int:
        """Let go of values that no store refers to, and that were written so long ago; says how many.

        So goes what a process left half written. Whatever else lies there is somebody else's.
        `known`: the hashes that are referred to, of all stores that share this place (`store.blobs()`), asked for
        after those of the store were swept.
        """
        needed = {mark.hex() for mark in known}
        before = time.time() - unused_for_s
        unused = [
            name
            for name, at in self.place.names()
            if at <= before and name not in needed and OURS.fullmatch(name)
        ]
        for name in unused:
            self.place.remove(name)
        return len(unused)


def place_of(where: str | os.PathLike[str] | Place) -> Place:
    """A folder, or wherever a URL leads."""
    if isinstance(where, str) and "://" in where:
        return Remote(where)
    if isinstance(where, (str, os.PathLike)):
        return Folder(where)
    return where
