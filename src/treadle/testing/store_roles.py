"""Checks for what a store may offer besides logs: cached results, transactions for steps, and loads."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from treadle.errors import Corrupt, Fenced, UnknownRun
from treadle.interfaces import Store, Trimmed
from treadle.testing.store_claims import LONG_S, SHORT_S, claim, lost
from treadle.testing.store_trial import Trial, accepted

KEYS: Final = ("key", "KEY", "key ", "", "newest it's", "%", "k" * 500, "\N{SNOWMAN}")
"""Different keys, each."""

BODIES: Final = (b"one", b"", bytes(range(256)), b"large " * 50_000)


# ------------------------------------------------------------------------------------------- cache


def put(trial: Trial, entries: Mapping[str, bytes]) -> None:
    """Keep some entries."""
    store: Any = trial.store
    trial.called("put_cached()", lambda: store.put_cached(entries))


def expect_cached(trial: Trial, key: str, wanted: bytes | None, hint: str = "") -> None:
    """What is kept under a key."""
    store: Any = trial.store
    found = trial.called(f"cached({key!r:.40})", lambda: store.cached(key))
    trial.expect(f"cached({key!r:.40})", found, wanted, hint)


def caching(trial: Trial) -> None:
    """What is kept under a key comes back as it was, until something else is kept there."""
    for key in KEYS:
        expect_cached(trial, key, None, "nothing was kept yet")
    put(trial, {})
    for number, body in enumerate(BODIES):
        put(trial, {key: body + key.encode() for key in KEYS[number:]})
        for place, key in enumerate(KEYS):
            kept = BODIES[min(place, number)] + key.encode()
            expect_cached(trial, key, kept, "it was the last that was kept there")
    trial.create("run")
    trial.add("run", 0, accepted(0))
    trial.expect_deleted("run", wanted=True)
    expect_cached(trial, KEYS[0], BODIES[0] + KEYS[0].encode(), "runs come and go")


def trim(trial: Trial, wanted: Trimmed, hint: str, **limits: Any) -> None:
    """Let go of entries."""
    store: Any = trial.store
    told = ", ".join(f"{name}={value!r}" for name, value in limits.items())
    found = trial.called(f"trim_cache({told})", lambda: store.trim_cache(**limits))
    trial.expect(f"trim_cache({told})", found, wanted, hint)


def trimming(trial: Trial) -> None:
    """The longest unused goes first, and what is said to be gone is."""
    body = b"x" * 99
    trim(trial, Trimmed(), "there is nothing")
    for key in "ab":
        put(trial, {key: body})
        trial.pass_time(SHORT_S)
    both = Trimmed(entries_left=2, bytes_left=200)
    trim(trial, both, "no limit was given")
    trim(trial, both, "they were used just now", unused_for_s=LONG_S)
    trim(trial, both, "it is not more than that", most_bytes=200, unused_for_s=LONG_S)
    one = Trimmed(entries=1, bytes=100, entries_left=1, bytes_left=100)
    trim(trial, one, "it is too much by one byte", most_bytes=199)
    expect_cached(trial, "a", None, "it was the longest unused")
    expect_cached(trial, "b", body, "it was used after the other")
    put(trial, {"c": body})
    trial.pass_time(SHORT_S)
    put(trial, {"b": body})
    trim(trial, one, "one of two is too much", most_bytes=100)
    expect_cached(trial, "b", body, "it was kept anew after the other")
    trial.pass_time(SHORT_S)
    rest = Trimmed(entries=1, bytes=100)
    trim(trial, rest, "it was not used any more since", unused_for_s=0.0)
    if trial.has_clock:
        put(trial, {"asked for": body, "forgotten": body})
        trial.pass_time(2 * LONG_S)
        expect_cached(trial, "asked for", body)
        trial.called("trim_cache()", lambda: trial.store.trim_cache(unused_for_s=LONG_S))  # type: ignore[attr-defined]
        expect_cached(trial, "asked for", body, "asking for it is using it")
        expect_cached(trial, "forgotten", None, "nobody asked for it")


def looking(trial: Trial) -> None:
    """What a run found in the cache stays with the run, and goes with it."""
    store: Any = trial.store
    for name in ("run", "other"):
        trial.create(name)
    before = trial.info("run")
    found = {"a step": b"one", "b": b""}

    def expect(run_id: str, wanted: Mapping[str, bytes], hint: str) -> None:
        told = trial.called(f"looks({run_id!r})", lambda: store.looks(run_id))
        trial.expect(f"looks({run_id!r})", dict(told), dict(wanted), hint)

    expect("run", {}, "nothing was noted yet")
    trial.called("put_looks()", lambda: store.put_looks("run", found))
    trial.called("put_looks()", lambda: store.put_looks("run", {"b": b"two", "c": b"\x00"}))
    wanted = {"a step": b"one", "b": b"two", "c": b"\x00"}
    expect("run", wanted, "of each component, what was noted last")
    expect("other", {}, "it is another run's")
    trial.expect("info('run')", trial.info("run"), before, "it is no change of the run")
    trial.called("put_looks() of no run", lambda: store.put_looks("nobody", found))
    expect("nobody", {}, "there is no such run")
    trial.called("trim_cache()", lambda: store.trim_cache(most_bytes=0))
    expect("run", wanted, "that belongs to the run, and not to the cache")
    trial.expect_deleted("run", wanted=True)
    trial.create("run")
    expect("run", {}, "it was another run of this id")


def check_entry_damage(trial: Trial, damage: Callable[[Store, str], None]) -> None:
    """A damaged entry is no entry, and is told; the next that is kept there is a good one."""
    store: Any = trial.store
    put(trial, {"key": b"x" * 50, "other": b"other"})
    trial.called("damage_entry()", lambda: damage(store, "key"))
    trial.expect_raised("cached() of a damaged entry", Corrupt, lambda: store.cached("key"))
    expect_cached(trial, "other", b"other", "another one is damaged")
    put(trial, {"key": b"new"})
    expect_cached(trial, "key", b"new", "it was kept anew")


# ------------------------------------------------------------------------------------ transactions


class Stopped(Exception):
    """A step that fails, and was to."""


def step(
    trial: Trial,
    key: str,
    do: Callable[[Any], None],
    run_key: str = "key of run",
    fence: tuple[str, int] | None = None,
) -> None:
    """Do something in a transaction."""
    store: Any = trial.store
    with store.transaction(key, run_key, fence) as open_one:
        do(open_one)


def transactions(trial: Trial) -> None:
    """What a step writes and what it gave are committed together, or not at all."""
    table = f"treadle_kit_{uuid.uuid4().hex}"

    def expect_found(wanted: Any, rows: int, hint: str) -> Callable[[Any], None]:
        def look(opened: Any) -> None:
            found = opened.result if opened.has_result else None
            trial.expect("what an earlier execution gave", found, wanted, hint)
            count = opened.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - our own name
            trial.expect("how much was written", count, rows, hint)

        return look

    def write(opened: Any) -> None:
        if opened.has_result:
            trial.fail(f"a step that was never executed has a result: {opened.result!r:.80}")
        opened.execute(f"INSERT INTO {table} VALUES (1)")  # noqa: S608 - our own name
        opened.keep({"paid": (1, None)})

    def fail_late(opened: Any) -> None:
        write(opened)
        raise Stopped

    def make(opened: Any) -> None:
        opened.execute(f"CREATE TABLE {table}(x INTEGER)")

    trial.called("transaction()", lambda: step(trial, "make", make))
    try:
        trial.called("transaction()", lambda: step(trial, "one", write))
        step(trial, "one", expect_found({"paid": (1, None)}, 1, "it was committed"))
        trial.expect_raised("a step that fails", Stopped, lambda: step(trial, "two", fail_late))
        step(trial, "two", expect_found(None, 1, "it failed, and leaves nothing"))
        trial.called("transaction()", lambda: step(trial, "two", write))
        step(trial, "two", expect_found({"paid": (1, None)}, 2, "it was tried again"))
    finally:
        step(trial, "drop", lambda opened: opened.execute(f"DROP TABLE {table}"))


def transactions_of_runs(trial: Trial) -> None:
    """What the steps of a run gave is forgotten with it, and nothing else is."""

    def keep(opened: Any) -> None:
        opened.keep(1)

    def expect(name: str, *, wanted: bool, hint: str) -> None:
        def look(opened: Any) -> None:
            trial.expect(f"has_result of a step of {name!r}", opened.has_result, wanted, hint)

        step(trial, f"step of {name}", look, f"key of {name}")

    for name in ("gone", "kept"):
        info = trial.create(name)
        step(trial, f"step of {name}", keep, info.run_key)
    trial.expect_deleted("gone", wanted=True)
    expect("gone", wanted=False, hint="its run was deleted")
    expect("kept", wanted=True, hint="another run was deleted")


def transactions_fenced(trial: Trial) -> None:
    """A step under a claim that is not the run's newest any more commits nothing."""
    trial.create("run")
    trial.add("run", 0, accepted(0), status="running")
    epochs = [lost(trial, owner, "run").epoch for owner in "xy"]

    def pay(epoch: int, run_id: str = "run") -> None:
        step(trial, f"under {epoch}", lambda opened: opened.keep(1), fence=(run_id, epoch))

    trial.called("transaction() under the newest claim", lambda: pay(epochs[1]))
    trial.expect_raised("transaction() under an older claim", Fenced, lambda: pay(epochs[0]))
    trial.expect_raised("transaction() for no run", UnknownRun, lambda: pay(9, "nobody"))

    def look(opened: Any) -> None:
        trial.expect("has_result of a step that was fenced", opened.has_result, wanted=False)

    step(trial, f"under {epochs[0]}", look)


