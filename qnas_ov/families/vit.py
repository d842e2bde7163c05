"""Vision Transformers (ViT and DeiT of transformers): depth, heads and feed-forward neurons per layer are elastic.

The dimensions and the default choices are those of SimQ-NAS for ViT-B/16 (arXiv 2312.13301), in proportion for other
sizes; depth keeps the first blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from qnas_ov.core.optional import import_optional
from qnas_ov.families._checkpoint import (
    check_class,
    check_type,
    is_of,
    open_pretrained,
    parse_config,
    read_config,
    read_json,
    refuse_differences,
    with_defaults,
)
from qnas_ov.families._choices import is_ordered
from qnas_ov.families._encoder import (
    TINY_CHOICES,
    BlockLayout,
    EncoderSize,
    encoder_choices,
    encoder_config,
    encoder_elastic,
)
from qnas_ov.families.base import CONFIG_KEY, FAMILIES, Architecture, InputSpec, Supernet

DEPTH, HEADS, FFN = (10 / 12, 11 / 12), (6 / 12, 8 / 12, 10 / 12), (1 / 3, 2 / 3)
"""Choices of SimQ-NAS as shares of ViT-B: depth {10, 11, 12}, heads {6, 8, 10, 12}, neurons {1024, 2048, 3072}."""

_CLASSES = {
    "vit": ("ViTForImageClassification",),
    "deit": ("DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"),
}
_KEYS = ("num_hidden_layers", "num_attention_heads", "intermediate_size")
_LAYOUT = BlockLayout(
    query_key_value=("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    output=("attention.output.dense",),
    fc1="intermediate.dense",
    fc2="output.dense",
)


def _example(model_type: str, architecture: str) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "image_size": 8,
        "patch_size": 2,
        "num_channels": 1,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "num_labels": 10,
        CONFIG_KEY: TINY_CHOICES,
    }


class ViTFamily:
    """Vision Transformers for image classification."""

    name = "vit"
    examples: Mapping[str, dict[str, Any]] = {
        "vit": _example("vit", "ViTForImageClassification"),
        "deit": _example("deit", "DeiTForImageClassification"),
        "deit-with-teacher": _example("deit", "DeiTForImageClassificationWithTeacher"),
    }

    def accepts(self, config: Mapping[str, Any]) -> bool:
        """Whether it is a classifier of square images among transformers' ViT and DeiT."""
        return is_of(config, _CLASSES) and all(type(config.get(n, 1)) is int for n in ("image_size", "patch_size"))

    def build(self, config: dict[str, Any], *, seed: int) -> Supernet:
        """Builds a supernet with random weights.

        Args:
            config: A Hugging Face ViT or DeiT configuration; its entry "qnas_ov" may hold the choices: `depth`
                (blocks), `heads` (per layer), `ffn` (neurons per layer).
            seed: Seed of the weights.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _network_class(config)(_parse(config)[0])
            embeddings = getattr(model, config["model_type"]).embeddings
            positions, patches = embeddings.position_embeddings, embeddings.patch_embeddings
            side = model.config.image_size // model.config.patch_size
            with torch.no_grad():
                positions[0, -side * side :] = sine_cosine_positions(side, positions.shape[-1])
            # A patch must weigh as much as its position, or training stays at chance for long.
            torch.nn.init.normal_(patches.projection.weight, std=1.0 / model.config.patch_size)
        return _supernet(model, config)

    def load(self, folder: Path) -> Supernet:
        """Loads a folder with `config.json` and `model.safetensors`.

        Raises:
            InputError: If it holds a network of another family, or tensors are missing or left over (they are named).
        """
        config = read_config(folder)
        check_type(folder, config, family=self.name, types=tuple(_CLASSES))
        network_class = _network_class(config)
        model, found = open_pretrained(network_class, folder, config=_parse(config)[0])
        refuse_differences(folder, found, may_have=(f"{config['model_type']}.pooler.",))
        supernet = _supernet(model, config)
        supernet.preprocessor = read_json(folder / "preprocessor_config.json")
        return supernet

    def subnetwork_config(
        self, config: dict[str, Any], architecture: Architecture
    ) -> tuple[dict[str, Any], str | None]:
        """The configuration of a subnetwork, and a note where its class cannot express the widths."""
        return encoder_config(config, architecture, keys=_KEYS, class_name=_class_name(config))


def sine_cosine_positions(side: int, width: int) -> torch.Tensor:
    """Two-dimensional sine-cosine position embeddings of a square grid: (side * side, width).

    Small data sets learn from them far sooner than from random ones. Source: MAE (arXiv 2111.06377).
    """
    rates = 1.0 / 10000 ** (torch.arange(width // 4) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [axis.reshape(-1, 1) * rates for axis in (rows, columns)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)


def _class_name(config: dict[str, Any]) -> str:
    return check_class(config, _CLASSES[config["model_type"]], family="vit", purpose="image classification")


def _network_class(config: dict[str, Any]) -> Any:
    return import_optional("transformers", name=_class_name(config))


def _parse(config: dict[str, Any]) -> tuple[Any, EncoderSize]:
    parsed = parse_config(_network_class(config).config_class, config)
    size = EncoderSize(
        depth=parsed.num_hidden_layers,
        hidden=parsed.hidden_size,
        heads=parsed.num_attention_heads,
        ffn=parsed.intermediate_size,
    )
    return parsed, size


def _supernet(model: torch.nn.Module, config: dict[str, Any]) -> Supernet:
    parsed, size = _parse(config)
    choices = encoder_choices(config, size, depth=DEPTH, heads=HEADS, ffn=FFN)
    blocks = tuple(f"{config['model_type']}.encoder.layer.{i}" for i in range(size.depth))
    return Supernet(
        model=model.eval(),
        family="vit",
        elastic=encoder_elastic(blocks, _LAYOUT, size, choices),
        inputs=(InputSpec("pixel_values", (parsed.num_channels, parsed.image_size, parsed.image_size)),),
        output="logits",
        config=with_defaults(config, parsed, _KEYS),
        transformer=True,
        num_classes=parsed.num_labels,
        ordered=is_ordered(config),
    )


FAMILIES.add("vit", ViTFamily())
