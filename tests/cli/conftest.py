"""What the tests of the command line share: a folder to work in, and the command in this process."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cli.calling import Call, Called
from treadle.cli.app import app

SHOP = """
import treadle as td


@td.step
def halve(number):
    return number // 2 if number % 2 == 0 else 1 / (number - number)


@td.step
def describe(half):
    return {"half": half, "status": "small" if half < 10 else "large"}


@td.rule(condition=lambda number: number == 4)
def notice(number):
    return "four"


shop = td.workflow("the shop", steps=[(halve, [describe])], rules=[notice])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is the current one and has `shop.py`; what was imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("TREADLE_STORE", "memory")
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def call(folder: Path) -> Call:
    """Call the command with some arguments, in the folder."""

    def calling(*arguments: str, stdin: bytes = b"") -> Called:
        result = CliRunner().invoke(app, arguments, input=stdin, prog_name="treadle")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Called(result.exit_code, result.stdout, result.stderr)

    return calling
