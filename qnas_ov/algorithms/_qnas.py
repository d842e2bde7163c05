"""qnas: a Bayesian search that knows what a candidate costs, where latency goes, and which units INT8 hurts.

A few candidates that tell most come first. Then, in rounds: a Gaussian process per measured quantity, and the
candidates that would widen the front most, most of them if the predictions were true, one if functions drawn from the
processes were. Each is chosen as if the earlier ones of its round had come out as predicted, which keeps a round
diverse. Sources: E. Bradford et al., Efficient multiobjective optimization employing Gaussian processes, spectral
sampling and a genetic algorithm (TSEMO, 2018); S. Daulton et al., Parallel Bayesian Optimization of Multiple Noisy
Objectives (2021).

Accuracy on few samples is coarse. How clear a network's answer is on each of them is not, so that this is predicted,
and accuracy from it. Other metrics than accuracy, top-5 and agreement have no such margins: with them the distance to
the float network's outputs is measured, and its prediction helps to predict the metric. Of all these it is learnt how
much each sort of choice matters (depth, heads, the precision of units of one kind), and what INT8 costs the units, each
measured alone.

Where the table of unit times sees no gain by INT8, and nothing but latency could gain, units stay in floating point.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import KFold

from qnas_ov.algorithms._acquisition import distance, layers
from qnas_ov.algorithms._linas import predictor_record
from qnas_ov.algorithms._problem import Result, SearchProblem, Seen
from qnas_ov.algorithms._pruning import find_useless, prune
from qnas_ov.algorithms._pymoo import evolve, mutate
from qnas_ov.core.records import COST_OBJECTIVES, ERROR_OBJECTIVE
from qnas_ov.pareto import columns_to_minimise, hypervolume_gains, is_nondominated, to_minimise
from qnas_ov.predict import FeatureGroup, MarginSurrogate, Surrogate, Weights, choose_informative, cost_groups
from qnas_ov.space import Genotype, KnobKind

LATENCY = "latency_ms"
COST_COLUMNS = {o.column for o in COST_OBJECTIVES}
_FOLDS, _IMPORTANCE_SAMPLES = 5, 256

Model = Surrogate | MarginSurrogate


@dataclass(frozen=True)
class QnasSettings:
    """Settings of qnas.

    Attributes:
        first: Candidates of the first round, which no model chooses.
        batch: Candidates of each later round.
        explore: Candidates of a round that drawn functions choose; the means choose the others.
        inner_evaluations: Predictions of a round, where the space is too large to predict all of it.
        shortlist: Candidates that functions are drawn for.
        diverse: Whether a round counts on its earlier choices to come out as predicted.
        use_prior: Whether the table of unit times leads the prediction of latency.
        use_damage: Whether the damage of units is a feature.
        use_margins: Whether accuracy is predicted from the margins of answers, where they are told.
        use_fidelity: Whether the distance to the float network helps to predict a metric where margins do not.
        use_summary: Whether computed costs are features.
        use_sorts: Whether it is learnt how much each sort of genes matters to what is judged.
        use_pruning: Whether a unit runs in floating point where the table sees no gain in latency by less, hint by
            hint, and nothing else is gained by it.
    """

    first: int = 8
    batch: int = 4
    explore: int = 1
    inner_evaluations: int = 2_000
    shortlist: int = 300
    diverse: bool = True
    use_prior: bool = True
    use_damage: bool = True
    use_margins: bool = True
    use_fidelity: bool = True
    use_summary: bool = True
    use_sorts: bool = True
    use_pruning: bool = True


class QnasSearch:
    """qnas as ask and tell."""

    def __init__(self, problem: SearchProblem, *, rng: np.random.Generator, settings: QnasSettings) -> None:
        self._problem = problem
        self._rng = rng
        self._settings = settings
        self._seen = Seen()
        self._results: list[Result] = []
        self._columns = problem.predicted_columns()
        self._predictions: dict[Genotype, dict[str, float]] = {}
        self._weights: dict[str, Weights] = {}
        self._first: list[Genotype] | None = None
        self._last_pool = np.zeros((0, len(problem.space)), dtype=np.int64)
        self._useless = find_useless(problem) if settings.use_pruning else []

    def ask(self, limit: int) -> list[Genotype]:
        """The first round, then a round of what would widen the front most."""
        if self._first is None:
            self._first = self._first_round()
        if self._first:
            asked, self._first = self._first[:limit], self._first[limit:]
            return asked
        measured = self._measured()
        if len(measured) < 3:
            return self._seen.sample(self._problem.space, self._rng, 1)
        return self._search(min(limit, self._settings.batch))

    def tell(self, results: Sequence[Result]) -> None:
        """Takes results."""
        self._seen.add([r.genotype for r in results])
        self._results += results

    def _first_round(self) -> list[Genotype]:
        """The smallest and the largest network in the cheapest and the dearest precision; then what tells most.

        Of many drawn networks, half of them even, those that a linear model of the features learns most from.
        """
        space, count = self._problem.space, self._settings.first
        low, high = np.zeros(len(space), dtype=np.int64), space.num_choices - 1
        mixed = np.where(np.isin(np.arange(len(space)), space.of_kind(KnobKind.PRECISION)), high, low)
        corners = space.canonical_array(np.stack([low, mixed, high]))
        found = self._seen.fresh(prune(space, self._useless, corners), count)
        pool = np.concatenate([space.sample_even(self._rng, 10 * count), space.sample(self._rng, 10 * count)])
        pool = prune(space, self._useless, pool)
        known = np.array([*(r.genotype for r in self._results), *found], dtype=np.int64).reshape(-1, len(space))
        order = choose_informative(self._computed(pool), self._computed(known), 4 * count)
        return found + self._seen.fresh(pool[order], count - len(found))

    def _computed(self, genotypes: np.ndarray) -> np.ndarray:
        """Features that no measurement enters: the first round depends on the machine by what is pruned alone."""
        layout, features = self._problem.layout, self._problem.features(genotypes)
        measured = [*range(layout.damage.start, layout.damage.stop), *([features.shape[1] - 1] if layout.prior else [])]
        return np.delete(features, measured, axis=1)

    # Predictions

    def _features(self, genotypes: np.ndarray) -> np.ndarray:
        """The problem's features, and before the prior, if there is one, the genes as numbers from 0 to 1."""
        features = self._problem.features(genotypes)
        ordinal = genotypes / np.maximum(self._problem.space.num_choices - 1, 1)
        parts = [features[:, :-1], ordinal, features[:, -1:]] if self._problem.layout.prior else [features, ordinal]
        return np.column_stack(parts)

    def _groups(self, column: str) -> tuple[list[FeatureGroup], list[FeatureGroup]]:
        """What a quantity is predicted from: by kernels of their own, and together.

        Costs from what is computed, and from the work of units. What is judged from the sorts of genes and from damage:
        how much a sort matters is learnt from all its genes at once, since few are measured.
        """
        layout, settings, space = self._problem.layout, self._settings, self._problem.space
        if column in COST_COLUMNS:
            return cost_groups(layout, use_summary=settings.use_summary), []
        genes = range(layout.genes.start, layout.genes.stop)
        sorts: dict[str, list[int]] = defaultdict(list)
        for number, knob in enumerate(space.knobs):
            sorts[re.sub(r"[0-9]+", "#", knob.name)].append(genes.stop + number)
        damage = tuple(range(layout.damage.start, layout.damage.stop)) if settings.use_damage else ()
        together = [FeatureGroup(name, tuple(columns)) for name, columns in sorts.items()]
        return (
            [FeatureGroup("genes", tuple(genes)), FeatureGroup("damage", damage)],
            [*together, FeatureGroup("damage", damage)] if settings.use_sorts else [],
        )

    def _measured(self) -> list[Result]:
        return [r for r in self._results if r.values is not None]

    def _fit(self) -> dict[str, Model]:
        measured = self._measured()
        found = self._fit_on(self._features(np.array([r.genotype for r in measured])), measured)
        self._weights = {column: model.weights for column, model in found.items()}
        return found

    def _fit_on(self, features: np.ndarray, measured: Sequence[Result]) -> dict[str, Model]:
        """Models of every predicted column, and of the distance to the float network where that helps."""
        found: dict[str, Model] = {}
        finer: Surrogate | None = None
        values = [r.values or {} for r in measured]
        margins = [r.margins for r in measured if r.margins is not None]
        by_margins = self._settings.use_margins and len(margins) == len(measured)
        helped = self._settings.use_fidelity and all(ERROR_OBJECTIVE.column in v for v in values) and not by_margins
        wanted = set(self._columns)
        if helped and any(map(self._is_judged, self._columns)):
            wanted.add(ERROR_OBJECTIVE.column)
        for column in sorted(wanted, key=lambda c: (c != ERROR_OBJECTIVE.column, c)):
            groups, joint = self._groups(column)
            start = self._weights.get(column)
            if by_margins and self._is_judged(column):
                found[column] = MarginSurrogate(groups, joint=joint).fit(features, margins, start=start)
                continue
            helper = finer if helped and self._is_judged(column) else None
            if helper is not None:
                groups.append(FeatureGroup("error", (features.shape[1],), radial=True))
            prior = self._problem.layout.prior and self._settings.use_prior and column == LATENCY
            model = Surrogate(groups, joint=joint, prior=prior, helper=helper)
            found[column] = model.fit(features, np.array([v[column] for v in values]), start=start)
            if column == ERROR_OBJECTIVE.column:
                finer = model
        return found

    def _is_judged(self, column: str) -> bool:
        """Whether a quantity is a metric, for which the distance to the float network is a finer measure."""
        return column not in COST_COLUMNS and column != ERROR_OBJECTIVE.column

    # Choosing

    def _search(self, count: int) -> list[Genotype]:
        models = self._fit()
        pool = self._pool(models)
        if not len(pool):
            return []
        chosen = self._choose(models, pool, count)
        asked = self._seen.fresh(pool[chosen], count)
        if asked:
            features = self._features(np.array(asked))
            predicted = {c: models[c].predict(features)[0] for c in self._columns}
            for i, genotype in enumerate(asked):
                self._predictions[genotype] = {c: float(predicted[c][i]) for c in self._columns}
        return asked

    def _pool(self, models: dict[str, Model]) -> np.ndarray:
        """Unmeasured candidates of which some may widen the front: int array (n, num_knobs), n <= shortlist."""
        space, settings = self._problem.space, self._settings
        if space.log10_size() <= np.log10(settings.inner_evaluations * 5):
            pool = space.everything()
        else:
            pool = self._evolved_pool(models)
        pool = prune(space, self._useless, pool)
        fresh = np.array([tuple(row) not in self._seen for row in pool.tolist()], dtype=bool)
        pool = pool[fresh]
        if len(pool) <= settings.shortlist:
            return pool
        features = self._features(pool)
        predicted = {c: models[c].predict(features) for c in self._columns}
        costs = self._problem.costs(pool)
        kept: list[int] = []
        for boldness in (0.0, 1.0, 2.0) if settings.explore else (0.0,):
            values = {**costs, **{c: self._bold(c, *predicted[c], boldness) for c in self._columns}}
            points, broken = self._minimised(values)
            rank = np.argsort(layers(points, broken, settings.shortlist), kind="stable")
            kept += rank[: settings.shortlist // (3 if settings.explore else 1)].tolist()
        return pool[list(dict.fromkeys(kept))]

    def _bold(self, column: str, mean: np.ndarray, error: np.ndarray, boldness: float) -> np.ndarray:
        """A prediction that is `boldness` standard errors better than the mean."""
        better = [1.0 if o.direction == "max" else -1.0 for o in self._problem.objectives if o.column == column]
        better += [1.0 if c.at_least else -1.0 for c in self._problem.constraints if c.column == column]
        return mean + better[0] * boldness * error

    def _evolved_pool(self, models: dict[str, Model]) -> np.ndarray:
        """What NSGA-II finds on the means, and relatives of the measured front, and even and random networks."""
        space, settings, rng = self._problem.space, self._settings, self._rng

        def evaluate(genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            features = self._features(genotypes)
            values = {**self._problem.costs(genotypes), **{c: models[c].predict_mean(features) for c in self._columns}}
            points = columns_to_minimise(values, self._problem.objectives)
            broken = [c.violation(values[c.column]) for c in self._problem.constraints]
            return points, np.column_stack(broken) if broken else np.zeros((len(genotypes), 0))

        front = np.array([r.genotype for r in self._front_results()], dtype=np.int64).reshape(-1, len(space))
        size = 100
        start = np.concatenate([front, self._last_pool, space.sample_even(rng, size), space.sample(rng, size)])
        X, _, _ = evolve(
            space,
            evaluate,
            num_objectives=len(self._problem.objectives),
            num_constraints=len(self._problem.constraints),
            start=np.unique(start, axis=0)[rng.permutation(len(np.unique(start, axis=0)))][: 2 * size],
            evaluations=settings.inner_evaluations,
            seed=int(rng.integers(2**31)),
        )
        self._last_pool = X[rng.permutation(len(X))[:size]]
        parents = np.concatenate([front, X])
        relatives = mutate(space, parents[rng.integers(0, len(parents), 4 * size)], rng)
        drawn = [space.sample_even(rng, size), space.sample(rng, size)]
        return np.unique(np.concatenate([X, relatives, *drawn]), axis=0)

    def _minimised(self, values: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Objectives to minimise (n, m), and by how much limits are broken, relative to them, (n,)."""
        points = columns_to_minimise(values, self._problem.objectives)
        broken = np.zeros(len(points))
        for limit in self._problem.constraints:
            broken += np.maximum(limit.violation(values[limit.column]), 0) / max(abs(limit.limit), 1e-9)
        return points, broken

    def _front_results(self) -> list[Result]:
        """Measured candidates that keep the limits and that none of these dominates."""
        measured = self._measured()
        kept = [r for r in measured if all(c.met(r.values or {}) for c in self._problem.constraints)]
        if not kept:
            return []
        points = to_minimise([r.values for r in kept if r.values], self._problem.objectives)
        return [r for r, good in zip(kept, is_nondominated(points), strict=True) if good]

    def _choose(self, models: dict[str, Model], pool: np.ndarray, count: int) -> list[int]:
        """Rows of the pool, each the best under functions of its own."""
        features, costs = self._features(pool), self._problem.costs(pool)
        means = {c: models[c].predict(features)[0] for c in self._columns}
        expected, _ = self._minimised({**costs, **means})
        front_results = self._front_results()
        front = to_minimise([r.values for r in front_results if r.values], self._problem.objectives)
        front = front.reshape(-1, len(self._problem.objectives))
        chosen: list[int] = []
        for number in range(min(count, len(pool))):
            values = means
            if number >= count - self._settings.explore:
                values = {c: models[c].sample(features, self._rng) for c in self._columns}
            points, broken = self._minimised({**costs, **values})
            gains = hypervolume_gains(points, front)
            gains = np.where(broken > 0, -broken, gains)
            gains[chosen] = -np.inf
            if gains.max() == 0:  # under these functions the front is complete: of all, the one closest to it
                closeness = np.where(np.isfinite(gains), distance(points, front), -np.inf)
                gains = np.where(broken > 0, -np.inf, closeness)
            best = int(np.argmax(gains))
            chosen.append(best)
            if not self._settings.diverse:
                continue
            front = np.concatenate([front, expected[best : best + 1]])
            front = front[is_nondominated(front)]
        return chosen

    # What was learnt

    def report(self) -> dict[str, Any]:
        """Per predicted column: the model, its scores, every prediction beside its measurement, and what matters."""
        measured = self._measured()
        if len(measured) < _FOLDS:
            return {}
        models = self._fit()
        left_out = self._held_out(self._features(np.array([r.genotype for r in measured])), measured)
        found: dict[str, Any] = {}
        for column in self._columns:
            targets = np.array([r.values[column] for r in measured if r.values])
            held_out = left_out[column]
            ahead = [
                (self._predictions[r.genotype][column], float(t))
                for r, t in zip(measured, targets, strict=True)
                if r.genotype in self._predictions
            ]
            relative = (held_out - targets) / np.maximum(np.abs(targets), 1e-12)
            spread = float(np.sqrt(np.mean(relative**2)))
            found[column] = predictor_record(models[column].name, len(measured), spread, targets, held_out, ahead) | {
                "genes": self._importance(models[column])
            }
        return found

    def _held_out(self, features: np.ndarray, measured: Sequence[Result]) -> dict[str, np.ndarray]:
        """Predictions (n,) by column of each measured candidate by models that were fitted without it."""
        held_out = {column: np.zeros(len(measured)) for column in self._columns}
        for train, test in KFold(_FOLDS, shuffle=True, random_state=0).split(features):
            models = self._fit_on(features[train], [measured[i] for i in train])
            for column, predictions in held_out.items():
                predictions[test] = models[column].predict_mean(features[test])
        return held_out

    def _importance(self, model: Model) -> dict[str, float]:
        """By knob, how far its choices move the prediction on average, relative to the mean prediction.

        A Gaussian process has no importance of its own: each knob is set to all of its choices in turn, in networks
        that are drawn at random and are the same for all knobs.
        """
        space = self._problem.space
        drawn = space.sample(np.random.default_rng(0), _IMPORTANCE_SAMPLES)
        level = float(np.abs(model.predict(self._features(drawn))[0]).mean()) or 1.0
        found = {}
        for i, knob in enumerate(space.knobs):
            if len(knob.choices) < 2:
                continue
            means = []
            for choice in range(len(knob.choices)):
                changed = drawn.copy()
                changed[:, i] = choice
                changed = space.canonical_array(changed)
                means.append(float(model.predict_mean(self._features(changed)).mean()))
            found[knob.name] = (max(means) - min(means)) / level
        return found
