"""The tables of a run, from what was verified: baselines, and the measured front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from qnas_ov.algorithms import Constraint
from qnas_ov.core.errors import ConstraintError
from qnas_ov.core.records import Evaluation, Objective
from qnas_ov.ir import FLOAT, INT8
from qnas_ov.pareto import is_nondominated, is_nondominated_beyond_noise, spread_subset, to_minimise
from qnas_ov.pipeline._verify import Verified, paired_p_value


def choose_front(
    evaluations: Sequence[Evaluation],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    count: int,
) -> list[Evaluation]:
    """The measured candidates worth verifying: non-dominated, within the constraints, spread over the front.

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

    for constraint in constraints:
        if not any(constraint.met(e.values) for e in measured):
            return (
                f"no candidate meets {bound(constraint)}: the best {constraint.column} of {len(measured)} measured "
                f"candidates is {best(constraint, measured):.6g}; relax the limit, or measure more with --evaluations"
            )
    last = constraints[-1]
    others = [e for e in measured if all(c.met(e.values) for c in constraints[:-1])]
    return (
        f"no candidate meets {' and '.join(bound(c) for c in constraints)} together: where the others hold, the best "
        f"{last.column} is {best(last, others or measured):.6g}; relax one limit, or measure more with --evaluations"
    )


def baselines_table(baselines: Sequence[Verified]) -> pd.DataFrame:
    """The unsearched network in every precision, verified like the front."""
    return pd.DataFrame([{"baseline": v.finalist.name, **v.values} for v in baselines])


def front_table(
    verified: Sequence[Verified],
    baselines: Sequence[Verified],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
) -> pd.DataFrame:
    """The non-dominated set of what was verified, with speed-ups, sizes and paired tests against the baselines.

    A baseline that is a candidate of the space competes like any other, and latencies whose ranges overlap are ties. In
    column names "int8" is the fastest all-INT8 baseline and "f32" the float baseline under the f32 hint.

    Raises:
        ConstraintError: If verification moved every candidate over a limit.
    """
    competing = [*verified, *(b for b in baselines if b.finalist.candidate is not None)]
    kept = [v for v in competing if all(c.met(v.values) for c in constraints)]
    if not kept:
        as_measured = [Evaluation(v.finalist.name, "final", v.finalist.name, (), "ok", v.values) for v in competing]
        raise ConstraintError(binding_message(as_measured, constraints) if as_measured else "no finalist was measured")
    points = to_minimise([v.values for v in kept], objectives)
    low, high = (to_minimise([_range_end(v.values, end) for v in kept], objectives) for end in ("low", "high"))
    front = [v for v, good in zip(kept, is_nondominated_beyond_noise(points, low, high), strict=True) if good]
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
            row[f"test_delta_vs_{label}"] = float(np.mean(v.test_scores) - np.mean(base.test_scores))
            row[f"test_p_vs_{label}"] = paired_p_value(v.test_scores, base.test_scores)
        row |= describe(v)
        rows.append(row)
    return pd.DataFrame(rows)


def _range_end(values: Mapping[str, float], end: str) -> dict[str, float]:
    return {**values, "latency_ms": values[f"latency_ms_{end}"]}


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
        "units_float": policy.count(FLOAT),
        "inference_precision": candidate.inference_precision,
    }
