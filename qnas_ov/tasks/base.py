"""A task: data in disjoint splits, and the metric that judges a network's outputs on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from qnas_ov.core.fingerprint import digest_arrays
from qnas_ov.core.records import Interval
from qnas_ov.core.registry import Registry


@dataclass(frozen=True)
class Split:
    """Samples of one split: arrays by input name, samples on the first axis, and their labels (n,)."""

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """SHA-256 of the arrays and labels."""
        return digest_arrays({**self.inputs, "\0labels": self.labels})


@dataclass(frozen=True)
class Metric:
    """A mean of per-sample scores.

    Attributes:
        column: Its name in tables, for instance "accuracy_top1".
        score: Maps outputs (n, classes) and labels (n,) to a score per sample, (n,).
    """

    column: str
    score: Callable[[np.ndarray, np.ndarray], np.ndarray]


def top1(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1.0 where the largest output is the label, else 0.0: float array (n,)."""
    return np.asarray(outputs.argmax(axis=1) == labels, dtype=np.float64)


TOP1 = Metric("accuracy_top1", top1)


def wilson_interval(correct: float, count: int) -> Interval:
    """Share of successes with its 95% Wilson score interval.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    z = 1.959963984540054
    share = correct / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Interval(share, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


@dataclass(frozen=True)
class Task:
    """Data and metric. The four splits share no sample.

    Attributes:
        name: Its name.
        metric: What is maximised.
        train: For training supernets.
        calibration: For NNCF's statistics.
        validation: What the search sees.
        test: Touched once, at the end.
        labels: Names of the classes, by index.
        source: Where the data come from.
    """

    name: str
    metric: Metric
    train: Split
    calibration: Split
    validation: Split
    test: Split
    labels: tuple[str, ...]
    source: str

    def digests(self) -> dict[str, str]:
        """SHA-256 of every split."""
        return {n: getattr(self, n).digest() for n in ("train", "calibration", "validation", "test")}


TASKS: Registry[Callable[[], Task]] = Registry("data set")
