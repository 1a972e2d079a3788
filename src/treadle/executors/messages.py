"""Messages from a worker process: each goes out at once, and many are read at one go where many have come.

A message of a quick call is small, and reading each by itself would cost more than the call.
"""

from __future__ import annotations

import os
import selectors
from multiprocessing.connection import Connection, wait
from typing import Any, Final

HEAD: Final = 8
"""So many bytes say how long the message after them is."""

CHUNK: Final = 65_536

IS_BYTES: Final = hasattr(selectors, "PollSelector")
"""Whether a connection is a stream of bytes here; elsewhere its own messages have to do."""


def send(connection: Connection, message: bytes) -> None:
    """Send one message. Errors: `OSError` if nobody reads it any more."""
    if not IS_BYTES:
        connection.send_bytes(message)
        return
    left = memoryview(len(message).to_bytes(HEAD, "big") + message)
    while left:
        left = left[os.write(connection.fileno(), left) :]


class Inbox:
    """The messages that come on a connection, until whoever has this sentinel is gone."""

    def __init__(self, connection: Any, sentinel: int) -> None:
        self._connection = connection
        self._sentinel = sentinel
        self._bytes = bytearray()
        self._selector: Any = None
        if IS_BYTES:
            self._selector = (
                selectors.PollSelector()
            )  # made once, and it takes no descriptor of its own
            self._selector.register(connection, selectors.EVENT_READ)
            self._selector.register(sentinel, selectors.EVENT_READ)

    def take(self, timeout_s: float) -> bytes | None:
        """The next message; None if none came so soon, or the sender is gone. Errors: `EOFError`, `OSError`."""
        if not IS_BYTES:
            return self._connection.recv_bytes() if self._has_come(timeout_s) else None
        message = self._next()
        while message is None and self._has_come(timeout_s):
            self._read()
            message = self._next()
        return message

    def _has_come(self, timeout_s: float) -> bool:
        if self._selector is None:
            return self._connection in wait([self._connection, self._sentinel], timeout_s)
        ready = self._selector.select(timeout_s)
        return any(key.fileobj is self._connection for key, _ in ready)

    def _read(self) -> None:
        found = os.read(self._connection.fileno(), max(CHUNK, self._missing()))
        if not found:
            raise EOFError
        self._bytes += found

    def _missing(self) -> int:
        """How many bytes of the next message are still to come, where that is known."""
        head = self._bytes[:HEAD]
        return int.from_bytes(head, "big") + HEAD - len(self._bytes) if len(head) == HEAD else 0

    def _next(self) -> bytes | None:
        """The next message, if all of it is here."""
        if len(self._bytes) < HEAD or self._missing() > 0:
            return None
        end = HEAD + int.from_bytes(self._bytes[:HEAD], "big")
        message = bytes(self._bytes[HEAD:end])
        del self._bytes[:end]
        return message

    def close(self) -> None:
        """Let go of it; the connection is the owner's to close."""
        if self._selector is not None:
            self._selector.close()
