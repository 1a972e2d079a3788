"""`check_store`: does a store keep the promises that a runner builds on?

It stores the logs of real workflows piece by piece and folds what comes back, has writers collide, puts good and bad
appends into one batch, and uses ids that break careless queries and file names.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from msgspec import Struct, structs

from treadle.errors import Conflict, DuplicateRun, UnknownRun
from treadle.interfaces import (
    Append,
    Caches,
    Follows,
    Inbox,
    Leases,
    Loads,
    Quotas,
    Replies,
    Store,
    Transactions,
    Upkeep,
)
from treadle.model.events import Baseline, Event
from treadle.testing import store_claims, store_quotas, store_roles, store_upkeep
from treadle.testing.schedulers import failures_unlogged
from treadle.testing.store_roles import check_entry_damage
from treadle.testing.store_trial import Trial, accepted, ids, made
from treadle.testing.store_upkeep import check_damage
from treadle.testing.stored_logs import Story, every_event, folded_story, long_story
from treadle.value import Workflow

HOSTILE_IDS: Final = (
    "order-1",
    "ORDER-1",
    "order-1 ",
    " order-1",
    "order",
    "order%",
    "order_1",
    "*",
    "'; DROP TABLE run; --",
    '"quoted"',
    "back\\slash",
    "../../outside",
    "/absolute",
    "a/b",
    ".",
    "..",
    "con",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "e\N{COMBINING ACUTE ACCENT}",
    "\N{SNOWMAN}\N{PILE OF POO}",
    "\N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET}",
    "0",
    "00",
    "None",
    "x" * 255,
    "x" * 254 + "y",
    "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 255,
)
"""Different ids, each: what differs only in case, in a space or in the form of an accent is another run, too."""

HOSTILE_TEXT: Final = "it's \"here\"\n\t\\ \N{SNOWMAN} % ' OR 1=1"


class StoreReport(Struct, frozen=True, kw_only=True):
    """What `check_store` did with a store that keeps its promises."""

    store: str
    checks: tuple[str, ...]
    runs: int
    appends: int
    events: int
    reopened: bool
    """Whether it was also checked that what was stored outlives the store's object."""

    def __str__(self) -> str:
        return (
            f"{self.store} kept its promises in {len(self.checks)} checks: {self.runs} runs, {self.appends} "
            f"appends, {self.events} events{', and all of it after opening it again' if self.reopened else ''}."
        )


def check_store(
    factory: Callable[[], Store],
    *,
    reopen: Callable[[Store], Store] | None = None,
    runs: int = 300,
    pass_time: Callable[[Store, float], None] | None = None,
    damage: Callable[[Store, str], None] | None = None,
    damage_entry: Callable[[Store, str], None] | None = None,
) -> StoreReport:
    """Use fresh stores in every way a runner does, and raise `AssertionError` for the first broken promise.

    `factory` makes a store without any run in it, for each check another one. `reopen` is for stores whose logs are
    to outlive the object: it is given a store that was closed, and makes another one on the same data. `runs`: how
    many runs the largest check has.

    A store that also offers `Leases` and `Inbox`, `Replies`, `Follows`, `Upkeep`, `Caches`, `Loads`, `Quotas` or
    `Transactions` is held to what they promise. Its clock is to begin at the present; `pass_time(store, seconds)` puts
    it forward, and without it the kit waits, a second in all. `damage(store, run_id)` is to overwrite a bit of the
    run's newest snapshot, and `damage_entry(store, key)` one of a cached entry. For transactions a table is made, and
    dropped.
    """
    tally = Counter[str]()
    checks = dict(CHECKS)
    probe = made(factory)
    name = type(probe).__name__
    if isinstance(probe, Leases) and isinstance(probe, Inbox):
        checks |= SHARED_CHECKS
        if isinstance(probe, Loads):
            checks["loads"] = store_roles.loads
        if isinstance(probe, Replies):
            checks["replies"] = store_claims.replying
    if isinstance(probe, Follows):
        checks["following a log"] = store_upkeep.following
    if isinstance(probe, Upkeep):
        checks |= UPKEEP_CHECKS
        if damage is not None:
            checks["a damaged snapshot"] = partial(check_damage, damage=damage)
    if isinstance(probe, Quotas):
        checks |= QUOTA_CHECKS
    if isinstance(probe, Caches):
        checks |= CACHE_CHECKS
        if damage_entry is not None:
            checks["a damaged entry"] = partial(check_entry_damage, damage=damage_entry)
    if isinstance(probe, Transactions):
        checks |= TRANSACTION_CHECKS
        if isinstance(probe, Leases):
            checks["a transactional step of a run that was lost"] = store_roles.transactions_fenced
    probe.close()
    with failures_unlogged():
        for where, check in checks.items():
            store = made(factory)
            trial = Trial(where, store, tally, runs, pass_time)
            try:
                trial.expect_empty()
                check(trial)
            finally:
                trial.close()
        if reopen is not None:
            check_reopening(made(factory), reopen, tally)
    return StoreReport(
        store=name,
        checks=(*checks, *(["opening it again"] if reopen else [])),
        runs=tally["runs"],
        appends=tally["appends"],
        events=tally["events"],
        reopened=reopen is not None,
    )


