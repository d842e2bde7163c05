"""One process of the real `benchmark_app`: its arguments, its run, its report."""

from __future__ import annotations

import json
import math
import re
import signal
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import MeasurementError
from qnas_ov.measure._benchmark_processes import BenchmarkProcesses, TimedOutError
from qnas_ov.measure.device import VIRTUAL
from qnas_ov.measure.reference import Gauge
from qnas_ov.measure.settings import RunSettings

MEDIAN = 50
REPORT, MEASURED = "benchmark_report.json", "measured.json"
_CHILD = Path(__file__).with_name("_benchmark_child.py")
_PROCESSES = BenchmarkProcesses()
_UNIT_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_USED = re.compile(r"^\[ INFO \]\s+(NUM_STREAMS|INFERENCE_NUM_THREADS): (\d+)\s*$", re.MULTILINE)
_TAIL_LINES = 4

LONGEST_MS = 60e3
"""What the inferences of a process may take, if eight blocks of them do not take longer: slow networks get fewer."""


@dataclass(frozen=True)
class LatencyRun:
    """What one benchmark_app process reported.

    Attributes:
        percentile: Which percentile `latency_ms` is; 50 is the median.
        latency_ms: That percentile of the inferences' latencies.
        resolution_ms: Half of its last digit: it is not known better.
        source: Where it was read: "console", "report", or "total" (the mean, from total time and iterations).
        average_ms: Mean latency; None for MULTI, of which benchmark_app reports no latencies.
        minimum_ms: Shortest inference, or None.
        maximum_ms: Longest inference, or None.
        iterations: Inferences measured; beside a reference without the first of every block, in all figures.
        requests: Inferences in flight at a time.
        total_ms: Time that all of them took together.
        throughput_per_s: Samples per second: iterations times batch over that time.
        compile_ms: Time to compile the network.
        first_inference_ms: The warm-up inference, in none of the other figures.
        memory_bytes: How far the peak of the process's resident memory (VmHWM) lies above its resident memory just
            before it read the network, when Python and OpenVINO were loaded. It holds the weights, their copies in the
            layout of the kernels, the activations, and the device's plugin itself (some 40 MB for CPU). None where the
            kernel does not tell.
        streams: Streams that the device ran, or None.
        threads: Threads of the CPU that it ran on, or None.
        relative: Median over blocks of inferences of their latency over that of the reference beside them; None where
            no reference ran in turn.
        beside_ms: Median latency of the reference in these blocks, or None.
    """

    percentile: int
    latency_ms: float
    resolution_ms: float
    source: str
    average_ms: float | None
    minimum_ms: float | None
    maximum_ms: float | None
    iterations: int
    requests: int
    total_ms: float
    throughput_per_s: float
    compile_ms: float
    first_inference_ms: float
    memory_bytes: int | None
    streams: int | None
    threads: int | None
    relative: float | None = None
    beside_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The run as JSON."""
        return asdict(self)


def run_benchmark_app(
    model: Path,
    settings: RunSettings,
    *,
    iterations: int,
    percentile: int = MEDIAN,
    timeout_s: float = 600.0,
    reference: Gauge | None = None,
    limit_ms: float = math.inf,
) -> LatencyRun:
    """Measures an IR once.

    Args:
        model: The .xml.
        settings: How it is run.
        iterations: Inferences to measure, without those that do not count; more where these leave too few blocks beside
            a reference, fewer where they take longer than the limit.
        percentile: Which percentile of the latencies to report, 1 to 100.
        timeout_s: After this, or so long after the reference was last inferred, the run counts as failed.
        reference: A network to infer in turn with this one, in this process, where requests are synchronous.
        limit_ms: No inference begins after these have taken so long, but eight blocks or, without a reference, eight
            inferences per request are done.

    Raises:
        MeasurementError: If benchmark_app crashes, hangs or gives no numbers; the text holds its last lines.
    """
    options = ["-niter", str(iterations), "-latency_percentile", str(percentile), "-report_type", "no_counters"]
    with tempfile.TemporaryDirectory(prefix="qnas-ov-") as folder:
        console = start_benchmark_app(
            model, settings, options, folder=Path(folder), timeout_s=timeout_s, reference=reference, limit_ms=limit_ms
        )
        report, measured = ((Path(folder) / name).read_text() for name in (REPORT, MEASURED))
    return parse_report(report, console, settings, percentile=percentile, measured=json.loads(measured))


def benchmark_app_arguments(model: Path, settings: RunSettings) -> list[str]:
    """What benchmark_app is told of the network and the settings, without streams and threads."""
    shape = ",".join(f"{name}[{','.join(str(d) for d in dims)}]" for name, dims in settings.shapes.items())
    return [
        "-m", str(model), "-d", settings.device, "-hint", settings.hint,
        "-infer_precision", settings.inference_precision, "-shape", shape,
    ]  # fmt: skip


def _pinned(settings: RunSettings) -> dict[str, dict[str, str]]:
    """What benchmark_app must be told in a configuration file, by device; empty if nothing.

    Its options for streams and threads exclude a hint, which is its rule only, not OpenVINO's. Its option for the
    precision is lost on the way to the devices behind AUTO and HETERO, and the hint on that behind HETERO. A file that
    names a virtual device in full ("AUTO:CPU") replaces all options; where it names the plugin alone it adds to them.
    """
    given = {"NUM_STREAMS": settings.streams, "INFERENCE_NUM_THREADS": settings.threads}
    found = {name: str(value) for name, value in given.items() if value is not None}
    plugin = settings.device.partition(":")[0]
    if plugin not in VIRTUAL:
        return {settings.device: found} if found else {}
    hints = {"PERFORMANCE_HINT": settings.hint.upper(), "INFERENCE_PRECISION_HINT": settings.inference_precision}
    return {plugin: {**hints, **found}}


def start_benchmark_app(
    model: Path,
    settings: RunSettings,
    options: Sequence[str],
    *,
    folder: Path,
    timeout_s: float,
    reference: Gauge | None = None,
    limit_ms: float = math.inf,
) -> str:
    """Runs benchmark_app to its end; `benchmark_report.json` and `measured.json` then stand in `folder`.

    Returns:
        What it printed.

    Raises:
        MeasurementError: If it crashes, hangs or writes no report; the text holds its last lines.
    """
    arguments = [*benchmark_app_arguments(model, settings), *options, "-json_stats", "-report_folder", str(folder)]
    pinned = _pinned(settings)
    if pinned:
        (folder / "config.json").write_text(json.dumps(pinned))
        arguments += ["-load_config", str(folder / "config.json")]
    mode, answer = "alone", None
    if reference is not None:
        mode, answer = "beside", lambda milliseconds: repr(reference.read_block(float(milliseconds)))
    output = folder / "console.txt"
    try:
        code = _PROCESSES.run(
            _CHILD, [str(folder), mode, repr(limit_ms), *arguments], output=output, timeout_s=timeout_s, answer=answer
        )
    except TimedOutError as error:
        raise MeasurementError(
            f"benchmark_app did not finish within {timeout_s:g} s on {model.name}: {_tail(_printed(output))}"
        ) from error
    printed = _printed(output)
    if code != 0:
        end = f"code {code}" if code > 0 else _signal_name(-code)
        raise MeasurementError(f"benchmark_app ended with {end} on {model.name}: {_tail(printed)}")
    if not (folder / REPORT).exists():
        raise MeasurementError(f"benchmark_app wrote no report for {model.name}: {_tail(printed)}")
    return printed


def _printed(output: Path) -> str:
    return output.read_text(errors="replace") if output.exists() else ""


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _tail(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "Statistics report is stored" not in line]
    return " | ".join(lines[-_TAIL_LINES:]) or "it printed nothing"


def parse_report(
    report: str,
    console: str,
    settings: RunSettings,
    *,
    percentile: int,
    measured: Mapping[str, Any],
) -> LatencyRun:
    """Reads benchmark_app's JSON report and its console text.

    Args:
        report: The content of `benchmark_report.json`.
        console: What it printed.
        settings: How it was run.
        percentile: Which percentile was asked for.
        measured: What its process noted: resident bytes `before` it read the network and at their `peak`, and `pairs`
            of blocks: milliseconds of this network and of the reference.

    Raises:
        MeasurementError: If a figure is missing or is no positive number.
    """
    try:
        document = json.loads(report)
        results, setup = document["execution_results"], document.get("configuration_setup", {})
        if "error" in results:
            raise ValueError(results["error"])
        iterations = int(results["total number of iterations"])
        requests = int(setup.get("number of parallel infer requests", 1))
        pairs = measured.get("pairs") or []
        total_ms = _number(results, "total execution time (ms)")
        mean = requests * total_ms / iterations, 0.005 * requests / iterations  # Little's law, and half its last digit
        silent = settings.device.startswith("MULTI")
        latency, resolution, source = (
            (*mean, "total") if silent else _read_percentile(results, console, percentile, mean)
        )
        if latency <= 0 or total_ms <= 0:
            raise ValueError(f"a latency of {latency} ms over {iterations} iterations in {total_ms} ms")
        if silent and percentile != MEDIAN:
            raise ValueError(f"no percentile is reported for {settings.device}")
        average, minimum, maximum = (
            None if silent else _number(results, name) for name in ("avg latency", "min latency", "max latency")
        )
        used = {name: int(value) for name, value in _USED.findall(console)}
        return LatencyRun(
            percentile=percentile,
            latency_ms=latency,
            resolution_ms=resolution,
            source=source,
            average_ms=average,
            minimum_ms=minimum,
            maximum_ms=maximum,
            iterations=iterations,
            requests=requests,
            total_ms=total_ms,
            throughput_per_s=1e3 * iterations * settings.batch / total_ms,
            compile_ms=_number(results, "compile model time (ms)"),
            first_inference_ms=_number(results, "first inference time (ms)"),
            memory_bytes=_growth(measured),
            streams=used.get("NUM_STREAMS"),
            threads=used.get("INFERENCE_NUM_THREADS"),
            relative=statistics.median(own / other for own, other in pairs) if pairs else None,
            beside_ms=statistics.median(other for _, other in pairs) if pairs else None,
        )
    except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise MeasurementError(f"benchmark_app's report cannot be used: {reason}; {_tail(console)}") from error


def _read_percentile(
    results: Mapping[str, Any], console: str, percentile: int, mean: tuple[float, float]
) -> tuple[float, float, str]:
    """A percentile of the latencies in milliseconds, half of its last digit, and where it was read.

    The report gives milliseconds with two decimals; the console gives microseconds where the average is below 1 ms. A
    median below 1 ms of a tool that prints no microseconds is too coarse: the mean takes its place.
    """
    median = percentile == MEDIAN
    value, resolution = _number(results, "latency (ms)" if median else f"latency ({percentile} percentile) (ms)"), 0.005
    name = "Median:" if median else f"{percentile} percentile:"
    line = re.search(rf"{re.escape(name)}\s+([0-9]+(?:\.([0-9]+))?)\s+(us|ms|s)\b", console)
    if line is not None:
        last_digit = 10.0 ** -len(line[2] or "") * _UNIT_MS[line[3]]
        if last_digit / 2 < resolution:
            return float(line[1]) * _UNIT_MS[line[3]], last_digit / 2, "console"
    if median and value < 1.0 and mean[0] < 1.0:
        return *mean, "total"
    return value, resolution, "report"


def _number(results: Mapping[str, Any], name: str) -> float:
    value = float(results[name])
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"'{name}' is {results[name]}")
    return value


def _growth(measured: Mapping[str, Any]) -> int | None:
    before, peak = measured.get("before"), measured.get("peak")
    return None if before is None or peak is None else peak - before
