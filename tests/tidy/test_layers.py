"""Who may import whom. A new row, or a new word in one, is a decision about the architecture."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

from tests.tidy.tree import SOURCE, files, parsed, shown

# A package may import itself and what its row names; `__init__` is the front door of `treadle`.
MAY_IMPORT = {
    "errors": "",
    "model": "errors",
    "engine": "errors model",
    "components": "errors model engine",
    "policies": "errors model engine",
    "handle": "errors model engine policies",
    "driven": "errors model engine policies handle",
    "timed": "errors model engine policies handle driven",
    "value": "errors model engine components policies handle driven timed",
    "upgrade": "errors model engine components policies value",
    "build": "errors model components policies value",
    "interfaces": "errors model engine policies",
    "codec": "errors model interfaces",
    "stores": "errors model interfaces",
    "schedulers": "errors model engine policies interfaces",
    "executors": "errors model engine policies interfaces",
    "wiring": "errors model policies interfaces codec",
    "runner": "errors model engine components policies value upgrade interfaces wiring",
    "drive": "errors model engine policies handle value interfaces",
    "views": "errors model engine components policies value timed",
    "render": "errors model value views",
    "testing": "errors model engine components policies value upgrade interfaces codec stores schedulers"
    " executors runner drive views",
    "telemetry": "errors model interfaces",
    "web": "errors model value runner views render wiring",
    "cli": "errors model engine components policies value upgrade interfaces stores runner drive views"
    " render wiring web",
    "__init__": "errors model engine components policies value build interfaces runner",
    "__main__": "cli",
}

# Inside a function, and so after both ends exist: a workflow's convenience methods, nothing else.
# A word for a plug imports its adapter; what most programs never use (policies, patterns, how a failure is
# shown in a log) is imported when they do.
MAY_IMPORT_LATE = {
    "model": "model",
    "engine": "engine",
    "handle": "model",
    "driven": "policies",
    "value": "engine views render drive",
    "timed": "views",
    "drive": "runner",
    "wiring": "codec stores schedulers executors",
}

# Values, meaning, vocabulary and wishes know no outside world.
PURE_RUNNER = (
    "machine requests dispatch out ends cohorts stimuli wishes fallback bundling story"
    " admission gates shared_gates parking urgency budget"
)
PURE = (
    *("model", "engine", "components", "policies", "upgrade", "schedulers"),
    *[f"runner/{name}.py" for name in PURE_RUNNER.split()],
)
IMPURE = frozenset(
    "asyncio threading time random socket sqlite3 subprocess logging os".split()  # noqa: SIM905
)


def imports(path: Path, source: Path) -> list[tuple[int, str, bool]]:
    """Give (line, dotted name, inside a function?) for each import in a file.

    `from x import y` gives `x.y`; relative imports are made absolute.
    """
    inside = ("treadle", *path.relative_to(source).parent.parts)
    found = []
    pending: list[tuple[ast.AST, bool]] = [(parsed(path), False)]
    while pending:
        node, late = pending.pop()
        found += [(line, name, late) for line, name in imported_by(node, inside)]
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        pending.extend((child, late or function) for child in ast.iter_child_nodes(node))
    return sorted(found)


def imported_by(node: ast.AST, inside: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Give (line, dotted name) of what one statement or call of the package `inside` imports."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield node.lineno, alias.name
    elif isinstance(node, ast.ImportFrom):
        base = inside[: len(inside) + 1 - node.level] if node.level else ()
        module = (*base, node.module) if node.module else base
        for alias in node.names:
            yield node.lineno, ".".join((*module, alias.name))
    elif isinstance(node, ast.Call) and node.args:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = node.args[0]
        if name in {"import_module", "__import__"} and isinstance(given, ast.Constant):
            yield node.lineno, str(given.value)


def package(path: Path, source: Path) -> str:
    """Give the row of the table that a file belongs to."""
    return path.relative_to(source).parts[0].removesuffix(".py")


def layer_faults(source: Path) -> list[str]:
    """Give one line for each import of ours that the tables do not allow."""
    faults = []
    for path in files(source, ".py"):
        mine = package(path, source)
        top = {mine, *MAY_IMPORT.get(mine, "").split()}
        below = set(MAY_IMPORT_LATE.get(mine, "").split())
        for line, name, late in imports(path, source):
            parts = name.split(".")
            if parts[0] != "treadle":
                continue
            target = parts[1] if len(parts) > 1 else "(the package itself)"
            where = f"{shown(path, source)}:{line}"
            if mine not in MAY_IMPORT:
                faults.append(f"{where}: {mine} has no row in the table")
            elif late and target not in below:
                faults.append(f"{where}: imports {target} inside a function")
            elif not late and target not in top:
                faults.append(f"{where}: {mine} may not import {target}")
    return faults


def purity_faults(source: Path) -> list[str]:
    """Give one line for each import of the outside world in a pure package."""
    return [
        f"{shown(path, source)}:{line}: imports {name}"
        for path in files(source, ".py")
        if shown(path, source).startswith(PURE)
        for line, name, _ in imports(path, source)
        if name.split(".")[0] in IMPURE
    ]


def test_layers_are_kept() -> None:
    """Each module imports only what its row allows, and late only where that is allowed."""
    assert layer_faults(SOURCE) == []


def test_pure_packages_import_nothing_of_the_outside() -> None:
    """No I/O, clock, randomness, threads or asyncio below, at the top of a module or inside."""
    assert purity_faults(SOURCE) == []


def test_table_has_no_cycle_and_no_unknown_name() -> None:
    """The table orders the packages; `value` reaches upwards late, to names of the table."""
    graph = {name: row.split() for name, row in MAY_IMPORT.items()}
    order = list(graphlib.TopologicalSorter(graph).static_order())

    assert sorted(order) == sorted(MAY_IMPORT)
    for name, row in MAY_IMPORT_LATE.items():
        assert {name, *row.split()} <= set(MAY_IMPORT)


def test_guard_sees_every_form_of_import(tmp_path: Path) -> None:
    """Relative, hidden and dynamic imports are found, and a file without a row is refused."""
    write(tmp_path, "model/a.py", "from ..engine import plan\nimport treadle.errors\n")
    write(tmp_path, "model/b.py", "from . import a\nimport treadle\nfrom treadle import step\n")
    write(tmp_path, "engine/c.py", "def f():\n    from treadle.model import a\n")
    write(tmp_path, "value.py", "def f():\n    from treadle import views\n    import treadle.cli\n")
    write(tmp_path, "stray.py", "from treadle import errors\n")

    assert layer_faults(tmp_path) == [
        "engine/c.py:2: imports model inside a function",
        "model/a.py:1: model may not import engine",
        "model/b.py:2: model may not import (the package itself)",
        "model/b.py:3: model may not import step",
        "stray.py:1: stray has no row in the table",
        "value.py:3: imports cli inside a function",
    ]


def test_guard_sees_every_way_out(tmp_path: Path) -> None:
    """Imports of the outside world are found at the top, inside functions and by name."""
    write(tmp_path, "model/a.py", "import os.path\n")
    write(tmp_path, "engine/b.py", "def f():\n    from time import monotonic\n")
    write(tmp_path, "runner/machine.py", "import importlib\nimportlib.import_module('random')\n")
    write(tmp_path, "runner/loop.py", "import asyncio\n")

    assert purity_faults(tmp_path) == [
        "engine/b.py:2: imports time.monotonic",
        "model/a.py:1: imports os.path",
        "runner/machine.py:2: imports random",
    ]


def write(folder: Path, name: str, text: str) -> None:
    """Put a module into a toy tree."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
