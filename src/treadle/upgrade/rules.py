"""`on_code_change`: a word for each component, matched as policies are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from treadle.errors import UsageError, nearest
from treadle.policies.matching import DEFAULT, Subject, matcher_from, matches

REFUSE: Final = "refuse"
"""The run is not continued."""
KEEP: Final = "keep"
"""The run goes on with the code that its log names, where a definition that has it is given."""
ADOPT: Final = "adopt"
"""What is still to be done is done by today's code; facts and state stay."""
RECOMPUTE: Final = "recompute"
"""As adopt, and what the component and all below it gave is computed again, in a fork."""

POLICIES: Final = (REFUSE, KEEP, ADOPT, RECOMPUTE)


class OnChange:
    """Rules of (matcher, word) in order, of which the first that matches wins; without one: refuse."""

    __slots__ = ("rules",)

    def __init__(self, rules: Iterable[tuple[Any, str]] = ()) -> None:
        self.rules = tuple(rules)

    def find(self, subject: Subject) -> str:
        """The word for a component."""
        for matcher, word in self.rules:
            if matches(matcher, subject):
                return word
        return REFUSE

    def __repr__(self) -> str:
        return f"<OnChange {', '.join(f'{matcher!r}: {word}' for matcher, word in self.rules)}>"


def on_change_from(given: Any) -> OnChange:
    """Rules as users write them: one word for all, or a dict from matchers to words.

    >>> on_change_from({"charge": "adopt", "*": "refuse"})
    <OnChange 'charge': adopt, '*': refuse>

    Errors: `UsageError` for a word or matcher that is none.
    """
    if isinstance(given, OnChange):
        return given
    if isinstance(given, str):
        given = {DEFAULT: given}
    if not isinstance(given, Mapping):
        raise UsageError(
            f"on_code_change={given!r:.80} is neither a word nor a dict of them.",
            hint='on_code_change="adopt", or {"charge": "adopt", "*": "refuse"}.',
        )
    return OnChange([(matcher_from(matcher), _word(word)) for matcher, word in given.items()])


def _word(word: Any) -> str:
    if word in POLICIES:
        return str(word)
    raise UsageError(f"on_code_change cannot be {word!r:.80}.{nearest(word, POLICIES)}")
