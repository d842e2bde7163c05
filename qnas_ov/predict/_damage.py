"""What INT8 costs the units of a candidate, as the sum of what it costs each of them alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qnas_ov.predict._units import UnitWork
from qnas_ov.space import KnobKind, Space


class UnitDamage:
    """Damage that adds up: of all units in INT8, under the inference precision of the candidate.

    Errors of units are nearly independent, so that their squares add up; their sum is given too. Source of the idea:
    P. Dong et al., EMQ (arXiv 2307.10554), whose proxies sum sensitivities of layers.
    """

    def __init__(
        self, space: Space, units: Sequence[UnitWork], errors: Sequence[Mapping[str, float]], *, int8: str = "int8"
    ) -> None:
        """Makes it of measurements.

        Args:
            space: The space.
            units: Its units.
            errors: By choice of the inference precision, what the output error grows by with one unit in INT8.
            int8: The choice of a unit's knob that hurts.
        """
        self._space = space
        self._columns = np.array([space.index(u.knob) for u in units], dtype=np.int64)
        self._choice = np.array([space.knobs[c].choices.index(int8) for c in self._columns], dtype=np.int64)
        self._errors = np.array([[by_unit.get(u.name, 0.0) for u in units] for by_unit in errors])
        hint = space.of_kind(KnobKind.INFERENCE_PRECISION)
        self._hint = hint[0] if hint else None

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        """The root of the sum of squares, and the sum, of canonical genotypes (n, num_knobs): float array (n, 2)."""
        active = self._space.active(genotypes)[:, self._columns]
        hurt = (genotypes[:, self._columns] == self._choice) & active
        hints = genotypes[:, self._hint] if self._hint is not None else np.zeros(len(genotypes), dtype=np.int64)
        errors = hurt * self._errors[hints]
        return np.column_stack([np.sqrt((errors**2).sum(axis=1)), errors.sum(axis=1)])
