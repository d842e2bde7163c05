"""What a checkpoint's own image processor does, as plain numbers: to apply it here, or to embed it in a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional
from qnas_ov.core.timm import timm_architecture, timm_processor

_FILES = ("preprocessor_config.json", "processor_config.json")
_PLAIN = {"Beit", "Bit", "CLIP", "DeiT", "MobileNetV1", "MobileNetV2", "Pvt", "Siglip", "ViT"}
_PECULIAR = {"ConvNext", "EfficientNet", "Levit", "PoolFormer"}
_MODES = {1: "L", 3: "RGB"}
_WARPS_FROM = 384  # ConvNext's processor crops smaller images and warps those from this edge on


@dataclass(frozen=True)
class ImagePreprocessing:
    """The steps from an image to an input, in this order.

    1. The image as 8-bit values: grey for one channel, RGB for three.
    2. Resized by Pillow's filter `resample`, which smooths when it shrinks (OpenVINO has it as `RESIZE_BILINEAR_PILLOW`
       and `RESIZE_BICUBIC_PILLOW`), and rounded to 8 bits again.
    3. The middle is cut out, with `(length - crop) // 2` left away at the top and at the left.
    4. `(value * rescale_factor - mean) / std` per channel, channels first.

    Attributes:
        channels: 1 or 3.
        resize: (height, width); or one number, the length that the shorter edge gets (the other one is
            `int(resize * longer / shorter)`); None leaves the image as it is.
        resample: "nearest", "box", "bilinear", "hamming", "bicubic" or "lanczos", as Pillow means them.
        crop: (height, width) of the middle that is kept, None for all of it.
        rescale_factor: What 8-bit values are multiplied by.
        mean: Per channel.
        std: Per channel.
    """

    channels: int
    resize: tuple[int, int] | int | None
    resample: str
    crop: tuple[int, int] | None
    rescale_factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of every input; None if that of the image stays."""
        return self.crop or (self.resize if isinstance(self.resize, tuple) else None)

    def apply(self, image: Image.Image) -> np.ndarray:
        """The input for one image.

        Returns:
            Float32 array (channels, height, width).

        Raises:
            ValueError: If the image has more than 8 bits per channel, or is smaller than the crop.
        """
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"images must have 8 bits per channel, and its mode is {image.mode}")
        image = image.convert(_MODES[self.channels])
        if self.resize is not None:
            image = image.resize(self._resized(image), Image.Resampling[self.resample.upper()])
        if self.crop is not None:
            image = _middle(image, *self.crop)
        values = np.asarray(image, dtype=np.float64).reshape(image.height, image.width, self.channels)
        rescaled = (values * self.rescale_factor).astype(np.float32)
        normal = (rescaled - np.asarray(self.mean, dtype=np.float32)) / np.asarray(self.std, dtype=np.float32)
        return np.ascontiguousarray(normal.transpose(2, 0, 1))

    def _resized(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) after resizing."""
        if isinstance(self.resize, tuple):
            return self.resize[1], self.resize[0]
        assert self.resize is not None
        if image.width <= image.height:
            return self.resize, int(self.resize * image.height / image.width)
        return int(self.resize * image.width / image.height), self.resize


def _middle(image: Image.Image, height: int, width: int) -> Image.Image:
    top, left = (image.height - height) // 2, (image.width - width) // 2
    if top < 0 or left < 0:
        raise ValueError(f"it has {image.width}x{image.height} pixels, and {width}x{height} are cut out of it")
    return image.crop((left, top, left + width, top + height))


def image_preprocessing(folder: Path) -> ImagePreprocessing:
    """What the image processor of a Hugging Face folder does.

    The numbers are those of `preprocessor_config.json`, and transformers' own defaults where that leaves something
    open. Nothing of the folder is run, and torchvision is not needed.

    Raises:
        InputError: If the folder has no such file, or it says something that cannot be put into these steps.
    """
    path, given = _read_config(folder)
    model = _read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    kind = _processor_kind(path, given, model)
    if kind not in _PLAIN | _PECULIAR:
        raise InputError(
            f"the preprocessing in '{path}' is that of '{kind}', which qnas-ov does not know: it knows "
            f"{', '.join(sorted(_PLAIN | _PECULIAR))}; preprocess the images yourself and give them as an .npz"
        )
    try:
        return _describe(kind, _processor_class(kind).from_dict(dict(given)), model)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"cannot use the preprocessing in '{path}': {str(error).strip() or type(error).__name__}; "
            "preprocess the images yourself and give them as an .npz"
        ) from error


def has_image_processor(folder: Path) -> bool:
    """Whether a folder holds the file of an image processor, or timm's description of one."""
    return any((folder / name).is_file() for name in _FILES) or _timm_config(folder) is not None


def _timm_config(folder: Path) -> dict[str, Any] | None:
    """The config.json of a checkpoint of timm, None of others."""
    path = folder / "config.json"
    config = _read_json(path) if path.is_file() else {}
    return config if timm_architecture(config) is not None else None


