"""`fork`, `rerun` and `upgrade`: runs that come of runs, and what would become of all of them under today's code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from time import time
from typing import Annotated, Any

import msgspec
import typer
from msgspec import structs

from treadle.cli import options
from treadle.cli.ending import FAILED, usage_errors
from treadle.cli.loading import Loaded, load
from treadle.cli.naming import made_up
from treadle.cli.places import info_of, opened, url_of
from treadle.cli.terminal import clean
from treadle.cli.upkeep import counted, say
from treadle.errors import CodeChanged, TreadleError, UsageError
from treadle.interfaces import RunInfo, StoredRun
from treadle.runner.core import check_id
from treadle.runner.forking import forked, rerun_of
from treadle.runner.stimuli import CANCELLED, RUNNING, STOPPED
from treadle.stores.portable import write_run
from treadle.upgrade.plan import plan
from treadle.upgrade.rules import KEEP, POLICIES, RECOMPUTE, REFUSE, OnChange, on_change_from
from treadle.value import Workflow

NewRun = Annotated[str | None, typer.Option("--id", help="The new run's id.")]


def fork(
    id: options.RunId,
    *,
    at: Annotated[
        int | None,
        typer.Option(
            min=0, help="The position from which on the log is left out; by default all stays."
        ),
    ] = None,
    new: NewRun = None,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Make a new run of what a run was at a position of its log: `treadle logs` shows them.

    The new run has keys of its own for idempotent work. What was left to do there is stopped: `treadle resume` goes on
    with it.

    Exit codes: 0; 2 if there is no such run, position or store, or a run of the new id is there.
    """
    with usage_errors(), opened(url_of(store), to_write=True) as kept:
        info_of(kept, id)
        made = forked(kept.load_all(id), at, free_name(kept, new), time())
        info = written(kept, made)
    told = f"{info.id} is {id} as it was after {info.position} events: {info.status}"
    say({"run": info.id, "events": info.position, "status": info.status}, json, told)


