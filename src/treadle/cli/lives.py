"""`fork` and `rerun`: runs that come of runs."""

from __future__ import annotations

import contextlib
import sys
from time import time
from typing import Annotated, Any

import typer
from msgspec import structs

from treadle.cli import options
from treadle.cli.ending import usage_errors
from treadle.cli.loading import Loaded, load
from treadle.cli.naming import made_up
from treadle.cli.places import info_of, opened, url_of
from treadle.cli.upkeep import say
from treadle.errors import CodeChanged, UsageError
from treadle.interfaces import RunInfo, StoredRun
from treadle.runner.forking import forked, rerun_of
from treadle.runner.registry import check_id
from treadle.runner.stimuli import RUNNING, STOPPED
from treadle.stores.whole import write_run
from treadle.upgrade.plan import plan
from treadle.upgrade.rules import KEEP, RECOMPUTE, REFUSE, OnChange
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
        rules = options.rules_of(on_code_change or [])
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
