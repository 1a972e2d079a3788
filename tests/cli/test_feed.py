"""Feeds: files and streams are read as they are needed, and what cannot be read is said."""

import asyncio
import os
from pathlib import Path
from threading import Thread

import pytest

from tests.cli.calling import Call
from treadle.cli.feed import READ_AHEAD, Feed, Given, from_file
from treadle.errors import UsageError


def taken(feed: Feed) -> list[Given]:
    """All that a feed gives."""

    async def take() -> list[Given]:
        return [given async for given in feed.lines()]

    return asyncio.run(take())


def test_a_file_says_how_many_lines_it_has(tmp_path: Path) -> None:
    """Before they are taken; blank lines are none, and lines keep their numbers."""
    (tmp_path / "feed").write_bytes(b"\xef\xbb\xbf\n1\n\n  \n[2]\n{")
    feed = from_file(str(tmp_path / "feed"))

    assert feed.total == 3
    assert feed.taken == 0
    assert [(each.order, each.line, each.value) for each in taken(feed)] == [
        (0, 2, 1),
        (1, 5, [2]),
        (2, 6, None),
    ]
    assert feed.taken == 3


def test_a_pipe_by_name_is_read_to_its_end(folder: Path, call: Call) -> None:
    """A program may write into it while the run is on; how many lines come is known at the end."""
    os.mkfifo(folder / "pipe")
    lines = "".join(f"{n}\n" for n in range(0, 600, 2))
    writer = Thread(target=(folder / "pipe").write_text, args=[lines])
    writer.start()
    called = call("run", "shop.py", "--inputs", "pipe")
    writer.join()

    assert called.last == "300 inputs: 300 with a result, 0 without a result, 0 failed"


def test_no_more_of_a_stream_is_read_than_is_needed_soon() -> None:
    """Who takes one line has not read a million of them."""
    read: list[int] = []

    def endless() -> object:
        for order in range(1_000_000):
            read.append(order)
            yield Given(order)

    async def take_one() -> Given:
        async for given in Feed(endless(), None, may_block=True).lines():  # type: ignore[arg-type]
            return given
        raise AssertionError

    assert asyncio.run(take_one()) == Given(0)
    assert len(read) <= READ_AHEAD + 2


@pytest.mark.parametrize(("name", "said"), [("gone", "No such file"), (".", "Is a directory")])
def test_what_is_no_file_is_said_at_once(tmp_path: Path, name: str, said: str) -> None:
    """A mistake in the call, before anything is run."""
    with pytest.raises(UsageError, match=said):
        from_file(str(tmp_path / name))


def test_a_file_that_is_gone_when_it_is_needed_is_a_line_that_is_none(tmp_path: Path) -> None:
    """What was there is counted; what became of it is said in its place."""
    path = tmp_path / "feed"
    path.write_text("1\n2\n", encoding="utf-8")
    feed = from_file(str(path))
    path.unlink()
    (given,) = taken(feed)

    assert given.line == 1
    assert given.problem is not None
    assert "No such file" in given.problem
