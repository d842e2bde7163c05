"""For every family: masked torch = plain torch = sliced IR; INT8 graphs; on random and on trained weights."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from family_cases import EXAMPLES, FIRST, Case, random_case, trained_case

from qnas_ov.families import extract_subnetwork
from qnas_ov.ir import (
    INT8,
    CandidateBuilder,
    NormEstimator,
    Scheme,
    count_macs,
    export_supernet,
    load_or_build_bank,
    save_ir,
)
from qnas_ov.measure import realised_precisions
from qnas_ov.train import ElasticControl, estimated_norms

F32 = {"INFERENCE_PRECISION_HINT": "f32"}
WEIGHTS = {"random": random_case, "trained": trained_case}
BOUND = 1e-4


@dataclass(frozen=True)
class Cut:
    """A case with what cuts its subnetworks, and the architectures to cut."""

    case: Case
    builder: CandidateBuilder
    architectures: list[dict[str, int]]

    def ir_output(self, model: ov.Model) -> np.ndarray:
        return ov.Core().compile_model(model, "CPU", F32)(self.case.inputs)[self.case.supernet.output]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All examples with random weights; with trained ones the first of each family, or all with --full."""
    full = metafunc.config.getoption("--full")
    found = [(e, "random") for e in EXAMPLES] + [(e, "trained") for e in (EXAMPLES if full else FIRST)]
    ids = ["-".join((*example, weights)) for example, weights in found]
    metafunc.parametrize("cut", found, ids=ids, indirect=True, scope="module")


@pytest.fixture(scope="module")
def cut(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cut:
    example, weights = request.param
    case = WEIGHTS[weights](example)
    scheme = Scheme(transformer=case.supernet.transformer)
    singles = [{name: array[i : i + 1] for name, array in case.samples.items()} for i in range(4)]
    bank = load_or_build_bank(export_supernet(case.supernet), singles, scheme, cache=tmp_path_factory.mktemp("banks"))
    norms = case.supernet.read_batch_norms()
    builder = CandidateBuilder(
        bank,
        case.supernet.elastic,
        inference_precisions=("f32",),
        scheme=scheme,
        norms=NormEstimator(bank.source, case.supernet.elastic, norms, case.samples) if norms else None,
    )
    count = 20 if request.config.getoption("--full") else 3 if example in FIRST else 1
    return Cut(case, builder, case.architectures(count))


def test_masked_torch_is_the_plain_network_is_the_sliced_ir(
    cut: Cut, record_property: Callable[[str, object], None]
) -> None:
    """Batch normalisations are estimated in each of the three, by code of its own in torch and in the IR."""
    case = cut.case
    masked = copy.deepcopy(case.supernet)
    control = ElasticControl(masked)
    largest = case.torch_output(case.supernet.model)
    found, apart = [np.abs(cut.ir_output(cut.builder.bank.source) - largest).max()], []
    for architecture in cut.architectures:
        with control.subnetwork(architecture), estimated_norms(masked.model, case.calibration):
            expected = case.torch_output(masked.model)
        assert np.abs(expected).max() > 0.1
        apart.append(np.abs(largest - expected).max())
        plain = extract_subnetwork(case.supernet, architecture)
        with estimated_norms(plain, case.calibration):
            found.append(np.abs(case.torch_output(plain) - expected).max())
        found.append(np.abs(cut.ir_output(cut.builder.build_float(architecture)) - expected).max())
    record_property("architectures", len(cut.architectures))
    record_property("largest_difference", float(max(found)))
    assert max(found) <= BOUND
    assert max(apart) > 10 * BOUND  # the architectures do differ


def test_sliced_int8_runs_in_int8_and_costs_what_is_computed(cut: Cut, tmp_path: Path) -> None:
    supernet, builder = cut.case.supernet, cut.builder
    shapes = {spec.name: [1, *spec.shape] for spec in supernet.inputs}
    for number, architecture in enumerate(cut.architectures):
        genotype = builder.genotype(architecture=architecture, precision=INT8, inference_precision="f32")
        candidate = builder.candidate(genotype)
        model = builder.build(candidate)
        path = save_ir(model, tmp_path / f"{number}.xml")
        costs = {name: values[0] for name, values in builder.compute_costs(np.array([genotype])).items()}
        assert costs["size_bytes"] == pytest.approx(sum(c.data.nbytes for c in constants(model)), rel=1e-9)
        # OpenVINO writes equal small constants once: never more than computed, and almost nothing less.
        assert 0 <= costs["size_bytes"] - os.path.getsize(path.with_suffix(".bin")) <= 4096
        assert costs["macs"] == pytest.approx(count_macs(model), rel=1e-9)
        plain = extract_subnetwork(supernet, candidate.architecture)
        assert costs["params"] == pytest.approx(count_params(builder.build_float(candidate.architecture)), rel=1e-9)
        assert costs["params"] <= sum(p.numel() for p in plain.parameters()) + 100
        realised = realised_precisions(path, device="CPU", inference_precision="f32", shapes=shapes)
        for unit in builder.units:
            if unit.key in candidate.policy and unit.computing:
                assert realised.of(builder.deciding(unit, candidate.architecture)) == "int8", unit.key
        assert np.isfinite(cut.ir_output(model)).all()


def constants(model: ov.Model) -> list[ov.Node]:
    return [n for n in model.get_ops() if n.get_type_name() == "Constant"]


def count_params(model: ov.Model) -> int:
    real = [n for n in constants(model) if n.get_output_element_type(0).is_real()]
    return sum(n.data.size for n in real if n.get_output_shape(0))
