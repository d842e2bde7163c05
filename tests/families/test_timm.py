"""BEiT-3 as timm stores it computes what timm computes; from the name on the command line to verified packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import COLOURS, image_folder
from fake_hub import cache_repository, use_cache
from safetensors.torch import save_file

from qnas_ov.core.errors import InputError
from qnas_ov.families import FAMILIES, MODELS
from qnas_ov.pipeline import run_search, verify_package
from qnas_ov.tasks import image_preprocessing

HIDDEN, DEPTH, FFN, CLASSES = 48, 2, 96, 5
CONFIG = {
    "architecture": "beit3_base_patch16_224",
    "num_classes": CLASSES,
    "num_features": HIDDEN,
    "global_pool": "avg",
    "model_args": {
        "embed_dim": HIDDEN, "depth": DEPTH, "num_heads": 4, "mlp_ratio": 2, "patch_size": 2, "img_size": 8,
        "drop_path_rate": 0.1,
    },
    "pretrained_cfg": {
        "tag": "in22k_ft_in1k", "custom_load": False, "input_size": [3, 8, 8], "interpolation": "bicubic",
        "crop_pct": 1.0, "crop_mode": "center", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        "num_classes": CLASSES, "first_conv": "patch_embed.proj", "classifier": "head",
    },
}  # fmt: skip
COMPUTED_BY_TIMM = [
    [-0.0959179550, -0.2747219205, -0.2687534690, -0.0827022716, 0.1534451544],
    [-0.0952792019, -0.2741252780, -0.2686799467, -0.0832111165, 0.1527640522],
]
"""timm 1.0.31: its `VisionTransformer` with `img_size=8, patch_size=2, num_classes=5, embed_dim=48, depth=2,
num_heads=4, mlp_ratio=2, scale_attn_norm=True, scale_mlp_norm=True, global_pool="avg"`, layer norms with `eps=1e-5`,
the weights of `timm_tensors`, and the images of the test."""


def timm_tensors() -> dict[str, torch.Tensor]:
    """Every tensor of the network, with numbers that a formula gives."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, HIDDEN), "pos_embed": (1, 17, HIDDEN), "patch_embed.proj.weight": (HIDDEN, 3, 2, 2),
        "patch_embed.proj.bias": (HIDDEN,), "fc_norm.weight": (HIDDEN,), "fc_norm.bias": (HIDDEN,),
        "head.weight": (CLASSES, HIDDEN), "head.bias": (CLASSES,),
    }  # fmt: skip
    parts = {
        "norm1": (HIDDEN,), "norm2": (HIDDEN,), "attn.norm": (HIDDEN,), "mlp.norm": (FFN,),
        "attn.qkv": (3 * HIDDEN, HIDDEN), "attn.proj": (HIDDEN, HIDDEN), "mlp.fc1": (FFN, HIDDEN),
        "mlp.fc2": (HIDDEN, FFN),
    }  # fmt: skip
    for block in range(DEPTH):
        for name, shape in parts.items():
            shapes[f"blocks.{block}.{name}.weight"] = shape
            shapes[f"blocks.{block}.{name}.bias"] = shape[:1]
    tensors = {}
    for i, name in enumerate(sorted(shapes)):
        places = torch.arange(int(np.prod(shapes[name])), dtype=torch.float64)
        wave = torch.sin(places * (0.37 + 0.011 * i) + i)
        is_scale = "norm" in name and name.endswith("weight")
        tensors[name] = (1 + 0.1 * wave if is_scale else 0.15 * wave).reshape(shapes[name]).float()
    return tensors


def timm_folder(folder: Path, **changes: Any) -> Path:
    """A checkpoint as timm's hub repositories hold it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    save_file(timm_tensors(), folder / "model.safetensors")
    return folder


def test_it_computes_what_timm_computes(tmp_path: Path) -> None:
    supernet = FAMILIES.get("beit3").load(timm_folder(tmp_path / "timm"))
    images = torch.sin(torch.arange(2 * 3 * 8 * 8, dtype=torch.float64) * 0.21).reshape(2, 3, 8, 8).float()
    with torch.no_grad():
        found = supernet({"pixel_values": images})
    np.testing.assert_allclose(found.numpy(), COMPUTED_BY_TIMM, atol=1e-5)
    assert supernet.config["num_labels"] == CLASSES
    assert supernet.config["model_type"] == "beit3"


def test_the_preprocessing_is_that_of_its_configuration(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "timm", pretrained_cfg={**CONFIG["pretrained_cfg"], "crop_pct": 0.8})
    steps = image_preprocessing(folder)
    assert (steps.resize, steps.crop, steps.resample) == (10, (8, 8), "bicubic")
    assert steps.mean == (0.485, 0.456, 0.406)
    written = FAMILIES.get("beit3").load(folder).preprocessor
    (folder / "preprocessor_config.json").write_text(json.dumps(written))
    assert image_preprocessing(folder) == steps


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pretrained_cfg": {"input_size": [3, 8, 8]}}, r"beit3_base_patch16_224 cannot be used \(KeyError: 'interpol"),
        ({"model_args": {"qk_norm": True}}, "model_args may hold .*, and holds qk_norm"),
        (
            {"model_args": {**CONFIG["model_args"], "depth": 3}},
            "do not fit its config.json: missing .*beit3.encoder.layers.2",
        ),
        ({"pretrained_cfg": {**CONFIG["pretrained_cfg"], "crop_mode": "border"}}, "crop_mode must be center or squash"),
    ],
)
def test_what_does_not_fit_is_told(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        FAMILIES.get("beit3").load(timm_folder(tmp_path / "timm", **changes))


def test_beit3_base_runs_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small checkpoint stands in the hub's cache for the large one."""
    weights = MODELS.get("beit3-base").weights
    assert weights.hub_id is not None
    cache_repository(use_cache(monkeypatch, tmp_path / "home"), weights.hub_id, timm_folder(tmp_path / "timm"))
    images = image_folder(tmp_path / "images")
    for number, colour in enumerate(COLOURS):
        (images / colour).rename(images / str(number))
    given = {
        "model": "beit3-base", "data": str(images), "algorithm": "random", "evaluations": 8,
        "population": 4, "front_size": 1, "latency_seconds": 0.02, "final_rounds": 1, "objectives": ["latency", "size"],
    }  # fmt: skip
    found = run_search(given, out=tmp_path / "run")
    (name, *_) = found.front["candidate"]
    package = found.folder / "deploy" / name
    assert verify_package(package).repeated is not None
    assert (package / "preprocessor_config.json").is_file()
    assert json.loads((package / "config.json").read_text())["model_type"] == "beit3"
