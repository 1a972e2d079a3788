"""`waiting` and `answer`: what runs wait for, and a person's answer, by the form that stands in the log."""

from __future__ import annotations

import sys
from time import time
from typing import Annotated, Any

import msgspec
import typer
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from treadle.cli import options
from treadle.cli.ending import usage_errors
from treadle.cli.events import moment, short
from treadle.cli.jsonl import ENCODER
from treadle.cli.outside import check_goes_on, report, send
from treadle.cli.places import info_of, opened, url_of
from treadle.cli.questions import ask, filled, is_terminal, say
from treadle.cli.screen import make_console
from treadle.cli.terminal import ago, clean, within
from treadle.errors import AmbiguousSignal, BadValue, UsageError, nearest
from treadle.model.filling import check_form
from treadle.model.forms import Form, OpenWait
from treadle.runner.asking import as_data, may_wait, stored_waits


def waiting(
    *,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the waits of this name.")
    ] = None,
    workflow: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the runs of this workflow.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Read no further run once so many were found.")
    ] = None,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """List what runs wait for that somebody may answer: what is asked, about what, and until when. Oldest run first.

    With --json, each has the form that is to be filled in. `treadle answer` does that.

    Exit codes: 0; 2 if there is no such store.
    """
    with usage_errors(), opened(url_of(store)) as kept:
        waits: list[OpenWait] = []
        for info in may_wait(kept, workflow):
            if limit is not None and len(waits) >= limit:
                break
            waits += stored_waits(kept, info, name)
    if json:
        for wait in waits:
            print(ENCODER.encode(data_of(wait)).decode())
        return
    console = make_console()
    if not waits:
        console.print("nothing waits for an answer")
        return
    for line in table_of(waits):
        console.print(line, soft_wrap=True)


def data_of(wait: OpenWait) -> dict[str, Any]:
    """A wait as data."""
    fields = {name: getattr(wait, name) for name in wait.__struct_fields__}
    return {"type": "wait"} | fields | {"subject": as_data(wait.subject)}


def table_of(waits: list[OpenWait]) -> list[Text]:
    """Waits in columns. The subject stands last, and is short; nothing else is cut."""
    now = time()
    rows = [["run", "name", "key", "since", "until", "asks for", "about"]]
    for wait in waits:
        since = "" if wait.since is None else ago(now - wait.since)
        until = "" if wait.deadline is None else within(wait.deadline - now)
        row = [
            wait.run,
            wait.name,
            wait.key,
            since,
            until,
            asked(wait.form),
            short(as_data(wait.subject)),
        ]
        rows.append([clean(cell) for cell in row])
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(set_cell_size, row, widths)).rstrip() for row in rows]
    return [Text(lines[0], style="dim"), *map(Text, lines[1:])]


def asked(form: Form) -> str:
    """What a form asks for, in a few words."""
    if form.is_single:
        (field,) = form.fields
        return "/".join(str(choice.value) for choice in field.choices) or field.kind
    return ", ".join(f"{field.name}{'' if field.required else '?'}" for field in form.fields)


def answer(
    id: options.RunId,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Which wait; by default the only one that is open."),
    ] = None,
    *,
    key: Annotated[
        str | None, typer.Option(help="Which of several waits of this name is meant.")
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="An answer, instead of questions; may be repeated, also for the items of a list. A form with one "
            "field without a name takes value=VALUE.",
        ),
    ] = None,
    timeout_s: options.Timeout = 10.0,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Answer a wait of a run: shows what it is about and until when, and asks for each field of its form.

    A value that does not fit is asked for again. Nothing is sent before all is answered. Without a terminal, --set
    gives the values. The subject and the questions go to stderr.

    Exit codes:

    0: it was taken; or nobody has the run now, and it waits for who does.

    1: the run refused it; or a runner has the run, and did not take it within --timeout-s: it may yet.

    2: there is no such run, store or open wait, or a value does not fit; nothing was sent.
    """
    with usage_errors():
        url = url_of(store)
        with opened(url) as kept:
            wait = open_wait(kept, id, name, key)
        payload = answer_to(wait, set or [])
        with opened(url, to_write=True) as kept:
            check_still_open(kept, wait)
            body = {"name": wait.name, "payload": payload, "key": wait.key}
            came = send(kept, id, "signal", body, timeout_s)
    report(f"the signal {wait.name!r}", id, came, is_json=json, timeout_s=timeout_s)


def open_wait(store: Any, id: str, name: str | None, key: str | None) -> OpenWait:
    """The wait that is meant. Errors: `UsageError` where none is, `AmbiguousSignal` where several may be."""
    info = info_of(store, id)
    check_goes_on(info)
    waits = stored_waits(store, info)
    found = [wait for wait in waits if name in {None, wait.name} and key in {None, wait.key}]
    if not found:
        which = "nothing waits" if name is None else f"no {name!r} waits"
        which += "" if key is None else f" under the key {key!r}"
        keys = {wait.key for wait in waits if name in {None, wait.name}}
        known = nearest(key or "", keys) if keys else nearest(name or "", {w.name for w in waits})
        raise UsageError(
            f"{which} in the run {id!r}.{known}",
            hint="`treadle waiting` lists what does; `treadle signal` leaves an answer for what is yet to wait.",
        )
    if len(found) > 1:
        listed = ", ".join(f"{wait.name} --key {wait.key}" for wait in found[:8])
        more = ", ..." if len(found) > 8 else ""
        raise AmbiguousSignal(f"{len(found)} waits are open in {id!r}: {listed}{more}.")
    return found[0]


def answer_to(wait: OpenWait, given: list[str]) -> Any:
    """What is answered, by options or by a person. Errors: `UsageError`."""
    if given:
        payload = filled(wait.form, given)
    elif is_terminal():
        show(wait)
        payload = ask(wait.form)
    else:
        payload = filled(wait.form, [])  # refused, unless nothing is needed
    try:
        check_form(f"the signal {wait.name!r}", wait.form, payload)
    except BadValue as error:
        raise UsageError(error.message, hint="nothing was sent.") from error
    return payload


def show(wait: OpenWait) -> None:
    """Tell who is to decide what it is about, and until when."""
    title = wait.form.title or wait.name
    say(f"{title}, asked by the run {wait.run} of {wait.workflow}")
    if wait.form.description:
        say(wait.form.description)
    if wait.deadline is not None:
        say(f"until {moment(wait.deadline)}, {within(wait.deadline - time())}")
    text = msgspec.json.format(ENCODER.encode(as_data(wait.subject)), indent=2).decode()
    say(f"about: {text}")
    print(file=sys.stderr)


def check_still_open(store: Any, wait: OpenWait) -> None:
    """Errors: `UsageError` where somebody else answered meanwhile, or the time was over."""
    now_open = stored_waits(store, info_of(store, wait.run), wait.name)
    if all((each.key, each.scope) != (wait.key, wait.scope) for each in now_open):
        raise UsageError(
            f"{wait.name!r} of {wait.run!r} does not wait any more: it was answered, or its time is over.",
            hint="nothing was sent.",
        )
