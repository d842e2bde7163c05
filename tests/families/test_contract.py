"""What every family must keep: it is tested by being registered, on every example that it gives."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from conftest import randomise
from safetensors.torch import load_file, save_file

from qnas_ov.core.errors import InputError
from qnas_ov.families import FAMILIES, Family, Supernet, extract_subnetwork, order_by_importance
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


def documented_family() -> Family:
    """The family in docs/families.md, whose code is run as it stands there; it does not stay registered."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    exec(compile(code, str(DOCS), "exec"), {"__name__": "convnext"})
    return FAMILIES._entries.pop("convnext")


DOCS = Path(__file__).parents[2] / "docs" / "families.md"
KNOWN = {**{name: FAMILIES.get(name) for name in FAMILIES}, "convnext": documented_family()}
EXAMPLES = [(name, example) for name, family in KNOWN.items() for example in family.examples]
SAMPLES, BATCH = 4, 4
F32 = {"INFERENCE_PRECISION_HINT": "f32"}


@dataclass(frozen=True)
class Case:
    family: Family
    supernet: Supernet
    builder: CandidateBuilder
    inputs: dict[str, np.ndarray]
    architectures: list[dict[str, int]]
    samples: dict[str, np.ndarray]

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array) for name, array in self.inputs.items()}

    @property
    def calibration(self) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array) for name, array in self.samples.items()}

    def torch_output(self, network: torch.nn.Module) -> np.ndarray:
        with torch.no_grad():
            found = network(**self.tensors)
        return (found if isinstance(found, torch.Tensor) else found[self.supernet.output]).numpy()

    def ir_output(self, model: ov.Model) -> np.ndarray:
        return ov.Core().compile_model(model, "CPU", F32)(self.inputs)[self.supernet.output]