# ------------------------------------------------------------------------------------------ checks


def creating(trial: Trial) -> None:
    """A new run is there, empty, as it was described; no other gets its id."""
    store = trial.store
    if trial.info("one") is not None:
        trial.fail("info() of a run that was never created gave something, and should give None")
    trial.expect_raised("load() of an unknown run", UnknownRun, lambda: store.load("one"))
    info = trial.create(
        "one",
        HOSTILE_TEXT,
        fingerprint="f" * 64,
        status="running",
        created_at=1_700_000_000.123,
        updated_at=1_700_000_001.5,
        note=HOSTILE_TEXT,
    )
    bare = trial.create("two")
    for each in (info, bare):
        trial.expect(f"info({each.id!r})", trial.info(each.id), each, "it is what was created")
        trial.expect(f"load({each.id!r}).info", trial.load(each.id).info, each)
        trial.expect_events(each.id, (), "nothing was appended yet")

    trial.add("one", 0, accepted(0))
    before = trial.info("one")
    again = structs.replace(bare, id="one", workflow="another")
    trial.expect_raised(
        "create() of an id that is taken", DuplicateRun, lambda: store.create(again)
    )
    hint = "creating it again was refused, and changed nothing"
    trial.expect("info('one')", trial.info("one"), before, hint)
    trial.expect_events("one", (accepted(0),), hint)


def appending(trial: Trial) -> None:
    """What comes back after each append is all that was appended, and folds to the workflow that it is of."""
    story = long_story()
    trial.create("run", story.name)
    log: list[Event] = []
    for piece in story.pieces:
        before = trial.load("run")
        trial.add("run", piece.expected, *piece.events)
        trial.expect("a log that was loaded before", list(before.events), log, "it is a snapshot")
        log += piece.events
        trial.expect_events("run", log)
        trial.expect_position("run", piece.position, "each event makes the log one longer")
        expect_folds(trial, "run", story, piece.workflow)
    trial.create("all at once", story.name)
    trial.add("all at once", 0, *log)
    expect_folds(trial, "all at once", story, story.pieces[-1].workflow)


def expect_folds(trial: Trial, run_id: str, story: Story, wanted: Workflow) -> None:
    """A run that comes back is the run that was stored."""
    events = trial.load(run_id).events
    folded = trial.called("folding a loaded log", lambda: Workflow.from_log(story.template, events))
    if folded != wanted:
        trial.fail(
            f"the log of {run_id!r} folds to {folded!r}, which differs from {wanted!r} that it was stored of"
        )


