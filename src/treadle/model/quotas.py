"""What a runner and a store say to one another about limits, rates and circuit breakers that count over a fleet.

A limit of ten is ten *units*; a rate of ten a second is ten, too, each of which can be used once a second. A runner
may use as many as its *share*, and the shares of all runners together are never more than there are units.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class ShareWish(Struct, frozen=True, kw_only=True):
    """How much a runner wants of a limit or a rate."""

    kind: str
    """`"limit"` or `"rate"`."""
    key: str
    count: int
    """How many units there are, over all runners."""
    per_s: float = 0.0
    """How long a unit cannot be used again after it was used; of a limit 0: it is free when the work ended."""
    keep: int
    """So many it has in use, or may begin to use any moment: they are not given to anybody else."""
    need: int
    """So many it could use now; 0, with nothing to keep: it leaves."""


class Share(Struct, frozen=True, kw_only=True):
    """How much a runner has of a limit or a rate."""

    kind: str
    key: str
    room: int
    """So many it may use from now on."""
    held: int
    """So many are kept for it until it says that it keeps fewer: with others waiting, more than `room` for a while."""


class BreakerNews(Struct, frozen=True, kw_only=True):
    """What came of attempts behind a circuit breaker at one runner, since it last told."""

    key: str
    failures: int
    """So many in a row open it."""
    reset_s: float
    succeeded: bool = False
    failed: int = 0
    """How many failed in a row: after the last success, if there was one."""
    verdict: str = ""
    """What came of the attempt that was to decide: `"ok"`, `"failed"`, `"none"` (neither); "": nothing yet."""
    wants_try: bool = False
    """Somebody waits to make it."""


class BreakerState(Struct, frozen=True, kw_only=True):
    """How a circuit breaker stands, over all runners."""

    key: str
    failures: int
    open_for_s: float | None = None
    """Since how long it is open; None: it is not."""
    may_try: bool = False
    """This runner's next attempt is the one that decides."""


QuotaWish: TypeAlias = ShareWish | BreakerNews
Quota: TypeAlias = Share | BreakerState
