"""ResNets (transformers' ResNet, bottleneck and basic): depth, block width and stage width are elastic.

Per stage, the number of blocks and the width of the residual stream; per block, the width within it. The default
choices are those of OFA-ResNet50 as SimQ-NAS uses it (arXiv 2312.13301): up to two blocks less, streams of 65, 80 and
100%, and its bottlenecks of 0.2, 0.25 and 0.35 relative to the widest. Depth keeps the first blocks of a stage; the
first one of all changes the shape and always stays.

Batch normalisations hold statistics of the largest network: those of a subnetwork must be estimated before it counts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional
from qnas_ov.families._checkpoint import (
    check_class,
    check_type,
    is_of,
    open_pretrained,
    parse_config,
    read_config,
    read_json,
    refuse_differences,
    with_defaults,
)
from qnas_ov.families._choices import is_ordered, read_choices, scaled, subnetwork_entry
from qnas_ov.families.base import (
    CONFIG_KEY,
    FAMILIES,
    Architecture,
    ChannelGroup,
    DepthGroup,
    Elastic,
    InputSpec,
    Supernet,
)

LEAVE_OUT, WIDTH, MID = (0, 1, 2), (65, 80, 100), (57, 71, 100)
"""Default choices: blocks a stage may leave out, stage width and block width in per cent."""

IMAGE_SIZE = 224
_CLASSES = {"resnet": ("ResNetForImageClassification",)}
_KEYS = ("embedding_size", "hidden_sizes", "depths", "layer_type")
_MULTIPLE = 8
_REDUCTION = 4
_STEM = "resnet.embedder.embedder"
_HEAD = "classifier.1"


def _example(layer_type: str, sizes: list[int]) -> dict[str, Any]:
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "num_channels": 1,
        "embedding_size": 16,
        "hidden_sizes": sizes,
        "depths": [2, 3],
        "layer_type": layer_type,
        "num_labels": 10,
        CONFIG_KEY: {"image_size": 32, "leave_out": [0, 1], "width": [50, 75, 100], "mid": [50, 100]},
    }


class ResNetFamily:
    """ResNets for image classification."""

    name = "resnet"
    examples: Mapping[str, dict[str, Any]] = {
        "bottleneck": _example("bottleneck", [64, 96]),
        "basic": _example("basic", [16, 32]),
    }

    def accepts(self, config: Mapping[str, Any]) -> bool:
        """Whether it is transformers' ResNet with a classifier."""
        return is_of(config, _CLASSES)

    def build(self, config: dict[str, Any], *, seed: int) -> Supernet:
        """Builds a supernet with random weights.

        Args:
            config: A Hugging Face ResNet configuration; its entry "qnas_ov" may hold the choices `leave_out` (blocks
                that a stage may lack), `width` (of the stem and the stages) and `mid` (within blocks), both in per
                cent, and `image_size`, which the class does not know.
            seed: Seed of the weights.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _network_class(config)(_parse(config))
        return _supernet(model, config)

    def load(self, folder: Path) -> Supernet:
        """Loads a folder with `config.json` and `model.safetensors`.

        Raises:
            InputError: If it holds a network of another family, or tensors are missing or left over (they are named).
        """
        config = read_config(folder)
        check_type(folder, config, family=self.name, types=tuple(_CLASSES))
        model, found = open_pretrained(_network_class(config), folder, config=_parse(config))
        refuse_differences(folder, found)
        preprocessor = read_json(folder / "preprocessor_config.json")
        supernet = _supernet(model, config, preprocessor)
        supernet.preprocessor = preprocessor
        return supernet

    def subnetwork_config(
        self, config: dict[str, Any], architecture: Architecture
    ) -> tuple[dict[str, Any], str | None]:
        """The configuration of a subnetwork, and a note where its class cannot express the widths within blocks."""
        result = copy.deepcopy(config)
        layout = _Layout(config)
        stages = range(len(layout.depths))
        result["depths"] = [architecture[f"stage.{s}.depth"] for s in stages]
        result["hidden_sizes"] = [architecture[layout.stream_knob(s)] for s in stages]
        result["embedding_size"] = architecture[layout.stream_knob(-1)]
        result[CONFIG_KEY] = subnetwork_entry(config, architecture)
        expected = {
            f"stage.{s}.layer.{i}.mid": layout.mid(result["hidden_sizes"][s])
            for s in stages
            for i in range(result["depths"][s])
        }
        same = all(architecture[knob] == width for knob, width in expected.items())
        if same and all(_Layout(result).has_shortcut(s) == layout.has_shortcut(s) for s in stages):
            return result, None
        return result, (
            "transformers' ResNet cannot express widths within blocks that differ from its own: the IR is exact and "
            "loads as it is; the architecture stands under 'qnas_ov' in config.json"
        )


class _Layout:
    """Where the modules of a ResNet are, by its configuration."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.stem = int(config["embedding_size"])
        self.sizes: Sequence[int] = config["hidden_sizes"]
        self.depths: Sequence[int] = config["depths"]
        self.bottleneck = config["layer_type"] == "bottleneck"
        self._strides = [2 if config.get("downsample_in_first_stage") else 1, *[2] * (len(self.sizes) - 1)]

    def mid(self, size: int) -> int:
        """Channels within the blocks of a stage of that width."""
        return size // _REDUCTION if self.bottleneck else size

    def has_shortcut(self, stage: int) -> bool:
        """Whether a stage begins with a convolution of its own on the residual stream."""
        before = self.stem if stage == 0 else self.sizes[stage - 1]
        return before != self.sizes[stage] or self._strides[stage] != 1

    def stream_knob(self, stage: int) -> str:
        """Knob of the width of a stage's stream, -1 is the stem; without a shortcut it is that of the next stage."""
        while stage + 1 < len(self.sizes) and not self.has_shortcut(stage + 1):
            stage += 1
        return "stem.width" if stage < 0 else f"stage.{stage}.width"

    def block(self, stage: int, index: int) -> str:
        """Module path of a block."""
        return f"resnet.encoder.stages.{stage}.layers.{index}"

    def inner(self, stage: int, index: int) -> list[str]:
        """Module paths of the convolution layers of a block, in order."""
        return [f"{self.block(stage, index)}.layer.{i}" for i in range(3 if self.bottleneck else 2)]

    def shortcut(self, stage: int) -> str:
        """Module path of a stage's shortcut."""
        return f"{self.block(stage, 0)}.shortcut"

    def layers(self) -> list[str]:
        """Module paths of everything that holds a convolution and its normalisation."""
        found = [_STEM]
        for stage, depth in enumerate(self.depths):
            found += [self.shortcut(stage)] if self.has_shortcut(stage) else []
            found += [path for index in range(depth) for path in self.inner(stage, index)]
        return found