def every_kind(trial: Trial) -> None:
    """Each kind of event comes back as it went in: types, empty fields and all."""
    trial.create("run")
    log = every_event()
    trial.add("run", 0, *log)
    trial.expect_events("run", log)
    trial.expect_position("run", len(log), "each event makes the log one longer")


def statuses(trial: Trial) -> None:
    """What else is known of a run follows its appends, with events or without."""
    info = trial.create("run", created_at=1.0, updated_at=1.0)
    trial.add("run", 0, accepted(0), status="running", at=2.5)
    info = structs.replace(info, status="running", position=1, updated_at=2.5)
    trial.expect("info()", trial.info("run"), info)
    trial.add("run", 1, status="parked", note=HOSTILE_TEXT, at=3.5)
    info = structs.replace(info, status="parked", note=HOSTILE_TEXT, updated_at=3.5)
    hint = "an append without events still tells the status and its note"
    trial.expect("info()", trial.info("run"), info, hint)
    trial.add("run", 1, accepted(1))
    info = structs.replace(info, position=2)
    hint = "an append without status and time leaves both, and the note, as they were"
    trial.expect("info()", trial.info("run"), info, hint)
    trial.add("run", 2, status="idle")
    info = structs.replace(info, status="idle", note=None)
    trial.expect("info()", trial.info("run"), info, "the note was that of another status")
    trial.expect("list()", trial.listed(), [info], "it tells what info() tells")
    trial.expect_events("run", (accepted(0), accepted(1)))


def conflicts(trial: Trial) -> None:
    """Who expects another length than the log has is refused, and can append after loading it."""
    trial.create("run")
    for expected in (1, -1):
        late = Append(
            run_id="run", expected=expected, events=(accepted(1),), status="idle", note="x"
        )
        trial.refuse(Conflict, f"to an empty log, expecting {expected}", late)
    trial.add("run", 0, accepted(0), accepted(1))
    for expected in (0, 1, 3, 2_000_000):
        late = Append(run_id="run", expected=expected, events=(accepted(2),), status="x", at=9.0)
        trial.refuse(Conflict, f"to a log of 2, expecting {expected}", late)
        trial.refuse(Conflict, "without events", structs.replace(late, events=()))
    trial.add("run", 2, accepted(2))
    trial.expect_events("run", [accepted(0), accepted(1), accepted(2)])
    lost = Append(run_id="nobody", expected=0, events=(accepted(0),))
    trial.refuse(UnknownRun, "to a run that was never created", lost)
    if trial.info("nobody") is not None:
        trial.fail("append() to an unknown run made it: only create() does")


def batches(trial: Trial) -> None:
    """In one batch each item is for itself: what is wrong with one keeps no other from being written."""
    trial.expect("append() of nothing", trial.batch(), [])
    for name in ("first", "conflict", "between", "twice", "last"):
        trial.create(name)
    faults = trial.batch(
        Append(run_id="first", expected=0, events=(accepted(0),), status="running"),
        Append(run_id="conflict", expected=5, events=(accepted(5),), status="running"),
        Append(run_id="twice", expected=0, events=(accepted(0), accepted(1))),
        Append(run_id="nobody", expected=0, events=(accepted(0),)),
        Append(run_id="between", expected=0, events=(accepted(0),)),
        Append(run_id="twice", expected=2, events=(accepted(2),)),
        Append(run_id="twice", expected=2, events=(accepted(2, "late"),)),
        Append(run_id="last", expected=0, events=(accepted(0),), status="idle"),
    )
    kinds = [None if fault is None else type(fault).__name__ for fault in faults]
    wanted = [None, "Conflict", None, "UnknownRun", None, None, "Conflict", None]
    trial.expect("what append() says of a batch", kinds, wanted, "item by item, in order")
    hint = "other items of its batch were refused, and this one was not"
    for name in ("first", "between", "last"):
        trial.expect_events(name, [accepted(0)], hint)
    trial.expect_events(
        "twice", [accepted(0), accepted(1), accepted(2)], "its appends came in order"
    )
    trial.expect_events("conflict", (), "its item of the batch was refused")
    busy = [info.id for info in trial.listed() if info.status == "running"]
    trial.expect("the runs whose status was changed", busy, ["first"])


