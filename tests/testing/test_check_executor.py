"""The kit for executors finds the ones that break a promise, and says which."""

import asyncio
import pickle
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec import structs

from treadle.engine.jobs import cancelled_bundle, execute_bundle, failed_bundle
from treadle.errors import Cancelled, UsageError
from treadle.executors.aio import AsyncioExecutor
from treadle.executors.inline import InlineExecutor
from treadle.executors.threads import ThreadExecutor
from treadle.interfaces import Answer
from treadle.model.bundles import Bundle
from treadle.model.runnables import FAILED, Outcome
from treadle.testing.executor_bodies import fail, give_lock
from treadle.testing.executors import CHECKS, ExecutorReport, check_executor, runnable


class Altered(ThreadExecutor):
    """An executor that keeps its promises; each kind of it breaks one."""

    def __init__(self) -> None:
        super().__init__(2)
        self.tell: Answer = print

    def open(self, answer: Answer) -> None:
        self.tell = answer
        super().open(self.heard)

    def heard(self, number: int, outcomes: Sequence[Outcome]) -> None:
        self.tell(number, outcomes)


class Twice(Altered):
    """Answers everything twice."""

    def heard(self, number, outcomes):
        self.tell(number, outcomes)
        self.tell(number, outcomes)


class Loses(Altered):
    """Forgets one answer."""

    def heard(self, number, outcomes):
        if number != 7:
            self.tell(number, outcomes)


class MixesUp(Altered):
    """Answers each bundle of two with the other's outcomes."""

    kept: tuple[int, Sequence[Outcome]] | None = None

    def heard(self, number, outcomes):
        if outcomes[0].component != "double" or len(outcomes) > 1:
            self.tell(number, outcomes)
        elif self.kept is None:
            self.kept = (number, outcomes)
        else:
            (other, held), self.kept = self.kept, None
            self.tell(number, held)
            self.tell(other, outcomes)


class Reverses(Altered):
    """Answers a parallel bundle in the order of its ending, say."""

    def heard(self, number, outcomes):
        chained = any(each.component.startswith("after") for each in outcomes)
        self.tell(number, outcomes if chained else outcomes[::-1])


class StopsAtFailure(Altered):
    """Lets a failure spoil the rest of a parallel bundle."""

    def heard(self, number, outcomes):
        failed = next(
            (n for n, each in enumerate(outcomes) if each.status == FAILED), len(outcomes)
        )
        self.tell(number, outcomes[: failed + 1])


class Anonymous(Altered):
    """Does not say whose outcome it is."""

    def heard(self, number, outcomes):
        self.tell(number, [structs.replace(each, attempt=1) for each in outcomes])


class Untimed(Altered):
    """Reads no clock."""

    def heard(self, number, outcomes):
        self.tell(number, [structs.replace(each, seconds=None) for each in outcomes])


class Wordless(Altered):
    """Keeps the exceptions to itself."""

    def heard(self, number, outcomes):
        self.tell(number, [structs.replace(each, exception=None) for each in outcomes])


class Generator(Altered):
    """Answers with what can be read once."""

    def heard(self, number, outcomes):
        self.tell(number, (each for each in outcomes))  # type: ignore[arg-type]


class Raises(Altered):
    """Refuses chains, too late."""

    def submit(self, number: int, bundle: Bundle) -> None:
        super().submit(number, bundle)
        if bundle.links:
            raise ValueError("no chains, please")


class DropsInjected(Altered):
    """Passes ports only."""

    def submit(self, number: int, bundle: Bundle) -> None:
        bare = [structs.replace(each, injected=None) for each in bundle.runnables]
        super().submit(number, structs.replace(bundle, runnables=tuple(bare)))


class Plain:
    """Runs each bundle in a thread of its own, whatever its capacity."""

    capacity: int | None = 2
    when_cancelled = "abandoned"

    def __init__(self) -> None:
        self.tell: Answer = print
        self.open_numbers: dict[int, Bundle] = {}

    def open(self, answer: Answer) -> None:
        self.tell = answer

    def submit(self, number: int, bundle: Bundle) -> None:
        self.open_numbers[number] = bundle
        threading.Thread(target=self.run, args=(number, bundle), daemon=True).start()

    def run(self, number: int, bundle: Bundle) -> None:
        outcomes = execute_bundle(bundle, lambda: 0.0)
        if self.open_numbers.pop(number, None):
            self.tell(number, outcomes)

    def cancel(self, number: int) -> None:
        bundle = self.open_numbers.pop(number, None)
        if bundle:
            self.tell(number, cancelled_bundle(bundle, "abandoned"))

    def close(self) -> None:
        self.open_numbers.clear()