def transactions_at_once(trial: Trial) -> None:
    """A second execution of a step finds what the first gave, also if it begins before that is through."""
    entered, seen = threading.Event(), list[bool]()

    def second(opened: Any) -> None:
        seen.append(opened.has_result)
        entered.set()

    thread = threading.Thread(target=lambda: step(trial, "one", second), name="store kit")

    def first(opened: Any) -> None:
        thread.start()
        entered.wait(SHORT_S)  # it must not come in; whoever lets it is found out
        opened.keep(1)

    trial.called("transaction()", lambda: step(trial, "one", first))
    thread.join()
    hint = "the first had not come to its end when this one began"
    trial.expect("has_result of a second execution", seen, [True], hint)


# ------------------------------------------------------------------------------------------- loads


def loads(trial: Trial) -> None:
    """It is told how many running runs each owner has, of those whose leases have not run out."""
    store: Any = trial.store

    def expect(wanted: Mapping[str, int], hint: str, *workflows: str) -> None:
        told = trial.called(f"loads({workflows!r})", lambda: store.loads(workflows))
        trial.expect(f"loads({workflows!r})", dict(told), dict(wanted), hint)

    expect({}, "nobody has anything", "kit", "other")
    for name in "abcde":
        trial.create(name, "other" if name == "d" else "kit")
    for name in "abe":
        trial.add(name, 0, accepted(0), status="running")
    for owner, name in ("xa", "xb", "xc", "zd"):
        claim(trial, owner, name)
    expect({"x": 2}, "two run, one is idle, and one is nobody's", "kit")
    expect({"z": 0}, "what it has is idle", "other")
    expect({"x": 2, "z": 0}, "of both workflows", "kit", "other", "none")
    expect({}, "no workflow was named")
    trial.add("a", 1, status="idle", epoch=1)
    expect({"x": 1}, "one came to rest", "kit")
    claim(trial, "y", "e", short=True)
    trial.pass_time(2 * SHORT_S)
    expect({"x": 1}, "a lease that has run out does not count", "kit")
    trial.called("release()", lambda: store.release({"a": 1, "b": 1}))
    expect({"x": 0}, "it let go of what runs", "kit")
    trial.called("release()", lambda: store.release({"c": 1}))
    expect({}, "it has nothing any more", "kit")
