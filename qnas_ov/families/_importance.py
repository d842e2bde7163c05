"""Orders heads, neurons and channels by importance, so that a narrower subnetwork keeps the ones that count most.

With data, a channel's importance is the mean of |activation| times the norm of the weights that read it, summed over
its readers: the score of Wanda (M. Sun et al., arXiv 2306.11695) for a whole channel. Without data, the strength of
what produces it takes the place of the activation: the norm of its weights (H. Li et al., Pruning Filters, arXiv
1608.08710), or of scale and shift where a normalisation follows (Z. Liu et al., Network Slimming, arXiv 1708.06519).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from qnas_ov.families._slices import select_columns, select_rows
from qnas_ov.families.base import ChannelGroup, Supernet


def order_by_importance(supernet: Supernet, inputs: Mapping[str, torch.Tensor] | None = None) -> None:
    """Sorts the channels of every group in place, the most important first; the network computes what it did.

    Args:
        supernet: In evaluation mode, with nothing masked.
        inputs: Samples by input name, some tens to hundreds; None orders by the weights alone.
    """
    modules = dict(supernet.model.named_modules())
    activations = None if inputs is None else _mean_activations(supernet, modules, inputs)
    with torch.no_grad():
        for group in supernet.elastic.widths:
            importance = _importance(group, modules, activations)
            order = importance.view(group.num_groups, group.group_size).sum(1).argsort(descending=True, stable=True)
            channels = torch.arange(group.num_channels).view(group.num_groups, group.group_size)[order].flatten()
            for path in (*group.producers, *group.norms):
                select_rows(modules[path], channels)
            for path in group.consumers:
                select_columns(modules[path], channels)
    supernet.ordered = True


def _importance(
    group: ChannelGroup, modules: Mapping[str, torch.nn.Module], activations: Mapping[str, torch.Tensor] | None
) -> torch.Tensor:
    """Importance of every channel of a group: (num_channels,)."""
    if activations is not None:
        return torch.stack([activations[path] * _column_norms(modules[path]) for path in group.consumers]).sum(0)
    producers = group.norms or group.producers
    strength = torch.stack([_row_norms(modules[path]) for path in producers]).norm(dim=0)
    reading = torch.stack([_column_norms(modules[path]) for path in group.consumers]).norm(dim=0)
    return strength * reading


def _row_norms(layer: torch.nn.Module) -> torch.Tensor:
    """Norm of the weights and the bias behind every output channel."""
    squares = _weight(layer).pow(2).flatten(1).sum(1) if _weight(layer).ndim > 1 else _weight(layer).pow(2)
    bias = getattr(layer, "bias", None)
    return (squares if bias is None else squares + bias.pow(2)).sqrt()


def _column_norms(layer: torch.nn.Module) -> torch.Tensor:
    """Norm of the weights that read every input channel."""
    return _weight(layer).transpose(0, 1).flatten(1).norm(dim=1)


def _weight(layer: torch.nn.Module) -> torch.Tensor:
    assert isinstance(layer.weight, torch.Tensor)
    return layer.weight


def _mean_activations(
    supernet: Supernet, modules: Mapping[str, torch.nn.Module], inputs: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Mean of |input| of every consumer, channel by channel."""
    found: dict[str, torch.Tensor] = {}

    def watch(path: str) -> torch.utils.hooks.RemovableHandle:
        def hook(layer: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            axis = args[0].ndim - 1 if isinstance(layer, torch.nn.Linear) else 1
            found[path] = args[0].abs().mean([i for i in range(args[0].ndim) if i != axis])

        return modules[path].register_forward_pre_hook(hook)

    handles = [watch(path) for path in {c for group in supernet.elastic.widths for c in group.consumers}]
    try:
        with torch.inference_mode():
            supernet(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {path: value.clone() for path, value in found.items()}
