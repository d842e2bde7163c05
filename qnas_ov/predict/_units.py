"""What the time of a candidate is made of: units of work that are alike wherever they stand in the network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qnas_ov.space import KnobKind, Space


@dataclass(frozen=True)
class UnitWork:
    """The work of a precision unit.

    Attributes:
        name: Its key.
        knob: The knob that chooses its precision.
        macs: Multiply-accumulates on one sample at full width.
        params: Its weights at full width.
        widths: The width knobs that scale its work.
        elements: Numbers that it hands on, of one sample at full width; 0 where that is not known.
    """

    name: str
    knob: str
    macs: float
    params: float
    widths: tuple[str, ...] = ()
    elements: float = 0.0

    @property
    def kind(self) -> str:
        """What units that do the same have in common: the name without its numbers, and the amount of work."""
        return f"{re.sub(r'[0-9]+', '#', self.name)} {self.macs:.0f} {self.params:.0f}"


class UnitUse:
    """How much work of which kind a genotype does, in which precision and under which hint.

    Layers of one shape take the same time wherever they stand, so that one sample tells of all of them: twelve blocks
    that are alike have the twelvefold of samples. Every kind of unit has, by its precision and the inference precision,
    two columns: the work in 10^9 multiply-accumulates, and the number of units. Others have the sums over all kinds,
    and how often the precision changes from one unit to the next.
    """

    def __init__(self, space: Space, units: Sequence[UnitWork]) -> None:
        self._space = space
        self.units = list(units)
        self.kinds = list(dict.fromkeys(u.kind for u in units))
        inference = space.of_kind(KnobKind.INFERENCE_PRECISION)
        self._inference = inference[0] if inference else None
        self.num_hints = int(space.num_choices[self._inference]) if self._inference is not None else 1
        precision = space.of_kind(KnobKind.PRECISION)
        self.num_precisions = int(space.num_choices[precision].max()) if precision else 1
        self.columns = [space.index(u.knob) for u in self.units]
        self._widths = [_Widths(space, u) for u in self.units]
        self._kind_of = [self.kinds.index(u.kind) for u in self.units]

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        """Columns of canonical genotypes (n, num_knobs): float array (n, num_columns)."""
        work, count = self.amounts(genotypes)
        each = np.stack([count, work], axis=-1).reshape(len(genotypes), -1)
        return np.concatenate([self._shared(work, count, genotypes), self._by_hint(each, genotypes)], axis=1)

    def shared(self, genotypes: np.ndarray) -> np.ndarray:
        """The columns that every network has: by hint, the number of units and their work by precision, and changes.

        Returns:
            Float array (n, num_hints * (1 + 2 * num_precisions + 2)).
        """
        return self._shared(*self.amounts(genotypes), genotypes)

    def _shared(self, work: np.ndarray, count: np.ndarray, genotypes: np.ndarray) -> np.ndarray:
        totals = np.stack([count.sum(axis=1), work.sum(axis=1)], axis=-1).reshape(len(genotypes), -1)
        columns = np.concatenate([totals, self._changes(genotypes)], axis=1)
        return np.concatenate([self.hints(genotypes), self._by_hint(columns, genotypes)], axis=1)

    def _changes(self, genotypes: np.ndarray) -> np.ndarray:
        """How often the precision rises and falls from one unit to the next, which costs conversions: (n, 2)."""
        genes, active = genotypes[:, self.columns], self._space.active(genotypes)[:, self.columns]
        both = active[:, 1:] & active[:, :-1]
        rises, falls = genes[:, 1:] > genes[:, :-1], genes[:, 1:] < genes[:, :-1]
        return np.stack([(rises & both).sum(axis=1), (falls & both).sum(axis=1)], axis=1).astype(np.float64)

    def _by_hint(self, columns: np.ndarray, genotypes: np.ndarray) -> np.ndarray:
        """Columns (n, m) repeated for every hint, 0 where it is not chosen: (n, num_hints * m)."""
        return (self.hints(genotypes)[:, :, None] * columns[:, None, :]).reshape(len(genotypes), -1)

    def hints(self, genotypes: np.ndarray) -> np.ndarray:
        """One column per inference precision, 1 where it is chosen: (n, num_hints)."""
        if self._inference is None:
            return np.ones((len(genotypes), 1))
        return (genotypes[:, self._inference, None] == np.arange(self.num_hints)).astype(np.float64)

    def amounts(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Work in 10^9 MACs and number of units, by kind and precision: two arrays (n, num_kinds, num_precisions)."""
        shape = len(genotypes), len(self.kinds), self.num_precisions
        work, count = np.zeros(shape), np.zeros(shape)
        active, rows = self._space.active(genotypes), np.arange(len(genotypes))
        for unit, column, widths, kind in zip(self.units, self.columns, self._widths, self._kind_of, strict=True):
            present = active[:, column].astype(np.float64)
            precision = genotypes[:, column]
            count[rows, kind, precision] += present
            work[rows, kind, precision] += present * widths.shares[widths.index(genotypes)] * (unit.macs / 1e9)
        return work, count

    def width_index(self, number: int, genotypes: np.ndarray) -> np.ndarray:
        """Which combination of its widths the unit of that number has: (n,), an index into `width_shares`."""
        return self._widths[number].index(genotypes)

    def width_shares(self, number: int) -> np.ndarray:
        """The share of its full work that every combination of the widths of a unit leaves: (num_combinations,)."""
        return self._widths[number].shares


class _Widths:
    """The combinations of the width knobs of a unit, numbered."""

    def __init__(self, space: Space, unit: UnitWork) -> None:
        self._columns = [space.index(name) for name in unit.widths]
        self._sizes = tuple(int(space.num_choices[c]) for c in self._columns)
        shares = np.ones(())
        for column in self._columns:
            choices = np.asarray(space.knobs[column].choices, dtype=np.float64)
            shares = np.multiply.outer(shares, choices / choices[-1])
        self.shares = shares.reshape(-1)

    def index(self, genotypes: np.ndarray) -> np.ndarray:
        if not self._columns:
            return np.zeros(len(genotypes), dtype=np.int64)
        return np.ravel_multi_index(tuple(genotypes[:, c] for c in self._columns), self._sizes)
