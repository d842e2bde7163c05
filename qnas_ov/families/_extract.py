"""Subnetworks as plain torch networks of their own, with copied slices of the supernet's weights."""

from __future__ import annotations

import copy

import torch

from qnas_ov.families._slices import select_columns, select_rows
from qnas_ov.families.base import Architecture, ChannelGroup, Elastic, Supernet


def extract_subnetwork(supernet: Supernet, architecture: Architecture) -> torch.nn.Module:
    """The subnetwork as a network without elastic parts, to be trained or exported alone.

    Args:
        supernet: Left as it is; masks that are set on it do not count.
        architecture: Knobs that are not named are at their largest.

    Returns:
        A network of the supernet's class whose layers have the subnetwork's sizes; it takes and gives the same.
    """
    model = copy.deepcopy(supernet.model)
    _remove_masks(model, supernet.elastic)
    modules = dict(model.named_modules())
    for group in supernet.elastic.widths:
        _narrow(modules, group, architecture.get(group.knob, group.num_groups))
    for depth in supernet.elastic.depths:
        kept = architecture.get(depth.knob, len(depth.blocks))
        container = modules[depth.blocks[0].rpartition(".")[0]]
        assert isinstance(container, torch.nn.ModuleList | torch.nn.Sequential)
        del container[kept : len(depth.blocks)]
    return model


def _remove_masks(model: torch.nn.Module, elastic: Elastic) -> None:
    """A copy of a network that is masked (see `qnas_ov.train`) would run the original's layers."""
    modules = dict(model.named_modules())
    for path in {b for g in elastic.depths for b in g.blocks} | {n for g in elastic.widths for n in g.norms}:
        modules[path].__dict__.pop("forward", None)
    for path in {c for g in elastic.widths for c in g.consumers}:
        modules[path]._forward_pre_hooks.clear()


def _narrow(modules: dict[str, torch.nn.Module], group: ChannelGroup, kept: int) -> None:
    index = torch.arange(kept * group.group_size)
    for path in (*group.producers, *group.norms):
        select_rows(modules[path], index)
    for path in group.consumers:
        select_columns(modules[path], index)
    # Attention modules of transformers reshape by what they noted of their heads.
    for path in group.producers:
        owner = modules[path.rpartition(".")[0]]
        for name, value in (("num_attention_heads", kept), ("all_head_size", len(index))):
            if hasattr(owner, name):
                setattr(owner, name, value)