def odd_values(trial: Trial) -> None:
    """A value that cannot be written is refused with its item; a store that takes it gives it back as it was."""
    for name in ("before", "odd", "after"):
        trial.create(name)
    odd = accepted(1, [threading.Lock()])
    faults = trial.batch(
        Append(run_id="before", expected=0, events=(accepted(0),)),
        Append(run_id="odd", expected=0, events=(accepted(0), odd), status="running"),
        Append(run_id="after", expected=0, events=(accepted(0),)),
    )
    hint = "another item of its batch holds a value that cannot be written"
    trial.expect("what append() says of the others", [faults[0], faults[2]], [None, None], hint)
    for name in ("before", "after"):
        trial.expect_events(name, [accepted(0)], hint)
    if faults[1] is None:
        trial.expect_events("odd", [accepted(0), odd], "it was taken, so it must come back")
        return
    trial.expect_events("odd", (), "an append is written wholly or not at all")
    trial.expect_position("odd", 0, "an append is written wholly or not at all")


def baselines(trial: Trial) -> None:
    """A baseline takes the place of all before it, and the log goes on counting where it says."""
    story = folded_story()
    folds = [piece for piece in story.pieces if isinstance(piece.events[0], Baseline)]
    trial.create("run", story.name)
    log: list[Event] = []
    for piece in story.pieces:
        if piece in folds[:1]:
            late = Append(run_id="run", expected=piece.expected - 1, events=piece.events)
            trial.refuse(Conflict, "with a baseline, expecting another length", late)
        trial.add("run", piece.expected, *piece.events)
        log = [*piece.events] if isinstance(piece.events[0], Baseline) else [*log, *piece.events]
        hint = "a baseline takes no position; the event after it stands at the baseline's"
        trial.expect_position("run", piece.position, hint)
        trial.expect_events("run", log, "a baseline takes the place of all before it")
        expect_folds(trial, "run", story, piece.workflow)
    trial.create("anew", story.name)
    last = folds[-1]
    trial.add("anew", 0, *last.events)
    trial.expect_position("anew", last.position, "the first append may begin with a baseline")
    expect_folds(trial, "anew", story, last.workflow)


def listing(trial: Trial) -> None:
    """Runs are listed in the order of their creation, whatever happened to them since."""
    for number, name in enumerate("zmacb"):
        trial.create(name, f"w{number % 2}", created_at=float(number % 3))
    trial.add("b", 0, accepted(0), status="running", at=50.0)
    trial.add("z", 0, status="running", at=60.0)
    rows: list[tuple[dict[str, Any], str]] = [
        ({}, "zmacb"),
        ({"workflow": "w0"}, "zab"),
        ({"workflow": "w1"}, "mc"),
        ({"workflow": "w"}, ""),
        ({"status": "running"}, "zb"),
        ({"status": "idle"}, "mac"),
        ({"status": "gone"}, ""),
        ({"workflow": "w0", "status": "idle"}, "a"),
        ({"limit": 2}, "zm"),
        ({"limit": 99}, "zmacb"),
        ({"workflow": "w0", "limit": 2}, "za"),
        ({"status": "idle", "limit": 1}, "m"),
    ]
    for filters, wanted in rows:
        found = ids(trial.listed(**filters))
        hint = "those that fit, in the order of their creation"
        trial.expect(f"list() with {filters}", found, list(wanted), hint)
    for info in trial.listed():
        trial.expect("what list() tells", info, trial.info(info.id), "info() tells the same")


