"""The account of one `treadle run`: what became of every line, and what each component did."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from treadle.cli.feed import Given
from treadle.model.facts import Failure
from treadle.model.runnables import OK, SKIPPED, Outcome, Runnable
from treadle.value import Workflow
from treadle.views import status

RESULT: Final = "result"
NO_RESULT: Final = "no_result"
FAILED_INPUT: Final = "failed"
UNFINISHED: Final = "unfinished"
MALFORMED: Final = "malformed"
NOT_RUN: Final = "not_run"
ENDINGS: Final = (RESULT, NO_RESULT, FAILED_INPUT, UNFINISHED, MALFORMED, NOT_RUN)
"""How a line can end. Failed: something failed and nobody handled it, also where there are results."""

UNUSUAL: Final = (MALFORMED, NO_RESULT, UNFINISHED)
"""Endings of which a reader wants to see some examples; failures are told by their kinds."""

TELLING_NAMES: Final = ("status", "outcome", "decision", "verdict", "state", "result", "approved")
"""Where a value says in a word how it ended; the first that is there."""

OURS: Final = Path(__file__).parents[1]
WORD_MAX: Final = 40
KINDS_MAX: Final = 50
EXAMPLES_MAX: Final = 5
FIRST_MAX: Final = 3
"""So many inputs are shown with their results; of more, only how many ended how."""


class Record(Struct, frozen=True):
    """What became of what was given; `number` is the input's number in the workflow, from 0."""

    given: Given
    ending: str
    number: int | None = None
    results: dict[str, Any] = {}
    failures: tuple[Failure, ...] = ()
    starved: tuple[str, ...] = ()


class Work(Struct):
    """What one component did, and what it has before it."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    running: int = 0
    waiting: int = 0


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
    """Failures of one kind at one place: how many, and for which inputs the first of them."""

    component: str
    error: str
    where: str
    ending: str
    text: str
    is_one_text: bool = True
    count: int = 0
    inputs: list[int] = []
    lines: list[int] = []


class Account:
    """Counts while the workflow is driven; every line ends in exactly one of `ENDINGS`."""

    def __init__(
        self,
        workflow: Workflow,
        total: int,
        folder: Path,
        on_record: Callable[[Record], None] = lambda _: None,
    ) -> None:
        self.workflow_name = workflow.name
        self.total = total
        self.is_interrupted = False
        self.folder = folder
        self.on_record = on_record
        self.endings: Counter[str] = Counter()
        self.work = {name: Work() for name in workflow.components()}
        self.gates = [name for name in self.work if workflow[name].kind == "condition"]
        self.outputs: dict[str, Output] = {}
        self.failures: dict[tuple[str, ...], FailureGroup] = {}
        self.first: list[Record] = []
        self.examples: dict[str, list[Record]] = {ending: [] for ending in UNUSUAL}
        self.open: dict[int, Given] = {}

    # ------------------------------------------------------------ told by the driver

    def malformed(self, given: Given) -> None:
        """Enter a line that is no input."""
        self._enter(Record(given, MALFORMED))

    def accepted(self, given: Given, number: int) -> None:
        """An input is under way."""
        self.open[number] = given

    def started(self, runnable: Runnable) -> None:
        """A runnable is about to be executed."""
        self.work[runnable.component].running += 1

    def came_back(self, outcome: Outcome) -> None:
        """Count an outcome. Of a component with inner parts, only its own result is its work done.

        Failures are counted when their input is finished: some, such as a condition's, are no outcomes.
        """
        work = self.work[outcome.component]
        work.running -= 1
        if outcome.node == outcome.component:
            work.done += outcome.status == OK
            work.skipped += outcome.status == SKIPPED

    def finished(self, workflow: Workflow, number: int) -> None:
        """Enter an input of which nothing is left to do, before the next one is accepted."""
        self._enter(self.record(workflow, number, is_finished=True))

    def close(self, workflow: Workflow) -> None:
        """Enter what is not finished: inputs that wait, and after an interrupt lines not begun."""
        for number in list(self.open):
            self._enter(self.record(workflow, number, is_finished=False))
        self.endings[NOT_RUN] = self.total - self.endings.total()
        self.count_waiting(workflow)

    def count_waiting(self, workflow: Workflow) -> None:
        """Ask the workflow what each component has before it."""
        for name, pending in status.work(workflow).items():
            self.work[name].waiting = pending["ready"] + pending["queued"] + pending["waiting"]

    # ----------------------------------------------------------------------- entering

    def record(self, workflow: Workflow, number: int, *, is_finished: bool) -> Record:
        """Read what became of an input."""
        given = self.open.pop(number)
        for name in self.gates:  # they are asked in planning, so no outcome tells of them
            self.work[name].done += len(workflow.raw_productions(name, input=number))
        failures = tuple(workflow.failures(input=number))
        results = workflow.results(input=number)
        ending = RESULT if results else NO_RESULT
        if any(not failure.handled and failure.on_failure != "skip" for failure in failures):
            ending = FAILED_INPUT
        if not is_finished:
            ending = UNFINISHED
        starved: tuple[str, ...] = ()
        if ending == NO_RESULT:
            starved = tuple(starving(each) for each in workflow.starved(input=number))
        return Record(given, ending, number, results, failures, starved)

    def _enter(self, record: Record) -> None:
        self.endings[record.ending] += 1
        if len(self.first) < FIRST_MAX:
            self.first.append(record)
        if record.ending in UNUSUAL and len(self.examples[record.ending]) < EXAMPLES_MAX:
            self.examples[record.ending].append(record)
        for name, value in record.results.items():
            self.outputs.setdefault(name, Output()).add(value)
        for failure in record.failures:
            self._enter_failure(record, failure)
        self.on_record(record)

    def _enter_failure(self, record: Record, failure: Failure) -> None:
        self.work[failure.component].failed += 1
        where = where_of(failure, self.folder)
        key = (failure.component, failure.error.name, where, how_ended(failure))
        group = self.failures.get(key)
        if group is None:
            group = self.failures[key] = FailureGroup(*key, sayable(failure.error.text))
        group.is_one_text &= group.text == sayable(failure.error.text)
        group.count += 1
        if len(group.inputs) < EXAMPLES_MAX:
            group.inputs.append(failure.input)
            group.lines += [] if record.given.line is None else [record.given.line]


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


def where_of(failure: Failure, folder: Path) -> str:
    """The innermost line of the user's own code, or else of the libraries that it uses.

    "Own" is what lies in the folder of the file that was run. What Treadle itself refuses has no place.
    """
    frames = [each for each in failure.error.frames if not Path(each.file).is_relative_to(OURS)]
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
