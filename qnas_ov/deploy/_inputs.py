"""What a package takes from its clients: the network's own tensors, or images and text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from qnas_ov.core.errors import InputError
from qnas_ov.deploy._companions import PROCESSORS, has_tokenizer
from qnas_ov.deploy._images import COLORS, ImageSteps, check_images, embed_images, frame_of, takes_pixels, to_images
from qnas_ov.deploy._networks import fix_batch, name_anew, open_network
from qnas_ov.deploy._samples import SAMPLES, Samples, read_samples
from qnas_ov.deploy._text import (
    TEXT,
    Tokenizer,
    convert_tokenizer,
    embed_tokenizer,
    takes_any_number,
    takes_tokens,
    to_texts,
)

ReadSteps = Callable[[Path], ImageSteps]
"""Reads the image processor in a folder; raises InputError if it cannot."""

Rescore = Callable[[Mapping[str, Any], Samples], float]
"""The value of the metric that a record of samples names, on these samples."""

MEASURED_WITHOUT = "its latency and size were measured without the preprocessing that is in it now"
NEEDS_EXTENSION = (
    "the server must have openvino-tokenizers of its own OpenVINO version, for the tokenizer in the network"
)

FIXED = "a network with a tokenizer in it takes any number of texts, and its batch is fixed"


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """What a package shall take.

    Attributes:
        embed: Whether the image or text preprocessing goes into the IR; None leaves it to the format.
        image_size: (height, width) of all images; any if left out.
        color: Order of the channels in images, "rgb" or "bgr".
        batch: Samples per inference; any number if left out.
        samples: Whether the recorded samples come along.
    """

    embed: bool | None = None
    image_size: tuple[int, int] | None = None
    color: str = "rgb"
    batch: int | None = None
    samples: bool = True

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise InputError(f"--batch must be at least 1: {self.batch} was given")
        if self.color not in COLORS:
            raise InputError(f"--color must be one of {', '.join(COLORS)}: '{self.color}' was given")
        if self.image_size is not None and min(self.image_size) < 1:
            raise InputError(f"--image-size must be at least 1x1: {self.image_size} was given")
        if self.embed is False and self.for_images:
            raise InputError("--image-size and --color are for images that the IR takes: leave out the --no- option")

    @property
    def for_images(self) -> bool:
        """Whether they say something about images."""
        return self.image_size is not None or self.color != "rgb"

    @property
    def explicit(self) -> bool:
        """Whether embedding was asked for, so that it must not be left out."""
        return bool(self.embed) or self.for_images


@dataclass(frozen=True, kw_only=True)
class Takes:
    """What a server can be given beside a network's own tensors: "image", "text".

    Attributes:
        able: What it can.
        by_default: What it is given unless asked otherwise.
        tokenizer: Whether a tokenizer that is not in the network lies beside it as an IR.
    """

    able: tuple[str, ...] = ()
    by_default: tuple[str, ...] = ()
    tokenizer: bool = True


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A network as a package holds it.

    Attributes:
        model: The network; None if it is that of the candidate, byte by byte.
        preprocessing: What stands in the manifest about preprocessing that is in it, or None.
        samples: Recorded samples as it takes them, and their record in the manifest, or None.
        tokenizer: What lies beside the network, or None.
        notes: What is otherwise than one might expect.
    """

    model: ov.Model | None
    preprocessing: dict[str, Any] | None = None
    samples: tuple[Samples, dict[str, Any]] | None = None
    tokenizer: ov.Model | None = None
    notes: tuple[str, ...] = ()


def prepare_network(
    source: Path,
    manifest: Mapping[str, Any],
    settings: InputSettings,
    *,
    takes: Takes,
    read_steps: ReadSteps | None,
    rescore: Rescore | None,
) -> Prepared:
    """Gives a candidate's network the inputs that a package shall have.

    Args:
        source: The candidate's package.
        manifest: Its manifest.
        settings: What is wanted.
        takes: What the server can be given.
        read_steps: Reads its image processor; without it no image is embedded.
        rescore: Needed where only some of the recorded samples come along.

    Raises:
        InputError: If something was asked for that cannot be done.
        PackageError: If a file of the source is damaged.
    """
    _, model = open_network(source / "openvino_model.xml")
    names = {node.get_friendly_name() for node in model.get_ops()}
    batched = settings.batch is not None and fix_batch(model, settings.batch)
    record = manifest.get("samples") if settings.samples else None
    samples = None if record is None else (read_samples(source / SAMPLES), dict(record))
    plain = Prepared(model=model if batched else None, samples=samples)
    kind = _kind(manifest, model, images=read_steps is not None)
    embed = settings.explicit or (settings.embed is None and kind in takes.by_default)
    if settings.explicit:
        _check_possible(kind, settings, takes)
    if not embed and not (kind == "text" and takes.tokenizer):
        return plain
    try:
        if not embed:
            return replace(plain, tokenizer=convert_tokenizer(source, model).model)
        if kind == "text":
            prepared = _with_text(source, model, plain, settings, rescore)
        else:
            assert read_steps is not None, "there is no kind 'image' without it"
            prepared = _with_images(model, plain, settings, read_steps(source))
    except InputError as error:
        if settings.explicit:
            raise InputError(f"--embed-preprocessing cannot be done: {error}") from error
        return replace(plain, notes=(f"its preprocessing is left to the client: {error}",))
    if prepared.preprocessing is not None:
        name_anew(model, kept=names, prefix="preprocessing")
        model.input(0).get_node().set_friendly_name(model.input(0).get_any_name())
    return prepared


