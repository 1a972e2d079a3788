"""Workflows as values: a dataflow graph together with all that has happened in it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from treadle import errors
from treadle.build import workflow
from treadle.components.fitting import error_of, timeout_of
from treadle.components.step import step
from treadle.engine.execute import aexecute_runnable, execute_runnable, failed_outcome
from treadle.model.facts import Fact, Failure
from treadle.model.markers import (
    all_values,
    attempt,
    context,
    count,
    idempotency_key,
    latest,
    ran,
    state_of,
    transaction,
)
from treadle.model.runnables import Outcome, Runnable
from treadle.model.sentinels import ABSENT, ALL, INPUT
from treadle.value import Workflow

if TYPE_CHECKING:
    from treadle.components.accumulator import accumulator
    from treadle.components.condition import all_of, any_of, condition, not_
    from treadle.components.fan_in import collect, reduce
    from treadle.components.fan_out import map
    from treadle.components.match import (
        anything,
        between,
        ge,
        gt,
        instance,
        le,
        lt,
        match,
        ne,
        one_of,
        regex,
    )
    from treadle.components.rule import rule
    from treadle.components.sleep import sleep
    from treadle.components.wait_for import wait_for
    from treadle.interfaces import Hooks, Observer
    from treadle.model.bundles import Bundle
    from treadle.model.forms import Choice, Field, Form, OpenWait
    from treadle.policies.matching import of_kind, only
    from treadle.policies.policy import Cache, CircuitBreaker, Limit, Policy, RateLimit, RetryWith
    from treadle.runner.blocking import Runner
    from treadle.runner.budget import RetryBudget
    from treadle.runner.registry import Restarts
    from treadle.runner.retention import Retention
    from treadle.runner.runner import AsyncRunner
    from treadle.runner.schedules import Schedule
    from treadle.runner.ticket import Ticket

_LATER = {
    "AsyncRunner": "runner.runner",
    "Bundle": "model.bundles",
    **dict.fromkeys(("Choice", "Field", "Form", "OpenWait"), "model.forms"),
    "Hooks": "interfaces",
    "Observer": "interfaces",
    "Restarts": "runner.registry",
    "Retention": "runner.retention",
    "RetryBudget": "runner.budget",
    "Runner": "runner.blocking",
    "Schedule": "runner.schedules",
    "Ticket": "runner.ticket",
    "accumulator": "components.accumulator",
    "map": "components.fan_out",
    "rule": "components.rule",
    "sleep": "components.sleep",
    "wait_for": "components.wait_for",
    **dict.fromkeys(("collect", "reduce"), "components.fan_in"),
    **dict.fromkeys(("all_of", "any_of", "condition", "not_"), "components.condition"),
    **dict.fromkeys(("anything", "between", "instance", "match"), "components.match"),
    **dict.fromkeys(("ge", "gt", "le", "lt", "ne", "one_of", "regex"), "components.match"),
    **dict.fromkeys(("of_kind", "only"), "policies.matching"),
    **dict.fromkeys(
        ("Cache", "CircuitBreaker", "Limit", "Policy", "RateLimit", "RetryWith"), "policies.policy"
    ),
}
"""Names and their modules, imported when they are first asked for: who needs no runner need not load asyncio, and who
has neither rules nor policies need not load what these are."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'treadle' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"treadle.{_LATER[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


__all__ = [
    "ABSENT",
    "ALL",
    "AsyncRunner",
    "Bundle",
    "Cache",
    "Choice",
    "CircuitBreaker",
    "Fact",
    "Failure",
    "Field",
    "Form",
    "Hooks",
    "INPUT",
    "Limit",
    "Observer",
    "OpenWait",
    "Outcome",
    "Policy",
    "RateLimit",
    "Restarts",
    "Retention",
    "RetryBudget",
    "RetryWith",
    "Runnable",
    "Runner",
    "Schedule",
    "Ticket",
    "Workflow",
    "accumulator",
    "aexecute_runnable",
    "all_of",
    "all_values",
    "any_of",
    "anything",
    "attempt",
    "between",
    "collect",
    "condition",
    "context",
    "count",
    "error_of",
    "errors",
    "execute_runnable",
    "failed_outcome",
    "ge",
    "gt",
    "idempotency_key",
    "instance",
    "latest",
    "le",
    "lt",
    "map",
    "match",
    "ne",
    "not_",
    "of_kind",
    "one_of",
    "only",
    "ran",
    "reduce",
    "regex",
    "rule",
    "sleep",
    "state_of",
    "step",
    "timeout_of",
    "transaction",
    "wait_for",
    "workflow",
]
