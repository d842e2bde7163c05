"""Candidates cut from the bank: equal to masked torch in float, INT8 where asked, exact in cost."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from conftest import SCHEME, quantize_afresh

from qnas_ov.families import Supernet, extract_subnetwork
from qnas_ov.ir import FLOAT, INT8, Bank, CandidateBuilder, count_macs, export_supernet, load_or_build_bank, save_ir
from qnas_ov.ir.graph import nodes_by_name
from qnas_ov.measure import realised_precisions
from qnas_ov.pipeline._setup import calibration_samples
from qnas_ov.tasks import Task
from qnas_ov.train import ElasticControl

F32 = {"INFERENCE_PRECISION_HINT": "f32"}


def infer(model: ov.Model, images: np.ndarray) -> np.ndarray:
    return ov.Core().compile_model(model, "CPU", F32)(images)[0]


def float_candidate(builder: CandidateBuilder, architecture: dict[str, int]):
    genotype = builder.genotype(architecture=architecture, precision=FLOAT, inference_precision="f32")
    return builder.candidate(genotype)


def test_sliced_ir_equals_masked_torch(tiny_supernet: Supernet, tiny_builder: CandidateBuilder, rng) -> None:
    """20 random architectures: the exported graph and the smoothed bank, both sliced, against torch masks."""
    supernet = copy.deepcopy(tiny_supernet)
    control = ElasticControl(supernet)
    images = rng.standard_normal((4, 1, 8, 8), dtype=np.float32)
    for genotype in tiny_builder.space.sample(rng, 20):
        architecture = tiny_builder.candidate(genotype).architecture
        with control.subnetwork(architecture), torch.no_grad():
            expected = supernet.model(pixel_values=torch.from_numpy(images)).logits.numpy()
        scale = max(1.0, np.abs(expected).max())
        for model in (
            tiny_builder.build_float(architecture),
            tiny_builder.build(float_candidate(tiny_builder, architecture)),
        ):
            assert np.abs(infer(model, images) - expected).max() <= 1e-4 * scale


def test_the_shipped_network_is_cut_exactly(
    digits_supernet: Supernet, digits: Task, session_cache: Path, num_policies: int, rng
) -> None:
    """Also plain networks, on trained weights; and INT8 candidates stay close to their own float network."""
    supernet = copy.deepcopy(digits_supernet)
    bank = load_or_build_bank(
        export_supernet(supernet), calibration_samples(digits), SCHEME, cache=session_cache / "qnas-ov/banks"
    )
    builder = CandidateBuilder(bank, supernet.elastic, inference_precisions=("f32",), scheme=SCHEME)
    control = ElasticControl(supernet)
    images = digits.validation.inputs["pixel_values"][:100]
    for genotype in builder.space.sample(rng, num_policies):
        candidate = builder.candidate(genotype)
        with control.subnetwork(candidate.architecture), torch.no_grad():
            expected = supernet.model(pixel_values=torch.from_numpy(images)).logits.numpy()
        plain = extract_subnetwork(digits_supernet, candidate.architecture)
        with torch.no_grad():
            assert np.abs(plain(pixel_values=torch.from_numpy(images)).logits.numpy() - expected).max() <= 1e-4
        assert np.abs(infer(builder.build_float(candidate.architecture), images) - expected).max() <= 1e-4
        mixed = infer(builder.build(candidate), images)
        assert (mixed.argmax(1) == expected.argmax(1)).mean() >= 0.93
        assert np.abs(mixed - expected).max() > 1e-4  # something was quantized


def test_a_policy_equals_nncf_with_the_matching_ignored_scope(
    tiny_bank: Bank, tiny_builder: CandidateBuilder, digits: Task, num_policies: int, rng
) -> None:
    """Reverting units of the bank gives bit for bit what a fresh nncf.quantize gives."""
    images = digits.validation.inputs["pixel_values"][:8]
    for _ in range(num_policies // 2):  # test_policies.py has more, without an elastic space
        genotype = list(tiny_builder.genotype(
            architecture=tiny_builder.elastic.largest(), precision=INT8, inference_precision="f32"
        ))  # fmt: skip
        for unit in tiny_bank.units:
            genotype[tiny_builder.space.index(unit.knob)] = int(rng.integers(2))
        candidate = tiny_builder.candidate(genotype)
        ignored = [n for u in tiny_bank.units if candidate.policy[u.key] == FLOAT for n in u.operations]
        fresh = quantize_afresh(tiny_bank.source, calibration_samples(digits), transformer=True, ignored=ignored)
        assert np.array_equal(infer(tiny_builder.build(candidate), images), infer(fresh, images))


def test_units_cover_every_quantizer_once(tiny_bank: Bank) -> None:
    nodes = nodes_by_name(tiny_bank.int8)
    quantizers = {n for n, node in nodes.items() if node.get_type_name() == "FakeQuantize"}
    owned = [q for u in tiny_bank.units for q in u.quantizers]
    assert sorted(owned) == sorted(quantizers)
    assert len({u.key for u in tiny_bank.units}) == len(tiny_bank.units) == 3 * 5 + 2
    assert "layer.1.attention.attention.key+query+value" in {u.key for u in tiny_bank.units}
    assert all(place[0] in nodes for u in tiny_bank.units for place in (*u.weights, *u.biases))


def test_costs_are_those_of_the_saved_ir(tiny_builder: CandidateBuilder, tmp_path: Path, rng) -> None:
    genotypes = tiny_builder.space.sample(rng, 20)
    costs = tiny_builder.compute_costs(genotypes)
    for i, genotype in enumerate(genotypes):
        candidate = tiny_builder.candidate(genotype)
        model = tiny_builder.build(candidate)
        path = save_ir(model, tmp_path / f"{i}.xml")
        # OpenVINO writes equal small constants once: never more than computed, and almost nothing less.
        assert 0 <= costs["size_bytes"][i] - os.path.getsize(path.with_suffix(".bin")) <= 4096
        assert costs["macs"][i] == count_macs(model)
        architecture = candidate.architecture
        head, hidden = 16, 48
        linear = sum(
            4 * architecture[f"layer.{k}.heads"] * head * hidden + 2 * architecture[f"layer.{k}.ffn"] * hidden
            for k in range(architecture["depth"])
        )
        assert costs["params"][i] > linear
        biases = sum(
            3 * architecture[f"layer.{k}.heads"] * head + architecture[f"layer.{k}.ffn"] + 6 * hidden
            for k in range(architecture["depth"])
        )
        outside = 4 * hidden + hidden + 17 * hidden + hidden + 2 * hidden + 10 * hidden + 10
        assert costs["params"][i] == pytest.approx(linear + biases + outside, abs=hidden)


def test_int8_macs_follow_the_policy(tiny_builder: CandidateBuilder) -> None:
    largest = tiny_builder.elastic.largest()
    rows = [tiny_builder.genotype(architecture=largest, precision=p, inference_precision="f32") for p in (INT8, FLOAT)]
    costs = tiny_builder.compute_costs(np.array(rows))
    assert costs["macs_int8"].tolist() == [costs["macs"][0], 0.0]
    assert costs["size_bytes"][0] < 0.5 * costs["size_bytes"][1]


def test_realised_precision_is_the_requested_one(
    tiny_bank: Bank, tiny_builder: CandidateBuilder, tmp_path: Path, rng
) -> None:
    for i, genotype in enumerate(tiny_builder.space.sample(rng, 4)):
        candidate = tiny_builder.candidate(genotype)
        path = save_ir(tiny_builder.build(candidate), tmp_path / f"{i}.xml")
        realised = realised_precisions(
            path, device="CPU", inference_precision="f32", shapes={"pixel_values": [1, 1, 8, 8]}
        )
        units = {u.key: u for u in tiny_bank.units}
        for key, wanted in candidate.policy.items():
            assert realised.of(units[key].deciding) == ("int8" if wanted == INT8 else "f32"), key


def test_building_leaves_the_bank_untouched(tiny_bank: Bank, tiny_builder: CandidateBuilder, digits: Task, rng) -> None:
    images = digits.validation.inputs["pixel_values"][:8]
    before = [infer(m, images) for m in (tiny_bank.int8, tiny_bank.smoothed, tiny_bank.source)]
    for genotype in tiny_builder.space.sample(rng, 5):
        tiny_builder.build(tiny_builder.candidate(genotype))
    after = [infer(m, images) for m in (tiny_bank.int8, tiny_bank.smoothed, tiny_bank.source)]
    for a, b in zip(before, after, strict=True):
        assert np.array_equal(a, b)


def test_recalibration_keeps_architecture_and_policy(tiny_builder: CandidateBuilder, digits: Task, rng) -> None:
    genotype = tiny_builder.space.sample(rng, 1)[0]
    candidate = tiny_builder.candidate(genotype)
    fresh = tiny_builder.recalibrate(candidate, calibration_samples(digits)[:16])
    cut = tiny_builder.build(candidate)
    assert count_macs(fresh) == count_macs(cut)
    kinds = [sum(n.get_type_name() == "FakeQuantize" for n in m.get_ops()) for m in (fresh, cut)]
    assert kinds[0] == kinds[1]


def test_the_bank_is_collected_once(
    tiny_supernet: Supernet, digits: Task, session_cache: Path, tiny_bank: Bank
) -> None:
    samples = calibration_samples(digits)
    model = export_supernet(tiny_supernet)
    again = load_or_build_bank(model, samples, SCHEME, cache=session_cache / "tiny")
    assert not again.collected
    assert again.digest == tiny_bank.digest
    other = load_or_build_bank(model, samples[:20], SCHEME, cache=session_cache / "tiny")
    assert other.collected
    assert other.digest != tiny_bank.digest


def test_no_samples_is_an_error(tiny_bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        load_or_build_bank(tiny_bank.source, [], SCHEME, cache=tmp_path)
