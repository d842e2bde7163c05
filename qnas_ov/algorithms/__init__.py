"""Search algorithms: ask and tell over genotypes. The only room that knows pymoo."""

from __future__ import annotations

import numpy as np

from qnas_ov.algorithms._evolution import EVOLUTIONARY, EvolutionarySearch
from qnas_ov.algorithms._linas import LinasSearch, LinasSettings
from qnas_ov.algorithms._problem import Constraint, Result, SearchAlgorithm, SearchProblem
from qnas_ov.algorithms._qnas import QnasSearch, QnasSettings
from qnas_ov.algorithms._random import RandomSearch
from qnas_ov.core.errors import unknown_name

ALGORITHMS = ("qnas", "linas", "random", *EVOLUTIONARY)


def make_algorithm(
    name: str, problem: SearchProblem, *, seed: int, population: int, inner_evaluations: int
) -> SearchAlgorithm:
    """Makes an algorithm by name.

    Args:
        name: One of `ALGORITHMS`.
        problem: What to optimise.
        seed: Seed of everything random in it.
        population: Size of its population; qnas has none, but its first round is no larger.
        inner_evaluations: Predictions per round, of LINAS.

    Raises:
        UnknownNameError: If there is no such algorithm.
        InputError: If it does not fit the number of objectives, or needs a package that is not installed.
    """
    rng = np.random.default_rng(seed)
    if name == "qnas":
        return QnasSearch(problem, rng=rng, settings=QnasSettings(first=min(QnasSettings.first, population)))
    if name == "linas":
        return LinasSearch(problem, rng=rng, settings=LinasSettings(population, inner_evaluations))
    if name == "random":
        return RandomSearch(problem, rng=rng)
    if name in EVOLUTIONARY:
        return EvolutionarySearch(name, problem, rng=rng, population=population)
    raise unknown_name("algorithm", name, ALGORITHMS)


__all__ = [
    "ALGORITHMS",
    "Constraint",
    "LinasSettings",
    "QnasSearch",
    "QnasSettings",
    "Result",
    "SearchAlgorithm",
    "SearchProblem",
    "make_algorithm",
]
