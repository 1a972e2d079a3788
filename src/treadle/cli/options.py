"""The options that commands share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
import typer

from treadle.cli.places import VARIABLE
from treadle.errors import UsageError
from treadle.policies.policy import RetryWith
from treadle.upgrade.rules import POLICIES, REFUSE, OnChange, on_change_from

Target = Annotated[
    str,
    typer.Argument(
        metavar="FILE[:NAME]",
        help="A Python file, and the name of the workflow if it holds several: a variable's or its own.",
    ),
]


Inputs = Annotated[
    list[str] | None, typer.Option("--input", metavar="JSON", help="An input; may be repeated.")
]
InputFile = Annotated[
    str | None,
    typer.Option("--inputs", metavar="FILE.jsonl", help="Inputs, one in JSON a line; - is stdin."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per input, then one for the run.")
]
AsPlan = Annotated[bool, typer.Option("--json", help="Print one JSON object per bundle.")]
Executor = Annotated[
    str,
    typer.Option(
        metavar="WORD",
        help="Where steps run: inline, threads, processes, asyncio, pool, dask, ray; threads:16 for so many.",
    ),
]
Scheduler = Annotated[
    Literal["default", "chains", "batches", "adaptive", "priority"],
    typer.Option(help="What is dispatched together, and in which order."),
]
Concurrency = Annotated[
    int | None,
    typer.Option(min=1, help="How many run at once; by default 1 inline, and 64 in threads."),
]
MaxOpen = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How many inputs are under way at most; by default two for each that can run at once.",
    ),
]
Deadline = Annotated[
    float | None,
    typer.Option(help="How many seconds an input may take; what is left of it then is cancelled."),
]
Drain = Annotated[
    float,
    typer.Option(min=0, help="How many seconds to wait for what is under way at an interrupt."),
]
RunContext = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="JSON",
        help='Values for td.context markers: {"component": {"key": value}}, "_global" for all.',
    ),
]
CodeChange = Annotated[
    list[str] | None,
    typer.Option(
        "--on-code-change",
        metavar="[COMPONENT=]WORD",
        help=f"What becomes of a run whose code is another now: {', '.join(POLICIES)}. For all, or "
        "for one component; may be repeated, the first that matches wins.",
    ),
]
Settled = Annotated[
    list[str] | None,
    typer.Option(
        "--settled",
        metavar="COMPONENT=JSON",
        help="What an interrupted attempt of an at-most-once step gave; COMPONENT=retry: it did not take effect, and "
        "is made again. May be repeated.",
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 if an input failed or was cancelled.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only how many inputs ended how.")]
Format = Annotated[
    Literal["mermaid", "dot", "cytoscape", "edges"],
    typer.Option("--format", "-f", help="Edges are lines of parent, child and kind."),
]

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help=f"Where runs are kept: a path, sqlite:///PATH, or postgresql://...; by default ${VARIABLE}, or treadle.db "
        "here.",
    ),
]
Ephemeral = Annotated[
    bool,
    typer.Option("--ephemeral", help="Keep the run in memory alone: it ends with the process."),
]
NewId = Annotated[
    str | None,
    typer.Option(
        "--id", help="The run's id; with one that is there, the run goes on where it was."
    ),
]
KeyField = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="FIELD",
        help="What tells inputs apart: a second one that holds the same under this name is the first one again.",
    ),
]
Again = Annotated[
    bool, typer.Option("--again", help="Feed the inputs also if the run has had them before.")
]
RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id: `treadle ls` lists them.")]
SomeRunId = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="The run's id; without one: all of them.")
]
AsObjects = Annotated[bool, typer.Option("--json", help="Print JSON objects, one a line.")]
Timeout = Annotated[
    float, typer.Option(min=0, help="How many seconds to wait until the run has taken it.")
]


RETRY: Final = "retry"
"""Said in place of JSON, which it is not."""


def settled_of(given: list[str]) -> dict[str, Any]:
    """What was found out about interrupted attempts, by component. Errors: `UsageError`.

    >>> settled_of(["pay=40", "wire=retry"])
    {'pay': 40, 'wire': RetryWith()}
    """
    found: dict[str, Any] = {}
    for text in given:
        name, is_said, value = text.partition("=")
        try:
            found[name] = RetryWith() if value == RETRY else msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            wrong = f"is not JSON: {error}" if is_said else "names no value"
            raise UsageError(
                f"--settled {text!r} {wrong}.",
                hint=f"--settled 'pay=\"paid by hand\"', or --settled pay={RETRY}.",
            ) from error
    return found


def rules_of(given: list[str]) -> OnChange:
    """The words of the command line, as `on_code_change` takes them.

    >>> rules_of(["charge=adopt", "keep"])
    <OnChange 'charge': adopt, '*': keep>
    """
    rules: dict[str, str] = {}
    for text in given:
        name, _, word = text.rpartition("=")
        rules.setdefault(name or "*", word)
    ordered: Mapping[str, str] = rules or {"*": REFUSE}
    return on_change_from(ordered)
