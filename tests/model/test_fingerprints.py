"""Fingerprints: what is seen of the code that a function uses, and what makes no difference."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import treadle as td
from treadle.model.fingerprints import NARROW, fingerprint, scheme_of
from treadle.model.global_names import uses_of

USED = """
import enum, functools, math, re
from dataclasses import dataclass
from types import MappingProxyType
import treadle as td

RATE = 3
NAMES = ("a", "b")
KINDS = frozenset({"x", "y", "z"})
TABLE = MappingProxyType({"de": 19})
WORD = re.compile("a+")
SEEN = {"some": 1}
CALLS = 0
LIMIT = None


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Terms:
    days: int = 30


TERMS = Terms()


class Tax:
    share = 7

    def on(self, x):
        return x * self.share

    @property
    def told(self):
        return "told"

    @staticmethod
    def of(x):
        return deep(x)


def deep(x):
    return x + 1


def even(x):
    return x == 0 or odd(x - 1)


def odd(x):
    return x != 0 and even(x - 1)


@functools.lru_cache
def remembered(x):
    return x + 5


def logged(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args)
    return call


@logged
def wrapped(x):
    return x + 6


@td.step
def other_step(x):
    return x + 7


def counted(x):
    global CALLS
    CALLS += 1
    return x


def limited():
    global LIMIT
    LIMIT = 5


