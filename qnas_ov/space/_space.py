"""A space is an ordered set of knobs; a genotype is one index per knob, made canonical before use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qnas_ov.core.errors import InputError
from qnas_ov.space._knobs import Knob, KnobKind

Genotype = tuple[int, ...]


class Space:
    """An ordered, immutable set of knobs.

    Inactive genes (of layers that depth dropped) have no meaning. `canonical` sets them to the last choice, so that
    two genotypes are equal exactly if they describe the same network.
    """

    def __init__(self, knobs: Sequence[Knob]) -> None:
        self.knobs: tuple[Knob, ...] = tuple(knobs)
        self._index = {knob.name: i for i, knob in enumerate(self.knobs)}
        if len(self._index) != len(self.knobs):
            raise ValueError("two knobs have the same name")
        self.num_choices = np.array([len(knob.choices) for knob in self.knobs], dtype=np.int64)
        # One row per conditional knob: (its column, column of the depth knob, smallest index that activates it).
        conditions = []
        for i, knob in enumerate(self.knobs):
            if knob.active_if is not None:
                owner = self._index[knob.active_if.knob]
                enough = [
                    j for j, value in enumerate(self.knobs[owner].choices) if int(value) >= knob.active_if.at_least
                ]
                conditions.append((i, owner, min(enough) if enough else len(self.knobs[owner].choices)))
        self._conditions = np.array(conditions, dtype=np.int64).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self.knobs)

    def index(self, name: str) -> int:
        """Column of the knob of that name."""
        return self._index[name]

    def active(self, genotypes: np.ndarray) -> np.ndarray:
        """Which genes take part: bool array of the shape (n, num_knobs) of `genotypes`."""
        mask = np.ones(genotypes.shape, dtype=bool)
        columns, owners, thresholds = self._conditions.T
        mask[:, columns] = genotypes[:, owners] >= thresholds
        return mask

    def canonical_array(self, genotypes: np.ndarray) -> np.ndarray:
        """Canonical form of an int array (n, num_knobs): inactive genes get their last choice."""
        return np.where(self.active(genotypes), genotypes, self.num_choices - 1)

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        """Canonical form of one genotype.

        Raises:
            InputError: If its length is wrong or a gene is outside its knob's choices.
        """
        genes = np.asarray(genotype, dtype=np.int64)
        if genes.shape != (len(self),):
            raise InputError(f"a genotype of this space has {len(self)} genes: got {genes.size}")
        wrong = np.flatnonzero((genes < 0) | (genes >= self.num_choices))
        if wrong.size:
            knob = self.knobs[wrong[0]]
            raise InputError(f"gene {knob.name} must be 0 to {len(knob.choices) - 1}: got {genes[wrong[0]]}")
        return tuple(int(g) for g in self.canonical_array(genes[None])[0])

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draws canonical genotypes, each gene uniformly: int array (count, num_knobs)."""
        return self.canonical_array(rng.integers(0, self.num_choices, size=(count, len(self))))

    def sample_even(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draws canonical genotypes that treat all layers alike: int array (count, num_knobs).

        Knobs of a kind that differ only in their layer take the same relative choice, and so do all precision knobs.
        Drawn gene by gene, nearly all networks are a mixture of everything; the networks that people build are even.
        """
        groups = [
            k.kind.value if k.kind is KnobKind.PRECISION else f"{k.kind.value} {k.name.rsplit('.', 1)[-1]}"
            for k in self.knobs
        ]
        _, group_of = np.unique(groups, return_inverse=True)
        levels = rng.random((count, int(group_of.max()) + 1))[:, group_of]
        return self.canonical_array((levels * self.num_choices).astype(np.int64))

    def everything(self) -> np.ndarray:
        """All canonical genotypes, each once: int array (n, num_knobs); for small spaces only."""
        raw = np.indices(tuple(self.num_choices)).reshape(len(self), -1).T
        return np.unique(self.canonical_array(raw), axis=0)

    def decode(self, genotype: Sequence[int]) -> dict[str, int | str]:
        """Values by knob name, of the active genes only."""
        genes = np.asarray(genotype, dtype=np.int64)
        mask = self.active(genes[None])[0]
        return {k.name: k.choices[g] for k, g, on in zip(self.knobs, genes, mask, strict=True) if on}

    def encode(self, values: Mapping[str, int | str]) -> Genotype:
        """Genotype of the given values; knobs that are not named take their last choice.

        Raises:
            InputError: If a name is no knob or a value is no choice.
        """
        genes = [len(k.choices) - 1 for k in self.knobs]
        for name, value in values.items():
            if name not in self._index:
                raise InputError(f"the space has no knob '{name}'")
            knob = self.knobs[self._index[name]]
            if value not in knob.choices:
                raise InputError(f"knob '{name}' must be one of {list(knob.choices)}: got {value!r}")
            genes[self._index[name]] = knob.choices.index(value)
        return self.canonical(genes)

    def one_hot(self, genotypes: np.ndarray) -> np.ndarray:
        """One column per knob and choice, 1 where active and chosen: float array (n, sum of choices)."""
        mask = self.active(genotypes)
        columns = []
        for i, count in enumerate(self.num_choices):
            columns.append((genotypes[:, i, None] == np.arange(count)) & mask[:, i, None])
        return np.concatenate(columns, axis=1).astype(np.float64)

    def of_kind(self, kind: KnobKind) -> list[int]:
        """Columns of the knobs of one kind."""
        return [i for i, knob in enumerate(self.knobs) if knob.kind is kind]

    def log10_size(self) -> float:
        """Decimal logarithm of the number of raw genotypes (an upper bound on distinct networks)."""
        return float(sum(math.log10(n) for n in self.num_choices))

    def to_json(self) -> list[dict[str, Any]]:
        """The knobs as they stand in `space.json`."""
        return [knob.to_json() for knob in self.knobs]
