"""The commands: what they take, and which exit code they end with."""

from __future__ import annotations

import contextlib
import sys
from importlib import metadata
from typing import Annotated, NoReturn

import msgspec
import typer
from msgspec import structs

from treadle.cli import asking, history, lives, options, outside, upgrading, upkeep
from treadle.cli.account import CANCELLED, FAILED_INPUT, MALFORMED, UNFINISHED, Account
from treadle.cli.ending import FAILED, complain, usage_errors
from treadle.cli.feed import Feed, Keys, from_file, from_options
from treadle.cli.interrupts import EndNow, code_of
from treadle.cli.loading import Loaded, load, split_target
from treadle.cli.places import feed_of, place_for, shown, url_of
from treadle.cli.planning import planned, show_plan
from treadle.cli.plugging import Asked, plugs_from
from treadle.cli.resuming import resume_all
from treadle.cli.running import How, run_for_people, run_for_programs
from treadle.cli.screen import make_console
from treadle.errors import UsageError
from treadle.value import Workflow

app = typer.Typer(
    name="treadle",
    help="Run workflows, see what became of runs, and draw graphs.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Version = Annotated[bool, typer.Option("--version", help="Show the version and exit.")]


@app.callback(invoke_without_command=True)
def root(*, version: Version = False) -> None:
    """Run workflows, see what became of runs, and draw graphs."""
    if version:
        try:
            print(f"treadle {metadata.version('treadle')}")
        except metadata.PackageNotFoundError:
            print("treadle, not installed")
        raise typer.Exit


@app.command()
def run(
    target: options.Target,
    *,
    input: options.Inputs = None,
    inputs: options.InputFile = None,
    key: options.KeyField = None,
    again: options.Again = False,
    id: options.NewId = None,
    store: options.StoreUrl = None,
    ephemeral: options.Ephemeral = False,
    json: options.AsJson = False,
    executor: options.Executor = "threads",
    scheduler: options.Scheduler = "default",
    max_concurrency: options.Concurrency = None,
    max_open: options.MaxOpen = None,
    deadline_s: options.Deadline = None,
    drain_s: options.Drain = 60.0,
    context: options.RunContext = None,
    on_code_change: options.CodeChange = None,
    strict: options.Strict = False,
    quiet: options.Quiet = False,
) -> None:
    """Run a workflow over inputs, watch it, and say what came of each.

    All inputs go into one run, under a runner: as many at once as the executor takes, with the policies
    attached to the workflow, and then those that its file calls `policies`. A failure concerns its own input only: it
    is listed with the line of your code that raised it, and the others go on. For one input after the other, in
    order: --executor inline.

    The run is kept in a store as it goes. However it ends, also by kill -9 or a power cut: the same command with --id
    goes on where it was. What was finished is not executed again, what was under way is, and no input is taken twice:
    a line of a file is known by its number and content, or by --key. Lines from a pipe are known by --key alone.

    With --json, what came of an input is written in the order of the inputs.

    Ctrl-C and SIGTERM: no further inputs are taken, and those under way are finished, for --drain-s at most. The
    second one ends it at once; the account then tells how far it came.

    Exit codes:

    0: every line was an input and was run to its end. Failures are among the results; see --strict.

    1: a line was not JSON; or, with --strict, an input failed (something raised and no handler took it) or was
    cancelled; or the runner gave the run up, or somebody cancelled it, and stderr says why.

    2: nothing was run: no such file, workflow, run or option, or the file itself raised, or the store is not to be had.

    130: interrupted (143: terminated by SIGTERM), however far it came.
    """
    with usage_errors():
        keys = None if again else Keys(key)
        feed = given_by(input, inputs, keys)
        loaded = loaded_for(target, context, is_json=json)
        asked = Asked(
            executor=executor,
            scheduler=scheduler,
            max_concurrency=max_concurrency,
            max_open=max_open,
            deadline_s=seconds_of(deadline_s),
            on_code_change=options.rules_of(on_code_change or []),
        )
        plugs = plugs_from(loaded, asked)
        place = place_for(loaded, url_of(store, is_ephemeral=ephemeral), id)
        account = carried_out(target, loaded, feed, How(plugs, place, drain_s, quiet), is_json=json)
    end(account, strict=strict)


@app.command()
def resume(
    id: options.SomeRunId = None,
    target: Annotated[
        str | None, typer.Argument(metavar="FILE[:NAME]", help="The file with the run's workflow.")
    ] = None,
    *,
    all: Annotated[
        str | None,
        typer.Option("--all", metavar="FILE[:NAME]", help="Let all runs of this workflow go on."),
    ] = None,
    store: options.StoreUrl = None,
    json: options.AsJson = False,
    executor: options.Executor = "threads",
    scheduler: options.Scheduler = "default",
    max_concurrency: options.Concurrency = None,
    drain_s: options.Drain = 60.0,
    context: options.RunContext = None,
    on_code_change: options.CodeChange = None,
    settled: options.Settled = None,
    strict: options.Strict = False,
    quiet: options.Quiet = False,
) -> None:
    """Let a run go on from where it was, and say what came of all its inputs; or all runs that have something to do.

    What was finished is not executed again. A run that was stopped or parked goes on, too, if it is named. Inputs that
    it was never given are not known to the run: the command that feeds them goes on with them, see `treadle run --id`.

    A run that was parked as ambiguous goes on with what --settled says of each attempt that was interrupted.

    With --all, each run is one line when nothing is left to do for it: its id, how it stands, and how many inputs
    ended how. Those that are running or waiting go on; runs that were stopped, parked or cancelled stay so.

    Exit codes:

    0: everything was run to its end. Failures are among the results; see --strict.

    1: with --strict, an input failed or was cancelled; or a run was given up or cancelled, and stderr says why.

    2: nothing was run: no such file, workflow, run or store, or another process runs the workflows of the store.

    130: interrupted (143: terminated by SIGTERM), however far it came.
    """
    with usage_errors():
        url = url_of(store)
        named = all if all is not None else target
        if (all is None) != (id is not None) or named is None:
            raise UsageError(
                "which run is to go on, and where is its workflow?",
                hint="treadle resume ID FILE, or treadle resume --all FILE.",
            )
        if all is not None and settled:
            raise UsageError("--settled is for one run.", hint="treadle resume ID FILE --settled.")
        found = options.settled_of(settled) if settled else None
        loaded = loaded_for(named, context, is_json=json)
        asked = Asked(
            executor=executor,
            scheduler=scheduler,
            max_concurrency=max_concurrency,
            on_code_change=options.rules_of(on_code_change or []),
        )
        plugs = plugs_from(loaded, asked)
        if all is not None:
            code = resume_all(loaded, plugs, url, drain_s, is_json=json, is_strict=strict)
            raise typer.Exit(code)
        place = structs.replace(place_for(loaded, url, id, is_resumed=True), settled=found)
        feed = feed_of(place.past)
        account = carried_out(named, loaded, feed, How(plugs, place, drain_s, quiet), is_json=json)
    end(account, strict=strict)


def loaded_for(target: str, context: str | None, *, is_json: bool) -> Loaded:
    """The workflow of a file; what the file prints goes to stderr where stdout is for programs."""
    with contextlib.redirect_stdout(sys.stderr) if is_json else contextlib.nullcontext():
        return with_context(load(target), context)


def carried_out(target: str, loaded: Loaded, feed: Feed, how: How, *, is_json: bool) -> Account:
    """Run, show what comes of it, and give the account."""
    account = Account(loaded.workflow, feed, split_target(target)[0].resolve().parent)
    if how.place.url is not None:
        account.run_id, account.store = how.place.run_id, shown(how.place.url)
    show = run_for_programs if is_json else run_for_people
    show(account, loaded.workflow, how)
    return account


def end(account: Account, *, strict: bool) -> NoReturn:
    """End the process as the account wants it."""
    if account.given_up is not None:
        complain(account.given_up)
    code = exit_code(account, strict=strict)
    if account.stopped_by is not None and account.endings[UNFINISHED]:
        raise EndNow(code)
    raise typer.Exit(code)


@app.command()
def plan(
    target: options.Target,
    *,
    input: options.Inputs = None,
    inputs: options.InputFile = None,
    json: options.AsPlan = False,
    executor: options.Executor = "threads",
    scheduler: options.Scheduler = "default",
    max_concurrency: options.Concurrency = None,
    context: options.RunContext = None,
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
def graph(target: options.Target, *, format: options.Format = "mermaid") -> None:
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


def given_by(texts: list[str] | None, path: str | None, keys: Keys | None = None) -> Feed:
    """The inputs that the options name."""
    if texts and path is not None:
        raise UsageError("--input and --inputs do not go together.", hint="give one of them.")
    if path is not None:
        return from_file(path, keys)
    if texts:
        return from_options(texts, keys)
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


for command in (
    *(history.ls, history.show, history.logs),
    *(asking.waiting, asking.answer, outside.signal, outside.cancel),
    *(lives.fork, lives.rerun, upgrading.upgrade),
    *(upkeep.verify, upkeep.export, upkeep.import_, upkeep.gc, upkeep.backup),
):
    app.command(name=command.__name__.rstrip("_"))(command)
