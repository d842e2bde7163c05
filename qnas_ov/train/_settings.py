"""Settings of supernet training."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from qnas_ov.core.errors import InputError, unknown_name

_AT_LEAST_ONE = ("cycles", "epochs", "batch_size", "accumulate")
_SHARES = ("warmup", "alpha", "label_smoothing")


@dataclass(frozen=True)
class TrainSettings:
    """Settings of supernet training; the defaults fine-tune a pretrained checkpoint after InstaTune.

    Attributes:
        cycles: How often the schedule runs from warm-up to the end; small subnetworks of a network that starts from
            random weights need more than one.
        epochs: Passes over the training data per cycle.
        teacher_epochs: Passes that fine-tune the largest network alone first: that becomes the teacher.
        batch_size: Samples per pass of a network.
        accumulate: Batches whose gradients are summed up for one step.
        learning_rate: Peak of the cosine schedule.
        weight_decay: AdamW's weight decay, on matrices only.
        warmup: Share of the steps with a rising learning rate.
        num_random: Random subnetworks per step, besides the largest and the smallest.
        alpha: Weight of the cross entropy; the rest is the divergence to the teacher.
        label_smoothing: Of the cross entropy.
        teacher: Whether the largest network learns from the network as it was before; without, from the labels alone.
        order: Whether channels are ordered by importance first.
        augment: Whether images are moved a little and get some noise.
        seed: Seed of everything random.
    """

    cycles: int = 1
    epochs: int = 10
    teacher_epochs: int = 0
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 5e-5
    weight_decay: float = 0.05
    warmup: float = 0.1
    num_random: int = 1
    alpha: float = 0.3
    label_smoothing: float = 0.0
    teacher: bool = True
    order: bool = True
    augment: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise InputError(f"{name} of the training must be at least 1: got {getattr(self, name)}")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} of the training must lie between 0 and 1: got {getattr(self, name)}")
        for name in ("teacher_epochs", "num_random", "weight_decay", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} of the training must not be negative: got {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate of the training must be above 0 and finite: got {self.learning_rate}")

    def with_changes(self, given: dict[str, Any]) -> TrainSettings:
        """The settings with some changed.

        Raises:
            QnasError: If a name does not exist, or a value lies outside its range.
        """
        names = [field.name for field in fields(self)]
        for name in given:
            if name not in names:
                raise unknown_name("setting of the training", name, names)
        return replace(self, **given)
