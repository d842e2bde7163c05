"""Checkpoints that bring their own Python code: run only where the user allows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional
from qnas_ov.families import quiet_transformers
from qnas_ov.ir.export import export_module
from qnas_ov.ir.formats import check_checkpoint, load_weights

_LOADERS = ("AutoModelForImageClassification", "AutoModelForSequenceClassification", "AutoModel")


def export_own_code(folder: Path, config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> ov.Model:
    """Runs a checkpoint's own code to load it, and converts the network.

    optimum's exporter knows no foreign types, so that the network is traced as any torch module is.

    Args:
        folder: The checkpoint; its code is trusted.
        config: Its `config.json`, with an `auto_map`.
        shapes: Shapes by input name, the key "" for the only one. An image classifier needs none if its configuration
            states `image_size`.

    Raises:
        InputError: If the code or the weights do not load, the network cannot be traced, or its inputs are not known.
    """
    check_checkpoint(folder, config)
    stated = config.get("auto_map") or {}
    loader = next((name for name in _LOADERS if name in stated), None)
    if loader is None:
        raise InputError(
            f"cannot open '{folder}': the auto_map of its config.json must name a class for one of "
            f"{', '.join(_LOADERS)}: it names {', '.join(map(str, stated)) or 'none'}; give another checkpoint"
        )
    with quiet_transformers():
        network = load_weights(folder, import_optional("transformers", name=loader), own_code=True)
        example = _example(folder, config, str(getattr(network, "main_input_name", "pixel_values")), shapes)
        return export_module(network, example)


def _example(
    folder: Path, config: Mapping[str, Any], main_input: str, shapes: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    side, channels = config.get("image_size"), config.get("num_channels", 3)
    if not shapes and main_input == "pixel_values" and isinstance(side, int) and isinstance(channels, int):
        shapes = {main_input: (1, channels, side, side)}
    if not shapes:
        raise InputError(
            f"'{folder}' must be told the shapes of its inputs, since its code is its own: add for example "
            "--shape 'pixel_values[1,3,224,224]' or --shape 'input_ids[1,128],attention_mask[1,128]'"
        )
    return {name or main_input: _values(name or main_input, [1, *shape[1:]]) for name, shape in shapes.items()}


def _values(name: str, shape: Sequence[int]) -> np.ndarray:
    """Tokens and masks of ones, anything else of zeros."""
    return np.ones(shape, np.int64) if name.endswith(("_ids", "_mask")) else np.zeros(shape, np.float32)
