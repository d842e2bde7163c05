"""Vision Transformer (transformers' ViT): depth, attention heads and feed-forward neurons per layer are elastic.

The dimensions are those of SimQ-NAS (arXiv 2312.13301); depth keeps the first blocks.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional
from qnas_ov.families.base import (
    FAMILIES,
    MODELS,
    Architecture,
    ChannelGroup,
    DepthGroup,
    Elastic,
    InputSpec,
    ModelEntry,
    Supernet,
)

CONFIG_KEY = "qnas_ov"
"""Where `config.json` keeps the choices of a supernet and the architecture of a subnetwork."""


class ViTFamily:
    """Vision Transformers for image classification."""

    name = "vit"

    def build(self, config: dict[str, Any], *, seed: int) -> Supernet:
        """Builds a supernet with random weights.

        Args:
            config: A Hugging Face ViT configuration whose entry "qnas_ov" holds the choices: `depth` (blocks),
                `heads` (per layer), `ffn` (neurons per layer).
            seed: Seed of the weights.
        """
        classifier = import_optional("transformers", name="ViTForImageClassification")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = classifier(_hf_config(config))
            side, embeddings = config["image_size"] // config["patch_size"], model.vit.embeddings
            with torch.no_grad():
                embeddings.position_embeddings[0, 1:] = sine_cosine_positions(side, config["hidden_size"])
            # A patch must weigh as much as its position, or training stays at chance for long.
            torch.nn.init.normal_(embeddings.patch_embeddings.projection.weight, std=1.0 / config["patch_size"])
        return _supernet(model, config)

    def load(self, folder: Path) -> Supernet:
        """Loads a folder with `config.json` and `model.safetensors`.

        Raises:
            InputError: If a file is missing, or tensors are missing or left over (they are named).
        """
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise InputError(
                    f"the checkpoint '{folder}' must hold {name}: give the folder of a Hugging Face checkpoint"
                )
        config = json.loads((folder / "config.json").read_text())
        supernet = self.build(config, seed=0)
        weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        missing, unexpected = supernet.model.load_state_dict(weights, strict=False)
        if missing or unexpected:
            raise InputError(
                f"the weights in {folder} do not fit its config.json: missing {missing or 'none'}, "
                f"unexpected {unexpected or 'none'}; use the two files of one checkpoint"
            )
        processor = folder / "preprocessor_config.json"
        supernet.preprocessor = json.loads(processor.read_text()) if processor.exists() else None
        return supernet

    def subnetwork_config(
        self, config: dict[str, Any], architecture: Architecture
    ) -> tuple[dict[str, Any], str | None]:
        """The configuration of a subnetwork.

        transformers' ViT has one feed-forward width for all layers and always `hidden_size` attention channels, so
        narrower heads or differing widths cannot be told to it: then the note says so and the exact architecture
        stands under "qnas_ov".
        """
        result = copy.deepcopy(config)
        depth = architecture["depth"]
        heads = {architecture[f"layer.{i}.heads"] for i in range(depth)}
        widths = {architecture[f"layer.{i}.ffn"] for i in range(depth)}
        result["num_hidden_layers"] = depth
        result["intermediate_size"] = max(widths)
        result[CONFIG_KEY] = {"architecture": dict(architecture)}
        if heads == {config["num_attention_heads"]} and len(widths) == 1:
            return result, None
        return result, (
            "transformers' ViT cannot express fewer heads or widths that differ between layers: the IR is exact and "
            "loads as it is; the architecture stands under 'qnas_ov' in config.json"
        )


def sine_cosine_positions(side: int, width: int) -> torch.Tensor:
    """Two-dimensional sine-cosine position embeddings of a square grid: (side * side, width).

    Small data sets learn from them far sooner than from random ones. Source: MAE (arXiv 2111.06377).
    """
    rates = 1.0 / 10000 ** (torch.arange(width // 4) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [axis.reshape(-1, 1) * rates for axis in (rows, columns)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)


def _hf_config(config: dict[str, Any]) -> Any:
    return import_optional("transformers", name="ViTConfig")(**{k: v for k, v in config.items() if k != CONFIG_KEY})


def _supernet(model: torch.nn.Module, config: dict[str, Any]) -> Supernet:
    choices = config.get(CONFIG_KEY, {})
    depth, heads, ffn = config["num_hidden_layers"], config["num_attention_heads"], config["intermediate_size"]
    blocks = tuple(f"vit.encoder.layer.{i}" for i in range(depth))
    widths = []
    for i, block in enumerate(blocks):
        attention = f"{block}.attention.attention"
        widths.append(
            ChannelGroup(
                knob=f"layer.{i}.heads",
                producers=(f"{attention}.query", f"{attention}.key", f"{attention}.value"),
                consumers=(f"{block}.attention.output.dense",),
                num_groups=heads,
                group_size=config["hidden_size"] // heads,
                choices=tuple(choices.get("heads", (heads,))),
                block=block,
            )
        )
        widths.append(
            ChannelGroup(
                knob=f"layer.{i}.ffn",
                producers=(f"{block}.intermediate.dense",),
                consumers=(f"{block}.output.dense",),
                num_groups=ffn,
                group_size=1,
                choices=tuple(choices.get("ffn", (ffn,))),
                block=block,
            )
        )
    size = config["image_size"]
    return Supernet(
        model=model.eval(),
        family="vit",
        elastic=Elastic(tuple(widths), (DepthGroup("depth", blocks, tuple(choices.get("depth", (depth,)))),)),
        inputs=(InputSpec("pixel_values", (config["num_channels"], size, size)),),
        output="logits",
        config=config,
        transformer=True,
    )


FAMILIES.add("vit", ViTFamily())
MODELS.add(
    "digits-vit",
    ModelEntry(
        name="digits-vit",
        family="vit",
        folder=Path(__file__).parent / "weights" / "digits-vit",
        source="shipped with qnas-ov, trained by `qnas-ov train --model digits-vit`",
        license="Apache-2.0",
        task="digits",
        defaults={
            "evaluations": 66,
            "population": 30,
            "inner_evaluations": 12_000,
            "latency_seconds": 0.2,
            "front_size": 12,
            "objectives": ["accuracy", "error", "latency"],
        },
    ),
)
