"""The inline executor: at once, in the caller."""

import sys
import threading

import pytest

from tests.executors import bodies
from tests.executors.driving import opened, shown
from treadle.executors.inline import InlineExecutor
from treadle.model.bundles import Bundle
from treadle.testing.executors import link, runnable


def test_it_answers_before_submit_returns():
    """In the thread that submits."""
    idents: list[int] = []
    with opened(InlineExecutor()) as desk:
        number = desk.give(runnable(lambda: idents.append(threading.get_ident())))

        assert not desk.is_quiet()
        assert shown(desk.answer(number)) == [None]
    assert idents == [threading.get_ident()]


def test_a_long_run_does_not_grow_the_stack():
    """What an answer submits runs after it, not within it."""
    executor = InlineExecutor()
    bundle = Bundle(runnables=(runnable(len, "a"),))
    count = sys.getrecursionlimit() * 3
    seen: list[int] = []

    def answer(number: int, _: object) -> None:
        seen.append(number)
        if number < count:
            executor.submit(number + 1, bundle)

    executor.open(answer)
    executor.submit(1, bundle)

    assert seen == list(range(1, count + 1))


def test_a_body_may_submit_too():
    """A body that drives the same executor gets its answer, since it may wait for it."""
    executor = InlineExecutor()
    answered: list[int] = []
    executor.open(lambda number, _: answered.append(number))

    def outer() -> list[int]:
        executor.submit(2, Bundle(runnables=(runnable(len, "a"),)))
        return list(answered)

    executor.submit(1, Bundle(runnables=(runnable(outer),)))

    assert answered == [2, 1]


def test_an_async_function_fails_in_words():
    """Nothing can be awaited here, and it is not left behind unawaited."""
    with opened(InlineExecutor()) as desk:
        (outcome,) = desk.run(runnable(bodies.adouble, 1))

    assert "'adouble' is async and was executed by a synchronous call" in str(outcome.error)


def test_a_ctrl_c_is_the_programs():
    """It leaves submit, and what it struck is not answered; the executor goes on."""
    with opened(InlineExecutor()) as desk:
        with pytest.raises(KeyboardInterrupt):
            desk.give(runnable(bodies.interrupt, 1))
        assert desk.is_quiet()

        assert shown(desk.run(runnable(len, "a"), links=(link(bodies.double),))) == [1, 2]


def test_what_a_workflow_could_not_prepare_fails():
    """A runnable with a problem comes here as it is, and fails with that."""
    from msgspec import structs

    given = structs.replace(runnable(len, "a"), problem=LookupError("no context"))
    with opened(InlineExecutor()) as desk:
        assert shown(desk.run(given)) == ["LookupError"]


def test_nothing_is_taken_when_closed_in_an_answer():
    """What the same answer had submitted before is dropped."""
    executor = InlineExecutor()
    bundle = Bundle(runnables=(runnable(len, "a"),))
    seen: list[int] = []

    def answer(number: int, _: object) -> None:
        seen.append(number)
        executor.submit(2, bundle)
        executor.close()

    executor.open(answer)
    executor.submit(1, bundle)

    assert seen == [1]
