"""Small real networks of other kinds than the registered ones, as a user would bring them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import torch
from transformers import BertConfig, BertForSequenceClassification, ResNetConfig, ResNetForImageClassification

from qnas_ov.ir import OpenedNetwork, open_network, save_ir

TOKENS = 16
BERT_SHAPES = {n: (1, TOKENS) for n in ("input_ids", "attention_mask", "token_type_ids")}
IMAGE_SHAPES = {"pixel_values": (1, 3, 64, 64)}


def bert_folder(folder: Path) -> Path:
    """A three-layer BERT with random weights, as a Hugging Face folder."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128, vocab_size=100,
        max_position_embeddings=32, num_labels=4,
    )  # fmt: skip
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    return folder


def resnet_folder(folder: Path) -> Path:
    """A ResNet of bottleneck blocks with random weights, as a Hugging Face folder."""
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=16, hidden_sizes=[32, 64, 96, 128], depths=[2, 2, 2, 2], num_labels=10)
    model = ResNetForImageClassification(config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    model.eval().save_pretrained(folder)
    return folder


def open_bert(folder: Path) -> OpenedNetwork:
    return open_network(bert_folder(folder), BERT_SHAPES)


def open_resnet(folder: Path) -> OpenedNetwork:
    return open_network(resnet_folder(folder), IMAGE_SHAPES)


def random_inputs(network: OpenedNetwork, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Inputs that the network could meet: images of noise, random tokens, full masks."""
    found = {}
    for spec in network.inputs:
        shape = (count, *spec.shape)
        if spec.dtype == "float32":
            found[spec.name] = rng.standard_normal(shape, dtype=np.float32)
        elif spec.name == "input_ids":
            found[spec.name] = rng.integers(0, 100, shape)
        else:
            found[spec.name] = np.full(shape, spec.name == "attention_mask", dtype=np.int64)
    return found


OUTLIER = "layers.4"


def outlier_network(path: Path) -> Path:
    """A perceptron of which the linear layer `OUTLIER` reads one channel far larger than the others.

    INT8 has one range per activation tensor, so that this layer loses nearly all it reads; the others lose little.
    """
    torch.manual_seed(0)
    layers = [torch.nn.Linear(32, 64), torch.nn.ReLU()]
    for _ in range(3):
        layers += [torch.nn.Linear(64, 64), torch.nn.ReLU()]
    model = torch.nn.Module()
    model.layers = torch.nn.Sequential(*layers, torch.nn.Linear(64, 10))
    before, after = model.layers[2], model.layers[4]
    with torch.no_grad():
        for layer in model.layers[::2]:
            torch.nn.init.normal_(layer.weight, 0.0, 1.4 / layer.in_features**0.5)
        before.weight[0] *= 100.0
        before.bias[0] = 1000.0
        after.weight[:, 0] /= 1000.0
    model.forward = lambda features: model.layers(features)
    ir = ov.convert_model(model.eval(), example_input={"features": torch.zeros(1, 32)}, input=[("features", [-1, 32])])
    ir.outputs[0].get_tensor().set_names({"scores"})
    return save_ir(ir, path)


def save_samples(path: Path, count: int = 120, *, labels: np.ndarray | None = None) -> Path:
    """Samples for `outlier_network`."""
    arrays = {"features": np.random.default_rng(1).standard_normal((count, 32), dtype=np.float32)}
    np.savez(path, **arrays, **({} if labels is None else {"labels": labels}))
    return path
