"""What the tidy tests look at: the files of the checkout, found without git."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "treadle"

# Made by tools, not by people. Folders whose name starts with a dot are left out too, but for .ci.
MADE = {"__pycache__", "site", "dist", "build", "htmlcov"}

FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef


def files(folder: Path = ROOT, suffix: str = "") -> Iterator[Path]:
    """Give every file below `folder` that a person may have written, in order of its path."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name not in MADE and (not path.name.startswith(".") or path.name == ".ci"):
                yield from files(path, suffix)
        elif path.name.endswith(suffix):
            yield path


def shown(path: Path, root: Path = ROOT) -> str:
    """Give a path as it is written in messages and tables: from the root, with slashes."""
    return path.relative_to(root).as_posix()


def parsed(path: Path) -> ast.Module:
    """Give the syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
