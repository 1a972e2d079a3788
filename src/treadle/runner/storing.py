"""What goes to the store: what a machine ordered, as an append; and of what an executor gave, what can be kept.

A value that could not be read back as it is, is a failure.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from treadle.errors import EncodeError
from treadle.interfaces import Append, Codec
from treadle.model.errordata import describe
from treadle.model.runnables import FAILED, OK, Outcome
from treadle.runner import stimuli as say
from treadle.runner.fallback import wants_retry
from treadle.runner.letters import replies_of
from treadle.runner.live import Live
from treadle.runner.record import FULL, Run, status_to_store


def noted(run: Run, status: str, epoch: int, wake_at: float | None) -> Append:
    """How a run stands, without any event."""
    options = run.options
    return Append(
        run_id=run.id,
        expected=None,
        status=status,
        note=run.note,
        at=run.updated_at,
        epoch=epoch,
        wake_at=wake_at,
        deadline_at=options.deadline_at,
        durability=options.durability,
        is_synced=options.durability == FULL,
    )


def storable(codec: Codec, outcomes: Sequence[Outcome], live: Live | None) -> Sequence[Outcome]:
    """The outcomes of a bundle, each that cannot be stored turned into the failure that it is; a chain ends there."""
    if live is None or not live.run.options.is_stored:
        return outcomes
    for index, outcome in enumerate(outcomes):
        if outcome.status != OK:
            continue
        try:
            codec.check(outcome.value)
        except EncodeError as error:
            if is_wish(live, index, outcome):
                continue
            outcomes = list(outcomes)
            outcomes[index] = structs.replace(
                outcome, status=FAILED, value=None, error=describe(error), exception=error
            )
            if live.bundle.links:
                return outcomes[: index + 1]
    return outcomes


def is_wish(live: Live, index: int, outcome: Outcome) -> bool:
    """Whether it is no value, but what a fallback or `reconcile` wants done: that goes to no store."""
    runnables = live.bundle.runnables
    return index < len(runnables) and wants_retry(runnables[index], outcome) is not None


def append_of(run: Run, order: say.Store, epoch: int, codec: Codec | None) -> Append:
    """What a run's machine wants stored."""
    return Append(
        run_id=run.id,
        expected=order.expected,
        events=order.events,
        status=status_to_store(run),
        note=run.origin,
        at=order.at,
        epoch=epoch,
        wake_at=order.wake_at,
        deadline_at=run.options.deadline_at,
        durability=run.options.durability,
        consumed=order.consumed,
        replies=replies_of(run, order.replies, codec) if order.replies else (),
        intents=order.intents,
        is_synced=run.options.durability == FULL,
    )
