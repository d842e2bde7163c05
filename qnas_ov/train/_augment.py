"""Images that are moved a little, so that small data sets teach more."""

from __future__ import annotations

import math

import torch
from torch.nn import functional


def augment_images(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rotates, scales and shifts two thirds of the images (n, c, h, w) a little, and adds noise to all."""
    count = len(images)
    moved = (torch.rand(count, generator=generator) < 2 / 3).float()
    angle, scale, dx, dy = ((torch.rand(4, count, generator=generator) * 2 - 1) * moved).unbind()
    angle, scale = angle * math.radians(14), 1 + 0.12 * scale
    cos, sin = angle.cos() * scale, angle.sin() * scale
    shift = 2.2 / images.shape[-1]
    theta = torch.stack([cos, -sin, dx * shift, sin, cos, dy * shift], dim=1).view(count, 2, 3)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    background = images.amin()
    sampled = functional.grid_sample(images - background, grid, padding_mode="zeros", align_corners=False) + background
    return sampled + 0.08 * torch.randn(images.shape, generator=generator)
