"""The learning rate as a function of the epoch alone."""

from bisect import bisect_right

from lskd_cli.config import Optimizer, Schedule


def learning_rate(optimizer: Optimizer, schedule: Schedule, epoch: int) -> float:
    """Learning rate in an epoch (from 1): lr times gamma once for every milestone that is over."""
    drops = bisect_right(schedule.milestones, epoch - 1)
    return optimizer.lr * schedule.gamma**drops
