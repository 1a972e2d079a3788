"""Messages from a worker: whole, in order, and none that was sent is lost when its sender goes."""

import multiprocessing
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

from treadle.executors.messages import HEAD, Inbox, send

PATIENCE_S = 10.0


@pytest.fixture
def ends() -> Iterator[tuple[Any, Any, Inbox]]:
    """The sender's end, the reader's end, and an inbox on that; the sentinel is a pipe that stays open."""
    theirs, ours = multiprocessing.Pipe()
    sentinel, keeper = multiprocessing.Pipe(duplex=False)
    inbox = Inbox(ours, sentinel.fileno())
    yield theirs, ours, inbox
    inbox.close()
    for connection in (theirs, ours, sentinel, keeper):
        connection.close()


def test_messages_come_whole_and_in_order(ends):
    """Also empty ones, and several that are read at one go."""
    theirs, _, inbox = ends
    for message in (b"first", b"", b"third"):
        send(theirs, message)

    assert [inbox.take(PATIENCE_S) for _ in range(3)] == [b"first", b"", b"third"]


def test_no_message_is_none(ends):
    """Whoever waits gets an answer in time; what comes later is not lost."""
    theirs, _, inbox = ends

    assert inbox.take(0) is None
    send(theirs, b"late")
    assert inbox.take(PATIENCE_S) == b"late"


def test_message_larger_than_any_buffer(ends):
    """It is sent and read in pieces."""
    theirs, _, inbox = ends
    message = bytes(range(256)) * 20_000
    sender = Thread(target=send, args=(theirs, message))
    sender.start()

    assert inbox.take(PATIENCE_S) == message
    sender.join()


def test_what_was_sent_before_the_end_is_read(ends):
    """The end comes after the last message."""
    theirs, _, inbox = ends
    send(theirs, b"last words")
    theirs.close()

    assert inbox.take(PATIENCE_S) == b"last words"
    with pytest.raises(EOFError):
        inbox.take(PATIENCE_S)


def test_half_a_message_is_none(ends):
    """Whoever was killed while it sent has not said it."""
    theirs, _, inbox = ends
    send(theirs, b"whole")
    with open(theirs.fileno(), "wb", closefd=False, buffering=0) as raw:
        raw.write((5).to_bytes(HEAD, "big") + b"ha")
    theirs.close()

    assert inbox.take(PATIENCE_S) == b"whole"
    with pytest.raises(EOFError):
        inbox.take(PATIENCE_S)


def test_sender_that_is_gone_is_noticed():
    """Its sentinel says so at once, though something else still holds its end."""
    theirs, ours = multiprocessing.Pipe()
    sentinel, keeper = multiprocessing.Pipe(duplex=False)
    inbox = Inbox(ours, sentinel.fileno())
    keeper.close()

    assert inbox.take(PATIENCE_S) is None
    for connection in (theirs, ours, sentinel):
        connection.close()
    inbox.close()
