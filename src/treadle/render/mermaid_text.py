"""What stands between names and values and the syntax of Mermaid: escaping, and identifiers.

Mermaid reads each line several times, with different eyes: a pass that replaces `#...;`, a lexer that
looks for keywords, a Markdown parser on every label, and HTML at last. Text is safe if none of them
finds anything in it, so all but letters, digits and a few harmless signs is written as a code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_UNSAFE: Final = re.compile(
    r"""
    [^\w\ ',….-]                # quotes, brackets, what ends a statement, entities, HTML, Markdown
    | (?<![^\W_])[_.-]          # _emphasis_, a list's "- ", an arrow: not after a letter or digit ...
    | [_.-](?![^\W_])           # ... or not before one, as in the list "1. "
    | (?<=www)\.                # a link
    | (?<=direction)\           # a line with "direction LR" anywhere in it is a statement to the lexer
    """,
    re.VERBOSE | re.IGNORECASE,
)

_PLAIN: Final = re.compile(r"(?!TB|BT|LR|RL|TD)[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?")
"""Not `LRU`: behind a line that ends in `redirection`, Mermaid reads it as `direction LR`."""

_FLOWCHART: Final = (
    "accdescr acctitle br bt call class classdef click default direction end flowchart graph href"
    " interpolate linkstyle lr rl style subgraph tb td v"
)
_SEQUENCE: Final = (
    "activate actor alt and as autonumber box break create critical deactivate destroy details else"
    " left link links loop note off opt option over par par_over participant properties rect right"
    " sequencediagram title"
)
_JAVASCRIPT: Final = (
    "constructor hasownproperty isprototypeof propertyisenumerable prototype tolocalestring tostring"
    " valueof"
)

ROOT: Final = "root"
"""The identifier of the raw input."""

RESERVED: Final = frozenset(f"{_FLOWCHART} {_SEQUENCE} {_JAVASCRIPT} {ROOT}".split())
"""Words, in lower case, that are no identifiers: Mermaid's keywords, and what every JavaScript object has."""


def escape(text: str) -> str:
    """Any text, for a quoted label of a flowchart or a message of a sequence diagram.

    >>> escape('say "hi" --> <b>')
    'say #34;hi#34; #45;#45;#62; #60;b#62;'
    """
    return _UNSAFE.sub(lambda found: f"#{ord(found[0])};", text)


def is_plain(name: str) -> bool:
    """Whether a name can stand in Mermaid as it is, as an identifier and as a label."""
    return _PLAIN.fullmatch(name) is not None and name.lower() not in RESERVED


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """An identifier for each name, no two alike: the name itself where it is plain.

    >>> identifiers(["check", "sub.check", "end", "sub_check"])
    {'check': 'check', 'sub.check': 'sub_check_2', 'end': 'n_end', 'sub_check': 'sub_check'}
    """
    listed = list(dict.fromkeys(names))
    taken = {name for name in listed if is_plain(name)}
    given = {}
    for name in listed:
        given[name] = name if is_plain(name) else _unlike(_slug(name), taken)
    return given


def _slug(name: str) -> str:
    """What is left of a name that is not plain."""
    slug = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    return slug if is_plain(slug) else f"n_{slug}".rstrip("_")


def _unlike(slug: str, taken: set[str]) -> str:
    """The slug, with a number where it is taken; noted as taken."""
    found, count = slug, 1
    while found in taken:
        count += 1
        found = f"{slug}_{count}"
    taken.add(found)
    return found
