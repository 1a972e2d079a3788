"""`signal` and `cancel`: what somebody wants of a run that is at work elsewhere, or that nobody has now.

What comes of it is told as it is: the run took it, or refused it, or it was left in the inbox for who runs it next.
"""

from __future__ import annotations

import os
import uuid
from time import monotonic, sleep, time
from typing import Annotated, Any, Final

import msgspec
import typer
from msgspec import Struct

from treadle.cli import options
from treadle.cli.ending import FAILED, complain, usage_errors
from treadle.cli.history import holder_of
from treadle.cli.places import info_of, opened, url_of
from treadle.cli.terminal import clean
from treadle.errors import BadValue, RunEnded, StoreTaken, UsageError
from treadle.interfaces import Append, Loads, Message, RunInfo
from treadle.runner.asking import check_answer
from treadle.runner.keeper import owner_name
from treadle.runner.letters import why_refused
from treadle.runner.stimuli import CANCELLED, PARKED, STOPPED

LOOK_S: Final = 0.05
"""How often is looked whether a message was taken."""

LEASE_S: Final = 5.0

ASLEEP: Final = frozenset({STOPPED, PARKED})
"""Nobody takes messages for these until somebody lets the run go on."""


def signal(
    id: options.RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the run waits for.")],
    payload: Annotated[
        str,
        typer.Argument(metavar="[JSON]", help="What the wait is to give; by default null."),
    ] = "null",
    *,
    key: Annotated[
        str | None, typer.Option(help="Which of several waits of this name is meant.")
    ] = None,
    timeout_s: options.Timeout = 10.0,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Send a signal to a run. It is stored before this ends, and lost with nothing.

    The runner that has the run takes it at once; where nobody has the run, it is taken when somebody does.

    Exit codes:

    0: it was taken; or nobody has the run now, and it waits for who does.

    1: the run refused it; or a runner has the run, and did not take it within --timeout-s: it may yet.

    2: there is no such run, store or wait_for, or the payload is not JSON, or not what is waited for, or several wait
    and no --key says which; nothing was sent.
    """
    with usage_errors():
        body = {"name": name, "payload": json_of(payload), "key": key}
        with opened(url_of(store), to_write=True) as kept:
            check_goes_on(info_of(kept, id))
            check_fits(kept, id, name, body["payload"], key)
            came = send(kept, id, "signal", body, timeout_s)
    report(f"the signal {name!r}", id, came, is_json=json, timeout_s=timeout_s)


def cancel(
    id: options.RunId,
    *,
    input: Annotated[
        int | None, typer.Option(min=0, help="Only what is left to do for this input.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why: it stands in the log.")] = "",
    timeout_s: options.Timeout = 10.0,
    store: options.StoreUrl = None,
    json: options.AsObjects = False,
) -> None:
    """Withdraw all that is left to do for a run, which ends with that for good; or for one of its inputs.

    The runner that has the run does it, and makes work end that is under way where its executor can. A run that nobody
    has is cancelled here; one input of it when somebody lets it go on.

    Exit codes:

    0: it was done; or nobody has the run, and the one input is cancelled as soon as somebody does.

    1: the run refused it, as for an input that it does not have; or a runner has the run, and did not take it within
    --timeout-s: it may yet.

    2: there is no such run or store, or the run was cancelled before.
    """
    with usage_errors(), opened(url_of(store), to_write=True) as kept:
        check_goes_on(info_of(kept, id))
        if input is None and cancel_here(kept, id, reason):
            came = Came(taken=True)
        else:
            body = {"input": input, "reason": reason or "asked for"}
            came = send(kept, id, "cancel", body, timeout_s)
    what = "the cancellation" if input is None else f"the cancellation of input {input}"
    report(what, id, came, is_json=json, timeout_s=timeout_s)


def json_of(text: str) -> Any:
    """What a signal brings. Errors: `UsageError`."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(
            f"the payload {text!r:.80} is not JSON: {error}.",
            hint="text needs quotes of its own: '\"text\"'.",
        ) from error


