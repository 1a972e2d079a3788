"""The store kit catches stores that break a promise, and says which."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from treadle.errors import Conflict
from treadle.interfaces import Append, RunInfo, StoredRun
from treadle.model.events import Baseline, Expanded
from treadle.stores.memory import Kept, MemoryStore
from treadle.testing.stores import check_store


class Overwriting(MemoryStore):
    """Creates a run again."""

    def create(self, info):
        self._runs[info.id] = Kept(info)


class Forgetful(MemoryStore):
    """Keeps no note of a new run."""

    def create(self, info):
        super().create(structs.replace(info, note=None))


class Unguarded(MemoryStore):
    """Does not look at how long the log is."""

    def append(self, batch):
        runs = self._runs
        told = [each.run_id in runs and runs[each.run_id].position for each in batch]
        return super().append(
            [structs.replace(each, expected=at) for each, at in zip(batch, told, strict=True)]
        )


class GuardingOldOnesOnly(MemoryStore):
    """Takes an expectation that is too high for a good one."""

    def _append(self, append):
        kept = self._runs.get(append.run_id)
        if kept is not None and append.expected > kept.position:
            append = structs.replace(append, expected=kept.position)
        return super()._append(append)


class WritingAnyway(MemoryStore):
    """Notes the status although the append is refused."""

    def _append(self, append):
        fault = super()._append(append)
        if isinstance(fault, Conflict) and append.status is not None:
            self._runs[append.run_id].status = append.status
        return fault


class Raising(MemoryStore):
    """Raises what concerns one item only."""

    def append(self, batch):
        told = super().append(batch)
        for fault in told:
            if fault is not None:
                raise fault
        return told


class StoppingAtTheFirst(MemoryStore):
    """Refuses all of a batch that comes after something bad."""

    def append(self, batch):
        told: list[Exception | None] = []
        for each in batch:
            bad = next((fault for fault in told if fault is not None), None)
            told.append(bad or super()._append(each))
        return told


class SayingLess(MemoryStore):
    """Tells the faults only, not which item had them."""

    def append(self, batch):
        return [fault for fault in super().append(batch) if fault is not None]


class MakingRuns(MemoryStore):
    """Creates what it does not know."""

    def _append(self, append):
        if append.run_id not in self._runs:
            self._runs[append.run_id] = Kept(RunInfo(id=append.run_id, workflow="", run_key=""))
        return super()._append(append)


class ReadingBeforeTheBatch(MemoryStore):
    """Compares all of a batch with the lengths that were there before it."""

    def append(self, batch):
        before = {name: kept.position for name, kept in self._runs.items()}
        seen: set[str] = set()
        told: list[Exception | None] = []
        for each in batch:
            if each.run_id in seen and each.expected != before.get(each.run_id):
                told.append(Conflict("too late."))
            else:
                told.append(super()._append(each))
                seen.add(each.run_id)
        return told


class KeepingThePast(MemoryStore):
    """Adds a baseline to what was there."""

    def _append(self, append):
        kept = self._runs.get(append.run_id)
        old = list(kept.events) if kept is not None else []
        fault = super()._append(append)
        if kept is not None and fault is None and append.events[:1] and is_fold(append):
            kept.events = old + kept.events
        return fault


class CountingBaselines(MemoryStore):
    """Takes a baseline for one event more."""

    def _append(self, append):
        fault = super()._append(append)
        if fault is None and is_fold(append):
            self._runs[append.run_id].position += 1
        return fault


class CountingEvents(MemoryStore):
    """Takes the number of events that it keeps for the length of the log."""

    def _append(self, append):
        fault = super()._append(append)
        if fault is None:
            kept = self._runs[append.run_id]
            kept.position = len(kept.events)
        return fault


def is_fold(append: Append) -> bool:
    """Whether it begins with a baseline."""
    return bool(append.events) and isinstance(append.events[0], Baseline)


class HalfWriting(MemoryStore):
    """Finds out in the middle of an append that a value cannot be written."""

    def _append(self, append):
        for place, event in enumerate(append.events):
            if "_thread.lock" in repr(event):
                super()._append(structs.replace(append, events=append.events[:place]))
                return TypeError("cannot write a lock")
        return super()._append(append)


class RefusingTheBatch(MemoryStore):
    """Lets one value that cannot be written spoil all of a batch."""

    def append(self, batch):
        if "_thread.lock" in repr(batch):
            raise TypeError("cannot write a lock")
        return super().append(batch)


class Untupled(MemoryStore):
    """Gives lists where tuples were, as plain JSON does."""

    def load(self, run_id):
        stored = super().load(run_id)
        events = tuple(
            structs.replace(event, values=list(event.values))
            if isinstance(event, Expanded)
            else event
            for event in stored.events
        )
        return structs.replace(stored, events=events)


class Reversing(MemoryStore):
    """Gives the events of a log newest first."""

    def load(self, run_id):
        stored = super().load(run_id)
        return structs.replace(stored, events=stored.events[::-1])


class CuttingOff(MemoryStore):
    """Gives the first thousand events, as a query with a limit does."""

    def load(self, run_id):
        stored = super().load(run_id)
        return structs.replace(stored, events=stored.events[:1000])


class Leaking(MemoryStore):
    """Gives its own list, which goes on growing."""

    def load(self, run_id):
        info = super().load(run_id).info
        return StoredRun(info=info, events=self._runs[run_id].events)  # type: ignore[arg-type]


class Strict(MemoryStore):
    """Raises where there is no run to tell of."""

    def info(self, run_id):
        return self.load(run_id).info


class Stubborn(MemoryStore):
    """Keeps a note for ever."""

    def _append(self, append):
        kept = self._runs.get(append.run_id)
        note = None if kept is None else kept.note
        fault = super()._append(append)
        if kept is not None and append.note is None:
            kept.note = note
        return fault


class Alphabetic(MemoryStore):
    """Lists by id."""

    def list(self, **filters: Any):
        return sorted(super().list(**filters), key=lambda info: info.id)


class ByLastChange(MemoryStore):
    """Lists what changed last at the end."""

    def list(self, **filters: Any):
        return sorted(super().list(**filters), key=lambda info: info.updated_at or 0.0)


class Unfiltered(MemoryStore):
    """Takes no notice of a status."""

    def list(self, *, workflow=None, status=None, limit=None):
        return super().list(workflow=workflow, limit=limit)


class LimitingFirst(MemoryStore):
    """Filters only the first few."""

    def list(self, *, workflow=None, status=None, limit=None):
        found = super().list(limit=limit)
        return [
            info
            for info in found
            if workflow in (None, info.workflow) and status in (None, info.status)
        ]


class Matching(MemoryStore):
    """Takes the name of a workflow for a pattern."""

    def list(self, *, workflow=None, status=None, limit=None):
        found = super().list(status=status)
        return [info for info in found if (workflow or "") in info.workflow][:limit]


class Hoarding(MemoryStore):
    """Deletes a run and keeps its log for the next of its id."""

    def delete(self, run_id):
        if run_id in self._runs:
            self.old = {**getattr(self, "old", {}), run_id: self._runs[run_id]}
        return super().delete(run_id)

    def create(self, info):
        super().create(info)
        kept = getattr(self, "old", {}).get(info.id)
        if kept is not None:
            self._runs[info.id].events = kept.events


class AlwaysTrue(MemoryStore):
    """Says that it deleted what never was."""

    def delete(self, run_id):
        super().delete(run_id)
        return True


def naming(change: Callable[[str], str]) -> type[MemoryStore]:
    """A store that keeps runs under something else than their ids."""

    class Renaming(MemoryStore):
        def create(self, info):
            kept = Kept(info)
            if change(info.id) in self._runs:
                super().create(structs.replace(info, id=change(info.id)))
            self._runs[change(info.id)] = kept

        def load(self, run_id):
            return super().load(change(run_id))

        def info(self, run_id):
            return super().info(change(run_id))

        def delete(self, run_id):
            return super().delete(change(run_id))

        def append(self, batch):
            return super().append([structs.replace(a, run_id=change(a.run_id)) for a in batch])

    return Renaming


class OfOneThread(MemoryStore):
    """Can be used by the thread only that made it."""

    def __init__(self):
        super().__init__()
        self.mine = threading.get_ident()

    def append(self, batch):
        if threading.get_ident() != self.mine:
            raise RuntimeError("made in another thread")
        return super().append(batch)


class Vague(MemoryStore):
    """Does not say whether it is instant."""

    is_instant = None  # type: ignore[assignment]


class Repeating(MemoryStore):
    """Gives the last event that somebody knows once more."""

    def since(self, run_id, position):
        return super().since(run_id, position - 1)


class LosingFolds(MemoryStore):
    """Gives what comes after a baseline, and not the baseline."""

    def since(self, run_id, position):
        return [each for each in super().since(run_id, position) if type(each) is not Baseline]


class Unmarked(MemoryStore):
    """Forgets which attempts were about to begin."""

    def _append(self, append):
        return super()._append(structs.replace(append, intents=()))


class MarkingTheLast(MemoryStore):
    """Knows of those attempts only that the last append told of."""

    def _append(self, append):
        if append.intents and append.run_id in self._runs:
            self._runs[append.run_id].intents = frozenset()
        return super()._append(append)


BROKEN: list[tuple[type[MemoryStore], str]] = [
    (Overwriting, r"creating a run: create\(\) of an id that is taken gave None"),
    (Forgetful, r"creating a run: info\('one'\) is .*note=None.* it is what was created"),
    (Strict, r"creating a run: info\('one'\) raised UnknownRun"),
    (Reversing, "appending piece by piece: event 0 of 'run' is "),
    (Leaking, "creating a run: load.. gave .* a tuple of events"),
    (Untupled, "appending piece by piece: event .* Expanded"),
    (SayingLess, r"append\(\) gave \[\] for a batch of 1: it should give a list with None, or"),
    (Stubborn, "status, note and time: .* the note was that of another status"),
    (Unguarded, "two writers: .* to an empty log, expecting 1 .* should be with Conflict"),
    (GuardingOldOnesOnly, "two writers: .* expecting 1 .* should be with Conflict"),
    (WritingAnyway, "two writers: .* is refused .* writes nothing"),
    (Raising, "two writers: .*what concerns one item is returned in its place.* raised Conflict"),
    (MakingRuns, "two writers: .*never created .* should be with UnknownRun"),
    (StoppingAtTheFirst, "a batch with bad items: what append.. says of a batch"),
    (ReadingBeforeTheBatch, "a batch with bad items: what append.. says of a batch"),
    (HalfWriting, "a value that cannot be written: .* wholly or not at all"),
    (RefusingTheBatch, "a value that cannot be written: .* raised TypeError"),
    (KeepingThePast, "baselines: .* a baseline takes the place of all before it"),
    (CountingBaselines, "baselines: .* a baseline takes no position"),
    (CountingEvents, "baselines: .* a baseline takes no position"),
    (Alphabetic, "listing: .* in the order of their creation"),
    (ByLastChange, "listing: .* in the order of their creation"),
    (Unfiltered, "listing: list.. with {'status': 'running'}"),
    (LimitingFirst, "listing: list.. with .*'limit': 2"),
    (Matching, "listing: list.. with {'workflow': 'w'}"),
    (Hoarding, "deleting: .* what a deleted run of this id left is gone"),
    (AlwaysTrue, "deleting: .* whether there was one"),
    (naming(str.lower), "hostile ids: .*'ORDER-1'"),
    (naming(str.strip), "hostile ids: .*'order-1 '"),
    (naming(lambda name: name[:100]), "hostile ids: .*'xxxxx"),
    (CuttingOff, "many runs: the log of 'run-0' has 1000 events, and should have 2003"),
    (OfOneThread, "several threads: a call from another thread failed: .*made in another thread"),
    (Repeating, r"following a log: since\('run', 1\) is "),
    (LosingFolds, r"following a log: since\('run', 3\) is .* what came since is folded into it"),
    (Unmarked, r"marks of attempts: StoredRun.intents is frozenset\(\)"),
    (MarkingTheLast, "marks of attempts: .* each mark stays, whatever is appended after it"),
    (Vague, "is_instant is .*NoneType"),
]


@pytest.mark.parametrize(
    ("store", "message"), BROKEN, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_broken_store_is_caught(store: type[MemoryStore], message: str):
    """What is wrong is named, with the check that found it."""
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        check_store(store, runs=10)


def test_a_store_that_forgets_when_it_is_closed_is_caught():
    """Where a store says that it outlives its object, that is tried."""
    with pytest.raises(AssertionError, match=r"opening it again: list\(\) is \[\]"):
        check_store(MemoryStore, reopen=lambda _: MemoryStore(), runs=1)


def test_a_factory_must_make_an_empty_store_each_time():
    """A store with runs in it is no place to try things, and what is no store is named."""
    shared = MemoryStore()
    with pytest.raises(AssertionError, match=r"a store that holds \['one', 'two'\]"):
        check_store(lambda: shared)
    with pytest.raises(AssertionError, match="makes no stores"):
        check_store(shared)  # type: ignore[arg-type]
    with pytest.raises(
        AssertionError, match="which lacks create, append, load, info, list, delete"
    ):
        check_store(object)  # type: ignore[arg-type]


def test_the_store_is_closed_whatever_was_found():
    """A check that fails leaves no open files behind."""
    closed: list[MemoryStore] = []

    class Closing(Alphabetic):
        def close(self):
            closed.append(self)

    made: list[MemoryStore] = []

    def make() -> MemoryStore:
        made.append(Closing())
        return made[-1]

    with pytest.raises(AssertionError, match="listing"):
        check_store(make)
    assert closed == made


def test_the_report_says_what_was_done():
    """How much was tried, in numbers."""
    report = check_store(MemoryStore, runs=5)

    assert report.store == "MemoryStore"
    assert not report.reopened
    assert "listing" in report.checks
    assert report.runs > 40
    assert report.events > 2_500
    assert str(report).startswith("MemoryStore kept its promises in 20 checks: ")
