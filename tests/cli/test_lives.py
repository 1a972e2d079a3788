"""`rerun`, `upgrade` and `gc`: runs that come of runs, what a deploy would do to them, and which are forgotten."""

import sys
from pathlib import Path

import pytest

from tests.cli.calling import Call

RUN = ("run", "shop.py", "--inputs", "feed.jsonl", "--id", "X")


@pytest.fixture
def kept(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch, url: str) -> Call:
    """The command, with a run X of three inputs in the store."""
    monkeypatch.setenv("TREADLE_STORE", url)
    (folder / "feed.jsonl").write_text("4\n7\n30\n", encoding="utf-8")
    assert call(*RUN).code == 0
    return call


def change(folder: Path, before: str, after: str) -> None:
    """Write the shop's file anew."""
    text = (folder / "shop.py").read_text(encoding="utf-8")
    assert before in text
    (folder / "shop.py").write_text(text.replace(before, after), encoding="utf-8")
    sys.modules.pop("shop", None)


def test_a_component_is_to_be_done_again(kept: Call, folder: Path) -> None:
    """Seven could not be halved: the code is mended, and that input is run again, in a run of its own."""
    whole = kept("logs", "X", "--json").objects
    change(folder, "1 / (number - number)", "number // 2 + 1")
    called = kept("rerun", "X", "halve", "shop.py", "--input", "1", "--id", "Y", "--json")

    assert called.code == 0
    assert called.objects[0]["run"] == "Y"
    assert called.objects[0]["status"] == "stopped"
    (info,) = [each for each in kept("ls", "--json").objects if each["id"] == "Y"]
    assert info["note"] == f"rerun of X at {len(whole)}: halve for input 1"
    resumed = kept("resume", "Y", "shop.py", "--json")
    assert resumed.code == 0
    inputs = [row for row in resumed.objects if row["type"] == "input"]
    assert [row["results"]["describe"]["half"] for row in inputs] == [2, 4, 15]
    assert kept("logs", "X", "--json").objects == whole


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rerun", "Y", "halve", "shop.py"), "there is no run 'Y'"),
        (("rerun", "X", "halv", "shop.py"), "'halv'"),
        (("rerun", "X", "halve", "gone.py"), "there is no file 'gone.py'"),
        (("rerun", "X", "halve", "other.py"), "'the shop', and the file holds 'other'"),
        (("rerun", "X", "halve", "shop.py", "--id", "X"), "there is a run 'X' already"),
        (("rerun", "X", "halve", "shop.py", "--input", "9"), "there is no input 9"),
        (("upgrade", "shop.py"), "--plan says what would happen"),
        (("upgrade", "shop.py", "--plan", "--policy", "adpt"), "Did you mean 'adopt'?"),
        (("upgrade", "gone.py", "--plan"), "there is no file 'gone.py'"),
        (("gc", "--failed-for", "soon"), "'soon' is no duration"),
    ],
)
def test_what_cannot_be_done_is_refused(
    kept: Call, folder: Path, words: tuple[str, ...], said: str
) -> None:
    """With exit code 2, and what is wrong."""
    (folder / "other.py").write_text(
        "import treadle as td\nw = td.workflow('other', steps=[td.step(lambda n: n, name='s')])\n",
        encoding="utf-8",
    )
    called = kept(*words)

    assert called.code == 2
    assert said in called.err
    assert [each["id"] for each in kept("ls", "--json").objects] == ["X"]


def test_the_same_code_goes_on(kept: Call) -> None:
    """Nothing would be refused, and the exit code says so."""
    called = kept("upgrade", "shop.py", "--plan")

    assert called.code == 0
    assert called.out.splitlines()[0] == "X: would go on, unchanged"
    assert called.out.splitlines()[-1] == "1 run of the shop: 0 would be refused"


def test_other_code_is_refused_unless_a_word_is_given(kept: Call, folder: Path) -> None:
    """Run by run, component by component; the words are those of on_code_change."""
    kept("run", "shop.py", "--input", "1", "--id", "gone")
    kept("cancel", "gone")
    change(folder, "half < 10", "half < 100")
    length = len(kept("logs", "X", "--json").objects)
    refused = kept("upgrade", "shop.py", "--plan")

    assert refused.code == 1
    assert refused.out.splitlines()[0] == "X: would not go on"
    assert "describe  code changed (used)" in refused.out
    assert "gone" not in refused.out
    assert refused.out.splitlines()[-1] == "1 run of the shop: 1 would be refused"

    adopted = kept("upgrade", "shop.py", "--plan", "--policy", "describe=adopt", "--json")
    assert adopted.code == 0
    row, summary = adopted.objects
    assert (row["runs"], row["goes_on"], row["is_fork"]) == (["X"], True, False)
    assert [each["policy"] for each in row["components"]] == ["adopt"]
    assert summary == {"type": "summary", "runs": 1, "refused": 0, "forks": 0}

    again = kept("upgrade", "shop.py", "--plan", "--policy", "recompute")
    assert again.code == 0
    assert "X: would go on as a fork" in again.out
    assert again.out.splitlines()[-1].endswith("0 would be refused, 1 would go on as forks")
    assert len(kept("logs", "X", "--json").objects) == length


