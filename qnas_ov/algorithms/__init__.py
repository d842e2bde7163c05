"""Search algorithms: ask and tell over genotypes. The only room that knows pymoo."""

from __future__ import annotations

import numpy as np

from qnas_ov.algorithms._linas import LinasSearch, LinasSettings
from qnas_ov.algorithms._nsga2 import NSGA2Search
from qnas_ov.algorithms._problem import Constraint, Result, SearchAlgorithm, SearchProblem
from qnas_ov.algorithms._random import RandomSearch
from qnas_ov.core.errors import unknown_name

ALGORITHMS = ("linas", "nsga2", "random")


def make_algorithm(
    name: str, problem: SearchProblem, *, seed: int, population: int, inner_evaluations: int
) -> SearchAlgorithm:
    """Makes an algorithm by name.

    Args:
        name: One of `ALGORITHMS`.
        problem: What to optimise.
        seed: Seed of everything random in it.
        population: Size of its population.
        inner_evaluations: Predictor evaluations per round, where it predicts.

    Raises:
        UnknownNameError: If there is no such algorithm.
    """
    rng = np.random.default_rng(seed)
    if name == "linas":
        return LinasSearch(problem, rng=rng, settings=LinasSettings(population, inner_evaluations))
    if name == "nsga2":
        return NSGA2Search(problem, rng=rng, population=population)
    if name == "random":
        return RandomSearch(problem, rng=rng)
    raise unknown_name("algorithm", name, ALGORITHMS)


__all__ = [
    "ALGORITHMS",
    "Constraint",
    "LinasSettings",
    "Result",
    "SearchAlgorithm",
    "SearchProblem",
    "make_algorithm",
]
