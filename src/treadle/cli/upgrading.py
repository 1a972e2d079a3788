"""`upgrade --plan`: what would become of stored runs under the code of today, those of a kind told as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec
import typer
from msgspec import Struct, structs

from treadle.cli import options
from treadle.cli.ending import FAILED, usage_errors
from treadle.cli.lives import loaded_from
from treadle.cli.loading import codec_for
from treadle.cli.places import opened, url_of
from treadle.cli.terminal import clean
from treadle.cli.upkeep import counted, say
from treadle.errors import TreadleError, UsageError
from treadle.interfaces import RunInfo
from treadle.runner.stimuli import CANCELLED
from treadle.upgrade.plan import Plan, plan
from treadle.upgrade.rules import POLICIES, OnChange
from treadle.value import Workflow

NAMED_MAX: Final = 3
"""So many runs of one group are named."""


class Group(Struct):
    """Runs of which the same would become. `plan` is that of the first."""

    plan: Plan
    runs: list[str] = []
    used: dict[str, int] = {}
    pending: dict[str, int] = {}

    def take(self, run_id: str, found: Plan) -> None:
        """One more of them."""
        self.runs.append(run_id)
        for row in found.changed:
            name = row["component"]
            self.used[name] = self.used.get(name, 0) + row["used"]
            self.pending[name] = self.pending.get(name, 0) + row["pending"]

    def counted(self) -> Plan:
        """The plan of the first, whose rows say in how many of the runs a component was used."""
        rows = [
            row | {"used": self.used[row["component"]], "pending": self.pending[row["component"]]}
            if row["change"] != "same"
            else row
            for row in self.plan.rows
        ]
        return structs.replace(self.plan, rows=tuple(rows))

    def data(self) -> dict[str, Any]:
        """This group as a JSON-ready dict."""
        told = self.counted()
        return {
            "type": "group",
            "count": len(self.runs),
            "runs": self.runs,
            "goes_on": told.goes_on,
            "is_fork": told.is_fork,
            "why_not": told.why_not,
            "components": told.changed,
        }

    def text(self) -> str:
        """This group in words; a run that is like no other is told as it is."""
        if len(self.runs) == 1:
            return self.plan.text(self.runs[0])
        count = len(self.runs)
        more = f" and {count - NAMED_MAX} more" if count > NAMED_MAX else ""
        head, *lines = self.counted().text(f"{count} runs").splitlines()
        verdict = head.partition(", run key")[0].replace("as a fork", "as forks")
        return "\n".join([verdict, f"  {', '.join(self.runs[:NAMED_MAX])}{more}", *lines])


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
    each: Annotated[
        bool,
        typer.Option("--each", help="Tell of each run by itself, also of those that are alike."),
    ] = False,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Say what would become of a workflow's stored runs under the code that the file has today.

    Runs of which the same would become are told as one, with --json as one object that names them all. Runs that were
    cancelled are left out. Nothing is upgraded here: runs are when a runner brings them back, as its on_code_change
    says.

    Exit codes: 0: all would go on; 1: some would be refused; 2: there is no such file, word or store.
    """
    with usage_errors():
        rules = options.rules_of(policy or [])
        if not is_plan:
            raise UsageError(
                "runs are upgraded when a runner brings them back, not by a command.",
                hint="--plan says what would happen; then td.Runner(..., on_code_change=...) with the same words.",
            )
        loaded = loaded_from(target)
        workflow = loaded.workflow
        with opened(url_of(store), codec=codec_for(loaded)) as kept:
            infos = [info for info in kept.list(workflow=workflow.name) if info.status != CANCELLED]
            others = [] if infos else sorted({repr(info.workflow) for info in kept.list()})
            groups = grouped(plans_of(kept, infos, workflow, rules), apart=each)
    for group in groups:
        print(msgspec.json.encode(group.data()).decode() if json else clean_lines(group.text()))
    refused = sum(len(group.runs) for group in groups if not group.plan.goes_on)
    forks = sum(len(group.runs) for group in groups if group.plan.is_fork)
    summary = {"type": "summary", "runs": len(infos), "refused": refused, "forks": forks}
    told = f"{counted(len(infos), 'run')} of {workflow.name}: {refused} would be refused"
    told += f", {forks} would go on as forks" if forks else ""
    say(summary, json, f"{told}; the store has runs of {', '.join(others)}" if others else told)
    raise typer.Exit(FAILED if refused else 0)


def plans_of(
    store: Any, infos: Iterable[RunInfo], workflow: Workflow, rules: OnChange
) -> Iterator[tuple[str, Plan]]:
    """What would become of each run; one that cannot be read would not go on."""
    for info in infos:
        try:
            found = plan(workflow, store.load_all(info.id).events, rules)
        except TreadleError as error:
            found = Plan(workflow.name, False, False, None, str(error), ())
        yield info.id, found


def grouped(plans: Iterable[tuple[str, Plan]], *, apart: bool) -> list[Group]:
    """Runs of which the same would become; those that would be refused come last, where they are seen."""
    groups: dict[Any, Group] = {}
    for run_id, found in plans:
        key = run_id if apart else found.likeness()
        groups.setdefault(key, Group(found)).take(run_id, found)
    return sorted(groups.values(), key=lambda group: not group.plan.goes_on)


def clean_lines(text: str) -> str:
    """Text of several lines, each as it may be shown."""
    return "\n".join(clean(line) for line in text.splitlines())
