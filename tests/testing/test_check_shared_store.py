"""`check_store` finds what is wrong with a store that several use: each of these has one fault."""

import itertools

import pytest
from msgspec import structs

from tests.durability.places import quick_place
from tests.stores.sqlite.places import HandClock, damage_snapshot, pass_time
from treadle.codec import Codec
from treadle.stores.sqlite import SqliteStore
from treadle.testing import check_store


class Unfenced(SqliteStore):
    """Takes whatever epoch comes."""

    def append(self, batch):
        now = {info.id: info.epoch for info in self.list()}
        return super().append(
            [structs.replace(each, epoch=now.get(each.run_id, each.epoch)) for each in batch]
        )


class FencingEventsOnly(SqliteStore):
    """Lets anybody change the status."""

    def append(self, batch):
        now = {info.id: info.epoch for info in self.list()}
        return super().append(
            [
                each if each.events else structs.replace(each, epoch=now.get(each.run_id, 0))
                for each in batch
            ]
        )


class GivingAway(SqliteStore):
    """Gives a run that somebody has."""

    def claim(self, owner, ttl_s, **options):
        with self._connections.writing("testing") as connection:
            connection.execute("UPDATE run SET lease_until = 0")
        return super().claim(owner, ttl_s, **options)


class Boundless(SqliteStore):
    """Gives more than was asked for."""

    def claim(self, owner, ttl_s, *, limit=1, **options):
        return super().claim(owner, ttl_s, limit=limit * 10, **options)


class Deaf(SqliteStore):
    """A message is nothing to do."""

    def claim(self, owner, ttl_s, *, run_id=None, **options):
        waits = {each.id for each in self.list() if each.status == "running" or each.wake_at}
        found = super().claim(owner, ttl_s, run_id=run_id, **options)
        if run_id is None:
            self.release({each.id: each.epoch for each in found if each.id not in waits})
            found = [each for each in found if each.id in waits]
        return found


class Timeless(SqliteStore):
    """Forgets when a run is to wake."""

    def append(self, batch):
        return super().append([structs.replace(each, wake_at=None) for each in batch])


class Termless(SqliteStore):
    """Forgets until when a run may go on."""

    def append(self, batch):
        return super().append([structs.replace(each, deadline_at=None) for each in batch])


class Careful(SqliteStore):
    """Keeps every run with all care, whatever was asked for."""

    def append(self, batch):
        return super().append([structs.replace(each, durability="full") for each in batch])


class Lenient(SqliteStore):
    """Takes an input for something that a run did."""

    def append(self, batch):
        told = super().append(batch)
        for each, fault in zip(batch, told, strict=True):
            if each.events and fault is None:
                with self._connections.writing("testing") as connection:
                    given = (each.run_id,)
                    connection.execute("UPDATE run SET crashes = 0 WHERE id = ?", given)
        return told


class Careless(SqliteStore):
    """Counts no crashes."""

    def claim(self, owner, ttl_s, **options):
        found = super().claim(owner, ttl_s, **options)
        with self._connections.writing("testing") as connection:
            connection.execute("UPDATE run SET crashes = 0")
        return [structs.replace(each, crashes=0) for each in found]


class LettingGoOfAny(SqliteStore):
    """Releases a run that is another's by now."""

    def release(self, epochs):
        super().release({each.id: each.epoch for each in self.list() if each.id in epochs})


class SayingYes(SqliteStore):
    """Says that all leases were renewed."""

    def renew(self, owner, ttl_s, epochs):
        super().renew(owner, ttl_s, epochs)
        return set(epochs)


class NotRenewing(SqliteStore):
    """Says that leases were renewed, and does nothing."""

    def renew(self, owner, ttl_s, epochs):
        infos = [self.info(run_id) for run_id in epochs]
        return {
            each.id
            for each in infos
            if each and (each.owner, each.epoch) == (owner, epochs[each.id])
        }


class Forgetful(SqliteStore):
    """Does not know an append again."""

    def append(self, batch):
        vars(self._log)["_is_there"] = lambda *_: False
        return super().append(batch)


class Backwards(SqliteStore):
    """Gives the newest message first."""

    def waiting(self, owner, *, limit=None):
        return super().waiting(owner, limit=limit)[::-1]


class GivingToAll(SqliteStore):
    """Gives everybody's messages to anybody."""

    def waiting(self, owner, *, limit=None):
        both = [super(GivingToAll, self).waiting(name, limit=limit) for name in "xy"]
        return [*both[0], *both[1]]


class Repeating(SqliteStore):
    """Takes a message of the same id again, once the first was answered."""

    def post(self, message):
        with self._connections.writing("testing") as connection:
            connection.execute("DELETE FROM message WHERE body IS NULL")
        return super().post(message)


