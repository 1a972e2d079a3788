"""What lies outside of the logs, after a mark that proves it: messages, replies, and results of transactional steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.errors import Corrupt, EncodeError
from treadle.interfaces import Message
from treadle.stores.chain import stamped, unstamped
from treadle.stores.entries import is_text
from treadle.stores.whole import Left


def check_message(message: Message) -> None:
    """Refuse names that a database could not keep as they are. Errors: `EncodeError`."""
    if not (is_text(message.id) and is_text(message.kind)):
        raise EncodeError(
            f"the message {message.id!r:.80} cannot be stored: its name holds a NUL character or half of a character.",
            hint="take another name.",
        )


def sealed_message(message: Message) -> bytes:
    """The body of a message as it is stored."""
    return stamped(message.body, message.run_id, message.id, message.kind)


def opened_message(
    id: str, run_id: str, kind: str, stored: bytes, at: float | None
) -> Message | None:
    """A message, if it is what was left."""
    body = unstamped(stored, run_id, id, kind)
    return None if body is None else Message(id=id, run_id=run_id, kind=kind, body=body, at=at)


def left_message(run_id: str, row: Sequence[Any]) -> Left:
    """A message, whether it was taken, and what was told of it. Errors: `Corrupt`, if it is not what was written."""
    id, kind, stored, at, number, reply = row
    if stored is None:
        message = Message(id=id, run_id=run_id, kind=kind, body=b"", at=at)
    else:
        found = opened_message(id, run_id, kind, stored, at)
        if found is None:
            raise Corrupt(f"the message {id!r} for the run {run_id!r} is not what was left.")
        message = found
    told = None if reply is None else opened_reply(run_id, id, reply)
    if told is None and reply is not None:
        raise Corrupt(f"what came of the message {id!r} for {run_id!r} is not what was told.")
    return Left(message, stored is None, number, told)


def sealed_reply(run_id: str, id: str, body: bytes) -> bytes:
    """What came of a message, as it is stored."""
    return stamped(body, run_id, id, "reply")


def opened_reply(run_id: str, id: str, stored: Any) -> bytes | None:
    """What came of a message, if it is what was told."""
    return unstamped(stored, run_id, id, "reply")


def sealed_result(key: str, run_key: str, body: bytes) -> bytes:
    """What a transactional step gave, as it is stored."""
    return stamped(body, key, run_key)


def opened_result(key: str, run_key: str, stored: bytes) -> bytes:
    """What a transactional step gave, if it is what was written. Errors: `Corrupt`."""
    body = unstamped(stored, key, run_key)
    if body is None:
        raise Corrupt(f"what the transactional step {key!r} gave is not what was written.")
    return body
