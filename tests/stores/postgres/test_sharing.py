"""Leases and the inbox, by the server's clock."""

import threading
from time import time

import psycopg
import pytest

from tests.stores.postgres.logs import add, applied, info
from treadle.errors import Fenced, UnknownRun
from treadle.interfaces import Message, Reply

KEEP_S = 60.0


def names(infos):
    """The ids."""
    return [each.id for each in infos]


def create(store, run_id, **fields):
    """A run that nobody has."""
    store.create(info(run_id, **fields))


def message(run_id, id="m", kind="signal", body=b"body"):
    """A message."""
    return Message(id=id, run_id=run_id, kind=kind, body=body, at=1.5)


def expire(server, store, *run_ids):
    """Let leases run out."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(
            f"UPDATE {store.schema}.lease SET until = 1 FROM {store.schema}.run "
            "WHERE run.pk = lease.run AND run.id = ANY(%s)",
            (list(run_ids),),
        )


def test_only_runs_with_something_to_do_are_claimed(store):
    """Running, due, or with a message; most overdue first; of the named workflows, and no more than asked for."""
    create(store, "idle")
    create(store, "running", status="running")
    create(store, "later", wake_at=time() + 3600)
    create(store, "due", wake_at=20.0)
    create(store, "overdue", wake_at=10.0)
    create(store, "asked")
    create(store, "stopped", status="stopped", wake_at=1.0)
    create(store, "other", workflow="other", status="running")
    store.post(message("asked"))

    assert names(store.claim("me", KEEP_S, workflows=["w"], limit=1)) == ["running"]
    assert names(store.claim("me", KEEP_S, workflows=["w"], limit=9)) == ["asked", "overdue", "due"]
    assert store.claim("me", KEEP_S, workflows=["w"], limit=9) == []
    assert store.claim("me", KEEP_S, workflows=[], limit=9) == []
    assert names(store.claim("me", KEEP_S, limit=9)) == ["other"]
    assert names(store.claim("me", KEEP_S, run_id="idle")) == ["idle"]
    assert names(store.claim("me", KEEP_S, run_id="stopped")) == ["stopped"]
    assert store.claim("me", KEEP_S, run_id="nobody") == []


def test_a_claim_tells_all(store):
    """What it gives is what `info` gives: who has it, until when, under which epoch."""
    create(store, "run", status="running")
    (claimed,) = store.claim("me", KEEP_S)

    assert claimed == store.info("run")
    assert (claimed.owner, claimed.epoch, claimed.crashes) == ("me", 1, 0)
    assert abs(claimed.lease_until - time() - KEEP_S) < KEEP_S


def test_a_run_is_with_one_runner(store, server):
    """Another gets it when it was let go of, or when its lease ran out; the owner may claim its own again by id."""
    create(store, "run", status="running")
    (first,) = store.claim("me", KEEP_S)

    assert store.claim("you", KEEP_S, run_id="run") == []
    assert store.claim("you", KEEP_S) == []
    (again,) = store.claim("me", KEEP_S, run_id="run")
    assert (again.epoch, again.crashes) == (2, 0)
    assert store.renew("me", KEEP_S, {"run": first.epoch}) == set()
    assert store.renew("you", KEEP_S, {"run": again.epoch}) == set()
    assert store.renew("me", KEEP_S, {"run": again.epoch, "nobody": 1}) == {"run"}
    assert store.renew("me", KEEP_S, {}) == set()

    store.release({"run": first.epoch})
    assert store.info("run").owner == "me"
    store.release({"run": again.epoch})
    assert (store.info("run").owner, store.info("run").lease_until) == (None, None)
    (yours,) = store.claim("you", KEEP_S)
    assert (yours.epoch, yours.crashes) == (3, 0)


def test_crashes_are_counted(store, server):
    """A run whose runner was lost while it ran has that counted, until it comes further or is let go of in order."""
    create(store, "run", status="running")
    create(store, "idle", status="idle", wake_at=1.0)
    epochs = [store.claim("me", KEEP_S, limit=2)]
    for number in range(1, 3):
        expire(server, store, "run", "idle")
        assert (
            store.claim(epochs[-1][0].owner, KEEP_S, limit=2) == []
        )  # it knows that they are its own
        epochs.append(store.claim(f"you{number}", KEEP_S, limit=2))
        assert {each.id: each.crashes for each in epochs[-1]} == {"run": number, "idle": 0}

    epoch = store.info("run").epoch
    assert store.append([add("run", 0, epoch=epoch, trials=3)]) == [None]
    assert (store.info("run").crashes, store.info("run").trials) == (2, 3)  # it took an input
    assert store.append([add("run", 1, applied(1), epoch=epoch)]) == [None]
    assert (store.info("run").crashes, store.info("run").trials) == (0, 0)
    expire(server, store, "run")
    (taken,) = store.claim("they", KEEP_S)
    assert taken.crashes == 1
    store.release({"run": taken.epoch})
    assert store.info("run").crashes == 0
    assert isinstance(store.append([add("run", 2, epoch=epoch)])[0], Fenced)


def test_many_claim_at_once(store, open_store):
    """However many runners ask at the same time, each run goes to one of them."""
    for number in range(60):
        create(store, f"run-{number}", status="running")
    got: list[str] = []
    stores = [open_store() for _ in range(6)]
    together = threading.Barrier(len(stores))

    def claim(number):
        together.wait()
        while infos := stores[number].claim(f"runner-{number}", KEEP_S, limit=4):
            got.extend(names(infos))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(len(stores))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert sorted(got) == sorted(f"run-{number}" for number in range(60))
    assert {each.epoch for each in store.list()} == {1}


def test_a_new_runs_lease_lasts_as_long_by_the_servers_clock(open_store):
    """Whatever the runner's clock says."""
    store = open_store(clock=lambda: 100.0)
    store.create(info("by its clock", owner="me", lease_until=100.0 + 3600))
    store.create(info("by its birth", owner="me", lease_until=7.0 + 3600, created_at=7.0))

    for each in store.list():
        assert 3000 < each.lease_until - time() < 4000


