"""What the options of a command come to: executors, a scheduler, and how many inputs may be under way."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from treadle.cli.driving import Plugs
from treadle.cli.loading import Loaded
from treadle.errors import UsageError
from treadle.interfaces import Executor
from treadle.upgrade.rules import REFUSE
from treadle.value import Workflow
from treadle.wiring import STANDARD, make_executor, make_scheduler

INLINE: Final = "inline"
THREADS: Final = "threads"
DEFAULT: Final = "default"
"""One by one, in order: what the runner does by itself."""

SLOTS_MAX: Final = 256
"""An executor that takes any number at once is thought to take so many."""


class Asked(Struct, frozen=True, kw_only=True):
    """The options that say where and how to run, as they were given."""

    executor: str = THREADS
    scheduler: str = DEFAULT
    max_concurrency: int | None = None
    max_open: int | None = None
    deadline_s: float | None = None
    on_code_change: Any = REFUSE


def plugs_from(loaded: Loaded, asked: Asked) -> Plugs:
    """The plugs for a run.

    Errors: `UsageError` for an executor that there is not, whoever asks for it; `MissingExtra`.
    """
    name = asked.executor.partition(":")[0]
    executors = {name: executor_for("--executor", worded(asked))}
    policies = loaded.workflow.policies.over(loaded.policies)
    for _, policy in policies.rules:
        named = policy.executor
        if named is not None and named not in executors and named not in STANDARD:
            executors[named] = executor_for("a policy's executor", named)
    max_concurrency = asked.max_concurrency
    if max_concurrency is None and name == INLINE:
        max_concurrency = 1
    slots = max_concurrency or slots_of(loaded.workflow, executors)
    return Plugs(
        executor=name,
        executors=executors,
        scheduler=None if asked.scheduler == DEFAULT else make_scheduler(asked.scheduler),
        policies=loaded.policies,
        max_concurrency=max_concurrency,
        max_open=asked.max_open or (1 if slots == 1 else 2 * slots),
        deadline_s=asked.deadline_s,
        on_code_change=asked.on_code_change,
    )


def worded(asked: Asked) -> str:
    """The default executor in a word: there are as many threads as may be busy, unless it says itself how many."""
    if asked.executor == THREADS and asked.max_concurrency is not None:
        return f"{THREADS}:{asked.max_concurrency}"
    return asked.executor


def executor_for(who: str, word: str) -> Executor:
    """An executor; an error says who asked for it."""
    try:
        return make_executor(word)
    except UsageError as error:
        raise UsageError(f"{who}: {error.message}", hint=error.hint) from error


def slots_of(workflow: Workflow, executors: dict[str, Executor]) -> int:
    """How many pieces of work may be out at once, async ones included."""
    slots = sum(min(executor.capacity or SLOTS_MAX, SLOTS_MAX) for executor in executors.values())
    with workflow.inspect() as (memory, _):
        has_async = any(node.is_async for node in memory.program.by_key.values())
    return slots + SLOTS_MAX * has_async
