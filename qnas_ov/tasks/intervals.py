"""Intervals and paired tests of what metrics give: exact ones for means of scores, the bootstrap for all others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import binomtest, wilcoxon
from scipy.stats import t as student

from qnas_ov.core.records import Interval

RESAMPLES = 1000
_BLOCK = 100  # draws at once


def mean_interval(scores: np.ndarray, *, binary: bool) -> Interval:
    """Mean of per-sample scores (n,) with its 95% confidence interval: Wilson's for 0-or-1 scores, else Student's t."""
    count, mean = len(scores), float(np.mean(scores))
    if binary:
        return wilson_interval(float(np.sum(scores)), count)
    if count < 2:
        return Interval(mean, mean, mean)
    half = float(student.ppf(0.975, count - 1) * np.std(scores, ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)


def wilson_interval(correct: float, count: int) -> Interval:
    """Share of successes with its 95% Wilson score interval.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    z = 1.959963984540054
    share = correct / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Interval(share, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def paired_p_value(first: np.ndarray, second: np.ndarray, *, binary: bool) -> float:
    """Two-sided paired test of two networks' scores (n,) on the same samples.

    McNemar's exact test for right-or-wrong scores, Wilcoxon's signed-rank test for others. Sources: Q. McNemar, Note on
    the sampling error of the difference between correlated proportions (1947); F. Wilcoxon, Individual comparisons by
    ranking methods (1945).
    """
    better, worse = int((first > second).sum()), int((first < second).sum())
    if better + worse == 0:
        return 1.0
    if binary:
        return float(binomtest(better, better + worse).pvalue)
    return float(wilcoxon(first, second).pvalue)


def bootstrap(statistic: Callable[[np.ndarray], np.ndarray], count: int) -> np.ndarray:
    """A statistic on samples drawn anew, with replacement: float array (RESAMPLES,).

    What is drawn depends on `count` alone, so that the values of two networks at one position belong together. Source:
    B. Efron, Bootstrap methods: another look at the jackknife (1979).

    Args:
        statistic: Maps the indices of samples (draws, count) to a number for each draw, (draws,).
        count: How many samples there are.
    """
    rng = np.random.default_rng(0)
    return np.concatenate([statistic(rng.integers(0, count, (_BLOCK, count))) for _ in range(RESAMPLES // _BLOCK)])


def bootstrap_interval(value: float, replicates: np.ndarray) -> Interval:
    """A value with the 95% interval of its bootstrap replicates (n,), by their percentiles; it holds the value."""
    low, high = np.percentile(replicates, [2.5, 97.5])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def bootstrap_p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided paired test of two networks by their bootstrap replicates (n,) on the same draws.

    Twice the share of draws in which the worse one is at least as good; 1 where no draw tells them apart. Source: B.
    Efron and R. J. Tibshirani, An introduction to the bootstrap (1993), 16.
    """
    difference = first - second
    if not difference.any():
        return 1.0
    count = len(difference)
    tails = ((difference <= 0).sum() + 1) / (count + 1), ((difference >= 0).sum() + 1) / (count + 1)
    return float(min(1.0, 2 * min(tails)))
