"""Units that are alike share what is learnt of them; a table sums; informative samples teach more than random ones."""

from __future__ import annotations

import numpy as np
import pytest

from qnas_ov.ir import CandidateBuilder
from qnas_ov.pipeline._table import unit_work
from qnas_ov.predict import (
    FeatureMap,
    LookUpTable,
    UnitTimes,
    UnitUse,
    choose_informative,
    fit_predictor,
    predict_left_out,
    score,
    table_genotypes,
)
from qnas_ov.space import KnobKind

RATES = {0: 1.0, 1: 4.0}  # ms per 10^6 MACs in INT8 and in float, of the first kind; others are slower


def true_times(builder: CandidateBuilder, genotypes: np.ndarray) -> np.ndarray:
    """A machine on which a unit takes 0.1 ms and its MACs at the rate of its kind and precision; bf16 halves float."""
    use = UnitUse(builder.space, unit_work(builder))
    work, count = use.amounts(genotypes)
    float_rate = np.where(use.hints(genotypes)[:, 0] > 0, 0.5, 1.0)[:, None]
    slower = 1.0 + 2.0 * np.arange(len(use.kinds))
    by_rate = 1e3 * (RATES[0] * work[:, :, 0] + float_rate * RATES[1] * work[:, :, 1])
    per_kind = 0.1 * count.sum(axis=2) + slower * by_rate
    return 0.5 + per_kind.sum(axis=1)


def unit_times(builder: CandidateBuilder, genotype: tuple[int, ...]) -> UnitTimes:
    space, units = builder.space, unit_work(builder)
    genes = np.array([genotype])
    use = UnitUse(space, units)
    factor = 0.5 if use.hints(genes)[0, 0] else 1.0
    times = {}
    for number, unit in enumerate(units):
        if space.active(genes)[0, space.index(unit.knob)]:
            chosen = genotype[space.index(unit.knob)]
            share = float(use.width_shares(number)[use.width_index(number, genes)[0]])
            slower = 1.0 + 2.0 * use.kinds.index(unit.kind)
            rate = slower * RATES[chosen] * (factor if chosen else 1.0)
            times[unit.name] = 0.1 + rate * unit.macs / 1e6 * share
    return UnitTimes(genotype, times, 0.0)


def test_the_work_of_units_is_that_of_the_graph(tiny_builder: CandidateBuilder, rng: np.random.Generator) -> None:
    genotypes = tiny_builder.space.sample(rng, 20)
    use = UnitUse(tiny_builder.space, unit_work(tiny_builder))
    work, count = use.amounts(genotypes)
    assert len(use.kinds) < len(tiny_builder.units), "layers of one shape are one kind"
    int8 = tiny_builder.compute_costs(genotypes)["macs_int8"]
    np.testing.assert_allclose(1e9 * work[:, :, 0].sum(axis=1), int8)
    for row, genotype in zip(count, genotypes, strict=True):
        policy = tiny_builder.candidate(genotype).policy
        assert row[:, 0].sum() == sum(p == "int8" for p in policy.values())
        assert row.sum() == len(policy)


def test_a_table_of_few_networks_gives_every_candidate(
    tiny_builder: CandidateBuilder, rng: np.random.Generator
) -> None:
    space = tiny_builder.space
    plan = table_genotypes(space)
    assert len(plan) == 4, "two precisions under two hints"
    table = LookUpTable(space, unit_work(tiny_builder), [unit_times(tiny_builder, g) for g in plan])
    genotypes = space.sample(rng, 50)
    np.testing.assert_allclose(table(genotypes), true_times(tiny_builder, genotypes) - 0.5, rtol=1e-6)


def test_every_width_stands_in_the_table(tiny_builder: CandidateBuilder) -> None:
    space = tiny_builder.space
    genotype = table_genotypes(space)[0]
    for sort in ("heads", "ffn"):
        columns = [i for i, k in enumerate(space.knobs) if k.kind is KnobKind.WIDTH and k.name.endswith(sort)]
        assert {genotype[i] for i in columns} == {0, 1, 2}


def test_what_is_no_unit_shrinks_with_depth(tiny_builder: CandidateBuilder) -> None:
    space = tiny_builder.space
    measured = [UnitTimes(g, {}, 10.0) for g in table_genotypes(space)]
    table = LookUpTable(space, unit_work(tiny_builder), measured)
    deep = space.canonical_array(np.array([space.num_choices - 1]))
    shallow = deep.copy()
    shallow[0, space.index("depth")] = 0
    assert table(deep)[0] == pytest.approx(10.0)
    assert 0 < table(space.canonical_array(shallow))[0] < 10.0


def test_pooled_units_need_fewer_samples_than_genes(tiny_builder: CandidateBuilder, rng: np.random.Generator) -> None:
    space, units = tiny_builder.space, unit_work(tiny_builder)
    genotypes, unseen = space.sample(rng, 60), space.sample(rng, 150)
    noisy = true_times(tiny_builder, genotypes) * np.exp(0.01 * rng.standard_normal(60))
    truth = true_times(tiny_builder, unseen)

    def found(features: FeatureMap) -> float:
        fitted = fit_predictor(features(genotypes), noisy, seed=0, layout=features.layout)
        return score(truth, fitted.predict(features(unseen))).mape

    pooled = found(FeatureMap(space, tiny_builder.compute_costs, units=units))
    assert pooled < found(FeatureMap(space, tiny_builder.compute_costs))
    assert pooled < 0.03


