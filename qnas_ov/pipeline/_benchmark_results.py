"""What a benchmark measured, as records and tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from qnas_ov.measure import (
    Estimate,
    Latency,
    LatencyMeter,
    Profile,
    RoundPlan,
    describe_machine,
    describe_protocol,
    estimate_median,
)
from qnas_ov.pipeline._benchmark_cases import Case

FORMAT = 1
_HEAD = ("network", "device", "inference_precision", "hint", "batch", "streams", "threads", "status")
_PLAIN = (
    "minimum_ms", "maximum_ms", "speedup", "speedup_against", "compile_ms", "memory_bytes", "size_bytes", "macs",
)  # fmt: skip


@dataclass
class Timed:
    """What was measured of a case so far."""

    case: Case
    runs: list[Latency] = field(default_factory=list)
    percentiles: dict[int, Latency] = field(default_factory=dict)
    percentiles_left_out: dict[int, str] = field(default_factory=dict)
    profile: Profile | None = None
    problem: str | None = None
    profile_problem: str | None = None


def make_document(
    timed: Sequence[Timed],
    meter: LatencyMeter | None,
    device: str,
    plan: RoundPlan,
    *,
    reference: str,
    percentiles: Sequence[int],
) -> dict[str, Any]:
    """The content of `benchmark.json`, which is all that the page shows."""
    typical = _typical_ms(timed)
    rows = [_row(t, 1.0 if meter is None or typical is None else typical / meter.anchor_ms) for t in timed]
    for row in rows:
        _add_speedup(row, rows, reference)
    document = {
        "format": FORMAT,
        "reference": reference,
        "percentiles": list(percentiles),
        "protocol": describe_protocol(plan, iterations=None if meter is None else meter.iterations),
        "machine": describe_machine(device),
        "results": rows,
    }
    return dict(json.loads(json.dumps(document, allow_nan=False)))  # as it is read again: lists, no tuples


def _typical_ms(timed: Sequence[Timed]) -> float | None:
    """The reference's latency at the machine's typical speed meanwhile; of new runs, if there are any."""
    runs = [r for t in timed for r in t.runs]
    fresh = [r for r in runs if r.measured_at is None] or runs
    return statistics.median(r.gauge_ms for r in fresh) if fresh else None


def _row(timed: Timed, slowdown: float) -> dict[str, Any]:
    """One record of the results; `slowdown` brings latencies from the anchor's speed to the typical one."""
    case = timed.case
    head = {
        "network": case.network.name,
        "file": str(case.network.path),
        **{k: v for k, v in case.settings.to_json().items() if k != "device"},
        "device": case.settings.device,
    }
    if timed.problem is not None:
        return {**head, "status": "failed", "reason": timed.problem}
    runs = timed.runs
    latency = estimate_median([r.latency_ms * slowdown for r in runs])
    throughput = estimate_median([r.throughput_per_s / slowdown for r in runs])
    memory = [r.run.memory_bytes for r in runs if r.run.memory_bytes is not None]
    disturbances = [d for r in runs for d in r.disturbances]
    return {
        **head,
        "status": "ok",
        "latency_ms": _estimated(latency),
        "throughput_per_s": _estimated(throughput),
        "percentiles_ms": {str(p): r.latency_ms * slowdown for p, r in timed.percentiles.items()},
        "percentiles_left_out": {str(p): why for p, why in timed.percentiles_left_out.items()},
        "minimum_ms": _scaled_extreme([r.run.minimum_ms for r in runs], min, slowdown),
        "maximum_ms": _scaled_extreme([r.run.maximum_ms for r in runs], max, slowdown),
        "compile_ms": statistics.median(r.run.compile_ms for r in runs),
        "memory_bytes": None if not memory else int(statistics.median(memory)),
        "size_bytes": case.network.path.with_suffix(".bin").stat().st_size,
        "macs": case.macs,
        "streams": runs[0].run.streams,
        "threads": runs[0].run.threads,
        "requests": runs[0].run.requests,
        "runs": [r.to_json() for r in runs],
        "from_database": sum(r.measured_at is not None for r in runs),
        "disturbances": disturbances,
        "profile": None if timed.profile is None else _profile_record(timed.profile),
        "profile_problem": timed.profile_problem,
        "remark": None if timed.profile is None else remark(timed.profile, case.macs, throughput.value),
    }


