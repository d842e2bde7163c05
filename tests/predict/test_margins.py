"""Accuracy predicted from the margins of answers, on networks whose margins are known."""

from __future__ import annotations

import numpy as np
import pytest

from qnas_ov.predict import FeatureGroup, GaussianProcess, MarginSurrogate, Surrogate

GENES, SAMPLES = 8, 120
GROUPS = [FeatureGroup("genes", tuple(range(GENES)))]


def networks(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Genes (count, GENES) of 0 and 1, and margins (count, SAMPLES): effects add up, and samples differ in hardness."""
    truth = np.random.default_rng(99)
    hardness, effects = truth.normal(0.7, 0.6, SAMPLES), truth.normal(0.0, 0.12, (GENES, SAMPLES)) + 0.05
    genes = np.random.default_rng(seed).integers(0, 2, (count, GENES)).astype(float)
    noise = np.random.default_rng(seed + 1).normal(0.0, 0.03, (count, SAMPLES))
    return genes, np.tanh(hardness - 0.4 + genes @ effects + noise)


def shares(margins: np.ndarray) -> np.ndarray:
    return np.asarray((margins > 0).mean(axis=1))


def test_it_predicts_accuracy_better_than_accuracies_do() -> None:
    (x, known), (unseen, margins) = networks(20, 0), networks(200, 7)
    model = MarginSurrogate(GROUPS).fit(x, list(known))
    plain = Surrogate(GROUPS, prior=False, helper=None).fit(x, shares(known))
    missed, missed_by_plain = (np.abs(m.predict_mean(unseen) - shares(margins)).mean() for m in (model, plain))
    assert missed < 0.7 * missed_by_plain
    assert np.abs(model.leave_one_out() - shares(known)).mean() < 2 * missed


def test_bad_networks_that_were_judged_on_the_first_samples_only_are_known_to_be_bad() -> None:
    """As a race leaves them: those that few samples tell to be bad are not judged on the others."""
    (x, known), (unseen, margins) = networks(40, 0), networks(200, 7)
    order = np.argsort(-shares(known))
    x, known = x[order], known[order]
    partly = [m if i < 10 else m[: SAMPLES // 2] for i, m in enumerate(known)]
    model = MarginSurrogate(GROUPS).fit(x, partly)
    of_good_ones = MarginSurrogate(GROUPS).fit(x[:10], partly[:10])
    missed, missed_by_that = (np.abs(m.predict_mean(unseen) - shares(margins)).mean() for m in (model, of_good_ones))
    assert missed < 0.75 * missed_by_that
    assert np.corrcoef(model.leave_one_out(), shares(known))[0, 1] > 0.8
    drawn = model.sample(unseen, np.random.default_rng(0)) * SAMPLES
    np.testing.assert_allclose(drawn, np.rint(drawn), atol=1e-9)


def test_samples_that_hardly_any_network_was_judged_on_do_not_count() -> None:
    x, known = networks(40, 0)
    partly = [m if i < 2 else m[: SAMPLES // 2] for i, m in enumerate(known)]
    found = MarginSurrogate(GROUPS).fit(x, partly).predict_mean(x)
    expected = MarginSurrogate(GROUPS).fit(x, [m[: SAMPLES // 2] for m in known]).predict_mean(x)
    np.testing.assert_array_equal(found, expected)


def test_answers_that_are_clear_to_all_networks_count_as_they_are() -> None:
    x, _ = networks(10, 0)
    margins = np.tile([0.9, 0.9, 0.9, -0.8], (10, 1))
    mean, error = MarginSurrogate(GROUPS).fit(x, list(margins)).predict(x)
    np.testing.assert_allclose(mean, 0.75, atol=1e-6)
    assert error.max() < 1e-3


def test_drawn_functions_are_shares_about_what_is_predicted() -> None:
    (x, known), (unseen, _) = networks(15, 0), networks(6, 7)
    model = MarginSurrogate(GROUPS).fit(x, list(known))
    mean, error = model.predict(unseen)
    rng = np.random.default_rng(0)
    drawn = np.array([model.sample(unseen, rng) for _ in range(1000)])
    np.testing.assert_allclose(drawn * SAMPLES, np.rint(drawn * SAMPLES), atol=1e-9)
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=5 * error.max() / np.sqrt(1000))
    np.testing.assert_allclose(drawn.std(axis=0), error, rtol=0.2)


@pytest.mark.parametrize("joint", [(), (FeatureGroup("a", (0, 1)), FeatureGroup("b", (2, 3)))], ids=["apart", "joint"])
def test_targets_that_are_one_in_other_units_are_predicted_as_that_one(joint: tuple[FeatureGroup, ...]) -> None:
    (x, known), (unseen, _) = networks(20, 0), networks(10, 7)
    y = shares(known)
    alone = GaussianProcess(GROUPS, joint=joint).fit(x, y).predict_mean(unseen)
    together = GaussianProcess(GROUPS, joint=joint).fit(x, np.column_stack([y, 1 - 2 * y, 3 * y])).predict_mean(unseen)
    np.testing.assert_allclose(together, np.column_stack([alone, 1 - 2 * alone, 3 * alone]), rtol=1e-3)
