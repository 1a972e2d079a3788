"""Text of others, such as an error's message, in one line of a log."""

from __future__ import annotations

from typing import Final

LENGTH_MAX: Final = 500


def one_line(text: str, length: int = LENGTH_MAX) -> str:
    r"""The text as one line that cannot steer a terminal, cut at `length` characters.

    Whatever is not printable is escaped: line ends, colours, characters that change the direction of writing, and
    halves of characters that no file could take.

    >>> print(one_line("no\nsuch\x1b[31mfile"))
    no\nsuch\x1b[31mfile
    >>> one_line("a long story", 6)
    'a long...'
    """
    cut = text[: length + 1]
    if not cut.isprintable():
        cut = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut
        )
    return cut if len(cut) <= length else f"{cut[:length]}..."
