"""How a search went: the hypervolume after every evaluation, and when each network of the front was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qnas_ov.pareto import hypervolume, is_nondominated, to_minimise
from qnas_ov.report._run import Run

MARGIN = 0.1
"""By how much of the range the reference point lies beyond the worst values."""


@dataclass(frozen=True)
class History:
    """The hypervolume over a search.

    Attributes:
        shares: After each number of evaluations, from 0 on: its share of that at the end, 0 to 1.
        found: Number of the evaluation that found each network of the front, by name; 0 for a baseline.
    """

    shares: tuple[float, ...]
    found: dict[str, int]


def normalise(points: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Values to minimise (n, m), scaled so that the best of `over` (k, m) is 0 and its worst 1 in every column."""
    low, high = over.min(axis=0), over.max(axis=0)
    return (points - low) / np.where(high > low, high - low, 1.0)


def reference_point(num_objectives: int) -> np.ndarray:
    """The point below which hypervolume counts, in normalised values."""
    return np.full(num_objectives, 1.0 + MARGIN)


def trace_search(run: Run) -> History | None:
    """The hypervolume over a run's search, on validation data; None if nothing was measured.

    Every objective is scaled to run from 0 to 1 over all that was measured. Baselines that are candidates of the space
    count from the start; candidates that break a limit add nothing.
    """
    objectives = run.space.objectives
    known = [b for b in run.measured_baselines if b.genotype]
    measured = [*known, *run.measured]
    if not run.measured:
        return None
    everything = to_minimise([e.values for e in measured], objectives)
    reference = reference_point(len(objectives))
    kept: list[np.ndarray] = []
    volumes, volume = [], 0.0

    def add(batch: list[np.ndarray]) -> float:
        nonlocal kept
        points = np.array([*kept, *batch])
        kept = list(points[is_nondominated(points)])
        return hypervolume(np.array(kept), reference)

    starts = [e for e in known if _within(e.values, run)]
    if starts:
        volume = add(list(normalise(to_minimise([e.values for e in starts], objectives), everything)))
    volumes.append(volume)
    for e in run.searched:
        if e.ok and _within(e.values, run):
            volume = add(list(normalise(to_minimise([e.values], objectives), everything)))
        volumes.append(volume)
    names = [str(n) for n in run.front["candidate"]] if run.front is not None else []
    places = {n: run.found_at(n) for n in names}
    shares = tuple(v / volumes[-1] if volumes[-1] > 0 else 0.0 for v in volumes)
    return History(shares, {n: p for n, p in places.items() if p is not None})


def measured_front(run: Run) -> list[str]:
    """Candidates of the search that no other one dominates, on validation data and within the limits, fastest first."""
    allowed = [e for e in run.measured if _within(e.values, run)]
    if not allowed:
        return []
    points = to_minimise([e.values for e in allowed], run.space.objectives)
    front = [e for e, good in zip(allowed, is_nondominated(points), strict=True) if good]
    return [e.candidate for e in sorted(front, key=lambda e: e.values["latency_ms"])]


def _within(values: Mapping[str, float], run: Run) -> bool:
    return all(limit.met(values) for limit in run.limits)
