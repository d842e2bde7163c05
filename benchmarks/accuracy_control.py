"""Keeping an output error in INT8: qnas-ov against `nncf.quantize_with_accuracy_control` and plain `nncf.quantize`.

All get the same network (digits-vit as an OpenVINO IR), the same calibration samples and the same validation samples,
and may not exceed the same output error; all run in processes of their own. The output error is used because it needs
no labels, and because some hundred labels cannot tell these policies apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from _common import Outcome, at_least, at_most, main, parser, peak_memory_gb

from qnas_ov.families import FAMILIES, MODELS
from qnas_ov.ir import export_supernet, save_ir
from qnas_ov.measure import LatencyMeter, RunSettings, predict_outputs
from qnas_ov.pipeline._loading import SPLIT_SEED
from qnas_ov.tasks import TASKS, Task, load_samples, output_error
from qnas_ov.terminal import TerminalProgress

HINT = "f32"  # the one that NNCF evaluates under
RANKING_SAMPLES = 16
METHODS = ("nncf.quantize", "nncf.quantize_with_accuracy_control", "qnas-ov sensitivity", "qnas-ov search")


def run(arguments: argparse.Namespace) -> Outcome:
    progress = TerminalProgress()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = write_inputs(folder)
        limit = 0.5 * validation_error(folder, quantize(folder, task))
        progress.begin(f"keeping an output error of {limit:.5f}", len(METHODS))
        rows, front = [], []
        for method in METHODS:
            record = run_apart(method, folder, limit, quick=arguments.quick)
            front = record.pop("front", front)
            rows.append({"method": method, **record, **judge(folder / f"{method}.xml", folder, task)})
            progress.step(f"{method}: {record['seconds']:.1f} s")
        progress.end()
        time_all(rows, folder, rounds=2 if arguments.quick else 5)
    by_method = {r["method"]: r for r in rows}
    control, ours = by_method[METHODS[1]], by_method[METHODS[2]]
    goals = {
        "times faster than accuracy control": at_least(control["seconds"] / ours["seconds"], 5.0),
        "latency over that of accuracy control": at_most(ours["latency ms"] / control["latency ms"], 1.05),
        "validation error over the limit": at_most(ours["validation error"] / limit, 1.0),
    }
    figures = {n: g.value for n, g in goals.items()} | {
        "limit of the output error": limit,
        "points on the front that accuracy control cannot give": float(len(front)),
        "peak memory over that of accuracy control": ours["peak MB"] / control["peak MB"],
    }
    return Outcome(figures, goals, {"one network that keeps the limit": rows, "the front of the search": front})


def write_inputs(folder: Path) -> Task:
    """The network and the samples as a user would bring them; the splits are those of `--data`."""
    supernet, digits = FAMILIES.get("vit").load(MODELS.get("digits-vit").weights.folder), TASKS.get("digits")()
    save_ir(export_supernet(supernet), folder / "model.xml")
    parts = [digits.calibration, digits.validation, digits.test]
    np.savez(folder / "samples.npz", pixel_values=np.concatenate([p.inputs["pixel_values"] for p in parts]))
    return samples_of(folder)


def samples_of(folder: Path) -> Task:
    return load_samples(
        folder / "samples.npz", inputs={"pixel_values": ((1, 8, 8), "float32")}, num_classes=10, seed=SPLIT_SEED
    )


def run_apart(method: str, folder: Path, limit: float, *, quick: bool) -> dict[str, Any]:
    """Runs a method in a process of its own, which writes `<method>.xml` and prints a record."""
    command = [sys.executable, __file__, "--method", method, "--folder", str(folder), "--limit", repr(limit)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / f"cache of {method}")}  # no bank from earlier
    done = subprocess.run(command + ["--quick"] * quick, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def perform(method: str, folder: Path, limit: float, *, quick: bool) -> None:
    """The body of such a process. Seconds count from the loaded libraries to the network in memory."""
    task, extra = samples_of(folder), {}
    import nncf

    import qnas_ov.pipeline

    nncf.set_log_level(40)
    start = time.perf_counter()
    if method == "nncf.quantize":
        model = quantize(folder, task)
    elif method == "nncf.quantize_with_accuracy_control":
        model = control_accuracy(folder, task, limit)
    elif method == "qnas-ov sensitivity":
        model, extra = with_sensitivity(folder, limit, qnas_ov.pipeline)
    else:
        model, extra = with_search(folder, limit, qnas_ov.pipeline, quick=quick)
    seconds = time.perf_counter() - start
    save_ir(model, folder / f"{method}.xml")
    print(json.dumps({"seconds": seconds, "peak MB": peak_memory_gb() * 1e3, **extra}))


def dataset(task: Task, split: str) -> Any:
    """Items are (number, pixels): NNCF hands the metric a part of them in an order of its own."""
    import nncf

    pixels = getattr(task, split).inputs["pixel_values"]
    return nncf.Dataset([(i, pixels[i : i + 1]) for i in range(len(pixels))], lambda item: item[1])


def quantize(folder: Path, task: Task) -> ov.Model:
    import nncf

    return nncf.quantize(
        ov.Core().read_model(folder / "model.xml"),
        dataset(task, "calibration"),
        subset_size=len(task.calibration),
        model_type=nncf.ModelType.TRANSFORMER,
    )


def control_accuracy(folder: Path, task: Task, limit: float) -> ov.Model:
    """NNCF's own loop; its metric is 1 minus the output error, so that a drop is an error.

    Without SmoothQuant: with it NNCF 3.4 gives units that it reverts the weights from before smoothing, and the error
    grows with every unit until nothing is left in INT8.
    """
    import nncf

    core = ov.Core()
    core.set_property({"ENABLE_MMAP": False})  # NNCF's accuracy control crashes on mapped weights
    model = core.read_model(folder / "model.xml")
    reference = outputs_of(folder / "model.xml", task)

    def validate(compiled: ov.CompiledModel, items: Any) -> tuple[float, list[float]]:
        outputs, numbers = reference.copy(), []
        for number, pixels in items:
            outputs[number] = compiled(pixels)[0][0]
            numbers.append(number)
        scores = 1.0 - output_error(outputs, reference)[numbers]
        return float(scores.mean()), scores.tolist()

    return nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=dataset(task, "calibration"),
        validation_dataset=dataset(task, "validation"),
        validation_fn=validate,
        max_drop=limit,
        drop_type=nncf.DropType.ABSOLUTE,
        subset_size=len(task.calibration),
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_quantization_parameters=nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
        ),
    )


def settings(folder: Path) -> dict[str, Any]:
    return {
        "model": str(folder / "model.xml"),
        "data": str(folder / "samples.npz"),
        "inference_precision": HINT,
    }


def with_sensitivity(folder: Path, limit: float, pipeline: Any) -> tuple[ov.Model, dict[str, Any]]:
    """`qnas-ov sensitivity --max-error`, with no bank in the cache."""
    result = pipeline.run_sensitivity(
        {**settings(folder), "max_error": limit},
        out=folder / "sensitivity",
        samples=RANKING_SAMPLES,
        latency=False,
        progress=TerminalProgress(),
    )
    model = ov.Core().read_model(folder / "sensitivity" / "policy.xml")
    return model, {"float units": len(result.policy.float_units)}


def with_search(folder: Path, limit: float, pipeline: Any, *, quick: bool) -> tuple[ov.Model, dict[str, Any]]:
    """`qnas-ov search --max-error`; its fastest network."""
    result = pipeline.run_search(
        {
            **settings(folder), "max_error": limit, "front_size": 8, "latency_seconds": 0.2,
            "evaluations": 24 if quick else 40, "population": 12 if quick else 20,
        },
        out=folder / "run",
        progress=TerminalProgress(),
    )  # fmt: skip
    front = [
        {
            "network": r["candidate"], "test error": r["test_output_error"], "latency ms": r["latency_ms"],
            "size MB": r["size_bytes"] / 1e6, "float units": r["units_float"],
        }
        for _, r in result.front.iterrows()
    ]  # fmt: skip
    fastest = result.front.loc[result.front["latency_ms"].idxmin()]
    path = result.folder / "deploy" / str(fastest["candidate"]) / "openvino_model.xml"
    return ov.Core().read_model(path), {"float units": int(fastest["units_float"]), "front": front}


def outputs_of(model: ov.Model | Path, task: Task, split: str = "validation") -> np.ndarray:
    inputs = getattr(task, split).inputs
    return predict_outputs(model, inputs, device="CPU", inference_precision=HINT)[0]


def validation_error(folder: Path, model: ov.Model) -> float:
    task = samples_of(folder)
    return float(output_error(outputs_of(model, task), outputs_of(folder / "model.xml", task)).mean())


def judge(path: Path, folder: Path, task: Task) -> dict[str, Any]:
    """Errors on validation data, and on test data that no method saw."""
    found = {}
    for split in ("validation", "test"):
        reference, outputs = outputs_of(folder / "model.xml", task, split), outputs_of(path, task, split)
        found[f"{split} error"] = float(output_error(outputs, reference).mean())
        found[f"{split} agreement"] = float((outputs.argmax(1) == reference.argmax(1)).mean())
    return {**found, "size MB": path.with_suffix(".bin").stat().st_size / 1e6}


def time_all(rows: list[dict[str, Any]], folder: Path, *, rounds: int) -> None:
    """Adds benchmark_app latencies, measured in interleaved rounds."""
    pinned = RunSettings(device="CPU", shapes={"pixel_values": [1, 1, 8, 8]}, inference_precision=HINT)
    meter = LatencyMeter(folder / "nncf.quantize.xml", pinned, seconds=0.3)
    found: dict[str, list[float]] = {r["method"]: [] for r in rows}
    for _ in range(rounds):
        for method, latencies in found.items():
            latencies.append(meter.measure(folder / f"{method}.xml", pinned).latency_ms)
    for row in rows:
        row["latency ms"] = float(np.median(found[row["method"]]))


def dispatch(options: argparse.ArgumentParser, run_all: Callable[[argparse.Namespace], Outcome]) -> None:
    for name in ("--method", "--folder"):
        options.add_argument(name, help=argparse.SUPPRESS)
    options.add_argument("--limit", type=float, help=argparse.SUPPRESS)
    arguments, _ = options.parse_known_args()
    if arguments.method is None:
        main(options, run_all)
    else:
        perform(arguments.method, Path(arguments.folder), arguments.limit, quick=arguments.quick)


if __name__ == "__main__":
    dispatch(parser(__doc__), run)
