"""The three names that stand for "no value", "the raw input" and "all inputs"."""

from __future__ import annotations

import enum
from typing import Final


class Sentinel(enum.Enum):
    """Members compare by identity, survive pickling and deep copies, and show their public name."""

    ABSENT = "ABSENT"
    INPUT = "INPUT"
    ALL = "ALL"

    def __repr__(self) -> str:
        return f"treadle.{self.name}"

    def __bool__(self) -> bool:
        """ABSENT is falsy, so that `value or default` reads well; the others are names, hence true."""
        return self is not Sentinel.ABSENT


ABSENT: Final = Sentinel.ABSENT
"""What a port holds when its parent gave nothing: a skipped step, or a parent a join did without."""

INPUT: Final = Sentinel.INPUT
"""The raw input, named as a parent: `add(step, to=[td.INPUT, "check"])`."""

ALL: Final = Sentinel.ALL
"""All inputs, for `results(input=td.ALL)`."""

INPUT_KEY: Final = "INPUT"
"""The node key of the raw input, in shapes and events."""
