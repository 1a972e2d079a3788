"""Checks for stores that several may use: claims, epochs, and the inbox.

Leases that must not run out are long, and those that must are short: whether time is let pass by a hook or really
passes, nothing depends on how quick the store is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import time
from typing import Any, Final

from msgspec import structs

from treadle.errors import Conflict, DuplicateRun, Fenced, UnknownRun
from treadle.interfaces import Append, Message, Reply, RunInfo, Standing
from treadle.testing.store_trial import Trial, accepted, fired, ids

LONG_S: Final = 600.0
SHORT_S: Final = 0.05


def claim(trial: Trial, owner: str, run_id: str, *, short: bool = False) -> RunInfo:
    """Take a run by its id, which nobody has."""
    found = claimed(trial, owner, SHORT_S if short else LONG_S, run_id=run_id)
    trial.expect(f"the runs of claim(run_id={run_id!r})", ids(found), [run_id], "nobody had it")
    return found[0]


def claimed(trial: Trial, owner: str, ttl_s: float, **options: Any) -> Sequence[RunInfo]:
    """What a claim gives."""
    store: Any = trial.store
    told = ", ".join(f"{name}={value!r:.60}" for name, value in options.items())
    found: Sequence[RunInfo] = trial.called(
        f"claim({owner!r}, {told})", lambda: store.claim(owner, ttl_s, **options)
    )
    for info in found:
        trial.expect("the owner of a claimed run", info.owner, owner)
        trial.expect("a claimed run", trial.info(info.id), info, "info() tells the same")
    return found


def expect_taken(trial: Trial, owner: str, wanted: str, hint: str, **options: Any) -> None:
    """A claim gives just these runs (by one-letter ids), in any order."""
    found = claimed(trial, owner, LONG_S, **options)
    trial.expect("what claim() gives", sorted(ids(found)), sorted(wanted), hint)


def lost(trial: Trial, owner: str, run_id: str) -> RunInfo:
    """Take a run, and be lost with it."""
    info = claim(trial, owner, run_id, short=True)
    trial.pass_time(2 * SHORT_S)
    return info


def claiming(trial: Trial) -> None:
    """One runner has a run; each claim raises its epoch."""
    trial.create("a")
    trial.expect("claim() of an unknown run", [*claimed(trial, "x", LONG_S, run_id="b")], [])
    info = claim(trial, "x", "a")
    trial.expect("the epoch after the first claim", info.epoch, 1, "each claim raises it")
    expect_taken(trial, "y", "", "another runner has it", run_id="a")
    trial.called("release()", lambda: trial.store.release({"a": 1}))  # type: ignore[attr-defined]
    info = trial.load("a").info
    trial.expect("the owner of a released run", info.owner, None)
    again = claim(trial, "y", "a")
    trial.expect("the epoch after the second claim", again.epoch, 2, "each claim raises it")
    trial.called("release()", lambda: trial.store.release({"a": 1}))  # type: ignore[attr-defined]
    expect_taken(trial, "x", "", "it was released under an epoch that is over", run_id="a")


def finding(trial: Trial) -> None:
    """Without an id, a claim finds the runs of these workflows that have something to do now."""
    now = time()
    for name in "abcdefgh":
        trial.create(name, "other" if name == "h" else "kit")
    trial.add("a", 0, accepted(0), status="running")
    trial.add("b", 0, accepted(0), status="idle", wake_at=now - 200)
    trial.add("c", 0, accepted(0), status="idle", wake_at=now - 100)
    trial.add("d", 0, accepted(0), status="idle", wake_at=now + 10_000)
    for name, status in zip("efg", ("stopped", "cancelled", "parked"), strict=True):
        trial.add(name, 0, accepted(0), status=status, wake_at=now - 100)
    trial.add("h", 0, accepted(0), status="running")
    expect_taken(trial, "x", "", "no workflow was named", workflows=[], limit=9)
    expect_taken(trial, "x", "h", "of this workflow", workflows=["other", "none"], limit=9)
    trial.add("a", 1, status="idle")
    first = claimed(trial, "x", LONG_S, workflows=["kit"], limit=1)
    trial.expect("the first to be claimed", ids(first), ["b"], "most overdue first")
    hint = "it is due, and others are not due, have nothing to do, or have ended"
    expect_taken(trial, "x", "c", hint, workflows=["kit"], limit=9)
    expect_taken(trial, "x", "", "there is nothing more", workflows=["kit"], limit=9)
    trial.expect("a run that has ended, by its id", claim(trial, "x", "g").status, "parked")
    trial.add("b", 1, status="idle", epoch=1)
    trial.expect("wake_at", trial.load("b").info.wake_at, None, "a status brings its own")
    trial.called("release()", lambda: trial.store.release({"b": 1, "c": 1}))  # type: ignore[attr-defined]
    expect_taken(trial, "y", "c", "b has nothing to do any more", workflows=["kit"], limit=9)


def sharing_out(trial: Trial) -> None:
    """No run is given to two runners, whoever asks for how many."""
    names = [f"run-{number}" for number in range(20)]
    for name in names:
        trial.create(name)
        trial.add(name, 0, accepted(0), status="running")
    given: list[str] = []
    for owner, limit in (("x", 1), ("y", 7), ("x", 5), ("z", 100), ("x", 100)):
        found = ids(claimed(trial, owner, LONG_S, workflows=["kit"], limit=limit))
        if len(found) > limit:
            trial.fail(f"claim(limit={limit}) gave {len(found)} runs")
        given += found
    trial.expect("what five claims gave together", sorted(given), sorted(names))


def fencing(trial: Trial) -> None:
    """Whoever lost a run writes nothing to it any more."""
    trial.create("a")
    early = Append(run_id="a", expected=0, events=(accepted(0),), epoch=3, status="x")
    trial.refuse(Fenced, "under an epoch that is yet to come", early)
    lost(trial, "x", "a")
    trial.add("a", 0, accepted(0), status="running", epoch=1)  # nobody else has it yet
    lost(trial, "y", "a")
    claim(trial, "z", "a")
    for epoch in (0, 1, 2, 4):
        for expected, events in ((1, (accepted(1),)), (None, ()), (0, (accepted(0),))):
            late = Append(
                run_id="a", expected=expected, events=events, epoch=epoch, status="x", at=9.0
            )
            trial.refuse(Fenced, f"under epoch {epoch} of a run in epoch 3", late)
    trial.add("a", 1, accepted(1), epoch=3)
    trial.expect_events("a", [accepted(0), accepted(1)], "the runner that has it may write")
    trial.create("b")
    faults = trial.batch(
        Append(run_id="a", expected=2, events=(accepted(2),), epoch=2),
        Append(run_id="b", expected=0, events=(accepted(0),)),
        Append(run_id="a", expected=2, events=(accepted(2, "good"),), epoch=3),
    )
    kinds = [None if fault is None else type(fault).__name__ for fault in faults]
    trial.expect("what append() says of a batch", kinds, ["Fenced", None, None])


def renewing(trial: Trial) -> None:
    """A lease that is renewed goes on; the answer says which are still the owner's."""
    store: Any = trial.store
    for name in "abcd":
        trial.create(name)
        trial.add(name, 0, accepted(0), status="running")
        claim(trial, "x", name, short=name != "d")
    kept = trial.called("renew()", lambda: store.renew("x", LONG_S, {"a": 1, "b": 1}))
    trial.expect("what renew() gives", {*kept}, {"a", "b"})
    trial.pass_time(2 * SHORT_S)
    expect_taken(trial, "y", "c", "the others were renewed", workflows=["kit"], limit=9)
    asked = {"a": 1, "b": 2, "c": 1, "d": 1, "nobody": 1}
    kept = trial.called("renew()", lambda: store.renew("x", LONG_S, asked))
    hint = "b was never his in epoch 2, c is another's, and nobody is not there"
    trial.expect("what renew() gives", {*kept}, {"a", "d"}, hint)
    kept = trial.called("renew()", lambda: store.renew("y", LONG_S, {"a": 1}))
    trial.expect("what renew() gives another runner", {*kept}, set())
    trial.called("release()", lambda: store.release({"a": 1}))
    kept = trial.called("renew()", lambda: store.renew("x", LONG_S, {"a": 1, "d": 1}))
    trial.expect("what renew() gives after a release", {*kept}, {"d"})
    trial.expect("renew() of nothing", {*store.renew("x", LONG_S, {})}, set())


