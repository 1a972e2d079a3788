"""A SQLite store against a small model of one: any operations, in any order."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.durability.places import quick_place
from tests.stores.sqlite.places import accepted, clocked, pass_time
from treadle.errors import Conflict, DuplicateRun, Fenced, UnknownRun
from treadle.interfaces import Append, Message, RunInfo
from treadle.model.events import TimerFired
from treadle.testing.store_upkeep import baseline_at

IDS = st.sampled_from("abc")
OWNERS = st.sampled_from("xy")
NUMBERS = st.sampled_from("123")
LEASE_S = 10.0
ENDED = {"stopped", "cancelled", "parked"}


@dataclass
class Modelled:
    """One run: `events` are all that are still there, from `base` on."""

    number: int
    head: int = 0
    base: int = 0
    fold: object = None
    events: list = field(default_factory=list)
    snapshots: dict = field(default_factory=dict)
    status: str = "idle"
    epoch: int = 0
    owner: str | None = None
    until: float = 0.0
    crashes: int = 0
    trials: int = 0
    wake_at: float | None = None
    messages: dict = field(default_factory=dict)
    """By id: the order in which it came, or None where it was answered."""


class Comparison(RuleBasedStateMachine):
    """Both do the same, and both say the same."""

    @initialize()
    def begin(self):
        self.folder = quick_place()
        self.path = Path(self.folder.name, "runs.db")
        self.store = clocked(self.path)
        self.clock = self.store._sharing._clock
        self.runs: dict[str, Modelled] = {}
        self.count = 0

    def teardown(self):
        if hasattr(self, "store"):
            assert self.store.verify() == []
            self.store.close()
            self.folder.cleanup()

    def number(self):
        self.count += 1
        return self.count

    def written(self, append):
        (fault,) = self.store.append([append])
        return None if fault is None else type(fault)

    @rule(id=IDS)
    def create(self, id):
        """A new run, or one that is there already."""
        info = RunInfo(id=id, workflow="w", run_key=f"{id} {self.number()}")
        told = self.written(Append(run_id=id, expected=0, create=info))
        assert told == (DuplicateRun if id in self.runs else None)
        self.runs.setdefault(id, Modelled(self.count))

    @rule(
        id=IDS,
        off=st.sampled_from([0, 0, 0, 0, 1, -1]),
        stale=st.sampled_from([0, 0, 0, 0, 1, -1]),
        count=st.integers(0, 3),
        status=st.sampled_from([None, "running", "running", "idle", "parked"]),
        wake_in=st.sampled_from([None, -5.0, 5.0]),
        consumed=st.sets(NUMBERS),
        twice=st.booleans(),
        further=st.booleans(),
        trials=st.sampled_from([None, None, None, 0, 2]),
    )
    def append(self, id, *, off, stale, count, status, wake_in, consumed, twice, further, trials):
        """At the right place or not, under the right epoch or not; now and then sent twice."""
        run = self.runs.get(id, Modelled(0))
        expected = run.head + off
        events: tuple[Any, ...] = tuple(
            accepted(expected + more, f"{id} {self.number()}" * (1 if more else 500))
            for more in range(count)
        )
        if events and further:
            last = TimerFired(events[-1].position, f"node {self.number()}", (0,))
            events = (*events[:-1], last)
        append = Append(
            run_id=id,
            expected=expected,
            events=events,
            status=status,
            epoch=run.epoch + stale,
            wake_at=None if wake_in is None else self.clock() + wake_in,
            consumed=tuple(consumed),
            trials=trials,
        )
        told = self.written(append)
        if id not in self.runs:
            assert told is UnknownRun
        elif stale:
            assert told is Fenced
        elif off:
            assert told is Conflict
        else:
            assert told is None
            run.events += events
            run.head += count
            if events and further:
                run.crashes = run.trials = 0
            run.trials = run.trials if trials is None else trials
            if status is not None:
                run.status, run.wake_at = status, append.wake_at
            for each in consumed & {*run.messages}:
                run.messages[each] = None
            if twice:
                assert self.written(append) is None

    @rule(id=IDS, skip=st.integers(0, 3), more=st.integers(0, 2))
    def fold(self, id, skip, more):
        """A baseline takes the place of all there was."""
        run = self.runs.get(id)
        if run is None:
            return
        start = run.head + skip
        events = tuple(accepted(start + each, self.number()) for each in range(more))
        baseline = baseline_at(start)
        append = Append(run_id=id, expected=run.head, events=(baseline, *events), epoch=run.epoch)
        assert self.written(append) is None
        assert self.written(append) is None or not skip
        run.base, run.head, run.fold = start, start + more, baseline
        run.events, run.snapshots, run.crashes, run.trials = [*events], {}, 0, 0

    @rule(id=IDS)
    def delete(self, id):
        """Whether it was there."""
        assert self.store.delete(id) == (self.runs.pop(id, None) is not None)

    @rule(id=IDS, owner=OWNERS)
    def claim_one(self, id, owner):
        """By its id."""
        found = self.store.claim(owner, LEASE_S, run_id=id)
        run = self.runs.get(id)
        is_free = run is not None and self.is_free(run, owner, is_asked_for=True)
        assert [info.id for info in found] == ([id] if is_free else [])
        if run is not None and is_free:
            self.taken(run, owner)

    @rule(owner=OWNERS, limit=st.integers(1, 3))
    def claim_some(self, owner, limit):
        """Those that have something to do."""
        now = self.clock()
        found = self.store.claim(owner, LEASE_S, workflows=["w"], limit=limit)
        could = [
            (run.wake_at or 0.0, run.number, id)
            for id, run in self.runs.items()
            if self.is_free(run, owner, is_asked_for=False)
            and run.status not in ENDED
            and (
                run.status == "running"
                or (run.wake_at is not None and run.wake_at <= now)
                or any(each is not None for each in run.messages.values())
            )
        ]
        wanted = {id for _, _, id in sorted(could)[:limit]}
        assert {info.id for info in found} == wanted
        for id in wanted:
            self.taken(self.runs[id], owner)

    def is_free(self, run, owner, *, is_asked_for):
        if run.owner is None:
            return True
        return run.until <= self.clock() if run.owner != owner else is_asked_for

    def taken(self, run, owner):
        run.crashes += run.owner not in {None, owner} and run.status == "running"
        run.epoch += 1
        run.owner, run.until = owner, self.clock() + LEASE_S

    @rule(owner=OWNERS, stale=st.booleans())
    def renew(self, owner, stale):
        """All of them, or under an epoch that is over."""
        asked = {id: run.epoch - stale for id, run in self.runs.items()}
        wanted = {id for id, run in self.runs.items() if run.owner == owner and not stale}
        assert self.store.renew(owner, LEASE_S, asked) == wanted
        for id in wanted:
            self.runs[id].until = self.clock() + LEASE_S

    @rule(id=IDS, stale=st.booleans())
    def release(self, id, stale):
        """Under the right epoch, or not."""
        run = self.runs.get(id)
        self.store.release({id: 0 if run is None else run.epoch - stale})
        if run is not None and not stale:
            run.owner, run.crashes, run.trials = None, 0, 0

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0, -3.0]))
    def wait(self, seconds):
        """Time passes, and now and then goes back."""
        pass_time(self.store, seconds)

    @rule(id=IDS, message=NUMBERS)
    def post(self, id, message):
        """A message, the first of its id or not."""
        sent = Message(id=message, run_id=id, kind="signal", body=message.encode())
        run = self.runs.get(id)
        if run is None:
            with pytest.raises(UnknownRun):
                self.store.post(sent)
            return
        assert self.store.post(sent) == (message not in run.messages)
        run.messages.setdefault(message, self.number())

    @rule(id=IDS, back=st.integers(0, 4), stale=st.booleans())
    def save_snapshot(self, id, back, stale):
        """Somewhere near the end."""
        run = self.runs.get(id, Modelled(0))
        position = run.head - back
        told = self.store.save_snapshot(id, run.epoch + stale, baseline_at(position))
        assert told == (id in self.runs and not stale and run.base < position)
        if told:
            run.snapshots[position] = baseline_at(position)

    @rule(id=IDS)
    def compact(self, id):
        """To the newest snapshot."""
        run = self.runs.get(id, Modelled(0))
        newest = max(run.snapshots, default=run.base)
        assert self.store.compact(id) == newest - run.base
        if newest > run.base:
            run.events = run.events[newest - run.base :]
            run.base, run.fold, run.snapshots = newest, run.snapshots[newest], {}

    @rule()
    def sweep(self):
        """What is in use stays."""
        self.store.sweep(unused_for_s=-100.0)

    @rule(how=st.sampled_from(["close", "reopen", "tidy"]))
    def come_back(self, how):
        """The store is closed, or its connections are."""
        if how == "close":
            self.store.close()
            self.store = clocked(self.path)
            self.store._sharing._clock.at = self.clock.at
            self.clock = self.store._sharing._clock
            self.store.claim("nobody", LEASE_S, run_id="nobody")  # it takes the file over
            for run in self.runs.values():
                run.until = 0.0
        elif how == "reopen":
            self.store._connections.reopen()
        else:
            self.store.tidy_up()

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def all_is_the_same(self):
        """What can be seen is what the model says."""
        listed = self.store.list()
        assert [info.id for info in listed] == sorted(
            self.runs, key=lambda id: self.runs[id].number
        )
        for info in listed:
            run = self.runs[info.id]
            found = (info.position, info.status, info.epoch, info.owner, info.crashes, info.wake_at)
            wanted = (run.head, run.status, run.epoch, run.owner, run.crashes, run.wake_at)
            assert (*found, info.trials) == (*wanted, run.trials)
            first = [] if run.fold is None else [run.fold]
            assert [*self.store.load_all(info.id).events] == first + run.events
            newest = max(run.snapshots, default=run.base)
            first = [run.snapshots[newest]] if run.snapshots else first
            rest = run.events[newest - run.base :]
            assert [*self.store.load(info.id).events] == first + rest
        for owner in "xy":
            waiting = [
                (order, id, message)
                for id, run in self.runs.items()
                if run.owner == owner
                for message, order in run.messages.items()
                if order is not None
            ]
            found_ids = [(each.run_id, each.id) for each in self.store.waiting(owner)]
            assert found_ids == [(id, message) for _, id, message in sorted(waiting)]


@pytest.mark.slow
def test_the_store_does_what_the_model_says():
    """Runs of many operations, chosen anew each time."""
    run_state_machine_as_test(
        Comparison,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
