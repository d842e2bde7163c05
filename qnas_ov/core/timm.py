"""Checkpoints in the form of timm: a `config.json` with an "architecture" and, as "pretrained_cfg", its preprocessing.

Source: https://github.com/huggingface/pytorch-image-models, `timm/models/_hub.py`, `timm/data/transforms_factory.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


def timm_architecture(config: Mapping[str, Any]) -> str | None:
    """The architecture that a config.json of timm names, for instance "beit3_base_patch16_224"; None if it is none."""
    stated = config.get("architecture")
    return stated if isinstance(stated, str) and isinstance(config.get("pretrained_cfg"), Mapping) else None


def timm_processor(config: Mapping[str, Any]) -> dict[str, Any]:
    """The preprocessing that a config.json of timm states, as a `preprocessor_config.json` of transformers.

    Raises:
        KeyError: If something of it is missing.
        TypeError, ValueError: If it has another form.
    """
    stated = config["pretrained_cfg"]
    channels, height, width = (int(n) for n in stated["input_size"])
    if height != width:
        raise ValueError(f"images must be square: input_size is {stated['input_size']}")
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": _FILTERS[stated["interpolation"]],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [float(v) for v in stated["mean"]],
        "image_std": [float(v) for v in stated["std"]],
    }
    if len(stated["mean"]) != channels:
        raise ValueError(f"there must be a mean for each of {channels} channels: got {stated['mean']}")
    mode = stated.get("crop_mode", "center")
    if mode not in ("center", "squash"):
        raise ValueError(f"crop_mode must be center or squash: got {mode!r}")
    edge = int(height / float(stated["crop_pct"]))
    if mode == "center":
        processor |= {
            "image_processor_type": "CLIPImageProcessor",  # the ViT's cannot crop
            "size": {"shortest_edge": edge},
            "do_center_crop": True,
            "crop_size": {"height": height, "width": width},
            "do_convert_rgb": channels == 3,
        }
    elif edge != height:
        raise ValueError(f"a squashed image must not be cropped: crop_pct is {stated['crop_pct']}")
    return processor