def crashes(trial: Trial) -> None:
    """It is counted how often in a row a run's runner was lost with it; getting on, or letting go, begins anew."""
    trial.create("a")
    trial.add("a", 0, accepted(0), status="running")
    for number in range(3):
        info = lost(trial, f"x{number}", "a")
        trial.expect("crashes", info.crashes, number, "so often was its runner lost with it")
    tried = Append(run_id="a", expected=None, epoch=3, trials=2)
    trial.expect("what append() says of trials", trial.batch(tried), [None])
    trial.add("a", 1, accepted(1), status="running", epoch=3)
    info = lost(trial, "x3", "a")
    hint = "an input that is taken is nothing that the run does"
    trial.expect("crashes and trials", (info.crashes, info.trials), (3, 2), hint)
    trial.add("a", 2, fired(2), status="running", epoch=4)
    info = claim(trial, "y", "a", short=True)
    trial.expect("crashes and trials", (info.crashes, info.trials), (1, 0), "it had come further")
    trial.called("release()", lambda: trial.store.release({"a": 5}))  # type: ignore[attr-defined]
    trial.expect("crashes", claim(trial, "z", "a").crashes, 0, "it was let go of in order")


def terms(trial: Trial) -> None:
    """When a run is to be cancelled, and how it is kept, is known to whoever takes it."""
    trial.create("a", deadline_at=7.5, durability="normal")
    info = claim(trial, "x", "a")
    trial.expect("the terms of a run", (info.deadline_at, info.durability), (7.5, "normal"))
    trial.add("a", 0, accepted(0), epoch=1)
    info = trial.load("a").info
    hint = "without a status they stay as they are"
    trial.expect("its terms", (info.deadline_at, info.durability), (7.5, "normal"), hint)
    trial.add("a", 1, accepted(1), epoch=1, status="running", deadline_at=9.0, durability="full")
    info = trial.load("a").info
    hint = "a status brings its own"
    trial.expect("its terms", (info.deadline_at, info.durability), (9.0, "full"), hint)
    trial.add("a", 2, epoch=1, status="running", durability="relaxed")
    info = trial.load("a").info
    trial.expect("its terms", (info.deadline_at, info.durability), (None, "relaxed"), hint)


