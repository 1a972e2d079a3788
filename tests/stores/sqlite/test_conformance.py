"""The SQLite store keeps the promises of all stores, and of those that several may use."""

import itertools

import pytest

from tests.stores.sqlite.places import clocked, damage_entry, damage_snapshot, pass_time
from treadle.interfaces import Inbox, Leases, Upkeep
from treadle.testing import check_store


def reopened(store):
    """Another store on the same file."""
    return clocked(store.path)


@pytest.mark.slow
def test_it_keeps_the_promises_of_a_store(tmp_path):
    """The kit finds nothing."""
    numbers = itertools.count()

    report = check_store(
        lambda: clocked(tmp_path / f"{next(numbers)}.db"),
        reopen=reopened,
        runs=40,
        pass_time=pass_time,
        damage=damage_snapshot,
        damage_entry=damage_entry,
    )

    assert {"fencing", "messages", "compacting", "a damaged snapshot"} <= {*report.checks}
    assert {"trimming the cache", "a damaged entry", "transactional steps"} <= {*report.checks}
    assert report.reopened
    store = clocked(tmp_path / "one.db")
    assert isinstance(store, Leases)
    assert isinstance(store, Inbox)
    assert isinstance(store, Upkeep)
