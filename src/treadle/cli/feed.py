"""What is fed in: values given on the command line, or the lines of a file, read as they are needed."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from errno import EISDIR
from hashlib import blake2b
from io import UnsupportedOperation
from pathlib import Path
from threading import Semaphore, Thread
from typing import Any, BinaryIO, Final

import msgspec
from msgspec import Struct

from treadle.errors import UsageError

BOM: Final = b"\xef\xbb\xbf"

READ_AHEAD: Final = 64
"""How many lines of a stream are read before they are needed."""


class Given(Struct, frozen=True):
    """One input as it was given: a value, or `problem` says why it is none.

    `order` counts what was given from 0; `line` counts the lines of a file from 1. `key`: a run that has an input of
    this key has this one already. `number`: it is in the run already, as the input of this number.
    """

    order: int
    line: int | None = None
    value: Any = None
    problem: str | None = None
    key: str | None = None
    number: int | None = None


class Feed:
    """What is given, one after the other, to be gone through once.

    `total`: how many there are; None where only the end of the stream will tell. `may_block`: the next one may be
    long in coming, so it is waited for in a thread of its own.
    """

    def __init__(
        self, givens: Iterable[Given], total: int | None, *, may_block: bool = False
    ) -> None:
        self.total = total
        self.taken = 0
        self._at_hand = givens if isinstance(givens, list) else []
        self._givens = iter(givens)
        self._may_block = may_block

    def known(self) -> list[Given]:
        """What is given, where it is at hand already."""
        return self._at_hand

    def __iter__(self) -> Iterator[Given]:
        """What is given, waited for where it stands."""
        return self._givens

    async def lines(self) -> AsyncIterator[Given]:
        """What is given, in order."""
        if not self._may_block:
            for given in self._givens:
                self.taken += 1
                yield given
            return
        stream = _Stream(self._givens)
        while (read := await stream.next()) is not None:
            self.taken += 1
            yield read


class _Stream:
    """Reads a few lines ahead in a thread. It is a daemon: nobody can wake it from a read that never ends."""

    def __init__(self, givens: Iterator[Given]) -> None:
        self._givens = givens
        self._loop = asyncio.get_running_loop()
        self._came: asyncio.Queue[Given | None] = asyncio.Queue()
        self._room = Semaphore(READ_AHEAD)
        Thread(target=self._read, name="treadle feed", daemon=True).start()

    async def next(self) -> Given | None:
        """The next one; None at the end."""
        given = await self._came.get()
        self._room.release()
        return given

    def _read(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody wants the rest
            for given in self._givens:
                self._room.acquire()
                self._loop.call_soon_threadsafe(self._came.put_nowait, given)
            self._loop.call_soon_threadsafe(self._came.put_nowait, None)


def from_options(texts: Iterable[str], keys: Keys | None = None) -> Feed:
    """The inputs given as `--input JSON`; a mistake in one is a mistake in the call."""
    givens = []
    for order, text in enumerate(texts):
        given = parse(order, None, text.encode("utf-8", "surrogateescape"), keys)
        if given.problem is not None:
            raise UsageError(
                f"--input {text!r:.80} is not JSON: {given.problem}.",
                hint="text needs quotes of its own: --input '\"text\"'.",
            )
        givens.append(given)
    return Feed(givens, len(givens))


def from_file(path: str, keys: Keys | None = None) -> Feed:
    """The inputs in a file of JSON lines; `-` is standard input.

    A file is gone through twice, to know how many lines it has; of a pipe nobody can know. Nor can its lines be told
    from those of another by their numbers: they have the keys that they hold, and no others.
    """
    piped = None if keys is None or keys.field is None else Keys(keys.field, are_numbered=False)
    if path == "-":
        return Feed(parse_lines(standard_input, piped), None, may_block=True)
    try:
        if stat.S_ISREG(Path(path).stat().st_mode):
            with Path(path).open("rb") as stream:
                total = sum(1 for _ in numbered(stream))
            return Feed(parse_lines(lambda: Path(path).open("rb"), keys), total)
        if Path(path).is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
    except OSError as error:
        raise UsageError(f"{path!r} cannot be read: {error.strerror}.") from error
    return Feed(parse_lines(lambda: Path(path).open("rb"), piped), None, may_block=True)


def standard_input() -> BinaryIO:
    """Standard input, with a buffer of our own: at its end, Python waits for who still reads from `sys.stdin`."""
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except UnsupportedOperation:  # it was replaced by something in memory
        return sys.stdin.buffer


def parse_lines(open_stream: Callable[[], BinaryIO], keys: Keys | None = None) -> Iterator[Given]:
    """One input per line; blank lines are passed over, a line that is not JSON is a problem.

    The stream is opened when the first line is asked for: to open a pipe may take as long as to read from it.
    """
    order = number = 0
    try:
        with open_stream() as stream:
            for number, line in numbered(stream):
                yield parse(order, number, line, keys)
                order += 1
    except OSError as error:
        problem = f"it cannot be read, nor what follows: {error.strerror}"
        yield Given(order, number + 1, problem=problem)


def numbered(stream: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that hold anything, with their numbers."""
    for number, line in enumerate(stream, 1):
        content = line.removeprefix(BOM) if number == 1 else line
        if content.strip():
            yield number, content


class Keys(Struct, frozen=True):
    """What the keys of inputs are made from: what they hold under the name `field`, or else where they stand and what
    they are, if `are_numbered`.
    """

    field: str | None = None
    are_numbered: bool = True

    def key_of(self, order: int, line: int | None, text: bytes, value: Any) -> str | None:
        """The key of one input, if it has one."""
        if self.field is not None and isinstance(value, dict) and self.field in value:
            held = value[self.field]
            return held if isinstance(held, str) else msgspec.json.encode(held).decode()
        if not self.are_numbered:
            return None
        place = f"input {order + 1}" if line is None else f"line {line}"
        return f"{place}, {blake2b(text.strip(), digest_size=8).hexdigest()}"


MADE_OF_LINE: Final = re.compile(r"line (\d+), [0-9a-f]{16}")


def line_in(key: str | None) -> int | None:
    """The line that an input was read from, where its key tells.

    >>> line_in("line 17, 00112233445566ff"), line_in("order-17")
    (17, None)
    """
    found = None if key is None else MADE_OF_LINE.fullmatch(key)
    return None if found is None else int(found[1])


def parse(order: int, line: int | None, text: bytes, keys: Keys | None = None) -> Given:
    """Decode one input.

    >>> parse(0, 1, b'{"items": [').problem
    'Input data was truncated'
    """
    try:
        value = msgspec.json.decode(text)
        key = None if keys is None else keys.key_of(order, line, text, value)
        return Given(order, line, value, key=key)
    except RecursionError:
        return Given(order, line, problem="nested too deeply")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Given(order, line, problem=str(error))
