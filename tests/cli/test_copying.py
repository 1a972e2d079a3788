"""`backup` and `import` of whole stores: from each kind into each."""

from pathlib import Path

import pytest

from tests.cli.calling import Call
from tests.conftest import url_of
from tests.durability.places import looked_into

RUN = ("run", "shop.py", "--inputs", "feed.jsonl", "--id")


@pytest.fixture
def kept(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch, url: str) -> Call:
    """The command, with two runs in the store; of one, something was let go of."""
    monkeypatch.setenv("TREADLE_STORE", url)
    (folder / "feed.jsonl").write_text("4\n7\n30\n", encoding="utf-8")
    for id in ("X", "Y"):
        assert call(*RUN, id).code == 0
    return call


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_store_moves_by_a_backup(
    kept: Call, kind: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    """The copy can be looked at and verified as it is; imported, its runs go on where they were."""
    (folder / "new").mkdir()
    other = url_of(kind, request, folder / "new")
    backed = kept("backup", "copy.db")
    assert (backed.code, backed.err) == (0, "")
    assert sorted(path.name for path in folder.glob("copy.db*")) == ["copy.db"]
    assert kept("verify", "--store", "copy.db").out.startswith("2 runs, ")
    imported = kept("import", "copy.db", "--store", other)

    assert (imported.code, imported.err) == (0, "")
    assert imported.out.startswith("2 runs, ")
    assert [each["id"] for each in kept("ls", "--json", "--store", other).objects] == ["X", "Y"]
    logs = [kept("logs", "X", "--json", "--store", each).objects for each in (other, "copy.db")]
    assert logs[0] == logs[1] == kept("logs", "X", "--json").objects
    (folder / "feed.jsonl").write_text("4\n7\n30\n8\n", encoding="utf-8")
    more = kept(*RUN, "X", "--store", other)
    assert "3 of the inputs were finished before this began" in more.out
    assert kept("verify", "--store", other).code == 0
    again = kept("import", "copy.db", "--store", other)
    assert again.code == 2
    assert "holds runs already" in again.err


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_run_that_cannot_be_read_is_left_out(kept: Call, url: str) -> None:
    """It is named, and the exit code says so; programs are told the same."""
    with looked_into(url) as server:
        server.execute(
            "UPDATE event SET link = 'x' WHERE position = 2 "
            "AND run = (SELECT pk FROM run WHERE id = 'X')"
        )
    called = kept("backup", "copy.db")

    assert called.code == 1
    assert "the run 'X' is left out: the log of 'X' is damaged at position 2" in called.err
    assert called.out.startswith("1 run, ")
    assert kept("backup", "more.db", "--json").objects[0]["left_out"] == ["X"]
    assert [each["id"] for each in kept("ls", "--json", "--store", "more.db").objects] == ["Y"]


def test_an_empty_store_is_copied(call: Call, folder: Path, url: str) -> None:
    """There is nothing in it, and the copy is a store."""
    assert call("run", "shop.py", "--input", "4", "--id", "X", "--store", url).code == 0
    assert call("gc", "--finished-for", "0s", "--store", url).code == 0

    assert call("backup", "copy.db", "--store", url).code == 0
    assert call("ls", "--store", "copy.db").out == "no runs\n"
