"""The options of runners and runs, and what they come to: checked, and turned into plugs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, TypedDict

from treadle.errors import UsageError, nearest
from treadle.interfaces import Clock, Codec, Executor, Hooks, Observer, Scheduler, Store
from treadle.policies.matching import Rules
from treadle.policies.policy import FOREVER_S
from treadle.runner.budget import RetryBudget
from treadle.runner.record import Options, Run
from treadle.runner.registry import Restarts
from treadle.runner.retention import Retention, rules_from
from treadle.runner.wishes import Places
from treadle.value import Workflow
from treadle.wiring import STANDARD, make_executor


class RunnerOptions(TypedDict, total=False):
    """The options of a runner: see `AsyncRunner`."""

    store: str | PathLike[str] | Store | None
    workflows: Iterable[Workflow]
    executor: Any
    executors: Mapping[str, Any] | None
    policies: Rules | None
    scheduler: str | Scheduler | None
    max_concurrency: int | None
    observers: Sequence[Observer]
    hooks: Hooks | None
    clock: Clock | None
    drain_s: float
    restarts: Restarts | None
    keep_warm: int | None
    codec: Codec | None
    on_code_change: Any
    recover: bool
    lease_s: float
    poll_s: float
    lag_s: float | None
    retry_budget: RetryBudget | None
    retention: Retention | Mapping[str, Retention] | None


class StartOptions(TypedDict, total=False):
    """The options of a run: see `AsyncRunner.start`."""

    if_exists: str
    policies: Rules | None
    scheduler: str | Scheduler | None
    run_context: Mapping[str, Mapping[str, Any]] | None
    max_concurrency: int | None
    max_open: int | None
    deadline_s: float | None
    durability: str | None
    on_complete: Callable[[str, Workflow], Any] | None


def said(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those options of a run that somebody asked for, as he did."""
    return {
        name: value for name, value in given.items() if value is not None and name != "if_exists"
    }


def check_same(run: Run, options: Options) -> None:
    """A run that is at work goes on with the options it has: other ones would be dropped, and nobody would know."""
    has = {**run.options.given, "durability": run.options.durability}
    others = [name for name, value in options.given.items() if not is_same(has.get(name), value)]
    if others:
        raise UsageError(
            f"the run {run.id!r} is {run.status}, and goes on with the options it has; "
            f"given now, and others, are: {', '.join(others)}.",
            hint="leave them out, or stop the run first and resume it with them.",
        )


def check_settled(run: Run, given: Mapping[str, Any]) -> None:
    """Refuse what is said of components that there are not."""
    for name in given:
        if name not in run.definition and name not in run.extra:
            known = [*run.definition.components(), *run.extra]
            raise UsageError(f"{run.id!r} has no component {name!r}.{nearest(name, known)}")


def is_same(one: Any, other: Any) -> bool:
    """Whether two options are equal; those whose equality is no truth, such as arrays, are not."""
    try:
        return one is other or bool(one == other)
    except Exception:  # noqa: BLE001 - a user's __eq__ may raise anything
        return False


def gather(default: Any, more: Mapping[str, Any]) -> tuple[dict[str, Executor], str]:
    """The executors of a runner by name, and the name of the one that plain functions go to."""
    executors = {name: make_executor(name) for name in STANDARD}
    for name, wanted in more.items():
        executors[name] = make_executor(wanted)
    if isinstance(default, str):
        name = default.partition(":")[0] if default not in executors else default
        if default not in executors:
            executors[name] = make_executor(default)
        return executors, name
    executors["default"] = make_executor(default)
    return executors, "default"


def places_of(executors: Mapping[str, Executor], default: str) -> Places:
    """What machines need to know of executors."""
    return Places(
        default,
        {name: executor.capacity for name, executor in executors.items()},
        frozenset(name for name, each in executors.items() if getattr(each, "keeps_values", False)),
        frozenset(name for name, each in executors.items() if getattr(each, "is_remote", False)),
    )


def check_plugs(observers: Any, hooks: Any, clock: Any, workflows: Any) -> None:
    """What a runner is told and asked by: refused now, and not at each event."""
    if isinstance(workflows, Workflow) or not isinstance(workflows, Iterable):
        raise UsageError(f"workflows={workflows!r:.80} is no list.", hint="workflows=[workflow]")
    if isinstance(observers, Observer) or not isinstance(observers, Iterable):
        raise UsageError(f"observers={observers!r:.80} is no list.", hint="observers=[observer]")
    for observer in observers:
        if isinstance(observer, type) or not isinstance(observer, Observer):
            raise UsageError(
                f"{observer!r:.80} is no observer.",
                hint="an object of a class that derives from td.Observer.",
            )
    if hooks is not None and not isinstance(hooks, Hooks):
        raise UsageError(f"hooks={hooks!r:.80} are none.", hint="hooks=td.Hooks(on_idle=...)")
    if clock is not None and not callable(getattr(clock, "now", None)):
        raise UsageError(f"clock={clock!r:.80} tells no time: it has no now().")


def check_patience(restarts: Any, drain_s: Any, retry_budget: Any, retention: Any) -> None:
    """How much a runner puts up with: crashes, how long a drain takes, how much is tried again, and kept."""
    if retention is not None:
        rules_from(retention)
    if retry_budget is not None and not isinstance(retry_budget, RetryBudget):
        raise UsageError(
            f"retry_budget={retry_budget!r:.80} is no RetryBudget.",
            hint="td.RetryBudget(ratio=0.2)",
        )
    if restarts is not None and not isinstance(restarts, Restarts):
        raise UsageError(
            f"restarts={restarts!r:.80} is no Restarts.", hint="td.Restarts(3, period_s=60)"
        )
    if drain_s != 0:
        check_seconds("drain_s", drain_s)


def check_count(name: str, count: Any) -> None:
    """A limit is None or a number of at least 1."""
    if count is None:
        return
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise UsageError(
            f"{name}={count!r} is not a number of at least 1.", hint="leave it out for no limit."
        )


def check_seconds(name: str, seconds: Any) -> None:
    """A deadline is None or a number of seconds above 0."""
    if seconds is None:
        return
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds < FOREVER_S:
        raise UsageError(f"{name}={seconds!r} is not a number of seconds above 0.")
