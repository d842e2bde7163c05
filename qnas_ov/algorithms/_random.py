"""Random search: the baseline that every other algorithm must beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qnas_ov.algorithms._problem import Result, SearchProblem, Seen
from qnas_ov.space import Genotype


class RandomSearch:
    """Draws every gene uniformly."""

    def __init__(self, problem: SearchProblem, *, rng: np.random.Generator) -> None:
        self._space = problem.space
        self._rng = rng
        self._seen = Seen()

    def ask(self, limit: int) -> list[Genotype]:
        """A new genotype."""
        return self._seen.sample(self._space, self._rng, 1)

    def tell(self, results: Sequence[Result]) -> None:
        """Remembers genotypes so that they are not proposed again."""
        self._seen.add([r.genotype for r in results])

    def report(self) -> dict[str, Any]:
        """Nothing is learnt."""
        return {}
