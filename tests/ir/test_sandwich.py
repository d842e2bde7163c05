from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import SCHEME

from qnas_ov.families import Elastic, Supernet
from qnas_ov.ir import INT8, Bank, CandidateBuilder, load_or_collect_ranges
from qnas_ov.ir.calibrate import Ranges, collect_ranges, read_ranges
from qnas_ov.ir.sandwich import average_ranges, sandwich
from qnas_ov.pipeline._setup import calibration_samples
from qnas_ov.tasks import Task


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranges")


@pytest.fixture(scope="module")
def ranges(tiny_bank: Bank, tiny_supernet: Supernet, digits: Task, cache: Path) -> Ranges:
    return load_or_collect_ranges(tiny_bank, tiny_supernet.elastic, calibration_samples(digits), SCHEME, cache=cache)


def test_ranges_of_the_whole_network_are_those_of_the_bank(tiny_bank: Bank, digits: Task) -> None:
    found, expected = (
        collect_ranges(tiny_bank.smoothed, calibration_samples(digits), SCHEME),
        read_ranges(tiny_bank.int8),
    )
    assert set(found) == set(expected)
    for name, pair in expected.items():
        np.testing.assert_allclose(found[name], pair, rtol=1e-5)


def test_subnetworks_get_other_ranges_and_the_largest_keeps_its_own(
    tiny_bank: Bank, tiny_supernet: Supernet, ranges: Ranges
) -> None:
    own = read_ranges(tiny_bank.int8)
    assert set(ranges) == set(own)
    builder = CandidateBuilder(
        tiny_bank, tiny_supernet.elastic, inference_precisions=("f32",), scheme=SCHEME, ranges=ranges
    )

    def ranges_of(architecture: dict[str, int]) -> Ranges:
        genotype = builder.genotype(architecture=architecture, precision=INT8, inference_precision="f32")
        return read_ranges(builder.build(builder.candidate(genotype)))

    largest = ranges_of(tiny_supernet.elastic.largest())
    assert all(np.array_equal(largest[name], own[name]) for name in own)
    smaller = ranges_of({**tiny_supernet.elastic.largest(), "layer.0.ffn": 32})
    assert all(np.array_equal(smaller[name], ranges[name]) for name in own)
    moved = [name for name in own if np.abs(np.subtract(own[name], ranges[name])).max() > 0.01 * np.ptp(own[name])]
    assert moved


def test_ranges_are_collected_once(
    tiny_bank: Bank, tiny_supernet: Supernet, ranges: Ranges, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qnas_ov.ir.sandwich.collect_ranges", lambda *given: pytest.fail("collected again"))
    again = load_or_collect_ranges(tiny_bank, tiny_supernet.elastic, [], SCHEME, cache=cache)
    assert all(np.array_equal(again[name], ranges[name]) for name in ranges)


def test_means_keep_zero_representable() -> None:
    def pair(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        return np.array([low], np.float32), np.array([high], np.float32)

    found = average_ranges(
        [
            {"a": pair(-1.0, 3.0), "only": pair(0.0, 1.0), "symmetric": pair(-128 / 127, 1.0)},
            {"a": pair(-0.5, 2.3), "symmetric": pair(-2 * 128 / 127, 2.0), "other": pair(-1, 1)},
        ]
    )
    assert set(found) == {"a", "only", "symmetric"}
    np.testing.assert_allclose(found["only"], [[0.0], [1.0]], atol=1e-6)
    np.testing.assert_allclose(found["symmetric"], [[-1.5 * 128 / 127], [1.5]], rtol=1e-6)
    low, high = found["a"]
    step = (high - low) / 255
    assert abs(low / step - np.round(low / step)) < 1e-4
    assert abs(low + 0.75) <= step / 2
    assert abs(high - 2.65) <= step / 2


def test_the_sandwich_has_smallest_and_random(tiny_supernet: Supernet) -> None:
    found = sandwich(tiny_supernet.elastic)
    assert found[0] == tiny_supernet.elastic.smallest()
    assert len(found) == 3
    assert found == sandwich(tiny_supernet.elastic)
    assert sandwich(Elastic((), ())) == []
