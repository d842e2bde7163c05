"""scikit-learn's digits: 1,797 real 8x8 grey images of handwritten digits, ten classes, always at hand."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from qnas_ov.tasks.base import TASKS, Split, Task
from qnas_ov.tasks.metrics import TOP1

# Position of a sample among those of its class, modulo 20 -> its split. Stratified, disjoint, and the same forever.
_TEST = (0, 5, 10, 15)
_VALIDATION = (1, 6, 11, 16)
_CALIBRATION = (2,)


def split_names(labels: np.ndarray) -> np.ndarray:
    """The split of every sample, from its position among the samples of its class: str array (n,)."""
    positions = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = labels == label
        positions[members] = np.arange(members.sum())
    slots = positions % 20
    conditions = [np.isin(slots, _TEST), np.isin(slots, _VALIDATION), np.isin(slots, _CALIBRATION)]
    return np.select(conditions, ["test", "validation", "calibration"], default="train")


def load() -> Task:
    """Loads digits as `pixel_values` (n, 1, 8, 8), float32 in [-1, 1]: grey level (0 to 16) / 8 - 1."""
    data = load_digits()
    pixels = (data.images.astype(np.float32) / 8.0 - 1.0)[:, None]
    labels = data.target.astype(np.int64)
    names = split_names(labels)
    splits = {n: Split({"pixel_values": pixels[names == n]}, labels[names == n]) for n in np.unique(names)}
    return Task(
        name="digits",
        metric=TOP1,
        labels=tuple(str(i) for i in range(10)),
        source="scikit-learn load_digits (UCI optical recognition of handwritten digits, CC BY 4.0)",
        train=splits["train"],
        calibration=splits["calibration"],
        validation=splits["validation"],
        test=splits["test"],
    )


TASKS.add("digits", load)
