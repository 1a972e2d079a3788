"""What docs/reliability.md and docs/durability.md promise is held by tests that there are."""

import ast
import re

import pytest

from tests.docs.tables import table
from tests.tidy.tree import ROOT, parsed
from treadle.runner.record import DURABILITIES

PAGE = ROOT / "docs" / "reliability.md"
TEXT = PAGE.read_text(encoding="utf-8")
MATRIX = table("docs/reliability.md", "fault")
TEST = re.compile(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)")
PROMISES = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:13]


def missing_tests(text: str) -> list[str]:
    """Give the tests that a text names and that are not there, or would not be collected."""
    return [f"{name} in {path}" for name, path in TEST.findall(text) if name not in collected(path)]


def collected(path: str) -> set[str]:
    """Give the names of the tests in a file: its top-level functions that pytest would call."""
    return {
        node.name
        for node in parsed(ROOT / path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("number", range(1, 13))
def test_each_promise_says_how_and_names_its_tests(number: int) -> None:
    """All twelve are there, in order."""
    promise = PROMISES[number - 1]

    assert promise.startswith(f"P{number}: ")
    assert "*How.*" in promise
    assert TEST.search(promise.partition("*Tests.*")[2]), "it names no test"
    assert missing_tests(promise) == []


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: row["fault"][:40])
def test_each_fault_is_injected_or_says_that_it_is_not(row: dict[str, str]) -> None:
    """A row has tests, or says that it has none."""
    told = row["test"]

    assert bool(TEST.search(told)) != told.startswith("no test")
    assert missing_tests(told) == []


def test_each_durability_has_its_row_and_its_test() -> None:
    """The dial's words, in the order of what they may lose."""
    rows = table("docs/durability.md", "`durability=`")

    assert tuple(re.findall(r'`"(\w+)"`', row["`durability=`"])[0] for row in rows) == DURABILITIES
    tests = [row["which test shows it"] for row in rows]
    assert [missing_tests(told) for told in tests] == [[]] * len(rows)
    assert TEST.search(tests[0])
    assert TEST.search(tests[-1])


def test_guard_sees_what_it_looks_for() -> None:
    """A test that is not there is missed; one that is, is not."""
    here = "tests/docs/test_reliability.py"

    assert missing_tests(f"[`test_of_nothing`](../{here})") == [f"test_of_nothing in {here}"]
    assert missing_tests(f"[`test_guard_sees_what_it_looks_for`](../{here})") == []
