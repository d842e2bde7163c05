"""Where the time of a network goes, kernel by kernel; in a process of its own, since counting takes time."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from qnas_ov.core.errors import MeasurementError
from qnas_ov.measure.benchmark_app import LONGEST_MS, parse_report, start_benchmark_app
from qnas_ov.measure.precision import INT8, kernel_precision
from qnas_ov.measure.settings import RunSettings

CONVERSIONS = "reorders and conversions"
OTHER = "other"
_CONVERTING = {"Reorder", "Convert"}
_FLOATS = {"f32", "bf16", "f16"}
_PORT_TYPES = {"FP32": "f32", "BF16": "bf16", "FP16": "f16", "I8": "i8", "U8": "u8"}


@dataclass(frozen=True)
class TimedKernel:
    """A kernel of the compiled network.

    Attributes:
        name: Its name.
        kind: Its type, for instance "FullyConnected".
        implementation: What computes it, for instance "brgemm_avx512_amx_i8".
        precision: What it computes in: "int8", "bf16", "f16", "f32", or another type.
        time_ms: Mean time of one execution.
        operations: Operations of the network that it computes.
    """

    name: str
    kind: str
    implementation: str
    precision: str
    time_ms: float
    operations: tuple[str, ...]


@dataclass(frozen=True)
class Profile:
    """Where the time of a network goes.

    Attributes:
        total_ms: Sum of the kernels' times.
        shares: Share of it by precision of the kernels ("int8", "bf16", "f16", "f32"), in reorders and conversions, and
            in others (index arithmetic and the like); they sum to 1.
        kernels: The kernels that ran, costliest first.
    """

    total_ms: float
    shares: Mapping[str, float]
    kernels: tuple[TimedKernel, ...]

    @property
    def costliest(self) -> tuple[TimedKernel, ...]:
        """The ten kernels that take most, costliest first."""
        return self.kernels[:10]

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON."""
        return {**asdict(self), "shares": dict(self.shares)}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Profile:
        """The profile that `to_json` wrote."""
        kernels = tuple(TimedKernel(**{**k, "operations": tuple(k["operations"])}) for k in record["kernels"])
        return Profile(record["total_ms"], dict(record["shares"]), kernels)


def profile_network(model: Path, settings: RunSettings, *, iterations: int, timeout_s: float = 600.0) -> Profile:
    """Runs a network with performance counters on.

    Args:
        model: The .xml.
        settings: How it is run.
        iterations: Inferences to average over; fewer where they take over a minute, but eight.
        timeout_s: After this the run counts as failed.

    Raises:
        MeasurementError: If benchmark_app gives no counters; the text holds its last lines.
    """
    with tempfile.TemporaryDirectory(prefix="qnas-ov-") as folder:
        graph = Path(folder) / "executed.xml"
        options = ["-niter", str(iterations), "-report_type", "no_counters", "-pc", "-exec_graph_path", str(graph)]
        console = start_benchmark_app(
            model, settings, options, folder=Path(folder), timeout_s=timeout_s, limit_ms=LONGEST_MS
        )
        parse_report(
            (Path(folder) / "benchmark_report.json").read_text(), console, settings, percentile=50, measured={}
        )
        return read_executed_graph(graph.read_text() if graph.exists() else "")


def read_executed_graph(text: str) -> Profile:
    """Reads the graph that benchmark_app leaves behind: kernels with their precision and mean time.

    Raises:
        MeasurementError: If it is no such graph, or no kernel in it ran.
    """
    try:
        layers = ET.fromstring(text).findall("./layers/layer")  # noqa: S314 - OpenVINO wrote it a moment ago
        ran = [_kernel(layer) for layer in layers if _time_us(layer) is not None]
    except (ET.ParseError, ValueError, KeyError) as error:
        raise MeasurementError(f"benchmark_app's executed graph cannot be read: {error}") from error
    total = sum(k.time_ms for k in ran)
    if not ran:
        raise MeasurementError("benchmark_app's executed graph tells no times: the device has no performance counters")
    if total <= 0:
        raise MeasurementError(
            "benchmark_app's executed graph tells no times: every kernel took less than the microsecond it counts in"
        )
    shares: dict[str, float] = defaultdict(float)
    for kernel in ran:
        shares[_share(kernel)] += kernel.time_ms / total
    ran.sort(key=lambda k: -k.time_ms)
    return Profile(total, dict(sorted(shares.items(), key=lambda s: -s[1])), tuple(ran))


def _share(kernel: TimedKernel) -> str:
    if kernel.kind in _CONVERTING:
        return CONVERSIONS
    return kernel.precision if kernel.precision in {"int8", *_FLOATS} else OTHER


def _time_us(layer: ET.Element) -> float | None:
    data = layer.find("data")
    time = "not_executed" if data is None else data.get("execTimeMcs", "not_executed")
    return None if time == "not_executed" else float(time)


def _kernel(layer: ET.Element) -> TimedKernel:
    data = layer.find("data")
    time_us = _time_us(layer)
    assert data is not None
    assert time_us is not None
    inputs = [_PORT_TYPES.get(p.get("precision", ""), "other") for p in layer.findall("./input/port")]
    kind = layer.attrib["type"]
    precision = kernel_precision(kind, data.get("runtimePrecision", ""), inputs)
    return TimedKernel(
        name=layer.attrib["name"],
        kind=kind,
        implementation=data.get("primitiveType", ""),
        precision="int8" if precision in INT8 else precision,
        time_ms=time_us / 1e3,
        operations=tuple(n for n in data.get("originalLayersNames", "").split(",") if n),
    )
