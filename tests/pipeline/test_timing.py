"""What the rounds of the end make of single runs, and what is told of disturbances."""

from __future__ import annotations

from typing import Any

import pytest

from qnas_ov.core.progress import Silent
from qnas_ov.core.records import Evaluation
from qnas_ov.pipeline._timing import at_typical_speed, summarise_rounds, tell_disturbances


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
    assert heard.lines == ["1 of 2 latency runs were disturbed, for instance: other processes took 40% of the CPUs"]