class NeverAnswered(SqliteStore):
    """Leaves answered messages where they are."""

    def append(self, batch):
        return super().append([structs.replace(each, consumed=()) for each in batch])


class AnsweredAnyway(SqliteStore):
    """Takes messages away although the append is refused."""

    def append(self, batch):
        told = super().append(batch)
        with self._connections.writing("testing") as connection:
            for each in batch:
                for id in each.consumed:
                    connection.execute(
                        "UPDATE message SET body = NULL WHERE id = ? AND run = "
                        "(SELECT pk FROM run WHERE id = ?)",
                        (id, each.run_id),
                    )
        return told


class Mute(SqliteStore):
    """Tells nobody what came of a message."""

    def append(self, batch):
        return super().append([structs.replace(each, replies=()) for each in batch])


class Fickle(SqliteStore):
    """Tells what was told last."""

    def append(self, batch):
        with self._connections.writing("testing") as connection:
            for each in batch:
                for reply in each.replies:
                    connection.execute(
                        "UPDATE message SET reply = NULL WHERE id = ?", (reply.message,)
                    )
        return super().append(batch)


class Thankless(SqliteStore):
    """Does not say which inputs came by messages."""

    def load(self, run_id):
        return structs.replace(super().load(run_id), owing={})


class NotTaking(SqliteStore):
    """Says that a snapshot was taken, and takes none."""

    def save_snapshot(self, run_id, epoch, baseline):
        info = self.info(run_id)
        return info is not None and info.epoch == epoch and baseline.position <= info.position


class TakingAny(SqliteStore):
    """Takes a snapshot under whatever epoch."""

    def save_snapshot(self, run_id, epoch, baseline):
        info = self.info(run_id)
        return super().save_snapshot(run_id, epoch if info is None else info.epoch, baseline)


class Shortened(SqliteStore):
    """Shows a log from its snapshot on as if that were all of it."""

    def load_all(self, run_id):
        return self.load(run_id)


class Miscounting(SqliteStore):
    """Does not say how many events were let go of."""

    def compact(self, run_id):
        return min(1, super().compact(run_id))


class Sweeping(SqliteStore):
    """Sweeps away what is in use."""

    def sweep(self, *, unused_for_s):
        with self._connections.writing("testing") as connection:
            connection.execute("DELETE FROM blob")
        return 1


class Blind(SqliteStore):
    """Finds nothing wrong."""

    def verify(self, run_id=None):
        return []


FAULTS = {
    Unfenced: "under an epoch that is yet to come was answered with None",
    FencingEventsOnly: "should be with Fenced",
    GivingAway: "another runner has it",
    Boundless: "most overdue first",
    Deaf: "a message is something to do",
    Timeless: "most overdue first",
    Careless: "so often was its runner lost with it",
    Lenient: "an input that is taken is nothing that the run does",
    Termless: "a status brings its own",
    Careful: "(None, 'relaxed'): a status brings its own",
    LettingGoOfAny: "it was released under an epoch that is over",
    SayingYes: "what renew() gives",
    NotRenewing: "the others were renewed",
    Forgetful: "each was sent before, or is to be written now",
    Backwards: "oldest first",
    GivingToAll: "what waiting('y') gives",
    Repeating: "whether it is the first of its id",
    NeverAnswered: "one was answered",
    AnsweredAnyway: "an append that was refused answers nothing",
    Mute: "b has a message of the same id",
    Fickle: "what was told once stays",
    Thankless: "an input of which nobody knows what came",
    NotTaking: "it begins at the newest snapshot",
    TakingAny: "whether it was taken",
    Shortened: "snapshots take nothing away",
    Miscounting: "how many events were let go of",
    Sweeping: "raised Corrupt",
    Blind: "the runs that verify(None) names",
}


@pytest.mark.slow
@pytest.mark.parametrize("faulty", FAULTS, ids=lambda each: each.__name__)
def test_each_fault_is_found(faulty):
    """The kit says which promise is broken."""
    numbers = itertools.count()
    with quick_place() as place:
        with pytest.raises(AssertionError) as caught:
            check_store(
                lambda: faulty(f"{place}/{next(numbers)}.db", Codec(), clock=HandClock()),
                runs=3,
                pass_time=pass_time,
                damage=damage_snapshot,
            )
    assert FAULTS[faulty] in str(caught.value)


@pytest.mark.slow
def test_without_a_hook_time_really_passes():
    """Leases that must run out are short."""
    numbers = itertools.count()
    with quick_place() as place:
        report = check_store(lambda: SqliteStore(f"{place}/{next(numbers)}.db", Codec()), runs=3)

    assert "crashes" in report.checks
    assert "a damaged snapshot" not in report.checks
