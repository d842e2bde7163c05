from __future__ import annotations

import numpy as np
import pytest

from qnas_ov.core.records import resolve_objectives
from qnas_ov.pareto import (
    hypervolume,
    hypervolume_gains,
    is_nondominated,
    is_nondominated_beyond_noise,
    spread_subset,
    to_minimise,
)


def test_front_of_a_known_set() -> None:
    points = np.array([[1.0, 4.0], [2.0, 2.0], [3.0, 3.0], [4.0, 1.0], [2.0, 2.0]])
    assert is_nondominated(points).tolist() == [True, True, False, True, False]
    assert hypervolume(points, np.array([5.0, 5.0])) == pytest.approx(4 + 6 + 1)


def test_nan_is_refused_at_the_door() -> None:
    with pytest.raises(ValueError, match="finite"):
        is_nondominated(np.array([[1.0, np.nan], [2.0, 2.0]]))


def test_the_sign_is_flipped_once() -> None:
    objectives = resolve_objectives(("accuracy", "latency"), metric="top1")
    points = to_minimise([{"top1": 0.9, "latency_ms": 2.0}], objectives)
    assert points.tolist() == [[-0.9, 2.0]]


NOISE = np.array([0.05, 0.0])  # of latency; size is exact


def test_differences_within_the_noise_are_ties() -> None:
    # The second is faster within the noise but larger; the third is really faster.
    points = np.array([[1.00, 10.0], [0.98, 20.0], [0.50, 20.0]])
    assert is_nondominated(points).tolist() == [True, False, True]
    assert is_nondominated_beyond_noise(points[:2], NOISE).tolist() == [True, False]
    assert is_nondominated_beyond_noise(points, NOISE).tolist() == [True, False, True]


def test_of_two_equal_networks_the_faster_stays() -> None:
    points = np.array([[1.00, 10.0], [0.99, 10.0]])
    assert is_nondominated_beyond_noise(points, NOISE).tolist() == [False, True]


def test_ties_do_not_chain_from_the_fastest_to_the_slowest() -> None:
    points = np.array([[1.00, 30.0], [1.04, 20.0], [1.08, 10.0]])
    assert is_nondominated_beyond_noise(points, NOISE).tolist() == [True, False, True]


def test_without_noise_nothing_but_dominance_counts(rng: np.random.Generator) -> None:
    points = rng.integers(0, 6, size=(40, 2)).astype(float)
    assert (is_nondominated_beyond_noise(points, np.zeros(2)) == is_nondominated(points)).all()


def test_something_always_stays(rng: np.random.Generator) -> None:
    for _ in range(50):
        points = rng.integers(1, 4, size=(12, 3)).astype(float)
        assert is_nondominated_beyond_noise(points, np.array([0.5, 0.0, 0.3])).any()
        assert is_nondominated_beyond_noise(points, np.full(3, 0.5)).any()


def test_a_spread_subset_keeps_the_extremes() -> None:
    x = np.linspace(0, 1, 41)
    points = np.column_stack([x, (1 - x) ** 2])
    chosen = spread_subset(points, 5)
    assert len(chosen) == 5
    assert {0, 40} <= set(chosen)
    assert np.diff(x[chosen]).max() < 0.6


def test_gains_are_what_a_point_adds_to_the_volume() -> None:
    front = np.array([[0.0, 10.0], [1.0, 0.0]])
    points = np.array([[0.5, 5.0], [2.0, 5.0], [0.0, 10.0], [-1.0, 12.0], [0.5, 20.0]])
    gains = hypervolume_gains(points, front)
    # In units of the front's ranges, with the reference a tenth of a range beyond its worst values.
    assert gains[0] == pytest.approx(0.6 * 0.6 - 2 * 0.1 * 0.6 + 0.1 * 0.1)
    assert gains[[1, 2, 3, 4]].tolist() == [0, 0, 0, 0]
    assert hypervolume_gains(points, np.zeros((0, 2))).tolist() == [1] * 5


def test_gains_of_one_objective_are_improvements() -> None:
    gains = hypervolume_gains(np.array([[1.0], [3.0]]), np.array([[2.0]]))
    assert gains[0] > 0 == gains[1]
