"""LINAS as it was published: measure a random population, fit a predictor per objective, search on them, measure.

Source: D. Cummings et al., A Hardware-Aware Framework for Accelerating Neural Architecture Search Across Modalities
(arXiv 2205.10358), and its code, DyNAS-T: genes in one-hot form, ridge regression or support vectors by
cross-validation, NSGA-II on the predictions, and a population of its best and unmeasured members in each round.
Where this differs, it is to the good of LINAS: objectives that a formula gives are computed, not predicted; NSGA-II
starts from the measured front. The settings of the support vectors are fixed, where DyNAS-T searches a grid; three
objectives are NSGA-II's too, as in the paper, where DyNAS-T takes U-NSGA-III. `qnas` is what uses more than this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qnas_ov.algorithms._problem import Result, SearchProblem, Seen
from qnas_ov.algorithms._pymoo import evolve
from qnas_ov.pareto import columns_to_minimise, is_nondominated, spread_subset, to_minimise
from qnas_ov.predict import PUBLISHED_KINDS, fit_predictor, predict_left_out, score
from qnas_ov.space import Genotype


@dataclass(frozen=True)
class LinasSettings:
    """Settings of LINAS.

    Attributes:
        population: Size of the first, random batch, of every later one, and of NSGA-II on the predictors.
        inner_evaluations: Predictor evaluations per round.
    """

    population: int = 50
    inner_evaluations: int = 20_000


class LinasSearch:
    """LINAS as ask and tell."""

    def __init__(self, problem: SearchProblem, *, rng: np.random.Generator, settings: LinasSettings) -> None:
        self._problem = problem
        self._rng = rng
        self._settings = settings
        self._seen = Seen()
        self._results: list[Result] = []
        self._columns = problem.predicted_columns()
        self._predictions: dict[Genotype, dict[str, float]] = {}
        self._asked = 0

    def ask(self, limit: int) -> list[Genotype]:
        """Random genotypes until the population is full, then the optimal and unmeasured ones of the predictors."""
        missing = self._settings.population - self._asked
        measured = sum(r.values is not None for r in self._results)
        if missing > 0 or measured < 5:  # five folds need five samples
            asked = self._seen.sample(self._problem.space, self._rng, min(limit, missing) if missing > 0 else 1)
        else:
            asked = self._search_predictors(min(limit, self._settings.population))
        self._asked += len(asked)
        return asked

    def tell(self, results: Sequence[Result]) -> None:
        """Takes results."""
        self._seen.add([r.genotype for r in results])
        self._results += results

    def _samples(self) -> tuple[list[Result], np.ndarray, dict[str, np.ndarray]]:
        """What was measured: results, their genes in one-hot form, and their targets by predicted column."""
        measured = [r for r in self._results if r.values is not None]
        targets = {c: np.array([r.values[c] for r in measured if r.values]) for c in self._columns}
        return measured, self._problem.space.one_hot(np.array([r.genotype for r in measured])), targets

    def _search_predictors(self, count: int) -> list[Genotype]:
        _, known, targets = self._samples()
        predictors = {
            c: fit_predictor(known, targets[c], seed=0, kinds=PUBLISHED_KINDS, combine=False) for c in self._columns
        }

        def values_of(genotypes: np.ndarray) -> dict[str, np.ndarray]:
            features = self._problem.space.one_hot(genotypes)
            predicted = {c: p.predict(features) for c, p in predictors.items()}
            return {**self._problem.costs(genotypes), **predicted}

        def evaluate(genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            values = values_of(genotypes)
            violations = [c.violation(values[c.column]) for c in self._problem.constraints]
            return (
                columns_to_minimise(values, self._problem.objectives),
                np.column_stack(violations) if violations else np.zeros((len(genotypes), 0)),
            )

        X, F, G = evolve(
            self._problem.space,
            evaluate,
            num_objectives=len(self._problem.objectives),
            num_constraints=len(self._problem.constraints),
            start=self._start(),
            evaluations=self._settings.inner_evaluations,
            seed=int(self._rng.integers(2**31)),
        )
        asked = self._best_unmeasured(X, F, G, count)
        if not asked:  # a small space is measured whole
            return []
        values = values_of(np.array(asked))
        for i, genotype in enumerate(asked):
            self._predictions[genotype] = {c: float(values[c][i]) for c in self._columns}
        return asked

    def _start(self) -> np.ndarray:
        """NSGA-II starts from the measured front, filled up at random."""
        space, size = self._problem.space, self._settings.population
        measured = [r for r in self._results if r.values is not None]
        points = to_minimise([r.values for r in measured if r.values], self._problem.objectives)
        front = [r.genotype for r, good in zip(measured, is_nondominated(points), strict=True) if good]
        chosen = np.array(front[:size], dtype=np.int64).reshape(-1, len(space))
        return np.concatenate([chosen, space.sample(self._rng, size - len(chosen))])

    def _best_unmeasured(self, X: np.ndarray, F: np.ndarray, G: np.ndarray, count: int) -> list[Genotype]:
        """Predicted front first, spread out; then the following fronts; then what violates least; then random ones."""
        asked: list[Genotype] = []
        violation = np.maximum(G, 0).sum(axis=1)
        left = np.flatnonzero(violation == 0)
        while len(left) and len(asked) < count:
            front = left[is_nondominated(F[left])]
            order = spread_subset(F[front], count - len(asked))
            asked += self._seen.fresh(X[front[order]], count - len(asked))
            # Members of the front that the spread left out come next, if the spread held known ones.
            asked += self._seen.fresh(X[front], count - len(asked))
            left = np.setdiff1d(left, front)
        outside = np.flatnonzero(violation > 0)
        asked += self._seen.fresh(X[outside[np.argsort(violation[outside], kind="stable")]], count - len(asked))
        return asked + self._seen.sample(self._problem.space, self._rng, count - len(asked))

    def report(self) -> dict[str, Any]:
        """Per predicted column: the chosen model, its scores, and every prediction beside its measurement."""
        if sum(r.values is not None for r in self._results) < 5:
            return {}
        measured, known, targets = self._samples()
        found: dict[str, Any] = {}
        for column in self._columns:
            predictor = fit_predictor(known, targets[column], seed=0, kinds=PUBLISHED_KINDS, combine=False)
            held_out = predict_left_out(known, targets[column], seed=0, kinds=PUBLISHED_KINDS, combine=False)
            ahead = [
                (self._predictions[r.genotype][column], float(t))
                for r, t in zip(measured, targets[column], strict=True)
                if r.genotype in self._predictions
            ]
            found[column] = predictor_record(
                predictor.name, predictor.num_training, predictor.spread, targets[column], held_out, ahead
            )
        return found


def predictor_record(
    model: str,
    num_training: int,
    spread: float,
    measured: np.ndarray,
    held_out: np.ndarray,
    ahead: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """What a run says of a predictor, as JSON.

    Args:
        model: Its name.
        num_training: Samples that it was fitted on.
        spread: Root mean square of its relative errors on left-out samples.
        measured: Measurements (n,).
        held_out: Predictions of these (n,) by models that did not see them.
        ahead: Pairs (predicted, measured) of predictions that were made before measuring.
    """
    return {
        "model": model,
        "num_training": num_training,
        "relative_error": spread,
        "cross_validated": score(measured, held_out).to_json(),
        "before_measuring": (
            score(np.array([m for _, m in ahead]), np.array([p for p, _ in ahead])).to_json() if ahead else None
        ),
        "points": {
            "measured": measured.tolist(),
            "cross_validated": held_out.tolist(),
            "before_measuring": [{"predicted": p, "measured": m} for p, m in ahead],
        },
    }