def _elastic(layout: _Layout, choices: Mapping[str, tuple[int, ...]]) -> Elastic:
    widths, depths = [], []
    producers: dict[str, list[str]] = {layout.stream_knob(-1): [_STEM]}
    consumers: dict[str, list[str]] = {}
    sizes = {layout.stream_knob(-1): layout.stem}
    for stage, depth in enumerate(layout.depths):
        before, stream = layout.stream_knob(stage - 1), layout.stream_knob(stage)
        sizes[stream] = layout.sizes[stage]
        for index in range(depth):
            inner = layout.inner(stage, index)
            consumers.setdefault(before if index == 0 else stream, []).append(inner[0])
            producers.setdefault(stream, []).append(inner[-1])
            widths.append(_mid_group(layout, stage, index, choices["mid"]))
        if layout.has_shortcut(stage):
            consumers[before].append(layout.shortcut(stage))
            producers[stream].append(layout.shortcut(stage))
        blocks = tuple(layout.block(stage, i) for i in range(depth))
        kept = sorted({max(1, depth - left) for left in choices["leave_out"]})
        depths.append(DepthGroup(f"stage.{stage}.depth", blocks, tuple(kept)))
    streams = [
        ChannelGroup(
            knob=knob,
            producers=tuple(f"{path}.convolution" for path in found),
            consumers=(
                *(f"{path}.convolution" for path in consumers.get(knob, [])),
                *((_HEAD,) if knob == layout.stream_knob(len(layout.sizes) - 1) else ()),
            ),
            num_groups=sizes[knob],
            group_size=1,
            choices=_shares(sizes[knob], choices["width"]),
            block=None,
            norms=tuple(f"{path}.normalization" for path in found),
        )
        for knob, found in producers.items()
    ]
    return Elastic((*streams, *widths), tuple(depths))


