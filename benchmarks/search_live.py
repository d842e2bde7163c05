"""Algorithms on the full joint space of digits-vit, live: real measurements, and the fronts tested again.

Every search measures as many candidates, with each seed; its front is calibrated, measured in rounds and tested on the
test split as always. Hypervolume is of accuracy on the test split and of latency over all-INT8's in the same run, in
units of the ranges of all fronts together, up to a tenth of a range beyond their worst values. Beside it stands that of
what the searches saw, validation accuracy and one measurement of latency, after parts of their candidates. Runs go on
where they stopped.
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
SEARCHED, TEST = "accuracy_top1", "test_accuracy_top1"


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
    volumes = in_common_units([points_of(result) for _, _, result in found])
    parts = [evaluations // 3, 2 * evaluations // 3, evaluations]
    searched = [searched_points(result) for _, _, result in found]
    seen = in_common_units([points[:part] for part in parts for points in searched])
    rows = []
    for number, (algorithm, seed, result) in enumerate(found):
        row = {"algorithm": algorithm, "seed": seed, "hypervolume": volumes[number]}
        row |= {f"searched, after {part}": seen[number + i * len(found)] for i, part in enumerate(parts)}
        rows.append(row | row_of(result))
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


def searched_points(result: SearchResult) -> np.ndarray:
    """Validation accuracy, negated, and latency in ms, of every candidate in the order of the search: (n, 2)."""
    kept = read_journal(result.folder / "evaluations.sqlite").evaluations
    return np.array([[-e.values[SEARCHED], e.values["latency_ms"]] for e in kept if e.stage == "search" and e.ok])


def in_common_units(sets: list[np.ndarray]) -> list[float]:
    """Hypervolumes of sets of points (n, m), in units of the ranges of all their fronts together."""
    fronts = [points[is_nondominated(points)] for points in sets]
    together = np.concatenate(fronts)
    low, high = together.min(axis=0), together.max(axis=0)
    scale = np.where(high > low, high - low, 1.0)
    return [hypervolume((front - low) / scale, np.full(front.shape[1], 1.1)) for front in fronts]


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
    parts = [name for name in rows[0] if name.startswith("searched")]
    faster = [r["faster than INT8, no fewer right"] for r in rows]
    return {
        "algorithm": name,
        "seeds": len(rows),
        "hypervolume, median": float(np.median(volumes)),
        "least": min(volumes),
        "most": max(volumes),
        **{f"{name}, median": float(np.median([r[name] for r in rows])) for name in parts},
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
