"""Checks for stores that offer upkeep: snapshots, compaction, verification and sweeping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from msgspec import structs

from treadle.errors import Conflict, Corrupt, UnknownRun
from treadle.interfaces import Append, Store
from treadle.model.events import Baseline, ComponentAdded, ComponentReplaced, Event
from treadle.testing.store_trial import Trial, accepted
from treadle.testing.stored_logs import every_event, folded_story

LARGE = "large value " * 20_000


@cache
def some_baseline() -> Baseline:
    """A baseline of some workflow."""
    for piece in folded_story().pieces:
        first = piece.events[0]
        if isinstance(first, Baseline):
            return first
    raise AssertionError("the story folds nothing")


def baseline_at(position: int) -> Baseline:
    """What a log comes to at some position; stores do not look into it."""
    return structs.replace(some_baseline(), position=position)


def save(trial: Trial, run_id: str, position: int, *, epoch: int = 0, wanted: bool = True) -> Event:
    """Note a snapshot."""
    store: Any = trial.store
    baseline = baseline_at(position)
    what = f"save_snapshot({run_id!r}, {epoch}) at {position}"
    told = trial.called(what, lambda: store.save_snapshot(run_id, epoch, baseline))
    trial.expect(what, told, wanted, "whether it was taken")
    return baseline


def expect_whole(trial: Trial, run_id: str, wanted: Sequence[Event], hint: str) -> None:
    """All of a log that is still there."""
    store: Any = trial.store
    stored = trial.called(f"load_all({run_id!r})", lambda: store.load_all(run_id))
    trial.expect(f"load_all({run_id!r}).events", [*stored.events], [*wanted], hint)


def expect_findings(trial: Trial, wanted: Sequence[str]) -> None:
    """The runs with which something is wrong."""
    store: Any = trial.store
    for argument in (None, *wanted):
        found = trial.called(f"verify({argument!r})", lambda run_id=argument: store.verify(run_id))  # type: ignore[misc]
        runs = sorted({finding.run_id for finding in found if finding.run_id is not None})
        expected = sorted(wanted) if argument is None else [argument]
        trial.expect(f"the runs that verify({argument!r}) names", runs, expected, repr(found)[:300])


def logged(trial: Trial, run_id: str, length: int) -> list[Event]:
    """A run with so many events, one of them large."""
    trial.create(run_id)
    log: list[Event] = [accepted(at, LARGE if at == 1 else at) for at in range(length)]
    trial.add(run_id, 0, *log, status="idle")
    return log


def snapshots(trial: Trial) -> None:
    """Loading begins at the newest snapshot; a log as a whole, and its length, stay what they are."""
    log = logged(trial, "run", 10)
    save(trial, "nobody", 1, wanted=False)
    save(trial, "run", 11, wanted=False)
    save(trial, "run", 4, epoch=1, wanted=False)
    trial.expect_events("run", log, "no snapshot was taken")
    for position in (4, 6, 10):
        baseline = save(trial, "run", position)
        hint = "it begins at the newest snapshot"
        trial.expect_events("run", [baseline, *log[position:]], hint)
        trial.expect_position("run", 10, "a snapshot does not make a log longer")
        expect_whole(trial, "run", log, "snapshots take nothing away")
    late = Append(run_id="run", expected=4, events=(accepted(4, "late"),))
    trial.refuse(Conflict, "to a log with snapshots, expecting another length", late)
    log.append(accepted(10))
    trial.add("run", 10, log[10])
    trial.expect_events("run", [baseline_at(10), *log[10:]])
    expect_findings(trial, [])


def editing(trial: Trial) -> None:
    """An edit may ask for what a snapshot left out: until there is a newer one, loading gives all of the log."""
    store: Any = trial.store
    log = logged(trial, "run", 6)
    save(trial, "run", 4)
    for edit in every_event():
        if not isinstance(edit, (ComponentAdded, ComponentReplaced)):
            continue
        for event in (structs.replace(edit, position=len(log)), accepted(len(log) + 1)):
            trial.add("run", len(log), event)
            log.append(event)
            hint = f"a {type(edit).__name__} came after the snapshot"
            trial.expect_events("run", log, hint)
        trial.expect("compact()", trial.called("compact()", lambda: store.compact("run")), 0)
        expect_whole(trial, "run", log, "nothing may be let go of that an edit asks for")
        baseline = save(trial, "run", len(log))
        trial.expect_events("run", [baseline], "this snapshot is newer than the edit")
    expect_findings(trial, [])


def compacting(trial: Trial) -> None:
    """Compacting lets go of what is before the newest snapshot, and nothing else changes."""
    store: Any = trial.store
    log = logged(trial, "run", 1_200)
    trial.expect("compact()", trial.called("compact()", lambda: store.compact("run")), 0)
    trial.expect_events("run", log, "there is no snapshot to begin with")
    base = 0
    for position in (5, 1_150):
        baseline = save(trial, "run", position)
        gone = trial.called("compact()", lambda: store.compact("run"))
        trial.expect("compact()", gone, position - base, "how many events were let go of")
        trial.expect("compact() once more", store.compact("run"), 0)
        kept = [baseline, *log[position:]]
        trial.expect_events("run", kept, "it was compacted")
        expect_whole(trial, "run", kept, "this is what is still there")
        trial.expect_position("run", len(log), "a log keeps its length")
        base = position
    log.append(accepted(1_200))
    trial.add("run", 1_200, log[-1])
    trial.expect_events("run", [baseline_at(base), *log[base:]])
    save(trial, "run", 1_201)
    expect_whole(trial, "run", [baseline_at(base), *log[base:]], "it was not compacted since")
    fold = baseline_at(2_000)
    trial.add("run", 1_201, fold, accepted(2_000))
    trial.expect_events("run", [fold, accepted(2_000)], "a baseline takes the place of all")
    expect_findings(trial, [])


def following(trial: Trial) -> None:
    """Whoever knows a log up to a position is given what comes after it, and all of it where that is not enough."""
    store: Any = trial.store

    def expect(position: int, wanted: Sequence[Event], hint: str = "") -> None:
        what = f"since('run', {position})"
        found = trial.called(what, lambda: store.since("run", position))
        trial.expect(what, [*found], [*wanted], hint)

    unknown = "since() of an unknown run"
    trial.expect_raised(unknown, UnknownRun, lambda: store.since("run", 0))
    trial.create("run")
    expect(0, [])
    log = [accepted(at, at) for at in range(6)]
    trial.add("run", 0, *log)
    for position in (0, 1, 5, 6, 900):
        expect(position, log[position:])
    trial.add("run", 6, accepted(6))
    expect(6, [accepted(6)], "one came since")
    fold = baseline_at(7)
    trial.add("run", 7, fold)
    expect(7, [], "a baseline takes no position, and all before it is known")
    expect(3, [fold], "what came since is folded into it")
    trial.add("run", 7, accepted(7), accepted(8))
    expect(7, [accepted(7), accepted(8)])
    expect(8, [accepted(8)])
    expect(3, [fold, accepted(7), accepted(8)], "what came since is folded, but for these")


def sweeping(trial: Trial) -> None:
    """Sweeping takes no value that a run still refers to."""
    store: Any = trial.store
    logs = {name: logged(trial, name, 3) for name in ("kept", "gone")}
    trial.expect_deleted("gone", wanted=True)
    trial.pass_time(0.1)
    for _ in range(2):
        trial.called("sweep()", lambda: store.sweep(unused_for_s=0.0))
        trial.expect_events("kept", logs["kept"], "another run with the same value was deleted")
    trial.expect_deleted("kept", wanted=True)
    trial.called("sweep()", lambda: store.sweep(unused_for_s=1_000.0))
    logged(trial, "back", 3)
    trial.called("sweep()", lambda: store.sweep(unused_for_s=0.0))
    trial.expect_events("back", logs["kept"], "its value was stored anew")
    expect_findings(trial, [])


def check_damage(trial: Trial, damage: Callable[[Store, str], None]) -> None:
    """A damaged snapshot is passed over, and said so; what would be lost with it is not let go of."""
    store: Any = trial.store
    log = logged(trial, "run", 9)
    logged(trial, "other", 3)
    older = save(trial, "run", 3)
    save(trial, "run", 7)
    trial.called("damage()", lambda: damage(store, "run"))
    trial.expect_events("run", [older, *log[3:]], "the newest snapshot is damaged")
    expect_whole(trial, "run", log, "only a snapshot is damaged")
    expect_findings(trial, ["run"])
    trial.expect_raised("compact() to a damaged snapshot", Corrupt, lambda: store.compact("run"))
    trial.expect_events("run", [older, *log[3:]], "nothing was let go of")
    trial.add("run", 9, accepted(9))
    save(trial, "run", 10)
    trial.expect_events("run", [baseline_at(10)], "a new snapshot is good again")
