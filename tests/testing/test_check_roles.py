"""`check_store` finds what is wrong with a cache, with transactions and with loads: each of these has one fault."""

import itertools
from contextlib import contextmanager

import pytest
from msgspec import structs

from tests.durability.places import quick_place
from tests.stores.sqlite.places import HandClock, damage_entry, pass_time
from treadle.codec import Codec
from treadle.errors import Corrupt
from treadle.stores.chain import LINK_BYTES
from treadle.stores.sqlite import SqliteStore
from treadle.testing import check_store


class FoldingCase(SqliteStore):
    """Takes keys for the same that differ only in case."""

    def cached(self, key):
        return super().cached(key.lower())

    def put_cached(self, entries):
        super().put_cached({key.lower(): body for key, body in entries.items()})


class KeepingTheFirst(SqliteStore):
    """Does not replace what is there."""

    def put_cached(self, entries):
        super().put_cached(
            {k: v for k, v in entries.items() if super(type(self), self).cached(k) is None}
        )


class KeepingOne(SqliteStore):
    """Keeps one of several."""

    def put_cached(self, entries):
        super().put_cached(dict(itertools.islice(entries.items(), 1)))


class CuttingShort(SqliteStore):
    """Keeps the beginning of what is large."""

    def put_cached(self, entries):
        super().put_cached({key: body[:65_536] for key, body in entries.items()})


class ForgettingWithRuns(SqliteStore):
    """Loses its cache with any run."""

    def delete(self, run_id):
        self.trim_cache(most_bytes=0)
        return super().delete(run_id)


class NotTrimming(SqliteStore):
    """Says that it let go of something."""

    def trim_cache(self, **limits):
        kept = super().trim_cache()
        if limits.get("most_bytes") == 199:
            return structs.replace(kept, entries=1, bytes=100, entries_left=1, bytes_left=100)
        return kept


class TrimmingTheNewest(SqliteStore):
    """Lets go of what was used last."""

    def trim_cache(self, **limits):
        if "unused_for_s" in limits:
            return super().trim_cache(**limits)
        with self._connections.writing("testing") as connection:
            connection.execute("UPDATE cache SET used_at = -used_at")
        done = super().trim_cache(**limits)
        with self._connections.writing("testing") as connection:
            connection.execute("UPDATE cache SET used_at = -used_at")
        return done


class TrimmingTooMuch(SqliteStore):
    """Wants to be below the limit."""

    def trim_cache(self, *, most_bytes=None, **limits):
        return super().trim_cache(most_bytes=most_bytes and most_bytes - 1, **limits)


class NeverOld(SqliteStore):
    """Lets go of nothing for its age."""

    def trim_cache(self, *, unused_for_s=None, **limits):
        return super().trim_cache(**limits)


class NotNotingUse(SqliteStore):
    """Counts from when something was kept."""

    def cached(self, key):
        vars(self._cache)["_touch"] = lambda *_: None
        return super().cached(key)


class GivingDamage(SqliteStore):
    """Gives what is there, whatever it is."""

    def cached(self, key):
        try:
            return super().cached(key)
        except Corrupt:
            with self._connections.reading() as connection:
                row = connection.execute("SELECT body FROM cache WHERE key = ?", (key,)).fetchone()
            return row[0][LINK_BYTES:]


class HidingDamage(SqliteStore):
    """Tells nobody of it."""

    def cached(self, key):
        try:
            return super().cached(key)
        except Corrupt:
            return None


class LooksOfAnyRun(SqliteStore):
    """Keeps looks where no run is."""

    def looks(self, run_id):
        return vars(self).get("seen", {}).get(run_id, {})

    def put_looks(self, run_id, looks):
        vars(self).setdefault("seen", {}).setdefault(run_id, {}).update(looks)


class LooksThatReplace(SqliteStore):
    """Forgets what other components found."""

    def put_looks(self, run_id, looks):
        with self._connections.writing("testing") as connection:
            connection.execute("DELETE FROM look")
        super().put_looks(run_id, looks)


class LooksInTheCache(SqliteStore):
    """Lets go of looks with the cache."""

    def trim_cache(self, **limits):
        with self._connections.writing("testing") as connection:
            connection.execute("DELETE FROM look")
        return super().trim_cache(**limits)


class LooksThatStay(SqliteStore):
    """Finds what another run of this id found."""

    def delete(self, run_id):
        found = self.looks(run_id)
        vars(self)["left"] = {run_id: found} if found else {}
        return super().delete(run_id)

    def create(self, info):
        super().create(info)
        if left := vars(self).get("left", {}).get(info.id):
            self.put_looks(info.id, left)


class CommittingEarly(SqliteStore):
    """Keeps what a step wrote although it fails."""

    @contextmanager
    def transaction(self, key, run_key, fence=None):
        fault = None
        with super().transaction(key, run_key, fence) as step:
            try:
                yield step
            except Exception as error:  # raised when all is committed
                fault = error
        if fault is not None:
            raise fault


class ForgettingResults(SqliteStore):
    """Does not remember what a step gave."""

    @contextmanager
    def transaction(self, key, run_key, fence=None):
        with super().transaction(key, run_key, fence) as step:
            step.keep = lambda _: None
            yield step


