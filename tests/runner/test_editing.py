"""Which edits of a live run ask for what happened before."""

from functools import partial
from typing import Any

import pytest

import treadle as td
from tests.runner.running import same
from treadle.runner.editing import asks_for_the_past, functions_of


def told(unit: Any, x: Any, *, times: int = td.count("plus")) -> Any:
    """How often something happened."""
    return unit, x, times


class Teller:
    """The same, as an object that can be called."""

    def __call__(self, x: Any, *, times: int = td.count("plus")) -> Any:
        """How often something happened."""
        return x, times


@pytest.mark.parametrize(
    "made",
    [
        td.step(lambda x, *, times=td.count("plus"): (x, times), name="a"),
        td.step(partial(told, 1), name="a"),
        td.step(Teller(), name="a"),
        td.condition(lambda x, *, times=td.count("plus"): x > times, name="a"),
        td.workflow("w").add(td.step(same, name="plus")).add(td.step(Teller(), name="a")),
    ],
    ids=["function", "partial", "object", "condition", "workflow"],
)
def test_who_reads_history_asks_for_the_past(made: Any):
    """Whatever it is that is called."""
    assert asks_for_the_past(functions_of(made), {})


def test_who_reads_nothing_asks_for_the_past_only_by_backfill():
    """What is given by other markers is not of the past."""
    made = functions_of(td.step(lambda x, *, unit=td.context("unit"): (x, unit), name="a"))

    assert not asks_for_the_past(made | functions_of(td.step(same)), {})
    assert asks_for_the_past(made, {"backfill": True})
