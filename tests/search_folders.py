"""Run folders as a search leaves them, made without one: every file that pages are rendered from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qnas_ov.core.records import Evaluation
from qnas_ov.journal import Journal
from qnas_ov.recipe import Recipe

BOTH = ["int8", "float"]
BLOCKS, DEPTHS, WIDTHS = 3, [1, 2, 3], [16, 32, 64]
PARTS = ("attention.key+query+value", "attention/ScaledDotProductAttention", "output.dense")
MACHINE = {
    "device": "CPU", "device_name": "Some CPU", "cpu": "Some CPU @ 2 GHz", "flags": ["avx2", "avx512_vnni"],
    "cores_usable": 2, "cores_physical": 2, "memory_bytes": 8_000_000_000, "governor": None, "python": "3.11.7",
    "inference_precisions": ["f32"], "packages": {"openvino": "2026.4.1", "nncf": "3.4.0", "torch": None},
}  # fmt: skip


def unit_keys(suffix: str = "") -> list[str]:
    return ["embeddings", *(f"layer.{b}.{p}{suffix}" for b in range(BLOCKS) for p in PARTS), "classifier"]


def _space(metric: str, suffix: str, model: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    def active(key: str) -> dict[str, Any]:
        return {"active_if": {"knob": "depth", "at_least": int(key.split(".")[1]) + 1}} if key[:6] == "layer." else {}

    widths = [f"layer.{b}.ffn" for b in range(BLOCKS)]
    units = [
        {
            "key": k, "knob": f"precision.{k}", "operations": [k], "params": 100, "macs": 1000,
            "blocks": [".".join(k.split(".")[:2]) if k[:6] == "layer." else ""],
            "widths": [f"layer.{k.split('.')[1]}.ffn"] if "output" in k else [],
        }
        for k in unit_keys(suffix)
    ]  # fmt: skip
    return {
        "format": 1,
        "model": {"name": "tiny", "source": "made by the tests", "license": "Apache-2.0", "sha256": "a" * 64, **model},
        "data": {
            "name": "digits", "source": "made by the tests", "num_samples": {"validation": 100, "test": 100},
            "sha256": {"validation": "b" * 64, "test": "c" * 64}, **data,
        },
        "metric": metric,
        "objectives": [
            {"name": "accuracy", "column": metric, "direction": "max"},
            {"name": "latency", "column": "latency_ms", "direction": "min"},
        ],
        "notes": ["A note on what was done otherwise."],
        "knobs": [
            {"name": "depth", "kind": "depth", "choices": DEPTHS},
            *({"name": w, "kind": "width", "choices": WIDTHS, **active(w)} for w in widths),
            *({"name": u["knob"], "kind": "precision", "choices": BOTH, **active(u["key"])} for u in units),
            {"name": "inference_precision", "kind": "inference_precision", "choices": ["f32"]},
        ],
        "units": units,
        "log10_candidates": 6.2,
    }  # fmt: skip


def _network(rng: np.random.Generator, suffix: str) -> dict[str, Any]:
    depth = int(rng.choice(DEPTHS))
    kept = [k for k in unit_keys(suffix) if k[:6] != "layer." or int(k.split(".")[1]) < depth]
    widths = {f"layer.{b}.ffn": int(rng.choice(WIDTHS)) for b in range(depth)}
    policy = {k: str(rng.choice(["int8", "float"])) for k in kept}
    return {"architecture": {"depth": depth, **widths}, "policy": policy, "inference_precision": "f32"}


def _judged(metric: str, accuracy: float, latency: float) -> dict[str, float]:
    return {
        metric: accuracy, f"test_{metric}": accuracy - 0.004,
        **{f"{s}{metric}_ci95_low": accuracy - 0.03 for s in ("", "test_")},
        **{f"{s}{metric}_ci95_high": accuracy + 0.02 for s in ("", "test_")},
        "output_error": 0.1, "test_output_error": 0.11, "latency_ms": latency, "latency_ms_low": 0.95 * latency,
        "latency_ms_high": 1.1 * latency, "latency_rounds": 3, "size_bytes": 1e6 * latency, "macs": 5e6, "params": 2e5,
    }  # fmt: skip


def write_searched_run(
    folder: Path,
    *,
    finished: bool = True,
    seed: int = 0,
    metric: str = "accuracy_top1",
    recipe: dict[str, Any] | None = None,
    machine: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    hostile: str = "",
) -> Path:
    """A run of 20 evaluations, one failed, with four networks and a baseline on its front.

    Args:
        folder: Where.
        finished: Whether it got as far as verification.
        seed: Of the figures.
        metric: Column of the accuracy.
        recipe: Settings that differ.
        machine: Facts of the machine that differ.
        model: Facts of the network that differ.
        data: Facts of the data that differ.
        hostile: Text to put wherever users can name something.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    settings = {"model": f"models/tiny{hostile}", "evaluations": 20, "population": 8, **(recipe or {})}
    (folder / "recipe.yaml").write_text(Recipe(**settings).to_yaml())
    space = _space(metric, hostile, {"name": f"tiny{hostile}", **(model or {})}, data or {})
    (folder / "space.json").write_text(json.dumps(space))
    (folder / "machine.json").write_text(json.dumps({**MACHINE, **(machine or {})}))
    networks = {f"c{i:03d}": _network(rng, hostile) for i in range(1, 21)}
    latencies = {name: round(float(rng.uniform(0.3, 2.0)), 3) for name in networks}
    accuracies = {name: round(0.7 + 0.1 * latencies[name] + float(rng.uniform(0, 0.05)), 3) for name in networks}
    journal = Journal(folder / "evaluations.sqlite")
    journal.set_meta("inputs", {"the version of qnas-ov": "0.1.0"})
    for name, latency in (("float-f32", 2.0), ("int8-f32", 1.2)):
        values = {metric: 0.9, "latency_ms": latency, "size_bytes": 1e6, "macs": 5e6, "params": 2e5}
        genotype = (2, 1) if name == "int8-f32" else ()
        journal.append(Evaluation(name, "baseline", name, genotype, "ok", values, {"seconds": 1.0}))
    for i, (name, network) in enumerate(networks.items()):
        if i == 4:
            reason = f"benchmark_app ended with code 1 {hostile}"
            journal.append(Evaluation(name, "search", name, (0, i), "failed", reason=reason))
            continue
        values = {metric: accuracies[name], "latency_ms": latencies[name], "size_bytes": 1e6 * latencies[name]}
        values |= {"macs": 5e6, "params": 2e5}
        details = {"seconds": 1, **network, **({"num_samples": 128, "beaten_by": "c001"} if i in (2, 3) else {})}
        journal.append(Evaluation(name, "search", name, (0, i), "ok", values, details))
    if finished:
        journal.set_meta("stopped", "20 candidates were measured")
    journal.close()
    if finished:
        _finish(folder, space, networks, accuracies, latencies, hostile)
    return folder


