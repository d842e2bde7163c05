"""Packages for servers out of a finished run, and their verification where they will be served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from qnas_ov.core.errors import PackageError
from qnas_ov.core.fingerprint import digest_file
from qnas_ov.deploy import InputSettings, Samples, open_network, read_manifest, read_samples, read_tensors
from qnas_ov.measure import check_device
from qnas_ov.pipeline._outputs import load_result
from qnas_ov.pipeline._samples import find_metric
from qnas_ov.tasks import Metric

_FIDELITY_TOLERANCE = 0.02


@dataclass(frozen=True)
class Packaged:
    """A package that was written.

    Attributes:
        folder: Where.
        format: For which server.
        name: Name of the model there.
        candidate: Id of the candidate.
        batch: "dynamic", or the samples that one inference takes.
        inference_precision: The hint it was measured under.
        measured: Its measured numbers, by column of `pareto.csv`.
        metric: Column of the accuracy.
        inputs: What it takes: names, types and shapes.
        manifest_sha256: SHA-256 of its manifest, which holds those of all other files.
        notes: What the server does otherwise than the measurement.
    """

    folder: Path
    format: str
    name: str
    candidate: str
    batch: int | str
    inference_precision: str
    measured: dict[str, float]
    metric: str
    inputs: tuple[str, ...]
    manifest_sha256: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The package as JSON."""
        return {**asdict(self), "folder": str(self.folder), "inputs": list(self.inputs), "notes": list(self.notes)}


@dataclass(frozen=True)
class Repeated:
    """What the recorded samples gave again.

    Attributes:
        metric: Column of the metric.
        num_samples: How many there are.
        recorded: The metric when the package was made.
        value: The metric now.
        changed_top1: Samples whose largest output is another one now; None where outputs are no scores of classes.
    """

    metric: str
    num_samples: int
    recorded: float
    value: float
    changed_top1: int | None


@dataclass(frozen=True)
class PackageCheck:
    """A package that holds what it says.

    Attributes:
        folder: The package.
        num_files: Files whose digests were right.
        device: Where it was loaded.
        inference_precision: Under which hint.
        repeated: What its samples gave; None if it has none.
        manifest_sha256: SHA-256 of its manifest.
    """

    folder: Path
    num_files: int
    device: str
    inference_precision: str
    repeated: Repeated | None
    manifest_sha256: str

    def to_json(self) -> dict[str, Any]:
        """The result as JSON."""
        return {**asdict(self), "folder": str(self.folder)}


def run_package(
    run: Path,
    *,
    select: str,
    format: str,
    out: Path | None = None,
    max_drop: float | None = None,
    name: str | None = None,
    inputs: InputSettings | None = None,
) -> Packaged:
    """Packages a candidate of a finished run for a server.

    Args:
        run: The run folder.
        select: "fastest", "smallest", "most-accurate", "knee", or the id of a candidate, see `select_candidate`.
        format: One of `qnas_ov.deploy.FORMATS`.
        out: A new folder; `packages/<candidate>-<format>` in the run folder if left out.
        max_drop: Largest loss of the metric against the float network under f32, both on validation data.
        name: Name of the model on the server; the network's own if left out.
        inputs: What the package takes; what suits the format if left out.

    Raises:
        QnasError: If the run is not finished, nothing fits the selection, or the package cannot be written.
    """
    result = load_result(run)
    candidate = result.select(select, max_drop=max_drop)
    inputs = inputs or InputSettings()
    target = out or run / "packages" / "-".join([candidate, format, *_describe_inputs(inputs)])
    result.package(candidate, target, format=format, name=name, inputs=inputs)
    manifest = read_manifest(target)
    layout = manifest["layout"]
    return Packaged(
        folder=target,
        format=format,
        name=layout["name"],
        candidate=candidate,
        batch=layout["batch"],
        inference_precision=manifest["inference_precision"],
        measured=dict(manifest.get("measured", {})),
        metric=result.metric,
        manifest_sha256=digest_file(target / "manifest.json"),
        inputs=tuple(f"{t['name']}: {t['dtype']} {t['shape']}" for t in layout["inputs"]),
        notes=tuple(layout["notes"]),
    )


def _describe_inputs(inputs: InputSettings) -> list[str]:
    """What tells a package's folder from that of another with the same candidate and format."""
    size = inputs.image_size
    parts = {
        "static": inputs.batch == 1,
        f"batch{inputs.batch}": inputs.batch not in (None, 1),
        "embedded": inputs.embed is True,
        "tensors": inputs.embed is False,
        f"{size[0]}x{size[1]}" if size else "": size is not None,
        inputs.color: inputs.color != "rgb",
        "nosamples": not inputs.samples,
    }
    return [part for part, holds in parts.items() if holds]


