"""Runners that come upon a backlog together: each takes its share."""

from collections.abc import Mapping, Sequence

import pytest

from tests.stores.postgres.logs import info
from treadle.interfaces import Loads, Message, RunInfo, StoredRun
from treadle.runner.keeper import AT_ONCE, FIRST_BITE, Keeper, next_bite
from treadle.stores.sqlite import SqliteStore

LEASE_S = 60.0


class Taken:
    """What a keeper has found."""

    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}

    def found(self, runs: Sequence[tuple[RunInfo, StoredRun | Exception]]) -> None:
        """Have them."""
        self.epochs |= {each.id: each.epoch for each, _ in runs}

    def lost(self, epochs: Mapping[str, int]) -> None:
        """None is lost here."""
        raise AssertionError(epochs)

    def heard(self, messages: Sequence[Message]) -> None:
        """Nobody says anything here."""
        raise AssertionError(messages)


def keeper(store, name, *, room=10_000):
    """A keeper that looks when it is told to, and what it has."""
    taken = Taken()

    def epochs() -> Mapping[str, int]:
        return taken.epochs

    made = Keeper(
        store,
        name,
        taken,
        names=lambda: ["w"],
        unborn=set,
        epochs=epochs,
        room=lambda: room - len(taken.epochs),
        lease_s=LEASE_S,
    )
    return made, taken


def backlog(store, count):
    """So many runs that nobody has."""
    for number in range(count):
        store.create(info(f"run-{number:03}", status="running"))


def share(keepers, count):
    """Let them look in turns until nothing is left; how many each got."""
    for _ in range(count):
        for each, _ in keepers:
            each.look()
        if sum(len(taken.epochs) for _, taken in keepers) == count:
            break
    return [len(taken.epochs) for _, taken in keepers]


@pytest.mark.parametrize("ahead", [0, 4])
def test_three_keepers_share_a_backlog(open_store, ahead):
    """Each has about a third in the end, also where the first began some looks earlier."""
    keepers = [keeper(open_store(), name) for name in ("one", "two", "three")]
    backlog(open_store(), 120)
    for _ in range(ahead):
        keepers[0][0].look()

    shares = share(keepers, 120)

    assert sum(shares) == 120
    assert max(shares) - min(shares) <= 2 * FIRST_BITE


def test_one_that_can_take_no_more_leaves_the_rest_to_others(open_store):
    """Nothing is left over because somebody who has less cannot take more."""
    keepers = [keeper(open_store(), "one", room=3), keeper(open_store(), "two")]
    backlog(open_store(), 60)

    assert share(keepers, 60) == [3, 57]


def test_the_runs_of_each_owner_are_counted(store):
    """Those that run, of the named workflows, under a lease that lasts."""
    backlog(store, 5)
    store.create(info("idle"))
    store.create(info("other", workflow="other", status="running"))
    store.claim("one", LEASE_S, workflows=["w"], limit=2)
    store.claim("two", LEASE_S, run_id="idle")
    store.claim("three", LEASE_S, run_id="other")
    store.claim("four", 0.0, workflows=["w"], limit=1)

    assert isinstance(store, Loads)
    assert store.loads(["w"]) == {"one": 2, "two": 0}
    assert store.loads(["other", "nul\x00"]) == {"three": 1}


def test_a_store_that_counts_nobody_is_emptied_at_once(tmp_path):
    """A file has one runner: what is there is that one's."""
    from treadle.codec import Codec

    store = SqliteStore(tmp_path / "runs.db", Codec())
    backlog(store, 20)
    made, taken = keeper(store, "one")
    made.look()
    assert len(taken.epochs) == 20
    store.close()


@pytest.mark.parametrize(
    ("mine", "others", "before", "taken", "bite"),
    [
        (0, [], 0, 0, FIRST_BITE),
        (100, [], 0, 0, 25),
        (1_000, [], 0, 0, AT_ONCE),
        (100, [100, 100], 0, 0, 25),
        (100, [20, 200], 20, 0, FIRST_BITE),
        (100, [20, 200], 30, 0, FIRST_BITE),
        (100, [20, 200], 10, 0, 0),
        (100, [95], 10, 0, FIRST_BITE),
        (10, [60, 30], 0, 0, 25),
        (10, [10, 12], 0, 0, FIRST_BITE),
        (0, [1_000], 0, 0, AT_ONCE),
        (0, [], 0, FIRST_BITE, 2 * FIRST_BITE),
        (4, [0], 0, FIRST_BITE, 2 * FIRST_BITE),
        (5, [0], 0, FIRST_BITE, FIRST_BITE),
        (10, [0], 0, AT_ONCE, AT_ONCE),
    ],
)
def test_how_large_a_bite_is(mine, others, before, taken, bite):
    """Small for who has more than somebody else, none while that one catches up; large for who is behind, or alone.

    Twice as large for who has done most of the last one.
    """
    assert next_bite(mine, others, before, taken) == bite