def _profile_record(profile: Profile) -> dict[str, Any]:
    """The profile without the many cheap kernels."""
    record = profile.to_json()
    kernels = record.pop("kernels")
    return {**record, "costliest": kernels[: len(profile.costliest)], "num_kernels": len(kernels)}


def _estimated(found: Estimate) -> dict[str, Any]:
    return {**found.to_json(), "outliers": list(found.outliers)}


def _scaled_extreme(values: Sequence[float | None], choose: Any, slowdown: float) -> float | None:
    known = [v for v in values if v is not None]
    return choose(known) * slowdown if known else None


def _add_speedup(row: dict[str, Any], rows: Sequence[dict[str, Any]], reference: str) -> None:
    """How much faster than the reference network under the same hint, batch and, if it ran so, precision."""
    if row["status"] != "ok":
        return
    same = [
        r
        for r in rows
        if r["network"] == reference and r["status"] == "ok" and (r["hint"], r["batch"]) == (row["hint"], row["batch"])
    ]
    if not same:
        row["speedup"], row["speedup_against"] = None, None
        return
    base = next((r for r in same if r["inference_precision"] == row["inference_precision"]), same[0])
    if row["hint"] == "throughput":
        row["speedup"] = row["throughput_per_s"]["value"] / base["throughput_per_s"]["value"]
    else:
        row["speedup"] = base["latency_ms"]["value"] / row["latency_ms"]["value"]
    row["speedup_against"] = f"{base['network']} under {base['inference_precision']}"


def remark(profile: Profile, macs: int, throughput_per_s: float) -> str:
    """Where the time goes and what that bounds, in two sentences.

    The bound is Amdahl's: kernels that are not INT8 take their share of the time whatever happens to the others.
    """
    shares = ", ".join(f"{share:.0%} {name}" for name, share in profile.shares.items() if share >= 0.005)
    int8 = profile.shares.get("int8", 0.0)
    rate = f"{macs * throughput_per_s / 1e9:.1f} billion multiply-accumulates per second"
    bound = (
        f"faster INT8 kernels alone could make it at most {1.0 / (1.0 - int8):.1f} times as fast"
        if int8 < 0.995
        else ("nearly everything is INT8")
    )
    return f"Of the kernels' time {shares}; {rate}. {bound}."


def results_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The results as a table: one row per network and setting."""
    records = []
    for row in rows:
        head = {k: row[k] for k in _HEAD}
        if row["status"] != "ok":
            records.append({**head, "reason": row["reason"]})
            continue
        found: dict[str, Any] = {}
        for column in ("latency_ms", "throughput_per_s"):
            estimate = row[column]
            found |= {column: estimate["value"], f"{column}_low": estimate["low"], f"{column}_high": estimate["high"]}
        measured = {f"latency_p{p}_ms": value for p, value in row["percentiles_ms"].items()}
        found |= measured | {f"latency_p{p}_ms": None for p in row["percentiles_left_out"]}
        found |= {"coverage": row["latency_ms"]["coverage"], "processes": row["latency_ms"]["count"]}
        plain = (
            "minimum_ms",
            "maximum_ms",
            "speedup",
            "speedup_against",
            "compile_ms",
            "memory_bytes",
            "size_bytes",
            "macs",
        )
        found |= {name: row[name] for name in plain}
        if row["profile"] is not None:
            found |= {f"share_{n.replace(' ', '_')}": share for n, share in row["profile"]["shares"].items()}
        left_out = "; ".join(row["percentiles_left_out"].values())
        told = {"disturbances": "; ".join(row["disturbances"]), "percentiles_left_out": left_out}
        records.append({**head, **found, **told, "reason": None})
    return pd.DataFrame(records)


def operations_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The costliest kernels of every network and setting."""
    columns = ["network", "inference_precision", "hint", "batch", "kernel", "kind", "precision", "implementation",
               "time_ms", "share", "operations"]  # fmt: skip
    records = [
        {
            **{k: row[k] for k in columns[:4]},
            "kernel": kernel["name"], "kind": kernel["kind"], "precision": kernel["precision"],
            "implementation": kernel["implementation"], "time_ms": kernel["time_ms"],
            "share": kernel["time_ms"] / row["profile"]["total_ms"], "operations": " ".join(kernel["operations"]),
        }
        for row in rows if row.get("profile")
        for kernel in row["profile"]["costliest"]
    ]  # fmt: skip
    return pd.DataFrame(records, columns=columns)
