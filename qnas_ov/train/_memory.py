"""How much memory a training will need, before it starts."""

from __future__ import annotations

from collections.abc import Mapping

import psutil
import torch

from qnas_ov.core.errors import InputError
from qnas_ov.families import Supernet
from qnas_ov.train._settings import TrainSettings

_MARGIN = 1.15
"""Workspaces of kernels and what allocators do not give back."""


def estimate_bytes(supernet: Supernet, example: Mapping[str, torch.Tensor], settings: TrainSettings) -> int:
    """Weights, gradients, AdamW's two moments, the teacher, and what the largest network keeps for its gradients.

    Args:
        supernet: The network, on the CPU.
        example: One sample or more by input name.
        settings: How it will be trained.
    """
    parameters = sum(p.numel() * p.element_size() for p in supernet.model.parameters())
    copies = 4 + int(settings.teacher)
    count = len(next(iter(example.values())))
    per_sample = _saved_bytes(supernet, example) / count
    return int(_MARGIN * (copies * parameters + settings.batch_size * per_sample))


def _saved_bytes(supernet: Supernet, example: Mapping[str, torch.Tensor]) -> int:
    """Bytes that autograd keeps of a forward pass, besides the weights."""
    weights = {p.untyped_storage().data_ptr() for p in supernet.model.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = supernet(example)
        del output
    return sum(seen.values())


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device."""
    if device.type in ("cuda", "xpu"):
        return int(getattr(torch, device.type).mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def check_memory(needed: int, free: int, settings: TrainSettings) -> None:
    """Refuses a training that will not fit.

    Raises:
        InputError: With both numbers.
    """
    if needed > free:
        raise InputError(
            f"training must fit into memory: it needs about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            f"lower --batch-size (now {settings.batch_size}) and raise --accumulate by the same factor"
        )
