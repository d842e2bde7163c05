"""Latency as the real `benchmark_app` reports it, with the drift of the machine divided out.

Protocol: one process per run, static shape, `-hint latency` (one synchronous request), inference precision pinned,
benchmark_app's own warm-up discarded, the median of the iterations taken. A reference network is measured before and
after every run; a latency is scaled by how the reference has moved since the start.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openvino as ov

from qnas_ov.core.errors import MeasurementError, ReferenceMeasurementError
from qnas_ov.core.records import Interval

# What the console script `benchmark_app` runs; started from this interpreter so that it is the installed one.
_BENCHMARK_APP = "from openvino.tools.benchmark.main import main; main()"
_MEDIAN_LINE = re.compile(r"Median:\s+([0-9.]+)\s+(us|ms|s)\b")
_UNIT_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_TAIL_LINES = 4
_GAUGE_MS = 50.0
# A run counts at once if the reference before and after it differs by no more than this; else it is repeated.
_STEADY = 0.10
_ATTEMPTS = 2


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
        latency_ms: The run's median, scaled to the speed of the machine when the anchor was set.
        run: What benchmark_app reported.
        gauge_ms: Latency of the reference network around the run: the mean of before and after.
        gauge_change: By how much these two differ, relative to the smaller one.
        attempts: Runs it took until the machine was steady; the steadiest one counts.
    """

    latency_ms: float
    run: LatencyRun
    gauge_ms: float
    gauge_change: float
    attempts: int

    def to_json(self) -> dict[str, Any]:
        """The latency as JSON."""
        return {**asdict(self), "run": self.run.to_json()}


class Gauge:
    """A reference network, compiled once in this process, that tells in some 50 ms how fast the machine is now.

    A benchmark_app process takes ten times as long, so with it the reference could be measured only now and then, and
    the speed of a shared machine changes faster than that.
    """

    def __init__(
        self, reference: Path, *, device: str, shapes: Mapping[str, Sequence[int]], inference_precision: str
    ) -> None:
        network = ov.Core().read_model(reference)
        self._request = _prepared_request(network, device, shapes, inference_precision)
        self._count = 3
        self.read()
        self._count = int(min(200, max(5, _GAUGE_MS / self.read())))

    def read(self) -> float:
        """Median latency of the reference now, in milliseconds."""
        return statistics.median(_timed_ms(self._request) for _ in range(self._count))


def _prepared_request(
    model: ov.Model, device: str, shapes: Mapping[str, Sequence[int]], inference_precision: str
) -> ov.InferRequest:
    """A request of the network compiled as benchmark_app compiles it, its inputs zero; `model` takes the shapes."""
    model.reshape({name: ov.PartialShape(list(shape)) for name, shape in shapes.items()})
    compiled = ov.Core().compile_model(
        model, device, {"INFERENCE_PRECISION_HINT": inference_precision, "PERFORMANCE_HINT": "LATENCY"}
    )
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        request.get_tensor(port).data[...] = 0
    return request


def _timed_ms(request: ov.InferRequest) -> float:
    start = time.perf_counter()
    request.infer(share_inputs=True)
    return (time.perf_counter() - start) * 1e3


class LatencyDifference:
    """How much faster networks are than one reference, by inferences of both in turn inside this process.

    Between two networks that differ in one layer, separate benchmark_app runs see the machine's noise; inferences that
    alternate see both networks at the same speed of the machine.
    """

    def __init__(
        self,
        reference: ov.Model,
        *,
        device: str,
        shapes: Mapping[str, Sequence[int]],
        inference_precision: str,
        seconds: float = 0.6,
    ) -> None:
        self._settings = (device, dict(shapes), inference_precision)
        self._reference = _prepared_request(reference.clone(), *self._settings)
        warm_ms = statistics.median(_timed_ms(self._reference) for _ in range(4))
        self._pairs = int(min(400, max(15, seconds * 1e3 / (2 * warm_ms))))

    def saved_by(self, model: ov.Model) -> Interval:
        """Milliseconds that an inference of `model` is shorter than one of the reference.

        Returns:
            The median over pairs of inferences, and the 95% interval of that median by order statistics.

        Raises:
            MeasurementError: If the device cannot run the network.
        """
        try:
            request = _prepared_request(model.clone(), *self._settings)
            for _ in range(3):
                _timed_ms(request)
            differences = sorted(_timed_ms(self._reference) - _timed_ms(request) for _ in range(self._pairs))
        except RuntimeError as error:
            raise MeasurementError(f"the network does not run: {str(error).strip().splitlines()[0]}") from error
        # The median lies between these ranks in 95% of cases: a binomial's normal approximation.
        reach = 0.98 * self._pairs**0.5
        low, high = int(max(0, self._pairs / 2 - reach)), int(min(self._pairs - 1, self._pairs / 2 + reach))
        return Interval(statistics.median(differences), differences[low], differences[high])


class LatencyMeter:
    """Measures networks with benchmark_app, between two readings of a reference network.

    The first benchmark_app process is discarded, and readings after it set the anchor. A latency is the run's median
    times anchor over gauge, so that drift of the machine cancels. Where the two readings differ, the machine changed
    speed during the run, which no scaling mends: the run is repeated, and the steadiest counts.
    """

    def __init__(
        self,
        reference: Path,
        *,
        device: str,
        shapes: Mapping[str, Sequence[int]],
        reference_precision: str,
        seconds: float,
        anchor_ms: float | None = None,
    ) -> None:
        self._device = device
        self._shapes = dict(shapes)
        self.iterations = 20
        try:
            self._run(reference, reference_precision)  # discarded
            self._gauge = Gauge(reference, device=device, shapes=shapes, inference_precision=reference_precision)
        except (MeasurementError, RuntimeError) as error:
            raise ReferenceMeasurementError(
                f"the reference network could not be measured ({str(error).strip().splitlines()[0]}): run again with "
                "--resume"
            ) from error
        reading = statistics.median(self._gauge.read() for _ in range(5))
        self.iterations = int(min(2000, max(20, seconds * 1e3 / reading)))
        self.anchor_ms = anchor_ms if anchor_ms is not None else reading

    def _run(self, model: Path, precision: str) -> LatencyRun:
        return run_benchmark_app(
            model, device=self._device, shapes=self._shapes, inference_precision=precision, iterations=self.iterations
        )

    def measure(self, model: Path, *, inference_precision: str, attempts: int = _ATTEMPTS) -> Latency:
        """Measures one IR in a benchmark_app process; again where the machine's speed changed meanwhile.

        Args:
            model: The .xml.
            inference_precision: "f32" or "bf16".
            attempts: Most processes to run.

        Raises:
            MeasurementError: If benchmark_app gives no number.
        """
        tried: list[tuple[float, float, LatencyRun]] = []
        while len(tried) < attempts and (not tried or tried[-1][0] > _STEADY):
            before = self._gauge.read()
            run = self._run(model, inference_precision)
            after = self._gauge.read()
            tried.append((max(before, after) / min(before, after) - 1.0, (before + after) / 2, run))
        change, gauge_ms, run = min(tried, key=lambda t: t[0])
        return Latency(run.median_ms * self.anchor_ms / gauge_ms, run, gauge_ms, change, len(tried))
