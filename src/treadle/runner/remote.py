"""Values that stay in a cluster, and have to leave it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

from msgspec import structs

from treadle.engine.jobs import failed_bundle
from treadle.interfaces import Executor
from treadle.model.bundles import Bundle
from treadle.model.remote import Remote
from treadle.model.runnables import Outcome


def has_foreign_values(bundle: Bundle, executor: Executor) -> bool:
    """Whether a bundle needs a value that is held elsewhere than where it goes."""
    holds = getattr(executor, "holds", None)
    return any(
        type(arg) is Remote and not (holds is not None and holds(arg))
        for runnable in bundle.runnables
        for arg in runnable.args
    )


def fetch_values(bundle: Bundle, then: Callable[[Bundle | list[Outcome]], None]) -> None:
    """Fetch such values in a thread of its own, and say what became of the bundle."""

    def fetch() -> None:
        try:
            runnables = tuple(
                [
                    structs.replace(each, args=tuple([here(arg) for arg in each.args]))
                    for each in bundle.runnables
                ]
            )
        except Exception as error:  # noqa: BLE001 - a lost value, or whatever a cluster raises
            then(failed_bundle(bundle, error))
        else:
            then(structs.replace(bundle, runnables=runnables))

    Thread(target=fetch, name="treadle fetch", daemon=True).start()


def here(value: Any) -> Any:
    """The value itself, wherever it is held."""
    return value.fetch() if type(value) is Remote else value
