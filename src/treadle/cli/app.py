"""The commands: what they take, and which exit code they end with."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from importlib import metadata
from signal import SIGINT
from typing import Annotated, Literal

import msgspec
import typer
from msgspec import structs

from treadle.cli.account import CANCELLED, FAILED_INPUT, MALFORMED, UNFINISHED, Account
from treadle.cli.feed import Feed, from_file, from_options
from treadle.cli.interrupts import EndNow, code_of
from treadle.cli.loading import Loaded, load, split_target
from treadle.cli.planning import planned, show_plan
from treadle.cli.plugging import Asked, plugs_from
from treadle.cli.running import How, run_for_people, run_for_programs
from treadle.cli.screen import make_console
from treadle.errors import MissingExtra, UsageError
from treadle.value import Workflow

FAILED = 1
USAGE = 2

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
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 if an input failed or was cancelled.")
]
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
    executor: Executor = "threads",
    scheduler: Scheduler = "default",
    max_concurrency: Concurrency = None,
    max_open: MaxOpen = None,
    deadline_s: Deadline = None,
    drain_s: Drain = 60.0,
    context: RunContext = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Run a workflow over inputs, watch it, and say what came of each.

    All inputs go into one workflow, under a runner: as many at once as the executor takes, with the policies
    attached to the workflow, and then those that its file calls `policies`. A failure concerns its own input only: it
    is listed with the line of your code that raised it, and the others go on. For one input after the other, in
    order: --executor inline.

    With --json, what came of an input is written in the order of the inputs.

    Ctrl-C and SIGTERM: no further inputs are taken, and those under way are finished, for --drain-s at most. The
    second one ends it at once; the account then tells how far it came.

    Exit codes:

    0: every line was an input and was run to its end. Failures are among the results; see --strict.

    1: a line was not JSON; or, with --strict, an input failed (something raised and no handler took it) or was
    cancelled; or the runner gave the run up, and stderr says why.

    2: nothing was run: no such file, workflow or option, or the file itself raised.

    130: interrupted (143: terminated by SIGTERM), however far it came.
    """
    with usage_errors():
        feed = given_by(input, inputs)
        with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
            loaded = with_context(load(target), context)
        asked = Asked(
            executor=executor,
            scheduler=scheduler,
            max_concurrency=max_concurrency,
            max_open=max_open,
            deadline_s=seconds_of(deadline_s),
        )
        how = How(plugs_from(loaded, asked), drain_s, quiet)
        account = Account(loaded.workflow, feed, split_target(target)[0].resolve().parent)
        show = run_for_programs if json else run_for_people
        show(account, loaded.workflow, how)
    if account.given_up is not None:
        print(f"treadle: {account.given_up}", file=sys.stderr)
    code = exit_code(account, strict=strict)
    if account.stopped_by is not None and account.endings[UNFINISHED]:
        raise EndNow(code)
    raise typer.Exit(code)


@app.command()
def plan(
    target: Target,
    *,
    input: Inputs = None,
    inputs: InputFile = None,
    json: AsPlan = False,
    executor: Executor = "threads",
    scheduler: Scheduler = "default",
    max_concurrency: Concurrency = None,
    context: RunContext = None,
) -> None:
    """Say what would be dispatched first: together with what, where to, and why. No step is executed.

    The inputs are accepted and the conditions of rules asked, as `run` would do; what is ready then is planned by the
    scheduler.

    Exit codes: 0; 1 if a line was not JSON; 2 if there is no such file, workflow or option, or the file itself raised.
    """
    with usage_errors(), contextlib.redirect_stdout(sys.stderr):
        feed = given_by(input, inputs)
        loaded = with_context(load(target), context)
        asked = Asked(executor=executor, scheduler=scheduler, max_concurrency=max_concurrency)
        givens = list(feed)
        bundles = planned(loaded.workflow, givens, plugs_from(loaded, asked))
    if json:
        for bundle in bundles:
            print(msgspec.json.encode(bundle).decode())
    else:
        count = sum(given.problem is None for given in givens)
        show_plan(loaded.workflow, bundles, count, make_console())
    bad = [given for given in givens if given.problem is not None]
    for given in bad:
        print(f"treadle: line {given.line} is not JSON: {given.problem}", file=sys.stderr)
    raise typer.Exit(FAILED if bad else 0)


def seconds_of(duration: float | None) -> float | None:
    """A duration above 0, if one was given."""
    if duration is not None and not duration > 0:
        raise UsageError(f"--deadline-s {duration:g} is not a number of seconds above 0.")
    return duration


def with_context(loaded: Loaded, text: str | None) -> Loaded:
    """The workflow with the run-time values that were given as JSON."""
    if text is None:
        return loaded
    try:
        values = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"--context is not JSON: {error}.",
            hint='quote it as a whole: --context \'{"summarise": {"model": "large"}}\'.',
        ) from error
    return structs.replace(loaded, workflow=loaded.workflow.with_context(values))


@app.command()
def graph(target: Target, *, format: Format = "mermaid") -> None:
    """Draw the graph of a workflow, without running it.

    Exit codes: 0; 2 if there is no such file, workflow or option, or the file itself raised.
    """
    with usage_errors(), contextlib.redirect_stdout(sys.stderr):
        workflow = load(target).workflow
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


def given_by(texts: list[str] | None, path: str | None) -> Feed:
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
    if account.stopped_by is not None:
        return code_of(account.stopped_by)
    endings = account.endings
    is_bad = endings[MALFORMED] or (strict and (endings[FAILED_INPUT] or endings[CANCELLED]))
    return FAILED if is_bad or account.given_up is not None else 0


@contextlib.contextmanager
def usage_errors() -> Generator[None]:
    """Say what is wrong with the call, without a traceback of ours."""
    try:
        yield
    except (UsageError, MissingExtra) as error:
        print(f"treadle: {error}", file=sys.stderr)
        raise typer.Exit(USAGE) from error
    except KeyboardInterrupt:  # while the file was loaded, or the account printed
        print("treadle: interrupted", file=sys.stderr)
        raise typer.Exit(code_of(SIGINT)) from None