def test_a_prior_of_another_machine_saves_samples(tiny_builder: CandidateBuilder, rng: np.random.Generator) -> None:
    """Twice as slow in all, but INT8 relatively slower: eight samples and the prior, against eight samples alone."""
    space, units = tiny_builder.space, unit_work(tiny_builder)

    def slow(genotypes: np.ndarray) -> np.ndarray:
        work, _ = UnitUse(space, units).amounts(genotypes)
        return 2.0 * true_times(tiny_builder, genotypes) + 200.0 * work[:, :, 0].sum(axis=1)

    genotypes, unseen = space.sample(rng, 8), space.sample(rng, 150)
    results = {}
    for name, prior in (("prior", lambda g: true_times(tiny_builder, g)), ("alone", None)):
        features = FeatureMap(space, tiny_builder.compute_costs, units=units, prior=prior)
        fitted = fit_predictor(features(genotypes), slow(genotypes), seed=0, layout=features.layout)
        results[name] = score(slow(unseen), fitted.predict(features(unseen)))
    assert results["prior"].kendall_tau > max(0.95, results["alone"].kendall_tau)


def test_uncertainty_is_that_of_the_noise_and_grows_away_from_the_samples(rng: np.random.Generator) -> None:
    x = rng.random((60, 3))
    y = (5.0 + x @ np.array([1.0, 2.0, 3.0])) * np.exp(0.03 * rng.standard_normal(60))
    fitted = fit_predictor(x, y, seed=0)
    near = fitted.uncertainty(x) / fitted.predict(x)
    assert 0.02 < np.median(near) < 0.06
    noiseless = fit_predictor(x, 5.0 + x @ np.array([1.0, 2.0, 3.0]), seed=0)
    assert noiseless.spread < 0.2 * fitted.spread


def test_informative_samples_teach_more_than_random_ones(
    tiny_builder: CandidateBuilder, rng: np.random.Generator
) -> None:
    space = tiny_builder.space
    use = UnitUse(space, unit_work(tiny_builder))
    pool = np.unique(np.concatenate([space.sample(rng, 300), space.sample_even(rng, 100)]), axis=0)
    columns = use(pool)
    chosen = choose_informative(columns, columns[:0], 24)
    assert len(set(chosen)) == 24

    def uncertainty(rows: list[int]) -> float:
        scaled = columns / np.maximum(np.abs(columns).max(axis=0), 1e-12)
        inverse = np.linalg.inv(scaled[rows].T @ scaled[rows] + 1e-3 * np.eye(scaled.shape[1]))
        return float(np.einsum("ij,jk,ik->i", scaled, inverse, scaled).mean())

    random = np.mean([uncertainty(list(rng.choice(len(pool), 24, replace=False))) for _ in range(10)])
    assert uncertainty(chosen) < 0.8 * random
    # What is known already is not asked for again: the second half of the design continues the first.
    assert choose_informative(columns, columns[chosen[:12]], 12) == chosen[12:]


def test_pure_noise_does_not_look_predictable_with_a_prior(
    tiny_builder: CandidateBuilder, rng: np.random.Generator
) -> None:
    genotypes = tiny_builder.space.sample(rng, 50)
    features = FeatureMap(
        tiny_builder.space, tiny_builder.compute_costs, units=unit_work(tiny_builder), prior=lambda g: g[:, 0] + 1.0
    )
    noise = 1.0 + rng.random(50)
    left_out = predict_left_out(features(genotypes), noise, seed=0, layout=features.layout)
    assert abs(score(noise, left_out).kendall_tau) < 0.4


def test_conversions_count_by_what_is_converted(tiny_builder: CandidateBuilder) -> None:
    """One unit in floating point: what the unit before and it hand on is converted, under the hint that is chosen."""
    space, units = tiny_builder.space, unit_work(tiny_builder)
    elements = np.array([u.elements for u in units])
    assert elements.min() > 0
    assert len(set(elements)) > 1
    knobs = space.of_kind(KnobKind.PRECISION)
    (inference,) = space.of_kind(KnobKind.INFERENCE_PRECISION)
    rows = np.repeat(space.canonical_array(np.array([space.num_choices - 1])), len(knobs), axis=0)
    rows[:, knobs] = 0
    rows[np.arange(len(knobs)), knobs] = 1
    hints = int(space.num_choices[inference])
    for hint in range(hints):
        rows[:, inference] = hint
        features = FeatureMap(space, tiny_builder.compute_costs, units=units)
        found = features(rows)[:, features.layout.num_summary - hints : features.layout.num_summary]
        expected = np.append(elements[:-1], 0.0) + np.append(0.0, elements[:-1])
        np.testing.assert_allclose(found[:, hint], expected / elements.sum())
        assert not np.delete(found, hint, axis=1).any()
