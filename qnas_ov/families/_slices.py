"""Selects channels of torch layers: rows are what a layer produces, columns what it reads."""

from __future__ import annotations

import torch

_ROWS = ("out_features", "out_channels", "num_features")
_COLUMNS = ("in_features", "in_channels")


def select_rows(layer: torch.nn.Module, index: torch.Tensor) -> None:
    """Keeps output channels of a linear layer or convolution, or channels of a normalisation, in the given order.

    Args:
        layer: Changed in place; its weights become new tensors.
        index: Channels to keep, (n,).
    """
    for name in ("weight", "bias"):
        value = getattr(layer, name, None)
        if value is not None:
            setattr(layer, name, torch.nn.Parameter(value.detach()[index].clone(), value.requires_grad))
    for name in ("running_mean", "running_var"):
        value = getattr(layer, name, None)
        if value is not None:
            setattr(layer, name, value[index].clone())
    if isinstance(layer, torch.nn.LayerNorm):
        layer.normalized_shape = (len(index),)
    _set_size(layer, _ROWS, len(index))


def select_columns(layer: torch.nn.Module, index: torch.Tensor) -> None:
    """Keeps input channels of a linear layer or convolution, in the given order; as `select_rows`."""
    weight = layer.weight
    assert isinstance(weight, torch.nn.Parameter)
    layer.weight = torch.nn.Parameter(weight.detach()[:, index].clone(), weight.requires_grad)
    _set_size(layer, _COLUMNS, len(index))


def _set_size(layer: torch.nn.Module, names: tuple[str, ...], size: int) -> None:
    for name in names:
        if hasattr(layer, name):
            setattr(layer, name, size)
