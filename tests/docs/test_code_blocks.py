"""The pages run: their Python is executed, what it says it prints is compared, the files they name exist.

A block marked `python` is run; the blocks of one page share a namespace, in order. What a statement prints is
compared with the comments on its last line and directly below it, if there are any; `...` stands for anything.
A block marked `python no-run: <reason>` is only compiled.
"""

import ast
import doctest
import io
import re
import runpy
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from tests.tidy.tree import ROOT, SOURCE, files, shown

PAGES = [ROOT / "README.md", *files(ROOT / "docs", ".md")]
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

FENCED = re.compile(r"^(```+)([^\n`]*)\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
NO_RUN = re.compile(r"python no-run: \S.*")

INLINE = re.compile(r"`([^`\n]+)`")
# Something with the ending of a file, or a folder: `model/work.py`, `tests/tidy/`; not `component/part`.
FILE_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)*(?:\.(?:py|md|toml|yml|jsonl|json|txt|in|css)|/)")
LINKED = re.compile(r"\[[^\]]*\]\([^)]*\)")  # test_texts.py follows links
LINK_TO_CODE = re.compile(r"\[`([^`\]]+)`\]\(([^)\s#]+\.py)\)")


class Block(NamedTuple):
    """A fenced block of a page: what it is marked as, its text, and the line it begins on."""

    mark: str
    text: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """Give the fenced blocks of a page."""
    for found in FENCED.finditer(text):
        yield Block(found[2].strip(), found[3], text.count("\n", 0, found.start(3)))