bound = functools.partial(deep, 4)
EITHER = frozenset({deep, even, odd, counted})
tax = Tax()
helper = deep
"""

BODIES = {
    "deep": ("deep(x)", "return x + 1", "return x + 2"),
    "behind another": ("Tax.of(x)", "return x + 1", "return x + 2"),
    "a partial": ("bound()", "return x + 1", "return x + 2"),
    "another name": ("helper(x)", "return x + 1", "return x + 2"),
    "arguments of a partial": ("bound()", "deep, 4", "deep, 5"),
    "in a lambda": ("(lambda y: [deep(z) for z in y])(x)", "return x + 1", "return x + 2"),
    "a cycle": ("even(x)", "odd(x - 1)", "odd(x - 3)"),
    "a cache": ("remembered(x)", "x + 5", "x + 50"),
    "a decorated function": ("wrapped(x)", "x + 6", "x + 60"),
    "its decorator": ("wrapped(x)", "return function(*args)", "return function(*args[:1])"),
    "a component": ("other_step(x)", "x + 7", "x + 70"),
    "a number": ("x * RATE", "RATE = 3", "RATE = 4"),
    "a tuple": ("NAMES[x]", '("a", "b")', '("a", "c")'),
    "a set": ("x in KINDS", '"y", "z"', '"y", "w"'),
    "a mapping": ("TABLE[x]", '"de": 19', '"de": 7'),
    "a pattern": ("WORD.match(x)", '"a+"', '"a*"'),
    "a member": ("Level.HIGH", "HIGH = 2", "HIGH = 3"),
    "a frozen object": ("TERMS.days", "days: int = 30", "days: int = 31"),
    "a method": ("Tax().on(x)", "x * self.share", "x + self.share"),
    "a property": ("Tax().told", '"told"', '"said"'),
    "a class attribute": ("Tax.share", "share = 7", "share = 8"),
    "an object's class": ("tax.on(x)", "x * self.share", "x + self.share"),
    "a base": ("Tax", "class Tax:", "class Tax(Terms):"),
}

SAME = {
    "what nobody uses": ("deep(x)", "x + 7", "x + 70"),
    "a line": ("deep(x)", "RATE = 3", "\n\n# three\nRATE   =   3"),
    "a docstring": ("deep(x)", "def deep(x):", 'def deep(x):\n    "Add one."'),
    "what may change": ("SEEN[x]", '"some": 1', '"some": 2'),
    "what is counted": ("counted(x)", "CALLS = 0", "CALLS = 9"),
    "what another function sets": ("LIMIT", "LIMIT = None", "LIMIT = 9"),
    "a library": ("math.sqrt(x)", "import enum, functools", "import functools, enum"),
    "a name that is not there": ("nobody(x)", "RATE = 3", "RATE = 4"),
    "an order": ("even(x)", "class Tax:", "zero = 0\nclass Tax:"),
}


def module(body: str, text: str = USED) -> dict[str, Any]:
    """A module of this text with a function `f` that uses it, as an import would leave it."""
    made = ModuleType("shop")
    made.__file__ = "shop/shop.py"
    sys.modules["shop"] = made
    exec(compile(f"{text}\n\ndef f(x):\n    return {body}\n", "shop.py", "exec"), vars(made))
    return vars(made)


@pytest.fixture(autouse=True)
def _gone() -> Iterator[None]:
    """No module of a test stays."""
    yield
    sys.modules.pop("shop", None)


def mark(body: str, text: str = USED) -> str:
    """The fingerprint of a step of that function."""
    return td.step(module(body, text)["f"]).fingerprint


@pytest.mark.parametrize(("body", "before", "after"), BODIES.values(), ids=BODIES)
def test_what_is_used_is_seen(body: str, before: str, after: str) -> None:
    """A change of what a function reaches by its global names is a change of the function."""
    assert before in USED
    assert mark(body) == mark(body)
    assert mark(body) != mark(body, USED.replace(before, after))


@pytest.mark.parametrize(("body", "before", "after"), SAME.values(), ids=SAME)
def test_what_makes_no_difference(body: str, before: str, after: str) -> None:
    """Other code, formatting, and what is no constant."""
    assert before in USED
    assert mark(body) == mark(body, USED.replace(before, after))


def test_what_is_bound_while_the_program_runs_makes_no_difference() -> None:
    """Neither a counter nor a client made when it is first needed; the fingerprint is that of before."""
    space = module("(counted(x), limited(), LIMIT, SEEN)")
    step = td.step(space["f"])
    before = step.fingerprint
    space["f"](1)
    space["SEEN"]["more"] = 2

    assert (space["CALLS"], space["LIMIT"]) == (1, 5)
    assert step.fingerprint == before


def test_other_modules_of_the_user_are_followed(tmp_path: Path, monkeypatch: Any) -> None:
    """By their attributes and by what was imported from them; what is installed only within its own package."""
    texts = {
        "treadle_shop.py": "import treadle_prices, treadle_lib, treadle_lib.inner\n"
        "from treadle_prices import tax\n"
        "def one(x): return treadle_prices.net(x)\n"
        "def two(x): return tax(x)\n"
        "def three(x): return treadle_lib.use(x)\n",
        "treadle_prices.py": "RATE = 2\ndef net(x): return x - tax(x)\ndef tax(x): return x * RATE\n",
        "site-packages/treadle_lib/__init__.py": "from .inner import deep\ndef use(x): return deep(x)\n",
        "site-packages/treadle_lib/inner.py": "def deep(x): return x\n",
    }
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def marks(path: str = "", before: str = "", after: str = "") -> list[str]:
        for name, text in texts.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace(before, after) if name == path else text)
        for name in [name for name in sys.modules if name.startswith("treadle_")]:
            del sys.modules[name]
        shop = __import__("treadle_shop")
        library = sys.modules["treadle_lib"]
        functions = [shop.one, shop.two, shop.three, library.use]
        return [fingerprint([each]) for each in functions]

    def differ(*change: str) -> list[bool]:
        return [one != other for one, other in zip(plain, marks(*change), strict=True)]

    plain = marks()
    assert marks() == plain
    assert differ("treadle_prices.py", "RATE = 2", "RATE = 3") == [True, True, False, False]
    inner = "site-packages/treadle_lib/inner.py"
    assert differ(inner, "return x", "return -x") == [False, False, False, True]
    for name in [name for name in sys.modules if name.startswith("treadle_")]:
        del sys.modules[name]


def test_they_are_the_same_in_every_process(tmp_path: Path) -> None:
    """Whatever the seed of hashes, under whichever name the module is known, and in whichever order it imports."""
    shop = tmp_path / "shop.py"
    body = "(EITHER, deep(x), KINDS, TABLE, Tax, TERMS, Level, wrapped(x), even(x), tax)"
    shop.write_text(f"{USED}\n\ndef f(x):\n    return {body}\n\nw = td.step(f).fingerprint\n")
    root = Path(td.__file__).parents[1]

    def said(code: str, seed: str) -> str:
        told = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"}
        done = subprocess.run(
            [sys.executable, "-B", "-c", textwrap.dedent(code)],
            env=told,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    once = said("import shop; print(shop.w)", "1")
    assert once == said("import json, decimal, shop; print(shop.w)", "2")
    assert once == said(f"exec(open({str(shop)!r}).read()); print(w)", "3")
    assert once == mark(body)


def test_an_object_that_will_not_be_looked_at_is_no_error() -> None:
    """A stand-in may raise whatever it is asked; it counts by its type."""

    class Unwilling:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise RuntimeError("not now")

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    space = module("thing.x")
    space["thing"] = Unwilling()
    assert scheme_of(td.step(space["f"]).fingerprint) == 2


def test_names_are_found_in_code() -> None:
    """With the attributes that are read of them at once; what a class body has itself is no global name."""

    def code(x: Any) -> Any:
        class Inner:
            mine = 1
            also = mine

        x.attribute = math.pi  # type: ignore[name-defined]  # noqa: F821
        return Inner, [tax.rates.low for _ in x]  # type: ignore[name-defined]  # noqa: F821

    uses = uses_of(code.__code__)
    assert ("math", "pi") in uses.reads
    assert ("tax", "rates", "low") in uses.reads
    assert not any(chain[0] == "mine" for chain in uses.reads)
    assert uses.sets == {"attribute"}


@pytest.mark.parametrize(
    ("value", "digest"),
    [
        ([1, "a", None, 2.5, True], "ca96051c1c4c8baf"),
        ((b"bytes", {"k": (1, 2)}, {3, 1}), "736397de28379e23"),
        ([int, len, partial(int, base=2)], "8c1e75c3ac65a559"),
    ],
)
def test_the_first_scheme_stays_what_it_was(value: Any, digest: str) -> None:
    """Logs that were begun under it are compared by it: what is no byte code is the same in every Python."""
    assert fingerprint(value, NARROW) == digest
    assert scheme_of(digest) == NARROW


def test_a_long_way_is_followed_to_its_end() -> None:
    """Pages do not nest, so a chain of calls may be as long as it likes."""
    names = [f"h{number}" for number in range(1_500)]
    calls = [f"def {name}(x): return {after}(x)\n" for name, after in pairwise(names)]
    text = "".join(calls)

    assert mark("h0(x)", text) == mark("h0(x)", text)
    assert mark("h0(x)", text) != mark("h0(x)", text + "def h1499(x): return x\n")


def test_a_captured_component_is_what_it_is_made_of() -> None:
    """Whether a step is captured or named: its function counts, and neither its docstring nor its module."""

    def capturing(text: str) -> str:
        inner = module("x", text)["other_step"]
        return td.step(lambda x: inner(x)).fingerprint

    assert capturing(USED) == capturing(
        USED.replace("def other_step(x):", 'def other_step(x):\n    "Add."')
    )
    assert capturing(USED) != capturing(USED.replace("x + 7", "x + 70"))
