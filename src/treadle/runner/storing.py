"""What an executor gave, as far as it can be stored: a value that could not be read back as it is, is a failure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from treadle.errors import EncodeError
from treadle.interfaces import Codec
from treadle.model.errordata import describe
from treadle.model.runnables import FAILED, OK, Outcome
from treadle.runner.live import Live


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
            outcomes = list(outcomes)
            outcomes[index] = structs.replace(
                outcome, status=FAILED, value=None, error=describe(error), exception=error
            )
            if live.bundle.links:
                return outcomes[: index + 1]
    return outcomes
