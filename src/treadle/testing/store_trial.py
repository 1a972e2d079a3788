"""A trial of a store: every call that a check makes is looked at, and what is wrong says where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from time import sleep
from typing import Any, NoReturn, TypeVar

from treadle.interfaces import Append, RunInfo, Store, StoredRun
from treadle.model.events import Event, InputAccepted, TimerFired

T = TypeVar("T")


def fail(where: str, text: str) -> NoReturn:
    """Say which promise is broken."""
    raise AssertionError(f"{where}: {text}.")


def made(factory: Any) -> Store:
    """A fresh store."""
    hint = "give check_store the class of a store, or a function without parameters that makes an empty one"
    if not callable(factory):
        fail("check_store", f"{factory!r:.80} makes no stores: {hint}")
    store = factory()
    if not isinstance(store, Store):
        names = ("create", "append", "load", "info", "list", "delete", "close", "is_instant")
        missing = ", ".join(each for each in names if not hasattr(store, each))
        fail("check_store", f"{factory!r:.80} gave {store!r:.80}, which lacks {missing}: {hint}")
    return store


class Trial:
    """One store in one check: every call is looked at, and what is wrong says where."""

    def __init__(
        self,
        where: str,
        store: Store,
        tally: Counter[str],
        runs: int = 0,
        pass_time: Callable[[Store, float], None] | None = None,
    ) -> None:
        self.where = where
        self.store = store
        self.tally = tally
        self.runs = runs
        """How many runs the largest check has."""
        self.is_closed = False
        self._pass_time = pass_time

    @property
    def has_clock(self) -> bool:
        """Whether its time can be put forward by much."""
        return self._pass_time is not None

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass for the store."""
        if self._pass_time is None:
            sleep(seconds)
        else:
            self._pass_time(self.store, seconds)

    def fail(self, text: str) -> NoReturn:
        """Say which promise is broken."""
        fail(self.where, text)

    def called(self, what: str, call: Callable[[], T]) -> T:
        """What a call gives that has no reason to fail."""
        try:
            return call()
        except Exception as error:
            raise AssertionError(f"{self.where}: {what} raised {error!r:.300}.") from error

    def expect(self, what: str, got: Any, wanted: Any, hint: str = "") -> None:
        """Compare."""
        if got != wanted or type(got) is not type(wanted):
            self.fail(
                f"{what} is {got!r:.300}, and should be {wanted!r:.300}{hint and f': {hint}'}"
            )

    def expect_raised(self, what: str, kind: type[Exception], call: Callable[[], Any]) -> None:
        """A call must raise an error of a kind."""
        try:
            given = call()
        except kind:
            return
        except Exception as error:
            raise AssertionError(
                f"{self.where}: {what} raised {error!r:.200}, and should raise {kind.__name__}."
            ) from error
        self.fail(f"{what} gave {given!r:.200}, and should raise {kind.__name__}")

    def expect_empty(self) -> None:
        """Nothing may be left of other stores."""
        self.expect("is_instant", type(self.store.is_instant), bool)
        found = self.listed()
        if found:
            self.fail(f"the factory gave a store that holds {ids(found)}: it must be empty")

    def create(self, id: str, workflow: str = "kit", **fields: Any) -> RunInfo:
        """Note a run."""
        info = RunInfo(id=id, workflow=workflow, run_key=f"key of {id}", **fields)
        self.called(f"create({id!r:.60})", lambda: self.store.create(info))
        self.tally["runs"] += 1
        return info

    def batch(self, *appends: Append) -> list[Exception | None]:
        """Append, and give what was wrong with each."""
        self.tally["appends"] += len(appends)
        self.tally["events"] += sum(len(append.events) for append in appends)
        told: Any = self.called(
            f"append() of a batch of {len(appends)} (what concerns one item is returned in its place)",
            lambda: self.store.append(appends),
        )
        is_list = isinstance(told, list) and len(told) == len(appends)
        if not is_list or not all(each is None or isinstance(each, Exception) for each in told):
            self.fail(
                f"append() gave {told!r:.200} for a batch of {len(appends)}: it should give a list with None, or "
                "what was wrong, for each item, in the order of the batch"
            )
        return list(told)

    def add(self, run_id: str, expected: int, *events: Event, **fields: Any) -> None:
        """Append to one run, which has no reason to fail."""
        append = Append(run_id=run_id, expected=expected, events=events, **fields)
        (fault,) = self.batch(append)
        if fault is not None:
            self.fail(f"append() to {run_id!r:.60} at {expected} was refused: {fault!r:.200}")

    def refuse(self, kind: type[Exception], why: str, append: Append) -> None:
        """Append what must be refused, and leave no trace."""
        before = self.info(append.run_id)
        log = None if before is None else self.load(append.run_id).events
        (fault,) = self.batch(append)
        if not isinstance(fault, kind):
            self.fail(
                f"append() {why} was answered with {fault!r:.200}, and should be with {kind.__name__}"
            )
        if before is not None:
            hint = f"an append that is refused ({why}) writes nothing"
            self.expect("info()", self.info(append.run_id), before, hint)
            self.expect_events(append.run_id, log or (), hint)

    def info(self, run_id: str) -> RunInfo | None:
        """A run without its log."""
        return self.called(f"info({run_id!r:.60})", lambda: self.store.info(run_id))

    def expect_deleted(self, run_id: str, *, wanted: bool) -> None:
        """Deleting says whether there was a run."""
        told = self.called(f"delete({run_id!r:.60})", lambda: self.store.delete(run_id))
        self.expect(f"delete({run_id!r:.60})", told, wanted, "whether there was one")

    def load(self, run_id: str) -> StoredRun:
        """A run with its log."""
        stored: Any = self.called(f"load({run_id!r:.60})", lambda: self.store.load(run_id))
        if not isinstance(stored, StoredRun) or not isinstance(stored.events, tuple):
            self.fail(
                f"load() gave {stored!r:.200}: it should give a StoredRun with a tuple of events"
            )
        loaded: StoredRun = stored
        return loaded

    def expect_events(self, run_id: str, wanted: Sequence[Event], hint: str = "") -> None:
        """The log of a run is exactly this."""
        stored = self.load(run_id)
        tail = hint and f": {hint}"
        if len(stored.events) != len(wanted):
            self.fail(
                f"the log of {run_id!r:.60} has {len(stored.events)} events, and should have {len(wanted)}{tail}"
            )
        for place, (got, want) in enumerate(zip(stored.events, wanted, strict=True)):
            if got != want or type(got) is not type(want):
                self.fail(
                    f"event {place} of {run_id!r:.60} is {got!r:.300}, and should be {want!r:.300}{tail}"
                )

    def expect_position(self, run_id: str, position: int, hint: str) -> None:
        """A run is so long, whoever is asked."""
        info = self.info(run_id)
        if info is None:
            self.fail(f"info({run_id!r:.60}) gave None for a run that is there")
        self.expect("info().position", info.position, position, hint)
        self.expect("load().info", self.load(run_id).info, info, "it is the same run")

    def listed(self, **filters: Any) -> list[RunInfo]:
        """Runs."""
        told = "".join(f"{name}={value!r:.40} " for name, value in filters.items()).strip()
        found: Any = self.called(f"list({told})", lambda: self.store.list(**filters))
        if not isinstance(found, list) or not all(isinstance(each, RunInfo) for each in found):
            self.fail(f"list({told}) gave {found!r:.200}: it should give a list of RunInfo")
        return list(found)

    def close(self) -> None:
        """Let the store go, once."""
        if not self.is_closed:
            self.is_closed = True
            self.called("close()", self.store.close)


def ids(infos: Sequence[RunInfo]) -> list[str]:
    """The ids of some runs."""
    return [info.id for info in infos]


def accepted(position: int, value: Any = "value") -> InputAccepted:
    """An event of no story."""
    return InputAccepted(position, (position,), value)


def fired(position: int) -> TimerFired:
    """An event of what a run did by itself."""
    return TimerFired(position, "node", (0,))
