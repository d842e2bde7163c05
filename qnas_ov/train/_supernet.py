"""Trains a supernet with the sandwich rule and in-place distillation.

Per step the largest network learns from the labels, and the smallest and random subnetworks learn from the labels and
from the largest network's outputs. Sources: the sandwich rule and in-place distillation of J. Yu et al., Universally
Slimmable Networks (arXiv 1903.05134) and BigNAS (arXiv 2003.11142).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from qnas_ov.core.errors import QnasError
from qnas_ov.families import Architecture, Supernet
from qnas_ov.space import Space
from qnas_ov.tasks import Split
from qnas_ov.train._masking import ElasticControl


@dataclass(frozen=True)
class TrainSettings:
    """Settings of supernet training.

    Attributes:
        cycles: How often the schedule runs from warm-up to the end; small subnetworks need more than one.
        epochs: Passes over the training split per cycle.
        batch_size: Samples per step.
        learning_rate: Peak of the cosine schedule.
        weight_decay: AdamW's weight decay, on matrices only.
        warmup: Share of the steps with a rising learning rate.
        num_random: Random subnetworks per step, besides the largest and the smallest.
        distillation: Weight of the divergence to the largest network against the labels, 0 to 1; it grows from 0 over
            the first third of the first cycle, since an untrained teacher only holds its students back.
        label_smoothing: Of the cross entropy.
        seed: Seed of everything random.
    """

    cycles: int = 4
    epochs: int = 110
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    num_random: int = 2
    distillation: float = 0.7
    label_smoothing: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class TrainProgress:
    """What is told after each epoch: its number from 1, and the mean loss of the largest network."""

    epoch: int
    loss: float


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


def evaluate_top1(supernet: Supernet, split: Split) -> float:
    """Share of `split` that the network, as it is set now, classifies right."""
    with torch.inference_mode():
        logits = supernet({spec.name: torch.from_numpy(split.inputs[spec.name]) for spec in supernet.inputs})
    return float((logits.argmax(1).numpy() == split.labels).mean())


def train_supernet(
    supernet: Supernet,
    split: Split,
    settings: TrainSettings,
    *,
    trained: bool = False,
    on_epoch: Callable[[TrainProgress], None] | None = None,
) -> None:
    """Trains the supernet's weights in place; it is the largest network, in evaluation mode, when this returns.

    Args:
        supernet: The network.
        split: The training data.
        settings: How to train.
        trained: Whether the weights are trained already, so that the first cycle distils at once.
        on_epoch: Called after every epoch.

    Raises:
        QnasError: If the loss is not finite; the message says at which step.
    """
    space = Space(supernet.elastic.knobs())
    control = ElasticControl(supernet)
    supernet.model.train()
    for cycle in range(settings.cycles):
        seed, offset = settings.seed + cycle, cycle * settings.epochs
        for epoch, loss in _run_cycle(supernet, control, space, split, settings, seed, ramp=not trained and cycle == 0):
            if not math.isfinite(loss):
                raise QnasError(f"the loss is {loss} in epoch {offset + epoch}: lower the learning rate")
            if on_epoch is not None:
                on_epoch(TrainProgress(offset + epoch, loss))
    supernet.model.eval()


def _run_cycle(
    supernet: Supernet,
    control: ElasticControl,
    space: Space,
    split: Split,
    settings: TrainSettings,
    seed: int,
    *,
    ramp: bool,
) -> Iterator[tuple[int, float]]:
    """Trains one cycle; yields each epoch's number from 1 and mean loss, with the largest network selected."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    name, model = supernet.inputs[0].name, supernet.model
    images, labels = torch.from_numpy(split.inputs[name]), torch.from_numpy(split.labels)
    steps, step = settings.epochs * math.ceil(len(labels) / settings.batch_size), 0
    optimizer, schedule = _optimizer(model, settings, steps=steps)
    for epoch in range(1, settings.epochs + 1):
        losses = []
        for batch in torch.randperm(len(labels), generator=generator).split(settings.batch_size):
            inputs, targets = {name: augment_images(images[batch], generator)}, labels[batch]
            soft_weight = settings.distillation * (min(1.0, 3 * step / steps) if ramp else 1.0)
            optimizer.zero_grad(set_to_none=True)
            control.reset()
            logits = supernet(inputs)
            loss = functional.cross_entropy(logits, targets, label_smoothing=settings.label_smoothing)
            loss.backward()
            teacher = logits.detach().softmax(1)
            sampled = [space.decode(g) for g in space.sample(rng, settings.num_random)]
            students: list[Architecture] = [{k: int(v) for k, v in values.items()} for values in sampled]
            for architecture in (supernet.elastic.smallest(), *students):
                control.set(architecture)
                student = supernet(inputs)
                hard = functional.cross_entropy(student, targets, label_smoothing=settings.label_smoothing)
                soft = functional.kl_div(student.log_softmax(1), teacher, reduction="batchmean")
                (soft_weight * soft + (1 - soft_weight) * hard).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            losses.append(loss.item())
        control.reset()
        yield epoch, float(np.mean(losses))


def _optimizer(
    model: torch.nn.Module, settings: TrainSettings, *, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))
    warmup = max(1, round(settings.warmup * steps))

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