def rerun(
    id: options.RunId,
    component: Annotated[
        str,
        typer.Argument(metavar="COMPONENT", help="What is to be done again, with all below it."),
    ],
    target: Annotated[
        str, typer.Argument(metavar="FILE[:NAME]", help="The file with the run's workflow.")
    ],
    *,
    input: Annotated[
        int | None, typer.Option(min=0, help="Only for the input of this number; else for all.")
    ] = None,
    on_code_change: options.CodeChange = None,
    new: NewRun = None,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Make a new run in which a component, and all below it, has its work to do again.

    What others gave stays. What is done again is done by the code that the file has today; --on-code-change says what
    becomes of other components whose code is another now: by default, adopt. The new run has keys of its own for
    idempotent work, so what is done again happens again. It is stopped: `treadle resume` does what it has to do. The
    run it is of stays as it is.

    Exit codes: 0; 2 if there is no such run, component, file or store, or its log or the code does not allow it.
    """
    with usage_errors():
        rules = rules_of(on_code_change or [])
        loaded = loaded_from(target)
        with opened(url_of(store), to_write=True) as kept:
            info_of(kept, id)
            stored = kept.load_all(id)
            if stored.info.workflow != loaded.workflow.name:
                raise UsageError(
                    f"the run {id!r} is of the workflow {stored.info.workflow!r}, and the file holds "
                    f"{loaded.workflow.name!r}."
                )
            workflow = Workflow.from_log(loaded.workflow, stored.events)
            name = free_name(kept, new)
            if on_code_change:
                workflow = under_rules(stored, workflow, component, rules)
            made = rerun_of(stored, workflow, component, input=input, name=name, now=time())
            info = written(kept, made)
    told = f"{info.id} is {id} with {component} to be done again: {info.status}"
    say({"run": info.id, "events": info.position, "status": info.status}, json, told)


def under_rules(stored: StoredRun, workflow: Workflow, component: str, rules: OnChange) -> Workflow:
    """The run under the code of today, with what is to be computed again besides what is done again anyway.

    Errors: `CodeChanged` naming what else is another now, and may not go on.
    """
    anyway = below({component}, workflow)
    rows = [
        row
        for row in plan(workflow, stored.events, rules).rows
        if row["change"] != "same" and row["component"] not in anyway
    ]
    refused = [row["component"] for row in rows if row["policy"] in {REFUSE, KEEP}]
    if refused:
        raise CodeChanged(
            f"not only what is done again is another now: {', '.join(refused)}, too.",
            hint="--on-code-change adopt takes the new code for what is yet to be done; recompute does it again, too.",
        )
    for row in rows:
        if row["policy"] == RECOMPUTE and row["component"] in workflow:
            workflow = workflow.rerun(row["component"])
    return workflow


def below(names: set[str], workflow: Workflow) -> set[str]:
    """These components, and all that takes something from them, directly or not."""
    while True:
        more = {child for parent, child, _ in workflow.to_edgelist() if parent in names} - names
        if not more:
            return names
        names |= more


def free_name(store: Any, wanted: str | None) -> str:
    """The id that was asked for, or one that no run has."""
    if wanted is not None:
        return check_id(wanted)
    return made_up(lambda taken: store.info(taken) is not None)


def written(store: Any, made: StoredRun) -> RunInfo:
    """Put a run that was made of another one into the store; what it has to do waits until somebody resumes it."""
    info = made.info
    if info.status == RUNNING:
        info = structs.replace(info, status=STOPPED)
    write_run(store, info, made.events)
    return info


def loaded_from(target: str) -> Loaded:
    """The workflow of a file; what the file prints goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        return load(target)


def upgrade(
    target: options.Target,
    *,
    is_plan: Annotated[
        bool, typer.Option("--plan", help="Say what would happen; nothing is changed.")
    ] = False,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COMPONENT=]WORD",
            help=f"{', '.join(POLICIES)}: for all, or for one component; may be repeated, the first that matches wins.",
        ),
    ] = None,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Say, run by run, what would become of a workflow's stored runs under the code that the file has today.

    Runs that were cancelled are left out. Nothing is upgraded here: runs are when a runner brings them back, as its
    on_code_change says.

    Exit codes: 0: all would go on; 1: some would be refused; 2: there is no such file, word or store.
    """
    with usage_errors():
        rules = rules_of(policy or [])
        if not is_plan:
            raise UsageError(
                "runs are upgraded when a runner brings them back, not by a command.",
                hint="--plan says what would happen; then td.Runner(..., on_code_change=...) with the same words.",
            )
        loaded = loaded_from(target)
        with opened(url_of(store)) as kept:
            infos = [
                info
                for info in kept.list(workflow=loaded.workflow.name)
                if info.status != CANCELLED
            ]
            rows = [planned_row(kept, info, loaded.workflow, rules) for info in infos]
    refused = sum(not row["goes_on"] for row in rows)
    forks = sum(row["is_fork"] for row in rows)
    for row in rows:
        text = row.pop("text")
        print(msgspec.json.encode(row).decode() if json else clean_lines(text))
    summary = {"type": "summary", "runs": len(rows), "refused": refused, "forks": forks}
    told = f"{counted(len(rows), 'run')} of {loaded.workflow.name}: {refused} would be refused"
    say(summary, json, f"{told}, {forks} would go on as forks" if forks else told)
    raise typer.Exit(FAILED if refused else 0)


def planned_row(store: Any, info: RunInfo, workflow: Workflow, rules: OnChange) -> dict[str, Any]:
    """What would become of one run, as data and as text; one that cannot be read would not go on."""
    row: dict[str, Any] = {"type": "run", "run": info.id, "status": info.status}
    try:
        events = store.load_all(info.id).events
        if not events:
            text = f"{info.id}: would go on, nothing has happened in it yet"
            return row | {"goes_on": True, "is_fork": False, "why_not": "", "text": text}
        found = plan(workflow, events, rules)
    except TreadleError as error:
        text = f"{info.id}: would not go on\n  {error}"
        return row | {"goes_on": False, "is_fork": False, "why_not": str(error), "text": text}
    return row | found.data() | {"text": found.text(info.id)}


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


def clean_lines(text: str) -> str:
    """Text of several lines, each as it may be shown."""
    return "\n".join(clean(line) for line in text.splitlines())
