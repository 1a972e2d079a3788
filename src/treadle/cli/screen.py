"""What people see: a live tree while the workflow runs, then an account of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from signal import SIGTERM
from typing import Final

import msgspec
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from treadle.cli import account as ends
from treadle.cli.account import Account, Effort, FailureGroup, Output, Record
from treadle.cli.jsonl import as_json
from treadle.cli.layout import ASCII, LINES, Row, rows_of
from treadle.cli.terminal import clean, seconds
from treadle.value import Workflow

PLAIN_WIDTH: Final = 120
WORDS_SHOWN: Final = 8
BAR_WIDTH: Final = 32
GAP: Final = 2

QUIET: Final = logging.NullHandler()
"""With it, what nobody asked to be told is not told on stderr."""

ENDING_WORDS: Final = {
    ends.RESULT: "with a result",
    ends.NO_RESULT: "without a result",
    ends.FAILED_INPUT: "failed",
    ends.CANCELLED: "cancelled",
    ends.UNFINISHED: "unfinished",
    ends.MALFORMED: "not JSON",
    ends.NOT_RUN: "not run",
    ends.LET_GO: "finished and let go of",
}
ALWAYS_SHOWN: Final = (ends.RESULT, ends.NO_RESULT, ends.FAILED_INPUT)
CARED_FOR: Final = frozenset({"handled", "skipped", *ends.ON_THE_WAY.values()})

COLUMNS: Final = {
    "done": "done",
    "failed": "failed",
    "skipped": "skipped",
    "retried": "retried",
    "fell_back": "fell back",
    "waiting": "waiting",
    "running": "running",
}
"""What is counted of each component, and what it is called."""

IF_ANY: Final = frozenset({"skipped", "retried", "fell_back"})
"""Columns that are left out while there is nothing in them."""


def make_console() -> Console:
    """A console that writes control codes to a terminal only, also if the environment asks for colours."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, force_terminal=False, width=PLAIN_WIDTH, legacy_windows=False)


class Screen:
    """The live view: of a terminal it uses a few lines at the bottom, of anything else nothing."""

    def __init__(
        self,
        account: Account,
        workflow: Workflow,
        console: Console,
        *,
        quiet: bool,
        expected: AbstractSet[str] = frozenset(),
    ) -> None:
        self.account = account
        self.console = console
        self.expected = expected
        """Columns that the live view shows from the start, so that it does not change its form under the eye."""
        guides = ASCII if console.options.ascii_only else LINES
        self.rows = rows_of(workflow, guides)
        self.is_live = console.is_terminal and not console.is_dumb_terminal and not quiet

    @contextmanager
    def showing(self) -> Generator[None]:
        """Show the view while the block runs; failures are shown in it, so they are not logged too."""
        if not self.is_live:
            with unlogged():
                yield
            return
        live = Live(
            get_renderable=self.view,
            console=self.console,
            refresh_per_second=10,
            redirect_stderr=sys.stderr.isatty(),
        )
        with unlogged(is_live=True), live:
            yield

    def view(self) -> Group:
        """The tree with its counts, and how far the inputs are."""
        return Group(self.tree(), Text(), self.progress())

    def tree(self) -> Table:
        """The components with what each has done."""
        work = self.account.work
        names = [name for name in COLUMNS if self.has_column(name)]
        columns = [self.column(name) for name in names]
        # On a narrow screen, names and notes are cut rather than counts.
        room = self.console.width - sum(width + GAP for _, width in columns)
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
        table.add_column(
            cut(Text(clean(self.account.workflow_name)), room), no_wrap=True, header_style="bold"
        )
        for header, width in columns:
            table.add_column(header, justify="right", no_wrap=True, min_width=width)
        for row in self.rows:
            counts = [getattr(work[row.name], name) for name in names]
            shown = [count_text(name, count) for name, count in zip(names, counts, strict=True)]
            table.add_row(cut(label(row), room), *shown)
        return table

    def has_column(self, name: str) -> bool:
        """Whether a column has anything in it, or will have."""
        if name == "running":
            is_watched = self.is_live and not self.account.is_closed
            return is_watched or self.account.effort.running > 0
        if name not in IF_ANY or (self.is_live and name in self.expected):
            return True
        return any(getattr(each, name) for each in self.account.work.values())

    def column(self, name: str) -> tuple[str, int]:
        """What a column is called, and how wide it is."""
        widest = max((getattr(each, name) for each in self.account.work.values()), default=0)
        return COLUMNS[name], max(len(COLUMNS[name]), len(str(widest)))

    def progress(self) -> Table:
        """A bar over all lines, if it is known how many there are, and what is going on."""
        account, effort = self.account, self.account.effort
        endings = account.endings
        done = endings.total() - endings[ends.UNFINISHED] - endings[ends.NOT_RUN]
        line = Table.grid(padding=(0, 1))
        said = [f"{done} of {account.total} inputs", seconds(effort.elapsed_s)]
        if account.feed.total is None:
            said[0] = f"{done} inputs"
        if effort.running:
            said.append(f"{effort.running} running")
        if account.stopped_by is not None:
            said.append("stopped" if account.is_closed else "stopping")
        told = Text(" · ".join(said))
        if account.feed.total is None:
            line.add_row(told)
        else:
            line.add_row(
                ProgressBar(total=max(account.total, 1), completed=done, width=BAR_WIDTH), told
            )
        return line