def creating_with_events(trial: Trial) -> None:
    """An append may bring its run with it, and a batch may go on with it."""
    trial.create("old")
    new = RunInfo(id="new", workflow="kit", run_key="key", fingerprint="f", created_at=1.5)
    faults = trial.batch(
        Append(run_id="new", expected=0, events=(accepted(0),), create=new, status="running"),
        Append(run_id="new", expected=1, events=(accepted(1),)),
        Append(run_id="old", expected=0, create=structs.replace(new, id="old"), status="x"),
        Append(run_id="old", expected=0, events=(accepted(0),)),
    )
    kinds = [None if fault is None else type(fault).__name__ for fault in faults]
    wanted = [None, None, DuplicateRun.__name__, None]
    trial.expect("what append() says of creations", kinds, wanted)
    trial.expect_events("new", [accepted(0), accepted(1)])
    info = trial.load("new").info
    trial.expect("info()", info, structs.replace(new, status="running", position=2))
    trial.expect("the status of the other", trial.load("old").info.status, "idle", "it was refused")
    trial.expect("list()", ids(trial.listed()), ["old", "new"])


def whatever_the_length(trial: Trial) -> None:
    """Without an expected length, what else is known of a run changes; nothing else does."""
    trial.create("run")
    trial.add("run", 0, accepted(0), accepted(1))
    (fault,) = trial.batch(Append(run_id="run", expected=None, status="parked", note="n", at=5.0))
    trial.expect("what append() says", fault, None)
    info = trial.load("run").info
    found = (info.status, info.note, info.position, info.updated_at)
    trial.expect("what is known of the run", found, ("parked", "n", 2, 5.0))
    lost_one = Append(run_id="nobody", expected=None, status="parked")
    trial.refuse(UnknownRun, "to a run that was never created", lost_one)


