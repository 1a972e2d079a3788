"""`resume --settled`: a person says what became of an attempt that must not begin twice."""

from pathlib import Path

import pytest

from tests.cli.calling import Call
from tests.cli.durable import SHOP, Folder

ONCE = (
    SHOP.replace("return Half(n // 2)", "return n // 2")
    .replace("(half: Half)", "(half)")
    .replace("half.value", "half")
    + 'policies = {"halve": td.Policy(effects="at_most_once")}\n'
)
RESUME = ("resume", "X", "shop.py", "--json")


@pytest.fixture
def interrupted(tmp_path: Path, url: str) -> Folder:
    """A run X whose process was killed while one number was being halved."""
    folder = Folder(tmp_path, url)
    (tmp_path / "shop.py").write_text(ONCE, encoding="utf-8")
    folder.killed("run", "shop.py", "--input", "0", "--id", "X", waits=(0,))
    return folder


@pytest.mark.slow
def test_what_was_found_out_is_taken(interrupted: Folder) -> None:
    """The run does not go on until somebody says what the attempt gave; it is not made again."""
    asked = interrupted.treadle(*RESUME)
    assert asked.code == 2
    assert "ambiguous" in asked.err
    told = interrupted.treadle(*RESUME, "--settled", "halve=21", "--max-concurrency", "1")

    assert (told.code, told.err) == (0, "")
    assert told.objects[0]["results"] == {"describe": {"half": 21, "status": "small"}}
    assert interrupted.calls() == [0]


@pytest.mark.slow
def test_what_did_not_take_effect_is_made_again(interrupted: Folder) -> None:
    """A component that there is not is refused before."""
    wrong = interrupted.treadle(*RESUME, "--settled", "halv=retry")
    assert wrong.code == 2
    assert "no component 'halv'. Did you mean 'halve'?" in wrong.err
    told = interrupted.treadle(*RESUME, "--settled", "halve=retry")

    assert (told.code, told.err) == (0, "")
    assert told.objects[0]["results"] == {"describe": {"half": 0, "status": "small"}}
    assert interrupted.calls() == [0, 0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("X", "shop.py", "--settled", "halve=paid"), "--settled 'halve=paid' is not JSON"),
        (("X", "shop.py", "--settled", "halve"), "--settled 'halve' names no value"),
        (("--all", "shop.py", "--settled", "halve=1"), "--settled is for one run"),
    ],
)
def test_what_says_nothing_is_refused(call: Call, words: tuple[str, ...], said: str) -> None:
    """With exit code 2, before anything is looked for."""
    called = call("resume", *words)

    assert called.code == 2
    assert said in called.err
