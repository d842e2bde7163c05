"""How candidates compare before one is chosen: layers of fronts, and distances to the front."""

from __future__ import annotations

import numpy as np

from qnas_ov.pareto import is_nondominated


def layers(points: np.ndarray, broken: np.ndarray, wanted: int) -> np.ndarray:
    """The number of the front that each point is on (n,), those that break limits last; `wanted` ones suffice."""
    layer = np.full(len(points), np.inf)
    left = np.flatnonzero(broken == 0)
    number, found = 0, 0
    while len(left) and found < wanted:
        good = left[is_nondominated(points[left])]
        layer[good] = number
        number, found = number + 1, found + len(good)
        left = np.setdiff1d(left, good)
    outside = np.flatnonzero(broken > 0)
    layer[outside] = 1e6 + broken[outside]
    return layer


def distance(points: np.ndarray, front: np.ndarray) -> np.ndarray:
    """How far points (n, m) are from widening a front, in units of its ranges, negated: (n,); 0 is on it."""
    if not len(front):
        return np.zeros(len(points))
    low, high = front.min(axis=0), front.max(axis=0)
    scale = np.where(high > low, high - low, 1.0)
    over = (points[:, None, :] - front[None]) / scale
    return -np.asarray(np.maximum(over.min(axis=2), 0.0).max(axis=1))