def said(text: str) -> dict[int, str]:
    """Give what the comments beside and directly below a line say, for each line that has any."""
    comments = {
        token.start[0]: (token.string[1:].strip(), token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[int, str] = {}
    for line in range(1, text.count("\n") + 1):
        beside, is_alone = comments.get(line, ("", True))
        lines = [] if is_alone else [beside]
        below = line + 1
        while not comments.get(line, ("", False))[1] and comments.get(below, ("", False))[1]:
            lines.append(comments[below][0])
            below += 1
        if lines:
            found[line] = "\n".join(lines)
    return found


def faults_of(block: Block, page: str, namespace: dict[str, Any]) -> list[str]:
    """Run a block, statement by statement; give what it printed that is not what it says."""
    faults: list[str] = []
    promised = said(block.text)
    checker = doctest.OutputChecker()
    for statement in ast.parse(block.text).body:
        want = promised.get(statement.end_lineno or 0)
        ast.increment_lineno(statement, block.line)
        code = compile(ast.Module([statement], []), page, "exec")
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(code, namespace)
        got = printed.getvalue()
        if got and want is not None and not checker.check_output(want + "\n", got, LOOSE):
            faults.append(f"{page}:{statement.lineno}: says {want!r}, prints {got!r}")
    return faults


def run_page(text: str, page: str) -> list[str]:
    """Run the blocks of a page in one namespace; give what is wrong with them."""
    module = ModuleType(re.sub(r"\W", "_", f"page_{page}"))
    sys.modules[module.__name__] = module  # so that what a page defines can be pickled
    faults: list[str] = []
    try:
        for block in blocks(text):
            if block.mark == "python":
                faults += faults_of(block, page, module.__dict__)
            elif NO_RUN.fullmatch(block.mark):
                compile(block.text, page, "exec")
            elif block.mark.startswith("py"):
                faults.append(f"{page}:{block.line}: {block.mark!r} does not say why it is not run")
    finally:
        del sys.modules[module.__name__]
    return faults


def named_files(text: str) -> list[str]:
    """Give what a page names, in code, that looks like a file or a folder."""
    spans = INLINE.findall(LINKED.sub("", FENCED.sub("", text)))
    return [span for span in spans if FILE_NAME.fullmatch(span) and "NNNN" not in span]


def exists(name: str, page: Path) -> bool:
    """Say whether a name leads somewhere: from the root, the package, or the page's own folder."""
    return any((folder / name).exists() for folder in (ROOT, SOURCE, page.parent))


def missing_names(page: Path) -> list[str]:
    """Give the links to code whose text, such as `fold.accept`, names nothing in that file."""
    missing = []
    for name, target in LINK_TO_CODE.findall(page.read_text(encoding="utf-8")):
        last = name.rpartition(".")[2]
        if name.endswith(".py"):
            continue
        code = (page.parent / target).read_text(encoding="utf-8")
        if not re.search(rf"^\s*(?:(?:async )?def|class) {last}\b|^{last}\b", code, re.MULTILINE):
            missing.append(f"{name} in {target}")
    return missing


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_code_runs_and_prints_what_it_says(page: Path) -> None:
    """Whoever copies a block from a page gets what the page shows."""
    assert run_page(page.read_text(encoding="utf-8"), shown(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_named_files_exist(page: Path) -> None:
    """A file or folder that a page names is there."""
    names = named_files(page.read_text(encoding="utf-8"))

    assert [name for name in names if not exists(name, page)] == []


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_linked_names_are_defined(page: Path) -> None:
    """A function or class that a page links to is defined in the file that the link leads to."""
    assert missing_names(page) == []


def test_picture_is_the_one_drawn() -> None:
    """The flowchart on the front page is that of the example."""
    pictures = [block.text for block in blocks(front_page()) if block.mark == "mermaid"]
    example = runpy.run_path(str(ROOT / "examples" / "order_fulfillment.py"))

    assert pictures == [example["workflow"].to_mermaid() + "\n"]


@pytest.mark.slow
def test_demo_prints_what_the_front_page_shows(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo prints just that, but for what `...` leaves out; how far it came by when is different each time."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(SOURCE.parent))
    (excerpt,) = [
        block.text for block in blocks(front_page()) if block.text.startswith("$ make demo")
    ]
    killed, program = [command.removeprefix("python ") for command in demo_commands()]
    runpy.run_path(str(ROOT / killed))["main"](tmp_path / "demo", pace=0.2)
    by_command = capfd.readouterr().out.replace(str(tmp_path / "demo"), ".demo")
    runpy.run_path(str(ROOT / program))["main"](pace=0)
    by_program = capfd.readouterr().out
    printed = f"$ make demo\n{by_command}\npython {program}\n{by_program}"

    assert first_fault(excerpt, printed) is None
    lines = excerpt.splitlines()
    for number, line in enumerate(lines):
        if line not in {"", "..."}:
            changed = [*lines[:number], f"{line} more", *lines[number + 1 :]]
            assert first_fault("\n".join(changed), printed) == number
    assert first_fault(excerpt, printed + "and more\n") is not None


def first_fault(excerpt: str, printed: str) -> int | None:
    """Give the number of the excerpt's first line that is not printed, or not there; `...` stands for any lines."""
    told, lines = [timeless(text).splitlines() for text in (excerpt, printed)]
    at, is_open = 0, False
    for number, line in enumerate(told):
        if line == "...":
            is_open = True
            continue
        found = lines.index(line, at) if line in lines[at:] else None
        if found is None or (found != at and not is_open):
            return number
        at, is_open = found + 1, False
    return None if at == len(lines) or is_open else len(told)


def demo_commands() -> list[str]:
    """Give the commands that `make demo` runs, as somebody would type them who has no .venv."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    _, _, rest = makefile.partition("\ndemo:")
    recipe = rest.partition("\n\n")[0].splitlines()[1:]
    return [line.partition("$(BIN)/")[2] for line in recipe if line.startswith("\t@$(BIN)/")]


def timeless(line: str) -> str:
    """Give an account without how long it took, how much went on at once, and how far it came until it was killed."""
    for pattern in TIMED:
        line = re.sub(pattern, lambda found: re.sub(r"[\d.]+", "N", found[0]), line)
    return line


TIMED = (
    r"up to \d+",
    r"\b[\d.]+ s\b",
    r"\d+ attempts",
    r"after \d+ calls",
    r"(?m)^\d+ of the inputs were finished before",
    r"idle, \d+ events",
    r"(?m)^\d+ calls came back, and \d+ that",
)


def front_page() -> str:
    """Give the text of the README."""
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_guard_sees_what_it_looks_for() -> None:
    """Wrong output, an unexplained skip and an error are found; right output and no output are not."""
    page = textwrap.dedent("""\
        # Page

        ```python
        x = 6  # a remark
        print(x)  # 6
        for each in (1, 2):
            print(each)
        # 1
        # 2
        print("not compared")

        # a remark of its own
        print([x] * 20)  # [6, ...]
        ```

        ```python
        print(x)  # 7
        ```

        ```python no-run: it would wait for a person
        wait()
        ```

        ```python no-run
        ```
        """)

    assert run_page(page, "page.md") == [
        "page.md:17: says '7', prints '6\\n'",
        "page.md:24: 'python no-run' does not say why it is not run",
    ]
    with pytest.raises(ZeroDivisionError):
        run_page("```python\n1 / 0\n```\n", "page.md")
    assert named_files(
        "`a/b.py` `component/part` `tests/` `x.y` `make demo`\n```\n`c.py`\n```\n"
    ) == [
        "a/b.py",
        "tests/",
    ]
