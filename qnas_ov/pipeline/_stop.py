"""When a search ends: after so many evaluations, after so much time, or where the front has stopped to grow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qnas_ov.algorithms import Constraint
from qnas_ov.core.records import Evaluation, Objective
from qnas_ov.journal import Journal
from qnas_ov.pareto import hypervolume_of, to_minimise
from qnas_ov.recipe import Recipe

STOPPED, PREPARED, STALLED_GROWTH = "stopped", "prepared_seconds", 1e-3


class StopRules:
    """The limits of a recipe. Time is that of measuring as the journal holds it: a resumed run keeps it."""

    def __init__(
        self, recipe: Recipe, objectives: Sequence[Objective], constraints: Sequence[Constraint], journal: Journal
    ) -> None:
        self._recipe = recipe
        self._objectives = tuple(objectives)
        self._constraints = tuple(constraints)
        self._journal = journal
        self._seconds = 0.0

    def prepared(self, seconds: float) -> None:
        """Counts the time before the first candidate; that of the run's first session where it was resumed."""
        known = self._journal.meta(PREPARED)
        if known is None:
            self._journal.set_meta(PREPARED, known := round(seconds, 3))
        self._seconds += known

    def out_of_time(self, evaluation: Evaluation) -> bool:
        """Counts the time of an evaluation, failed or not, and tells whether the limit is reached."""
        self._seconds += float(evaluation.details.get("seconds", 0.0))
        return self._recipe.time_limit is not None and self._seconds >= self._recipe.time_limit

    def reason(self, searched: Sequence[Evaluation]) -> str | None:
        """Why the search ends now, None if it goes on."""
        recipe = self._recipe
        if len(searched) >= recipe.evaluations:
            return f"{recipe.evaluations} candidates were measured"
        if recipe.time_limit is not None and self._seconds >= recipe.time_limit:
            return f"the time limit of {recipe.time_limit:g} s is reached: {len(searched)} candidates were measured"
        if recipe.stall is not None and len(searched) > recipe.stall and self._stalled(searched):
            return (
                f"the hypervolume grew by less than {STALLED_GROWTH:.1%} over the last {recipe.stall} of "
                f"{len(searched)} candidates"
            )
        return None

    def _stalled(self, searched: Sequence[Evaluation]) -> bool:
        assert self._recipe.stall is not None
        kept = [e.ok and all(c.met(e.values) for c in self._constraints) for e in searched]
        values = [e.values for e, good in zip(searched, kept, strict=True) if good]
        earlier = sum(kept[: -self._recipe.stall])
        if not earlier:
            return False
        points = to_minimise(values, self._objectives)
        ranges = np.ptp(points, axis=0)
        reference = points.max(axis=0) + 0.1 * np.where(ranges > 0, ranges, 1.0)
        before, now = hypervolume_of(points[:earlier], reference), hypervolume_of(points, reference)
        return now <= before * (1 + STALLED_GROWTH)

    def record(self, reason: str) -> None:
        """Keeps why the search ended."""
        self._journal.set_meta(STOPPED, reason)
