"""Ingredients of published searches that were tried on the replayed space and are no part of qnas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from _reduced_space import Replay

from qnas_ov.algorithms import QnasSearch
from qnas_ov.space import KnobKind, Space


class PrunedSpace(Space):
    """A space without INT8 where the table of unit times sees no gain by it, hint by hint.

    Source of the idea: C. Li et al., SpaceEvo (arXiv 2303.08308), which searches spaces that quantize well on a device.
    """

    def __init__(self, space: Space, replay: Replay) -> None:
        super().__init__(space.knobs)
        self._hint = space.of_kind(KnobKind.INFERENCE_PRECISION)[0]
        everything, times = space.everything(), replay.problem.features(space.everything())[:, -1]
        rows = {tuple(g): i for i, g in enumerate(everything.tolist())}
        self._useless: list[tuple[int, int]] = []
        for knob in space.of_kind(KnobKind.PRECISION):
            for hint in range(int(space.num_choices[self._hint])):
                here = (
                    (everything[:, knob] == 0) & (everything[:, self._hint] == hint) & space.active(everything)[:, knob]
                )
                other = everything[here].copy()
                other[:, knob] = 1
                gain = times[[rows[tuple(g)] for g in other.tolist()]] - times[here]
                if np.median(gain) <= 0:
                    self._useless.append((knob, hint))

    def canonical_array(self, genotypes: np.ndarray) -> np.ndarray:
        """Canonical genotypes, in floating point where INT8 is not a choice."""
        found = super().canonical_array(genotypes)
        for knob, hint in self._useless:
            found[found[:, self._hint] == hint, knob] = self.num_choices[knob] - 1
        return found


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
