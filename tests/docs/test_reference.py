"""The reference has a page for each part whose names are public, and a place for each executor."""

import importlib
import re

from tests.docs.test_executor_table import CLASSES
from tests.tidy.tree import ROOT

FOLDER = ROOT / "docs" / "reference"
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in FOLDER.glob("*.md")}
SHOWN = re.compile(r"^::: (\S+)$", re.MULTILINE)

PUBLIC = ("codec", "interfaces", "schedulers", "telemetry", "testing", "upgrade")
"""Modules whose public names are listed by themselves."""

MOVING = ["whole.Copied", "whole.copy_runs", "portable.export_run", "portable.import_run"]
STORES = ("memory.MemoryStore", "sqlite.SqliteStore", "postgres.PostgresStore")


def test_each_public_part_has_its_page() -> None:
    """Modules show what their `__all__` lists; executors and stores have modules of their own, shown one by one."""
    found = {name: SHOWN.findall(text) for name, text in PAGES.items()}

    assert found.pop("index") == ["treadle"]
    executors = [f"{kind.__module__}.{kind.__name__}" for kind in CLASSES]
    assert sorted(found.pop("executors")) == sorted(executors)
    assert found.pop("stores") == [f"treadle.stores.{name}" for name in (*STORES, *MOVING)]
    assert found == {name: [f"treadle.{name}"] for name in PUBLIC}
    assert all(importlib.import_module(f"treadle.{name}").__all__ for name in PUBLIC)


def test_each_page_is_found() -> None:
    """From the reference's first page, and from the menu."""
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")

    for name in PAGES:
        assert f" reference/{name}.md\n" in menu
        assert name == "index" or f"({name}.md)" in PAGES["index"]