def deleting(trial: Trial) -> None:
    """A deleted run is gone with its log, and its id is free."""
    store = trial.store
    for name in ("kept", "gone", "last"):
        trial.create(name)
        trial.add(name, 0, accepted(0), accepted(1), status="running")
    trial.expect_deleted("gone", wanted=True)
    trial.expect_deleted("gone", wanted=False)
    trial.expect_deleted("nobody", wanted=False)
    trial.expect("list()", ids(trial.listed()), ["kept", "last"], "one was deleted")
    trial.expect("info() of a deleted run", trial.info("gone"), None)
    trial.expect_raised("load() of a deleted run", UnknownRun, lambda: store.load("gone"))
    late = Append(run_id="gone", expected=2, events=(accepted(2),))
    trial.refuse(UnknownRun, "to a deleted run", late)
    info = trial.create("gone")
    trial.expect("info() of a run created anew", trial.info("gone"), info)
    trial.expect_events("gone", (), "what a deleted run of this id left is gone")
    trial.add("gone", 0, accepted(0, "new"))
    trial.expect_events("gone", [accepted(0, "new")])
    trial.expect("list()", ids(trial.listed()), ["kept", "last", "gone"], "by creation")
    trial.expect_events("kept", [accepted(0), accepted(1)], "another run was deleted")


def hostile_ids(trial: Trial) -> None:
    """Ids are any text that a person can read, and two different ones are two runs."""
    for number, name in enumerate(HOSTILE_IDS):
        trial.create(name)
        trial.add(name, 0, accepted(0, number))
    found = ids(trial.listed())
    missing = sorted({*HOSTILE_IDS} - {*found})
    trial.expect("list()", found, [*HOSTILE_IDS], f"missing are {missing!r:.200}")
    for number, name in enumerate(HOSTILE_IDS):
        trial.expect(f"info({name!r:.60}).id", trial.load(name).info.id, name)
        trial.expect_events(
            name, [accepted(0, number)], "its id is like another's, and not the same"
        )
    for number, name in enumerate(HOSTILE_IDS):
        trial.expect_deleted(name, wanted=True)
        left = ids(trial.listed())
        trial.expect("list()", left, [*HOSTILE_IDS[number + 1 :]], f"only {name!r:.60} was deleted")


def many_runs(trial: Trial) -> None:
    """Many runs in one batch, and one long append: nothing is cut off or mixed up."""
    names = [f"run-{number}" for number in range(trial.runs)]
    for name in names:
        trial.create(name)
    for position in (0, 1):
        events = [(accepted(position, f"{name} {position}"),) for name in names]
        rows = zip(names, events, strict=True)
        faults = trial.batch(
            *(Append(run_id=name, expected=position, events=each) for name, each in rows)
        )
        trial.expect("what append() says of a large batch", faults, [None] * len(names))
    trial.expect("list()", ids(trial.listed()), names)
    for name in names:
        trial.expect_events(name, [accepted(at, f"{name} {at}") for at in (0, 1)])
    long = tuple(accepted(2 + number, number) for number in range(2_000))
    wide = accepted(2 + len(long), "x" * 1_000_000)
    trial.add(names[0], 2, *long, wide)
    first = [accepted(at, f"{names[0]} {at}") for at in (0, 1)]
    trial.expect_events(names[0], [*first, *long, wide], "one append may be long")


def threads(trial: Trial) -> None:
    """Calls come from one thread at a time, and not always from the same."""
    trial.create("run")
    for position in range(3):
        elsewhere(trial, lambda at=position: trial.add("run", at, accepted(at)))  # type: ignore[misc]
        elsewhere(trial, lambda at=position: trial.expect_position("run", at + 1, ""))  # type: ignore[misc]
    elsewhere(trial, lambda: trial.create("another"))
    trial.expect("list()", ids(trial.listed()), ["run", "another"])
    trial.expect_events("run", [accepted(at) for at in range(3)])
    elsewhere(trial, trial.close)


