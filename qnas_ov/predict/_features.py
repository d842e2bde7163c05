"""From genotypes to the numbers that predictors see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qnas_ov.predict._units import UnitUse, UnitWork
from qnas_ov.space import KnobKind, Space

Costs = Callable[[np.ndarray], dict[str, np.ndarray]]
Prior = Callable[[np.ndarray], np.ndarray]
Damage = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FeatureLayout:
    """Which columns of the features are what: a summary, the use of units, damage, genes, then a prior.

    Attributes:
        num_summary: Columns that summarise what a candidate costs.
        num_use: Columns of `UnitUse`; 0 for none.
        num_damage: Columns of what INT8 costs the units of the candidate, each measured alone; 0 for none.
        num_genes: Columns of genes, one per knob and choice; 0 for none.
        prior: Whether the last column is a prediction of latency, made before anything was measured.
    """

    num_summary: int = 0
    num_use: int = 0
    num_damage: int = 0
    num_genes: int = 0
    prior: bool = False

    @property
    def use(self) -> slice:
        """The columns of `UnitUse`."""
        return slice(self.num_summary, self.num_summary + self.num_use)

    @property
    def damage(self) -> slice:
        """The columns of the damage."""
        return slice(self.use.stop, self.use.stop + self.num_damage)

    @property
    def genes(self) -> slice:
        """The columns of the genes."""
        return slice(self.damage.stop, self.damage.stop + self.num_genes)


class FeatureMap:
    """What a candidate costs in a few numbers, how it uses units of every kind, its genes one by one, and a prior.

    The summary: depths; computed costs over their largest values; MACs in floating point for each inference precision,
    since that decides what they cost; active units in INT8 and in floating point; the share of what units hand on
    that is converted, since the next unit has another precision, for each inference precision. Damage is what INT8
    costs the units of a candidate, see `UnitDamage`. Genes are one column per knob and choice. A prior is a look-up
    table, or a predictor of another network, hint or machine; it predicts one target, so that it helps with that one
    only.
    """

    def __init__(
        self,
        space: Space,
        costs: Costs,
        *,
        units: Sequence[UnitWork] = (),
        damage: Damage | None = None,
        prior: Prior | None = None,
    ) -> None:
        self._space = space
        self._costs = costs
        self._use = UnitUse(space, units) if units else None
        self._damage = damage
        self._prior = prior
        self._depth = space.of_kind(KnobKind.DEPTH)
        self._precision = space.of_kind(KnobKind.PRECISION)
        self._inference = space.of_kind(KnobKind.INFERENCE_PRECISION)
        self._handed_on = _shares([space.knobs[i].name for i in self._precision], units)
        largest = space.canonical_array(np.array([space.num_choices - 1]))
        self._scale = {name: max(float(value[0]), 1.0) for name, value in costs(largest).items()}
        self.layout = FeatureLayout(
            num_summary=self._summary(largest).shape[1],
            num_use=0 if self._use is None else self._use(largest).shape[1],
            num_damage=0 if damage is None else damage(largest).shape[1],
            num_genes=int(space.num_choices.sum()),
            prior=prior is not None,
        )

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        """Features of canonical genotypes (n, num_knobs): float array (n, num_features)."""
        parts = [self._summary(genotypes)]
        if self._use is not None:
            parts.append(self._use(genotypes))
        if self._damage is not None:
            parts.append(self._damage(genotypes))
        parts.append(self._space.one_hot(genotypes))
        if self._prior is not None:
            parts.append(self._prior(genotypes)[:, None])
        return np.column_stack(parts)

    def _summary(self, genotypes: np.ndarray) -> np.ndarray:
        costs = self._costs(genotypes)
        columns = [costs[name] / self._scale[name] for name in sorted(costs)]
        columns += [genotypes[:, knob].astype(np.float64) for knob in self._depth]
        columns += self._by_hint((costs["macs"] - costs["macs_int8"]) / self._scale["macs"], genotypes)
        if self._precision:
            genes, active = genotypes[:, self._precision], self._space.active(genotypes)[:, self._precision]
            for choice in range(int(self._space.num_choices[self._precision].max())):
                columns.append(((genes == choice) & active).sum(axis=1) / len(self._precision))
            changes = (genes[:, 1:] != genes[:, :-1]) & active[:, 1:] & active[:, :-1]
            columns += self._by_hint(changes @ self._handed_on[:-1], genotypes)
        return np.column_stack(columns)

    def _by_hint(self, column: np.ndarray, genotypes: np.ndarray) -> list[np.ndarray]:
        """A column (n,) once for every inference precision, 0 where another one is chosen."""
        if not self._inference:
            return [column]
        (knob,) = self._inference
        return [np.where(genotypes[:, knob] == c, column, 0.0) for c in range(int(self._space.num_choices[knob]))]


def _shares(knobs: Sequence[str], units: Sequence[UnitWork]) -> np.ndarray:
    """What the unit of each knob hands on, as a share of all; equal shares where that is not known: (num_knobs,)."""
    elements = {u.knob: u.elements for u in units}
    amounts = np.array([elements.get(name, 0.0) for name in knobs])
    return amounts / amounts.sum() if amounts.any() else np.full(len(knobs), 1 / max(len(knobs), 1))
