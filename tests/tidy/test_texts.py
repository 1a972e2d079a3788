"""What no committed text may hold, and what every page must: links that lead somewhere, one title."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT, files, shown

# Written in pieces, so that this file does not hold what it looks for.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("proxy", "golang", "org"),
        ("crates", "io"),
    )
]
REGISTRY = re.compile("|".join(map(re.escape, REGISTRIES)), re.IGNORECASE)

# A path that is true on one machine only. /tmp and /path/to are fine in examples.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|root|home|farm|Users|opt)/\w")

FENCED = re.compile(r"^(```+|~~~+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(
    r"\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE
)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)

PAGES = list(files(ROOT, ".md"))
# A fragment is a sentence of the changelog to come, without a title of its own.
TITLED = [page for page in PAGES if page.parent.name != "changelog.d" or page.name == "README.md"]


def lines_with(pattern: re.Pattern[str], text: str) -> list[int]:
    """Give the numbers of the lines that hold the pattern."""
    return [number for number, line in enumerate(text.splitlines(), 1) if pattern.search(line)]


def texts() -> Iterator[tuple[str, str]]:
    """Give (path, content) of each file that is text."""
    for path in files():
        try:
            yield shown(path), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def prose(text: str) -> str:
    """Give a page without its code."""
    return CODE.sub("", FENCED.sub("", text))


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as code hosts and as the built pages make them."""
    found = set()
    for heading in HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        plain = re.sub(r"[^\w\s-]", "", heading).strip().lower()
        found |= {re.sub(r"\s", "-", plain), re.sub(r"[\s-]+", "-", plain)}
    return found


def broken_links(page: Path) -> list[str]:
    """Give the links of a page that lead nowhere in this checkout; the outside is not asked."""
    broken = []
    for inline, reference in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        link = inline or reference
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target)
        ):
            broken.append(link)
    return broken


def test_no_registry_is_named() -> None:
    """Pinned files and pages work with any index, so none is named anywhere."""
    assert [f"{path}:{line}" for path, text in texts() for line in lines_with(REGISTRY, text)] == []


def test_no_path_of_one_machine() -> None:
    """Nothing refers to a place that exists on its author's machine only."""
    assert [
        f"{path}:{line}" for path, text in texts() for line in lines_with(MACHINE_PATH, text)
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_resolve(page: Path) -> None:
    """Every link within the repository leads to a file, and to a heading where it names one."""
    assert broken_links(page) == []


@pytest.mark.parametrize("page", TITLED, ids=shown)
def test_page_has_one_title(page: Path) -> None:
    """A page starts with its only first-level heading."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = [line for line in text.splitlines() if line.startswith("# ")]

    assert text.startswith("# ")
    assert len(titles) == 1, titles


def test_guards_see_what_they_look_for(tmp_path: Path) -> None:
    """Hosts and machine paths are found, and their harmless look-alikes are not."""
    assert lines_with(REGISTRY, f"plain\nhttps://{REGISTRIES[0]}/simple") == [2]
    assert lines_with(MACHINE_PATH, "open('/" + "home/ada/x')\n/tmp/x\nsrc/own/x\n~/own/x") == [1]

    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n## What's `new`?\n\n[a](#whats-new) [b](#old) [c](gone.md) [d](page.md#title)\n"
        "`[e](code.md)`\n\n```\n# [f](code.md)\n```\n[g](https://example.invalid/x)\n",
        encoding="utf-8",
    )
    assert broken_links(page) == ["#old", "gone.md"]
