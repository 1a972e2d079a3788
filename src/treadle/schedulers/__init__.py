"""What is dispatched together, and in which order: one by one, chains, batches, by measurement, by priority."""

from treadle.schedulers.adaptive import AdaptiveScheduler
from treadle.schedulers.batches import BatchScheduler
from treadle.schedulers.chains import ChainScheduler
from treadle.schedulers.default import DefaultScheduler
from treadle.schedulers.priority import PriorityScheduler

__all__ = [
    "AdaptiveScheduler",
    "BatchScheduler",
    "ChainScheduler",
    "DefaultScheduler",
    "PriorityScheduler",
]
