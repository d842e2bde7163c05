"""Algorithms on the full joint space of digits-vit, live: real measurements, and the fronts tested again.

Every search measures as many candidates, with each seed; its front is calibrated, measured in rounds and tested on the
test split as always. Hypervolume is of accuracy on the test split and of latency over all-INT8's in the same run, in
units of the ranges of all fronts together, up to a tenth of a range beyond their worst values. Runs go on where they
stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from _common import Outcome, at_least, main, parser

from qnas_ov.journal import read_journal
from qnas_ov.pareto import hypervolume, is_nondominated
from qnas_ov.pipeline import SearchResult, run_search
from qnas_ov.terminal import TerminalProgress

ALGORITHMS = ("qnas", "linas", "random")
TEST = "test_accuracy_top1"


def run(arguments: argparse.Namespace) -> Outcome:
    progress = TerminalProgress()
    evaluations, seeds = (24, 1) if arguments.quick else (arguments.evaluations, arguments.seeds)
    found: list[tuple[str, int, SearchResult]] = []
    for seed in range(seeds):
        for algorithm in arguments.algorithm or ALGORITHMS:
            out = arguments.work / f"{algorithm}-{evaluations}-seed{seed}"
            settings = {
                "model": "digits-vit", "objectives": ["accuracy", "latency"], "evaluations": evaluations,
                "algorithm": algorithm, "seed": seed, "front_size": 16, "population": min(50, evaluations // 3),
            }  # fmt: skip
            print(f"{algorithm}, seed {seed}", flush=True)
            result = run_search(settings, out=out, resume=out.exists(), progress=progress, latency_db="none")
            found.append((algorithm, seed, result))
    fronts = [points_of(result) for _, _, result in found]
    together = np.concatenate(fronts)
    low, high = together.min(axis=0), together.max(axis=0)
    rows = []
    for (algorithm, seed, result), points in zip(found, fronts, strict=True):
        scaled = (points - low) / np.where(high > low, high - low, 1.0)
        volume = hypervolume(scaled[is_nondominated(scaled)], np.full(2, 1.1))
        rows.append({"algorithm": algorithm, "seed": seed, "hypervolume": volume, **row_of(result)})
    summary = [
        summed(name, [r for r in rows if r["algorithm"] == name]) for name in dict.fromkeys(a for a, _, _ in found)
    ]
    figures = {f"{s['algorithm']}: hypervolume, median": s["hypervolume, median"] for s in summary}
    goals = {}
    if {"qnas", "linas"} <= {s["algorithm"] for s in summary}:
        median = {s["algorithm"]: s["hypervolume, median"] for s in summary}
        goals["hypervolume of qnas over linas, medians"] = at_least(median["qnas"] / median["linas"], 1.0)
    machine = json.loads((found[0][2].folder / "machine.json").read_text())
    return Outcome(figures, goals, {"over the seeds": summary, "every search": rows}, machine)


def points_of(result: SearchResult) -> np.ndarray:
    """Test accuracy, negated, and the share of all-INT8's latency, of every network on the front: (n, 2)."""
    return np.column_stack([-result.front[TEST], 1.0 / result.front["speedup_vs_int8"]])


def row_of(result: SearchResult) -> dict[str, Any]:
    """What a search found, and what it spent."""
    front, baselines = result.front, result.baselines
    int8 = baselines[baselines["baseline"].str.startswith("int8-")]
    safe = front[front[TEST] >= int8[TEST].max()]
    searched = [e for e in read_journal(result.folder / "evaluations.sqlite").evaluations if e.stage == "search"]
    whole = max(int(e.details["num_samples"]) for e in searched if e.ok)
    return {
        "networks": len(front),
        "best accuracy": float(front[TEST].max()),
        "faster than INT8, no fewer right": float(safe["speedup_vs_int8"].max()) if len(safe) else 0.0,
        "minutes of measuring": sum(float(e.details.get("seconds", 0)) for e in searched) / 60,
        "samples judged": sum(int(e.details["num_samples"]) for e in searched if e.ok) / (whole * len(searched)),
    }


def summed(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    volumes = [r["hypervolume"] for r in rows]
    faster = [r["faster than INT8, no fewer right"] for r in rows]
    return {
        "algorithm": name,
        "seeds": len(rows),
        "hypervolume, median": float(np.median(volumes)),
        "least": min(volumes),
        "most": max(volumes),
        "faster than INT8, no fewer right, median": float(np.median(faster)),
        "samples judged, mean": float(np.mean([r["samples judged"] for r in rows])),
    }


if __name__ == "__main__":
    options = parser(__doc__ or "")
    options.add_argument("--work", type=Path, required=True, help="folder of the runs; finished ones are kept")
    options.add_argument("--algorithm", action="append", help="one of them; again for more")
    options.add_argument("--evaluations", type=int, default=150, help="candidates of each search")
    options.add_argument("--seeds", type=int, default=3, help="searches of each algorithm")
    main(options, run)
