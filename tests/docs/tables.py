"""Read the tables of a page, so that tests can hold them against the code."""

import re

from tests.tidy.tree import ROOT

PIPE = re.compile(r"(?<!\\)\|")


def table(page: str, first: str) -> list[dict[str, str]]:
    """Give the rows of the table whose first heading is `first`, each by heading."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    headings = cells(lines[begin])
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(headings, cells(line), strict=True)))
    return rows


def cells(line: str) -> list[str]:
    """Give the cells of one row."""
    return [cell.strip() for cell in PIPE.split(line)[1:-1]]


def code(cell: str) -> str:
    """Give what stands between backticks at the beginning of a cell."""
    found = re.match(r"`([^`]+)`", cell)
    assert found is not None, f"{cell!r} does not begin with code"
    return found[1]