def verify_package(folder: Path) -> PackageCheck:
    """Checks a package: digests, that OpenVINO loads and compiles it, and the accuracy on its recorded samples.

    It runs under the inference precision it was measured under. Bits are not promised to be the same on another
    machine: one sample, or two of 64, may get another class or change the metric; metrics that
    do not count classes may move by 0.02, rank correlations by 0.05.

    Args:
        folder: A package of `qnas-ov package`, or `deploy/<candidate>` of a run.

    Raises:
        PackageError: What does not hold; the message names the file.
        InputError: If the device of the package is not there.
    """
    manifest = read_manifest(folder)
    _check_version(folder, manifest)
    try:
        device = check_device(str(manifest["machine"]["device"]))
        hint = str(manifest["inference_precision"])
        model = folder / manifest.get("layout", {"model": "openvino_model.xml"})["model"]
        record = _read_record(manifest)
    except (KeyError, TypeError, ValueError) as error:
        raise PackageError(
            f"the manifest of '{folder}' is damaged, it does not give what it must ({error}): make the package again"
        ) from error
    if model.relative_to(folder).as_posix() not in manifest["files"]:
        raise PackageError(f"'{model}' must be the network of the package and is not: make the package again")
    batch = read_tensors(model).batch
    try:
        core, network = open_network(model)
        compiled = core.compile_model(
            network, device, {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise PackageError(f"'{model}' does not load on {device}: {reason}") from error
    repeated = None
    if record is not None:
        repeated = _repeat(compiled, batch, read_samples(folder / record["file"]), record, folder)
    return PackageCheck(folder, len(manifest["files"]), device, hint, repeated, digest_file(folder / "manifest.json"))


def _read_record(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the manifest records of the samples; the file must be one whose digest was checked."""
    stated = manifest.get("samples")
    if stated is None:
        return None
    record = {"file": str(stated["file"]), "metric": str(stated["metric"]), "value": float(stated["value"])}
    if record["file"] not in manifest["files"]:
        raise ValueError(f"'{record['file']}' is no file of the package")
    return record


def _check_version(folder: Path, manifest: Mapping[str, Any]) -> None:
    minimum, installed = str(manifest.get("minimum_openvino", "0")), ov.get_version()
    if _numbers(installed) < _numbers(minimum):
        raise PackageError(
            f"the package '{folder}' needs OpenVINO {minimum} or newer, here is {installed.split('-')[0]}: update it"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split(".")[:2] if part.isdigit())


def _repeat(
    compiled: ov.CompiledModel, batch: int | None, samples: Samples, record: Mapping[str, Any], folder: Path
) -> Repeated:
    metric = find_metric(record["metric"])
    outputs = _infer(compiled, samples, batch or len(samples), folder)
    if outputs.shape != samples.outputs.shape:
        raise PackageError(
            f"the network in '{folder}' gives outputs of shape {outputs.shape} where {samples.outputs.shape} is "
            "recorded: make the package again"
        )
    changed = int((outputs.argmax(-1) != samples.outputs.argmax(-1)).sum()) if metric.classes else None
    recorded, value = record["value"], metric.value(outputs, samples.target)
    repeated = Repeated(metric.column, len(samples) // metric.rows, recorded, value, changed)
    _judge(repeated, metric, folder)
    return repeated


def _infer(compiled: ov.CompiledModel, samples: Samples, batch: int, folder: Path) -> np.ndarray:
    """The first output for all samples; a fixed batch is filled up with copies of the last one."""
    request = compiled.create_infer_request()
    parts = []
    try:
        for start in range(0, len(samples), batch):
            part = {name: array[start : start + batch] for name, array in samples.inputs.items()}
            given = len(next(iter(part.values())))
            if given < batch:
                part = {n: np.concatenate([a, np.repeat(a[-1:], batch - given, axis=0)]) for n, a in part.items()}
            parts.append(np.array(request.infer(part)[0][:given], dtype=np.float32))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise PackageError(f"the network in '{folder}' does not run on its recorded samples: {reason}") from error
    return np.concatenate(parts)


def _judge(found: Repeated, metric: Metric, folder: Path) -> None:
    allowed = 1 + found.num_samples // 64
    if metric.per_sample and metric.classes:
        tolerance = (allowed + 1e-6) / found.num_samples
    elif metric.classes:  # one class changed may move it far; none changed does not move it
        tolerance = np.inf if found.changed_top1 else 1e-6
    else:
        tolerance = metric.tolerance
    if not abs(found.value - found.recorded) <= tolerance or (found.changed_top1 or 0) > allowed:
        changed = "" if found.changed_top1 is None else f", and {found.changed_top1} of them get another class"
        limit = f"{allowed} of them" if metric.classes else f"it by {metric.tolerance:g}"
        raise PackageError(
            f"the package '{folder}' does not repeat its accuracy: {found.metric} on {found.num_samples} recorded "
            f"samples is {found.value:.4f}, recorded {found.recorded:.4f}{changed}; {limit} may differ between "
            "machines: serve it on a CPU like that of its manifest, or package another candidate"
        )
