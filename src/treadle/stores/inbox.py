"""What holds for the inbox of a run in whichever database: how much may lie there, and how much is taken at a time."""

from __future__ import annotations

from typing import Any, Final

from treadle.errors import Overloaded, UsageError

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
