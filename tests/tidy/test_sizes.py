"""Sizes at which a thing should have become two things. The baselines may only shrink."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.tidy.tree import ROOT, SOURCE, FunctionDef, files, parsed, shown

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600

# What was too long before there was a rule, with its length: "path:name" -> lines, path -> lines.
LONG_FUNCTIONS: Mapping[str, int] = {}
LONG_FILES: Mapping[str, int] = {}


def function_lengths(path: Path, root: Path) -> Iterator[tuple[str, int]]:
    """Give (place, lines) of each function: signature and body, without decorators and docstring."""
    pending: list[tuple[ast.AST, str]] = [(parsed(path), "")]
    while pending:
        node, outer = pending.pop()
        if isinstance(node, ast.ClassDef | FunctionDef):
            outer = f"{outer}.{node.name}".lstrip(".")
        if isinstance(node, FunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            first = node.body[0]
            if ast.get_docstring(node) is not None and first.end_lineno is not None:
                lines -= first.end_lineno - first.lineno + 1
            yield f"{shown(path, root)}:{outer}", lines
        pending.extend((child, outer) for child in ast.iter_child_nodes(node))


def too_long(sizes: Mapping[str, int], limit: int, baseline: Mapping[str, int]) -> list[str]:
    """Give one line for each size over its limit, and for each baseline that could shrink."""
    faults = [
        f"{place}: {lines} lines, at most {baseline.get(place, limit)}"
        for place, lines in sorted(sizes.items())
        if lines > baseline.get(place, limit)
    ]
    faults += [
        f"{place}: {sizes.get(place, 0)} lines now; let the baseline shrink"
        for place, lines in sorted(baseline.items())
        if sizes.get(place, 0) < lines
    ]
    return faults


def test_functions_are_short() -> None:
    """No function of the library or of its tests is longer than one can hold in mind."""
    sizes = {
        place: lines
        for folder in (SOURCE, ROOT / "tests")
        for path in files(folder, ".py")
        for place, lines in function_lengths(path, ROOT)
    }

    assert too_long(sizes, FUNCTION_LINES_MAX, LONG_FUNCTIONS) == []


def test_files_have_one_purpose() -> None:
    """No file of the library is so long that it must be about two things."""
    sizes = {
        shown(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in files(SOURCE, ".py")
    }

    assert too_long(sizes, FILE_LINES_MAX, LONG_FILES) == []


def test_lengths_leave_out_decorators_and_docstrings(tmp_path: Path) -> None:
    """A documented function is not longer than a bare one; nested functions count in the outer."""
    path = tmp_path / "a.py"
    path.write_text(
        "class A:\n"
        "    @property\n"
        "    def f(self):\n"
        '        """One.\n\n        Two.\n        """\n'
        "        def g():\n"
        "            return 1\n"
        "        return g\n",
        encoding="utf-8",
    )

    assert dict(function_lengths(path, tmp_path)) == {"a.py:A.f": 4, "a.py:A.f.g": 2}


def test_baselines_only_shrink() -> None:
    """A known giant may stay, may not grow, and leaves the baseline when it has shrunk."""
    assert too_long({"f": 80}, 70, {"f": 80}) == []
    assert too_long({"f": 81}, 70, {"f": 80}) == ["f: 81 lines, at most 80"]
    assert too_long({"f": 9}, 70, {"f": 80}) == ["f: 9 lines now; let the baseline shrink"]