def elsewhere(trial: Trial, call: Callable[[], Any]) -> None:
    """Call in a thread of its own, and wait."""
    faults: list[BaseException] = []

    def guarded() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised where it can be seen
            faults.append(error)

    thread = threading.Thread(target=guarded, name="store kit")
    thread.start()
    thread.join()
    if faults:
        raise AssertionError(
            f"{trial.where}: a call from another thread failed: {faults[0]}"
        ) from faults[0]


def check_reopening(store: Store, reopen: Callable[[Store], Store], tally: Counter[str]) -> None:
    """What was stored is there when the store is opened again."""
    stories = {"long": long_story("long"), "folded": folded_story("folded")}
    trial = Trial("opening it again", store, tally)
    try:
        for run_id, story in stories.items():
            trial.create(run_id, story.name, created_at=5.0)
            for piece in story.pieces:
                trial.add(run_id, piece.expected, *piece.events, status="idle", at=6.0)
        trial.create("gone")
        trial.expect_deleted("gone", wanted=True)
        before = trial.listed()
    finally:
        trial.close()
    trial = Trial(trial.where, trial.called("reopen()", lambda: reopen(store)), tally)
    try:
        hint = "it was stored before the store was closed"
        trial.expect("list()", trial.listed(), before, hint)
        for run_id, story in stories.items():
            expect_folds(trial, run_id, story, story.pieces[-1].workflow)
            trial.add(run_id, story.pieces[-1].position, accepted(0))
    finally:
        trial.close()


CHECKS: Final[dict[str, Callable[[Trial], None]]] = {
    "creating a run": creating,
    "appending piece by piece": appending,
    "every kind of event": every_kind,
    "status, note and time": statuses,
    "two writers": conflicts,
    "a batch with bad items": batches,
    "a value that cannot be written": odd_values,
    "baselines": baselines,
    "listing": listing,
    "deleting": deleting,
    "hostile ids": hostile_ids,
    "many runs": many_runs,
    "several threads": threads,
    "creating with the first append": store_claims.creating_with_events,
    "whatever the length": store_claims.whatever_the_length,
    "marks of attempts": store_claims.marks,
}

SHARED_CHECKS: Final[dict[str, Callable[[Trial], None]]] = {
    "claims": store_claims.claiming,
    "finding what is to be done": store_claims.finding,
    "sharing out": store_claims.sharing_out,
    "fencing": store_claims.fencing,
    "renewing": store_claims.renewing,
    "crashes": store_claims.crashes,
    "terms": store_claims.terms,
    "appends that are sent again": store_claims.sent_again,
    "messages": store_claims.messages,
    "messages in bites": store_claims.messages_in_bites,
    "answering messages": store_claims.answering,
}

QUOTA_CHECKS: Final[dict[str, Callable[[Trial], None]]] = {
    "dividing limits": store_quotas.dividing,
    "keys of limits": store_quotas.keys_apart,
    "leaving limits": store_quotas.leaving,
    "circuit breakers": store_quotas.breaking,
}

UPKEEP_CHECKS: Final[dict[str, Callable[[Trial], None]]] = {
    "snapshots": store_upkeep.snapshots,
    "edits after a snapshot": store_upkeep.editing,
    "compacting": store_upkeep.compacting,
    "sweeping": store_upkeep.sweeping,
}

CACHE_CHECKS: Final[dict[str, Callable[[Trial], None]]] = {
    "cached results": store_roles.caching,
    "trimming the cache": store_roles.trimming,
    "what runs found in the cache": store_roles.looking,
}

TRANSACTION_CHECKS: Final[dict[str, Callable[[Trial], None]]] = {
    "transactional steps": store_roles.transactions,
    "what transactional steps of a run gave": store_roles.transactions_of_runs,
    "a transactional step at once with itself": store_roles.transactions_at_once,
}