def _kind(manifest: Mapping[str, Any], model: ov.Model, *, images: bool) -> str | None:
    files = set(manifest["files"])
    if images and PROCESSORS & files and takes_pixels(model):
        return "image"
    return "text" if has_tokenizer(files) and takes_tokens(model) else None


def _check_possible(kind: str | None, settings: InputSettings, takes: Takes) -> None:
    if kind is None:
        raise InputError(
            "--embed-preprocessing needs an image processor or a tokenizer that came with the network and fits its "
            "inputs: this candidate has none; leave it out"
        )
    if kind not in takes.able:
        can = f"takes {' and '.join(takes.able)}" if takes.able else "is for clients that preprocess themselves"
        raise InputError(f"--embed-preprocessing cannot put {kind} preprocessing in: this format {can}; leave it out")
    if kind != "image" and settings.for_images:
        raise InputError("--image-size and --color are for images, and the network takes text: leave them out")


def _with_images(model: ov.Model, plain: Prepared, settings: InputSettings, steps: ImageSteps) -> Prepared:
    check_images(model, steps)
    name, frame = model.input(0).get_any_name(), frame_of(model, steps)
    samples, notes = plain.samples, [MEASURED_WITHOUT]
    if samples is not None:
        images = to_images(model, samples[0].inputs[name], steps, color=settings.color)
        if images is None:
            raise InputError(
                "the recorded samples are not what its image processor makes of images, so that nothing would prove "
                "the result; add --no-samples to do without"
            )
        samples = (replace(samples[0], inputs={name: images}), samples[1])
        if settings.image_size not in (None, frame):
            samples = None
            notes.append(f"it holds no recorded samples: they have {frame[0]}x{frame[1]} pixels")
    numbers = {key: getattr(steps, key) for key in ("resize", "resample", "crop", "rescale_factor", "mean", "std")}
    record = {"kind": "image", "layout": "NHWC", "color": settings.color} | {
        key: list(value) if isinstance(value, tuple) else value for key, value in numbers.items()
    }
    embedded = embed_images(model, steps, image_size=settings.image_size, color=settings.color)
    return Prepared(model=embedded, preprocessing=record, samples=samples, notes=tuple(notes))


def _with_text(
    source: Path, model: ov.Model, plain: Prepared, settings: InputSettings, rescore: Rescore | None
) -> Prepared:
    if settings.explicit and not takes_any_number(model):
        raise InputError(FIXED)
    tokenizer = convert_tokenizer(source, model)
    if not takes_any_number(model):
        return replace(plain, tokenizer=tokenizer.model, notes=(f"its tokenizer lies beside it: {FIXED}",))
    samples, notes = plain.samples, [MEASURED_WITHOUT, NEEDS_EXTENSION]
    if samples is not None:
        samples = _as_texts(*samples, tokenizer, rescore)
        if samples is None:
            notes.append("it holds no recorded samples: none of them comes back from its tokens as text")
    embedded = embed_tokenizer(model, tokenizer)
    record = {"kind": "text", "max_length": tokenizer.length}
    return Prepared(model=embedded, preprocessing=record, samples=samples, notes=tuple(notes))


def _as_texts(
    samples: Samples, record: dict[str, Any], tokenizer: Tokenizer, rescore: Rescore | None
) -> tuple[Samples, dict[str, Any]] | None:
    texts, kept = to_texts(tokenizer, samples.inputs)
    rows = int(record.get("rows", 1))  # of pairs both are kept, or none
    whole = np.isin(np.arange(len(samples)), kept).reshape(-1, rows).all(axis=1).repeat(rows)
    if not whole.any():
        return None
    found = Samples({TEXT: texts[whole[kept]]}, samples.outputs[whole], samples.target[whole])
    if not whole.all():
        assert rescore is not None, "a part of the samples has another value of the metric"
        record = {**record, "count": len(found), "value": rescore(record, found)}
    return found, record
