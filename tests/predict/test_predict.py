from __future__ import annotations

import numpy as np
import pytest

from qnas_ov.ir import CandidateBuilder
from qnas_ov.predict import FeatureMap, fit_predictor, predict_left_out, score


def test_scores_of_known_vectors() -> None:
    s = score(np.array([1.0, 2.0, 4.0]), np.array([1.1, 1.8, 4.0]))
    assert s.kendall_tau == pytest.approx(1.0)
    assert s.mape == pytest.approx((0.1 + 0.1 + 0.0) / 3)
    assert score(np.ones(5), np.arange(5.0)).kendall_tau == 0.0
    nearly_nothing = score(np.array([1e-9, 1.0, 2.0]), np.array([0.01, 1.1, 2.0]))
    assert nearly_nothing.mape == pytest.approx(0.05), "what is nearly nothing has no share"


def test_a_cost_driven_target_is_learnt_and_noise_is_not(tiny_builder: CandidateBuilder, rng) -> None:
    genotypes = tiny_builder.space.sample(rng, 60)
    features = FeatureMap(tiny_builder.space, tiny_builder.compute_costs)(genotypes)
    costs = tiny_builder.compute_costs(genotypes)
    latency = 0.1 + 2e-7 * costs["macs"] + 3e-7 * (costs["macs"] - costs["macs_int8"])
    learnt = score(latency, predict_left_out(features, latency, seed=0))
    assert learnt.kendall_tau > 0.9
    assert learnt.mape < 0.05
    new = tiny_builder.space.sample(rng, 60)
    fitted = fit_predictor(features, latency, seed=0)
    costs = tiny_builder.compute_costs(new)
    truth = 0.1 + 2e-7 * costs["macs"] + 3e-7 * (costs["macs"] - costs["macs_int8"])
    predicted = fitted.predict(FeatureMap(tiny_builder.space, tiny_builder.compute_costs)(new))
    assert score(truth, predicted).kendall_tau > 0.9
    # Scores are of unseen samples: pure noise must not look predictable.
    noise = rng.random(60)
    assert abs(score(noise, predict_left_out(features, noise, seed=0)).kendall_tau) < 0.4


def test_kinds_that_are_nearly_as_good_are_averaged_and_bad_ones_are_not(rng: np.random.Generator) -> None:
    x = rng.random((80, 4))
    y = (3.0 + x @ np.array([1.0, 2.0, 0.5, 0.0])) * np.exp(0.05 * rng.standard_normal(80))
    alone = {k: fit_predictor(x, y, seed=0, kinds=[k], combine=False) for k in ("ridge", "svr", "gradient_boosting")}
    best = fit_predictor(x, y, seed=0, combine=False)
    assert best.name in alone
    np.testing.assert_array_equal(best.predict(x), alone[best.name].predict(x))
    combined = fit_predictor(x, y, seed=0)
    assert combined.name.split(" + ")[0] == best.name
    assert len(combined.name.split(" + ")) > 1
    each = np.array([a.predict(x) for a in alone.values()])
    assert (combined.predict(x) >= each.min(axis=0)).all()
    assert (combined.predict(x) <= each.max(axis=0)).all()
    exact = fit_predictor(x, 3.0 + x @ np.array([1.0, 2.0, 0.5, 0.0]), seed=0)
    assert exact.name == "ridge", "trees and support vectors err many times as much"


def test_features_change_with_every_active_gene(tiny_builder: CandidateBuilder, rng) -> None:
    space = tiny_builder.space
    features = FeatureMap(space, tiny_builder.compute_costs)
    base = space.canonical_array(np.array([space.num_choices - 1]))
    for column in range(len(space)):
        other = base.copy()
        other[0, column] = 0
        assert not np.array_equal(features(space.canonical_array(other)), features(base)), space.knobs[column].name


def test_the_summary_lets_few_samples_suffice(tiny_builder: CandidateBuilder, rng) -> None:
    features = FeatureMap(tiny_builder.space, tiny_builder.compute_costs)
    genotypes = tiny_builder.space.sample(rng, 40)
    costs = tiny_builder.compute_costs(genotypes)
    truth = 0.1 + 2e-7 * costs["macs"] + 3e-7 * (costs["macs"] - costs["macs_int8"])
    noisy = truth * np.exp(0.05 * rng.standard_normal(40))
    x = features(genotypes)
    genes_only = score(truth, predict_left_out(x[:, features.layout.num_summary :], noisy, seed=0))
    with_summary = score(truth, predict_left_out(x, noisy, seed=0, layout=features.layout))
    assert with_summary.kendall_tau > max(0.9, genes_only.kendall_tau)
