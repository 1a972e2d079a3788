"""Looks: what the components of a run found when the cache was asked, and how that is told.

They are evidence beside the log: a result from the cache is a result like any other there, but for its `seconds`, of
which there are none. What is kept is of the latest look of each component, with a count of all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, structs

from treadle.errors import TreadleError
from treadle.interfaces import Caches, Codec

logger = logging.getLogger("treadle.runner")


class Look(Struct):
    """What the latest look of a component found, and how often it was, and was not, what was wanted."""

    hit: bool
    why: str
    key: dict[str, str]
    """The parts of the key, by name, as digests; empty where there was none."""
    at: float
    work: str
    """For which piece of work it was."""
    run: str | None = None
    """Which run computed what was found."""
    computed_at: float | None = None
    hits: int = 0
    misses: int = 0


class Noted:
    """What was noted of one component here; `before`: what was counted elsewhere, None while that is not known."""

    __slots__ = ("before", "latest")

    def __init__(self) -> None:
        self.latest: Look | None = None
        self.before: tuple[int, int] | None = None

    def add(self, look: Look) -> None:
        """There was one more look."""
        if self.latest is not None:
            look.hits += self.latest.hits
            look.misses += self.latest.misses
        self.latest = look

    def begin_from(self, look: Look | None) -> None:
        """What is stored is this."""
        if self.before is None:
            self.before = (0, 0) if look is None else (look.hits, look.misses)

    def whole(self) -> Look:
        """The latest look, with the counts of all."""
        assert self.latest is not None
        hits, misses = self.before or (0, 0)
        latest = self.latest
        return structs.replace(latest, hits=latest.hits + hits, misses=latest.misses + misses)


def encoded(looks: Mapping[str, Look], codec: Codec) -> dict[str, bytes]:
    """Looks as they are stored."""
    return {name: codec.encode(structs.asdict(look)) for name, look in looks.items()}


def looks_of(store: Any, codec: Codec, run_id: str) -> dict[str, Look]:
    """What is stored of a run's looks, by component; what cannot be read is left out."""
    if not isinstance(store, Caches):
        return {}
    found: dict[str, Look] = {}
    for name, body in store.looks(run_id).items():
        try:
            found[name] = Look(**codec.decode(body))
        except (TreadleError, TypeError) as error:
            logger.debug("what %r found in the cache cannot be read: %s", name, error)
    return found


def age(seconds: float) -> str:
    """How long ago something was.

    >>> age(40.2), age(600), age(100_000)
    ('40 s', '10 min', '28 h')
    """
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 72)):
        if seconds < length * most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"
