"""Networks of real size for the benchmarks, with random weights: nothing is downloaded."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qnas_ov.families import FAMILIES, Architecture, Supernet

VIT_B16 = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "id2label": {str(i): str(i) for i in range(1000)},
    # The space of SimQ-NAS (arXiv 2312.13301).
    "qnas_ov": {"depth": [10, 11, 12], "heads": [6, 8, 10, 12], "ffn": [1024, 2048, 3072]},
}


def vit_b16() -> Supernet:
    """ViT-B/16 as an elastic supernet."""
    return vit(VIT_B16)


def vit(config: Mapping[str, Any], seed: int = 0) -> Supernet:
    """A ViT. Biases and norms get values of their own, which exporters do not fold away."""
    supernet = FAMILIES.get("vit").build(copy.deepcopy(dict(config)), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in supernet.model.parameters():
            if parameter.ndim == 1:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return supernet


def bert(folder: Path, **config: int) -> None:
    """Writes a BERT for sequence classification as a Hugging Face folder."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(**config)).eval().save_pretrained(folder)


def images(count: int, seed: int) -> np.ndarray:
    """Noise of the statistics of normalised images: float32 (count, 3, 224, 224)."""
    return np.random.default_rng(seed).standard_normal((count, 3, 224, 224), dtype=np.float32)


def samples(array: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Calibration samples with a batch axis of 1."""
    return [{"pixel_values": array[i : i + 1]} for i in range(len(array))]


def cut_torch(supernet: Supernet, architecture: Architecture) -> Supernet:
    """The subnetwork as torch modules of its own, as a tool without graph surgery must make it before it exports."""
    cut = copy.deepcopy(supernet)
    encoder = cut.model.vit.encoder
    encoder.layer = encoder.layer[: architecture["depth"]]
    head_size = cut.config["hidden_size"] // cut.config["num_attention_heads"]
    for i, layer in enumerate(encoder.layer):
        heads, neurons = architecture[f"layer.{i}.heads"], architecture[f"layer.{i}.ffn"]
        attention = layer.attention.attention
        attention.num_attention_heads, attention.all_head_size = heads, heads * head_size
        for linear in (attention.query, attention.key, attention.value):
            _keep(linear, rows=heads * head_size)
        _keep(layer.attention.output.dense, columns=heads * head_size)
        _keep(layer.intermediate.dense, rows=neurons)
        _keep(layer.output.dense, columns=neurons)
    return cut


def _keep(linear: torch.nn.Linear, rows: int | None = None, columns: int | None = None) -> None:
    linear.weight = torch.nn.Parameter(linear.weight[:rows, :columns].clone())
    if linear.bias is not None:
        linear.bias = torch.nn.Parameter(linear.bias[:rows].clone())
    linear.out_features, linear.in_features = linear.weight.shape


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median of `slow` over median of `fast`."""
    return float(np.median(slow) / np.median(fast))
