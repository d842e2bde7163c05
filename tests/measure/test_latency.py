"""The protocol: drift divided out, unsteady runs repeated, rounds, the database asked first; benchmark_app is real."""

from __future__ import annotations

import fcntl
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qnas_ov.core.errors import ReferenceMeasurementError, UnknownNameError
from qnas_ov.ir import Bank, save_ir
from qnas_ov.measure import (
    REPORT,
    Gauge,
    LatencyDatabase,
    LatencyMeter,
    LatencyRun,
    RoundPlan,
    RunSettings,
    reference,
    run_benchmark_app,
)
from qnas_ov.measure import latency as module

SETTINGS = RunSettings(device="CPU", shapes={"pixel_values": [1, 1, 8, 8]}, inference_precision="f32")


@pytest.fixture(scope="module")
def model(tiny_bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ir(tiny_bank.int8, tmp_path_factory.mktemp("ir") / "tiny.xml")


@pytest.fixture(scope="module")
def real(model: Path) -> LatencyRun:
    return run_benchmark_app(model, SETTINGS, iterations=20)


def simulate(monkeypatch: pytest.MonkeyPatch, real: LatencyRun, medians: object, readings: object) -> None:
    """Speed is simulated, the rest is real."""

    def paced(path: Path, settings: RunSettings, **options: object) -> LatencyRun:
        return LatencyRun(**{**real.to_json(), "latency_ms": next(medians), "throughput_per_s": 100.0})

    monkeypatch.setattr(module, "run_benchmark_app", paced)
    monkeypatch.setattr(module.Gauge, "read", lambda self: next(readings))


def forever(speed: dict[str, float], value: float) -> object:
    while True:
        yield value * speed["factor"]


def test_the_meter_divides_out_the_drift(model: Path, real: LatencyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that becomes half as fast must not show in the latencies, but in the throughput as if it were fast."""
    speed = {"factor": 1.0}
    simulate(monkeypatch, real, forever(speed, 2.0), forever(speed, 1.0))
    meter = LatencyMeter(model, SETTINGS, seconds=0.1)
    assert meter.measure(model, SETTINGS).latency_ms == pytest.approx(2.0)
    speed["factor"] = 2.0
    late = meter.measure(model, SETTINGS)
    assert late.latency_ms == pytest.approx(2.0)
    assert late.gauge_ms == pytest.approx(2.0)
    assert late.throughput_per_s == pytest.approx(200.0)
    assert late.measured_at is None
    resumed = LatencyMeter(model, SETTINGS, seconds=0.1, anchor_ms=meter.anchor_ms)
    assert resumed.measure(model, SETTINGS).latency_ms == pytest.approx(2.0)


def test_a_run_while_the_machine_changes_speed_is_repeated(
    model: Path, real: LatencyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    medians = iter([9.0, 5.0, 2.0])  # the discarded process, an unsteady run, a steady one
    readings = iter([1.0] * 7 + [1.0, 2.0, 1.0, 1.05])  # two to set up, five for the anchor, then around the two runs
    simulate(monkeypatch, real, medians, readings)
    latency = LatencyMeter(model, SETTINGS, seconds=0.1).measure(model, replace(SETTINGS, hint="throughput"))
    assert latency.attempts == 2
    assert latency.gauge_change == pytest.approx(0.05)
    assert latency.latency_ms == pytest.approx(2.0 / 1.025)


def test_a_latency_is_the_quotient_to_the_reference_beside_it(
    model: Path, real: LatencyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the medians of the whole process say: the machine may have slowed down for half of it."""
    simulate(monkeypatch, real, forever({"factor": 1.0}, 7.0), forever({"factor": 1.0}, 1.5))
    meter = LatencyMeter(model, SETTINGS, seconds=0.1)
    paced = module.run_benchmark_app
    monkeypatch.setattr(
        module, "run_benchmark_app", lambda *a, **k: replace(paced(*a, **k), relative=2.0, beside_ms=3.3)
    )
    found = meter.measure(model, SETTINGS)
    assert found.latency_ms == pytest.approx(2.0 * 1.5)
    assert (found.attempts, found.gauge_change) == (1, 0.0)
    slow = meter.measure(model, SETTINGS, percentile=90)
    assert slow.latency_ms == pytest.approx(7.0 * 1.5 / 3.3), "a percentile is of all inferences: the typical reference"


def test_slow_networks_are_given_a_limit_of_time(
    model: Path, real: LatencyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(monkeypatch, real, forever({"factor": 1.0}, 2.0), forever({"factor": 1.0}, 1.0))
    paced, limits = module.run_benchmark_app, []

    def noted(*given: Any, **options: Any) -> LatencyRun:
        limits.append(options["limit_ms"])
        return paced(*given, **options)

    monkeypatch.setattr(module, "run_benchmark_app", noted)
    meter = LatencyMeter(model, SETTINGS, seconds=0.1)
    meter.measure(model, SETTINGS)
    meter.measure(model, replace(SETTINGS, hint="throughput"), attempts=1)
    meter.measure(model, SETTINGS, purpose=REPORT)
    meter.measure(model, SETTINGS, purpose=REPORT, percentile=90)
    assert limits == [60e3, 100.0, 60e3, 60e3, math.inf], "the discarded process, a search, reports, a percentile"
    LatencyMeter(model, SETTINGS, seconds=100.0).measure(model, SETTINGS, purpose=REPORT)
    assert limits[-1] == 100e3, "never less than the reference is given"


def test_a_kept_latency_is_scaled_by_the_reference_of_its_own_time(
    model: Path, real: LatencyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept on a slow day, asked for on a fast one: the same figure as a new measurement would give."""
    speed = {"factor": 3.0}
    simulate(monkeypatch, real, forever(speed, 2.0), forever(speed, 1.0))
    database = LatencyDatabase(tmp_path / "latency.sqlite")
    LatencyMeter(model, SETTINGS, seconds=0.1, database=database).measure(model, SETTINGS)
    speed["factor"] = 1.0
    meter = LatencyMeter(model, SETTINGS, seconds=0.1, database=database)
    found = meter.measure(model, SETTINGS)
    assert found.latency_ms == pytest.approx(2.0)
    assert found.run.latency_ms == pytest.approx(6.0)
    assert found.measured_at is not None
    assert meter.from_database == 1


def test_equal_graphs_are_measured_once_and_reports_measure_for_themselves(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real benchmark_app, under another name and in a second session."""
    other = tmp_path / "other.xml"
    other.write_text(model.read_text())
    other.with_suffix(".bin").write_bytes(model.with_suffix(".bin").read_bytes())
    database = LatencyDatabase(tmp_path / "latency.sqlite")
    first = LatencyMeter(model, SETTINGS, seconds=0.02, database=database)
    measured = first.measure(model, SETTINGS)
    recalled = LatencyMeter(other, SETTINGS, seconds=0.02, database=database).measure(other, SETTINGS)
    assert measured.measured_at is None
    assert recalled.run == measured.run
    assert recalled.attempts == 0
    assert recalled.measured_at is not None
    report = first.measure(model, SETTINGS, purpose=REPORT, attempts=1)
    assert report.measured_at is None, "a run of the search may not stand in a report"
    assert first.measure(model, SETTINGS, purpose=REPORT, position=0).run == report.run
    assert first.measure(model, SETTINGS, purpose=REPORT, position=1, attempts=1).measured_at is None
    assert database.count() == 3


def test_nobody_else_measures_while_a_meter_is_set_up(
    model: Path, real: LatencyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, other = (LatencyDatabase(tmp_path / "latency.sqlite") for _ in range(2))
    free: list[bool] = []

    def told(value: float) -> Iterator[float]:
        while True:
            try:
                fcntl.flock(other._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                free.append(False)
            else:
                fcntl.flock(other._lock, fcntl.LOCK_UN)
                free.append(True)
            yield value

    simulate(monkeypatch, real, told(2.0), told(1.0))
    LatencyMeter(model, SETTINGS, seconds=0.1, database=database)
    assert free == [False] * 8, "the discarded process, two readings to set up, five for the anchor"
    with database.claim(), pytest.raises(BlockingIOError):
        fcntl.flock(other._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_gauge_reads_the_real_reference(model: Path) -> None:
    run = run_benchmark_app(model, SETTINGS, iterations=200)
    assert 0.2 < Gauge(model, SETTINGS).read() / run.latency_ms < 5.0


def test_the_first_inference_of_a_block_does_not_count(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gauge = Gauge(model, SETTINGS)
    times = iter([90.0, 4.0, 6.0, 7.0, 2.0, 2.0, 3.0, 3.0, 90.0, 40.0, 1.0])
    monkeypatch.setattr(reference, "_timed_ms", lambda request: next(times))
    assert gauge.read_block(10.0) == 5.0, "the second and the third"
    assert gauge.read_block(10.0) == 2.5, "ten milliseconds without the first"
    assert gauge.read_block(10.0) == 40.0, "one is enough where it takes so long"
    assert list(times) == [1.0]


def test_a_reference_that_fails_stops_the_measuring(tmp_path: Path) -> None:
    with pytest.raises(ReferenceMeasurementError, match="run again with --resume"):
        LatencyMeter(tmp_path / "no.xml", SETTINGS, seconds=0.1)


def test_an_unknown_hint_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown performance hint 'latencies': .* did you mean 'latency'"):
        RunSettings(device="CPU", shapes={}, inference_precision="f32", hint="latencies")


STEADY, WIDE = [1.0, 1.01, 0.99, 1.0, 1.0, 1.005], [1.0, 1.3, 0.7, 1.0, 1.0, 1.1]


@pytest.mark.parametrize(
    ("plan", "found", "spent_s", "wanted"),
    [
        (RoundPlan(minimum=3), {"a": [1.0], "b": [1.0, 1.0, 1.0]}, 0.0, ["a"]),
        (RoundPlan(precision=0.02), {"a": STEADY, "b": WIDE}, 0.0, ["b"]),
        (RoundPlan(precision=0.02), {"a": STEADY[:5]}, 0.0, ["a"]),  # of five the coverage is below 95%
        (RoundPlan(precision=0.02, maximum=6), {"b": WIDE}, 0.0, []),
        (RoundPlan(precision=0.02, time_limit_s=10.0), {"b": WIDE}, 11.0, []),
        (RoundPlan(minimum=3, precision=0.02, time_limit_s=10.0), {"b": WIDE[:2]}, 11.0, ["b"]),
    ],
)
def test_rounds_go_on_until_the_interval_is_narrow_or_the_budget_spent(
    plan: RoundPlan, found: dict[str, list[float]], spent_s: float, wanted: list[str]
) -> None:
    assert plan.unfinished(found, spent_s) == wanted
