"""From genotypes to the numbers that predictors see."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qnas_ov.space import KnobKind, Space

Costs = Callable[[np.ndarray], dict[str, np.ndarray]]


class FeatureMap:
    """A summary of what a candidate costs, then its genes one by one.

    The first `num_summary` columns are the summary: depths; computed costs over their largest values; MACs in floating
    point for each inference precision, since that decides what they cost; active units in INT8 and in floating point;
    the places where the precision changes from one unit to the next. The other columns are one per knob and choice.
    """

    def __init__(self, space: Space, costs: Costs) -> None:
        self._space = space
        self._costs = costs
        self._depth = space.of_kind(KnobKind.DEPTH)
        self._precision = space.of_kind(KnobKind.PRECISION)
        self._inference = space.of_kind(KnobKind.INFERENCE_PRECISION)
        largest = space.canonical_array(np.array([space.num_choices - 1]))
        self._scale = {name: max(float(value[0]), 1.0) for name, value in costs(largest).items()}
        self.num_summary = self._summary(largest).shape[1]

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        """Features of canonical genotypes (n, num_knobs): float array (n, num_features)."""
        return np.column_stack([self._summary(genotypes), self._space.one_hot(genotypes)])

    def _summary(self, genotypes: np.ndarray) -> np.ndarray:
        costs = self._costs(genotypes)
        columns = [costs[name] / self._scale[name] for name in sorted(costs)]
        columns += [genotypes[:, knob].astype(np.float64) for knob in self._depth]
        float_macs = (costs["macs"] - costs["macs_int8"]) / self._scale["macs"]
        for knob in self._inference:
            for choice in range(int(self._space.num_choices[knob])):
                columns.append(np.where(genotypes[:, knob] == choice, float_macs, 0.0))
        if self._precision:
            genes, active = genotypes[:, self._precision], self._space.active(genotypes)[:, self._precision]
            for choice in range(int(self._space.num_choices[self._precision].max())):
                columns.append(((genes == choice) & active).sum(axis=1) / len(self._precision))
            changes = (genes[:, 1:] != genes[:, :-1]) & active[:, 1:] & active[:, :-1]
            columns.append(changes.sum(axis=1) / len(self._precision))
        return np.column_stack(columns)