def _finish(
    folder: Path,
    space: dict[str, Any],
    networks: dict[str, dict[str, Any]],
    accuracies: dict[str, float],
    latencies: dict[str, float],
    hostile: str,
) -> None:
    metric = space["metric"]
    chosen = sorted((n for n in list(networks)[5:9]), key=lambda n: latencies[n])
    whole = {"depth": 3, **{f"layer.{b}.ffn": 64 for b in range(BLOCKS)}}
    policy = dict.fromkeys((u["key"] for u in space["units"]), "int8")
    networks["int8-f32"] = {"architecture": whole, "policy": policy, "inference_precision": "f32"}
    rows = []
    for name in (*chosen, "int8-f32"):
        accuracy, latency = accuracies.get(name, 0.9), latencies.get(name, 1.2)
        row = {"candidate": name, **_judged(metric, accuracy, latency), "speedup_vs_int8": 1.2 / latency}
        row |= {"speedup_vs_f32": 2 / latency, "size_ratio_vs_int8": 1 / latency, "depth": 2, "units_int8": 3}
        for base in ("int8", "f32"):
            row |= {f"test_delta_vs_{base}": accuracy - 0.9, f"test_p_vs_{base}": 0.5}
        rows.append(row)
        network = networks[name]
        units = {
            k: {"requested": p, "realised": "int8" if p == "int8" else "f32"} for k, p in network["policy"].items()
        }
        key = next((k for k, p in network["policy"].items() if p == "int8"), None)
        if key is not None:
            units[key] = {"requested": "int8", "realised": "f32", "why": f"'{key}' is computed by 'x' (MatMul in f32)"}
        (folder / "deploy" / name).mkdir(parents=True)
        manifest = {"candidate": name, **network, "units": units, "labels": [f"zero{hostile}"]}
        (folder / "deploy" / name / "manifest.json").write_text(json.dumps(manifest))
    pd.DataFrame(rows).to_csv(folder / "pareto.csv", index=False)
    baselines = [
        {"baseline": "float-f32", **_judged(metric, 0.9, 2.0)}, {"baseline": "int8-f32", **_judged(metric, 0.9, 1.2)},
    ]  # fmt: skip
    pd.DataFrame(baselines).to_csv(folder / "baselines.csv", index=False)
    scores = {"mape": 0.05, "kendall_tau": 0.8, "num_samples": 19}
    measured = [latencies[n] for n in accuracies]
    points = {"measured": measured, "cross_validated": [1.05 * v for v in measured]}
    points["before_measuring"] = [{"predicted": 0.9, "measured": 1.0}, {"predicted": 1.9, "measured": 2.0}]
    record = {"model": f"ridge{hostile}", "num_training": 19, "cross_validated": scores, "before_measuring": scores}
    (folder / "predictors.json").write_text(json.dumps({"latency_ms": {**record, "points": points}}))
