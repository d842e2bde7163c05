"""What qnas is compared with on the replayed space: ingredients that were tried and are no part of it, and oracles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from _reduced_space import OBJECTIVES, Replay, Table

from qnas_ov.algorithms import QnasSearch, SearchProblem
from qnas_ov.core.records import COST_OBJECTIVES, ERROR_OBJECTIVE
from qnas_ov.predict import FeatureGroup, Surrogate
from qnas_ov.space import KnobKind

JUDGED = (OBJECTIVES["accuracy"].column, ERROR_OBJECTIVE.column)
TIMED = (OBJECTIVES["latency"].column,)
COST_COLUMNS = {o.column for o in COST_OBJECTIVES}


class FreezingSearch(QnasSearch):
    """qnas that, from the third round on, keeps genes as they are on the front where they move no prediction by 1%.

    Source of the idea: R. Luo et al., Neural architecture search with GBDT (arXiv 2007.04785), which prunes by the
    importance of features.
    """

    def _pool(self, models: Mapping[str, Any]) -> np.ndarray:
        pool = super()._pool(dict(models))
        measured = [r for r in self._results if r.values is not None]
        if len(measured) < self._settings.first + 2 * self._settings.batch or not len(pool):
            return pool
        importance = [self._importance(model) for model in models.values()]
        front = np.array([r.genotype for r in self._front_results()])
        space, usable = self._problem.space, np.ones(len(pool), dtype=bool)
        for i, knob in enumerate(space.knobs):
            if max(found.get(knob.name, 1.0) for found in importance) < 0.01:
                usable &= np.isin(pool[:, i], front[:, i])
        return pool[usable] if usable.any() else pool


class StatisticsSearch(QnasSearch):
    """qnas that predicts what is judged from computed costs too.

    Source of the idea: X. Dai et al., FBNetV3 (arXiv 2006.02049), whose predictor of accuracy first learns costs.
    """

    def _groups(self, column: str) -> tuple[list[FeatureGroup], list[FeatureGroup]]:
        groups, together = super()._groups(column)
        if column not in COST_COLUMNS:
            groups.append(FeatureGroup("costs", tuple(range(self._problem.layout.num_summary)), radial=True))
        return groups, together


def with_float_accuracies(problem: SearchProblem, replay: Replay) -> SearchProblem:
    """The problem where accuracy and distance of every architecture in floating point are known, and cost nothing.

    Source of the idea: T. Wang et al., APQ (arXiv 2006.08509), whose predictor learns them before quantized ones.
    """
    space, table, layout = problem.space, replay.table, problem.layout
    chosen = [*space.of_kind(KnobKind.PRECISION), *space.of_kind(KnobKind.INFERENCE_PRECISION)]

    def features(genotypes: np.ndarray) -> np.ndarray:
        floats = genotypes.copy()
        floats[:, chosen] = space.num_choices[chosen] - 1
        known = table.values[table.rows(space.canonical_array(floats))][:, [Table.columns.index(c) for c in JUDGED]]
        return np.insert(problem.features(genotypes), [layout.damage.stop], known, axis=1)

    return replace(problem, features=features, layout=replace(layout, num_damage=layout.num_damage + len(JUDGED)))


class KnowingSearch(QnasSearch):
    """qnas that knows some columns of every candidate before it measures: what its predictions of them cost it."""

    def __init__(self, *arguments: Any, replay: Replay, known: tuple[str, ...], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._models = {column: Known(replay, column) for column in known}

    def _fit(self) -> dict[str, Any]:
        return {column: self._models.get(column, model) for column, model in super()._fit().items()}


class Known(Surrogate):
    """What was measured of a column, in the place of a model."""

    def __init__(self, replay: Replay, column: str) -> None:
        super().__init__([], prior=False, helper=None)
        self._replay, self._column = replay, Table.columns.index(column)

    def predict_mean(self, features: np.ndarray) -> np.ndarray:
        space, table = self._replay.problem.space, self._replay.table
        first = self._replay.problem.layout.genes.stop
        ordinal = features[:, first : first + len(space)]  # as `QnasSearch` lays them out
        return table.values[table.rows(np.rint(ordinal * (space.num_choices - 1)).astype(int)), self._column]

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.predict_mean(features), np.zeros(len(features))

    def sample(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.predict_mean(features)
