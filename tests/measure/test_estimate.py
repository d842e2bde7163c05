from __future__ import annotations

import numpy as np
import pytest

from qnas_ov.measure import estimate_median


@pytest.mark.parametrize(
    ("count", "low", "high", "coverage"),
    [
        (1, 0, 0, 0.0),
        (2, 0, 1, 0.5),
        (3, 0, 2, 0.75),
        (5, 0, 4, 0.9375),
        (6, 0, 5, 0.96875),
        (9, 1, 7, 0.9609375),
        (15, 3, 11, 0.96484375),  # ranks 4 and 12 of 15, as in the tables of the sign test
    ],
)
def test_the_interval_is_that_of_the_sign_test(count: int, low: int, high: int, coverage: float) -> None:
    found = estimate_median([10.0 + i for i in range(count)])
    assert (found.low, found.high) == (10.0 + low, 10.0 + high)
    assert found.coverage == pytest.approx(coverage)
    assert found.value == 10.0 + (count - 1) / 2


def test_the_interval_covers_as_it_says(rng: np.random.Generator) -> None:
    """Of a skewed distribution, as latencies have; the true median of exp(normal) is 1."""
    samples = np.exp(0.3 * rng.standard_normal((2000, 7)))
    found = [estimate_median(row.tolist()) for row in samples]
    share = np.mean([e.low <= 1.0 <= e.high for e in found])
    assert share == pytest.approx(found[0].coverage, abs=0.015)


def test_outliers_are_told_and_change_the_median_little() -> None:
    found = estimate_median([1.0, 1.01, 0.99, 1.02, 3.0])
    assert found.outliers == (3.0,)
    assert found.value == pytest.approx(1.01)
    assert estimate_median([1.0, 1.0, 1.0, 1.04]).outliers == (), "4% is within the noise of any machine"
    assert estimate_median([1.0, 3.0]).outliers == (), "of two, neither is out of line"


def test_coarse_digits_widen_the_interval() -> None:
    found = estimate_median([1.23, 1.23, 1.23], resolution=0.005)
    assert (found.low, found.high) == (pytest.approx(1.225), pytest.approx(1.235))
    assert found.precision == pytest.approx(0.005 / 1.23)
    assert found.scaled(2.0).high == pytest.approx(2.47)
