"""Batch normalisations of subnetworks in torch: statistics of one pass, as `qnas_ov.ir` writes them into IRs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def estimated_norms(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Gives batch normalisations the statistics of `inputs` for the time of a `with` block; without any, does nothing.

    They are taken in one pass through the network as it is set now, every normalisation with the statistics of that
    pass (G. Huang et al., OFA, arXiv 1908.09791). Enter it after a subnetwork was selected.

    Args:
        model: A network, perhaps masked, in evaluation mode.
        inputs: Samples by input name, all of which are one batch.
    """
    norms = _norms(model)
    before = [(m.running_mean, m.running_var) for m in norms]
    try:
        if norms:
            _estimate(model, norms, inputs)
        yield
    finally:
        for norm, (mean, variance) in zip(norms, before, strict=True):
            norm.running_mean, norm.running_var = mean, variance


def settle_norms(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> None:
    """Gives the batch normalisations of a network, as it is set now, the statistics of `inputs` for good."""
    with estimated_norms(model, inputs):
        kept = [(m.running_mean, m.running_var) for m in _norms(model)]
    for norm, (mean, variance) in zip(_norms(model), kept, strict=True):
        norm.running_mean, norm.running_var = mean, variance


def _norms(model: torch.nn.Module) -> list[torch.nn.BatchNorm2d]:
    return [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d) and m.running_mean is not None]


def _estimate(model: torch.nn.Module, norms: list[torch.nn.BatchNorm2d], inputs: Mapping[str, torch.Tensor]) -> None:
    def hook(norm: Any, args: tuple[torch.Tensor, ...]) -> None:
        axes = (0, 2, 3)
        norm.running_mean = args[0].mean(axes)
        norm.running_var = args[0].var(axes, correction=0)

    handles = [norm.register_forward_pre_hook(hook) for norm in norms]
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
