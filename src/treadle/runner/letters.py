"""What messages say, and what those who left them are told, as bytes: written at one runner, and read at another.

Bodies are dicts of plain values and of the user's own, by the codec of the store; or JSON, where it has none. An error
goes as its kind and its words: the exception itself, and its cause, stay where they were raised.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from treadle import errors
from treadle.errors import (
    BadSignature,
    Corrupt,
    EncodeError,
    SchemaTooNew,
    StepFailed,
    TreadleError,
    UnknownType,
    UsageError,
    WorkError,
)
from treadle.interfaces import Codec, Reply
from treadle.runner import stimuli as say
from treadle.runner.ends import error_of
from treadle.runner.record import Run


def written(codec: Codec | None, body: dict[str, Any]) -> bytes:
    """A body as bytes. Errors: `EncodeError`."""
    if codec is not None:
        return codec.encode(body)
    try:
        return json.dumps(body).encode()
    except (TypeError, ValueError) as error:
        raise EncodeError(f"this cannot be left for another runner: {error}.") from error


def read(codec: Codec | None, stored: bytes) -> dict[str, Any]:
    """What a body says: JSON, or what a runner wrote by the codec. Errors: `ValueError`, those of the codec."""
    if stored[:1] == b"{" or codec is None:
        found: Any = json.loads(stored)
    else:
        found = codec.decode(stored)
    if not isinstance(found, dict):
        raise UsageError("it is no object with names.")
    return found


def replies_of(run: Run, told: Iterable[say.Told], codec: Codec | None) -> tuple[Reply, ...]:
    """What senders are told, as the store is to keep it."""
    return tuple([reply_of(run, each, codec) for each in told])


def reply_of(run: Run, told: say.Told, codec: Codec | None) -> Reply:
    """What one sender is told: the number, what came of it, or why it was refused."""
    if told.error is not None:
        return refusal(told.message, told.error, codec)
    number, end = told.input, told.end
    if number is None or end is None:
        return Reply(message=told.message, input=number)
    error = error_of(run.id, number, end)
    try:
        body = written(codec, {"results": end.results} if error is None else in_words(error))
    except TreadleError as unwritable:  # each value could be stored, and all together are too large
        body = written(codec, in_words(unwritable))
    return Reply(message=told.message, input=number, body=body)


def refusal(message: str, error: BaseException, codec: Codec | None) -> Reply:
    """What the sender is told whose message was refused."""
    return Reply(message=message, body=written(codec, in_words(error)))


def in_words(error: BaseException) -> dict[str, Any]:
    """An error as a body."""
    told: dict[str, Any] = {
        "error": type(error).__name__,
        "text": getattr(error, "message", None) or str(error),
        "hint": getattr(error, "hint", None),
    }
    if isinstance(error, StepFailed):
        told |= {"component": error.component, "input": error.input, "attempt": error.attempt}
    return told


def came_of(
    codec: Codec | None, run_id: str, stored: bytes
) -> tuple[dict[str, Any], BaseException | None]:
    """What a sender is told in the end: the results of its input, or the error that a ticket there would raise."""
    try:
        told = read(codec, stored)
        if "results" in told:
            return told["results"], None
        return {}, out_of_words(told)
    except (
        UnknownType,
        BadSignature,
        SchemaTooNew,
    ) as error:  # it is no damage, and says what to do
        return {}, error
    except (ValueError, LookupError, TypeError, TreadleError) as error:
        damaged = Corrupt(
            f"what came of a message for {run_id!r} is stored, and cannot be read: {error}",
            hint="get_results(id) reads the log of the run.",
        )
        damaged.__cause__ = error
        return {}, damaged


def out_of_words(told: dict[str, Any]) -> TreadleError:
    """The error that was told of: of the same kind, where it is one of ours."""
    text, hint = str(told["text"]), told.get("hint")
    kind = getattr(errors, str(told["error"]), None)
    if kind is StepFailed:
        return StepFailed(
            text,
            component=told["component"],
            input=told["input"],
            attempt=told["attempt"],
            hint=hint,
        )
    if isinstance(kind, type) and issubclass(kind, TreadleError):
        error = kind(text)
        error.hint = hint
        return error
    return WorkError(f"{told['error']}: {text}", hint=hint)


def why_refused(codec: Codec | None, run_id: str, stored: bytes | None) -> str | None:
    """Why a message was refused, of which this was told; None: it was not, as far as is known."""
    if stored is None:
        return None
    error = came_of(codec, run_id, stored)[1]
    return None if error is None else str(error)
