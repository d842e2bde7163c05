from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from conftest import TINY_VIT

from qnas_ov.core.errors import QnasError
from qnas_ov.families import FAMILIES, Supernet
from qnas_ov.space import Space
from qnas_ov.tasks import Task
from qnas_ov.train import ElasticControl, TrainSettings, evaluate_top1, train_supernet


def build() -> Supernet:
    return FAMILIES.get("vit").build(copy.deepcopy(TINY_VIT), seed=0)


def test_training_teaches_all_sizes_and_is_seeded(digits: Task) -> None:
    weights = []
    for _ in range(2):
        supernet = build()
        train_supernet(supernet, digits.train, TrainSettings(cycles=2, epochs=5, batch_size=64, learning_rate=3e-3))
        weights.append([p.detach().clone() for p in supernet.model.parameters()])
    for a, b in zip(*weights, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    control = ElasticControl(supernet)
    assert evaluate_top1(supernet, digits.validation) > 0.3
    with control.subnetwork(supernet.elastic.smallest()):
        assert evaluate_top1(supernet, digits.validation) > 0.2


def test_a_loss_that_is_not_finite_stops(digits: Task) -> None:
    supernet = build()
    with torch.no_grad():
        supernet.model.classifier.weight.fill_(float("nan"))
    with pytest.raises(QnasError, match="the loss is nan in epoch 1"):
        train_supernet(supernet, digits.train, TrainSettings(cycles=1, epochs=1))


def test_masking_equals_a_plain_network_with_copied_slices(tiny_supernet: Supernet) -> None:
    """One layer by hand: heads and neurons sliced in torch, the same output as masked."""
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    supernet = copy.deepcopy(tiny_supernet)
    control = ElasticControl(supernet)
    architecture = {"depth": 1, "layer.0.heads": 2, "layer.0.ffn": 64}
    with control.subnetwork(architecture), torch.no_grad():
        masked = supernet.model(pixel_values=images).logits

    plain = copy.deepcopy(tiny_supernet.model)
    plain.vit.encoder.layer = plain.vit.encoder.layer[:1]
    layer = plain.vit.encoder.layer[0]
    attention, kept = layer.attention.attention, 2 * 16
    with torch.no_grad():
        for projection in (attention.query, attention.key, attention.value):
            projection.weight = torch.nn.Parameter(projection.weight[:kept])
            projection.bias = torch.nn.Parameter(projection.bias[:kept])
        attention.num_attention_heads, attention.all_head_size = 2, kept
        layer.attention.output.dense.weight = torch.nn.Parameter(layer.attention.output.dense.weight[:, :kept])
        layer.intermediate.dense.weight = torch.nn.Parameter(layer.intermediate.dense.weight[:64])
        layer.intermediate.dense.bias = torch.nn.Parameter(layer.intermediate.dense.bias[:64])
        layer.output.dense.weight = torch.nn.Parameter(layer.output.dense.weight[:, :64])
        torch.testing.assert_close(plain(pixel_values=images).logits, masked, rtol=0, atol=1e-5)


def test_the_shipped_network_meets_its_bars(digits_supernet: Supernet, digits: Task) -> None:
    """At least 97.5% on test for the largest network; 94% on average for random subnetworks."""
    supernet = copy.deepcopy(digits_supernet)
    control, space = ElasticControl(supernet), Space(supernet.elastic.knobs())
    assert evaluate_top1(supernet, digits.test) >= 0.975
    scores = []
    for genotype in space.sample(np.random.default_rng(2026), 16):
        with control.subnetwork({k: int(v) for k, v in space.decode(genotype).items()}):
            scores.append(evaluate_top1(supernet, digits.test))
    assert np.mean(scores) >= 0.94
