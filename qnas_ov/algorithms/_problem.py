"""What a search algorithm knows: a space, objectives, constraints, exact costs, features. No torch, no OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from qnas_ov.core.records import Objective
from qnas_ov.predict import FeatureLayout
from qnas_ov.space import Genotype, Space


@dataclass(frozen=True)
class Constraint:
    """A bound on a measured or computed column.

    Attributes:
        option: How the user knows it, for instance "--max-drop".
        column: The column it bounds.
        limit: The bound.
        at_least: True if values must not fall below the bound, False if they must not exceed it.
    """

    option: str
    column: str
    limit: float
    at_least: bool

    def violation(self, values: np.ndarray) -> np.ndarray:
        """By how much values (n,) break the bound; 0 or less where they keep it."""
        return self.limit - values if self.at_least else values - self.limit

    def met(self, values: Mapping[str, float]) -> bool:
        """Whether a measured candidate keeps the bound."""
        return bool(self.violation(np.array([values[self.column]]))[0] <= 0)


@dataclass(frozen=True)
class SearchProblem:
    """What to optimise.

    Attributes:
        space: The space of genotypes.
        objectives: Ordered; at least one.
        constraints: Bounds that the front must keep.
        costs: Exact costs by column for canonical genotypes (n, num_knobs).
        features: What predictors see, for canonical genotypes.
        layout: Which columns of the features are what.
    """

    space: Space
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    costs: Callable[[np.ndarray], dict[str, np.ndarray]]
    features: Callable[[np.ndarray], np.ndarray]
    layout: FeatureLayout

    def predicted_columns(self) -> list[str]:
        """Columns that no formula gives: of objectives and of constraints, in order, each once."""
        computed = self.costs(self.space.canonical_array(np.zeros((1, len(self.space)), dtype=np.int64)))
        wanted = [o.column for o in self.objectives] + [c.column for c in self.constraints]
        return [c for c in dict.fromkeys(wanted) if c not in computed]


@dataclass(frozen=True)
class Result:
    """A measured candidate as an algorithm is told it.

    Attributes:
        genotype: Its genotype.
        values: Its values by column, or None if measuring failed.
        margins: How clear its answers are, (num_samples,), from -1 to 1, positive where they are right; None of metrics
            that have none. Of the first samples only, where those were enough to judge it.
    """

    genotype: Genotype
    values: Mapping[str, float] | None
    margins: np.ndarray | None = None


class SearchAlgorithm(Protocol):
    """Proposes genotypes and learns from their results."""

    def ask(self, limit: int) -> list[Genotype]:
        """A batch of canonical genotypes that were never asked for and never told; empty if none are left.

        The algorithm decides how many: what it measures before it learns, at most `limit`.
        """
        ...

    def tell(self, results: Sequence[Result]) -> None:
        """Takes results, of asked genotypes or of others that are known anyway."""
        ...

    def report(self) -> dict[str, Any]:
        """What it learnt, as JSON, for the run folder; empty for algorithms that learn nothing."""
        ...


class Seen:
    """Genotypes that must not be proposed again."""

    def __init__(self) -> None:
        self._known: set[Genotype] = set()

    def __contains__(self, genotype: Sequence[int]) -> bool:
        return tuple(genotype) in self._known

    def add(self, genotypes: Sequence[Genotype]) -> None:
        """Marks genotypes as known."""
        self._known.update(genotypes)

    def fresh(self, genotypes: np.ndarray, count: int) -> list[Genotype]:
        """The first `count` rows of an int array that are new, each once, and marks them as known."""
        found: list[Genotype] = []
        for row in genotypes:
            genotype = tuple(int(g) for g in row)
            if genotype not in self._known and len(found) < count:
                self._known.add(genotype)
                found.append(genotype)
        return found

    def sample(self, space: Space, rng: np.random.Generator, count: int, *, even: bool = False) -> list[Genotype]:
        """Draws `count` new genotypes; fewer if the space seems exhausted. `even` ones treat all layers alike."""
        draw = space.sample_even if even else space.sample
        if count <= 0:
            return []
        found: list[Genotype] = []
        for _ in range(20):
            found += self.fresh(draw(rng, 2 * count), count - len(found))
            if len(found) == count:
                break
        return found
