"""Which candidates are worth all samples: few samples tell already that most cannot reach the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qnas_ov.algorithms import Constraint
from qnas_ov.core.records import ERROR_OBJECTIVE, Evaluation, Objective
from qnas_ov.pareto import to_minimise
from qnas_ov.pipeline._scorer import Scores
from qnas_ov.tasks import Metric, mean_interval


class Race:
    """Compares what a candidate could still turn out to be with the candidates that were judged on all samples.

    It is out where, at the good ends of the 95% intervals of what its first samples give, it breaks a limit or one of
    those is at least as good in every objective. Source of the idea: O. Maron and A. Moore, Hoeffding races (1993).
    """

    def __init__(self, objectives: Sequence[Objective], constraints: Sequence[Constraint], metric: Metric) -> None:
        self._objectives = tuple(objectives)
        self._constraints = tuple(constraints)
        self._metric = metric
        self._names: list[str] = []
        self._points = np.zeros((0, len(objectives)))

    def add(self, evaluation: Evaluation) -> None:
        """Takes a candidate that was judged on all samples; one that breaks a limit beats none."""
        if not evaluation.ok or not all(c.met(evaluation.values) for c in self._constraints):
            return
        self._names.append(evaluation.candidate)
        self._points = np.concatenate([self._points, to_minimise([evaluation.values], self._objectives)])

    def beaten_by(self, scores: Scores, costs: Mapping[str, float]) -> str | None:
        """What beats a candidate for certain, a candidate or a limit; None where more samples may tell otherwise.

        Args:
            scores: What its first samples give.
            costs: Its other values by column.
        """
        column, error = self._metric.column, mean_interval(scores.error, binary=False)
        if self._ahead({**costs, column: scores.value, ERROR_OBJECTIVE.column: error.value}) is None:
            return None  # without an interval, which some metrics take long for
        high = self._metric.interval(scores.value, scores.evidence()).high
        return self._ahead({**costs, column: high, ERROR_OBJECTIVE.column: error.low})

    def _ahead(self, values: Mapping[str, float]) -> str | None:
        """What is ahead of these values: the first limit that they break, or a candidate."""
        for limit in self._constraints:
            if not limit.met(values):
                return limit.option
        better = (self._points <= to_minimise([values], self._objectives)).all(axis=1)
        return self._names[int(np.argmax(better))] if better.any() else None