@contextmanager
def unlogged(*, is_live: bool = False) -> Generator[None]:
    """Keep the library's warnings of failures from where the account of them will be.

    Only those that nobody asked for: what a user's file has set up still gets them, unless a live view would be
    written over.
    """
    logger, handler = logging.getLogger("treadle"), logging.NullHandler()
    level = logger.level
    logger.addHandler(handler)
    if is_live:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def hush() -> None:
    """The process is about to end, and what it gives up may still fail until it has: nobody is told of that."""
    logging.getLogger("treadle").addHandler(QUIET)


# ------------------------------------------------------------------------------- the account


def show_account(account: Account, console: Console) -> None:
    """Say how the inputs ended, which results there are, and what went wrong."""
    if account.outputs:
        console.print(Text("results", style="bold"))
        is_few = account.total <= ends.FIRST_MAX
        lines = values_shown(account.first) if is_few else counts_shown(account.outputs)
        for line in lines:
            console.print(Text(f"    {clean(line)}"), soft_wrap=True)
        console.print()
    # What somebody took care of comes last.
    for group in sorted(account.failures.values(), key=lambda group: group.ending in CARED_FOR):
        show_failure(group, console)
    for ending, records in account.examples.items():
        show_records(ENDING_WORDS[ending], records, account.endings[ending], console)
    show_effort(account.effort, console)
    show_endings(account, console)


def show_effort(effort: Effort, console: Console) -> None:
    """How much was done in how long. What runs side by side waits side by side, so the work may take longer."""
    if effort.attempts:
        plural = "" if effort.attempts == 1 else "s"
        times = f"{seconds(effort.work_s)} of work in {seconds(effort.elapsed_s)}"
        attempts = f"{effort.attempts} attempt{plural}, up to {effort.most_at_once} at once"
        console.print(Text(f"{times}: {attempts}"))


def show_endings(account: Account, console: Console) -> None:
    """One line with a number for each way to end."""
    if account.before:
        were = "was" if account.before == 1 else "were"
        console.print(f"{account.before} of the inputs {were} finished before this began")
    if account.stopped_by is not None:
        word = "terminated" if account.stopped_by == SIGTERM else "interrupted"
        console.print(Text(word, style="bold red"))
    parts = [
        f"{account.endings[ending]} {words}"
        for ending, words in ENDING_WORDS.items()
        if account.endings[ending] or ending in ALWAYS_SHOWN
    ]
    plural = "" if account.total == 1 else "s"
    console.print(Text(f"{account.total} input{plural}: {', '.join(parts)}", style="bold"))


