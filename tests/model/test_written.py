"""Which values a module writes down, and which it works out."""

import importlib
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from treadle.model.fingerprints import fingerprint
from treadle.model.written import is_worked_out

MODULE = """
    import os
    import re
    import time
    from decimal import Decimal
    from enum import Enum
    from .base import RATE, STARTED as BEGUN
    from .more import *

    PLAIN = 3
    NEGATIVE = -0.5
    SUM = PLAIN * 2 + RATE
    PAIR = ("a", frozenset({1, 2}))
    MONEY = Decimal("0.19")
    PATTERN = re.compile("a+")
    TEXT = f"{PLAIN} of them"

    class Kind(Enum):
        GOOD = 1

    class Prices:
        REDUCED = 0.07
        HOME = os.environ.get("HOME")

    BEST = Kind.GOOD
    NOW = time.time()
    HOME = os.environ["HOME"]
    PLATFORM = os.name
    LATER = NOW + 1
    LISTED = tuple(n for n in range(3))
    if PLAIN:
        BRANCHED = 1
    TWICE = 1
    TWICE = time.time()
    FIRST = SECOND = 4
    THIRD: int = 5
"""
WRITTEN = (
    "PLAIN NEGATIVE SUM PAIR MONEY PATTERN TEXT Prices.REDUCED BEST FIRST SECOND THIRD RATE MORE"
)
WORKED_OUT = "Prices.HOME NOW HOME PLATFORM LATER LISTED BRANCHED TWICE BEGUN LESS"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package of three modules, of which one is given."""
    folder = tmp_path / "written_here"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "base.py").write_text("import time\nRATE = 2\nSTARTED = time.time()\n")
    (folder / "more.py").write_text("import os\nMORE = 1\nLESS = os.getpid()\n")
    (folder / "prices.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("written_here.prices")
    for name in [name for name in sys.modules if name.startswith("written_here")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", WRITTEN.split())
def test_what_a_module_writes_down(package: ModuleType, name: str) -> None:
    """Literals, what is made of them, and what another module writes down."""
    assert not is_worked_out(vars(package), name)


@pytest.mark.parametrize("name", WORKED_OUT.split())
def test_what_a_module_works_out(package: ModuleType, name: str) -> None:
    """Whatever may be another in the next process."""
    assert is_worked_out(vars(package), name)


def test_without_a_source_nobody_can_tell() -> None:
    """What was typed at a prompt counts by its value."""
    assert not is_worked_out({"__name__": "nowhere_to_be_found", "X": 1}, "X")


def test_the_next_process_has_the_same_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the moment of its import is another; a rate that is written down counts."""
    monkeypatch.syspath_prepend(str(tmp_path))
    source = (
        "import time\nRATE = {rate}\nSTARTED = time.perf_counter_ns()\n\n\n"
        "class Own:\n    AT = time.perf_counter_ns()\n\n\n"
        "def step(x):\n    return x * RATE, STARTED, Own.AT\n"
    )

    def mark(name: str, rate: int) -> str:
        (tmp_path / f"{name}.py").write_text(source.format(rate=rate))
        importlib.invalidate_caches()
        module = importlib.import_module(name)
        found = fingerprint([module.step])
        del sys.modules[name]
        return found

    once = mark("imported_once", 2)
    assert mark("imported_once", 2) == once
    assert mark("imported_once", 3) != once
