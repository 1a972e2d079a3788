"""The command line: run a workflow over inputs and watch it, and draw its graph.

Typer and Rich are imported in this package only, and only when a command runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import TextIOWrapper

from treadle.cli.interrupts import EndNow, leave
from treadle.errors import MissingExtra

app: Callable[..., None] | None = None
missing: str | None = None

try:
    from treadle.cli.app import app
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in {"typer", "rich"}:
        raise


def main() -> None:
    """Run the command line; where its libraries are missing, say how to install them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A name that the terminal's encoding cannot show must not end the run.
            stream.reconfigure(errors="backslashreplace")
    if app is None:
        absent = MissingExtra(
            f"the command line needs {missing!r}, which is not installed.",
            hint='pip install "treadle[cli]"',
        )
        sys.exit(f"treadle: {absent}")
    try:
        app(prog_name="treadle")
    except EndNow as ended:
        leave(ended)