def check_goes_on(info: RunInfo) -> None:
    """Errors: `RunEnded` for a run that takes nothing any more."""
    if info.status == CANCELLED:
        note = f" ({info.note})" if info.note else ""
        raise RunEnded(f"the run {info.id!r} was cancelled{note}, which is for good.")


def cancel_here(store: Any, id: str, reason: str) -> bool:
    """End a run that nobody has; False where somebody has it, or may have."""
    try:
        claimed = store.claim(owner_name(), LEASE_S, run_id=id)
    except StoreTaken:  # another process runs the workflows of this store
        return False
    if not claimed:
        return False
    (info,) = claimed
    append = Append(
        run_id=id,
        expected=None,
        status=CANCELLED,
        note=reason or "asked for",
        at=time(),
        epoch=info.epoch,
        deadline_at=info.deadline_at,
        durability=info.durability,
    )
    (fault,) = store.append([append])
    store.release({id: info.epoch})
    if fault is not None:
        raise fault
    return True


class Came(Struct, frozen=True):
    """What came of a message. `left`: nobody is there to take it now. None of the two: it was not taken in time."""

    taken: bool = False
    refused: str | None = None
    left: bool = False


def check_fits(store: Any, id: str, name: str, payload: Any, key: str | None) -> None:
    """Errors: `UsageError` where the run would refuse this answer by what stands in its log."""
    try:
        check_answer(store, id, name, payload, key)
    except BadValue as error:
        raise UsageError(error.message, hint="nothing was sent.") from error


def send(store: Any, id: str, kind: str, body: dict[str, Any], timeout_s: float) -> Came:
    """Leave a message, and wait for what comes of it while somebody is there to take it."""
    message = Message(
        id=uuid.uuid4().hex, run_id=id, kind=kind, body=msgspec.json.encode(body), at=time()
    )
    store.post(message)
    is_awake = info_of(store, id).status not in ASLEEP
    if not is_awake or not is_anybody_there(store, info_of(store, id)):
        return Came(left=True)
    give_up_at = monotonic() + timeout_s
    while not (found := store.standing([(id, message.id)])[id, message.id]).is_taken:
        if monotonic() >= give_up_at:
            return Came()
        sleep(LOOK_S)
    refused = why_refused(store.codec, id, found.body)
    return Came(taken=refused is None, refused=refused)


def is_anybody_there(store: Any, info: RunInfo) -> bool:
    """Whether a runner has this run, or has others of the store and so looks for messages.

    Where one process at a time runs a store, its lock tells: the lease of one that was killed lasts for a while.
    """
    has_holder = holder_of(info, time()) is not None
    if isinstance(store, Loads):
        return has_holder or bool(store.loads([info.workflow]))
    try:
        store.claim(owner_name(), LEASE_S, run_id="")  # no run: to be refused is all that is asked
    except StoreTaken:
        return True
    return has_holder and os.name == "nt"  # without such a lock


def report(what: str, id: str, came: Came, *, is_json: bool, timeout_s: float) -> None:
    """Say what came of it, and end with the code that says so, too."""
    if is_json:
        told = {"run": id, "stored": True, "taken": came.taken, "refused": came.refused}
        print(msgspec.json.encode(told).decode())
    elif came.taken:
        print(clean(f"{id}: {what} was taken"))
    elif came.left:
        how = f"`treadle resume {id} FILE`"
        print(clean(f"{id}: {what} is left in the inbox for who runs it next, as {how}"))
    if came.refused is not None:
        complain(f"{what} was refused: {came.refused}")
    elif not came.taken and not came.left:
        complain(
            f"{what} was stored, and not taken within {timeout_s:g} s. "
            "Hint: `treadle show` tells how the run stands."
        )
    if not came.taken and not came.left:
        raise typer.Exit(FAILED)
