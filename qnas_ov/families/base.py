"""What a family states about a network: its inputs, and its elastic dimensions, once.

Training masks, graph surgery, plain networks and the ordering by importance all derive from the same description: a
coupled channel group names the modules that produce the channels and the modules that read them; a depth group names
the blocks that may be skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from qnas_ov.core.errors import InputError
from qnas_ov.core.registry import Registry
from qnas_ov.space import Activation, Knob, KnobKind

Architecture = Mapping[str, int]
"""Values of the active depth and width knobs by name."""

CONFIG_KEY = "qnas_ov"
"""Where `config.json` keeps the choices of a supernet and the architecture of a subnetwork."""


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
        norms: Module paths of the normalisations between producers and consumers, or of them: a BatchNorm works channel
            by channel, a LayerNorm across the channels that are kept.
    """

    knob: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    num_groups: int
    group_size: int
    choices: tuple[int, ...]
    block: str | None
    norms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _ascends(self.choices, first=1, last=self.num_groups):
            raise InputError(
                f"choices of '{self.knob}' must ascend from at least 1 to {self.num_groups}: got {self.choices}; "
                f"correct them under '{CONFIG_KEY}' in config.json"
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
        if not _ascends(self.choices, first=0, last=len(self.blocks)):
            raise InputError(
                f"choices of '{self.knob}' must ascend to {len(self.blocks)}: got {self.choices}; correct them under "
                f"'{CONFIG_KEY}' in config.json"
            )


def _ascends(choices: tuple[int, ...], *, first: int, last: int) -> bool:
    return bool(choices) and sorted(set(choices)) == list(choices) and choices[0] >= first and choices[-1] == last


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

    def skipped_runs(self, architecture: Architecture) -> list[tuple[str, ...]]:
        """Module paths of the consecutive blocks that `architecture` leaves out, for each depth group."""
        return [g.blocks[architecture.get(g.knob, len(g.blocks)) :] for g in self.depths]

    def skipped_blocks(self, architecture: Architecture) -> list[str]:
        """Module paths of all blocks that `architecture` leaves out."""
        return [block for run in self.skipped_runs(architecture) for block in run]


@dataclass(frozen=True)
class InputSpec:
    """One input of a network: its name, its shape without the batch axis, and its NumPy type."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class BatchNorm:
    """A batch normalisation: scale * (x - mean) / sqrt(variance + eps) + shift, channel by channel.

    Attributes:
        path: Its module path.
        convolution: Module path of the convolution it follows.
        scale: (channels,), as are the next three.
        shift: Added last.
        mean: Of the largest network.
        variance: Of the largest network.
        eps: What keeps the root from 0.
    """

    path: str
    convolution: str
    scale: np.ndarray
    shift: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    eps: float


@dataclass
class Supernet:
    """A network with elastic dimensions, weights loaded.

    Attributes:
        model: The largest network, in evaluation mode.
        family: Name of the family.
        elastic: Its elastic dimensions.
        inputs: Its inputs.
        output: Name of the output that counts: logits, or an embedding.
        config: The Hugging Face configuration of the largest network, as JSON.
        transformer: Whether NNCF's scheme for transformers fits it.
        num_classes: Classes that the output scores; None where it is an embedding.
        batch_norms: Module paths of the batch normalisations, each with that of the convolution it follows.
        ordered: Whether the order of its channels counts: they were trained as a supernet, or ordered by importance.
        preprocessor: What `preprocessor_config.json` of a package holds, or None.
    """

    model: torch.nn.Module
    family: str
    elastic: Elastic
    inputs: tuple[InputSpec, ...]
    output: str
    config: dict[str, Any]
    transformer: bool
    num_classes: int | None = None
    batch_norms: Mapping[str, str] = field(default_factory=dict)
    ordered: bool = False
    preprocessor: dict[str, Any] | None = None

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The output that counts, for tensors by input name."""
        found = self.model(**inputs)
        return found if isinstance(found, torch.Tensor) else found[self.output]

    def read_batch_norms(self) -> tuple[BatchNorm, ...]:
        """Its batch normalisations as they are."""
        found = []
        for path, convolution in self.batch_norms.items():
            norm: Any = self.model.get_submodule(path)
            tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
            scale, shift, mean, variance = (t.detach().double().numpy() for t in tensors)
            found.append(BatchNorm(path, convolution, scale, shift, mean, variance, float(norm.eps)))
        return tuple(found)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes by index, empty if the configuration does not name them all."""
        stated = self.config.get("id2label")
        keys = [str(i) for i in range(self.num_classes or 0)]
        return tuple(str(stated[k]) for k in keys) if isinstance(stated, dict) and set(stated) == set(keys) else ()


class Family(Protocol):
    """How networks of one kind are loaded and described. One file per family."""

    name: str
    examples: Mapping[str, dict[str, Any]]
    """Tiny configurations, one for each kind of network: to try the family, and for the contract tests."""

    def accepts(self, config: Mapping[str, Any]) -> bool:
        """Whether `load` takes a Hugging Face folder with this `config.json`: by model type and architecture class."""
        ...

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


FAMILIES: Registry[Family] = Registry("family")


def find_family(config: Mapping[str, Any]) -> Family | None:
    """The family that takes a checkpoint with this `config.json`, or None: then only its policy can be searched."""
    found = [family for family in map(FAMILIES.get, FAMILIES) if family.accepts(config)]
    assert len(found) <= 1, f"several families accept {config.get('architectures')}: {[f.name for f in found]}"
    return found[0] if found else None
