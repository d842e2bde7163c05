"""Makes a supernet behave as a subnetwork without copying weights: masked consumers, skipped blocks.

The channels of a group have no other reader than its consumers, so zeroing the consumer's input is exactly equal to
slicing the channels away. A LayerNorm in between works across channels: it is computed over the kept ones alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from qnas_ov.families import Architecture, ChannelGroup, Supernet


class ElasticControl:
    """Switches a supernet between its subnetworks."""

    def __init__(self, supernet: Supernet) -> None:
        self._elastic = supernet.elastic
        self._masks: dict[str, torch.Tensor | None] = {}
        self._skipped: set[str] = set()
        modules = dict(supernet.model.named_modules())
        for group in self._elastic.widths:
            for path in group.consumers:
                modules[path].register_forward_pre_hook(self._mask_hook(group))
            for path in group.norms:
                if isinstance(modules[path], torch.nn.LayerNorm):
                    self._make_narrow(group, modules[path])
        for depth in self._elastic.depths:
            for path in depth.blocks:
                self._make_skippable(path, modules[path])

    def _mask_hook(self, group: ChannelGroup) -> Any:
        def hook(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
            mask = self._masks.get(group.knob)
            if mask is None:
                return None
            shape = (-1,) if isinstance(module, torch.nn.Linear) else (-1, 1, 1)
            return (args[0] * mask.to(args[0]).view(shape), *args[1:])

        return hook

    def _make_narrow(self, group: ChannelGroup, norm: Any) -> None:
        run = norm.forward

        def forward(hidden: torch.Tensor) -> torch.Tensor:
            mask = self._masks.get(group.knob)
            if mask is None:
                return run(hidden)
            kept = int(mask.sum())
            weight = None if norm.weight is None else norm.weight[:kept]
            bias = None if norm.bias is None else norm.bias[:kept]
            narrow = functional.layer_norm(hidden[..., :kept], (kept,), weight, bias, norm.eps)
            return functional.pad(narrow, (0, hidden.shape[-1] - kept))

        norm.forward = forward

    def _make_skippable(self, path: str, block: torch.nn.Module) -> None:
        run = block.forward

        def forward(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            return hidden if path in self._skipped else run(hidden, *args, **kwargs)

        block.forward = forward

    def set(self, architecture: Architecture) -> None:
        """Selects the subnetwork; knobs that are not named are at their largest."""
        self._skipped = set(self._elastic.skipped_blocks(architecture))
        for group in self._elastic.widths:
            kept = architecture.get(group.knob, group.num_groups)
            mask = None
            if kept < group.num_groups:
                mask = (torch.arange(group.num_channels) < kept * group.group_size).float()
            self._masks[group.knob] = mask

    def reset(self) -> None:
        """Selects the largest network."""
        self.set({})

    @contextmanager
    def subnetwork(self, architecture: Architecture) -> Iterator[None]:
        """Selects a subnetwork for the time of a `with` block."""
        self.set(architecture)
        try:
            yield
        finally:
            self.reset()
