"""The tables of a run, from what was verified: baselines, and the measured front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from qnas_ov.algorithms import Constraint
from qnas_ov.core.errors import ConstraintError
from qnas_ov.core.records import Evaluation, Objective
from qnas_ov.ir import FLOAT, INT8, W8
from qnas_ov.pareto import is_nondominated, is_nondominated_beyond_noise, spread_subset, to_minimise
from qnas_ov.pipeline._verify import Verified
from qnas_ov.tasks import Metric


def choose_front(
    evaluations: Sequence[Evaluation],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    count: int,
) -> list[Evaluation]:
    """The measured candidates worth verifying: non-dominated, within the constraints, spread over the front.

    With one objective these are the best ones: of many measured ones the best owes something to chance.

    Raises:
        ConstraintError: If no candidate meets the constraints; the message says which one binds.
    """
    measured = [e for e in evaluations if e.ok]
    if not measured:
        reasons = [e.reason for e in evaluations if e.reason]
        raise ConstraintError(f"no candidate could be measured: {reasons[0] if reasons else 'none was tried'}")
    feasible = [e for e in measured if all(c.met(e.values) for c in constraints)]
    if not feasible:
        raise ConstraintError(binding_message(measured, constraints))
    points = to_minimise([e.values for e in feasible], objectives)
    if len(objectives) == 1:
        return [feasible[i] for i in np.argsort(points[:, 0], kind="stable")[:count]]
    front = [e for e, good in zip(feasible, is_nondominated(points), strict=True) if good]
    return [front[i] for i in spread_subset(to_minimise([e.values for e in front], objectives), count)]


def binding_message(measured: Sequence[Evaluation], constraints: Sequence[Constraint]) -> str:
    """Says which constraint no candidate meets, with the best value seen."""

    def best(constraint: Constraint, among: Sequence[Evaluation]) -> float:
        values = [e.values[constraint.column] for e in among]
        return max(values) if constraint.at_least else min(values)

    def bound(constraint: Constraint) -> str:
        return (
            f"{constraint.option} ({constraint.column} {'>=' if constraint.at_least else '<='} {constraint.limit:.6g})"
        )

    allowed = list(measured)
    for position, constraint in enumerate(constraints):
        meeting = [e for e in allowed if constraint.met(e.values)]
        if not meeting:
            where = f" where {' and '.join(bound(c) for c in constraints[:position])} hold" if position else ""
            return (
                f"no candidate meets {bound(constraint)}{where}: the best {constraint.column} of {len(allowed)} "
                f"measured candidates is {best(constraint, allowed):.6g}; start a new run with a new --out and a wider "
                "limit or more --evaluations"
            )
        allowed = meeting
    raise AssertionError("every constraint is met by some candidate")


def baselines_table(baselines: Sequence[Verified]) -> pd.DataFrame:
    """The unsearched network in every precision, verified like the front."""
    return pd.DataFrame([{"baseline": v.finalist.name, **v.values} for v in baselines])


def front_table(
    verified: Sequence[Verified],
    baselines: Sequence[Verified],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    *,
    metric: Metric,
) -> pd.DataFrame:
    """The non-dominated set of what was verified, with speed-ups, sizes and paired tests against the baselines.

    A baseline that is a candidate of the space competes like any other, and latencies closer than their noise are
    ties. In column names "int8" is the fastest all-INT8 baseline and "f32" the float baseline under the f32 hint.

    Args:
        verified: The front's candidates.
        baselines: The unsearched network in every precision.
        objectives: What the front is about.
        constraints: Limits that it must keep.
        metric: What the accuracy is.

    Raises:
        ConstraintError: If verification moved every candidate over a limit.
    """
    competing = [*verified, *(b for b in baselines if b.finalist.candidate is not None)]
    kept = [v for v in competing if all(c.met(v.values) for c in constraints)]
    if not kept:
        as_measured = [Evaluation(v.finalist.name, "final", v.finalist.name, (), "ok", v.values) for v in competing]
        raise ConstraintError(binding_message(as_measured, constraints) if as_measured else "no finalist was measured")
    points = to_minimise([v.values for v in kept], objectives)
    everything = (*verified, *baselines)
    noise = np.array([rounds_tie([v.rounds[o.column] for v in everything if o.column in v.rounds]) for o in objectives])
    front = [v for v, good in zip(kept, is_nondominated_beyond_noise(points, noise), strict=True) if good]
    int8 = min((b for b in baselines if b.finalist.name.startswith("int8-")), key=lambda b: b.values["latency_ms"])
    f32 = next(b for b in baselines if b.finalist.name == "float-f32")
    bf16 = next((b for b in baselines if b.finalist.name == "float-bf16"), None)
    rows = []
    for v in sorted(front, key=lambda v: v.values["latency_ms"]):
        row: dict[str, object] = {"candidate": v.finalist.name, **v.values}
        row["speedup_vs_int8"] = int8.values["latency_ms"] / v.values["latency_ms"]
        row["speedup_vs_f32"] = f32.values["latency_ms"] / v.values["latency_ms"]
        if bf16 is not None:
            row["speedup_vs_bf16"] = bf16.values["latency_ms"] / v.values["latency_ms"]
        row["size_ratio_vs_int8"] = int8.values["size_bytes"] / v.values["size_bytes"]
        for label, base in (("int8", int8), ("f32", f32)):
            column = f"test_{metric.column}"
            row[f"test_delta_vs_{label}"] = v.values[column] - base.values[column]
            row[f"test_p_vs_{label}"] = metric.p_value(v.evidence, base.evidence)
        row |= describe(v)
        rows.append(row)
    return pd.DataFrame(rows)


def rounds_tie(rounds: Sequence[Sequence[float]]) -> float:
    """The relative difference of two medians over rounds that chance alone exceeds in 5% of cases.

    From the standard deviation between rounds, relative to each network's median; the median over all networks, so that
    a single slow round does not count. 0 where there is one round only, or none: what is computed has no noise.

    Args:
        rounds: Latencies (or throughputs, or peaks of memory) of every network, one per round.
    """
    spreads = [np.std(r, ddof=1) / np.median(r) for r in rounds if len(r) > 1]
    if not spreads:
        return 0.0
    count = float(np.median([len(r) for r in rounds]))
    error_of_median = 1.2533 / np.sqrt(count)  # the median's standard error over one run's, for a normal spread
    return float(1.96 * np.sqrt(2.0) * error_of_median * np.median(spreads))


def describe(verified: Verified) -> dict[str, object]:
    """The candidate in columns: depth knobs, units per precision, inference precision."""
    candidate = verified.finalist.candidate
    if candidate is None:
        return {"inference_precision": verified.finalist.inference_precision}
    policy = list(candidate.policy.values())
    depths = {k: v for k, v in candidate.architecture.items() if k.split(".")[-1] == "depth"}
    return {
        **depths,
        "units_int8": policy.count(INT8),
        "units_w8": policy.count(W8),
        "units_float": policy.count(FLOAT),
        "inference_precision": candidate.inference_precision,
    }