def test_values_that_could_not_be_read_are_told_before(kept: Call, folder: Path) -> None:
    """A class that asks for more than was stored would stop the run, whatever the words say of the code."""
    shop = (
        "from dataclasses import dataclass\nimport treadle as td\n@dataclass\nclass Order:\n    number: int\n"
        "def take(number) -> Order:\n    return Order(number)\n"
        "workflow = td.workflow('sales').add(take)\n"
    )
    (folder / "sales.py").write_text(shop, encoding="utf-8")
    assert kept("run", "sales.py", "--input", "1", "--id", "S").code == 0
    sys.modules.pop("sales", None)
    assert kept("upgrade", "sales.py", "--plan").code == 0
    sys.modules.pop("sales", None)
    (folder / "sales.py").write_text(
        shop.replace("number: int", "number: int\n    country: str"), encoding="utf-8"
    )
    planned = kept("upgrade", "sales.py", "--plan", "--policy", "adopt")

    assert planned.code == 1
    assert "'sales:Order' was stored without 'country'" in planned.out
    sys.modules.pop("sales", None)


def test_a_workflow_with_another_name_is_told_of_the_others(kept: Call, folder: Path) -> None:
    """No run of it is there, and so nothing would be refused, which is no good news."""
    change(folder, '"the shop"', '"the store"')
    called = kept("upgrade", "shop.py", "--plan")

    assert (
        called.out == "0 runs of the store: 0 would be refused; the store has runs of 'the shop'\n"
    )


def test_the_list_has_one_line_for_each_run(kept: Call, folder: Path) -> None:
    """Of a note that says much the first line; `show` has it all."""
    change(folder, "half < 10", "half < 100")
    kept("resume", "X", "shop.py")
    listed, shown = kept("ls").out, kept("show", "X").out

    assert listed.rstrip().endswith("is not the code that this run was begun with:")
    assert "'describe' (used): its code was" in shown
    assert "\\n" not in shown


def test_runs_of_which_the_same_would_become_are_told_as_one(kept: Call, folder: Path) -> None:
    """With their number, and in how many of them a component was used; --each tells of every one."""
    for id in ("Y", "Z", "W"):
        kept("run", "shop.py", "--input", "4", "--id", id)
    kept("run", "shop.py", "--input", "7", "--id", "never used")
    change(folder, "half < 10", "half < 100")
    refused = kept("upgrade", "shop.py", "--plan")

    assert refused.code == 1
    lines = refused.out.splitlines()
    assert lines[0] == "5 runs: would not go on"
    assert lines[1] == "  X, Y, Z and 2 more"
    assert "describe  code changed (used in 4): " in lines[2]
    assert lines[-1] == "5 runs of the shop: 5 would be refused"
    group, summary = kept("upgrade", "shop.py", "--plan", "--json").objects
    assert (group["count"], group["runs"]) == (5, ["X", "Y", "Z", "W", "never used"])
    assert [each["used"] for each in group["components"]] == [4]
    assert summary == {"type": "summary", "runs": 5, "refused": 5, "forks": 0}
    assert len(kept("upgrade", "shop.py", "--plan", "--json", "--each").objects) == 6
    lines = kept("upgrade", "shop.py", "--plan", "--policy", "recompute").out.splitlines()
    assert "4 runs: would go on as forks" in lines
    assert "never used: would go on" in lines


def test_what_was_stopped_and_what_is_too_much_is_forgotten(kept: Call) -> None:
    """Each by its own option, of one workflow or of all."""
    kept("fork", "X", "--at", "3", "--id", "stopped")
    for id in ("Y", "Z"):
        kept("run", "shop.py", "--input", "1", "--id", id)
    assert kept("gc", "--most", "1", "--workflow", "another").out.startswith("let go of 0 runs")
    assert kept("gc", "--most", "1").out.startswith("let go of 2 runs")
    assert [each["id"] for each in kept("ls", "--json").objects] == ["stopped", "Z"]
    assert kept("gc", "--failed-for", "1d").out.startswith("let go of 0 runs")
    assert kept("gc", "--failed-for", "0s").out.startswith("let go of 1 run,")
    assert [each["id"] for each in kept("ls", "--json").objects] == ["Z"]
