"""The page of the command line says what the program's own help and code say."""

import re
from importlib import import_module
from typing import get_args, get_type_hints

import pytest

from tests.docs.tables import code, table
from treadle.cli import ending, interrupts

PAGE = "docs/command-line.md"
app = import_module("treadle.cli.app")  # the package has the program itself under that name


def test_the_limits_are_options() -> None:
    """Each limit of the page is an option of `run`, and all numbers that `run` takes are there."""
    numbers = {
        f"--{name.replace('_', '-')}"
        for name, hint in get_type_hints(app.run).items()
        if {int, float} & {hint, *get_args(hint)}
    }

    assert {code(row["option"]) for row in table(PAGE, "option")} == numbers


def test_the_exit_codes_are_those_of_the_help() -> None:
    """Each that the page lists is told by the help of `run`, in the same order, and the other way round."""
    told = (app.run.__doc__ or "").partition("Exit codes:")[2]
    codes = re.findall(r"^\s*(\d+):|\((\d+):", told, re.MULTILINE)
    listed = [code(row["code"]) for row in table(PAGE, "code")]

    assert listed == [one or other for one, other in codes]
    assert {str(interrupts.code_of(number)) for number in interrupts.SIGNALS} < set(listed)
    assert {str(ending.FAILED), str(ending.USAGE)} < set(listed)


def test_each_signal_that_counts_is_told() -> None:
    """So many as there are rows, and the last of them waits for nothing."""
    assert len(table(PAGE, "signal")) == interrupts.AT_ONCE


@pytest.mark.parametrize("name", ["plan", "graph"])
def test_the_other_commands_end_as_their_help_says(name: str) -> None:
    """Only `plan` reads lines, and so only it can end with 1."""
    told = getattr(app, name).__doc__

    assert re.findall(r"\b\d\b", told.partition("Exit codes:")[2]) == (
        ["0", "1", "2"] if name == "plan" else ["0", "2"]
    )
