"""Gaussian processes: what they learn, how sure they are, and that shortcuts give what the long way gives."""

from __future__ import annotations

import numpy as np
import pytest

from qnas_ov.predict import FeatureGroup, GaussianProcess, UnitDamage, UnitWork
from qnas_ov.predict._gaussian import _condensed
from qnas_ov.space import Activation, Knob, KnobKind, Space

JOINT = [
    FeatureGroup("first", (0,)),
    FeatureGroup("pair", (1, 2)),
    FeatureGroup("noise a", (3,)),
    FeatureGroup("noise b", (4,)),
]
GROUPS = [FeatureGroup("effects", (0, 1, 2)), FeatureGroup("curve", (3,), radial=True)]


def samples(count: int, seed: int, noise: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4))
    y = 5 + 2 * x[:, 0] - x[:, 1] + np.sin(2 * x[:, 3]) + noise * rng.normal(size=count)
    return x, y


def test_it_learns_effects_that_add_up_and_a_curve() -> None:
    process = GaussianProcess(GROUPS).fit(*samples(60, 0))
    x, y = samples(200, 1)
    mean, error = process.predict(x)
    assert np.corrcoef(mean, y)[0, 1] > 0.98
    weights = dict(zip(process.names, process.log_weights, strict=True))
    assert weights["effects linear"] > weights["noise"]
    assert weights["curve radial"] > weights["noise"]
    inside = np.abs(y - mean) <= 2 * np.sqrt(error**2 + 0.01**2) + 1e-9
    assert inside.mean() > 0.8


def test_it_is_less_sure_far_from_all_samples() -> None:
    x, y = samples(40, 0)
    process = GaussianProcess(GROUPS).fit(x, y)
    near, far = process.predict(x)[1], process.predict(x + 5)[1]
    assert far.min() > near.max()


@pytest.mark.parametrize("joint", [(), (FeatureGroup("a", (0, 1)), FeatureGroup("b", (2,)))], ids=["apart", "joint"])
@pytest.mark.parametrize("count", [1, 5], ids=["one target", "five targets"])
def test_the_gradient_is_that_of_the_cost(joint: tuple[FeatureGroup, ...], count: int) -> None:
    x, y = samples(20, 0, noise=0.3)
    many = np.column_stack([np.roll(y, i) for i in range(count)])
    process = GaussianProcess(GROUPS, joint=joint).fit(x, many)
    rows = process._rows
    known = process._grams(rows, rows), process._distances(rows, rows), *_condensed((many - y.mean()) / y.std())
    theta = np.array([-1.0, -0.5, -2.0, -1.5, -0.7, -1.2, 0.4][: len(process.names)])
    _, gradient = process._cost(theta, *known)
    for i in range(len(theta)):
        step = np.eye(len(theta))[i] * 1e-5
        slope = (process._cost(theta + step, *known)[0] - process._cost(theta - step, *known)[0]) / 2e-5
        assert slope == pytest.approx(gradient[i], rel=1e-4, abs=1e-6)


def test_it_learns_which_groups_matter_together() -> None:
    """A product of two columns is no sum of effects, and of four groups two are noise."""
    rng = np.random.default_rng(0)
    x, unseen = rng.integers(0, 4, (80, 5)) / 3.0, rng.integers(0, 4, (200, 5)) / 3.0

    def truth(rows: np.ndarray) -> np.ndarray:
        return np.asarray(np.sin(3 * rows[:, 0]) * (rows[:, 1] + rows[:, 2]))

    process = GaussianProcess([FeatureGroup("effects", (0, 1, 2, 3, 4))], joint=JOINT).fit(x, truth(x))
    plain = GaussianProcess([FeatureGroup("effects", (0, 1, 2, 3, 4))]).fit(x, truth(x))
    missed, missed_by_plain = (np.abs(p.predict_mean(unseen) - truth(unseen)).mean() for p in (process, plain))
    assert missed < 0.5 * missed_by_plain
    found = dict(zip(process.names, process.log_weights, strict=True))
    assert found["first relevance"] > found["noise a relevance"] + 1
    assert found["pair relevance"] > found["noise b relevance"] + 1


def test_leaving_one_out_is_what_fitting_without_it_gives() -> None:
    x, y = samples(15, 0, noise=0.2)
    process = GaussianProcess(GROUPS).fit(x, y)
    weights = np.exp(process.log_weights)
    covariance = np.tensordot(weights[:-1], process._grams(process._rows, process._rows), 1)
    covariance += (weights[-1] + 1e-8) * np.eye(len(y))
    scaled = (y - y.mean()) / y.std()
    for i, found in enumerate(process.leave_one_out()[0]):
        others = np.arange(len(y)) != i
        solved = np.linalg.solve(covariance[np.ix_(others, others)], scaled[others])
        assert found == pytest.approx(y.mean() + y.std() * float(covariance[i, others] @ solved), rel=1e-6)


@pytest.mark.parametrize("joint", [(), (FeatureGroup("a", (0, 1)), FeatureGroup("b", (2,)))], ids=["apart", "joint"])
def test_drawn_functions_are_distributed_as_predicted(joint: tuple[FeatureGroup, ...]) -> None:
    process = GaussianProcess(GROUPS, joint=joint).fit(*samples(20, 0, noise=0.2))
    x, _ = samples(6, 1)
    mean, error = process.predict(x)
    rng = np.random.default_rng(0)
    drawn = np.array([process.sample(x, rng) for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=5 * error.max() / np.sqrt(4000))
    np.testing.assert_allclose(drawn.std(axis=0), error, rtol=0.1, atol=5e-3)


def test_damage_adds_up_over_active_units_in_int8() -> None:
    space = Space(
        [
            Knob("depth", KnobKind.DEPTH, (1, 2)),
            Knob("a", KnobKind.PRECISION, ("int8", "float")),
            Knob("b", KnobKind.PRECISION, ("int8", "float"), Activation("depth", 2)),
            Knob("hint", KnobKind.INFERENCE_PRECISION, ("bf16", "f32")),
        ]
    )
    units = [UnitWork("first", "a", 1.0, 1.0), UnitWork("second", "b", 1.0, 1.0)]
    damage = UnitDamage(space, units, [{"first": 3.0, "second": 4.0}, {"first": 0.3, "second": 0.4}])
    genotypes = space.canonical_array(np.array([[1, 0, 0, 0], [1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]]))
    np.testing.assert_allclose(damage(genotypes), [[5, 7], [0.5, 0.7], [4, 4], [3, 3], [0, 0]])
