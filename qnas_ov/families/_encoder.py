"""What encoders of transformer blocks share: heads and feed-forward neurons per layer, the first blocks kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qnas_ov.core.errors import InputError
from qnas_ov.families._choices import read_choices, scaled, subnetwork_entry
from qnas_ov.families.base import CONFIG_KEY, Architecture, ChannelGroup, DepthGroup, Elastic

FFN_MULTIPLE = 64


@dataclass(frozen=True)
class EncoderSize:
    """Dimensions of an encoder: blocks, hidden channels, heads per block, feed-forward neurons per block."""

    depth: int
    hidden: int
    heads: int
    ffn: int

    def __post_init__(self) -> None:
        if self.heads < 1 or self.hidden % self.heads:
            raise InputError(
                f"the heads must divide the hidden channels: config.json asks for {self.heads} heads of "
                f"{self.hidden} channels; correct it or use the files of one whole checkpoint"
            )


@dataclass(frozen=True)
class BlockLayout:
    """Module paths within a transformer block.

    Attributes:
        query_key_value: The projections that produce the heads' channels.
        output: The projections that read them.
        fc1: The layer that produces the feed-forward neurons.
        fc2: The layer that reads them.
    """

    query_key_value: tuple[str, ...]
    output: tuple[str, ...]
    fc1: str
    fc2: str


TINY_CHOICES = {"depth": [1, 2, 3], "heads": [2, 3, 4], "ffn": [32, 64, 96]}
"""Choices of the families' tiny examples: 3 blocks, 4 heads (OpenVINO runs a single one in float), 96 neurons."""


def encoder_choices(
    config: Mapping[str, Any],
    size: EncoderSize,
    *,
    depth: Sequence[float],
    heads: Sequence[float],
    ffn: Sequence[float],
) -> dict[str, tuple[int, ...]]:
    """Choices of `depth`, `heads` and `ffn`: what config.json states, else shares of the whole."""
    return read_choices(
        config,
        {
            "depth": scaled(size.depth, depth),
            "heads": scaled(size.heads, heads),
            "ffn": scaled(size.ffn, ffn, multiple=FFN_MULTIPLE),
        },
    )


def encoder_elastic(
    blocks: tuple[str, ...], layout: BlockLayout, size: EncoderSize, choices: Mapping[str, tuple[int, ...]]
) -> Elastic:
    """The elastic dimensions of an encoder: knobs `depth`, `layer.N.heads` and `layer.N.ffn`."""
    widths = []
    for i, block in enumerate(blocks):
        widths.append(
            ChannelGroup(
                knob=f"layer.{i}.heads",
                producers=_below(block, layout.query_key_value),
                consumers=_below(block, layout.output),
                num_groups=size.heads,
                group_size=size.hidden // size.heads,
                choices=choices["heads"],
                block=block,
            )
        )
        widths.append(
            ChannelGroup(
                knob=f"layer.{i}.ffn",
                producers=_below(block, (layout.fc1,)),
                consumers=_below(block, (layout.fc2,)),
                num_groups=size.ffn,
                group_size=1,
                choices=choices["ffn"],
                block=block,
            )
        )
    return Elastic(tuple(widths), (DepthGroup("depth", blocks, choices["depth"]),))


def _below(block: str, paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{block}.{path}" for path in paths)


def encoder_config(
    config: Mapping[str, Any], architecture: Architecture, *, keys: tuple[str, str, str], class_name: str
) -> tuple[dict[str, Any], str | None]:
    """The configuration of a subnetwork, and a note where its class cannot express it.

    transformers' encoders have one feed-forward width for all layers and always as many attention channels as hidden
    ones: narrower heads or differing widths cannot be told to them. Then the exact architecture stands under "qnas_ov".

    Args:
        config: Of the largest network.
        architecture: The subnetwork.
        keys: What the class calls depth, heads and feed-forward width.
        class_name: The class, in words.
    """
    depth_key, heads_key, ffn_key = keys
    result = copy.deepcopy(dict(config))
    depth = architecture["depth"]
    heads = {architecture[f"layer.{i}.heads"] for i in range(depth)}
    widths = {architecture[f"layer.{i}.ffn"] for i in range(depth)}
    result[depth_key] = depth
    result[ffn_key] = max(widths)
    result[CONFIG_KEY] = subnetwork_entry(config, architecture)
    if heads == {config[heads_key]} and len(widths) == 1:
        return result, None
    return result, (
        f"{class_name} cannot express fewer heads or widths that differ between layers: the IR is exact and "
        "loads as it is; the architecture stands under 'qnas_ov' in config.json"
    )