def random_inputs(supernet: Supernet, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Noise, random tokens, masks that end somewhere."""
    found = {}
    for spec in supernet.inputs:
        shape = (count, *spec.shape)
        if spec.dtype == "float32":
            found[spec.name] = rng.standard_normal(shape, dtype=np.float32)
        elif "mask" in spec.name:
            found[spec.name] = (np.arange(shape[1]) < rng.integers(2, shape[1] + 1, (count, 1))).astype(np.int64)
        else:
            found[spec.name] = rng.integers(0, 2 if "type" in spec.name else 40, shape)
    return found


def build(family: str, example: str) -> Supernet:
    """With weights that do not vanish, and statistics of batch normalisations as after training."""
    supernet = randomise(KNOWN[family].build(copy.deepcopy(KNOWN[family].examples[example]), seed=0))
    inputs = random_inputs(supernet, 16, np.random.default_rng(1))
    with estimated_norms(supernet.model, {name: torch.from_numpy(array) for name, array in inputs.items()}):
        trained = copy.deepcopy(supernet.model.state_dict())
    supernet.model.load_state_dict(trained)
    return supernet


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda p: "-".join(p))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    family, example = request.param
    supernet, rng = build(family, example), np.random.default_rng(0)
    samples = [random_inputs(supernet, 1, rng) for _ in range(SAMPLES)]
    scheme = Scheme(transformer=supernet.transformer)
    bank = load_or_build_bank(export_supernet(supernet), samples, scheme, cache=tmp_path_factory.mktemp("banks"))
    norms = supernet.read_batch_norms()
    calibration = {name: np.concatenate([s[name] for s in samples]) for name in samples[0]}
    builder = CandidateBuilder(
        bank,
        supernet.elastic,
        inference_precisions=("f32",),
        scheme=scheme,
        norms=NormEstimator(bank.source, supernet.elastic, norms, calibration) if norms else None,
    )
    first = example == next(iter(KNOWN[family].examples))
    count = 20 if request.config.getoption("--full") else 4 if first else 2
    drawn = [dict(builder.candidate(g).architecture) for g in builder.space.sample(rng, count)]
    architectures = [supernet.elastic.smallest(), *drawn]
    inputs = random_inputs(supernet, BATCH, rng)
    return Case(KNOWN[family], supernet, builder, inputs, architectures, calibration)


def test_the_description_fits_the_network(case: Case) -> None:
    modules = dict(case.supernet.model.named_modules())
    for group in case.supernet.elastic.widths:
        for path in (*group.producers, *group.norms):
            assert modules[path].weight.shape[0] == group.num_channels, path
        for path in group.consumers:
            assert modules[path].weight.shape[1] == group.num_channels, path
    for depth in case.supernet.elastic.depths:
        assert all(block in modules for block in depth.blocks)
    assert case.family.accepts(case.supernet.config)
    assert case.supernet.family == case.family.name


def test_masked_torch_is_the_plain_network_is_the_sliced_ir(case: Case) -> None:
    """Batch normalisations are estimated in each of the three, by code of its own in torch and in the IR."""
    masked = copy.deepcopy(case.supernet)
    control = ElasticControl(masked)
    assert np.abs(case.ir_output(case.builder.bank.source) - case.torch_output(case.supernet.model)).max() <= 1e-4
    for architecture in case.architectures:
        with control.subnetwork(architecture), estimated_norms(masked.model, case.calibration):
            expected = case.torch_output(masked.model)
        assert np.abs(expected).max() > 0.1
        plain = extract_subnetwork(case.supernet, architecture)
        with estimated_norms(plain, case.calibration):
            assert np.abs(case.torch_output(plain) - expected).max() <= 1e-4
        assert np.abs(case.ir_output(case.builder.build_float(architecture)) - expected).max() <= 1e-4
    largest = case.torch_output(case.supernet.model)
    assert np.abs(largest - expected).max() > 1e-3  # the architectures do differ


def test_sliced_int8_runs_in_int8_and_costs_what_is_computed(case: Case, tmp_path: Path) -> None:
    shapes = {spec.name: [1, *spec.shape] for spec in case.supernet.inputs}
    for number, architecture in enumerate(case.architectures):
        genotype = case.builder.genotype(architecture=architecture, precision=INT8, inference_precision="f32")
        candidate = case.builder.candidate(genotype)
        model = case.builder.build(candidate)
        path = save_ir(model, tmp_path / f"{number}.xml")
        costs = {name: values[0] for name, values in case.builder.compute_costs(np.array([genotype])).items()}
        assert costs["size_bytes"] == pytest.approx(sum(c.data.nbytes for c in constants(model)), rel=1e-9)
        # OpenVINO writes equal small constants once: never more than computed, and almost nothing less.
        assert 0 <= costs["size_bytes"] - os.path.getsize(path.with_suffix(".bin")) <= 4096
        assert costs["macs"] == pytest.approx(count_macs(model), rel=1e-9)
        plain = extract_subnetwork(case.supernet, candidate.architecture)
        assert costs["params"] == pytest.approx(case_params(case.builder.build_float(candidate.architecture)), rel=1e-9)
        assert costs["params"] <= sum(p.numel() for p in plain.parameters()) + 100
        realised = realised_precisions(path, device="CPU", inference_precision="f32", shapes=shapes)
        for unit in case.builder.units:
            if unit.key in candidate.policy and unit.computing:
                assert realised.of(case.builder.deciding(unit, candidate.architecture)) == "int8", unit.key
        assert np.isfinite(case.ir_output(model)).all()


def constants(model: ov.Model) -> list[ov.Node]:
    return [n for n in model.get_ops() if n.get_type_name() == "Constant"]


def case_params(model: ov.Model) -> int:
    real = [n for n in constants(model) if n.get_output_element_type(0).is_real()]
    return sum(n.data.size for n in real if n.get_output_shape(0))


@pytest.mark.parametrize("with_data", [True, False])
def test_ordering_by_importance_keeps_the_function(case: Case, with_data: bool) -> None:
    ordered = copy.deepcopy(case.supernet)
    order_by_importance(ordered, case.tensors if with_data else None)
    assert ordered.ordered
    expected = case.torch_output(case.supernet.model)
    assert np.abs(case.torch_output(ordered.model) - expected).max() <= 1e-4
    changed = [
        n for n, p in ordered.model.named_parameters() if not torch.equal(p, case.supernet.model.get_parameter(n))
    ]
    assert changed
    architecture = case.supernet.elastic.smallest()
    before, after = (extract_subnetwork(s, architecture) for s in (case.supernet, ordered))
    assert np.abs(case.torch_output(after) - case.torch_output(before)).max() > 1e-4


def save_checkpoint(supernet: Supernet, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(supernet.config))
    save_file({k: v.contiguous() for k, v in supernet.model.state_dict().items()}, folder / "model.safetensors")
    return folder


def test_a_checkpoint_is_loaded_as_it_was(case: Case, tmp_path: Path) -> None:
    loaded = case.family.load(save_checkpoint(case.supernet, tmp_path / "checkpoint"))
    assert loaded.elastic == case.supernet.elastic
    assert loaded.inputs == case.supernet.inputs
    assert loaded.num_classes == case.supernet.num_classes
    assert np.array_equal(case.torch_output(loaded.model), case.torch_output(case.supernet.model))


def test_the_config_of_a_subnetwork_describes_it(case: Case, tmp_path: Path) -> None:
    """Where there is no note, the family loads config and plain weights; where there is one, the IR stands alone."""
    for architecture in (shallow(case.supernet), uniform(case.supernet), *case.architectures):
        config, note = case.family.subnetwork_config(case.supernet.config, architecture)
        assert note is None or architecture != shallow(case.supernet) or "load it with" in note
        assert config["qnas_ov"]["architecture"] == architecture
        json.dumps(config)
        if note is None:
            plain = extract_subnetwork(case.supernet, architecture)
            described = case.family.build(config, seed=1)
            described.model.load_state_dict(plain.state_dict(), strict=True)
            assert np.abs(case.torch_output(described.model) - case.torch_output(plain)).max() <= 1e-5


def shallow(supernet: Supernet) -> dict[str, int]:
    """An architecture that differs from the largest in its depth alone: any class can express it."""
    elastic = supernet.elastic
    depths = {g.knob: g.choices[-2] for g in elastic.depths}
    gone = elastic.skipped_blocks(depths)
    return {**depths, **{g.knob: g.num_groups for g in elastic.widths if g.block not in gone}}


def uniform(supernet: Supernet) -> dict[str, int]:
    """An architecture with all heads and streams, less depth, and the same smaller width everywhere else."""
    elastic = supernet.elastic
    knobs = {
        g.knob: g.choices[0] if g.group_size == 1 and g.block is not None else g.num_groups for g in elastic.widths
    }
    depths = {g.knob: g.choices[-2] for g in elastic.depths}
    gone = elastic.skipped_blocks(depths)
    kept = {g.knob for g in elastic.widths if g.block not in gone}
    return {**depths, **{k: v for k, v in knobs.items() if k in kept}}


def test_tensors_that_do_not_fit_are_named(case: Case, tmp_path: Path) -> None:
    folder = save_checkpoint(case.supernet, tmp_path / "checkpoint")
    weights = load_file(folder / "model.safetensors")
    lost = case.supernet.elastic.widths[0].producers[0] + ".weight"
    cut = case.supernet.elastic.widths[0].consumers[0] + ".weight"
    save_file(
        {k: v for k, v in weights.items() if k != lost} | {"extra.x": torch.zeros(1)}, folder / "model.safetensors"
    )
    with pytest.raises(InputError, match=f"missing .*{lost}.*, unexpected .*extra.x"):
        case.family.load(folder)
    save_file(weights | {cut: weights[cut][:, :-1].contiguous()}, folder / "model.safetensors")
    with pytest.raises(InputError, match=f"of another shape .*{cut}"):
        case.family.load(folder)


def choices_of(config: dict) -> list[str]:
    return [name for name in config["qnas_ov"] if name not in ("sequence_length", "image_size")]


Change = Callable[[dict], dict]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: {**c, "model_type": "gpt2"}, "takes checkpoints of type .* says 'gpt2'"),
        (lambda c: {**c, "architectures": ["GPT2LMHeadModel"]}, "needs a network for .* names 'GPT2LMHeadModel'"),
        (lambda c: {**c, "qnas_ov": {"colour": [1]}}, "must name elastic dimensions of this family .* got 'colour'"),
        (lambda c: {**c, "qnas_ov": dict.fromkeys(choices_of(c), "all")}, "choices of .* must be a list of whole num"),
        (lambda c: {**c, "id2label": {"0": "a", "1": "b"}, "num_labels": 3}, "id2label names 2, num_labels is 3"),
    ],
)  # fmt: skip
def test_configs_that_do_not_fit_are_refused(case: Case, change: Change, words: str, tmp_path: Path) -> None:
    folder = save_checkpoint(case.supernet, tmp_path / "checkpoint")
    (folder / "config.json").write_text(json.dumps(change(case.supernet.config)))
    with pytest.raises(InputError, match=words) as told:
        case.family.load(folder)
    assert "\n" not in str(told.value)


def test_choices_must_lie_within_the_network(case: Case) -> None:
    for name in choices_of(case.supernet.config):
        config = copy.deepcopy(case.supernet.config)
        config["qnas_ov"][name] = [1, 10_000]
        with pytest.raises(InputError, match=r"must ascend .* got \(1, 10000\)"):
            case.family.build(config, seed=0)


def test_default_choices_are_found_for_any_size(case: Case) -> None:
    config = {k: v for k, v in case.supernet.config.items() if k != "qnas_ov"}
    elastic = case.family.build(config, seed=0).elastic
    assert [g.knob for g in elastic.widths] == [g.knob for g in case.supernet.elastic.widths]
    assert any(len(g.choices) > 1 for g in elastic.widths)
