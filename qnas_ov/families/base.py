"""What a family states about a network: its inputs, and its elastic dimensions, once.

Training masks and graph surgery both derive from the same description: a coupled channel group names the modules
that produce the channels and the modules that read them; a depth group names the blocks that may be skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from qnas_ov.core.registry import Registry
from qnas_ov.space import Activation, Knob, KnobKind

Architecture = Mapping[str, int]
"""Values of the active depth and width knobs by name."""


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that exist or vanish together.

    Attributes:
        knob: Name of the knob, for instance "layer.0.heads".
        producers: Module paths whose output channels these are (rows of q, k, v or of fc1).
        consumers: Module paths that read them (columns of the output projection or of fc2).
        num_groups: How many groups the largest network has (heads, or neurons).
        group_size: Channels per group (the head size, or 1).
        choices: Allowed numbers of groups, ascending; the last is `num_groups`.
        block: Module path of the skippable block it lives in, or None.
    """

    knob: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    num_groups: int
    group_size: int
    choices: tuple[int, ...]
    block: str | None

    def __post_init__(self) -> None:
        if (
            list(self.choices) != sorted(set(self.choices))
            or self.choices[-1] != self.num_groups
            or self.choices[0] < 1
        ):
            raise ValueError(
                f"choices of '{self.knob}' must ascend from at least 1 to {self.num_groups}: got {self.choices}"
            )

    @property
    def num_channels(self) -> int:
        """Channels of the largest network."""
        return self.num_groups * self.group_size


@dataclass(frozen=True)
class DepthGroup:
    """Consecutive blocks of which the first `depth` are kept.

    Attributes:
        knob: Name of the knob, for instance "depth".
        blocks: Module paths in order; each maps one tensor to one of the same shape.
        choices: Allowed numbers of kept blocks, ascending; the last is the number of blocks.
    """

    knob: str
    blocks: tuple[str, ...]
    choices: tuple[int, ...]

    def __post_init__(self) -> None:
        if (
            list(self.choices) != sorted(set(self.choices))
            or self.choices[-1] != len(self.blocks)
            or self.choices[0] < 0
        ):
            raise ValueError(f"choices of '{self.knob}' must ascend to {len(self.blocks)}: got {self.choices}")


@dataclass(frozen=True)
class Elastic:
    """All elastic dimensions of a network."""

    widths: tuple[ChannelGroup, ...]
    depths: tuple[DepthGroup, ...]

    def activation_of(self, path: str) -> Activation | None:
        """The condition under which the module at `path` exists, or None if it always does."""
        for group in self.depths:
            for position, block in enumerate(group.blocks):
                if path == block or path.startswith(block + "."):
                    return Activation(group.knob, position + 1)
        return None

    def knobs(self) -> list[Knob]:
        """The depth knobs, then the width knobs."""
        depths = [Knob(g.knob, KnobKind.DEPTH, g.choices) for g in self.depths]
        widths = [
            Knob(g.knob, KnobKind.WIDTH, g.choices, None if g.block is None else self.activation_of(g.block))
            for g in self.widths
        ]
        return depths + widths

    def largest(self) -> dict[str, int]:
        """The architecture of the unsearched network."""
        return {k.name: int(k.choices[-1]) for k in self.knobs()}

    def smallest(self) -> dict[str, int]:
        """The architecture with the first choice everywhere."""
        return {k.name: int(k.choices[0]) for k in self.knobs()}

    def skipped_blocks(self, architecture: Architecture) -> list[str]:
        """Module paths of the blocks that `architecture` leaves out."""
        return [b for g in self.depths for b in g.blocks[architecture.get(g.knob, len(g.blocks)) :]]


@dataclass(frozen=True)
class InputSpec:
    """One input of a network: its name, its shape without the batch axis, and its NumPy type."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass
class Supernet:
    """A network with elastic dimensions, weights loaded.

    Attributes:
        model: The largest network, in evaluation mode.
        family: Name of the family.
        elastic: Its elastic dimensions.
        inputs: Its inputs.
        output: Name of the output that holds the logits.
        config: The Hugging Face configuration of the largest network, as JSON.
        transformer: Whether NNCF's scheme for transformers fits it.
        preprocessor: What `preprocessor_config.json` of a package holds, or None.
    """

    model: torch.nn.Module
    family: str
    elastic: Elastic
    inputs: tuple[InputSpec, ...]
    output: str
    config: dict[str, Any]
    transformer: bool
    preprocessor: dict[str, Any] | None = None


class Family(Protocol):
    """How networks of one kind are loaded and described. One file per family."""

    name: str

    def build(self, config: dict[str, Any], *, seed: int) -> Supernet:
        """Builds a supernet with random weights from a configuration."""
        ...

    def load(self, folder: Path) -> Supernet:
        """Loads a Hugging Face folder (`config.json`, `model.safetensors`) with its elastic dimensions."""
        ...

    def subnetwork_config(
        self, config: dict[str, Any], architecture: Architecture
    ) -> tuple[dict[str, Any], str | None]:
        """The configuration of a subnetwork, and a note where its class cannot express the widths."""
        ...


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be named on the command line.

    Attributes:
        name: Its name.
        family: Name of its family.
        folder: Folder with its configuration and weights.
        source: Where the weights come from, in words.
        license: Licence of the weights (SPDX).
        task: Name of its default task.
        defaults: Settings that differ from the recipe's own defaults.
    """

    name: str
    family: str
    folder: Path
    source: str
    license: str
    task: str
    defaults: Mapping[str, Any] = field(default_factory=dict)


FAMILIES: Registry[Family] = Registry("family")
MODELS: Registry[ModelEntry] = Registry("model")
