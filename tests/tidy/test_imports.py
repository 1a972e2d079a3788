"""`import treadle` is quick, because it brings only what every program needs."""

import subprocess
import sys

# Each costs milliseconds, and is imported by the first call that needs it.
HEAVY = ("asyncio", "beartype", "sqlite3", "concurrent.futures", "typer", "rich")

PROGRAM = """
import sys
before = set(sys.modules)
import treadle
print(*sorted(set(sys.modules) - before))
"""


def test_import_brings_nothing_heavy() -> None:
    """A fresh interpreter that imports treadle has loaded none of the heavy modules."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    loaded = run.stdout.split()

    assert "treadle.errors" in loaded
    assert [name for name in HEAVY if name in loaded] == []
