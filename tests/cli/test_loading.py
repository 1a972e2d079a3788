"""`FILE[:NAME]`: which workflow is meant, and what is said when there is none."""

import sys
from pathlib import Path

import pytest

from tests.cli.calling import Call

SEVERAL = """
import treadle as td

alpha = td.workflow("first", steps=[td.step(lambda n: n + 1, name="add")])
also_alpha = alpha
beta = td.workflow("second", steps=[td.step(lambda n: n * 2, name="double")])
done = alpha.react_until_satisfied(1)
"""


def write(folder: Path, name: str, text: str) -> None:
    """Put a file into the folder."""
    (folder / name).write_text(text, encoding="utf-8")


def test_the_one_workflow_needs_no_name(call: Call) -> None:
    """A file with one workflow is enough, of whatever name."""
    assert call("run", "shop.py", "--input", "4").code == 0


@pytest.mark.parametrize(
    ("name", "result"), [("alpha", 6), ("also_alpha", 6), ("first", 6), ("second", 10)]
)
def test_a_name_is_a_variable_or_a_workflows_own(
    folder: Path, call: Call, name: str, result: int
) -> None:
    """Either name finds a workflow in a file with several."""
    write(folder, "several.py", SEVERAL)
    called = call("run", f"several.py:{name}", "--input", "5", "--json")

    assert list(called.objects[0]["results"].values()) == [result]


def test_several_are_listed(folder: Path, call: Call) -> None:
    """Without a name, several workflows are an error that lists them; driven ones are none of them."""
    write(folder, "several.py", SEVERAL)
    called = call("run", "several.py", "--input", "5")

    assert called.code == 2
    assert "several.py holds 2 workflows: alpha ('first'), beta ('second')" in called.err
    assert "several.py:alpha" in called.err
    assert called.out == ""


def test_an_unknown_name_hears_the_nearest(folder: Path, call: Call) -> None:
    """A slip of the pen is answered with the name that was meant."""
    write(folder, "several.py", SEVERAL)
    called = call("run", "several.py:secnod", "--input", "5")

    assert called.code == 2
    assert "no workflow 'secnod'. Did you mean 'second'?" in called.err


def test_a_driven_workflow_is_refused(folder: Path, call: Call) -> None:
    """What has inputs already is not run once more."""
    write(folder, "several.py", SEVERAL)
    called = call("run", "several.py:done", "--input", "5")

    assert called.code == 2
    assert "'done' of several.py has inputs already" in called.err


def test_two_of_one_name_are_told_apart_by_variable(folder: Path, call: Call) -> None:
    """A workflow's name that two have does not say which."""
    write(folder, "same.py", SEVERAL.replace('"second"', '"first"'))

    assert (
        "holds 2 workflows named 'first': alpha" in call("run", "same.py:first", "--input", "5").err
    )
    assert call("run", "same.py:beta", "--input", "5").code == 0


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("sohp.py", "there is no file 'sohp.py'. Did you mean 'shop.py'?"),
        ("gone/shop.py", "there is no file 'gone/shop.py'."),
        ("empty.py", "empty.py holds no workflow"),
        ("notes.txt", "'notes.txt' is no Python file"),
    ],
)
def test_what_is_not_there_is_said(folder: Path, call: Call, target: str, said: str) -> None:
    """A missing file, a file without workflows, and one that is not Python."""
    write(folder, "empty.py", "x = 1\n")
    write(folder, "notes.txt", "buy milk\n")
    called = call("run", target, "--input", "5")

    assert called.code == 2
    assert said in called.err
    assert "Traceback" not in called.err


def test_a_raising_file_shows_its_own_line(folder: Path, call: Call) -> None:
    """The traceback begins in the user's file; nothing of how it was loaded is in it."""
    write(folder, "helper.py", "def check(prices):\n    return prices['tea']\n")
    write(folder, "broken.py", "from helper import check\n\ncheck({})\n")
    called = call("run", "broken.py", "--input", "5")

    assert called.code == 2
    assert 'broken.py", line 3, in <module>\n    check({})' in called.err
    assert "helper.py\", line 2, in check\n    return prices['tea']" in called.err
    assert "KeyError: 'tea'" in called.err
    assert "importlib" not in called.err
    assert "loading.py" not in called.err


def test_a_syntax_error_shows_its_place(folder: Path, call: Call) -> None:
    """What is not Python is shown as Python shows it."""
    write(folder, "broken.py", "import treadle as td\n\nw = td.workflow('w'\n")
    called = call("graph", "broken.py")

    assert called.code == 2
    assert 'broken.py", line 3' in called.err
    assert "SyntaxError: '(' was never closed" in called.err


def test_a_graph_that_cannot_be_is_shown_at_its_line(folder: Path, call: Call) -> None:
    """A mistake in the workflow leads to the user's line, and not through the library's."""
    text = "import treadle as td\n\n\ndef f(x): ...\n\n\nw = td.workflow('w', steps=[f, f, f])\n"
    write(folder, "broken.py", text)
    called = call("run", "broken.py", "--input", "5")

    assert called.code == 2
    assert 'broken.py", line 7, in <module>' in called.err
    assert called.err.count("DuplicateName: a component named 'f'") == 2
    assert "build.py" not in called.err


def test_a_file_that_exits_is_an_error(folder: Path, call: Call) -> None:
    """`sys.exit` at the top of a file does not look like a run that went well."""
    write(folder, "script.py", "import sys\n\nsys.exit(0)\n")
    called = call("run", "script.py", "--input", "5")

    assert called.code == 2
    assert "SystemExit: 0" in called.err


def test_the_main_part_of_a_file_is_not_run(folder: Path, call: Call) -> None:
    """The file is imported, so a script's own demonstration stays out of it."""
    text = (folder / "shop.py").read_text(encoding="utf-8")
    write(folder, "shop.py", text + "\nif __name__ == '__main__':\n    1 / 0\n")

    assert call("run", "shop.py", "--input", "4").code == 0


def test_a_file_imports_its_neighbours(folder: Path, call: Call) -> None:
    """As with `python FILE`, the file's folder is first on the path, wherever one stands."""
    (folder / "sub").mkdir()
    write(
        folder / "sub", "parts.py", "import treadle as td\n\n\ndef double(n):\n    return 2 * n\n"
    )
    write(
        folder / "sub",
        "flow.py",
        "import treadle as td\nfrom parts import double\n\nw = td.workflow('w', steps=[double])\n",
    )
    called = call("run", "sub/flow.py", "--input", "4", "--json")

    assert called.objects[0]["results"] == {"double": 8}


def test_a_file_takes_no_modules_place(folder: Path, call: Call) -> None:
    """A file that is called like an imported module is run, and the module stays."""
    json_before = sys.modules["json"]
    write(folder, "json.py", (folder / "shop.py").read_text(encoding="utf-8"))

    assert call("run", "json.py", "--input", "4").code == 0
    assert sys.modules["json"] is json_before
