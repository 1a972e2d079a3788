"""What one call of the command gives."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Called:
    """What one call of the command gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def objects(self) -> list[Any]:
        """The JSON objects on stdout; anything else there is an error."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def last(self) -> str:
        """The last line of stdout: how all inputs ended."""
        return self.out.splitlines()[-1]


def timeless(text: str) -> str:
    """An account without what is different each time: how long it took, and how much went on at once."""
    return re.sub(
        r"(?m)^[\d.]+ s of work in [\d.]+ s: (\d+ attempts?), up to \d+ at once$",
        r"... s of work in ... s: \1, up to ... at once",
        text,
    )


def environment(**changes: str) -> dict[str, str]:
    """What a process needs to find this checkout wherever it stands, and whatever else it is to find."""
    source = str(Path(__file__).parents[2] / "src")
    return {**os.environ, "PYTHONPATH": source, "TREADLE_STORE": "memory", **changes}


Call = Callable[..., Called]
