"""The look-up table of a tiny network, with the real benchmark_app's counters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qnas_ov.ir import CandidateBuilder
from qnas_ov.measure import Profile, RunSettings, TimedKernel, profile_network
from qnas_ov.pipeline._table import measure_table, times_of_units

SHAPES = {"pixel_values": [1, 1, 8, 8]}


def test_the_table_is_measured_on_four_networks(
    tiny_builder: CandidateBuilder, tmp_path: Path, rng: np.random.Generator
) -> None:
    seen: list[Profile] = []

    def profile(path: Path, precision: str) -> Profile:
        settings = RunSettings(device="CPU", shapes=SHAPES, inference_precision=precision)
        seen.append(profile_network(path, settings, iterations=20))
        return seen[-1]

    table, measured = measure_table(tiny_builder, profile, tmp_path)
    assert len(measured) == 4
    assert not list(tmp_path.iterdir()), "the networks are taken away again"
    for times, found in zip(measured, seen, strict=True):
        assert sum(times.units.values()) + times.rest_ms == pytest.approx(found.total_ms)
        assert len(times.units) >= 0.8 * len(tiny_builder.candidate(times.genotype).policy), "kernels find their units"
        assert sum(times.units.values()) > 0.3 * found.total_ms
    predicted = table(tiny_builder.space.sample(rng, 30))
    assert (predicted > 0).all()


def test_kernels_are_added_up_by_the_names_of_their_operations(tiny_builder: CandidateBuilder) -> None:
    unit, other = tiny_builder.units[0], tiny_builder.units[1]

    def kernel(time_ms: float, *operations: str) -> TimedKernel:
        return TimedKernel("k", "FullyConnected", "", "int8", time_ms, operations)

    profile = Profile(
        10.0, {},
        (kernel(4.0, "Multiply_7", unit.operations[0]), kernel(3.0, other.operations[0]), kernel(2.0, "LayerNorm"),
         kernel(1.0)),
    )  # fmt: skip
    times = times_of_units((0,), tiny_builder.units, profile)
    assert times.units == {unit.key: 4.0, other.key: 3.0}
    assert times.rest_ms == 3.0
