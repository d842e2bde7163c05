"""What the rounds of the end make of single runs, and what is told of disturbances."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qnas_ov.core.progress import Silent
from qnas_ov.core.records import Evaluation, resolve_objectives
from qnas_ov.journal import Journal
from qnas_ov.pipeline._evaluate import Recorder
from qnas_ov.pipeline._timing import RoundTimer, at_typical_speed, summarise_rounds, tell_disturbances
from qnas_ov.pipeline._verify import Finalist
from qnas_ov.recipe import Recipe


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def run(latency_ms: float, gauge_ms: float, *, measured_at: str | None = None, **more: Any) -> Evaluation:
    record = {"run": {"latency_ms": latency_ms}, "gauge_ms": gauge_ms, "measured_at": measured_at, "disturbances": []}
    return Evaluation(
        f"{latency_ms}{gauge_ms}", "final-latency", "c1", (), "ok", {"latency_ms": latency_ms},
        {"latency": {**record, **more}},
    )  # fmt: skip


def test_rounds_are_brought_to_the_typical_speed_of_those_measured_now() -> None:
    old = run(8.0, 4.0, measured_at="yesterday")
    found = at_typical_speed({"a": [run(2.0, 1.0), run(4.0, 2.0), old], "b": [run(1.0, 1.0)]})
    assert found["a"]["latency_ms"] == pytest.approx((2.0, 2.0, 2.0)), "1 ms is typical of the three new ones"
    values = summarise_rounds({"latency_ms": (1.0, 2.0, 3.0), "memory_bytes": (5.0, 5.0, 6.0)})
    assert (values["latency_ms"], values["latency_ms_low"], values["latency_ms_high"]) == (2.0, 1.0, 3.0)
    assert (values["latency_coverage"], values["latency_rounds"]) == (0.75, 3)
    assert values["memory_bytes"] == 5.0


def test_disturbances_are_told_once() -> None:
    heard = Heard()
    tell_disturbances([run(1.0, 1.0)], heard)
    assert heard.lines == []
    tell_disturbances([run(1.0, 1.0), run(1.0, 1.0, disturbances=["other processes took 40% of the CPUs"])], heard)
    disturbed = run(1.0, 1.0, disturbances=["other processes took 40% of the CPUs"]).details["latency"]
    throughput = Evaluation("t", "search", "c1", (), "ok", {"latency_ms": 1.0}, {"throughput": disturbed})
    tell_disturbances([run(1.0, 1.0), throughput], heard)
    told = "1 of 2 runs of benchmark_app were disturbed, for instance: other processes took 40% of the CPUs"
    assert heard.lines == [told, told]


class Uneven:
    """Measures an even latency and an uneven throughput."""

    def measure_runtime(self, path: Path, precision: str, *, round_number: int) -> tuple[dict[str, float], Any]:
        throughput = 100.0 if round_number % 2 else 130.0
        record = {"gauge_ms": 1.0, "measured_at": None, "disturbances": []}
        records = {
            "latency": {**record, "run": {"latency_ms": 2.0}},
            "throughput": {**record, "run": {"throughput_per_s": throughput}},
        }
        return {"latency_ms": 2.0, "throughput_per_s": throughput}, records


@pytest.mark.parametrize(("objective", "rounds"), [("latency", 6), ("throughput", 9)])
def test_rounds_go_on_until_what_is_optimised_is_known(tmp_path: Path, objective: str, rounds: int) -> None:
    """Six runs are the fewest that cover 95%; an uneven throughput takes the most, where it is an objective."""
    recipe = Recipe(model="tiny", latency_precision=0.02, latency_max_rounds=9)
    objectives = resolve_objectives(("accuracy", objective), metric="accuracy_top1")
    recorder = Recorder(Journal(tmp_path / "evaluations.sqlite"), "run")
    timer = RoundTimer(SimpleNamespace(recipe=recipe, objectives=objectives), Uneven(), recorder)
    finalist = Finalist("c1", "f32", tmp_path / "c1.xml", (0,), None, {}, "weights", baseline=False)
    assert len(timer.time([finalist], Silent())["c1"]["latency_ms"]) == rounds
