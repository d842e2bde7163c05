"""Image preprocessing inside an IR: bytes in, as a camera or a decoder gives them, class scores out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.preprocess import ColorFormat, PrePostProcessor, ResizeAlgorithm

from qnas_ov.core.errors import InputError

COLORS = ("rgb", "bgr")

# OpenVINO's own linear and cubic modes do not antialias: on small images they are tens of grey levels away from Pillow.
_ALGORITHMS = {
    "bilinear": ResizeAlgorithm.RESIZE_BILINEAR_PILLOW,
    "bicubic": ResizeAlgorithm.RESIZE_BICUBIC_PILLOW,
}
_SAME = 1e-3  # in grey levels: how far a sample may be from what bytes give


class ImageSteps(Protocol):
    """How an image becomes a network's input, see `qnas_ov.tasks.ImagePreprocessing`."""

    @property
    def channels(self) -> int:
        """1 or 3."""
        ...

    @property
    def resize(self) -> tuple[int, int] | int | None:
        """(height, width), or the length of the shorter edge, or None for no resizing."""
        ...

    @property
    def resample(self) -> str:
        """Pillow's filter."""
        ...

    @property
    def crop(self) -> tuple[int, int] | None:
        """(height, width) of the middle that is kept, None for all of it."""
        ...

    @property
    def rescale_factor(self) -> float:
        """What bytes are multiplied by before the mean is subtracted."""
        ...

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel."""
        ...

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel."""
        ...


def takes_pixels(model: ov.Model) -> bool:
    """Whether a network has one input, float32 (batch, channels, height, width), static but for the batch."""
    ports = model.inputs
    if len(ports) != 1 or len(ports[0].partial_shape) != 4 or ports[0].element_type != ov.Type.f32:
        return False
    return all(d.is_static for d in list(ports[0].partial_shape)[1:])


def check_images(model: ov.Model, steps: ImageSteps) -> None:
    """Checks that a network, see `takes_pixels`, takes what these steps make.

    Raises:
        InputError: If it does not, or OpenVINO has no such filter.
    """
    channels, *size = (int(d.get_length()) for d in list(model.input(0).partial_shape)[1:])
    made = steps.crop or steps.resize
    if channels != steps.channels or (made is not None and made != tuple(size)):
        raise InputError(
            f"the image processor makes {steps.channels} channels of {made}, and the network takes {channels} of "
            f"{tuple(size)}"
        )
    if steps.resize is not None and steps.resample not in _ALGORITHMS:
        raise InputError(f"the image processor resizes by '{steps.resample}': it must be {' or '.join(_ALGORITHMS)}")


def frame_of(model: ov.Model, steps: ImageSteps) -> tuple[int, int]:
    """(height, width) of images that are not resized, but perhaps cropped."""
    if steps.resize is None:
        return _size(model)
    return (steps.resize, steps.resize) if isinstance(steps.resize, int) else steps.resize


