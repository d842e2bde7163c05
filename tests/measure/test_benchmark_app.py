"""The real benchmark_app on tiny networks; its reports in several shapes; its failures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openvino as ov
import psutil
import pytest
from run_folders import classifier

from qnas_ov.core.errors import MeasurementError
from qnas_ov.measure import LatencyRun, RunSettings, run_benchmark_app
from qnas_ov.measure import benchmark_app as module
from qnas_ov.measure.reference import Gauge

SETTINGS = RunSettings(device="CPU", shapes={"x": [1, 8]}, inference_precision="f32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ir") / "tiny.xml"
    ov.save_model(classifier(), path, compress_to_fp16=False)
    return path


def settings(**changes: Any) -> RunSettings:
    return RunSettings(**{**SETTINGS.to_json(), **changes})


def test_benchmark_app_runs_for_real(model: Path) -> None:
    run = run_benchmark_app(model, SETTINGS, iterations=50)
    assert (run.iterations, run.requests, run.streams) == (50, 1, 1)
    assert run.percentile == 50
    assert 0 < run.latency_ms <= run.maximum_ms * 1.05
    assert run.compile_ms > 0
    assert run.source == "console"
    assert 1_000_000 < run.memory_bytes < 10_000_000_000


def test_percentiles_threads_and_batch_are_real(model: Path) -> None:
    run = run_benchmark_app(
        model, settings(shapes={"x": [4, 8]}, batch=4, threads=1, streams=1), iterations=40, percentile=90
    )
    assert (run.percentile, run.threads, run.streams) == (90, 1, 1)
    assert run.throughput_per_s == pytest.approx(4 * 40 / run.total_ms * 1e3)


@pytest.mark.parametrize("device", ["AUTO", "HETERO:CPU", "MULTI:CPU"])
def test_virtual_devices(model: Path, device: str) -> None:
    run = run_benchmark_app(model, settings(device=device), iterations=20)
    assert run.latency_ms > 0
    assert (run.source == "total") == device.startswith("MULTI"), "MULTI reports no latencies"


@pytest.mark.parametrize("device", ["AUTO:CPU", "HETERO:CPU", "MULTI:CPU"])
@pytest.mark.parametrize(("hint", "precision"), [("latency", "f32"), ("throughput", "bf16"), ("throughput", "f32")])
@pytest.mark.parametrize("threads", [None, 1])
def test_virtual_devices_run_as_the_device_behind_them(
    model: Path, tmp_path: Path, device: str, hint: str, precision: str, threads: int | None
) -> None:
    def used(device: str) -> dict[str, str]:
        folder = tmp_path / device
        folder.mkdir()
        asked = settings(device=device, hint=hint, inference_precision=precision, threads=threads)
        options = ["-niter", "4", "-report_type", "no_counters"]
        printed = module.start_benchmark_app(model, asked, options, folder=folder, timeout_s=60.0)
        names = "PERFORMANCE_HINT|INFERENCE_PRECISION_HINT|NUM_STREAMS|INFERENCE_NUM_THREADS"
        return dict(re.findall(rf"({names}): (\w+|<.*>)$", printed, re.MULTILINE))

    found = used(device)
    assert found == used("CPU")
    assert found["PERFORMANCE_HINT"] == hint.upper()
    assert len(found) == 4


def test_a_large_network_takes_more_memory(tmp_path: Path, model: Path) -> None:
    import numpy as np
    from openvino import opset13 as ops

    x = ops.parameter([-1, 2048], np.float32, name="x")
    x.output(0).set_names({"x"})
    weights = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)
    ov.save_model(ov.Model([ops.matmul(x, weights, False, False)], [x]), tmp_path / "m.xml", compress_to_fp16=False)
    large = run_benchmark_app(tmp_path / "m.xml", settings(shapes={"x": [1, 2048]}), iterations=5)
    small = run_benchmark_app(model, SETTINGS, iterations=5)
    assert large.memory_bytes - small.memory_bytes > 0.8 * weights.nbytes


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_missing_network_is_a_failure_with_the_tools_words(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"benchmark_app ended with code 1 on no.xml: .*no.xml"):
        run_benchmark_app(tmp_path / "no.xml", SETTINGS, iterations=5)


def test_a_time_out_is_a_failure(model: Path) -> None:
    with pytest.raises(MeasurementError, match=r"did not finish within 0.01 s on tiny.xml"):
        run_benchmark_app(model, SETTINGS, iterations=5, timeout_s=0.01)


def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> None:
    """Puts another program in the place of the process that is measured."""
    path = tmp_path / "child.py"
    path.write_text(program)
    monkeypatch.setattr(module, "_CHILD", path)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; print('compiling', flush=True); os.abort()", r"signal 6 \(SIGABRT\) on tiny.xml: compiling"),
        ("import sys; print('[ ERROR ] Device GPU.0 is busy'); sys.exit(1)", "code 1 on tiny.xml: .*GPU.0 is busy"),
        ("print('one'); print('two'); print('no report today')", "no report for tiny.xml: one | two | no report today"),
        ("import sys; sys.exit(3)", "code 3 on tiny.xml: it printed nothing"),
    ],
)
def test_a_crash_or_a_busy_device_is_a_failure(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str
) -> None:
    child(monkeypatch, tmp_path, program)
    with pytest.raises(MeasurementError, match=message):
        run_benchmark_app(model, SETTINGS, iterations=5)


def test_a_time_out_tells_the_last_lines(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child(monkeypatch, tmp_path, "import time; print('waiting for the device', flush=True); time.sleep(60)")
    with pytest.raises(MeasurementError, match="did not finish within 1 s on tiny.xml: waiting for the device"):
        run_benchmark_app(model, SETTINGS, iterations=5, timeout_s=1.0)


def has_opened_the_device(process: psutil.Process) -> bool:
    """Only the process that measures loads the plugin, not the server that it was forked from."""
    try:
        return any("intel_cpu_plugin" in region.path for region in process.memory_maps())
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # a helper of some library, already gone
        return False


def test_a_killed_parent_takes_benchmark_app_with_it(model: Path) -> None:
    program = (
        "from pathlib import Path; from qnas_ov.measure import RunSettings, run_benchmark_app; "
        "s = RunSettings(device='CPU', shapes={'x': [1, 8]}, inference_precision='f32'); "
        f"run_benchmark_app(Path({str(model)!r}), s, iterations=10**9)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        found: list[psutil.Process] = []
        for _ in range(300):
            found = psutil.Process(parent.pid).children(recursive=True)  # the server, the process that measures, theirs
            if any(has_opened_the_device(process) for process in found):
                break
            time.sleep(0.1)
        assert any(has_opened_the_device(process) for process in found)
    finally:
        parent.kill()
        parent.wait()
    gone, alive = psutil.wait_procs(found, timeout=10)
    assert gone
    assert not alive


# --- recorded reports ------------------------------------------------------------------------------------------------

CONSOLE = "[ INFO ]   NUM_STREAMS: 1\n[ INFO ]   INFERENCE_NUM_THREADS: 2\n"


def report(**changes: str | None) -> str:
    """The report of a run of digits-vit, with changes; None takes a field away."""
    results = {
        "read model time (ms)": "13.69",
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
    results |= {k.replace("_", " "): v for k, v in changes.items()}
    setup = {"number of parallel infer requests": "1"}
    kept = {k: v for k, v in results.items() if v is not None}
    return json.dumps({"execution_results": kept, "configuration_setup": setup})


def parse(text: str, console: str = CONSOLE, *, percentile: int = 50, device: str = "CPU") -> LatencyRun:
    measured = {"before": 50, "peak": 80}
    return module.parse_report(text, console, settings(device=device), percentile=percentile, measured=measured)


@pytest.mark.parametrize(
    ("console", "fields", "expected", "source"),
    [
        ("[ INFO ]    Median:        819.12 us\n", {}, 0.81912, "console"),
        ("[ INFO ]    Median:        17.25 ms\n", {"latency_(ms)": "17.25", "avg_latency": "17.4"}, 17.25, "report"),
        ("[ INFO ]    Median:        1.5 s\n", {"latency_(ms)": "1500.00"}, 1500.0, "report"),
        ("[ INFO ]    90 percentile:     3.11 ms\n", {"latency_(ms)": "1.02"}, 1.02, "report"),
        # A tool that prints no microseconds: total time over iterations.
        ("[ INFO ]    Median:        0.82 ms\n", {}, 254.92 / 300, "total"),
        ("", {"latency_(ms)": "0.00", "total_execution_time_(ms)": "3.00"}, 0.01, "total"),
        # An average above 1 ms makes the console print milliseconds; the mean says nothing of such a median.
        ("", {"latency_(ms)": "0.25", "total_execution_time_(ms)": "900.00"}, 0.25, "report"),
    ],
)
def test_reports_are_read(console: str, fields: dict[str, str], expected: float, source: str) -> None:
    run = parse(report(**fields), CONSOLE + console)
    assert (run.latency_ms, run.source, run.iterations) == (pytest.approx(expected), source, 300)
    assert run.resolution_ms <= 0.0051
    assert (run.streams, run.threads, run.memory_bytes) == (1, 2, 30)


def test_other_percentiles_are_read_under_their_own_name() -> None:
    text = report(**{"latency_(ms)": None, "latency_(90_percentile)_(ms)": "0.91"})
    run = parse(text, "[ INFO ]    90 percentile:     911.50 us\n", percentile=90)
    assert (run.latency_ms, run.percentile) == (pytest.approx(0.9115), 90)
    with pytest.raises(MeasurementError, match=r"it lacks 'latency \(99 percentile\) \(ms\)'"):
        parse(text, percentile=99)


def test_a_report_without_latencies_is_that_of_multi() -> None:
    text = report(**{"latency_(ms)": None, "avg_latency": None, "min_latency": None, "max_latency": None})
    run = parse(text, "", device="MULTI:CPU")
    assert (run.latency_ms, run.average_ms, run.streams) == (pytest.approx(254.92 / 300), None, None)
    with pytest.raises(MeasurementError, match="it lacks 'latency"):
        parse(text)
    with pytest.raises(MeasurementError, match="no percentile is reported for MULTI:CPU"):
        parse(text, device="MULTI:CPU", percentile=90)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "not json",
        '{"execution_results": []}',
        report(avg_latency=None),
        report(avg_latency="n/a"),
        report(avg_latency="nan"),
        report(min_latency="-1.00"),
        report(max_latency="inf"),
        report(**{"first_inference_time_(ms)": None}),  # then it was not discarded
        report(**{"total_number_of_iterations": "0"}),
        report(**{"total_execution_time_(ms)": "0.00"}),
        report(error="Device GPU.0 is busy"),
    ],
)
def test_unusable_reports_are_failures(text: str) -> None:
    with pytest.raises(MeasurementError, match=r"report cannot be used: .*; .*INFERENCE_NUM_THREADS: 2"):
        parse(text)


def test_zero_is_never_a_latency() -> None:
    slow = {"latency_(ms)": "0.00", "total_execution_time_(ms)": "900.00"}
    with pytest.raises(MeasurementError, match=r"a latency of 0.0 ms over 300 iterations"):
        parse(report(**slow))


def test_memory_that_the_kernel_does_not_tell_is_none() -> None:
    run = module.parse_report(report(), CONSOLE, SETTINGS, percentile=50, measured={"before": None, "peak": None})
    assert run.memory_bytes is None


def test_a_reference_in_between_shows_in_no_other_figure(model: Path) -> None:
    """The reference is the network itself, so that the quotient is 1 but for noise."""
    alone = run_benchmark_app(model, SETTINGS, iterations=20_000)
    beside = run_benchmark_app(model, SETTINGS, iterations=20_000, reference=Gauge(model, SETTINGS))
    assert alone.relative is None
    assert 0.3 < beside.relative < 3.0
    assert beside.iterations == 20_000
    assert beside.beside_ms > 0
    assert beside.memory_bytes == pytest.approx(alone.memory_bytes, rel=0.3), "without that of the reference"


def test_pairs_of_blocks_give_the_quotient() -> None:
    measured = {"before": 50, "peak": 80, "pairs": [[2.0, 1.0], [3.0, 1.0], [9.0, 3.0]]}
    run = module.parse_report(report(), CONSOLE, SETTINGS, percentile=50, measured=measured)
    assert (run.relative, run.beside_ms) == (3.0, 1.0)


def test_few_iterations_of_a_fast_network_go_on_for_eight_blocks(model: Path) -> None:
    """Of one or two, a single disturbed block would be the latency."""
    run = run_benchmark_app(model, SETTINGS, iterations=4, reference=Gauge(model, SETTINGS))
    assert run.iterations > 4
    assert run.total_ms > 80.0, "eight blocks of 10 ms"
    assert 0.3 < run.relative < 3.0


def test_several_requests_end_at_the_limit_when_each_has_inferred_eight_times(model: Path) -> None:
    run = run_benchmark_app(
        model, settings(hint="throughput", streams=2, threads=2), iterations=10_000_000, limit_ms=0.0
    )
    assert run.requests >= 2
    assert run.iterations == 8 * run.requests


def test_a_slow_network_ends_at_the_limit_but_not_before_its_fewest(model: Path) -> None:
    reference = Gauge(model, SETTINGS)
    run = run_benchmark_app(model, SETTINGS, iterations=1_000_000, reference=reference, limit_ms=150.0)
    assert run.iterations < 1_000_000
    assert run.total_ms > 140.0, "the limit is of the inferences themselves"
    few = run_benchmark_app(model, SETTINGS, iterations=1_000_000, reference=reference, limit_ms=0.0)
    assert few.iterations > 20
    assert few.total_ms > 80.0, "eight blocks of 10 ms"
