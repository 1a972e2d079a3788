"""Connections that break in the midst of anything: nothing is lost, nothing is there twice."""

import random
import threading
from collections import Counter
from typing import Any

import pytest

from tests.stores.postgres.logs import accepted, add, applied, info, insist
from tests.stores.postgres.proxy import Proxy
from treadle.errors import Conflict, StoreError
from treadle.interfaces import Message

KEEP_S = 600.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_appends_survive_cuts(open_store, server, seed):
    """Hundreds of appends through connections that are cut at random bytes: each is there once, in order."""
    count, names = 120, ("a", "b", "c")
    draw = random.Random(seed)
    with Proxy(server.port, draw) as proxy:
        far = open_store(server.through(proxy.port))
        (fault, *_) = insist(far, [add(name, 0, create=info(name)) for name in names])
        assert fault is None
        for number in range(count):
            batch = [
                add(name, 1 + 2 * number, accepted(0, number), applied(1, f"{name} {number}"))
                for name in names
            ]
            assert insist(far, batch) == [None] * 3
        cuts = proxy.cuts

    near = open_store()
    assert cuts > 10
    assert near.verify() == []
    for name in names:
        log = near.load(name).events
        assert len(log) == 1 + 2 * count
        assert [event.value for event in log[1::2]] == list(range(count))


@pytest.mark.slow
def test_runs_that_begin_survive_cuts(open_store, server):
    """A run whose creation was cut off is neither refused as its own double nor made twice."""
    with Proxy(server.port, random.Random(4)) as proxy:
        far = open_store(server.through(proxy.port))
        for number in range(150):
            begin = add(f"run-{number}", 0, create=info(f"run-{number}", epoch=1), epoch=1)
            assert insist(far, [begin]) == [None]
        assert proxy.cuts > 3

    assert len(open_store().list()) == 150


@pytest.mark.slow
def test_claims_and_messages_survive_cuts(open_store, server):
    """No run is claimed by somebody who does not know it, and no message is there twice."""
    near = open_store()
    for number in range(80):
        near.create(info(f"run-{number}", status="running"))
    got: Counter[str] = Counter()
    with Proxy(server.port, random.Random(5)) as proxy:
        far = open_store(server.through(proxy.port))
        for _ in range(3_000):
            try:
                for taken in far.claim("me", KEEP_S, limit=1):
                    got[taken.id] += 1
                    far.post(Message(id="m", run_id=taken.id, kind="signal", body=b"x"))
            except StoreError:
                continue
            if len(got) == 80:
                break
        assert proxy.cuts > 3

    assert set(got.values()) == {1}
    assert {each.epoch for each in near.list()} == {1}
    assert len(got) == 80


@pytest.mark.slow
def test_an_immediate_stop_loses_nothing(own_server):
    """The server is stopped as by a power cut while four threads append, several times: what it confirmed is there."""
    from treadle.codec import Codec
    from treadle.stores.postgres import PostgresStore

    store = PostgresStore(own_server.conninfo, Codec())
    names = [f"run-{number}" for number in range(4)]
    insist(store, [add(name, 0, create=info(name)) for name in names])
    is_over = threading.Event()
    confirmed: Counter[str] = Counter()
    faults: list[Exception] = []

    def work(name):
        while not is_over.is_set():
            number = confirmed[name]
            (fault,) = insist(store, [add(name, 1 + number, accepted(1 + number, number))])
            if fault is not None:
                faults.append(fault)
                return
            confirmed[name] += 1

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for each in threads:
        each.start()
    draw = random.Random(6)
    for _ in range(3):
        goal = sum(confirmed.values()) + draw.randint(20, 120)
        while sum(confirmed.values()) < goal and not faults:
            is_over.wait(0.01)
        own_server.stop("immediate")
        own_server.start()
    is_over.set()
    for each in threads:
        each.join()
    try:
        assert faults == []
        assert store.verify() == []
        for name in names:
            log: Any = store.load(name).events
            assert [event.value for event in log[1:]] == list(range(confirmed[name]))
    finally:
        store.close()


@pytest.mark.slow
def test_writers_in_each_others_way_lose_nothing(open_store):
    """Three writers append to the same runs in different orders: what was accepted is there, and no more."""
    names = [f"run-{number}" for number in range(6)]
    first = open_store()
    first.append([add(name, 0, create=info(name)) for name in names])
    together = threading.Barrier(3)
    accepted_by: list[Counter[str]] = [Counter() for _ in range(3)]
    faults: list[Exception] = []

    def work(number: int) -> None:
        store, draw = open_store(), random.Random(number)
        together.wait()
        try:
            for turn in range(15):
                order = draw.sample(names, 4)
                heads = {each.id: each.position for each in store.list()}
                batch = [
                    add(
                        name,
                        heads[name],
                        accepted(0, f"{number} {turn}"),
                        applied(1, f"{number} {turn}"),
                    )
                    for name in order
                ]
                for name, fault in zip(order, store.append(batch), strict=True):
                    assert fault is None or isinstance(fault, Conflict), fault
                    accepted_by[number][name] += fault is None
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert faults == []
    assert first.verify() == []
    for name in names:
        assert first.info(name).position == 1 + 2 * sum(each[name] for each in accepted_by)
