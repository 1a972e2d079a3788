"""Large values that lie outside of the store, named in its URL."""

from pathlib import Path

import pytest

from tests.cli.calling import Call

FLOW = """
import hashlib

import treadle as td


@td.step
def grow(n):
    return "".join(hashlib.sha256(b"%d" % (n * each)).hexdigest() for each in range(5_000))


@td.step
def size(text):
    return len(text)


flow = td.workflow("large").add(grow).add(size, to="grow")
"""


@pytest.fixture
def kept(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command, with a run whose values lie in a folder."""
    (folder / "flow.py").write_text(FLOW, encoding="utf-8")
    monkeypatch.setenv("TREADLE_STORE", "runs.db?values=apart")
    done = call("run", "flow.py", "--input", "3", "--id", "X")
    assert (done.code, done.err) == (0, "")
    return call


def test_a_store_says_where_its_large_values_lie(kept: Call, folder: Path) -> None:
    """All commands find them by the URL; a store without it says what is missing, and not that it is damaged."""
    assert len(list((folder / "apart").iterdir())) == 1
    assert kept("verify").code == 0
    assert "size" in kept("logs", "X").out
    assert kept("export", "X", "--to", "x.run").code == 0
    assert kept("import", "x.run", "--store", "other.db").code == 0
    assert kept("verify", "--store", "other.db").code == 0
    without = kept("logs", "X", "--store", "runs.db")
    assert without.code == 2
    assert "does not lie in the store" in without.err


def test_room_is_made_there_too(kept: Call, folder: Path) -> None:
    """Once nothing refers to a value, and where somebody says so."""
    assert kept("gc", "--apart", "--unused-for", "0s").code == 0
    assert len(list((folder / "apart").iterdir())) == 1
    told = kept("gc", "--finished-for", "0s", "--apart", "--unused-for", "0s")
    assert "1 run, 0 events, 2 large values" in told.out
    assert list((folder / "apart").iterdir()) == []
    assert kept("gc", "--apart", "--store", "runs.db").code == 2
