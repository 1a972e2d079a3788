"""The memory store: the promises of all stores, and its own."""

import threading
from typing import Any

import treadle as td
from treadle.interfaces import Append, RunInfo, Store
from treadle.model.events import InputAccepted
from treadle.stores.memory import MemoryStore
from treadle.testing.stores import check_store


def created(*names: str) -> MemoryStore:
    """A store with some runs."""
    store = MemoryStore()
    for name in names:
        store.create(RunInfo(id=name, workflow="w", run_key=name))
    return store


def accepted(position: int, value: Any = None) -> InputAccepted:
    """An event."""
    return InputAccepted(position, (position,), value)


def test_it_keeps_the_promises_of_a_store():
    """The kit finds nothing, also where a closed store is used again: that is how a runner comes back to it."""
    report = check_store(MemoryStore, reopen=lambda store: store)

    assert isinstance(MemoryStore(), Store)
    assert MemoryStore.is_instant
    assert (report.store, report.reopened) == ("MemoryStore", True)
    assert "kept its promises in 21 checks" in str(report)


def test_any_value_can_be_in_an_event():
    """Events are kept as the objects they are; nothing is written or copied."""
    store, thing = created("run"), object()
    store.append([Append(run_id="run", expected=0, events=(accepted(0, thing),))])

    (event,) = store.load("run").events
    assert isinstance(event, InputAccepted)
    assert event.value is thing


def test_a_workflow_comes_back_as_it_was():
    """Its log, stored and loaded, folds to an equal workflow."""
    template = td.workflow("w").add(td.step(lambda x: x + 1, name="more"))
    done = template.react_until_satisfied(1)
    store = created("run")
    assert store.append([Append(run_id="run", expected=0, events=tuple(done.log()))]) == [None]

    assert td.Workflow.from_log(template, store.load("run").events) == done
    assert repr(store) == "<MemoryStore of 1 runs>"


def test_who_reads_in_another_thread_sees_whole_appends():
    """A log that is read while another thread appends is as long as its run says, and never half of a batch."""
    store = created("run", "other")
    torn: list[Any] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            stored = store.load("run")
            if len(stored.events) != stored.info.position or stored.info.position % 3:
                torn.append(stored.info)
            store.list(workflow="w")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for at in range(0, 900, 3):
        events = tuple(accepted(at + more) for more in range(3))
        store.append([Append(run_id=name, expected=at, events=events) for name in ("run", "other")])
        store.create(RunInfo(id=f"run-{at}", workflow="w", run_key=""))
    done.set()
    for reader in readers:
        reader.join(timeout=30)

    assert torn == []
    assert store.load("run").info.position == 900