def _read_config(folder: Path) -> tuple[Path, dict[str, Any]]:
    for name in _FILES:
        path = folder / name
        if path.is_file():
            content = _read_json(path)
            return path, content.get("image_processor", content) if name == _FILES[1] else content
    config = _timm_config(folder)
    if config is not None:
        try:
            return folder / "config.json", timm_processor(config)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the preprocessing in '{folder / 'config.json'}', under 'pretrained_cfg', cannot be used "
                f"({type(error).__name__}: {error}); preprocess the images yourself and give them as an .npz"
            ) from error
    raise InputError(
        f"images need the preprocessing of their network, and '{folder}' has no {_FILES[0]}: put that file of the "
        "checkpoint there, or preprocess the images yourself and give them as an .npz"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read '{path}' as JSON ({error}): restore it from its source") from error
    if not isinstance(value, dict):
        raise InputError(f"'{path}' must hold a JSON object: it holds {type(value).__name__}; restore it")
    return value


def _processor_kind(path: Path, given: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """For instance "ViT", from the processor's class, or from the model's type where an old file names no class."""
    name = given.get("image_processor_type") or given.get("feature_extractor_type")
    if name is None:
        known = import_optional("transformers.models.auto.image_processing_auto").IMAGE_PROCESSOR_MAPPING_NAMES
        found = known.get(model.get("model_type"))
        if found is None:
            raise InputError(
                f"'{path}' does not say what it is for: add an 'image_processor_type', for instance ViTImageProcessor"
            )
        names = found.values() if isinstance(found, Mapping) else (found if isinstance(found, tuple) else (found,))
        name = next(n for n in names if n)
    for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        name = str(name).removesuffix(ending)
    return name


def _processor_class(kind: str) -> Any:
    """The processor that works on Pillow images and NumPy arrays: transformers 5 calls it ...Pil."""
    module = import_optional("transformers")
    name = f"{kind}ImageProcessor"
    return import_optional("transformers", name=f"{name}Pil" if hasattr(module, f"{name}Pil") else name)


def _describe(kind: str, processor: Any, model: Mapping[str, Any]) -> ImagePreprocessing:
    if getattr(processor, "do_pad", None):
        raise ValueError("it pads images")
    rescales, normalises = bool(processor.do_rescale), bool(processor.do_normalize)
    mean = _numbers(processor.image_mean) if normalises else (0.0,)
    std = _numbers(processor.image_std) if normalises else (1.0,)
    channels = int(model.get("num_channels") or (len(mean) if normalises else 3))
    if channels not in _MODES or any(len(v) not in (1, channels) for v in (mean, std)):
        raise ValueError(
            f"it must have a mean and a std for each of 1 or 3 channels, and has {len(mean)} and {len(std)} "
            f"for {channels}"
        )
    mean, std = (v * channels if len(v) == 1 else v for v in (mean, std))
    if kind == "EfficientNet":
        if getattr(processor, "rescale_offset", False):
            mean = tuple(m + 1 for m in mean)
        if getattr(processor, "include_top", True):
            again = _numbers(processor.image_std)
            std = tuple(a * b for a, b in zip(std, again * channels if len(again) == 1 else again, strict=True))
    resize, crop = _geometry(kind, processor)
    return ImagePreprocessing(
        channels=channels,
        resize=resize,
        resample=Image.Resampling(int(processor.resample)).name.lower(),
        crop=crop,
        rescale_factor=float(processor.rescale_factor) if rescales else 1.0,
        mean=mean,
        std=std,
    )


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in value) if isinstance(value, list | tuple) else (float(value),)


def _geometry(kind: str, processor: Any) -> tuple[tuple[int, int] | int | None, tuple[int, int] | None]:
    """What is resized and cropped."""
    crop = _box(processor.crop_size) if getattr(processor, "do_center_crop", None) else None
    if not processor.do_resize:
        return None, crop
    edge = _key(processor.size, "shortest_edge")
    if _key(processor.size, "longest_edge"):
        raise ValueError("it bounds the longest edge, so that inputs differ in size")
    if kind == "ConvNext":
        if not edge:
            raise ValueError("its size must be a 'shortest_edge'")
        if edge >= _WARPS_FROM:
            return (edge, edge), crop
        return int(edge / processor.crop_pct), (edge, edge)
    if kind == "Levit" and edge:
        edge = int((256 / 224) * edge)
    if kind == "PoolFormer" and getattr(processor, "crop_pct", None) is not None:
        height, width = (edge, edge) if edge else _box(processor.size)
        if height != width:
            raise ValueError(f"its size must be a square, and is {processor.size}")
        edge = int(height / processor.crop_pct)
    resize = edge or _box(processor.size)
    if isinstance(resize, int) and crop is None:
        raise ValueError("it keeps the proportions and crops nothing, so that inputs differ in size")
    smallest = (resize, resize) if isinstance(resize, int) else resize
    if crop is not None and (crop[0] > smallest[0] or crop[1] > smallest[1]):
        raise ValueError(f"it crops {crop} out of images resized to {resize}")
    return resize, crop


def _key(size: Any, name: str) -> int | None:
    value = size.get(name) if isinstance(size, Mapping) else getattr(size, name, None)
    return None if value is None else int(value)


def _box(size: Any) -> tuple[int, int]:
    height, width = _key(size, "height"), _key(size, "width")
    if not height or not width:
        raise ValueError(f"its size must have a height and a width, and is {size}")
    return height, width
