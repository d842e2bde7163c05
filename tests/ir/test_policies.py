"""Any policy of any network is what NNCF would have made, and what the device really runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from conftest import quantize_afresh
from networks import open_bert, open_resnet, random_inputs

from qnas_ov.families import Elastic, Supernet
from qnas_ov.ir import (
    FLOAT,
    INT8,
    PRECISIONS,
    W8,
    Bank,
    Candidate,
    CandidateBuilder,
    OpenedNetwork,
    Scheme,
    export_supernet,
    load_or_build_bank,
    open_network,
    save_ir,
)
from qnas_ov.ir.graph import constant_leaves, nodes_by_name
from qnas_ov.ir.units import logical_block
from qnas_ov.measure import realised_precisions

NO_ELASTIC = Elastic((), ())
SAMPLES = 6


@dataclass(frozen=True)
class Case:
    network: OpenedNetwork
    bank: Bank
    builder: CandidateBuilder
    samples: list[dict[str, np.ndarray]]
    inputs: dict[str, np.ndarray]
    scheme: Scheme

    def infer(self, model: ov.Model) -> np.ndarray:
        return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(self.inputs)[0]

    def random_policy(self, rng: np.random.Generator) -> dict[str, str]:
        return {u.key: str(rng.choice([INT8, FLOAT])) for u in self.bank.units}


def open_vit(folder: Path, supernet: Supernet) -> OpenedNetwork:
    return open_network(save_ir(export_supernet(supernet), folder / "vit.xml"))


@pytest.fixture(scope="module", params=["vit", "bert", "resnet"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_supernet: Supernet) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    opened: Callable[[], OpenedNetwork] = {
        "vit": lambda: open_vit(folder, tiny_supernet),
        "bert": lambda: open_bert(folder / "checkpoint"),
        "resnet": lambda: open_resnet(folder / "checkpoint"),
    }[request.param]
    network, rng = opened(), np.random.default_rng(0)
    assert network.transformer is (request.param != "resnet")
    samples = [random_inputs(network, 1, rng) for _ in range(SAMPLES)]
    scheme = Scheme(transformer=network.transformer)
    bank = load_or_build_bank(network.model, samples, scheme, cache=folder / "banks")
    builder = CandidateBuilder(bank, NO_ELASTIC, inference_precisions=("f32",), scheme=scheme, precisions=PRECISIONS)
    return Case(network, bank, builder, samples, random_inputs(network, 8, rng), scheme)


def test_policies_are_bit_for_bit_what_nncf_makes(case: Case, num_policies: int) -> None:
    rng = np.random.default_rng(1)
    for _ in range(num_policies):
        policy = case.random_policy(rng)
        ignored = [n for u in case.bank.units if policy[u.key] == FLOAT for n in u.operations]
        fresh = quantize_afresh(case.bank.source, case.samples, transformer=case.scheme.transformer, ignored=ignored)
        cut = case.builder.build(Candidate({}, policy, "f32"))
        assert np.array_equal(case.infer(cut), case.infer(fresh))


def test_units_run_in_the_precision_asked_for_or_say_why_not(case: Case, num_policies: int, tmp_path: Path) -> None:
    rng, fell_back = np.random.default_rng(2), []
    shapes = {i.name: [1, *i.shape] for i in case.network.inputs}
    for number in range(num_policies):
        policy = case.random_policy(rng)
        path = save_ir(case.builder.build(Candidate({}, policy, "f32")), tmp_path / f"{number}.xml")
        realised = realised_precisions(path, device="CPU", inference_precision="f32", shapes=shapes)
        for unit in case.bank.units:
            found = realised.of(unit.deciding)
            if found != ("int8" if policy[unit.key] == INT8 else "f32"):
                fell_back.append(unit)
                assert realised.explain(unit.deciding), unit.key
    # Only what multiplies nothing, additions and pooling, may be fused into a neighbour of another precision.
    assert all(not unit.computing for unit in fell_back)


def test_every_operation_is_in_one_unit_with_its_costs(case: Case) -> None:
    operations = [n for u in case.bank.units for n in u.operations]
    assert len(operations) == len(set(operations))
    nodes = nodes_by_name(case.bank.smoothed)
    for unit in case.bank.units:
        assert (unit.macs > 0) == bool(unit.computing)
        assert bool(unit.params) == bool(unit.weights)
        assert len(unit.blocks) == len(unit.operations)
        assert all(n in nodes for n in unit.operations)
    assert sum(u.macs for u in case.bank.units) > 0


def test_units_of_a_block_can_share_a_precision(case: Case) -> None:
    merged = CandidateBuilder(
        case.bank, NO_ELASTIC, inference_precisions=("f32",), scheme=case.scheme, merge_blocks=True
    )
    assert 3 <= len(merged.units) < len(case.bank.units)
    for name in ("operations", "weights", "quantizers", "biases"):
        before = sorted(x for u in case.bank.units for x in getattr(u, name))
        assert sorted(x for u in merged.units for x in getattr(u, name)) == before
    first = max(merged.units, key=lambda u: len(u.operations))
    cut = merged.build(Candidate({}, {u.key: FLOAT if u is first else INT8 for u in merged.units}, "f32"))
    apart = {u.key: FLOAT if u.operations[0] in first.operations else INT8 for u in case.bank.units}
    assert np.array_equal(case.infer(cut), case.infer(case.builder.build(Candidate({}, apart, "f32"))))


def test_w8_keeps_int8_weights_and_drops_the_activations(case: Case, tmp_path: Path) -> None:
    policy = {u.key: W8 if u.weights else FLOAT for u in case.bank.units}
    model = case.builder.build(Candidate({}, policy, "f32"))
    kinds = [n.get_type_name() for n in model.get_ops()]
    assert "FakeQuantize" not in kinds
    nodes = nodes_by_name(model)
    for unit in case.bank.units:
        for name, port in unit.weights:
            types = {c.get_output_element_type(0).to_string() for _, c in constant_leaves(nodes[name].input(port))}
            assert types & {"i8", "u8"}, name
    sizes = {}
    for precision in PRECISIONS:
        genotype = case.builder.genotype(architecture={}, precision=precision, inference_precision="f32")
        cut = case.builder.build(case.builder.candidate(genotype))
        path = save_ir(cut, tmp_path / f"{precision}.xml")
        sizes[precision] = path.with_suffix(".bin").stat().st_size
        computed = case.builder.compute_costs(np.array([genotype]))["size_bytes"][0]
        assert 0 <= computed - sizes[precision] <= 4096
    assert sizes[W8] <= sizes[INT8] < sizes[FLOAT]
    reference, w8 = case.infer(case.bank.source), case.infer(model)
    assert 0 < np.abs(reference - w8).max() < 0.2 * np.abs(reference).max()


def test_a_unit_without_weights_has_no_w8(case: Case) -> None:
    for unit in case.bank.units:
        choices = case.builder.space.knobs[case.builder.space.index(unit.knob)].choices
        assert choices == ((INT8, W8, FLOAT) if unit.weights else (INT8, FLOAT))


def test_winners_on_their_own_graph_are_the_cut(case: Case) -> None:
    policy = case.random_policy(np.random.default_rng(3))
    candidate = Candidate({}, policy, "f32")
    own = case.builder.recalibrate(candidate, case.samples)
    assert np.array_equal(case.infer(own), case.infer(case.builder.build(candidate)))


@pytest.mark.parametrize(
    ("label", "block"),
    [
        ("layer.3.attention.output.dense", "layer.3"),
        ("encoder.layer.11.output.dense", "encoder.layer.11"),
        ("stages.2.layers.5.layer.0.normalization/Convolution", "stages.2.layers.5"),
        ("encoder.layers.2.blocks.5.mlp.fc1", "encoder.layers.2.blocks.5"),
        ("encoder.layers.encoder_layer_3.mlp.0", "encoder.layers.encoder_layer_3"),
        ("layer1.0.conv1", "layer1.0"),
        ("features.3.conv.1.0", "features.3"),
        ("bert.pooler.dense", ""),
        ("layer.0.attention.self/ScaledDotProductAttention", "layer.0"),
    ],
)
def test_logical_blocks(label: str, block: str) -> None:
    assert logical_block(label) == block
