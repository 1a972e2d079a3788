"""Checks for stores that divide limits, rates and circuit breakers between runners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.model.quotas import BreakerNews, BreakerState, Quota, QuotaWish, Share, ShareWish
from treadle.testing.store_trial import Trial

LONG_S = 600.0


def wish(key: str = "k", kind: str = "limit", keep: int = 0, need: int = 0) -> ShareWish:
    """A wish for part of a limit of three, or of a rate of three in an hour."""
    per_s = 3_600.0 if kind == "rate" else 0.0
    return ShareWish(kind=kind, key=key, count=3, per_s=per_s, keep=keep, need=need)


def asked(trial: Trial, owner: str, *wishes: QuotaWish) -> Sequence[Quota]:
    """What an owner is answered, one for each wish."""
    store: Any = trial.store
    answers = trial.called("ration()", lambda: store.ration(owner, LONG_S, wishes))
    if answers is None:
        trial.fail(
            f"ration() says that the time of {owner!r} is over, and it was heard of just now"
        )
    keys = [answer.key for answer in answers]
    trial.expect("the keys that ration() answers for", keys, [each.key for each in wishes])
    return list(answers)


def share(trial: Trial, owner: str, wanted: ShareWish) -> Share:
    """What an owner has of a limit."""
    (answer,) = asked(trial, owner, wanted)
    if not isinstance(answer, Share):
        trial.fail(f"ration() answers a wish for a share by {answer!r}")
    if answer.room > answer.held or answer.held < wanted.keep:
        trial.fail(f"ration() gives {answer!r} to who keeps {wanted.keep}")
    return answer


def dividing(trial: Trial) -> None:
    """All shares of a limit together are no more than it allows; what is kept is kept, and what is free is given."""
    for kind in ("limit", "rate"):
        trial.expect("alone, room", share(trial, "x", wish(kind=kind, need=9)).room, 3)
        trial.expect("with all in use", share(trial, "y", wish(kind=kind, need=2)).held, 0)
        hint = "it says that it may use all of them"
        trial.expect("held", share(trial, "x", wish(kind=kind, keep=3, need=3)).held, 3, hint)
        room = share(trial, "x", wish(kind=kind, keep=3, need=3)).room
        if room >= 3:
            trial.fail(f"{room} of 3 are left to one runner although another is short of its part")
        trial.expect("what is free", share(trial, "x", wish(kind=kind, keep=1, need=1)).held, 1)
        trial.expect("what the other has", share(trial, "y", wish(kind=kind, need=2)).room, 2)


def keys_apart(trial: Trial) -> None:
    """Keys have nothing to do with one another, nor have limits and rates of one key; any text is a key."""
    keys = ("a", "A", "", "a b", "'; DROP TABLE run; --", "\x00", "\N{SNOWMAN}" * 100)
    for number, key in enumerate(
        keys
    ):  # each is another's, who would find it taken if two were one
        for kind in ("limit", "rate"):
            room = share(trial, f"{kind} {number}", wish(key, kind, need=3)).room
            trial.expect(f"room of the {kind} {key!r:.40}", room, 3)
    many = [wish(f"many {number}", need=1) for number in range(200)]
    rooms = [getattr(each, "room", None) for each in asked(trial, "x", *many)]
    trial.expect("the rooms of 200 keys", rooms, [1] * 200)


def leaving(trial: Trial) -> None:
    """What was of one who left is free, of a rate when its window is over; its name is not used again."""
    store: Any = trial.store
    for kind in ("limit", "rate"):
        share(trial, "x", wish(kind=kind, need=3))
        share(trial, "y", wish(kind=kind, need=1))
    left = trial.called("beat()", lambda: store.beat("x", LONG_S))
    if left is None or not 0 < left[0] <= LONG_S:
        trial.fail(f"beat() gives {left!r} to who was heard of just now")
    trial.expect("what others want", {*left[1]}, {"limit k", "rate k"})
    trial.called("leave()", lambda: store.leave("x"))
    trial.expect("a limit", share(trial, "y", wish(need=3)).room, 3, "x left")
    trial.expect("a rate", share(trial, "y", wish(kind="rate", need=3)).room, 0, "x began just now")
    trial.expect("beat() of one who left", store.beat("x", LONG_S), None)
    trial.expect("ration() of one who left", store.ration("x", LONG_S, [wish(keep=3)]), None)
    trial.expect("beat() of one who never was", store.beat("nobody", LONG_S), None)
    trial.called("leave()", lambda: store.leave("nobody"))


def breaking(trial: Trial) -> None:
    """A breaker is one for all: failures add up, a success begins anew, and one attempt decides."""

    def told(owner: str, **given: Any) -> BreakerState:
        (answer,) = asked(
            trial,
            owner,
            BreakerNews(key="k", failures=3, reset_s=given.pop("reset_s", 0.0), **given),
        )
        if not isinstance(answer, BreakerState):
            trial.fail(f"ration() answers news of a breaker by {answer!r}")
        return answer

    trial.expect("failures", told("x", failed=2).failures, 2)
    trial.expect("failures", told("y", succeeded=True, failed=1).failures, 1, "y had a success")
    trial.expect("open", told("x", failed=1).open_for_s, None)
    if told("y", failed=1).open_for_s is None:
        trial.fail("three failures in a row at two runners did not open a breaker of three")
    early = told("x", wants_try=True, reset_s=3_600.0).may_try
    trial.expect("a try before its time", early, wanted=False)
    trial.expect("a try", told("x", wants_try=True).may_try, wanted=True)
    trial.expect("another's", told("y", wants_try=True).may_try, wanted=False)
    if told("y", verdict="ok").open_for_s is None:
        trial.fail("one who was not to decide closed the breaker")
    if told("x", verdict="failed").open_for_s is None:
        trial.fail("the attempt that was to decide failed, and the breaker is closed")
    trial.expect("the next try", told("y", wants_try=True).may_try, wanted=True)
    trial.expect("after its success", told("y", verdict="ok").open_for_s, None)
    trial.expect("failures after it", told("x").failures, 0)
