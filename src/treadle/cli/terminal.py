"""Text as a terminal is given it."""

from __future__ import annotations


def clean(text: str) -> str:
    r"""Text that cannot steer a terminal: what is not printable is shown escaped.

    >>> print(clean("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def seconds(duration: float) -> str:
    """A time as people say it.

    >>> seconds(0.0712), seconds(3.62), seconds(200)
    ('0.07 s', '3.6 s', '3 min 20 s')
    """
    if duration < 1:
        return f"{duration:.2f} s"
    if duration < 100:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest} s"


def ago(duration: float) -> str:
    """How long ago something was, in its largest unit.

    >>> ago(3), ago(200), ago(7300), ago(200_000)
    ('3 s ago', '3 min ago', '2 h ago', '2 days ago')
    """
    if duration < 60:
        return f"{max(0, int(duration))} s ago"
    if duration < 3600:
        return f"{int(duration // 60)} min ago"
    if duration < 48 * 3600:
        return f"{int(duration // 3600)} h ago"
    return f"{int(duration // 86400)} days ago"


def within(duration: float) -> str:
    """How far away a moment is, in its largest unit.

    >>> within(90), within(-7300)
    ('in 1 min', 'over since 2 h')
    """
    if duration < 0:
        return f"over since {ago(-duration).removesuffix(' ago')}"
    return f"in {ago(duration).removesuffix(' ago')}"