def marks(trial: Trial) -> None:
    """The marks of attempts that are about to begin are there until the run is gone, so that none begins twice."""
    first, second, third = (f"attempt {number}".encode() for number in (1, 2, 3))
    for name in ("run", "other"):
        trial.create(name)
    trial.add("run", 0, accepted(0), intents=(first, second))
    trial.expect("StoredRun.intents", trial.load("run").intents, frozenset({first, second}))
    trial.add("run", 1, accepted(1), intents=(second, third))
    kept = frozenset({first, second, third})
    hint = "each mark stays, whatever is appended after it"
    trial.expect("StoredRun.intents", trial.load("run").intents, kept, hint)
    late = Append(run_id="run", expected=1, events=(accepted(2),), intents=(b"attempt 4",))
    trial.refuse(Conflict, "to a log of 2, expecting 1", late)
    trial.add("run", 2, status="parked", intents=(first,))
    hint = "an append that is refused writes nothing, and one without events its marks"
    trial.expect("StoredRun.intents", trial.load("run").intents, kept, hint)
    none: frozenset[bytes] = frozenset()
    hint = "the marks are of another run"
    trial.expect("StoredRun.intents", trial.load("other").intents, none, hint)
    trial.expect_deleted("run", wanted=True)
    trial.create("run")
    hint = "what a deleted run of this id left is gone"
    trial.expect("StoredRun.intents", trial.load("run").intents, none, hint)


def sent_again(trial: Trial) -> None:
    """Whoever does not know whether an append counted sends it again: it counts once, and is answered as a success."""
    new = RunInfo(
        id="a", workflow="kit", run_key="key", epoch=1, owner="x", lease_until=time() + LONG_S
    )
    sent = [
        Append(run_id="a", expected=0, create=new, epoch=1),
        Append(run_id="a", expected=0, events=(accepted(0),), epoch=1, status="running"),
        Append(run_id="a", expected=1, events=(accepted(1), accepted(2)), epoch=1),
        Append(run_id="a", expected=None, status="idle", epoch=1),
    ]
    for upto in range(1, len(sent) + 1):
        for _ in range(2):
            faults = trial.batch(*sent[:upto])
            hint = "each was sent before, or is to be written now"
            trial.expect("what append() says", faults, [None] * upto, hint)
    trial.expect_events("a", [accepted(at) for at in range(3)], "each was sent several times")
    whole = structs.replace(new, id="b")
    both = Append(run_id="b", expected=0, create=whole, events=(accepted(0),), epoch=1)
    for _ in range(2):
        trial.expect("what append() says", trial.batch(both), [None])
    trial.expect_events("b", [accepted(0)])
    other = structs.replace(both, create=structs.replace(whole, run_key="k2", owner="y"))
    trial.refuse(DuplicateRun, "creating a run that another runner made", other)
    late = Append(run_id="a", expected=1, events=(accepted(1, "other"),), epoch=1)
    trial.refuse(Conflict, "at a place where something else stands", late)


