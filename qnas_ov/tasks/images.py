"""Folders of images: one folder per class, perhaps in folders per split, or all in one folder without labels."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from qnas_ov.core.errors import InputError
from qnas_ov.tasks.preprocess import ImagePreprocessing
from qnas_ov.tasks.sources import DataSource, Records, drop_unlabelled
from qnas_ov.tasks.splits import PART_NAMES

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}

_UNREADABLE = (OSError, ValueError, SyntaxError, struct.error, EOFError, Image.DecompressionBombError)


def holds_images(folder: Path) -> bool:
    """Whether there is an image anywhere below a folder."""
    return any(_is_image(path) for path in folder.rglob("*"))


def open_image_folder(folder: Path) -> DataSource:
    """Lists the images of a folder; none is read yet.

    Raises:
        InputError: If it mixes images and class folders, or a class folder is empty.
    """
    inner, loose = _folders(folder), _images(folder)
    if inner and all(path.name.lower() in PART_NAMES for path in inner):
        if loose:
            raise _mixed(folder, loose[0], inner[0])
        parts: dict[str, Records] = {}
        for path in inner:
            name = PART_NAMES[path.name.lower()]
            if name in parts:
                raise InputError(f"'{folder}' has more than one folder for its {name} split: keep one of them")
            parts[name] = _open_part(path)
    else:
        parts = {"all": _open_part(folder)}
    kept, notes = drop_unlabelled(parts)
    return DataSource(folder.name, f"images in the folder {folder.name}", "images", kept, notes=notes)


def _open_part(folder: Path) -> Records:
    classes, loose = _folders(folder), _images(folder)
    if classes and loose:
        raise _mixed(folder, loose[0], classes[0])
    if not classes and not loose:
        raise InputError(f"'{folder}' holds no images: put images there ({', '.join(sorted(SUFFIXES))})")
    if loose:
        return _records(loose, None)
    paths: list[Path] = []
    labels: list[str] = []
    for path in classes:
        found = sorted(p for p in path.rglob("*") if _is_image(p))
        if not found:
            raise InputError(f"every class folder must hold images: '{path}' holds none; add some, or remove it")
        paths += found
        labels += [path.name] * len(found)
    return _records(paths, tuple(labels))


def _mixed(folder: Path, image: Path, inner: Path) -> InputError:
    return InputError(
        f"'{folder}' must hold class folders or images, and holds both ('{inner.name}' and '{image.name}'): "
        "move the images into class folders, or the folders away"
    )


def _records(paths: Sequence[Path], labels: tuple[str, ...] | None) -> Records:
    return Records(len(paths), lambda i: read_image(paths[i]), lambda i: f"the image '{paths[i]}'", labels)


def _is_image(path: Path) -> bool:
    # A link to nowhere counts: to pass over it would be to lose a sample without a word.
    there = path.is_file() or not path.exists()
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and there


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if _is_image(p))


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def read_image(path: Path) -> Image.Image:
    """Reads an image, turned upright.

    Raises:
        InputError: If it is damaged, or no image.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged or no image"
        raise InputError(f"cannot read the image '{path}': {reason}; mend or remove it") from error


def encode_images(
    records: Records, positions: np.ndarray, steps: ImagePreprocessing, shape: tuple[int, ...], dtype: str
) -> np.ndarray:
    """Images as the input of a network.

    Args:
        records: The images.
        positions: Which of them.
        steps: Their preprocessing.
        shape: The input without the batch axis: channels first, or last.
        dtype: Its NumPy type.

    Returns:
        Array (n, *shape).

    Raises:
        InputError: If an image cannot be read or does not fit.
    """
    found = np.empty((len(positions), *shape), dtype=dtype)
    for row, position in enumerate(positions):
        image = records.read(int(position))
        try:
            values = steps.apply(image)
        except ValueError as error:
            raise InputError(f"cannot use {records.where(int(position))}: {error}; convert or remove it") from error
        if values.shape != shape and values.transpose(1, 2, 0).shape == shape:
            values = values.transpose(1, 2, 0)
        if values.shape != shape:
            raise InputError(
                f"{records.where(int(position))} must fit the network, which takes {shape}: its preprocessing makes "
                f"{values.shape} of it; resize it, or correct preprocessor_config.json"
            )
        found[row] = values
    return found
