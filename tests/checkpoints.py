"""Tiny Hugging Face folders with random weights, made with transformers as their authors make them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import torch
from transformers import ConvNextConfig, ConvNextForImageClassification, ViTConfig, ViTForImageClassification

DIGITS = {"image_size": 8, "num_channels": 1, "num_labels": 10}
"""What reads scikit-learn's digits."""


def vit_folder(folder: Path, **changes: object) -> Path:
    """A Vision Transformer that never was a supernet."""
    torch.manual_seed(0)
    size = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 96}
    config = ViTConfig(**{"patch_size": 2, **DIGITS, **size, **changes})
    ViTForImageClassification(config).save_pretrained(folder)
    return folder


def foreign_folder(folder: Path) -> Path:
    """A network of a type that no family takes."""
    torch.manual_seed(0)
    config = ConvNextConfig(patch_size=2, hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, **DIGITS)
    ConvNextForImageClassification(config).save_pretrained(folder)
    return folder


def change_config(folder: Path, **entries: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    return folder


def write_trap(path: Path, mark: Path) -> Path:
    """A pickle that creates the file `mark` when it is read."""

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(mark), "w")

    path.write_bytes(pickle.dumps(Trap()))
    return path


OWN_CODE = """
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

Path({mark!r}).touch()


class NetConfig(PreTrainedConfig):
    model_type = "net-of-its-own"


class Net(PreTrainedModel):
    config_class = NetConfig
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        self.inner = torch.nn.Linear(64, 32)
        self.outer = torch.nn.Linear(32, 10)
        self.post_init()

    def forward(self, pixel_values):
        return ImageClassifierOutput(logits=self.outer(self.inner(pixel_values.flatten(1)).relu()))
"""


def own_code_folder(folder: Path, mark: Path) -> Path:
    """A checkpoint that brings its own code, which creates the file `mark` when it runs."""
    from safetensors.torch import save_file

    folder.mkdir()
    (folder / "net.py").write_text(OWN_CODE.format(mark=str(mark)))
    config = {
        "architectures": ["Net"], "model_type": "net-of-its-own", "image_size": 8, "num_channels": 1,
        "auto_map": {"AutoConfig": "net.NetConfig", "AutoModelForImageClassification": "net.Net"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    shapes = {"inner.weight": (32, 64), "inner.bias": (32,), "outer.weight": (10, 32), "outer.bias": (10,)}
    weights = {name: torch.randn(shape, generator=generator) / 8 for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
