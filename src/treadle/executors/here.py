"""Execute a bundle piece by piece in this process, so that what is done is known while the rest still runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from time import perf_counter

from treadle.engine.execute import aexecute_runnable, execute_timed, failed_outcome
from treadle.engine.jobs import follow, timed
from treadle.errors import Cancelled
from treadle.model.bundles import Bundle
from treadle.model.runnables import OK, Outcome, Runnable


def turns(bundle: Bundle, done: Sequence[Outcome]) -> Iterator[Runnable]:
    """Each runnable when it is its turn. The caller adds its outcome to `done` before it asks for the next."""
    yield from bundle.runnables
    last = bundle.runnables[0]
    for link in bundle.links:
        if done[-1].status != OK:
            return
        last = follow(link, last, done[-1].value)
        yield last


def execute_here(
    bundle: Bundle, done: list[Outcome], *, through: type[BaseException] | None = None
) -> None:
    """Execute a bundle in this thread. Whatever a body raises is its own failure, an interrupt too.

    `through`: what is the caller's business, and leaves here as it was raised.
    """
    let_go = () if through is None else through
    for runnable in turns(bundle, done) if bundle.links else bundle.runnables:
        outcome = execute_timed(runnable, perf_counter, BaseException, let_go)
        done.append(outcome)  # at once: whoever cancels looks at it


async def aexecute_here(bundle: Bundle, done: list[Outcome]) -> None:
    """As `execute_here`, on an event loop that runs for this bundle alone."""
    for runnable in turns(bundle, done):
        begin = perf_counter()
        try:
            outcome = await aexecute_runnable(runnable)
        except BaseException as error:  # noqa: BLE001 - nobody above could say whose it was
            outcome = failed_outcome(runnable, error)
        done.append(timed(outcome, perf_counter() - begin))


def cut_short(bundle: Bundle, done: Sequence[Outcome], error: BaseException) -> list[Outcome]:
    """The outcomes of a bundle that ends early: `done`, and `error` for each that is not there yet.

    Of a chain only the next is answered: those after it were never ready.
    """
    known = list(done)
    begin = len(known)
    missing = islice(turns(bundle, known), begin, begin + 1 if bundle.links else None)
    return known + [failed_outcome(runnable, error) for runnable in missing]


def cancelled(bundle: Bundle, done: Sequence[Outcome], how: str) -> list[Outcome]:
    """The outcomes of a bundle that was cancelled; `how` as in `errors.Cancelled`."""
    return cut_short(bundle, done, cancellation(bundle, how))


def cancellation(bundle: Bundle, how: str) -> Cancelled:
    """What stands in each outcome that a cancelled bundle did not give."""
    names = ", ".join(dict.fromkeys(repr(each.component) for each in bundle.runnables))
    return Cancelled(f"{names} was cancelled: {how}.", how=how)
