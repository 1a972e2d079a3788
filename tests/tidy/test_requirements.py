"""What pyproject.toml asks for, what requirements/ pins, and what the two leave unsaid."""

import re
import tomllib

import pytest

from tests.tidy.tree import ROOT

FOLDER = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PIN = re.compile(r"^([a-z0-9._-]+)==(\S+)(?: ; (.+?))? \\$")


def asked(name: str) -> set[str]:
    """Give the requirements of an .in file, with those of the files that it includes."""
    found: set[str] = set()
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= asked(line.removeprefix("-r "))
        elif line and not line.startswith(("#", "-c ")):
            found.add(line)
    return found


def pinned(name: str) -> set[tuple[str, str, str]]:
    """Give (package, version, marker) of each pin of a .txt file."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return {match.groups("") for line in lines if (match := PIN.match(line))}  # type: ignore[misc]


def test_everything_the_project_asks_for_is_pinned() -> None:
    """An edit of pyproject.toml that is forgotten in requirements/ is found here."""
    assert {*PROJECT["dependencies"], *EXTRAS["cli"], *EXTRAS["test"]} <= asked("test.in")
    assert {*EXTRAS["cluster"]} <= asked("cluster.in")
    assert {*EXTRAS["dev"]} <= asked("dev.in")
    assert {*EXTRAS["docs"]} <= asked("docs.in")


@pytest.mark.parametrize("name", ["test", "cluster", "dev", "docs"])
def test_what_is_asked_is_pinned(name: str) -> None:
    """An edit of an .in file without `make lock` is found here."""
    wanted = {re.split(r"[<>=\[]", line)[0] for line in asked(f"{name}.in")}

    assert wanted <= {package for package, _, _ in pinned(f"{name}.txt")}


@pytest.mark.parametrize("name", ["test", "cluster", "dev", "docs"])
def test_every_pin_has_hashes(name: str) -> None:
    """Each line is a pin, a hash or a comment: no index, no link, no path, nothing unpinned."""
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    hashed = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")

    for number, line in enumerate(lines):
        assert PIN.match(line) or hashed.match(line) or re.match(r"^    #", line), line
        if PIN.match(line):
            assert hashed.match(lines[number + 1]), line


def test_pins_agree() -> None:
    """All files can be installed into one environment: the same package has the same version."""
    assert pinned("test.txt") <= pinned("dev.txt")

    versions = dict[str, set[str]]()
    every = pinned("dev.txt") | pinned("docs.txt") | pinned("cluster.txt")
    for package, version, marker in every:
        versions.setdefault(f"{package} {marker}", set()).add(version)
    assert {name for name, found in versions.items() if len(found) > 1} == set()
