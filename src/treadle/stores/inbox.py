"""What holds for the inbox of a run in whichever database.

How much may lie there, how much is taken at a time, and what becomes of a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from treadle.errors import Overloaded, UsageError
from treadle.interfaces import Append, Standing
from treadle.stores.sealed import opened_reply, sealed_reply

MAX_WAITING: Final = 10_000
"""So many messages may wait for one run; whoever sends one more is refused."""

MOST_OF_ONE: Final = 64
"""So many messages of one run are handed on at a time, however many there is room for: others have their turn."""


def checked(max_waiting: Any) -> int | None:
    """How many messages may wait for a run. Errors: `UsageError`."""
    is_number = isinstance(max_waiting, int) and not isinstance(max_waiting, bool)
    if max_waiting is not None and (not is_number or max_waiting < 1):
        raise UsageError(
            f"max_waiting={max_waiting!r:.80} is not a number of at least 1.",
            hint="None sets no limit.",
        )
    return max_waiting  # type: ignore[no-any-return]


def share(limit: int | None, runs: int) -> int | None:
    """How many messages each of so many runs may hand on, if they are to be about `limit` together; None: all."""
    return None if limit is None else max(1, min(MOST_OF_ONE, limit // max(1, runs)))


def overloaded(run_id: str, most: int | None) -> Overloaded:
    """More messages are sent than are taken."""
    return Overloaded(
        f"{most} messages wait for the run {run_id!r}, as many as may: they are sent faster than its runner takes "
        "them, or it has none. This one was not kept.",
        hint="send it again when some were taken; see that a runner has the run. A store with a larger max_waiting= "
        "keeps more.",
    )


class Letter(NamedTuple):
    """What an append says of a message: whether it is taken, which input it is, and, sealed, what came of it."""

    is_taken: bool = False
    input: int | None = None
    reply: bytes | None = None


UNTOUCHED: Final = Letter()


def letters_of(append: Append, known: Mapping[str, Letter] = {}) -> dict[str, Letter]:
    """What an append says of messages, by id, after what is `known`: all that is said of one of them is one row."""
    letters = dict(known)
    for id in append.consumed:
        letters[id] = letters.get(id, UNTOUCHED)._replace(is_taken=True)
    for reply in append.replies:
        id, body = reply.message, reply.body
        before = letters.get(id, UNTOUCHED)
        sealed = None if body is None else sealed_reply(append.run_id, id, body)
        letters[id] = before._replace(
            input=reply.input if before.input is None else before.input,
            reply=sealed if before.reply is None else before.reply,
        )
    return letters


READ: Final = "run.status, run.note, message.body IS NULL, message.input, message.reply"
"""What `standings` reads of a message, after its run's id and its own."""


def standings(rows: Iterable[Any]) -> dict[tuple[str, str], Standing]:
    """How messages stand, by run and id; of what was told of one, and is damaged, nothing is left."""
    found = {}
    for run_id, id, status, note, is_taken, number, stored in rows:
        body = None if stored is None else opened_reply(run_id, id, stored) or b""
        found[run_id, id] = Standing(
            status=status, note=note, is_taken=bool(is_taken), input=number, body=body
        )
    return found