class ForgettingTypes(SqliteStore):
    """Gives something like what a step gave."""

    @contextmanager
    def transaction(self, key, run_key, fence=None):
        with super().transaction(key, run_key, fence) as step:
            if isinstance(step.result, dict):
                step.result = {name: list(value) for name, value in step.result.items()}
            yield step


class SwallowingFaults(SqliteStore):
    """Says nothing of a step that fails."""

    @contextmanager
    def transaction(self, key, run_key, fence=None):
        try:
            with super().transaction(key, run_key, fence) as step:
                yield step
        except Exception:
            return


class KeepingResults(SqliteStore):
    """Keeps what the steps of a run gave although it is deleted."""

    def delete(self, run_id):
        with self._connections.writing("testing") as connection:
            rows = connection.execute("SELECT * FROM completed").fetchall()
        told = super().delete(run_id)
        with self._connections.writing("testing") as connection:
            connection.executemany("INSERT OR REPLACE INTO completed VALUES (?, ?, ?)", rows)
        return told


class Unfenced(SqliteStore):
    """Commits what a step wrote whoever has its run."""

    def transaction(self, key, run_key, fence=None):
        return super().transaction(key, run_key)


class LettingBothIn(SqliteStore):
    """Does not keep a second execution of a step out."""

    inside: frozenset[str] = frozenset()

    @contextmanager
    def transaction(self, key, run_key, fence=None):
        if key in self.inside:

            class Bare:
                has_result = False

            yield Bare()
            return
        type(self).inside = frozenset({key})
        try:
            with super().transaction(key, run_key, fence) as step:
                yield step
        finally:
            type(self).inside = frozenset()


class Loading(SqliteStore):
    """Says how much each owner has to do, as it should."""

    def counts(self, info):
        """Whether a lease goes on."""
        return info.owner is not None and info.lease_until > self._sharing._clock()

    def loads(self, workflows):
        found: dict[str, int] = {}
        for info in self.list():
            if info.owner and info.workflow in workflows and self.counts(info):
                found[info.owner] = found.get(info.owner, 0) + (info.status == "running")
        return found


class LoadingExpired(Loading):
    """Counts leases that have run out."""

    def counts(self, info):
        return info.owner is not None


class LoadingIdle(Loading):
    """Counts what is idle, too."""

    def loads(self, workflows):
        infos = [each for each in self.list() if each.workflow in workflows and self.counts(each)]
        return {each.owner: sum(e.owner == each.owner for e in infos) for each in infos}


class LoadingAll(Loading):
    """Counts the runs of all workflows."""

    def loads(self, workflows):
        return super().loads([each.workflow for each in self.list()])


class LoadingBusyOnly(Loading):
    """Leaves out who has nothing that runs."""

    def loads(self, workflows):
        return {owner: count for owner, count in super().loads(workflows).items() if count}


FAULTS = {
    FoldingCase: "it was the last that was kept there",
    KeepingTheFirst: "it was the last that was kept there",
    KeepingOne: "it was the last that was kept there",
    CuttingShort: "it was the last that was kept there",
    ForgettingWithRuns: "runs come and go",
    NotTrimming: "it was the longest unused",
    TrimmingTheNewest: "it was the longest unused",
    TrimmingTooMuch: "it is not more than that",
    NeverOld: "it was not used any more since",
    NotNotingUse: "asking for it is using it",
    GivingDamage: "should raise Corrupt",
    HidingDamage: "should raise Corrupt",
    LooksOfAnyRun: "there is no such run",
    LooksThatReplace: "of each component, what was noted last",
    LooksInTheCache: "that belongs to the run, and not to the cache",
    LooksThatStay: "it was another run of this id",
    CommittingEarly: "it failed, and leaves nothing",
    ForgettingResults: "it was committed",
    ForgettingTypes: "it was committed",
    SwallowingFaults: "should raise Stopped",
    KeepingResults: "its run was deleted",
    Unfenced: "transaction() under an older claim gave None",
    LettingBothIn: "the first had not come to its end when this one began",
    LoadingExpired: "a lease that has run out does not count",
    LoadingIdle: "two run, one is idle, and one is nobody's",
    LoadingAll: "two run, one is idle, and one is nobody's",
    LoadingBusyOnly: "what it has is idle",
}


def checked(kind):
    """What the kit says of a store."""
    numbers = itertools.count()
    with quick_place() as place:
        return check_store(
            lambda: kind(f"{place}/{next(numbers)}.db", Codec(), clock=HandClock()),
            runs=3,
            pass_time=pass_time,
            damage_entry=damage_entry,
        )


@pytest.mark.slow
@pytest.mark.parametrize("faulty", FAULTS, ids=lambda each: each.__name__)
def test_each_fault_is_found(faulty):
    """The kit says which promise is broken."""
    with pytest.raises(AssertionError) as caught:
        checked(faulty)
    assert FAULTS[faulty] in str(caught.value)


def test_who_has_how_much_to_do_is_checked_where_it_is_offered():
    """A store that says it is held to it, and one that does not is not."""
    assert "loads" in checked(Loading).checks
    assert "loads" not in checked(SqliteStore).checks