def test_a_message_waits_for_the_owner(store):
    """It is left once, wakes the run, waits until it is answered, and is known after that."""
    create(store, "run")
    create(store, "other")
    assert store.answered("run", "m") is None
    assert store.post(message("run"))
    assert not store.post(message("run", body=b"again"))
    assert store.post(message("run", "n", "cancel"))
    assert store.post(message("other"))
    with pytest.raises(UnknownRun):
        store.post(message("nobody"))
    assert store.waiting("me") == []

    store.claim("me", KEEP_S, run_id="run")
    assert store.waiting("me") == [message("run"), message("run", "n", "cancel")]
    assert store.append([add("run", 0, epoch=1, consumed=("m",))]) == [None]
    assert store.waiting("me") == [message("run", "n", "cancel")]
    assert not store.post(message("run"))
    assert (store.answered("run", "m"), store.answered("run", "n")) == (True, False)


def test_a_refusal_is_kept_with_its_reason(store):
    """Of those messages alone of which it was told, also where appends of one run are written as one."""
    create(store, "run")
    for id in "abc":
        store.post(message("run", id))
    store.claim("me", KEEP_S, run_id="run")
    why = Reply(message="a", body=b"it \x00 does not fit")
    batch = [
        add("run", 0, epoch=1, consumed=("a",), replies=(why,)),
        add("run", 1, epoch=1, consumed=("b",)),
    ]
    assert store.append(batch) == [None, None]
    assert [store.answered("run", id) for id in "abc"] == [True, True, False]
    asked = [("run", id) for id in ("a", "b", "c", "nobody", "\x00")]
    told = {id: found.body for (_, id), found in store.standing(asked).items()}
    assert told == {"a": why.body, "b": None, "c": None}


def test_a_step_writes_with_its_run(store, server):
    """What a step writes, and what it gave, are committed together; a second execution finds it."""
    create(store, "run")
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {store.schema}.paid(amount int)")
    with pytest.raises(ZeroDivisionError), store.transaction("key", "key of run") as given:
        given.execute(f"INSERT INTO {store.schema}.paid VALUES (%s)", (1,))
        given.keep(1 / 0)
    with store.transaction("key", "key of run") as given:
        assert not given.has_result
        given.executemany(f"INSERT INTO {store.schema}.paid VALUES (%s)", [(2,), (3,)])
        given.keep({"sum": 5})
    with store.transaction("key", "key of run") as given:
        assert given.result == {"sum": 5}
        assert given.execute(f"SELECT sum(amount) FROM {store.schema}.paid").fetchall() == [(5,)]

    store.delete("run")
    with store.transaction("key", "key of run") as given:
        assert not given.has_result


def test_a_step_of_a_runner_that_lost_the_run_commits_nothing(store, server):
    """What it wrote goes with what it gave: the run was taken while it was at it."""
    create(store, "run", status="running")
    (mine,) = store.claim("me", KEEP_S)
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {store.schema}.paid(amount int)")

    def pay(key, epoch, amount, *, meanwhile=lambda: None):
        with store.transaction(key, "key of run", ("run", epoch)) as given:
            given.execute(f"INSERT INTO {store.schema}.paid VALUES (%s)", (amount,))
            given.keep(amount)
            meanwhile()

    def taken():
        expire(server, store, "run")
        assert names(store.claim("you", KEEP_S)) == ["run"]

    pay("first", mine.epoch, 1)
    with pytest.raises(Fenced, match=r"taken over by you \(epoch 2, not 1\)"):
        pay("second", mine.epoch, 2, meanwhile=taken)
    with pytest.raises(Fenced):
        pay("third", mine.epoch, 3)
    pay("second", mine.epoch + 1, 4)
    with pytest.raises(UnknownRun), store.transaction("key", "key of run", ("nobody", 1)):
        pass
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        rows = connection.execute(f"SELECT amount FROM {store.schema}.paid ORDER BY 1").fetchall()
    assert rows == [(1,), (4,)]
