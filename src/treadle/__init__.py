"""Workflows as values: a dataflow graph together with all that has happened in it."""

from treadle import errors
from treadle.build import workflow
from treadle.components.accumulator import accumulator
from treadle.components.condition import all_of, any_of, condition, not_
from treadle.components.fan_in import collect, reduce
from treadle.components.fan_out import map
from treadle.components.fitting import error_of
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
)
from treadle.model.runnables import Outcome, Runnable
from treadle.model.sentinels import ABSENT, ALL, INPUT
from treadle.value import Workflow

__all__ = [
    "ABSENT",
    "ALL",
    "Fact",
    "Failure",
    "INPUT",
    "Outcome",
    "Runnable",
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
    "one_of",
    "ran",
    "reduce",
    "regex",
    "rule",
    "state_of",
    "step",
    "workflow",
]
