"""What is fed in: values given on the command line, or the lines of a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from treadle.errors import UsageError

BOM = b"\xef\xbb\xbf"


class Given(Struct, frozen=True):
    """One input as it was given: a value, or `problem` says why it is none.

    `order` counts what was given from 0; `line` counts the lines of a file from 1.
    """

    order: int
    line: int | None = None
    value: Any = None
    problem: str | None = None


def from_options(texts: Iterable[str]) -> list[Given]:
    """The inputs given as `--input JSON`; a mistake in one is a mistake in the call."""
    givens = []
    for order, text in enumerate(texts):
        given = parse(order, None, text.encode("utf-8", "surrogateescape"))
        if given.problem is not None:
            raise UsageError(
                f"--input {text!r:.80} is not JSON: {given.problem}.",
                hint="text needs quotes of its own: --input '\"text\"'.",
            )
        givens.append(given)
    return givens


def from_file(path: str) -> list[Given]:
    """The inputs in a file of JSON lines; `-` is standard input."""
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path!r} cannot be read: {error.strerror}.") from error
    return list(parse_lines(content))


def parse_lines(content: bytes) -> Iterator[Given]:
    """One input per line; blank lines are passed over, a line that is not JSON is a problem."""
    lines = enumerate(content.removeprefix(BOM).split(b"\n"), 1)
    for order, (number, line) in enumerate(entry for entry in lines if entry[1].strip()):
        yield parse(order, number, line)


def parse(order: int, line: int | None, text: bytes) -> Given:
    """Decode one input.

    >>> parse(0, 1, b'{"items": [').problem
    'Input data was truncated'
    """
    try:
        return Given(order, line, msgspec.json.decode(text))
    except RecursionError:
        return Given(order, line, problem="nested too deeply")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Given(order, line, problem=str(error))