def values_shown(records: list[Record]) -> Iterator[str]:
    """The results of a few inputs in full."""
    for record in records:
        for name, value in record.results.items():
            yield f"{name}, input {record.number}" if len(records) > 1 else name
            told = msgspec.json.format(bytes(as_json(value)))
            yield from (f"    {line}" for line in told.decode().splitlines())


def counts_shown(outputs: dict[str, Output]) -> Iterator[str]:
    """For each output how many inputs have a result, and how these ended."""
    width = max(map(cell_len, outputs))
    digits = max(len(str(output.results)) for output in outputs.values())
    for name, output in outputs.items():
        padding = " " * (width - cell_len(name))
        yield f"{name}{padding}  {output.results:>{digits}}  {words_shown(output)}".rstrip()


def words_shown(output: Output) -> str:
    """How often each word was the end, the most frequent first."""
    if not output.is_telling:
        return ""
    common = output.words.most_common(WORDS_SHOWN)
    parts = [f"{count} {word}" for word, count in common]
    others = len(output.words) - len(common)
    return ", ".join([*parts, *([f"and {others} other words"] if others else [])])


def show_failure(group: FailureGroup, console: Console) -> None:
    """What failed, how often, where in the user's code, and for which inputs."""
    style = "bold" if group.ending in CARED_FOR else "bold red"
    times = "once" if group.count == 1 else f"{group.count} times"
    title = (clean(group.component), style), f" failed {times}, {group.ending}"
    console.print(Text.assemble(*title), soft_wrap=True)
    error = f"{group.error}: {group.text}" if group.text else group.error
    lines = [error if group.is_one_text else f"for example {error}"]
    lines += [f"at {group.where}"] if group.where else []
    lines.append(places(group.inputs, group.lines, group.count))
    for line in "\n".join(lines).splitlines():
        console.print(Text(f"    {clean(line)}"), soft_wrap=True)
    console.print()


def show_records(title: str, records: list[Record], count: int, console: Console) -> None:
    """Some of those that ended in an unusual way, with what is known of the reason."""
    if not records:
        return
    console.print(Text(title, style="bold"))
    for record in records:
        problem = record.given.problem
        reasons = [problem] if problem else [*record.starved, *filter(None, [record.reason])]
        told = ": ".join([place_of(record), *(["; ".join(reasons)] if reasons else [])])
        console.print(Text(f"    {clean(told)}"), soft_wrap=True)
    if count > len(records):
        console.print(f"    and {count - len(records)} more")
    console.print()


def place_of(record: Record) -> str:
    """Where a reader finds it: the line, or else the input's number."""
    line = record.given.line
    return f"input {record.number}" if line is None else f"line {line}"


def places(inputs: list[int], lines: list[int], count: int) -> str:
    """The inputs that failures belong to; a fan-out may fail more than once for one input."""
    more = f" and {count - len(inputs)} more" if count > len(inputs) else ""
    shown = numbered("input", inputs)
    return f"{shown} ({numbered('line', lines)}){more}" if lines else shown + more


def numbered(what: str, numbers: list[int]) -> str:
    """Several of one thing by their numbers, each once.

    >>> numbered("line", [7, 3, 7])
    'lines 3, 7'
    """
    distinct = sorted(set(numbers))
    return f"{what}{'s' * (len(distinct) > 1)} {', '.join(map(str, distinct))}"


def label(row: Row) -> Text:
    """A component's branch, name and note."""
    note = f"  {row.note}" if row.note else ""
    return Text.assemble((row.prefix, "dim"), clean(row.name), (clean(note), "dim"))


def cut(text: Text, room: int) -> Text:
    """The text, as much of it as there is room for."""
    text.truncate(max(room, 1), overflow="ellipsis")
    return text


def count_text(name: str, count: int) -> Text:
    """A number; zero is a dot, so that the numbers stand out."""
    if not count:
        return Text(".", style="dim")
    return Text(str(count), style="red" if name == "failed" else "")
