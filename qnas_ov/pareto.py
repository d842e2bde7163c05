"""Pareto fronts and hypervolume, by moocore; the sign of an objective is flipped here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import moocore
import numpy as np

from qnas_ov.core.records import Objective


def to_minimise(values: Sequence[Mapping[str, float]], objectives: Sequence[Objective]) -> np.ndarray:
    """Objective values of records as an array to minimise: (n, num_objectives)."""
    columns = {o.column: np.array([float(v[o.column]) for v in values]) for o in objectives}
    return columns_to_minimise(columns, objectives)


def columns_to_minimise(columns: Mapping[str, np.ndarray], objectives: Sequence[Objective]) -> np.ndarray:
    """Objective columns, each (n,), as an array to minimise (n, num_objectives): maximised ones are negated."""
    signed = [-columns[o.column] if o.direction == "max" else columns[o.column] for o in objectives]
    return np.column_stack(signed).astype(np.float64)


def is_nondominated(points: np.ndarray) -> np.ndarray:
    """Which rows of an array to minimise no other row dominates; of equal rows the first counts: bool (n,).

    Raises:
        ValueError: If a value is NaN or infinite: one such row would hide real points.
    """
    if not np.isfinite(points).all():
        raise ValueError("objective values must be finite")
    if len(points) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(points, keep_weakly=False), dtype=bool)


def is_nondominated_beyond_noise(points: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Which rows stay when differences within the noise of a measurement count as ties.

    A row falls if one that stays is no worse in every column without noise, slower by no more than the noise in the
    others, and better in a column without noise (or equal there and better in the noisy ones).

    Args:
        points: Values to minimise, (n, m).
        noise: For every column the relative difference that still is a tie, (m,); 0 where values are exact.

    Returns:
        Bool array (n,); a subset of `is_nondominated`.
    """
    keep = is_nondominated(points)
    noisy = noise > 0
    if not noisy.any():
        return keep
    # A row can only fall to one that comes before it in this order, so one pass decides, and fallen rows fell none.
    order = np.lexsort(np.concatenate([points[:, noisy].T[::-1], points[:, ~noisy].T[::-1]]))
    for position, a in enumerate(order):
        for b in order[:position]:
            if not (keep[a] and keep[b]):
                continue
            tied = (points[b, noisy] <= points[a, noisy] + np.abs(points[a, noisy]) * noise[noisy]).all()
            exact = points[b, ~noisy] <= points[a, ~noisy]
            better = (points[b, ~noisy] < points[a, ~noisy]).any() or (points[b, noisy] <= points[a, noisy]).all()
            if tied and exact.all() and better:
                keep[a] = False
    return keep


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Volume that the points dominate below `reference`; both to minimise."""
    inside = points[(points < reference).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0


def hypervolume_of(points: np.ndarray, reference: np.ndarray) -> float:
    """As `hypervolume`; with one objective it is the distance of the best to the reference."""
    if points.shape[1] == 1:
        return float(max(reference[0] - points.min(), 0.0))
    return hypervolume(points, reference)


def hypervolume_gains(points: np.ndarray, front: np.ndarray, *, margin: float = 0.1) -> np.ndarray:
    """What each point, alone, would add to the volume that a front dominates, in units of the front's ranges.

    The reference is the worst of the front in each objective and `margin` of its range beyond; with one objective it is
    the improvement over the best.

    Args:
        points: Values to minimise, (n, m).
        front: Non-dominated values, (k, m); without any, all points gain 1.
        margin: Where the reference is.

    Returns:
        Float array (n,).
    """
    if not len(front):
        return np.ones(len(points))
    low, high = front.min(axis=0), front.max(axis=0)
    scale = np.where(high > low, high - low, np.maximum(np.abs(low), 1e-12))
    scaled, members = (points - low) / scale, (front - low) / scale
    if points.shape[1] == 1:
        return np.asarray(np.maximum(-scaled[:, 0], 0.0))
    reference = members.max(axis=0) + margin
    base = hypervolume(members, reference)
    gains = np.zeros(len(points))
    beaten = (members[None] <= scaled[:, None]).all(axis=2).any(axis=1) | (scaled >= reference).any(axis=1)
    for i in np.flatnonzero(~beaten):
        gains[i] = max(hypervolume(np.concatenate([members, scaled[i : i + 1]]), reference) - base, 0.0)
    return gains


def spread_subset(points: np.ndarray, count: int) -> list[int]:
    """Chooses `count` rows that cover a front: the best in each objective, then greedily those that add most volume.

    Args:
        points: Non-dominated rows to minimise, (n, m).
        count: How many to choose.

    Returns:
        Row numbers, ascending.
    """
    if len(points) <= count:
        return list(range(len(points)))
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    chosen = list(dict.fromkeys(int(i) for i in points.argmin(axis=0)))[:count]
    reference = np.full(points.shape[1], 1.1)
    while len(chosen) < count:
        volumes = [-1.0 if i in chosen else hypervolume(scaled[[*chosen, i]], reference) for i in range(len(points))]
        chosen.append(int(np.argmax(volumes)))
    return sorted(chosen)
