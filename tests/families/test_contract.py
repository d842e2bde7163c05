"""What every family must keep: it is tested by being registered, on every example that it gives."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from family_cases import EXAMPLES, Case, as_tensors, random_case
from safetensors.torch import load_file, save_file

from qnas_ov.core.errors import InputError
from qnas_ov.families import Supernet, extract_subnetwork, order_by_importance


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda p: "-".join(p))
def case(request: pytest.FixtureRequest) -> Case:
    return random_case(request.param)


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


@pytest.mark.parametrize("with_data", [True, False])
def test_ordering_by_importance_keeps_the_function(case: Case, with_data: bool) -> None:
    ordered = copy.deepcopy(case.supernet)
    order_by_importance(ordered, as_tensors(case.inputs) if with_data else None)
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
    for architecture in (shallow(case.supernet), uniform(case.supernet), *case.architectures(4)):
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
    weights[cut].view(-1)[0] = float("nan")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=rf"must be finite: \['{cut}'\] hold NaN"):
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
