"""Finished runs made by hand: a tiny classifier as every candidate, and tables to choose from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pandas as pd
from openvino import opset13 as ops

from qnas_ov.deploy import Samples, write_package

LABELS = ("cat", "dog", "emu", "fox")
NUM_SAMPLES = 24

# validation accuracy, test accuracy, latency, size: by test data every rule would choose otherwise.
FRONT = {
    "c1": (0.80, 0.99, 1.0, 4000),
    "c2": (0.90, 0.80, 1.5, 2000),
    "c3": (0.91, 0.81, 3.0, 3000),
    "c4": (0.95, 0.82, 5.0, 5000),
}


def classifier(seed: int = 0, *, batch: int = -1, name: str = "x", width: int = 16) -> ov.Model:
    """A network of two layers: (batch, 8) floats to four scores."""
    rng = np.random.default_rng(seed)
    x = ops.parameter([batch, 8], np.float32, name=name)
    x.output(0).set_names({name})
    hidden = ops.relu(ops.matmul(x, ops.constant(rng.normal(size=(8, width)).astype(np.float32)), False, False))
    scores = ops.matmul(hidden, ops.constant(rng.normal(size=(width, 4)).astype(np.float32)), False, False)
    scores.output(0).set_names({"scores"})
    return ov.Model([ops.result(scores)], [x], "classifier")


def write_candidate(
    folder: Path,
    *,
    model: ov.Model | None = None,
    hint: str = "f32",
    config: dict[str, Any] | None = None,
    preprocessor: dict[str, Any] | None = None,
    companions: dict[str, bytes] | None = None,
    inputs: dict[Any, np.ndarray] | None = None,
    with_samples: bool = True,
    **changes: Any,
) -> Path:
    """A candidate's package as a search leaves it, with 24 samples of which it gets 18 right."""
    model = model or classifier()
    if inputs is None:
        x = np.random.default_rng(1).normal(size=(NUM_SAMPLES, 8)).astype(np.float32)
        inputs = {next(iter(model.input(0).names), 0): x}
    saved = folder.parent / f"{folder.name}.xml"
    saved.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, saved, compress_to_fp16=False)
    compiled = ov.Core().compile_model(saved, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    rows = [{name: array[i : i + 1] for name, array in inputs.items()} for i in range(NUM_SAMPLES)]
    outputs = np.concatenate([compiled(row)[0] for row in rows])
    target = outputs.argmax(1)
    target[:6] = (target[:6] + 1) % outputs.shape[1]
    manifest = {
        "candidate": folder.name,
        "model": {"name": "tiny classifier", "source": "made by the tests", "license": "CC-BY-4.0"},
        "policy": {"layer.0": "float"},
        "inference_precision": hint,
        "units": {"layer.0": {"requested": "float", "realised": hint}},
        "measured": {"test_accuracy_top1": 0.75, "latency_ms": 1.0, "size_bytes": 768.0},
        "machine": {"device": "CPU"},
        "labels": list(LABELS),
        "minimum_openvino": ".".join(ov.get_version().split(".")[:2]),
        **changes,
    }
    if with_samples:
        manifest["samples"] = {
            "file": "samples.npz", "count": NUM_SAMPLES, "split": "test", "metric": "accuracy_top1", "value": 0.75,
        }  # fmt: skip
    write_package(
        folder,
        model=saved,
        config=config,
        preprocessor=preprocessor or {"size": 8},
        manifest=manifest,
        samples=Samples(inputs, outputs, target).to_arrays() if with_samples else None,
        companions=companions,
    )
    saved.unlink()
    saved.with_suffix(".bin").unlink()
    return folder


def write_run(folder: Path) -> Path:
    """A finished run with four candidates."""
    columns = ("accuracy_top1", "test_accuracy_top1", "latency_ms", "size_bytes")
    for seed, name in enumerate(FRONT):
        write_candidate(folder / "deploy" / name, model=classifier(seed), hint="bf16" if name == "c4" else "f32")
    front = pd.DataFrame([{"candidate": n, **dict(zip(columns, v, strict=True))} for n, v in FRONT.items()])
    front.to_csv(folder / "pareto.csv", index=False)
    baselines = [{"baseline": "float-f32", "accuracy_top1": 0.95}, {"baseline": "int8-f32", "accuracy_top1": 0.5}]
    pd.DataFrame(baselines).to_csv(folder / "baselines.csv", index=False)
    (folder / "predictors.json").write_text("{}")
    (folder / "space.json").write_text(json.dumps({"metric": "accuracy_top1"}))
    return folder