def letter(run_id: str, id: str, body: bytes = b"{}", **fields: Any) -> Message:
    """A message."""
    return Message(id=id, run_id=run_id, kind=fields.pop("kind", "signal"), body=body, **fields)


def expect_waiting(trial: Trial, owner: str, wanted: Sequence[Message], hint: str = "") -> None:
    """The messages for somebody's runs."""
    store: Any = trial.store
    found = [*trial.called(f"waiting({owner!r})", lambda: store.waiting(owner))]
    trial.expect(f"what waiting({owner!r}) gives", found, [*wanted], hint)


def posted(trial: Trial, message: Message, *, wanted: bool = True) -> Message:
    """Leave a message."""
    store: Any = trial.store
    told = trial.called(f"post({message!r:.80})", lambda: store.post(message))
    trial.expect(f"post({message!r:.80})", told, wanted, "whether it is the first of its id")
    return message


def messages(trial: Trial) -> None:
    """A message reaches the owner of its run, once under each id, in the order in which they were left."""
    store: Any = trial.store
    trial.expect_raised(
        "post() for an unknown run", UnknownRun, lambda: store.post(letter("c", "1"))
    )
    for name in "ab":
        trial.create(name)
    sent = [
        posted(trial, letter("b", "2", b"", at=1.5)),
        posted(trial, letter("a", "1", bytes(range(256)), kind="cancel", at=0.5)),
        posted(trial, letter("a", "2")),
        posted(trial, letter("b", "it's \N{SNOWMAN}")),
    ]
    posted(trial, letter("a", "1", b"other"), wanted=False)
    expect_waiting(trial, "x", [], "nobody has the runs")
    hint = "a message is something to do"
    expect_taken(trial, "x", "ab", hint, workflows=["kit"], limit=9)
    expect_waiting(trial, "x", sent, "oldest first")
    expect_waiting(trial, "y", [], "another has the runs")
    posted(trial, letter("b", "2", b"more"), wanted=False)
    expect_waiting(trial, "x", sent, "they stay until they are answered")
    trial.called("release()", lambda: store.release({"a": 1}))
    claim(trial, "y", "a")
    expect_waiting(trial, "x", [sent[0], sent[3]], "a is another's now")
    trial.expect_deleted("b", wanted=True)
    trial.create("b")
    claim(trial, "x", "b")
    expect_waiting(trial, "x", [], "they were for a run that was deleted")
    posted(trial, letter("b", "2"))


def messages_in_bites(trial: Trial) -> None:
    """With a limit, the oldest of each run are given, and a run with very many does not keep others out."""
    store: Any = trial.store
    for name in "ab":
        trial.create(name)
        claim(trial, "x", name)
    crowd = [posted(trial, letter("a", str(number))) for number in range(20)]
    last = posted(trial, letter("b", "last"))
    for limit in (1, 4, 100):
        name = f"waiting('x', limit={limit})"
        found = [*trial.called(name, partial(store.waiting, "x", limit=limit))]
        theirs = [each for each in found if each != last]
        trial.expect(f"what {name} gives of one run", theirs, crowd[: len(theirs)], "oldest first")
        trial.expect(
            f"whether {name} gives some of each run", [bool(theirs), last in found], [True, True]
        )
        trial.expect(f"whether {name} gives too much", len(found) > limit + 2, wanted=False)


