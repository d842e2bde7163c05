"""Every registered family and model is tested by existing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qnas_ov.core.errors import InputError
from qnas_ov.families import FAMILIES, MODELS, ChannelGroup, Supernet, read_config
from qnas_ov.tasks import TASKS


@pytest.mark.parametrize("name", [n for n in MODELS if MODELS.get(n).weights.folder is not None])
def test_shipped_models_load(name: str) -> None:
    entry = MODELS.get(name)
    assert entry.weights.folder is not None
    assert entry.data.name in TASKS
    supernet = FAMILIES.get(entry.family).load(entry.weights.folder)
    modules = dict(supernet.model.named_modules())
    for group in supernet.elastic.widths:
        for path in group.producers:
            assert modules[path].weight.shape[0] == group.num_channels
        for path in group.consumers:
            assert modules[path].weight.shape[1] == group.num_channels
    for depth in supernet.elastic.depths:
        assert all(block in modules for block in depth.blocks)


def test_weights_of_another_network_are_named(tiny_checkpoint: Path) -> None:
    weights = load_file(tiny_checkpoint / "model.safetensors")
    weights["extra.weight"] = torch.zeros(1)
    del weights["classifier.bias"]
    save_file(weights, tiny_checkpoint / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing \['classifier.bias'\], unexpected \['extra.weight'\]"):
        FAMILIES.get("vit").load(tiny_checkpoint)


def test_choices_must_lie_within_the_network(tiny_checkpoint: Path) -> None:
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    config["qnas_ov"]["ffn"] = [32, 128]
    with pytest.raises(
        ValueError, match=r"choices of 'layer.0.ffn' must ascend from at least 1 to 96: got \(32, 128\)"
    ):
        FAMILIES.get("vit").build(config, seed=0)


def test_a_group_must_end_with_the_whole() -> None:
    with pytest.raises(ValueError, match="must ascend"):
        ChannelGroup("k", ("a",), ("b",), num_groups=4, group_size=1, choices=(4, 2), block=None)


def test_config_of_a_subnetwork_says_what_it_cannot_express(tiny_supernet: Supernet) -> None:
    family = FAMILIES.get("vit")
    uniform = {"depth": 2, **{f"layer.{i}.heads": 3 for i in range(2)}, **{f"layer.{i}.ffn": 64 for i in range(2)}}
    config, note = family.subnetwork_config(tiny_supernet.config, uniform)
    assert (config["num_hidden_layers"], config["intermediate_size"], note) == (2, 64, None)
    config, note = family.subnetwork_config(tiny_supernet.config, {**uniform, "layer.1.ffn": 32})
    assert note is not None
    assert config["qnas_ov"]["architecture"]["layer.1.ffn"] == 32


def test_the_same_seed_builds_the_same_weights_and_leaves_torch_alone(tiny_supernet: Supernet) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = (FAMILIES.get("vit").build(tiny_supernet.config, seed=3) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_choices_that_are_no_object_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit", "qnas_ov": 3}')
    with pytest.raises(
        InputError, match="'qnas_ov' in .*config.json' must be an object of choices by dimension: got 3"
    ):
        read_config(tmp_path)