def _mid_group(layout: _Layout, stage: int, index: int, shares: tuple[int, ...]) -> ChannelGroup:
    inner = layout.inner(stage, index)
    size = layout.mid(layout.sizes[stage])
    return ChannelGroup(
        knob=f"stage.{stage}.layer.{index}.mid",
        producers=tuple(f"{path}.convolution" for path in inner[:-1]),
        consumers=tuple(f"{path}.convolution" for path in inner[1:]),
        num_groups=size,
        group_size=1,
        choices=_shares(size, shares),
        block=layout.block(stage, index),
        norms=tuple(f"{path}.normalization" for path in inner[:-1]),
    )


def _shares(full: int, per_cent: tuple[int, ...]) -> tuple[int, ...]:
    return scaled(full, [share / 100 for share in per_cent], multiple=_MULTIPLE)


def _choices(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    deepest = max(config["depths"])
    leave_out = tuple(left for left in LEAVE_OUT if left < deepest)
    choices = read_choices(config, {"leave_out": leave_out, "width": WIDTH, "mid": MID})
    for name, first, last in (("leave_out", 0, None), ("width", 1, 100), ("mid", 1, 100)):
        values = choices[name]
        if list(values) != sorted(set(values)) or values[0] < first or last not in (None, values[-1]):
            rule = "from 0" if last is None else f"from at least {first} to {last} per cent"
            raise InputError(
                f"choices of '{name}' must ascend {rule}: got {values}; correct them under '{CONFIG_KEY}' in "
                "config.json"
            )
    if choices["leave_out"][0] != 0 or choices["leave_out"][-1] >= deepest:
        raise InputError(
            f"choices of 'leave_out' must ascend from 0 to at most {deepest - 1}, since a stage keeps its first block: "
            f"got {choices['leave_out']}; correct them under '{CONFIG_KEY}' in config.json"
        )
    return choices


def _network_class(config: Mapping[str, Any]) -> Any:
    name = check_class(config, _CLASSES["resnet"], family="resnet", purpose="image classification")
    return import_optional("transformers", name=name)


def _parse(config: Mapping[str, Any]) -> Any:
    return parse_config(_network_class(config).config_class, config)


def _image_size(config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None) -> int:
    """Side of the images: what the choices or the preprocessor state; the network itself takes any."""
    stated = config.get(CONFIG_KEY, {}).get("image_size")
    crop = (preprocessor or {}).get("crop_size") or (preprocessor or {}).get("size") or IMAGE_SIZE
    found = stated or (crop.get("height") or crop.get("shortest_edge") if isinstance(crop, dict) else crop)
    if type(found) is not int or found < 1:
        raise InputError(f"image_size must be a whole number of pixels: got {found!r}")
    return found


def _supernet(
    model: torch.nn.Module, config: dict[str, Any], preprocessor: Mapping[str, Any] | None = None
) -> Supernet:
    parsed = _parse(config)
    config = with_defaults(config, parsed, _KEYS)
    layout, side = _Layout(config), _image_size(config, preprocessor)
    return Supernet(
        model=model.eval(),
        family="resnet",
        elastic=_elastic(layout, _choices(config)),
        inputs=(InputSpec("pixel_values", (parsed.num_channels, side, side)),),
        output="logits",
        config=config,
        transformer=False,
        num_classes=parsed.num_labels,
        batch_norms={f"{path}.normalization": f"{path}.convolution" for path in layout.layers()},
        ordered=is_ordered(config),
    )


FAMILIES.add("resnet", ResNetFamily())
