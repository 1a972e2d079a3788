"""Each bundle is answered exactly once, whoever comes first."""

import threading

import pytest

from treadle.errors import UsageError
from treadle.executors.ledger import Ledger
from treadle.model.bundles import Bundle
from treadle.testing.executors import runnable

BUNDLE = Bundle(runnables=(runnable(len, "a"),))


def opened(limit: int | None = None) -> tuple[Ledger, list[int]]:
    """A ledger, and the numbers that were answered."""
    ledger, answered = Ledger("it", limit), []
    ledger.open(lambda number, _: answered.append(number))
    return ledger, answered


def test_the_first_of_many_answers():
    """Threads that settle the same entry at the same time give one answer."""
    ledger, answered = opened()
    start = threading.Barrier(8)
    first: list[bool] = []
    entries = [ledger.enter(number, BUNDLE) for number in range(200)]

    def settle_all() -> None:
        start.wait(timeout=30)
        first.extend([ledger.settle(entry, []) for entry in entries])

    threads = [threading.Thread(target=settle_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert sorted(answered) == list(range(200))
    assert first.count(True) == 200


def test_what_was_cancelled_does_not_begin():
    """And it is marked once; unknown and answered numbers give nothing."""
    ledger, _ = opened()
    entry = ledger.enter(1, BUNDLE)

    assert ledger.cancel(1) is entry
    assert ledger.cancel(1) is None
    assert ledger.cancel(2) is None
    assert not ledger.begin(entry)


def test_what_is_closed_begins_and_answers_no_more():
    """What was open is handed over, and nobody is told of it."""
    ledger, answered = opened()
    entry = ledger.enter(1, BUNDLE)

    assert ledger.close() == [entry]
    assert not ledger.begin(entry)
    assert not ledger.settle(entry, [])
    assert answered == []


def test_closing_waits_for_an_answer_that_is_being_given():
    """So no answer is seen after it."""
    ledger = Ledger("it")
    order: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def answer(*_: object) -> None:
        begun.set()
        go.wait(timeout=30)
        order.append("answered")

    ledger.open(answer)
    entry = ledger.enter(1, BUNDLE)
    settling = threading.Thread(target=ledger.settle, args=(entry, []))
    settling.start()
    begun.wait(timeout=30)

    def close() -> None:
        ledger.close()
        order.append("closed")

    closing = threading.Thread(target=close)
    closing.start()
    while not ledger.is_closed:
        pass
    go.set()
    closing.join(timeout=30)
    settling.join(timeout=30)

    assert order == ["answered", "closed"]


def test_closing_within_an_answer_does_not_wait_for_itself():
    """The runner may close an executor when it hears the last answer."""
    ledger = Ledger("it")

    def answer(*_: object) -> None:
        ledger.close()

    ledger.open(answer)
    entry = ledger.enter(1, BUNDLE)

    assert ledger.settle(entry, [])
    assert ledger.is_closed


def test_an_answer_that_raises_is_an_answer():
    """It is not given again, and closing does not wait for it."""
    ledger = Ledger("it")

    def answer(*_: object) -> None:
        raise OSError("deaf")

    ledger.open(answer)
    entry = ledger.enter(1, BUNDLE)

    with pytest.raises(OSError, match="deaf"):
        ledger.settle(entry, [])

    assert not ledger.settle(entry, [])
    assert ledger.close() == []


def test_its_life_is_told():
    """Too early, too late, twice, too many: each says what to do instead."""
    ledger = Ledger("it", limit=1)
    with pytest.raises(UsageError, match="'it' is not open yet and takes no work"):
        ledger.enter(1, BUNDLE)
    ledger.open(lambda *_: None)
    with pytest.raises(UsageError, match="'it' is open already: an executor is opened once"):
        ledger.open(lambda *_: None)
    ledger.enter(1, BUNDLE)
    with pytest.raises(UsageError, match="'it' still works on number 1"):
        ledger.enter(1, BUNDLE)
    with pytest.raises(UsageError, match="'it' is full: it takes 1 bundles at once"):
        ledger.enter(2, BUNDLE)
    ledger.close()
    with pytest.raises(UsageError, match="'it' is closed and takes no work"):
        ledger.enter(3, BUNDLE)
    with pytest.raises(UsageError, match="'it' is closed: an executor is opened once"):
        ledger.open(lambda *_: None)
