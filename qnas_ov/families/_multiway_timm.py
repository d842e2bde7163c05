"""BEiT-3 as timm stores it: the tensors of Microsoft's image classifiers under the names of timm's vision transformer.

Source: https://github.com/huggingface/pytorch-image-models, `timm/models/vision_transformer.py` (since version 1.0.16).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from qnas_ov.core.errors import InputError
from qnas_ov.core.timm import timm_architecture, timm_processor
from qnas_ov.families.base import CONFIG_KEY

_ARCHITECTURE = re.compile(r"beit3_(base|large)_patch(\d+)_\d+")
_SIZES = {
    "base": {"embed_dim": 768, "depth": 12, "num_heads": 12, "mlp_ratio": 4},
    "large": {"embed_dim": 1024, "depth": 24, "num_heads": 16, "mlp_ratio": 4},
}
_KNOWN_ARGUMENTS = {*_SIZES["base"], "img_size", "patch_size"}
_PARTS = {
    "norm1": "self_attn_layer_norm.A",
    "attn.norm": "self_attn.inner_attn_ln.A",
    "attn.proj": "self_attn.out_proj.A",
    "norm2": "final_layer_norm.A",
    "mlp.fc1": "ffn.A.fc1",
    "mlp.norm": "ffn.A.ffn_layernorm",
    "mlp.fc2": "ffn.A.fc2",
}
_OUTER = {
    "cls_token": "beit3.vision_embed.cls_token",
    "patch_embed.proj.weight": "beit3.vision_embed.proj.weight",
    "patch_embed.proj.bias": "beit3.vision_embed.proj.bias",
}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")
_PADDING_POSITIONS = 2  # Microsoft's table of positions begins with two for padding, which timm leaves out


def is_timm_beit3(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is timm's for a BEiT-3 that classifies."""
    name = timm_architecture(config)
    return name is not None and _ARCHITECTURE.fullmatch(name) is not None and bool(config.get("num_classes"))


def read_timm_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration in this project's form, and the preprocessing as `preprocessor_config.json`.

    Names of classes and the choices under "qnas_ov", which may stand beside timm's entries, are taken over.

    Raises:
        InputError: If an entry is missing or has another form.
    """
    name = timm_architecture(config)
    found = _ARCHITECTURE.fullmatch(name or "")
    assert found is not None, "only for what `is_timm_beit3`"
    try:
        stated = {
            **_SIZES[found[1]],
            "img_size": config["pretrained_cfg"]["input_size"][1],
            "patch_size": int(found[2]),
        }
        stated |= {k: v for k, v in config.get("model_args", {}).items() if "drop" not in k}
        if unknown := sorted(set(stated) - _KNOWN_ARGUMENTS):
            raise ValueError(f"model_args may hold {', '.join(sorted(_KNOWN_ARGUMENTS))}, and holds {unknown[0]}")
        size = {
            "hidden_size": int(stated["embed_dim"]),
            "num_hidden_layers": int(stated["depth"]),
            "num_attention_heads": int(stated["num_heads"]),
            "intermediate_size": int(stated["embed_dim"] * stated["mlp_ratio"]),
            "image_size": int(stated["img_size"]),
            "patch_size": int(stated["patch_size"]),
            "num_channels": int(config["pretrained_cfg"]["input_size"][0]),
            "num_labels": int(config["num_classes"]),
        }
        processor = timm_processor(config)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"this config.json of timm's {name} cannot be used ({type(error).__name__}: {error}); restore it from its "
            "source"
        ) from error
    kept = {k: config[k] for k in (CONFIG_KEY, "id2label") if k in config}
    return {"architectures": ["BEiT3ForImageClassification"], "model_type": "beit3", **size, **kept}, processor


def rename_timm_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of timm under Microsoft's names; others keep theirs: Microsoft's own fit, the rest is told of by name."""
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        block = _BLOCK.fullmatch(name)
        if name in _OUTER:
            renamed[_OUTER[name]] = tensor
        elif name == "pos_embed" and tensor.ndim == 3:
            padding = tensor.new_zeros(_PADDING_POSITIONS, tensor.shape[-1])
            renamed["beit3.encoder.embed_positions.A.weight"] = torch.cat([padding, tensor[0]])
        elif block is not None and block[2] == "attn.qkv":
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"beit3.encoder.layers.{block[1]}.self_attn.{part}_proj.A.{block[3]}"] = rows
        elif block is not None and block[2] in _PARTS:
            renamed[f"beit3.encoder.layers.{block[1]}.{_PARTS[block[2]]}.{block[3]}"] = tensor
        else:
            renamed[name] = tensor
    return renamed