def answering(trial: Trial) -> None:
    """A message leaves the inbox with the append that answers it, and never comes back."""
    for name in "ab":
        trial.create(name)
        claim(trial, "x", name)
    sent = [posted(trial, letter(run, id)) for run in "ab" for id in "12"]
    early = Append(run_id="a", expected=7, events=(accepted(7),), epoch=1, consumed=("1", "2"))
    trial.refuse(Conflict, "expecting another length", early)
    late = Append(run_id="a", expected=0, events=(accepted(0),), epoch=0, consumed=("1", "2"))
    trial.refuse(Fenced, "under an epoch that is over", late)
    expect_waiting(trial, "x", sent, "an append that was refused answers nothing")
    trial.add("a", 0, accepted(0), epoch=1, consumed=("1", "unheard of"))
    expect_waiting(trial, "x", sent[1:], "one was answered")
    posted(trial, letter("a", "1"), wanted=False)
    expect_waiting(trial, "x", sent[1:], "it was answered before")
    (fault,) = trial.batch(Append(run_id="b", expected=None, epoch=1, consumed=("1", "2")))
    trial.expect("what append() says", fault, None)
    expect_waiting(trial, "x", sent[1:2], "an append without events may answer messages, too")
    trial.add("a", 1, accepted(1), status="idle", epoch=1, consumed=("2",))
    trial.called("release()", lambda: trial.store.release({"a": 1, "b": 1}))  # type: ignore[attr-defined]
    expect_taken(trial, "y", "", "answered messages are nothing to do", workflows=["kit"], limit=9)


def expect_standing(trial: Trial, wanted: dict[tuple[str, str], Standing], hint: str = "") -> None:
    """How messages stand; one is asked for that is nowhere, and one of a run that is nowhere."""
    store: Any = trial.store
    asked = [("a", "1"), ("a", "2"), ("a", "nowhere"), ("b", "1"), ("nowhere", "1")]
    found = dict(trial.called("standing()", lambda: store.standing(asked)))
    trial.expect("what standing() gives", found, wanted, hint)


def replying(trial: Trial) -> None:
    """What is told of a message is kept with it, in the transaction that tells it, and only once."""
    store: Any = trial.store
    for name in "ab":
        trial.create(name)
        claim(trial, "x", name)
    for id in "12":
        posted(trial, letter("a", id, kind="input"))
    posted(trial, letter("b", "1"))
    for name in "ab":
        (fault,) = trial.batch(
            Append(run_id=name, expected=None, status="running", note="why", epoch=1)
        )
        trial.expect("what append() says", fault, None)
    new = Standing(status="running", note="why")
    every = {("a", "1"): new, ("a", "2"): new, ("b", "1"): new}
    expect_standing(trial, every, "nothing is told of them yet, and their runs are running")
    first, second = Reply(message="1", input=7), Reply(message="2", body=b"\x00no")
    late = Append(run_id="a", expected=0, events=(accepted(0),), epoch=0, replies=(first,))
    trial.refuse(Fenced, "under an epoch that is over", late)
    expect_standing(trial, every, "an append that was refused tells nothing")
    trial.add("a", 0, accepted(0), epoch=1, consumed=("1",), replies=(first, second))
    every["a", "1"] = Standing(status="running", note="why", is_taken=True, input=7)
    every["a", "2"] = Standing(status="running", note="why", body=b"\x00no")
    expect_standing(trial, every, "b has a message of the same id, of which nothing was told")
    expect_waiting(trial, "x", [letter("a", "2", kind="input"), letter("b", "1")])
    owing = trial.called("load()", lambda: dict(store.load("a").owing))
    trial.expect("StoredRun.owing", owing, {"1": 7}, "an input of which nobody knows what came")
    more = Reply(message="1", input=8, body=bytes(range(256)))
    again = Reply(message="2", body=b"other")
    (fault,) = trial.batch(
        Append(run_id="a", expected=None, epoch=1, consumed=("2",), replies=(more, again))
    )
    trial.expect("what append() says", fault, None)
    body = bytes(range(256))
    known = structs.replace(new, is_taken=True)
    every["a", "1"] = structs.replace(known, input=7, body=body)
    every["a", "2"] = structs.replace(known, body=b"\x00no")
    expect_standing(trial, every, "what was told once stays")
    owing = trial.called("load()", lambda: dict(store.load("a").owing))
    trial.expect("StoredRun.owing", owing, {}, "all was told")
    trial.expect_deleted("a", wanted=True)
    expect_standing(trial, {("b", "1"): every["b", "1"]}, "the other run was deleted")
