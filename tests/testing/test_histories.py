"""Stored histories under the code of today."""

import pytest
from msgspec import structs

from tests.upgrade.versions import orders, plus_two
from treadle.testing import HistoryChanged, check_history


def test_a_history_that_goes_on_is_given_back_to_be_asked():
    """No user code runs, and what was stored is what is folded."""
    run = orders().react_until_satisfied(1).plan_eagerly(2)

    assert check_history(orders(), run.log()) == run
    adopted = check_history(orders(plus_two), run.log(), on_code_change="adopt")
    assert adopted.results(input=0) == run.results(input=0)
    check_history(orders(plus_two), run.log(), on_code_change="recompute")
    check_history(orders(plus_two), run.log(), on_code_change="keep", earlier=[orders()])


def test_a_history_that_would_be_refused_fails_the_test():
    """The report is that of the plan; it is an AssertionError, so pytest shows it as one."""
    run = orders().react_until_satisfied(1)

    with pytest.raises(AssertionError, match="price  code changed .used.") as caught:
        check_history(orders(plus_two), run.log())

    assert isinstance(caught.value, HistoryChanged)
    assert [each.component for each in caught.value.differences] == ["price"]


def test_a_history_that_cannot_be_folded_fails_the_test():
    """An event is missing, or answers work that was not there."""
    log = list(orders().react_until_satisfied(1).log())

    with pytest.raises(HistoryChanged, match="cannot be folded"):
        check_history(orders(), [*log[:2], *log[3:]])
    with pytest.raises(HistoryChanged, match="cannot be folded"):
        check_history(orders(), [*log[:2], structs.replace(log[2], node="charge")])
