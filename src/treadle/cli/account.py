"""The account of one `treadle run`: what became of every line, and what each component did."""

from __future__ import annotations

import os
from bisect import insort
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from treadle.cli.feed import Feed, Given
from treadle.model.errordata import ErrorData
from treadle.model.facts import Failure
from treadle.value import Workflow

RESULT: Final = "result"
NO_RESULT: Final = "no_result"
FAILED_INPUT: Final = "failed"
CANCELLED: Final = "cancelled"
UNFINISHED: Final = "unfinished"
MALFORMED: Final = "malformed"
NOT_RUN: Final = "not_run"
LET_GO: Final = "let_go"
ENDINGS: Final = (
    RESULT,
    NO_RESULT,
    FAILED_INPUT,
    CANCELLED,
    UNFINISHED,
    MALFORMED,
    NOT_RUN,
    LET_GO,
)
"""How a line can end. Failed: something failed and nobody handled it, also where there are results.
Let go: it is finished, and how is no longer remembered."""

UNUSUAL: Final = (MALFORMED, NO_RESULT, CANCELLED, UNFINISHED)
"""Endings of which a reader wants to see some examples; failures are told by their kinds."""

ON_THE_WAY: Final = {"retry": "tried again", "fallback": "fell back"}
"""What follows an attempt that failed and was not the last word, as the account says it."""

TELLING_NAMES: Final = ("status", "outcome", "decision", "verdict", "state", "result", "approved")
"""Where a value says in a word how it ended; the first that is there."""

OURS: Final = Path(__file__).parents[1]
WORD_MAX: Final = 40
KINDS_MAX: Final = 50
EXAMPLES_MAX: Final = 5
FIRST_MAX: Final = 3
"""So many inputs are shown with their results; of more, only how many ended how."""


class Record(Struct, frozen=True):
    """What became of what was given; `number` is the input's number in the workflow, from 0.

    `reason` says why a cancelled input was.
    """

    given: Given
    ending: str
    number: int | None = None
    results: dict[str, Any] = {}
    failures: tuple[Failure, ...] = ()
    starved: tuple[str, ...] = ()
    reason: str = ""


class Work(Struct):
    """What one component did, and what it has before it. `retried` and `fell_back` count attempts that failed."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    retried: int = 0
    fell_back: int = 0
    running: int = 0
    waiting: int = 0


class Effort(Struct):
    """What it took: `work_s` is how long the functions ran, all added up; `elapsed_s` how long that took."""

    attempts: int = 0
    work_s: float = 0.0
    running: int = 0
    """How many bundles are out now."""
    most_at_once: int = 0
    elapsed_s: float = 0.0


class Output(Struct):
    """The results of one output component: for how many inputs, and which words they end with."""

    results: int = 0
    words: Counter[str] = field(default_factory=Counter)
    is_telling: bool = True

    def add(self, value: Any) -> None:
        """Count one input's result."""
        self.results += 1
        word = word_of(value)
        if word is None:
            self.is_telling = False
        if self.is_telling and word is not None:
            self.words[word] += 1
            self.is_telling = len(self.words) <= KINDS_MAX


class FailureGroup(Struct):
    """Failures of one kind at one place: how many, and for which inputs the first of them.

    What comes first is said of the order of the inputs, not of the order in which they were finished.
    """

    component: str
    error: str
    where: str
    ending: str
    text: str
    is_one_text: bool = True
    count: int = 0
    inputs: list[int] = []
    lines: list[int] = []

    def add(self, error: ErrorData, number: int, given: Given) -> None:
        """Count one more."""
        text = sayable(error.text)
        self.is_one_text &= self.text == text
        self.count += 1
        if not self.inputs or number < self.inputs[0]:
            self.text = text
        keep_first(self.inputs, number)
        if given.line is not None:
            keep_first(self.lines, given.line)


