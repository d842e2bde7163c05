"""What the process that is measured tells of its inferences; the loop of benchmark_app is real, the network is not."""

from __future__ import annotations

import json
import runpy
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openvino.tools.benchmark.main as tool
import pytest
from openvino.tools.benchmark.benchmark import Benchmark

from qnas_ov.measure import benchmark_app as module

BLOCK = (90.0, 4.0, 7.0)  # the first finds the reference in the caches
PLAIN = {name: getattr(Benchmark, name) for name in ("sync_inference", "main_loop")}


class Request:
    """An inference takes what it is told to, without doing anything."""

    def __init__(self, latencies: Iterator[float]) -> None:
        self._latencies, self.latency = latencies, 0.0

    def infer(self) -> None:
        self.latency = next(self._latencies)
        if self.latency == BLOCK[0]:
            time.sleep(0.002)


class Inputs:
    def get_next_batch_size(self) -> int:
        return 1


def endless(block: tuple[float, ...]) -> Iterator[float]:
    while True:
        yield from block


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(
        iterations: int, *, mode: str = "beside", limit: str = "inf", percentile: int = 50
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What benchmark_app's loop returns, and what the process notes."""
        found: list[tuple[Any, ...]] = []

        def main() -> None:
            benchmark = Benchmark("CPU", 1, iterations, None, "sync", True)
            found.append(benchmark.main_loop([Request(endless(BLOCK))], Inputs(), range(1), percentile, False))

        def ask(question: str) -> str:
            time.sleep(0.002)
            return "2.75"

        monkeypatch.setattr(tool, "main", main)
        for name in PLAIN:
            monkeypatch.setattr(Benchmark, name, PLAIN[name])  # and as it was afterwards
        monkeypatch.setattr(sys, "argv", ["benchmark_app", str(tmp_path), mode, limit])
        runpy.run_path(str(module._CHILD), init_globals={"ask": ask})
        return found[0], json.loads((tmp_path / module.MEASURED).read_text())

    return run


def test_all_figures_are_of_the_inferences_that_count(run: Any) -> None:
    (rate, median, average, shortest, longest, total_s, iterations), noted = run(100)
    assert iterations == 100
    assert (median, average, shortest, longest) == (4.0, 5.5, 4.0, 7.0)
    assert noted["pairs"] == [[5.5, 2.75]] * 50
    assert total_s < 0.05, "of a hundred that take no time, without fifty others and the reference's"
    assert rate == pytest.approx(100 / total_s)


def test_percentiles_are_of_the_inferences_that_count(run: Any) -> None:
    assert run(100, percentile=99)[0][1] == 7.0


def test_a_run_that_ends_early_tells_how_many_counted(run: Any) -> None:
    (*_, iterations), noted = run(1_000, limit="1005.0")
    assert (iterations, len(noted["pairs"])) == (20, 10), "ten blocks of 101 ms"
    (*_, iterations), noted = run(1_000, limit="0.0")
    assert (iterations, len(noted["pairs"])) == (16, 8), "the fewest blocks"
    assert run(1)[0][-1] == 16, "a fast network goes on for as many"


def test_a_slow_network_alone_ends_early_too(run: Any) -> None:
    (_, median, *_, iterations), noted = run(100, mode="alone", limit="0.0")
    assert (iterations, median, noted["pairs"]) == (8, 7.0, []), "every inference counts where nothing is in between"
    assert run(100, mode="alone", limit="60000.0")[0][-1] == 100
    assert run(100, mode="alone")[0][-1] == 100
