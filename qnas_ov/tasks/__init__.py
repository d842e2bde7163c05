"""Data sets in disjoint splits, and the metrics that judge networks on them."""

from qnas_ov.tasks import digits as _digits  # registers the data set
from qnas_ov.tasks.base import TASKS, TOP1, Metric, Split, Task, top1, wilson_interval

__all__ = ["TASKS", "TOP1", "Metric", "Split", "Task", "top1", "wilson_interval"]

del _digits
