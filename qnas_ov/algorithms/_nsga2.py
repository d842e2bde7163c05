"""NSGA-II on real measurements, without predictors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.core.population import Population
from pymoo.problems.static import StaticProblem
from pymoo.termination import get_termination

from qnas_ov.algorithms._problem import Result, SearchProblem, Seen
from qnas_ov.algorithms._pymoo import GenotypeProblem, make_nsga2
from qnas_ov.pareto import to_minimise
from qnas_ov.space import Genotype


class NSGA2Search:
    """Breeds each generation from measured results; known genotypes are not proposed again."""

    def __init__(self, problem: SearchProblem, *, rng: np.random.Generator, population: int) -> None:
        self._problem = problem
        self._rng = rng
        self._seen = Seen()
        self._values: dict[Genotype, Result] = {}
        self._pending: list[Genotype] = []
        self._generation: Population | None = None
        start = problem.space.sample(rng, population)
        self._pymoo_problem = GenotypeProblem(
            problem.space,
            num_objectives=len(problem.objectives),
            num_constraints=len(problem.constraints),
            evaluate=None,
        )
        self._algorithm = make_nsga2(problem.space, population=population, start=start)
        self._algorithm.setup(
            self._pymoo_problem,
            termination=get_termination("n_eval", 10**9),
            seed=int(rng.integers(2**31)),
            verbose=False,
        )

    def ask(self, count: int) -> list[Genotype]:
        """The next members of the generation that no result is known of."""
        for _ in range(50):
            if self._pending:
                asked, self._pending = self._pending[:count], self._pending[count:]
                return asked
            if not self._advance():
                break
        return self._seen.sample(self._problem.space, self._rng, count)

    def _advance(self) -> bool:
        """Closes the generation once its members are told, and breeds the next; False if nothing new can be bred."""
        if self._generation is not None:
            self._evaluate(self._generation)
            self._algorithm.tell(infills=self._generation)
        self._generation = self._algorithm.ask()
        if self._generation is None:
            return False
        self._pending = self._seen.fresh(np.asarray(self._generation.get("X"), dtype=np.int64), len(self._generation))
        return True

    def _evaluate(self, generation: Population) -> None:
        genotypes = [tuple(int(g) for g in x) for x in generation.get("X")]
        rows, violations = [], []
        for genotype in genotypes:
            values = self._values[genotype].values if genotype in self._values else None
            if values is None:  # measuring failed: worse than anything, so that it is not selected
                rows.append(np.full(len(self._problem.objectives), 1e12))
                violations.append([1e12] * len(self._problem.constraints))
            else:
                rows.append(to_minimise([values], self._problem.objectives)[0])
                violations.append(
                    [float(c.violation(np.array([values[c.column]]))[0]) for c in self._problem.constraints]
                )
        static = StaticProblem(
            self._pymoo_problem, F=np.array(rows), **({"G": np.array(violations)} if violations[0] else {})
        )
        self._algorithm.evaluator.eval(static, generation)

    def tell(self, results: Sequence[Result]) -> None:
        """Takes results."""
        self._seen.add([r.genotype for r in results])
        self._values.update({r.genotype: r for r in results})

    def report(self) -> dict[str, Any]:
        """Nothing is learnt beyond the population."""
        return {}
