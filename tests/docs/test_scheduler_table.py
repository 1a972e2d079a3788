"""The table of docs/schedulers.md lists the schedulers that there are, with their defaults."""

import inspect

from tests.docs.tables import code, table
from treadle import schedulers

TOLD = [code(row["scheduler"]) for row in table("docs/schedulers.md", "scheduler")]


def test_each_scheduler_has_a_row() -> None:
    """Nothing is missing, and nothing is made up."""
    assert sorted(told.partition("(")[0] for told in TOLD) == sorted(schedulers.__all__)


def test_defaults_are_those_of_the_classes() -> None:
    """A number in the table is what its parameter has by default."""
    for told in TOLD:
        name, _, given = told.removesuffix(")").partition("(")
        known = inspect.signature(getattr(schedulers, name)).parameters
        for each in filter(None, given.split(", ")):
            parameter, _, default = each.partition("=")
            assert parameter in known, each
            if default:
                assert repr(known[parameter].default) == default, each
