"""Kits for tests of workflows and of plugs: yours and ours."""

from treadle.testing.executors import ExecutorReport, check_executor
from treadle.testing.histories import HistoryChanged, check_history
from treadle.testing.mutation import MutatedValue, check_mutation
from treadle.testing.schedulers import SchedulerReport, check_scheduler
from treadle.testing.stores import StoreReport, check_store

__all__ = [
    "ExecutorReport",
    "HistoryChanged",
    "MutatedValue",
    "SchedulerReport",
    "StoreReport",
    "check_executor",
    "check_history",
    "check_mutation",
    "check_scheduler",
    "check_store",
]
