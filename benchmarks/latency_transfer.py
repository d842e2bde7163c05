"""What latencies of another network, or under other settings, save: predictions that begin with them against others.

The measurements are those of `latency_predictors.py` (give the same --data); of ViT-B/16 the same candidates are also
measured on one thread. A prior is fitted on 64 candidates of the source; then it is refined with few of the target, and
judged on the target's unseen candidates. Beside it: as many samples with the look-up table, with the mean of both, as a
search with `--warm-from` takes it, and with neither.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _common import Outcome, at_least, main, parser
from _latency_samples import HINTS, SUBJECTS
from latency_predictors import SECONDS, Study

from qnas_ov.pipeline._table import unit_work
from qnas_ov.pipeline._warm import mean_prior, prior_of_latencies
from qnas_ov.predict import FeatureMap, Prior, fit_predictor, score

SIZES = (8, 16, 32, 64)
PAIRS = (("vit", "bert"), ("bert", "vit"), ("vit", "resnet"), ("vit", "vit, 1 thread"), ("vit, 1 thread", "vit"))


def run(arguments: argparse.Namespace) -> Outcome:
    num_test, sizes = (20, SIZES[:2]) if arguments.quick else (100, SIZES)
    pairs = PAIRS[3:] if arguments.quick else PAIRS
    end = time.monotonic() + arguments.minutes * 60 if arguments.minutes else float("inf")
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or Path(folder)
        data.mkdir(parents=True, exist_ok=True)
        studies: dict[str, Study] = {}
        for name in dict.fromkeys(n for pair in pairs for n in pair):
            network, _, threads = name.partition(", ")
            settings: dict[str, object] = {"threads": 1} if threads else {}
            place = data / f"{network}{'-1-thread' if threads else ''}.json"
            studies[name] = Study(
                SUBJECTS[network](HINTS), place, num_test=num_test, size=max(sizes), seconds=arguments.seconds,
                settings=settings,
            )  # fmt: skip
            left = studies[name].measure(end, 1, ceiling=False)
            if left:
                print(f"{name}: {left} measurements are left; run again with the same --data")
                return Outcome({}, {}, {})
        rows: list[dict[str, Any]] = []
        figures, goals = {}, {}
        for source, target in pairs:
            found = compare(studies[source], studies[target], sizes)
            rows += [{"from": source, "to": target, **row} for row in found]
            saved = samples_saved(found, sizes)
            if saved is not None:
                figures[f"{source} to {target}: samples for the tau of {sizes[-2]} without"] = float(saved)
            goals[f"{source} to {target}: tau won at {sizes[0]} samples"] = at_least(won(found, sizes[0]), 0.0)
        return Outcome(figures, goals, {"Kendall tau and MAPE on unseen candidates": rows})


def compare(source: Study, target: Study, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Scores on the target's unseen candidates, by number of its samples and by what predictions begin with."""
    builder, number = source.subject.builder, max(sizes)
    known = np.array(source.random[:number])
    warm, _ = prior_of_latencies(
        builder.space, unit_work(builder), known, source.latencies(source.random[:number]), target.subject.builder
    )
    truth, rows = target.latencies(target.test), []
    for size in sizes:
        row: dict[str, Any] = {"samples": size}
        both = mean_prior(warm, target.table)
        for name, prior in (("warm", warm), ("table", target.table), ("both", both), ("neither", None)):
            found = score(truth, predict(target, size, prior))
            row |= {f"{name}, tau": found.kendall_tau, f"{name}, MAPE": found.mape}
        rows.append(row)
    return rows


def predict(target: Study, size: int, prior: Prior | None) -> np.ndarray:
    """Predictions of the unseen candidates from the first of the random ones."""
    builder, chosen = target.subject.builder, target.random[:size]
    features = FeatureMap(builder.space, builder.compute_costs, units=unit_work(builder), prior=prior)
    fitted = fit_predictor(features(np.array(chosen)), target.latencies(chosen), seed=0, layout=features.layout)
    return fitted.predict(features(np.array(target.test)))


def samples_saved(rows: list[dict[str, Any]], sizes: tuple[int, ...]) -> int | None:
    """Fewest samples with which predictions from both reach the tau of the last size but one with neither, if any."""
    wanted = next(r for r in rows if r["samples"] == sizes[-2])["neither, tau"]
    return min((r["samples"] for r in rows if r["both, tau"] >= wanted), default=None)


def won(rows: list[dict[str, Any]], size: int) -> float:
    """Tau of predictions that begin with both above that of those that begin with nothing."""
    row = next(r for r in rows if r["samples"] == size)
    return float(row["both, tau"] - row["neither, tau"])


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--data", type=Path, help="folder that keeps measurements, so that a run can go on")
    options.add_argument("--seconds", type=float, default=SECONDS, help="measuring time of a benchmark_app process")
    options.add_argument("--minutes", type=float, help="stop measuring after this time; go on with the same --data")
    main(options, run)