def embed_images(model: ov.Model, steps: ImageSteps, *, image_size: tuple[int, int] | None, color: str) -> ov.Model:
    """Puts the steps before a network.

    Its input keeps its name and becomes uint8 (batch, height, width, channels). Resized pixels are within two grey
    levels of Pillow's, which rounds after each axis.

    Args:
        model: The network; it is changed.
        steps: The steps, see `check_images`.
        image_size: (height, width) of all images; any if left out.
        color: Order of the channels in the images, of `COLORS`.

    Raises:
        InputError: If the network does not take what the steps make, or the sizes or channels do not fit.
    """
    any_size = steps.resize is not None or steps.crop is not None
    if not any_size and image_size not in (None, _size(model)):
        raise InputError(
            f"--image-size must be {_size(model)[0]}x{_size(model)[1]}: the image processor does not resize"
        )
    if color == "bgr" and steps.channels != 3:
        raise InputError(f"--color is for images of three channels, and the network takes {steps.channels}")
    processor, (height, width), size = PrePostProcessor(model), image_size or (-1, -1), _size(model)
    own, given = model.input(0).partial_shape[0], processor.input()
    if not any_size:
        height, width = size
    tensor = given.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    tensor.set_shape([-1 if own.is_dynamic else own.get_length(), height, width, steps.channels])
    given.model().set_layout(ov.Layout("NCHW"))
    chain = given.preprocess()
    if steps.channels == 3:
        tensor.set_color_format(ColorFormat.BGR if color == "bgr" else ColorFormat.RGB)
        chain.convert_color(ColorFormat.RGB)
    if isinstance(steps.resize, int):
        edge, mode = steps.resize, f"{steps.resample}_pillow"
        chain.custom(lambda image: _resize_shorter_edge(image, edge, mode))
    elif steps.resize is not None:
        chain.resize(_ALGORITHMS[steps.resample], *steps.resize)
    if steps.crop is not None:
        chain.custom(lambda image: _crop_middle(image, size))
    chain.convert_element_type(ov.Type.f32)
    factor = steps.rescale_factor
    chain.mean([m / factor for m in steps.mean]).scale([s / factor for s in steps.std])
    return processor.build()


def to_images(model: ov.Model, pixels: np.ndarray, steps: ImageSteps, *, color: str) -> np.ndarray | None:
    """Images that the steps turn into these samples, without any resizing.

    Args:
        model: The network, before the steps are in it.
        pixels: Samples (n, channels, height, width), float32.
        steps: The steps.
        color: Order of the channels in the images.

    Returns:
        (n, height, width, channels), uint8; None if some sample is not what the steps make of bytes.
    """
    mean, std = (np.array(v, dtype=np.float64)[:, None, None] for v in (steps.mean, steps.std))
    levels = (pixels * std + mean) / steps.rescale_factor
    whole = levels.round()
    if np.abs(levels - whole).max() > _SAME or whole.min() < 0 or whole.max() > 255:
        return None
    size, frame = _size(model), frame_of(model, steps)
    top, left = (frame[0] - size[0]) // 2, (frame[1] - size[1]) // 2
    images = np.zeros((len(pixels), *frame, steps.channels), dtype=np.uint8)
    images[:, top : top + size[0], left : left + size[1]] = whole.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images[..., ::-1]) if color == "bgr" else images


def _size(model: ov.Model) -> tuple[int, int]:
    """(height, width) that the network takes."""
    shape = model.input(0).partial_shape
    return int(shape[2].get_length()), int(shape[3].get_length())


def _int64(*values: int) -> Any:
    return ops.constant(np.array(values, dtype=np.int64))


def _edges(image: Any) -> Any:
    """Height and width of images (n, height, width, channels), as int64 (2,)."""
    return ops.slice(ops.shape_of(image, "i64"), _int64(1), _int64(3), _int64(1))


def _resize_shorter_edge(image: Any, length: int, mode: str) -> Any:
    """The shorter edge gets its length, the longer one is rounded down."""
    edges = _edges(image)
    shorter = ops.reduce_min(edges, _int64(0), keep_dims=True)
    sizes = ops.divide(ops.multiply(edges, _int64(length)), shorter)
    return ops.interpolate(
        image,
        sizes,
        mode=mode,
        shape_calculation_mode="sizes",
        pads_begin=[0, 0],
        pads_end=[0, 0],
        cube_coeff=-0.5,  # Pillow's
        axes=_int64(1, 2),
    ).output(0)


def _crop_middle(image: Any, size: tuple[int, int]) -> Any:
    start = ops.divide(ops.subtract(_edges(image), _int64(*size)), _int64(2))
    cut = ops.slice(image, start, ops.add(start, _int64(*size)), _int64(1, 1), _int64(1, 2))
    channels = int(image.get_partial_shape()[3].get_length())
    return ops.reshape(cut, _int64(0, *size, channels), special_zero=True).output(0)  # now its size is known
