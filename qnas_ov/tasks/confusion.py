"""F1 and Matthews' correlation on many draws of samples at once.

scikit-learn's functions take about a millisecond a call however few samples there are, and a bootstrap calls a thousand
times. These count which class was taken for which, and give the same numbers some hundred times faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class _Counts:
    """Per draw and class, (draws, classes): samples of it that were found, that were taken for it, and of it."""

    found: np.ndarray
    taken: np.ndarray
    real: np.ndarray
    classes: np.ndarray


def f1_on_draws(outputs: np.ndarray, labels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """F1 of class 1 among two.

    Args:
        outputs: (n, 2).
        labels: (n,).
        draws: Indices of samples, (draws, n).

    Returns:
        Float array (draws,).
    """
    counts = _count(outputs, labels, draws)
    of_one = counts.classes == 1
    return _f1_by_class(counts)[:, of_one].sum(axis=1)


def f1_macro_on_draws(outputs: np.ndarray, labels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Mean of F1 over the classes that occur or are given in a draw; as `f1_on_draws`."""
    counts = _count(outputs, labels, draws)
    present = (counts.taken + counts.real > 0).sum(axis=1)
    return np.asarray(_f1_by_class(counts).sum(axis=1) / present)


def matthews_on_draws(outputs: np.ndarray, labels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Matthews' correlation, 0 where only one class occurs or is given; as `f1_on_draws`.

    Source: J. Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient (2004).
    """
    counts, total = _count(outputs, labels, draws), draws.shape[1]
    covariance = counts.found.sum(axis=1) * total - (counts.taken * counts.real).sum(axis=1)
    taken, real = (total**2 - (n**2).sum(axis=1) for n in (counts.taken, counts.real))
    norm = np.sqrt(taken * real)
    return np.asarray(np.divide(covariance, norm, out=np.zeros(len(draws)), where=norm > 0))


def _f1_by_class(counts: _Counts) -> np.ndarray:
    total = counts.taken + counts.real
    return np.asarray(np.divide(2 * counts.found, total, out=np.zeros(total.shape), where=total > 0))


def _count(outputs: np.ndarray, labels: np.ndarray, draws: np.ndarray) -> _Counts:
    pairs = np.stack([labels, outputs.argmax(axis=-1)], axis=1)
    cells, cell = np.unique(pairs, axis=0, return_inverse=True)  # what was taken for what
    offsets = np.arange(len(draws))[:, None] * len(cells)
    per_cell = np.bincount((cell.reshape(-1)[draws] + offsets).ravel(), minlength=len(draws) * len(cells))
    numbers = per_cell.reshape(len(draws), len(cells)).astype(np.float64)
    classes = np.unique(cells)
    real, taken = (cells[:, i, None] == classes for i in (0, 1))
    return _Counts(numbers @ (real & taken), numbers @ taken, numbers @ real, classes)
