"""The adaptor to pymoo: integer genotypes, operators that really change offspring, canonical repair."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.termination import get_termination

from qnas_ov.space import Space

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Canonical genotypes (n, num_knobs) -> objectives to minimise (n, m), constraint violations (n, k)."""


class GeneMutation(Mutation):
    """Gives a gene another of its choices.

    Every offspring changes: the number of genes is one plus a binomial draw with a mean of one, among the genes that
    have a choice and are active. (pymoo's `PM(prob=...)` is per individual and leaves integers mostly as they are.)
    """

    def __init__(self, space: Space) -> None:
        super().__init__(prob=1.0)
        self._space = space

    def _do(self, problem: Any, X: np.ndarray, *args: Any, random_state: Any = None, **kwargs: Any) -> np.ndarray:
        return mutate(self._space, X, random_state)


def mutate(space: Space, genotypes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Changes one gene or more of each genotype (n, num_knobs), see `GeneMutation`; the result is canonical."""
    X = np.array(genotypes, dtype=np.int64)
    free = space.active(X) & (space.num_choices > 1)
    for row, candidates in zip(X, free, strict=True):
        columns = np.flatnonzero(candidates)
        count = 1 + rng.binomial(len(columns), 1.0 / len(columns))
        for column in rng.choice(columns, size=min(count, len(columns)), replace=False):
            step = rng.integers(1, space.num_choices[column])
            row[column] = (row[column] + step) % space.num_choices[column]
    return space.canonical_array(X)


class CanonicalRepair(Repair):
    """Makes offspring canonical, so that pymoo's duplicate elimination sees equal networks as equal."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space

    def _do(self, problem: Any, X: np.ndarray, **kwargs: Any) -> np.ndarray:
        return self._space.canonical_array(np.asarray(X, dtype=np.int64))


class GenotypeProblem(Problem):
    """A vectorised pymoo problem over genotypes."""

    def __init__(self, space: Space, *, num_objectives: int, num_constraints: int, evaluate: Evaluate | None) -> None:
        super().__init__(
            n_var=len(space),
            n_obj=num_objectives,
            n_ieq_constr=num_constraints,
            xl=np.zeros(len(space), dtype=np.int64),
            xu=space.num_choices - 1,
            vtype=int,
        )
        self._genotype_evaluate = evaluate

    def _evaluate(self, X: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        assert self._genotype_evaluate is not None
        F, G = self._genotype_evaluate(np.asarray(X, dtype=np.int64))
        out["F"] = F
        if self.n_ieq_constr:
            out["G"] = G


def make_nsga2(space: Space, *, population: int, start: np.ndarray) -> NSGA2:
    """NSGA-II (Deb et al., 2002) with uniform crossover and `GeneMutation` on canonical genotypes.

    Args:
        space: The space.
        population: Size of the population.
        start: Its first members: int array (population, num_knobs).
    """
    return NSGA2(
        pop_size=population,
        sampling=start,
        crossover=UniformCrossover(prob=0.9),
        mutation=GeneMutation(space),
        repair=CanonicalRepair(space),
        eliminate_duplicates=True,
    )


def evolve(
    space: Space,
    evaluate: Evaluate,
    *,
    num_objectives: int,
    num_constraints: int,
    start: np.ndarray,
    evaluations: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs NSGA-II on a cheap function; a space of no more than `evaluations` genotypes is evaluated whole.

    Returns:
        The last population, or the whole space: genotypes (n, num_knobs), objectives (n, m), violations (n, k).
    """
    if space.log10_size() <= math.log10(evaluations):
        everything = space.everything()
        return everything, *evaluate(everything)
    problem = GenotypeProblem(space, num_objectives=num_objectives, num_constraints=num_constraints, evaluate=evaluate)
    algorithm = make_nsga2(space, population=len(start), start=start)
    algorithm.setup(problem, termination=get_termination("n_eval", evaluations), seed=seed, verbose=False)
    while algorithm.has_next():
        algorithm.next()
    population = algorithm.pop
    X = np.asarray(population.get("X"), dtype=np.int64)
    G = np.asarray(population.get("G"), dtype=np.float64).reshape(len(X), -1)
    return X, np.asarray(population.get("F"), dtype=np.float64), G
