from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image
from sklearn.datasets import load_digits

from qnas_ov.core.errors import InputError
from qnas_ov.families import MODELS
from qnas_ov.tasks import ImagePreprocessing, Task, image_preprocessing

HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def folder_with(folder: Path, processor: dict[str, Any] | None, model: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in (("preprocessor_config.json", processor), ("config.json", model)):
        if content is not None:
            (folder / name).write_text(json.dumps(content))
    return folder


def photograph(width: int = 61, height: int = 47) -> Image.Image:
    """A picture with coarse and fine structure."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    ramp = np.linspace(0, 255, width)[None, :, None]
    return Image.fromarray(((noise + 2 * ramp) / 3).astype(np.uint8))


PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViT", {"size": {"height": 32, "width": 40}, **HALF}),
    "old vit": ("ViT", {"size": 32}),
    "without normalisation": ("ViT", {"size": 32, "do_normalize": False}),
    "without rescaling": ("ViT", {"size": 32, "do_rescale": False}),
    "deit": ("DeiT", {"size": {"height": 36, "width": 36}, "crop_size": {"height": 31, "width": 32}}),
    "dinov2": ("Bit", {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 33}, "resample": 3}),
    "resnet": ("ConvNext", {"size": 32, "crop_pct": 0.875, "resample": 3}),
    "resnet at 384": ("ConvNext", {"size": {"shortest_edge": 384}, "crop_pct": 0.875}),
    "beit": ("Beit", {"size": {"height": 36, "width": 36}, "do_center_crop": True, "crop_size": 32}),
    "clip": ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": 32}),
    "siglip": ("Siglip", {"size": {"height": 32, "width": 32}}),
    "levit": ("Levit", {"size": {"shortest_edge": 32}, "crop_size": 32}),
    "poolformer": ("PoolFormer", {"size": {"shortest_edge": 32}, "crop_size": 32}),
    "pvt": ("Pvt", {"size": {"height": 32, "width": 32}}),
    "mobilenet": ("MobileNetV2", {"size": {"shortest_edge": 36}, "crop_size": 32}),
    "efficientnet": ("EfficientNet", {"size": {"height": 32, "width": 32}, "rescale_offset": True}),
    "efficientnet embedding": ("EfficientNet", {"size": {"height": 32, "width": 32}, "include_top": False}),
    "nearest": ("ViT", {"size": 32, "resample": 0}),
}


@pytest.mark.parametrize("case", PROCESSORS)
@pytest.mark.parametrize("shape", [(61, 47), (33, 70)])
def test_the_steps_are_those_of_transformers(tmp_path: Path, case: str, shape: tuple[int, int]) -> None:
    kind, given = PROCESSORS[case]
    folder = folder_with(tmp_path, {"image_processor_type": f"{kind}ImageProcessor", **given})
    image = photograph(*shape)
    found = image_preprocessing(folder)
    values = found.apply(image)
    theirs = getattr(transformers, f"{kind}ImageProcessorPil").from_dict(given)
    np.testing.assert_allclose(values, theirs(image, return_tensors="np")["pixel_values"][0], atol=2e-6)
    assert values.dtype == np.float32
    assert values.shape[1:] == found.size


def test_the_numbers(tmp_path: Path) -> None:
    folder = folder_with(
        tmp_path, {"image_processor_type": "ConvNextImageProcessorFast", "size": {"shortest_edge": 224}, **HALF}
    )
    assert image_preprocessing(folder) == ImagePreprocessing(
        channels=3, resize=256, resample="bicubic", crop=(224, 224), rescale_factor=1 / 255,
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("processor", "model", "resize"),
    [
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 32}, {}, (32, 32)),
        ({"size": 32}, {"model_type": "vit"}, (32, 32)),
        ({"size": 32, "crop_pct": 0.5}, {"model_type": "resnet"}, 64),
    ],
)
def test_old_files_name_another_class_or_none(
    tmp_path: Path, processor: dict[str, Any], model: dict[str, Any], resize: Any
) -> None:
    assert image_preprocessing(folder_with(tmp_path, processor, model)).resize == resize


def test_a_processor_inside_another(tmp_path: Path) -> None:
    inner = {"image_processor_type": "ViTImageProcessor", "size": 16}
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "X", "image_processor": inner}))
    assert image_preprocessing(tmp_path).size == (16, 16)


def test_images_become_grey_or_rgb(tmp_path: Path) -> None:
    one = {"image_processor_type": "ViTImageProcessor", "size": 8, "image_mean": [0.5], "image_std": [0.5]}
    grey = image_preprocessing(folder_with(tmp_path / "g", one))
    colour = image_preprocessing(folder_with(tmp_path / "c", {"image_processor_type": "ViTImageProcessor", "size": 8}))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"):
        image = photograph().convert(mode)
        assert grey.apply(image).shape == (1, 8, 8)
        assert colour.apply(image).shape == (3, 8, 8)


def test_the_shipped_network_reads_images_of_digits(digits: Task) -> None:
    """Digits written as grey 8x8 images become what the registered data set holds."""
    steps = image_preprocessing(MODELS.get("digits-vit").weights.folder)
    assert (steps.channels, steps.resize, steps.size) == (1, None, None)
    known = {x.tobytes() for x in digits.test.inputs["pixel_values"]}
    pixels = load_digits().images.astype(np.uint8)
    assert sum(steps.apply(Image.fromarray(p)).tobytes() in known for p in pixels) == len(digits.test)


def test_deep_images_are_refused() -> None:
    steps = ImagePreprocessing(1, (8, 8), "bilinear", None, 1.0, (0.0,), (1.0,))
    with pytest.raises(ValueError, match="8 bits per channel"):
        steps.apply(Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16)))


def test_a_crop_larger_than_the_image_is_refused() -> None:
    steps = ImagePreprocessing(1, None, "bilinear", (9, 8), 1.0, (0.0,), (1.0,))
    with pytest.raises(ValueError, match="8x8 pixels"):
        steps.apply(Image.new("L", (8, 8)))


@pytest.mark.parametrize(
    ("processor", "words"),
    [
        (None, ["no preprocessor_config.json", ".npz"]),
        ({"size": 8}, ["image_processor_type"]),
        ({"image_processor_type": "DetrImageProcessor"}, ["'Detr'", "it knows", "ViT", ".npz"]),
        ({"image_processor_type": "CLIPImageProcessor", "do_center_crop": False}, ["differ in size"]),
        ({"image_processor_type": "DeiTImageProcessor", "size": 8}, ["crops (224, 224)"]),
        ({"image_processor_type": "ViTImageProcessor", "image_mean": [0.5, 0.5]}, ["has 2 and 3 for 2"]),
        ({"image_processor_type": "ViTImageProcessor", "do_pad": True}, ["pads"]),
        ({"image_processor_type": "ViTImageProcessor", "size": "large"}, ["size"]),
    ],
)
def test_other_processors_are_refused(tmp_path: Path, processor: dict[str, Any] | None, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        image_preprocessing(folder_with(tmp_path, processor))
    assert [w for w in [*words, str(tmp_path)] if w not in str(caught.value)] == [], caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_files_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(InputError, match="preprocessor_config.json"):
        image_preprocessing(tmp_path)
