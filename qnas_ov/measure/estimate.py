"""The median of repeated measurements, its interval, and the measurements that fall out of line."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.stats import binom

COVERAGE = 0.95
_OUTLYING = 3.5
_AT_LEAST = 0.05


@dataclass(frozen=True)
class Estimate:
    """The median of independent measurements.

    Attributes:
        value: The median.
        low: Lower end of its interval.
        high: Upper end.
        coverage: How probable it is that the interval holds the median that endless measuring would give. 95% or more
            from six measurements on; with three the interval is their range, which holds it in 75% of cases.
        count: Measurements.
        outliers: Those that fall out of line; they count like the others, since a median bears them.
    """

    value: float
    low: float
    high: float
    coverage: float
    count: int
    outliers: tuple[float, ...]

    @property
    def precision(self) -> float:
        """Half the width of the interval, relative to the median."""
        return (self.high - self.low) / 2.0 / self.value

    def to_json(self) -> dict[str, Any]:
        """The estimate as JSON."""
        return asdict(self)

    def scaled(self, factor: float) -> Estimate:
        """The estimate in another unit."""
        return Estimate(
            self.value * factor, self.low * factor, self.high * factor, self.coverage, self.count,
            tuple(o * factor for o in self.outliers),
        )  # fmt: skip


def estimate_median(values: Sequence[float], *, resolution: float = 0.0) -> Estimate:
    """The median with its interval by order statistics, which assumes nothing of the distribution.

    The interval between the k-th smallest and the k-th largest of n values holds the median unless fewer than k fall on
    one side of it, a binomial probability; k is the largest for which the coverage is at least 95%, or 1. Sources:
    H. A. David, H. N. Nagaraja, Order Statistics (2003), section 7.1; recommended for latencies, which are not normal,
    by T. Hoefler, R. Belli, Scientific Benchmarking of Parallel Computing Systems (SC 2015), rule 5. Outliers lie
    farther from the median than 3.5 scaled median absolute deviations and than 5% (B. Iglewicz, D. Hoaglin, How to
    Detect and Handle Outliers, 1993).

    Args:
        values: Positive measurements, at least one.
        resolution: Half the last digit of the values: the interval is widened by it.
    """
    ordered = sorted(values)
    count, middle = len(ordered), statistics.median(ordered)
    rank = max(1, int(binom.ppf((1.0 - COVERAGE) / 2.0, count, 0.5)))
    deviation = 1.4826 * statistics.median(abs(v - middle) for v in ordered)
    far = max(_OUTLYING * deviation, _AT_LEAST * abs(middle))
    return Estimate(
        value=middle,
        low=ordered[rank - 1] - resolution,
        high=ordered[count - rank] + resolution,
        coverage=_coverage(rank, count),
        count=count,
        outliers=tuple(v for v in values if count >= 3 and abs(v - middle) > far),
    )


def _coverage(rank: int, count: int) -> float:
    """Probability that the median lies between the `rank`-th smallest and the `rank`-th largest of `count` values."""
    return float(1.0 - 2.0 * binom.cdf(rank - 1, count, 0.5))
