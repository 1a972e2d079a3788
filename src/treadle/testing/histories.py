"""Check stored histories against the code of today, in your own tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from treadle.codec import Codec
from treadle.errors import CodeChanged, LogError, TreadleError
from treadle.model.events import Event
from treadle.stores.portable import events_in, read
from treadle.upgrade import plan, upgraded
from treadle.value import Workflow


class HistoryChanged(AssertionError):
    """A stored history would not go on under the code of today; `differences` says why, where code differs.

    `position`: the first event that no longer follows, where there is one.
    """

    def __init__(
        self, message: str, differences: tuple[Any, ...] = (), position: int | None = None
    ) -> None:
        super().__init__(message)
        self.differences = differences
        self.position = position


def check_history(
    workflow: Workflow,
    history: Iterable[Event] | str | PathLike[str],
    *,
    on_code_change: Any = "refuse",
    earlier: Iterable[Workflow] = (),
    components: Mapping[str, Any] | None = None,
    codec: Any = None,
) -> Workflow:
    """Fold a stored history with the code of today, and give the workflow to go on with, to ask it more.

    `history`: a file that `treadle export` wrote, or events, as `workflow.log()` gives them. `codec` reads the file;
    by default one that knows the classes that the workflows' ports are annotated with. The rest is what the runner is
    given in production: the check fails where a runner would not continue the run. No user code runs.

    Errors: `HistoryChanged`, an `AssertionError` that names the first event that no longer follows, if the run would
    be refused, the log cannot be read or folded, or a fold of it gives another history than it tells.
    """
    known = list(earlier)
    what = f"the history of {workflow.name!r}"
    if isinstance(history, (str, PathLike)):
        what = f"the history in {Path(history).name!r}"
        logged = _read(Path(history), codec or _codec_for(workflow, *known), what)
    else:
        logged = list(history)
    try:
        done = upgraded(workflow, logged, on_code_change, earlier=known, components=components)
    except CodeChanged as error:
        told = plan(workflow, logged, on_code_change, earlier=known, components=components)
        firsts = [each.first for each in error.differences if each.first is not None]
        first = min(firsts, default=None)
        text = told.text(what)
        raise HistoryChanged(
            f"{text}\n{_first(logged, first)}\n{error}", error.differences, first
        ) from error
    except LogError as error:
        first = _first_broken(workflow, logged)
        text = f"{what} cannot be folded: {error}\n{_first(logged, first)}"
        raise HistoryChanged(text, position=first) from error
    folded = list(done.log())
    if folded[: len(logged)] != logged and done.run_key == _key_of(logged):
        pairs = zip(logged, folded, strict=False)
        at = next((n for n, pair in enumerate(pairs) if pair[0] != pair[1]), len(folded))
        raise HistoryChanged(
            f"{what} folds to another one, from its event {logged[at].position} on:\n"
            f"  stored: {logged[at]!r:.200}\n  folded: {folded[at : at + 1]!r:.200}",
            position=logged[at].position,
        )
    return done


def _codec_for(*workflows: Workflow) -> Codec:
    codec = Codec()
    for each in workflows:
        codec.learn_from(each.definition)
    return codec


def _read(file: Path, codec: Any, what: str) -> list[Event]:
    """The events of an exported run; a file that is not there is no history, and raises as any file does."""
    data = file.read_bytes()
    try:
        return list(events_in(read(data), codec))
    except TreadleError as error:
        raise HistoryChanged(f"{what} cannot be read: {error}") from error


def _first(events: list[Event], position: int | None) -> str:
    """The first event that no longer follows, in words."""
    if position is None:
        return "no event hangs on it: what differs was never used"
    for event in events:
        if event.position == position:
            node = getattr(event, "node", None)
            whose = "" if node is None else f" of {node!r}"
            scope = getattr(event, "scope", None)
            where = f" in input {scope[0]}" if scope else ""
            return f"the first event that no longer follows is {position}: {type(event).__name__}{whose}{where}"
    return f"the first event that no longer follows is {position}"


def _first_broken(workflow: Workflow, events: list[Event]) -> int:
    """The position of the first event up to which the log cannot be folded."""
    good, bad = 0, len(events)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            Workflow.from_log(workflow, events[:middle])
        except LogError:
            bad = middle
        else:
            good = middle
    return events[bad - 1].position


def _key_of(events: list[Event]) -> str | None:
    head: Any = events[0] if events else None
    defined = getattr(head, "defined", head)
    return getattr(defined, "run_key", None)