class ChainsAll(Plain):
    """Goes on after a failure."""

    def run(self, number, bundle):
        outcomes = execute_bundle(bundle, lambda: 0.0)
        while len(outcomes) < len(bundle):
            outcomes.append(outcomes[-1])
        if self.open_numbers.pop(number, None):
            self.tell(number, outcomes)


class NeverCancels(Altered):
    """Takes a cancellation for a suggestion."""

    def cancel(self, number: int) -> None:
        pass


class CancelsUnknown(Altered):
    """Wants to know each number."""

    def cancel(self, number: int) -> None:
        if number > 1000:
            raise KeyError(number)
        super().cancel(number)


class CancelsAnswered(Altered):
    """Answers a cancellation also where it has answered already."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: dict[int, Sequence[Outcome]] = {}

    def heard(self, number, outcomes):
        self.answered[number] = outcomes
        self.tell(number, outcomes)

    def cancel(self, number: int) -> None:
        if number in self.answered:
            self.tell(number, self.answered[number])
        super().cancel(number)


class SaysStopped(Altered):
    """Promises that bodies end, and does not end them."""

    when_cancelled = "stopped"

    def heard(self, number, outcomes):
        for outcome in outcomes:
            if isinstance(outcome.exception, Cancelled) and outcome.exception.how == "abandoned":
                outcome.exception.how = "stopped"
        self.tell(number, outcomes)


class SaysWithdrawn(Altered):
    """Says of the first body that it abandons that it had not begun."""

    def heard(self, number, outcomes):
        if number == 2 and isinstance(outcomes[0].exception, Cancelled):  # 1 was the kit's own
            outcomes[0].exception.how = "withdrawn"
        self.tell(number, outcomes)


class CancelsOtherwise(Altered):
    """Has an error of its own for a cancellation."""

    def heard(self, number, outcomes):
        self.tell(
            number,
            [
                structs.replace(each, exception=TimeoutError())
                if isinstance(each.exception, Cancelled)
                else each
                for each in outcomes
            ],
        )


class AnswersClosed(Plain):
    """Does not know when to stop."""

    capacity = None

    def close(self) -> None:
        pass


class Crashes(Altered):
    """Cannot end in peace."""

    def close(self) -> None:
        super().close()
        raise OSError("already gone")


class Unspoken(AsyncioExecutor):
    """Does not say why it cannot run an async function."""

    def submit(self, number: int, bundle: Bundle) -> None:
        if bundle.is_async:
            bundle = Bundle(runnables=(runnable(fail, 1),))
        super().submit(number, bundle)


class Pickles(Altered):
    """Leaves it to pickle to refuse a bundle."""

    def submit(self, number: int, bundle: Bundle) -> None:
        pickle.dumps(bundle.runnables)
        super().submit(number, bundle)


class LosesResults(Altered):
    """Leaves it to pickle to refuse a result."""

    def submit(self, number: int, bundle: Bundle) -> None:
        try:
            pickle.dumps(bundle.runnables)
        except Exception as error:
            self.tell(number, failed_bundle(bundle, error))
        else:
            super().submit(number, bundle)

    def heard(self, number, outcomes):
        try:
            pickle.dumps([each.value for each in outcomes])
        except Exception as error:
            runnables = tuple(runnable(give_lock, 1) for _ in outcomes)
            outcomes = failed_bundle(Bundle(runnables=runnables), error)
        self.tell(number, outcomes)


class NoCapacity(InlineExecutor):
    """Takes nothing."""

    capacity: int | None = 0


class NoClose:
    """Has not all the methods."""

    capacity = None
    when_cancelled = "stopped"

    def open(self, answer: Answer) -> None:
        pass


class NoWord(InlineExecutor):
    """Cannot say what cancelling does."""

    when_cancelled = "maybe"


BROKEN: list[tuple[type[Any], str, str]] = [
    (Twice, "answers", "a bundle was answered 2 times"),
    (Loses, "answers", "a bundle was not answered within 0.2 s"),
    (MixesUp, "answers", "were expected"),
    (Anonymous, "answers", "the outcome's `attempt` is 1, and its runnable's is 3"),
    (Untimed, "answers", "`seconds` says how long the function took; this is None"),
    (Generator, "answers", "an answer is a list of outcomes"),
    (DropsInjected, "arguments", "were expected"),
    (Wordless, "failures", "the failure's exception is None"),
    (Reverses, "parallel", "in its order"),
    (StopsAtFailure, "parallel", "There is one for each runnable"),
    (ChainsAll, "chain", "as far as it came"),
    (Raises, "chain", "submit raised ValueError('no chains, please')"),
    (Plain, "capacity", "3 bundles ran at once, and its capacity is 2"),
    (NeverCancels, "cancel queued", "was not answered within"),
    (CancelsUnknown, "cancel unknown", "cancel raised KeyError"),
    (CancelsAnswered, "cancel unknown", "a bundle was answered 2 times"),
    (SaysStopped, "cancel running", "a body was answered as stopped and goes on"),
    (SaysWithdrawn, "cancel running", "where one of ('abandoned',) was expected"),
    (
        CancelsOtherwise,
        "cancel queued",
        "fails with errors.Cancelled; this failed with TimeoutError()",
    ),
    (AnswersClosed, "close", "it gave an answer after it was closed"),
    (Unspoken, "async", "fails with an error that says so"),
    (Pickles, "unportable", "submit raised TypeError"),
    (LosesResults, "unportable", "were expected"),
    (Crashes, "answers", "close raised OSError('already gone')"),
    (
        NoClose,
        "answers",
        "an executor has `capacity`, `when_cancelled`, open, submit, cancel and close",
    ),
    (
        NoCapacity,
        "answers",
        "`capacity` is a number of at least 1, or None for no limit; this is 0",
    ),
    (NoWord, "answers", "`when_cancelled` is 'stopped' or 'abandoned'; this is 'maybe'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "promise", "text"), BROKEN, ids=[row[0].__name__ for row in BROKEN]
)
def test_a_broken_promise_is_found(kind: Callable[[], Any], promise: str, text: str):
    """The first check that can see it names the promise and what was seen."""
    portable = kind in {Pickles, LosesResults}

    with pytest.raises(AssertionError) as caught:
        check_executor(kind, portable=portable, timeout_s=0.2)

    assert f"breaks the promise {promise!r}: " in str(caught.value)
    assert text in str(caught.value)


def test_every_check_has_an_executor_that_fails_it():
    """A check that nothing can fail would be none."""
    assert {promise for _, promise, _ in BROKEN} == {*CHECKS}


@pytest.mark.slow
def test_what_was_checked_is_told():
    """With the reason for what was not."""
    report = check_executor(InlineExecutor)

    assert report == ExecutorReport(
        executor="InlineExecutor()",
        passed=("answers", "arguments", "failures", "parallel", "chain", "async", "cancel unknown"),
        skipped={
            "unportable": "its work does not leave this process",
            "capacity": "it runs everything in submit",
            "cancel queued": "it runs everything in submit",
            "cancel running": "it runs everything in submit",
            "close": "it runs everything in submit",
        },
    )


@pytest.mark.slow
def test_a_limit_that_is_too_high_to_try_is_told():
    """A small one is asked for."""
    report = check_executor(ThreadExecutor)

    assert report.skipped["capacity"] == "its capacity is 64: make it 16 or less"


def test_it_runs_a_loop_of_its_own():
    """Within a coroutine it says where to call it instead."""

    async def check() -> None:
        check_executor(InlineExecutor)

    with pytest.raises(UsageError, match=r"Hint: await asyncio.to_thread"):
        asyncio.run(check())


def test_each_check_wants_a_fresh_executor():
    """A factory that gives the same one again is told so."""
    executor = InlineExecutor()

    with pytest.raises(UsageError, match="an executor is opened once"):
        check_executor(lambda: executor)
