"""Who gets how much of a limit that runners share, and how a circuit breaker stands that they share. Pure.

A store keeps the rows and sees to it that one runner at a time is answered for one key; `now` is the store's time.
Nothing is counted up and down: each answer is made from what all runners say that they have, so what was forgotten
by one that died is nobody's, and there is no counter that could be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct, structs

from treadle.model.quotas import BreakerNews, BreakerState, Share, ShareWish

TURN_S: Final = 2.0
"""How long one has what is left over when it does not divide evenly, before it is another's turn."""


class Holding(Struct, frozen=True, kw_only=True):
    """A row: what one runner has of one limit or rate."""

    owner: str
    held: int = 0
    need: int = 0
    since: float
    """Since when it has so much, whether it was more or less before; it waits for more since then, if it does."""


class Fuse(Struct, frozen=True, kw_only=True):
    """A row: how a circuit breaker stands."""

    failures: int = 0
    opened_at: float | None = None
    tried_by: str | None = None
    tried_until: float = 0.0
    """If nothing was heard of the attempt that decides by then, another may be made."""


def divided(
    wish: ShareWish, owner: str, before: Holding | None, others: Sequence[Holding], now: float
) -> tuple[Share, Holding | None]:
    """What an owner has of a limit from now on, and its new row; None: it has left.

    Nobody has more than a fair part as long as somebody else is short of his; what nobody needs stays with who has it.
    What is free is given at once, and what is in use when it is no more.
    """
    if not wish.keep and not wish.need:
        return Share(kind=wish.kind, key=wish.key, room=0, held=0), None
    since = before.since if before is not None and wish.keep >= before.held else now
    mine = Holding(owner=owner, held=wish.keep, need=wish.need, since=since)
    asking = [*others, mine]
    fair = fair_parts(wish.count, asking, now)
    due = {each.owner: max(each.held, fair[each.owner]) for each in others}
    spare = wish.count - sum(due.values())
    free = wish.count - sum(each.held for each in others)
    target = max(fair[owner], min(wish.keep, spare))
    held = max(wish.keep, min(target, free))
    if held > wish.keep:
        since = now
    row = Holding(owner=owner, held=held, need=wish.need, since=since)
    return Share(kind=wish.kind, key=wish.key, room=min(target, held), held=held), row


def fair_parts(count: int, asking: Sequence[Holding], now: float) -> Mapping[str, int]:
    """Everybody's part: as much as he needs, or as everybody else who needs more than that.

    What is left when that does not come out even goes round: who waits longest is next, after the turns of those who
    have it now.
    """
    parts: dict[str, int] = {}
    left = count
    pending = sorted(asking, key=lambda each: (each.need, each.owner))
    while pending and pending[0].need <= left // len(pending):
        first = pending.pop(0)
        parts[first.owner] = first.need
        left -= first.need
    if not pending:
        return parts
    each_has, over = divmod(left, len(pending))

    def turn(each: Holding) -> tuple[int, float, str]:
        if each.held <= each_has:
            return (1, each.since, each.owner)
        has_turn = now - each.since < TURN_S
        return (0 if has_turn else 2, each.since, each.owner)

    for place, each in enumerate(sorted(pending, key=turn)):
        parts[each.owner] = each_has + (place < over)
    return parts


def judged(
    news: BreakerNews, owner: str, fuse: Fuse, now: float, patience_s: float
) -> tuple[BreakerState, Fuse]:
    """How a breaker stands after these news, and its new row.

    What happens at several runners between two of their reports has no order: a success in a report comes before its
    failures, and after everything that was reported before. `patience_s`: how long nothing need be heard of a runner.
    """
    if fuse.opened_at is None:
        failures = news.failed + (0 if news.succeeded else fuse.failures)
        fuse = Fuse(failures=failures, opened_at=now if failures >= news.failures else None)
    else:
        fuse = _decided(news, owner, fuse, now, patience_s)
    state = BreakerState(
        key=news.key,
        failures=fuse.failures,
        open_for_s=None if fuse.opened_at is None else max(0.0, now - fuse.opened_at),
        may_try=fuse.tried_by == owner,
    )
    return state, fuse


def _decided(news: BreakerNews, owner: str, fuse: Fuse, now: float, patience_s: float) -> Fuse:
    """An open breaker after news: what counts is the attempt that decides, and who may make it."""
    opened_at = fuse.opened_at or 0.0
    if fuse.tried_by == owner and news.verdict == "ok":
        return Fuse()
    if fuse.tried_by == owner and news.verdict == "failed":
        return Fuse(failures=fuse.failures, opened_at=now)
    if fuse.tried_by == owner and news.verdict:
        fuse = structs.replace(fuse, tried_by=None)
    is_free = fuse.tried_by is None or fuse.tried_until <= now
    if is_free and news.wants_try and now >= opened_at + news.reset_s:
        until = now + max(news.reset_s, patience_s)
        return structs.replace(fuse, tried_by=owner, tried_until=until)
    return structs.replace(fuse, tried_by=None) if is_free else fuse
