"""AdamW with warm-up and a cosine."""

from __future__ import annotations

import math

import torch

from qnas_ov.train._settings import TrainSettings


def make_optimizer(model: torch.nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW (I. Loshchilov and F. Hutter, arXiv 1711.05101); matrices decay, biases and normalisations do not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))


def set_rate(optimizer: torch.optim.Optimizer, settings: TrainSettings, *, step: int, steps: int) -> None:
    """The learning rate of a step, from 0, among so many: it rises, then falls to 0 as a cosine."""
    warmup = max(1, round(settings.warmup * steps))
    if step < warmup:
        rate = (step + 1) / warmup
    else:
        rate = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * rate
