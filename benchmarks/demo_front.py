"""The front that `./tools/demo` finds, against what it must show: one search, from nothing to packages."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import pandas as pd
from _common import Outcome, at_least, at_most, main, parser

import qnas_ov
from qnas_ov.pipeline import SearchResult, load_result
from qnas_ov.terminal import TerminalProgress

TEST = "test_accuracy_top1"


def run(arguments: argparse.Namespace) -> Outcome:
    settings = {"evaluations": 30, "front_size": 10} if arguments.quick else {}
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        if arguments.run is not None:
            result, seconds = load_result(arguments.run), None
        else:
            result = qnas_ov.search(
                "digits-vit",
                out=Path(folder) / "run",
                seed=arguments.seed,
                progress=TerminalProgress(),
                latency_db="none",
                **settings,
            )
            seconds = time.monotonic() - start
        if arguments.figure is not None:
            draw(result, arguments.figure)
        return summarise(result, seconds)


def summarise(result: SearchResult, seconds: float | None) -> Outcome:
    """The goals of the demo, and the tables of the README."""
    front, baselines = result.front, result.baselines
    int8 = baselines[baselines["baseline"].str.startswith("int8-")]
    safe = front[front[TEST] >= int8[TEST].max()]
    fastest = safe.loc[safe["latency_ms"].idxmin()] if len(safe) else None
    mixed = front[(front["units_int8"] > 0) & (front["units_float"] > 0)]
    latency = result.predictors["latency_ms"]["cross_validated"]
    accuracy = result.predictors["accuracy_top1"]["cross_validated"]
    share = 1.0 / fastest["speedup_vs_int8"] if fastest is not None else float("inf")
    goals = {
        "points on the front": at_least(float(len(front)), 8),
        "latency against all-INT8 with no less test accuracy": at_most(min(float(share), 1e9), 0.5),
        "points that mix INT8 and float units": at_least(float(len(mixed)), 1),
        "Kendall tau of the latency predictor, unseen samples": at_least(latency["kendall_tau"], 0.8),
    }
    if seconds is not None:
        goals["seconds from start to packages"] = at_most(seconds, 240)
    figures = {name: goal.value for name, goal in goals.items()} | {
        "MAPE of the latency predictor": latency["mape"],
        "Kendall tau of the accuracy predictor": accuracy["kendall_tau"],
        "size ratio against all-INT8 at that point": float(fastest["size_ratio_vs_int8"])
        if fastest is not None
        else 0.0,
        "speed-up against f32 at that point": float(fastest["speedup_vs_f32"]) if fastest is not None else 0.0,
    }
    tables = {
        "the unsearched network": [row(r, r["baseline"]) for _, r in baselines.iterrows()],
        "the front": [row(r, r["candidate"]) | gains(r) for _, r in front.iterrows()],
    }
    return Outcome(figures, goals, tables, json.loads((result.folder / "machine.json").read_text()))


def row(record: pd.Series, name: str) -> dict[str, object]:
    return {
        "network": name,
        "test accuracy": f"{record[TEST]:.4f}",
        "95% interval": f"{record[f'{TEST}_ci95_low']:.3f}-{record[f'{TEST}_ci95_high']:.3f}",
        "latency ms": f"{record['latency_ms']:.3f}",
        "size MB": f"{record['size_bytes'] / 1e6:.2f}",
    }


def gains(record: pd.Series) -> dict[str, object]:
    return {
        "vs INT8": f"{record['speedup_vs_int8']:.2f}x",
        "vs f32": f"{record['speedup_vs_f32']:.2f}x",
        "INT8/float units": f"{record['units_int8']}/{record['units_float']}",
        "hint": record["inference_precision"],
    }


def draw(result: SearchResult, path: Path) -> None:
    """The picture of the README."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    evaluations = pd.read_csv(result.folder / "evaluations.csv")
    seen = evaluations[(evaluations["stage"] == "search") & (evaluations["status"] == "ok")]
    figure, axes = pyplot.subplots(figsize=(8, 4.2))
    axes.plot(seen["latency_ms"], seen["accuracy_top1"], "o", ms=3, color="#b9c6d1", label="measured (validation)")
    axes.plot(result.front["latency_ms"], result.front[TEST], "o", ms=7, color="#0b6e99", label="verified front (test)")
    axes.plot(
        result.baselines["latency_ms"], result.baselines[TEST], "D", ms=7, color="#c2410c", label="unsearched (test)"
    )
    for _, record in result.baselines.iterrows():
        axes.annotate(record["baseline"], (record["latency_ms"], record[TEST]), xytext=(0, -14),
                      textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
    axes.set(xlabel="latency by benchmark_app (ms)", ylabel="top-1 accuracy", ylim=(0.85, 1.0))
    axes.grid(color="#e4e9ee")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--seed", type=int, default=0, help="seed of the search")
    options.add_argument("--run", type=Path, help="report on this finished run instead of searching")
    options.add_argument("--figure", type=Path, help="draw the front into this SVG")
    main(options, run)
