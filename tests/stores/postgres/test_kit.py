"""The promises of all stores, kept on a real server."""

import itertools

import pytest

from treadle.interfaces import Caches, Follows, Inbox, Leases, Loads, Store, Transactions, Upkeep
from treadle.testing.stores import check_store


def damage_entry(store, key):
    """Flip a bit of what is cached under a key."""
    table = f"{store.schema}.cache"
    flip = f"UPDATE {table} SET body = set_byte(body, 20, get_byte(body, 20) # 1) WHERE key = %s"
    store._connections.call("damaging", lambda connection: connection.execute(flip, (key,)))


def damage_snapshot(store, run_id):
    """Overwrite a bit of a run's newest snapshot."""
    with store._connections.borrowed("damaging") as connection:
        connection.execute(
            f"UPDATE {store.schema}.snapshot SET body = set_bit(body, 20, 1 - get_bit(body, 20)) "
            f"WHERE position = (SELECT max(position) FROM {store.schema}.snapshot JOIN {store.schema}.run "
            "ON run = pk WHERE id = %s)",
            (run_id,),
        )


@pytest.mark.slow
def test_it_keeps_the_promises_of_a_store(open_store):
    """The kit finds nothing, also in a store that is opened again."""
    numbers = itertools.count()

    report = check_store(
        lambda: open_store(schema=f"kit_{next(numbers)}"),
        reopen=lambda store: open_store(schema=store.schema),  # type: ignore[attr-defined]
        runs=100,
        damage=damage_snapshot,
        damage_entry=damage_entry,
    )

    assert "kept its promises in 48 checks" in str(report)
    assert report.reopened


def test_it_is_all_that_a_store_can_be(store):
    """It has leases, an inbox and upkeep, too, and several threads may use it."""
    roles = (Store, Leases, Inbox, Follows, Upkeep, Caches, Loads, Transactions)
    assert all(isinstance(store, each) for each in roles)
    assert store.is_guarded
    assert not store.is_instant
    assert "postgresql://127.0.0.1" in repr(store)
