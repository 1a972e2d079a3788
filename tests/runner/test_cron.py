"""Cron specs against the calendar: each minute of a range is asked whether it is due, wall clock by wall clock."""

import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle import errors
from treadle.runner.cron import Cron, named

pytest.importorskip("cronsim", reason="the package cronsim is not installed")

CHANGES = {
    "UTC": ("2026-03-29", "2026-10-25"),
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "Australia/Sydney": ("2026-10-04", "2026-04-05"),
    "Australia/Lord_Howe": ("2026-10-04", "2026-04-05"),
    "Asia/Kolkata": ("2026-03-29", "2026-10-25"),
}
"""Days on which clocks are put forward, and back, by an hour or by half of one; two zones in which they are not."""


@st.composite
def cases(draw):
    """A zone, a moment near a change in it, and a time of day or two that a spec names."""
    zone = draw(st.sampled_from(sorted(CHANGES)))
    day = datetime.fromisoformat(draw(st.sampled_from(CHANGES[zone])))
    begin = day.replace(tzinfo=UTC) - timedelta(minutes=draw(st.integers(0, 2 * 24 * 60)))
    hours = draw(st.sets(st.integers(0, 5), min_size=1, max_size=3))
    return zone, begin.timestamp(), draw(st.integers(0, 59)), sorted(hours)


def expected(zone, begin, end, minute, hours):
    """Each wall-clock time that is named, once a day: its first instant, or the first after the gap it fell into."""
    place = ZoneInfo(zone)
    day = datetime.fromtimestamp(begin, UTC).date() - timedelta(days=1)
    found = set()
    while day <= datetime.fromtimestamp(end, UTC).date() + timedelta(days=1):
        for hour in hours:
            wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=place)
            instant = wall.timestamp()
            if datetime.fromtimestamp(instant, place).replace(tzinfo=None) != wall.replace(
                tzinfo=None
            ):
                instant = after_the_gap(wall, place)
            found.add(instant)
        day += timedelta(days=1)
    return sorted(instant for instant in found if begin < instant <= end)


def after_the_gap(wall, place):
    """The first instant whose wall clock is not before one that never was."""
    instant = wall.replace(hour=0, minute=0).timestamp()
    while datetime.fromtimestamp(instant, place).replace(tzinfo=None) < wall.replace(tzinfo=None):
        instant += 60
    return instant


@given(cases())
@settings(deadline=None)
def test_times_of_day_come_once_a_day_whatever_the_clocks_do(case):
    """In a gap right after it, in an hour that comes twice the first time; from wherever one looks."""
    zone, begin, minute, hours = case
    end = begin + 4 * 24 * 3600
    cron = Cron(f"{minute} {','.join(map(str, hours))} * * *", zone)

    assert list(cron.between(begin + 1, end)) == expected(zone, begin, end, minute, hours)


@given(cases(), st.sampled_from(["* * * * *", "*/15 * * * *", "7 * * * *", "*/20 1-3 * * *"]))
@settings(deadline=None)
def test_who_looks_later_sees_the_same_instants(case, spec):
    """Each instant is after the one before it, and stays one when one looks on from the middle."""
    zone, begin, minute, _ = case
    cron = Cron(spec, zone)
    whole = list(cron.between(begin, begin + 6 * 3600))
    middle = begin + minute * 300

    assert all(one < other for one, other in pairwise(whole))
    assert list(cron.between(middle, begin + 6 * 3600)) == [at for at in whole if at >= middle]
    assert cron.newest(begin, begin + 6 * 3600, 3) == whole[-3:]
    if spec == "*/15 * * * *":
        assert {other - one for one, other in pairwise(whole)} <= {900.0}


@pytest.mark.parametrize(
    ("spec", "day", "instants"),
    [
        ("15 2 * * *", "2026-10-03", ["10-03T02:15+10:30", "10-04T02:30+11:00", "10-05T02:15+11:00"]),
        ("45 1 * * *", "2026-04-04", ["04-04T01:45+11:00", "04-05T01:45+11:00", "04-06T01:45+10:30"]),
        ("*/30 1-2 4 10 *", "2026-10-04", ["10-04T01:00+10:30", "10-04T01:30+10:30", "10-04T02:30+11:00"]),
        ("*/30 1 5 4 *", "2026-04-05", ["04-05T01:00+11:00", "04-05T01:30+11:00", "04-05T01:30+10:30"]),
    ],
)  # fmt: skip
def test_clocks_that_are_put_forward_or_back_by_half_an_hour(spec, day, instants):
    """What falls into the gap is due once right after it, what comes twice the first time; by real time, each time."""
    place = ZoneInfo("Australia/Lord_Howe")
    begin = datetime.fromisoformat(day).replace(tzinfo=place).timestamp()
    found = list(Cron(spec, "Australia/Lord_Howe").between(begin, begin + 4 * 24 * 3600))[:3]

    assert found == [datetime.fromisoformat(f"2026-{each}").timestamp() for each in instants]


def test_the_newest_of_very_many_are_found_without_counting_them_all():
    """The last three seconds of thirty years."""
    cron = Cron("* * * * * *")
    begin, end = (
        datetime(1996, 1, 1, tzinfo=UTC).timestamp(),
        datetime(2026, 1, 1, tzinfo=UTC).timestamp(),
    )

    assert cron.newest(begin, end, 3) == [end - 2, end - 1, end]


def test_instants_are_named_in_utc():
    """So that the id of a run says the same everywhere."""
    at = Cron("0 9 * * *", "Europe/Berlin").after(datetime(2026, 7, 1, tzinfo=UTC).timestamp())

    assert at is not None
    assert named(at) == "2026-07-01T07:00:00+00:00"


@pytest.mark.parametrize("spec", ["", "every day", "60 * * * *", "* * * * * * *", "\0"])
def test_what_is_no_spec_is_refused(spec):
    """It says which, and how one looks."""
    with pytest.raises(errors.UsageError, match="no cron spec"):
        Cron(spec)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc", "Europe"])
def test_what_is_no_zone_is_refused(zone):
    """Also what would be a folder, or a path out of the database."""
    with pytest.raises(errors.UsageError, match="no time zone"):
        Cron("* * * * *", zone)


def test_a_spec_that_never_comes_has_no_instants():
    """The last day of February that there is not."""
    assert Cron("0 0 * FEB SUN#5").after(0.0) is not None
    with pytest.raises(errors.UsageError):
        Cron("0 0 30 FEB *")


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    """The word to give to pip."""
    monkeypatch.setitem(sys.modules, "cronsim", None)

    with pytest.raises(errors.MissingExtra) as raised:
        Cron("* * * * *")
    assert "treadle[cron]" in str(raised.value.hint)
