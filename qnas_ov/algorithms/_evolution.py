"""pymoo's algorithms on real measurements, without predictors.

NSGA-II, U-NSGA-III, AGE-MOEA, MOEA/D, C-TAEA and a genetic algorithm breed integer genotypes with `GeneMutation`;
CMA-ES moves in a box whose cells are the choices. MOEA/D and CMA-ES know no constraints: a broken one is added to every
objective. The genetic algorithm and CMA-ES have one objective: of several they take the augmented Chebyshev distance to
the best values of the first generation, in units of its ranges. Source: J. Knowles, ParEGO (IEEE TEC 2006), section
III, with equal weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
from pymoo.algorithms.moo.ctaea import CTAEA
from pymoo.algorithms.moo.moead import MOEAD
from pymoo.algorithms.moo.unsga3 import UNSGA3
from pymoo.algorithms.soo.nonconvex.cmaes import CMAES
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.problems.static import StaticProblem
from pymoo.termination import get_termination
from pymoo.util.ref_dirs import get_reference_directions

from qnas_ov.algorithms._problem import Result, SearchProblem, Seen
from qnas_ov.algorithms._pymoo import CanonicalRepair, GeneMutation, make_nsga2
from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional
from qnas_ov.pareto import to_minimise
from qnas_ov.space import Genotype, Space

EVOLUTIONARY = ("age", "cmaes", "ctaea", "ga", "moead", "nsga2", "unsga3")
_SINGLE, _SEVERAL_ONLY = ("cmaes", "ga"), ("age", "ctaea", "moead", "unsga3")
_FAILED = 1e6  # worse than anything in units of the objectives' ranges
_AUGMENTED = 0.05
_FRUITLESS = 20  # generations without a new genotype, after which one is drawn


def _reference_directions(num_objectives: int, count: int) -> np.ndarray:
    """At most `count` evenly spread directions, but as many as there are objectives: (n, num_objectives)."""
    parts = 1
    while comb(parts + num_objectives, num_objectives - 1) <= count:
        parts += 1
    return np.asarray(get_reference_directions("das-dennis", num_objectives, n_partitions=parts))


def _make(name: str, space: Space, *, num_objectives: int, population: int, start: np.ndarray) -> Algorithm:
    if name == "nsga2":
        return make_nsga2(space, population=population, start=start)
    if name == "cmaes":
        return CMAES(x0=(start[0] + 0.5) / space.num_choices, sigma=0.3, popsize=max(4, population // 2), restarts=100)
    breeding: dict[str, Any] = {
        "sampling": start,
        "crossover": UniformCrossover(prob=0.9),
        "mutation": GeneMutation(space),
        "repair": CanonicalRepair(space),
    }
    if name == "ga":
        return GA(pop_size=population, eliminate_duplicates=True, **breeding)
    if name == "age":
        import_optional("numba")
        from pymoo.algorithms.moo.age import AGEMOEA

        return AGEMOEA(pop_size=population, eliminate_duplicates=True, **breeding)
    # C-TAEA never ends where the first generation is smaller than its directions are many.
    directions = _reference_directions(num_objectives, len(start))
    if name == "moead":
        neighbours = max(2, min(20, len(directions) // 2))
        return MOEAD(directions, n_neighbors=neighbours, **{**breeding, "sampling": start[: len(directions)]})
    if name == "ctaea":
        return CTAEA(directions, **{**breeding, "sampling": start[: len(directions)]})
    return UNSGA3(directions, pop_size=population, eliminate_duplicates=True, **breeding)


class EvolutionarySearch:
    """Breeds each generation from measured results; known genotypes are not proposed again."""

    def __init__(self, name: str, problem: SearchProblem, *, rng: np.random.Generator, population: int) -> None:
        """Makes the algorithm of that name.

        Raises:
            InputError: If it needs several objectives and there is one.
        """
        if name in _SEVERAL_ONLY and len(problem.objectives) < 2:
            raise InputError(f"the algorithm '{name}' needs at least two objectives: got one; choose ga, nsga2 or qnas")
        self._name = name
        self._problem = problem
        self._rng = rng
        self._seen = Seen()
        self._values: dict[Genotype, Result] = {}
        self._pending: list[Genotype] = []
        self._generation: Population | None = None
        self._alone = False
        self._exhausted = False
        self._scale: tuple[np.ndarray, np.ndarray] | None = None
        space = problem.space
        real = name == "cmaes"
        self._with_constraints = bool(problem.constraints) and name not in ("moead", "cmaes")
        self._pymoo_problem = Problem(
            n_var=len(space),
            n_obj=1 if name in _SINGLE else len(problem.objectives),
            n_ieq_constr=len(problem.constraints) if self._with_constraints else 0,
            xl=np.zeros(len(space), dtype=float if real else np.int64),
            xu=np.ones(len(space)) if real else space.num_choices - 1,
            vtype=float if real else int,
        )
        self._algorithm = _make(
            name,
            space,
            num_objectives=len(problem.objectives),
            population=population,
            start=np.array(Seen().sample(space, rng, population)),
        )
        self._algorithm.setup(
            self._pymoo_problem,
            termination=get_termination("n_eval", 10**9),
            seed=int(rng.integers(1, 2**31)),
            verbose=False,
        )

    def ask(self, limit: int) -> list[Genotype]:
        """The next members of the generation that no result is known of."""
        for _ in range(_FRUITLESS):
            if self._pending:
                asked, self._pending = self._pending[:limit], self._pending[limit:]
                return asked
            if self._exhausted or not self._advance():
                break
        found = self._seen.sample(self._problem.space, self._rng, 1)
        self._exhausted = not found
        return found

    def _advance(self) -> bool:
        """Closes the generation once its members are told, and breeds the next; False if nothing new can be bred."""
        if self._generation is not None:
            self._evaluate(self._generation)
            # MOEA/D asks for one at a time, and wants that one back.
            self._algorithm.tell(infills=self._generation[0] if self._alone else self._generation)
            self._generation = None
        found = self._algorithm.ask()
        if found is None or not self._algorithm.has_next():
            return False
        self._alone = not isinstance(found, Population)
        generation = Population.create(found) if self._alone else found
        if not len(generation):
            return False
        self._generation = generation
        self._pending = self._seen.fresh(self._genotypes(self._generation), len(self._generation))
        return True

    def _genotypes(self, generation: Population) -> np.ndarray:
        X = np.asarray(generation.get("X"))
        if self._name == "cmaes":
            sizes = self._problem.space.num_choices
            X = np.clip(np.floor(X.astype(np.float64) * sizes), 0, sizes - 1)
        return self._problem.space.canonical_array(X.astype(np.int64))

    def _evaluate(self, generation: Population) -> None:
        """Gives a generation its results in units of the first one's ranges."""
        objectives, constraints = self._problem.objectives, self._problem.constraints
        results = [self._values.get(tuple(int(g) for g in row)) for row in self._genotypes(generation)]
        values = [None if r is None else r.values for r in results]
        measured = [v for v in values if v is not None]
        if self._scale is None and measured:
            points = to_minimise(measured, objectives)
            low, high = points.min(axis=0), points.max(axis=0)
            self._scale = low, np.where(high > low, high - low, 1.0)
        F = np.full((len(values), len(objectives)), _FAILED)
        G = np.full((len(values), len(constraints)), _FAILED)
        for i, found in enumerate(values):
            if found is not None and self._scale is not None:
                F[i] = (to_minimise([found], objectives)[0] - self._scale[0]) / self._scale[1]
                for j, limit in enumerate(constraints):
                    over = float(limit.violation(np.array([found[limit.column]]))[0])
                    G[i, j] = over / max(abs(limit.limit), 1e-9)
        if not self._with_constraints and constraints:
            F = F + 10.0 * np.maximum(G, 0).sum(axis=1, keepdims=True)
        if self._name in _SINGLE:
            F = F.max(axis=1, keepdims=True) + _AUGMENTED * F.sum(axis=1, keepdims=True)
        given = {"F": F, "G": G} if self._with_constraints else {"F": F}
        self._algorithm.evaluator.eval(StaticProblem(self._pymoo_problem, **given), generation)

    def tell(self, results: Sequence[Result]) -> None:
        """Takes results."""
        self._seen.add([r.genotype for r in results])
        self._values.update({r.genotype: r for r in results})

    def report(self) -> dict[str, Any]:
        """Nothing is learnt beyond the population."""
        return {}
