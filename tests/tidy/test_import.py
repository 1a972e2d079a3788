"""What `import treadle` loads: no more than a workflow of plain steps needs."""

import subprocess
import sys

import pytest

PLAIN = (
    "import treadle as td\n"
    "done = td.workflow('plain', steps=[td.step(len, name='size')]).react_until_satisfied('four')\n"
    "assert done.results() == {'size': 4}\n"
)
UNNEEDED = [
    "asyncio",
    "fnmatch",
    "logging",
    "treadle.components.condition",
    "treadle.engine.index",
    "treadle.interfaces",
    "treadle.model.one_line",
    "treadle.model.patterns",
    "treadle.policies",
    "treadle.runner",
]


@pytest.mark.slow
@pytest.mark.parametrize("program", ["import treadle\n", PLAIN], ids=["import", "plain steps"])
def test_what_nothing_needs_is_not_loaded(program: str) -> None:
    """Neither the import nor a workflow of plain steps loads rules, policies, patterns or a runner."""
    assert loaded_by(program).isdisjoint(UNNEEDED)


@pytest.mark.slow
def test_guard_sees_what_is_loaded() -> None:
    """A program that asks for all of it loads all of it, so that no name above is out of date."""
    asking = (
        "import treadle as td\n"
        "def no(value): raise ValueError(value)\n"
        "made = td.workflow('w', steps=[td.rule(no, condition=td.gt(1), name='no')], policies={'n*': td.Policy()})\n"
        "made.react_until_satisfied(5)\n"
    )
    assert loaded_by(asking).issuperset(UNNEEDED)


def loaded_by(program: str) -> set[str]:
    """Give the names of the modules that a fresh interpreter has after a program."""
    command = [sys.executable, "-W", "error", "-c", f"{program}import sys\nprint(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())
