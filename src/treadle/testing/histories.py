"""Check stored histories against the code of today, in your own tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from treadle.errors import CodeChanged, LogError
from treadle.model.events import Event
from treadle.upgrade import plan, upgraded
from treadle.value import Workflow


class HistoryChanged(AssertionError):
    """A stored history would not go on under the code of today; `differences` says why, where code differs."""

    def __init__(self, message: str, differences: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences


def check_history(
    workflow: Workflow,
    events: Iterable[Event],
    *,
    on_code_change: Any = "refuse",
    earlier: Iterable[Workflow] = (),
    components: Mapping[str, Any] | None = None,
) -> Workflow:
    """Fold a stored history with the code of today, and give the workflow to go on with, to ask it more.

    `events`: what `workflow.log()` gave once, or the events of an exported run. The rest is what the runner is
    given in production: the check fails where a runner would not continue the run. No user code runs.

    Errors: `HistoryChanged`, an `AssertionError`, if the run would be refused, the log cannot be folded, or a fold
    of it gives another history than it tells.
    """
    logged, known = list(events), list(earlier)
    try:
        done = upgraded(workflow, logged, on_code_change, earlier=known, components=components)
    except CodeChanged as error:
        told = plan(workflow, logged, on_code_change, earlier=known, components=components)
        raise HistoryChanged(f"{told.text()}\n{error}", error.differences) from error
    except LogError as error:
        raise HistoryChanged(
            f"the history of {workflow.name!r} cannot be folded: {error}"
        ) from error
    folded = list(done.log())
    if folded[: len(logged)] != logged and done.run_key == _key_of(logged):
        at = next(
            (
                number
                for number, pair in enumerate(zip(logged, folded, strict=False))
                if pair[0] != pair[1]
            ),
            len(folded),
        )
        raise HistoryChanged(
            f"the history of {workflow.name!r} folds to another one, from its event {at} on:\n"
            f"  stored: {logged[at]!r:.200}\n  folded: {folded[at : at + 1]!r:.200}"
        )
    return done


def _key_of(events: list[Event]) -> str | None:
    head: Any = events[0] if events else None
    defined = getattr(head, "defined", head)
    return getattr(defined, "run_key", None)
