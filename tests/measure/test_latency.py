"""The real benchmark_app on a tiny network; its reports in several shapes; its failures."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from qnas_ov.core.errors import MeasurementError, ReferenceMeasurementError
from qnas_ov.ir import Bank, save_ir
from qnas_ov.measure import LatencyMeter, run_benchmark_app
from qnas_ov.measure import latency as module
from qnas_ov.measure.latency import parse_report

SHAPES = {"pixel_values": [1, 1, 8, 8]}


@pytest.fixture(scope="module")
def model(tiny_bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ir(tiny_bank.int8, tmp_path_factory.mktemp("ir") / "tiny.xml")


def test_benchmark_app_runs_for_real(model: Path) -> None:
    run = run_benchmark_app(model, device="CPU", shapes=SHAPES, inference_precision="f32", iterations=50)
    assert run.iterations == 50
    assert run.minimum_ms <= run.median_ms * 1.05
    assert run.median_ms <= run.maximum_ms * 1.05
    assert run.compile_ms > 0
    assert run.median_source == "console"


def test_the_meter_divides_out_the_drift(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that becomes half as fast must not show in the latencies. Speed is simulated; the rest is real."""
    speed = {"factor": 1.0}
    real = run_benchmark_app(model, device="CPU", shapes=SHAPES, inference_precision="f32", iterations=20)

    def paced(path: Path, **settings: object) -> module.LatencyRun:
        return module.LatencyRun(**{**real.to_json(), "median_ms": 2.0 * speed["factor"]})

    monkeypatch.setattr(module, "run_benchmark_app", paced)
    monkeypatch.setattr(module.Gauge, "read", lambda self: 1.0 * speed["factor"])
    meter = LatencyMeter(model, device="CPU", shapes=SHAPES, reference_precision="f32", seconds=0.1)
    assert meter.measure(model, inference_precision="f32").latency_ms == pytest.approx(2.0)
    speed["factor"] = 2.0
    late = meter.measure(model, inference_precision="f32")
    assert late.latency_ms == pytest.approx(2.0)
    assert late.gauge_ms == pytest.approx(2.0)
    resumed = LatencyMeter(
        model, device="CPU", shapes=SHAPES, reference_precision="f32", seconds=0.1, anchor_ms=meter.anchor_ms
    )
    assert resumed.measure(model, inference_precision="f32").latency_ms == pytest.approx(2.0)


def test_a_run_while_the_machine_changes_speed_is_repeated(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = run_benchmark_app(model, device="CPU", shapes=SHAPES, inference_precision="f32", iterations=20)
    medians = iter([9.0, 5.0, 2.0])  # the discarded process, an unsteady run, a steady one
    readings = iter([1.0] * 7 + [1.0, 2.0, 1.0, 1.05])  # two to set up, five for the anchor, then around the two runs

    def paced(path: Path, **settings: object) -> module.LatencyRun:
        return module.LatencyRun(**{**real.to_json(), "median_ms": next(medians)})

    monkeypatch.setattr(module, "run_benchmark_app", paced)
    monkeypatch.setattr(module.Gauge, "read", lambda self: next(readings))
    meter = LatencyMeter(model, device="CPU", shapes=SHAPES, reference_precision="f32", seconds=0.1)
    latency = meter.measure(model, inference_precision="f32")
    assert latency.attempts == 2
    assert latency.gauge_change == pytest.approx(0.05)
    assert latency.latency_ms == pytest.approx(2.0 / 1.025)


def test_the_gauge_reads_the_real_reference(model: Path) -> None:
    gauge = module.Gauge(model, device="CPU", shapes=SHAPES, inference_precision="f32")
    run = run_benchmark_app(model, device="CPU", shapes=SHAPES, inference_precision="f32", iterations=200)
    assert 0.2 < gauge.read() / run.median_ms < 5.0


def test_a_reference_that_fails_stops_the_measuring(tmp_path: Path) -> None:
    with pytest.raises(ReferenceMeasurementError, match="run again with --resume"):
        LatencyMeter(tmp_path / "no.xml", device="CPU", shapes=SHAPES, reference_precision="f32", seconds=0.1)


def test_a_missing_network_is_a_failure_with_the_tools_words(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"benchmark_app ended with code \d+ on no.xml"):
        run_benchmark_app(tmp_path / "no.xml", device="CPU", shapes=SHAPES, inference_precision="f32", iterations=5)


def test_a_time_out_is_a_failure(model: Path) -> None:
    with pytest.raises(MeasurementError, match="did not finish within"):
        run_benchmark_app(model, device="CPU", shapes=SHAPES, inference_precision="f32", iterations=5, timeout_s=0.01)


def test_a_missing_report_is_a_failure(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, stdout="one\ntwo\nno report today\n")
    monkeypatch.setattr(module.subprocess, "run", lambda *a, **k: done)
    with pytest.raises(MeasurementError, match="wrote no report for tiny.xml: one | two | no report today"):
        run_benchmark_app(model, device="CPU", shapes=SHAPES, inference_precision="f32", iterations=5)


def report(**changes: str | None) -> str:
    results = {
        "compile model time (ms)": "248.34",
        "first inference time (ms)": "4.78",
        "total execution time (ms)": "254.92",
        "total number of iterations": "300",
        "latency (ms)": "0.82",
        "avg latency": "0.84",
        "min latency": "0.73",
        "max latency": "1.16",
        "throughput": "1176.86",
    }
    results |= {k.replace("_", " "): v for k, v in changes.items() if v is not None}
    return json.dumps({"execution_results": {k: v for k, v in results.items() if v != "gone"}})


@pytest.mark.parametrize(
    ("console", "expected", "source"),
    [
        ("[ INFO ]    Median:        819.12 us\n", 0.81912, "console"),
        ("[ INFO ]    Median:        17.25 ms\n", 17.25, "console"),
        ("[ INFO ]    Median:        1.5 s\n", 1500.0, "console"),
        ("[ INFO ]    90 percentile:     3.11 ms\n", 0.82, "report"),
    ],
)
def test_reports_are_read(console: str, expected: float, source: str) -> None:
    run = parse_report(report(), console)
    assert (run.median_ms, run.median_source, run.iterations) == (pytest.approx(expected), source, 300)


@pytest.mark.parametrize("text", ["{}", "not json", report(avg_latency="gone"), report(avg_latency="n/a")])
def test_unreadable_reports_are_failures(text: str) -> None:
    with pytest.raises(MeasurementError, match="cannot be read"):
        parse_report(text, "")


def test_zero_is_never_a_latency() -> None:
    changed = json.loads(report())
    changed["execution_results"]["latency (ms)"] = "0.00"
    with pytest.raises(MeasurementError, match="reported a median of 0.0 ms"):
        parse_report(json.dumps(changed), "")
