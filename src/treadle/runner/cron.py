"""Cron: the instants of a spec such as `0 9 * * MON-FRI` in a time zone, as seconds since 1970 UTC.

Reading the spec is the work of the package `cronsim`, which follows Debian's cron: what falls into the gap when clocks
go forward is due once, right after it; what falls into the hour that comes twice is due once, the first time. A spec
whose minutes or hours begin with a star follows real time instead: every quarter of an hour stays that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Final
from zoneinfo import ZoneInfo

from treadle.errors import MissingExtra, UsageError

LOOK_BACK_S: Final = 3600.0
"""How far back the newest of many instants is looked for first; then eight times as far, and so on."""


def is_there() -> bool:
    """Whether specs can be read here."""
    return find_spec("cronsim") is not None


def reader() -> Any:
    """The class that reads specs. Errors: `MissingExtra`."""
    try:
        from cronsim import CronSim
    except ImportError as error:
        raise MissingExtra(
            "schedules need the package 'cronsim'.", hint='pip install "treadle[cron]"'
        ) from error
    return CronSim


class Cron:
    """The instants of a spec in a zone."""

    def __init__(self, spec: str, zone: str = "UTC") -> None:
        """Errors: `UsageError` for a spec or a zone that there is not, `MissingExtra`."""
        self._read = reader()
        self._spec = spec
        self._zone = zone_of(zone)
        try:
            self._read(spec, datetime(2026, 1, 1, tzinfo=UTC))
        except Exception as error:  # any text may come, and cronsim has errors of many kinds for it
            raise UsageError(
                f"{spec!r:.80} is no cron spec: {error}.",
                hint='minute, hour, day of the month, month, day of the week, as in "0 9 * * MON-FRI".',
            ) from error

    def following(self, at: float) -> Iterator[float]:
        """The instants after this one, in order; it ends where there is none for fifty years."""
        last = at
        begin = datetime.fromtimestamp(at, UTC)
        local = begin if self._zone is UTC else begin.astimezone(self._zone)
        for found in self._read(self._spec, local):
            instant = found.timestamp()
            if instant > last:  # begun in an hour that comes twice, it tells of the first one, too
                last = instant
                yield instant

    def after(self, at: float) -> float | None:
        """The first instant after this one, if there is any."""
        return next(self.following(at), None)

    def between(self, begin: float, end: float) -> Iterator[float]:
        """The instants from `begin` to `end`, both included."""
        for instant in self.following(begin - 1):
            if instant > end:
                return
            if instant >= begin:
                yield instant

    def newest(self, begin: float, end: float, most: int) -> list[float]:
        """The last so many of the instants from `begin` to `end`, in order, however many there were before them."""
        width = LOOK_BACK_S
        while True:
            since = max(begin, end - width)
            found = deque(self.between(since, end), maxlen=most)
            if len(found) == most or since == begin:
                return list(found)
            width *= 8


def zone_of(name: str) -> Any:
    """A time zone by its name. Errors: `UsageError`."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except Exception as error:  # keys that are no path, folders, and what is not installed
        raise UsageError(
            f"there is no time zone {name!r:.80} here.",
            hint='a name such as "Europe/Berlin"; without a database of the system, pip install tzdata.',
        ) from error


def named(instant: float) -> str:
    """An instant as it stands in the id of a run: `2026-11-22T10:00:00+00:00`."""
    return datetime.fromtimestamp(instant, UTC).isoformat()