class Account:
    """Counts while the workflow is driven; every line ends in exactly one of `ENDINGS`.

    `work`, `effort` and the failures on the way are counted in the runner's thread (see `watching.py`), all else in
    the one that shows it.
    """

    def __init__(self, workflow: Workflow, feed: Feed, folder: Path) -> None:
        self.workflow_name = workflow.name
        self.feed = feed
        self.stopped_by: int | None = None
        """The signal that stopped it before its time."""
        self.given_up: str | None = None
        """Why the runner gave it up, if it did."""
        self.is_closed = False
        self.before = 0
        """How many of the inputs were finished before this began."""
        self.run_id: str | None = None
        self.store: str | None = None
        """Under which id and where the run is kept, if it is."""
        self.folder = folder
        self.endings: Counter[str] = Counter()
        self.work = {name: Work() for name in workflow.components()}
        self.effort = Effort()
        self.outputs: dict[str, Output] = {}
        self.failures: dict[tuple[str, ...], FailureGroup] = {}
        self.first: list[Record] = []
        self.examples: dict[str, list[Record]] = {ending: [] for ending in UNUSUAL}

    @property
    def total(self) -> int:
        """How many lines there are; of a stream, how many there were so far."""
        return self.feed.taken if self.feed.total is None else self.feed.total

    def enter(self, record: Record) -> None:
        """Note how a line ended."""
        self.endings[record.ending] += 1
        if record.given.order < FIRST_MAX:
            insort(self.first, record, key=order_of)
        if record.ending in UNUSUAL:
            examples = self.examples[record.ending]
            insort(examples, record, key=order_of)
            del examples[EXAMPLES_MAX:]
        for name, value in record.results.items():
            self.outputs.setdefault(name, Output()).add(value)
        for failure in record.failures:
            self.work.setdefault(failure.component, Work()).failed += 1  # it may be gone by now
            group = self.group(failure.component, failure.error, how_ended(failure))
            group.add(failure.error, failure.input, record.given)

    def group(self, component: str, error: ErrorData, ending: str) -> FailureGroup:
        """The group that a failure belongs to."""
        where = where_of(error, self.folder)
        key = (component, error.name, where, ending)
        found = self.failures.get(key)
        if found is None:
            found = self.failures[key] = FailureGroup(*key, sayable(error.text))
        return found

    def close(self) -> None:
        """Count the lines that nobody came to, and put in order what came in any."""
        self.is_closed = True
        self.endings[NOT_RUN] = max(0, self.total - self.endings.total())
        self.outputs = {name: self.outputs[name] for name in self.work if name in self.outputs}
        self.outputs = dict(sorted(self.outputs.items(), key=lambda item: -item[1].results))
        place = {name: number for number, name in enumerate(self.work)}
        groups = sorted(
            self.failures.items(), key=lambda item: (place[item[1].component], item[1].inputs)
        )
        self.failures = dict(groups)


def order_of(record: Record) -> int:
    """Where it stood in what was given."""
    return record.given.order


def keep_first(numbers: list[int], number: int) -> None:
    """Add a number to the few smallest, if it is one of them."""
    insort(numbers, number)
    del numbers[EXAMPLES_MAX:]


def word_of(value: Any) -> str | None:
    """The word in which a value says how it ended, if it has one.

    >>> word_of({"order": 7, "status": "approved"}), word_of(True), word_of([1, 2])
    ('approved', 'True', None)
    """
    for name in TELLING_NAMES:
        inner = part_of(value, name)
        if isinstance(inner, (str, bool, Enum)):
            value = inner
            break
    if isinstance(value, Enum):
        value = value.name
    if isinstance(value, bool):
        return str(value)
    return sayable(value) if isinstance(value, str) and 0 < len(value) <= WORD_MAX else None


def sayable(text: str) -> str:
    """Text that can be written: lone surrogates, which no encoding has, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def part_of(value: Any, name: str) -> Any:
    """What a value holds under a name, as a key or as an attribute."""
    try:
        return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a property of the user's may raise anything
        return None


def how_ended(failure: Failure) -> str:
    """What a failure did to the rest."""
    if failure.handled:
        return "handled"
    return {"skip": "skipped", "halt": "halted the input"}.get(failure.on_failure, "not handled")


def where_of(error: ErrorData, folder: Path) -> str:
    """The innermost line of the user's own code, or else of the libraries that it uses.

    "Own" is what lies in the folder of the file that was run. What Treadle itself refuses has no place.
    """
    frames = [each for each in error.frames if not Path(each.file).is_relative_to(OURS)]
    if not frames:
        return ""
    own = [frame for frame in frames if Path(frame.file).is_relative_to(folder)]
    frame = own[-1] if own else frames[-1]
    path = Path(frame.file)
    if path.is_relative_to(Path.cwd()):
        path = Path(os.path.relpath(path))
    return sayable(f"{path}:{frame.line} in {frame.function}")


def starving(entry: dict[str, Any]) -> str:
    """One join that never got all it needs."""
    return f"{entry['component']} never got {', '.join(entry['missing'])}"
