"""The commands: what they take, and which exit code they end with."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from importlib import metadata
from typing import Annotated, Literal

import msgspec
import typer

from treadle.cli.account import FAILED_INPUT, MALFORMED, Account
from treadle.cli.feed import Given, from_file, from_options
from treadle.cli.loading import load_workflow, split_target
from treadle.cli.running import How, run_for_people, run_for_programs
from treadle.errors import UsageError
from treadle.value import Workflow

FAILED = 1
USAGE = 2
INTERRUPTED = 130

app = typer.Typer(
    name="treadle",
    help="Run workflows, and draw their graphs.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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
Executor = Annotated[
    Literal["inline", "threads"],
    typer.Option(help="Where steps run: one after the other, or side by side in threads."),
]
Concurrency = Annotated[
    int | None,
    typer.Option(min=1, help="How many run at once; by default 1 inline, and 64 in threads."),
]
RunContext = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="JSON",
        help='Values for td.context markers: {"component": {"key": value}}, "_global" for all.',
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if an input failed.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only how many inputs ended how.")]
Format = Annotated[
    Literal["mermaid", "dot", "cytoscape", "edges"],
    typer.Option("--format", "-f", help="Edges are lines of parent, child and kind."),
]
Version = Annotated[bool, typer.Option("--version", help="Show the version and exit.")]


@app.callback(invoke_without_command=True)
def root(*, version: Version = False) -> None:
    """Run workflows, and draw their graphs."""
    if version:
        try:
            print(f"treadle {metadata.version('treadle')}")
        except metadata.PackageNotFoundError:
            print("treadle, not installed")
        raise typer.Exit


@app.command()
def run(
    target: Target,
    *,
    input: Inputs = None,
    inputs: InputFile = None,
    json: AsJson = False,
    executor: Executor = "inline",
    max_concurrency: Concurrency = None,
    context: RunContext = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Run a workflow over inputs, watch it, and say what came of each.

    All inputs go into one workflow. A failure concerns its own input only: it is listed with the line of your
    code that raised it, and the others go on.

    Exit codes:

    0: every line was an input and was run to its end. Failures are among the results; see --strict.

    1: a line was not JSON; or, with --strict, an input failed: something raised and no handler took it.

    2: nothing was run: no such file, workflow or option, or the file itself raised.

    130: interrupted; the account shows what was done by then.
    """
    with usage_errors():
        givens = given_by(input, inputs)
        with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
            workflow = with_context(load_workflow(target), context)
    account = Account(workflow, len(givens), split_target(target)[0].resolve().parent)
    show = run_for_programs if json else run_for_people
    show(account, workflow, givens, How(executor, max_concurrency, quiet))
    raise typer.Exit(exit_code(account, strict=strict))


def with_context(workflow: Workflow, text: str | None) -> Workflow:
    """The workflow with the run-time values that were given as JSON."""
    if text is None:
        return workflow
    try:
        values = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"--context is not JSON: {error}.",
            hint='quote it as a whole: --context \'{"summarise": {"model": "large"}}\'.',
        ) from error
    return workflow.with_context(values)


@app.command()
def graph(target: Target, *, format: Format = "mermaid") -> None:
    """Draw the graph of a workflow, without running it.

    Exit codes: 0; 2 if there is no such file, workflow or option, or the file itself raised.
    """
    with usage_errors(), contextlib.redirect_stdout(sys.stderr):
        workflow = load_workflow(target)
    print(drawn(workflow, format))


def drawn(workflow: Workflow, format: str) -> str:
    """The graph as text."""
    if format == "mermaid":
        return workflow.to_mermaid()
    if format == "dot":
        return workflow.to_dot()
    if format == "cytoscape":
        return msgspec.json.format(msgspec.json.encode(workflow.to_cytoscape())).decode()
    return "\n".join("\t".join(edge) for edge in workflow.to_edgelist())


def given_by(texts: list[str] | None, path: str | None) -> list[Given]:
    """The inputs that the options name."""
    if texts and path is not None:
        raise UsageError("--input and --inputs do not go together.", hint="give one of them.")
    if path is not None:
        return from_file(path)
    if texts:
        return from_options(texts)
    raise UsageError(
        "there is nothing to run on.", hint="give --input JSON or --inputs FILE.jsonl."
    )


def exit_code(account: Account, *, strict: bool) -> int:
    """What the shell is told."""
    if account.is_interrupted:
        return INTERRUPTED
    is_bad = account.endings[MALFORMED] or (strict and account.endings[FAILED_INPUT])
    return FAILED if is_bad else 0


@contextlib.contextmanager
def usage_errors() -> Generator[None]:
    """Say what is wrong with the call, without a traceback of ours."""
    try:
        yield
    except UsageError as error:
        print(f"treadle: {error}", file=sys.stderr)
        raise typer.Exit(USAGE) from error
