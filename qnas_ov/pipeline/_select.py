"""Which candidate of a front to package."""

from __future__ import annotations

import numpy as np
import pandas as pd

from qnas_ov.core.errors import ConstraintError, InputError, unknown_name

RULES = ("fastest", "smallest", "most-accurate", "knee")


def select_candidate(
    front: pd.DataFrame, baselines: pd.DataFrame, *, metric: str, select: str, max_drop: float | None = None
) -> str:
    """Chooses a candidate by a rule, or checks an id.

    Everything is judged on validation data, the rules' accuracy as well as the drop: a choice by test data would make
    the test figures of the chosen network look better than they are.

    - fastest, smallest: the lowest `latency_ms` or `size_bytes`; of equals the more accurate.
    - most-accurate: the highest metric; of equals the faster.
    - knee: the candidate farthest above the line from the fastest to the most accurate, with latency and metric both
      scaled to run from 0 to 1 between them; the fastest if none lies above it.

    Args:
        front: `pareto.csv`.
        baselines: `baselines.csv`.
        metric: Column of the accuracy on validation data.
        select: A rule, or the id of a candidate.
        max_drop: Largest loss of the metric against the float network under f32; others are not chosen.

    Returns:
        The id.

    Raises:
        UnknownNameError: If `select` is neither a rule nor a candidate.
        InputError: If `max_drop` is no number from 0 on.
        ConstraintError: If no candidate, or not the named one, keeps `max_drop`.
    """
    names = [str(n) for n in front["candidate"]]
    if select not in (*RULES, *names):
        raise unknown_name("candidate", select, (*RULES, *names))
    asked = front if select in RULES else front[front["candidate"].astype(str) == select]
    allowed = asked if max_drop is None else _within(asked, baselines, metric, max_drop)
    if select in RULES:
        return str(_choose(allowed, metric, select)["candidate"])
    return select


def _within(asked: pd.DataFrame, baselines: pd.DataFrame, metric: str, max_drop: float) -> pd.DataFrame:
    if not 0 <= max_drop < np.inf:
        raise InputError(f"--max-drop must be a number from 0 on, for instance 0.01 for one point: found {max_drop:g}")
    reference = float(baselines.loc[baselines["baseline"] == "float-f32", metric].iloc[0])
    kept = asked[asked[metric] >= reference - max_drop - 1e-12]
    if kept.empty:
        raise ConstraintError(
            f"no candidate meets --max-drop {max_drop:g} against {metric} {reference:.6g} of the float network: the "
            f"best of {len(asked)} has {asked[metric].max():.6g} on validation data; allow more, or choose another"
        )
    return kept


def _choose(rows: pd.DataFrame, metric: str, rule: str) -> pd.Series:
    def first(columns: list[str], ascending: list[bool]) -> pd.Series:
        order = rows.sort_values([*columns, "candidate"], ascending=[*ascending, True], kind="stable")
        return order.iloc[0]

    if rule == "smallest":
        return first(["size_bytes", metric, "latency_ms"], [True, False, True])
    best = first([metric, "latency_ms"], [False, True])
    if rule == "most-accurate":
        return best
    fastest = first(["latency_ms", metric], [True, False])
    latency_span = float(best["latency_ms"] - fastest["latency_ms"])
    metric_span = float(best[metric] - fastest[metric])
    if rule == "fastest" or latency_span <= 0 or metric_span <= 0:
        return fastest
    ordered = rows.sort_values(["latency_ms", "candidate"], kind="stable")
    x = (ordered["latency_ms"].to_numpy() - fastest["latency_ms"]) / latency_span
    y = (ordered[metric].to_numpy() - fastest[metric]) / metric_span
    above = y - x
    return ordered.iloc[int(np.argmax(above))] if above.max() > 1e-12 else fastest
