"""From genotypes to the numbers that predictors see."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qnas_ov.space import KnobKind, Space

Costs = Callable[[np.ndarray], dict[str, np.ndarray]]


class FeatureMap:
    """One-hot genes, computed costs, and how precisions and inference precision meet.

    The columns are: one per knob and choice; every cost column that `costs` gives, over its largest value; the number
    of places where the precision changes from one unit to the next; and MACs in INT8 and in floating point for each
    inference precision, since that decides what the floating-point part costs.
    """

    def __init__(self, space: Space, costs: Costs) -> None:
        self._space = space
        self._costs = costs
        self._precision = space.of_kind(KnobKind.PRECISION)
        self._inference = space.of_kind(KnobKind.INFERENCE_PRECISION)
        largest = costs(space.canonical_array(np.array([space.num_choices - 1])))
        self._scale = {name: max(float(value[0]), 1.0) for name, value in largest.items()}

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        """Features of canonical genotypes (n, num_knobs): float array (n, num_features)."""
        costs = self._costs(genotypes)
        columns = [costs[name] / self._scale[name] for name in sorted(costs)]
        if self._precision:
            genes, active = genotypes[:, self._precision], self._space.active(genotypes)[:, self._precision]
            changes = (genes[:, 1:] != genes[:, :-1]) & active[:, 1:] & active[:, :-1]
            columns.append(changes.sum(axis=1) / len(self._precision))
        float_macs = (costs["macs"] - costs["macs_int8"]) / self._scale["macs"]
        for knob in self._inference:
            for choice in range(int(self._space.num_choices[knob])):
                columns.append(np.where(genotypes[:, knob] == choice, float_macs, 0.0))
        return np.column_stack([self._space.one_hot(genotypes), *columns])
