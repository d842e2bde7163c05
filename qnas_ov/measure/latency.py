"""Latency as the real `benchmark_app` reports it, with the drift of the machine divided out.

Protocol: one process per run, static shape, `-hint latency` (one synchronous request), inference precision pinned,
benchmark_app's own warm-up discarded, the median of the iterations taken. A reference network is measured again
between candidates; a candidate's latency is scaled by how the reference has moved since the start.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import MeasurementError, ReferenceMeasurementError

# What the console script `benchmark_app` runs; started from this interpreter so that it is the installed one.
_BENCHMARK_APP = "from openvino.tools.benchmark.main import main; main()"
_MEDIAN_LINE = re.compile(r"Median:\s+([0-9.]+)\s+(us|ms|s)\b")
_UNIT_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_TAIL_LINES = 4


@dataclass(frozen=True)
class LatencyRun:
    """What one benchmark_app process reported.

    Attributes:
        median_ms: Median latency of an inference.
        average_ms: Mean latency.
        minimum_ms: Shortest inference.
        maximum_ms: Longest inference.
        iterations: Inferences measured.
        compile_ms: Time to compile the network.
        first_inference_ms: The warm-up inference, not in the median.
        median_source: "console" or "report": where the median was read, for its number of digits.
    """

    median_ms: float
    average_ms: float
    minimum_ms: float
    maximum_ms: float
    iterations: int
    compile_ms: float
    first_inference_ms: float
    median_source: str

    def to_json(self) -> dict[str, Any]:
        """The run as JSON."""
        return asdict(self)


def benchmark_app_arguments(
    model: Path, *, device: str, shapes: Mapping[str, Sequence[int]], inference_precision: str, iterations: int
) -> list[str]:
    """The arguments with which benchmark_app is run, without those for its report."""
    shape = ",".join(f"{name}[{','.join(str(d) for d in dims)}]" for name, dims in shapes.items())
    return [
        "-m", str(model), "-d", device, "-hint", "latency", "-niter", str(iterations),
        "-shape", shape, "-infer_precision", inference_precision,
    ]  # fmt: skip


def run_benchmark_app(
    model: Path,
    *,
    device: str,
    shapes: Mapping[str, Sequence[int]],
    inference_precision: str,
    iterations: int,
    timeout_s: float = 600.0,
) -> LatencyRun:
    """Measures an IR once.

    Args:
        model: The .xml.
        device: As OpenVINO spells it.
        shapes: Static shape by input name.
        inference_precision: "f32" or "bf16".
        iterations: Inferences to measure.
        timeout_s: After this the run counts as failed.

    Raises:
        MeasurementError: If benchmark_app crashes, hangs or writes no report; the text holds its last lines.
    """
    arguments = benchmark_app_arguments(
        model, device=device, shapes=shapes, inference_precision=inference_precision, iterations=iterations
    )
    with tempfile.TemporaryDirectory(prefix="qnas-ov-") as folder:
        report = ["-report_type", "no_counters", "-json_stats", "-report_folder", folder]
        command = [sys.executable, "-c", _BENCHMARK_APP, *arguments, *report]
        try:
            # A session of its own: Ctrl-C reaches us alone, and we end the child.
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout_s,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise MeasurementError(f"benchmark_app did not finish within {timeout_s:.0f} s on {model.name}") from error
        if done.returncode != 0:
            raise MeasurementError(
                f"benchmark_app ended with code {done.returncode} on {model.name}: {_tail(done.stdout)}"
            )
        path = Path(folder) / "benchmark_report.json"
        if not path.exists():
            raise MeasurementError(f"benchmark_app wrote no report for {model.name}: {_tail(done.stdout)}")
        return parse_report(path.read_text(), done.stdout)


def _tail(text: str) -> str:
    return " | ".join(line.strip() for line in text.strip().splitlines()[-_TAIL_LINES:])


def parse_report(report: str, console: str) -> LatencyRun:
    """Reads benchmark_app's JSON report and its console text.

    The report gives milliseconds with two decimals, too few for a network below a few milliseconds; the console gives
    the same median in a smaller unit, so that is taken where it stands.

    Raises:
        MeasurementError: If a figure is missing or is no positive number.
    """
    try:
        results = json.loads(report)["execution_results"]
        median, source = float(results["latency (ms)"]), "report"
        line = _MEDIAN_LINE.search(console)
        if line is not None:
            median, source = float(line.group(1)) * _UNIT_MS[line.group(2)], "console"
        run = LatencyRun(
            median_ms=median,
            average_ms=float(results["avg latency"]),
            minimum_ms=float(results["min latency"]),
            maximum_ms=float(results["max latency"]),
            iterations=int(results["total number of iterations"]),
            compile_ms=float(results["compile model time (ms)"]),
            first_inference_ms=float(results["first inference time (ms)"]),
            median_source=source,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise MeasurementError(f"benchmark_app's report cannot be read: {error!r}; {_tail(console)}") from error
    if run.median_ms <= 0 or run.iterations < 1:
        raise MeasurementError(f"benchmark_app reported a median of {median} ms over {run.iterations} iterations")
    return run


@dataclass(frozen=True)
class Latency:
    """One run with the drift of the machine divided out.

    Attributes:
        latency_ms: The run's median over the drift.
        run: What benchmark_app reported.
        drift: How much slower the machine was than when the anchor was set (1.0 is equal).
    """

    latency_ms: float
    run: LatencyRun
    drift: float

    def to_json(self) -> dict[str, Any]:
        """The latency as JSON."""
        return {"latency_ms": self.latency_ms, "drift": self.drift, "run": self.run.to_json()}


class LatencyMeter:
    """Measures networks against a reference network.

    The first reference run is discarded; the next ones set the anchor. After every `every` measured networks the
    reference is measured again, and the median of its last three runs over the anchor is the drift.
    """

    def __init__(
        self,
        reference: Path,
        *,
        device: str,
        shapes: Mapping[str, Sequence[int]],
        reference_precision: str,
        seconds: float,
        every: int = 6,
        anchor_ms: float | None = None,
    ) -> None:
        self._reference = reference
        self._device = device
        self._shapes = dict(shapes)
        self._precision = reference_precision
        self._every = every
        self._since = 0
        self._recent: deque[float] = deque(maxlen=3)
        self.iterations = 20
        self._measure_reference()  # discarded, but tells how many iterations fit
        self.iterations = int(min(2000, max(20, seconds * 1e3 / self._recent.pop())))
        for _ in range(3):
            self._measure_reference()
        self.anchor_ms = anchor_ms if anchor_ms is not None else statistics.median(self._recent)

    def _run(self, model: Path, precision: str, iterations: int) -> LatencyRun:
        return run_benchmark_app(
            model, device=self._device, shapes=self._shapes, inference_precision=precision, iterations=iterations
        )

    def _measure_reference(self) -> None:
        try:
            self._recent.append(self._run(self._reference, self._precision, self.iterations).median_ms)
        except MeasurementError as error:
            raise ReferenceMeasurementError(
                f"the reference network could not be measured ({error}): run again with --resume"
            ) from error
        self._since = 0

    @property
    def drift(self) -> float:
        """How much slower the machine is now than when the anchor was set."""
        return statistics.median(self._recent) / self.anchor_ms

    def measure(self, model: Path, *, inference_precision: str) -> Latency:
        """Measures one IR in one process.

        Raises:
            MeasurementError: If benchmark_app gives no number.
            ReferenceMeasurementError: If it gives none for the reference network.
        """
        if self._since >= self._every:
            self._measure_reference()
        self._since += 1
        run = self._run(model, inference_precision, self.iterations)
        return Latency(run.median_ms / self.drift, run, self.drift)
