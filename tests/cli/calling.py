"""What one call of the command gives."""

import json
from collections.abc import Callable
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


Call = Callable[..., Called]
