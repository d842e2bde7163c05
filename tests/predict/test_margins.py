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


def test_networks_judged_on_their_first_samples_tell_of_these() -> None:
    (x, known), (unseen, margins) = networks(40, 0), networks(200, 7)
    partly = [m if i < 8 else m[: SAMPLES // 2] for i, m in enumerate(known)]
    few, more = MarginSurrogate(GROUPS).fit(x[:8], partly[:8]), MarginSurrogate(GROUPS).fit(x, partly)
    missed_by_few, missed = (np.abs(m.predict_mean(unseen) - shares(margins)).mean() for m in (few, more))
    assert missed < 0.8 * missed_by_few


def test_what_is_filled_in_for_unknown_margins_moves_no_prediction_of_theirs() -> None:
    x, known = networks(12, 0)
    unseen, _ = networks(30, 7)
    process = GaussianProcess(GROUPS).fit(x[:8], known[:8])
    expected = process.predict_mean(unseen)
    filled = np.vstack([known[:8], process.predict_mean(x[8:])])
    again = GaussianProcess(GROUPS).fit(x, filled, start=process.log_weights)
    np.testing.assert_allclose(again.predict_mean(unseen), expected, atol=0.1 * expected.std())


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
