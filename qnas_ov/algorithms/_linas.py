"""LINAS: measure a random population, fit a predictor per objective, search on the predictors, measure, repeat.

Source: D. Cummings et al., A Hardware-Aware Framework for Accelerating Neural Architecture Search Across Modalities
(arXiv 2205.10358). Objectives that a formula gives are computed, not predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qnas_ov.algorithms._problem import Result, SearchProblem, Seen
from qnas_ov.algorithms._pymoo import evolve
from qnas_ov.pareto import columns_to_minimise, is_nondominated, spread_subset, to_minimise
from qnas_ov.predict import choose_informative, fit_predictor, predict_left_out, score
from qnas_ov.space import Genotype


@dataclass(frozen=True)
class LinasSettings:
    """Settings of LINAS.

    Attributes:
        population: Size of the first, random batch.
        inner_evaluations: Predictor evaluations per round.
        inner_population: Population of NSGA-II on the predictors.
        even_share: Share of the first batch, and of what NSGA-II starts from besides the measured front, that treats
            all layers alike; the rest is drawn gene by gene.
        informative_share: Share of the first batch that is chosen from random genotypes because a linear model of
            latency learns most from it.
    """

    population: int = 50
    inner_evaluations: int = 20_000
    inner_population: int = 50
    even_share: float = 1 / 3
    informative_share: float = 1 / 4


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

    def ask(self, count: int) -> list[Genotype]:
        """Random genotypes until the population is full, then the optimal and unmeasured ones of the predictors."""
        missing = self._settings.population - self._asked
        measured = sum(r.values is not None for r in self._results)
        if missing > 0 or measured < 5:  # five folds need five samples
            wanted = min(count, missing) if missing > 0 else count
            asked = self._draw(wanted)
        else:
            asked = self._search_predictors(min(count, self._settings.population))
        self._asked += len(asked)
        return asked

    def _draw(self, count: int) -> list[Genotype]:
        """New random genotypes, some of them even, some those of many from which a linear model learns most."""
        space = self._problem.space
        asked = self._seen.sample(space, self._rng, round(self._settings.even_share * count), even=True)
        asked += self._draw_informative(round(self._settings.informative_share * count), asked)
        return asked + self._seen.sample(space, self._rng, count - len(asked))

    def _draw_informative(self, count: int, asked: Sequence[Genotype]) -> list[Genotype]:
        layout, space = self._problem.layout, self._problem.space
        if not layout.num_use or count <= 0:
            return []
        pool = space.sample(self._rng, 20 * count)
        known = np.array([*(r.genotype for r in self._results), *asked], dtype=np.int64).reshape(-1, len(space))
        order = choose_informative(
            self._problem.features(pool)[:, layout.use], self._problem.features(known)[:, layout.use], 2 * count
        )
        return self._seen.fresh(pool[order], count)

    def tell(self, results: Sequence[Result]) -> None:
        """Takes results."""
        self._seen.add([r.genotype for r in results])
        self._results += results

    def _samples(self) -> tuple[list[Result], np.ndarray, dict[str, np.ndarray]]:
        """What was measured: results, their features, and their targets by predicted column."""
        measured = [r for r in self._results if r.values is not None]
        targets = {c: np.array([r.values[c] for r in measured if r.values]) for c in self._columns}
        return measured, self._problem.features(np.array([r.genotype for r in measured])), targets

    def _search_predictors(self, count: int) -> list[Genotype]:
        _, known, targets = self._samples()
        predictors = {c: fit_predictor(known, targets[c], seed=0, layout=self._problem.layout) for c in self._columns}

        def values_of(genotypes: np.ndarray) -> dict[str, np.ndarray]:
            features = self._problem.features(genotypes)
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
        space, size = self._problem.space, self._settings.inner_population
        measured = [r for r in self._results if r.values is not None]
        points = to_minimise([r.values for r in measured if r.values], self._problem.objectives)
        front = [r.genotype for r, good in zip(measured, is_nondominated(points), strict=True) if good]
        chosen = np.array(front[:size], dtype=np.int64)
        even = round(self._settings.even_share * (size - len(chosen)))
        drawn = [space.sample_even(self._rng, even), space.sample(self._rng, size - len(chosen) - even)]
        return np.concatenate([chosen.reshape(-1, len(space)), *drawn])

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
        measured, features, targets = self._samples()
        found: dict[str, Any] = {}
        for column in self._columns:
            layout = self._problem.layout
            predictor = fit_predictor(features, targets[column], seed=0, layout=layout)
            held_out = predict_left_out(features, targets[column], seed=0, layout=layout)
            ahead = [
                (self._predictions[r.genotype][column], float(t))
                for r, t in zip(measured, targets[column], strict=True)
                if r.genotype in self._predictions
            ]
            found[column] = {
                "model": predictor.name,
                "num_training": predictor.num_training,
                "relative_error": predictor.spread,
                "cross_validated": score(targets[column], held_out).to_json(),
                "before_measuring": (
                    score(np.array([m for _, m in ahead]), np.array([p for p, _ in ahead])).to_json() if ahead else None
                ),
                "points": {
                    "measured": targets[column].tolist(),
                    "cross_validated": held_out.tolist(),
                    "before_measuring": [{"predicted": p, "measured": m} for p, m in ahead],
                },
            }
        return found
