"""Which candidates to measure next, so that a linear model learns most from them."""

from __future__ import annotations

import numpy as np


def choose_informative(pool: np.ndarray, known: np.ndarray, count: int, *, penalty: float = 1e-3) -> list[int]:
    """Chooses rows greedily so that the determinant of the information matrix grows most (D-optimal design).

    That is the row of which a ridge regression is least certain, given the known rows and those chosen before; no
    measured value is needed. Source: V. Fedorov, Theory of Optimal Experiments (1972), section 3; for ridge regression
    with sequential choice D. MacKay, Information-Based Objective Functions for Active Data Selection (1992).

    Args:
        pool: Features (m, num_features) to choose from.
        known: Features (n, num_features) of what was measured already; n may be 0.
        count: How many to choose, at most m.
        penalty: Ridge penalty on columns scaled to at most 1.

    Returns:
        Indices of rows of the pool, the most informative first.
    """
    scale = np.maximum(np.abs(pool).max(axis=0, initial=0.0), np.abs(known).max(axis=0, initial=0.0))
    rows, seen = pool / np.maximum(scale, 1e-12), known / np.maximum(scale, 1e-12)
    inverse = np.linalg.inv(seen.T @ seen + penalty * np.eye(pool.shape[1]))
    gains = np.einsum("ij,jk,ik->i", rows, inverse, rows)
    chosen: list[int] = []
    for _ in range(min(count, len(pool))):
        best = int(np.argmax(gains))
        chosen.append(best)
        direction = inverse @ rows[best]
        inverse = inverse - np.outer(direction, direction) / (1.0 + gains[best])
        gains = gains - (rows @ direction) ** 2 / (1.0 + gains[best])
        gains[chosen] = -np.inf
    return chosen
