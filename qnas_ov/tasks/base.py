"""A task: data in disjoint splits, and the metric that judges a network's outputs on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from qnas_ov.core.fingerprint import digest_arrays
from qnas_ov.core.records import Interval
from qnas_ov.core.registry import Registry


@dataclass(frozen=True)
class Split:
    """Samples of one split: arrays by input name, samples on the first axis, and their labels (n,) if they have any."""

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def thinned(self, count: int | None) -> Split:
        """At most `count` samples, evenly spaced, since files are often sorted by class; all of them for None."""
        if count is None or count >= len(self):
            return self
        chosen = np.linspace(0, len(self) - 1, count).round().astype(np.int64)
        labels = None if self.labels is None else self.labels[chosen]
        return Split({name: array[chosen] for name, array in self.inputs.items()}, labels)

    def digest(self) -> str:
        """SHA-256 of the arrays and labels."""
        labels = {} if self.labels is None else {"\0labels": self.labels}
        return digest_arrays({**self.inputs, **labels})


@dataclass(frozen=True)
class Metric:
    """A mean of per-sample scores, of which more is better.

    Attributes:
        column: Its name in tables, for instance "accuracy_top1".
        score: Maps outputs (n, ...) and what they should be to a score per sample, (n,). What they should be is the
            labels (n,) if `labelled`, else the outputs of the float network (n, ...).
        labelled: Whether it needs labels.
        binary: Whether every score is 0 or 1.
    """

    column: str
    score: Callable[[np.ndarray, np.ndarray], np.ndarray]
    labelled: bool
    binary: bool


def top1(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1.0 where the largest output is the label, else 0.0: float array (n,)."""
    return np.asarray(outputs.argmax(axis=-1) == labels, dtype=np.float64)


def agreement_top1(outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """1.0 where the largest output is that of the float network, else 0.0: float array (n,)."""
    return top1(outputs, reference.argmax(axis=-1))


def output_error(outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Distance of outputs to those of the float network, per sample.

    Unit: the root mean square distance of the float network's outputs from their mean over the samples, so that 1 is
    what a network scores that ignores its input. With one sample, or outputs that do not vary, their own length.

    Args:
        outputs: (n, ...).
        reference: (n, ...).

    Returns:
        Float array (n,), 0 where the outputs are equal.
    """
    count = len(reference)
    flat, ideal = outputs.reshape(count, -1).astype(np.float64), reference.reshape(count, -1).astype(np.float64)
    spread = np.sqrt(np.mean(np.sum((ideal - ideal.mean(axis=0)) ** 2, axis=1)))
    unit = spread if spread > 0 else np.sqrt(np.mean(np.sum(ideal**2, axis=1)))
    return np.asarray(np.linalg.norm(flat - ideal, axis=1) / (unit if unit > 0 else 1.0))


def fidelity(outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """1 minus `output_error`, at least 0: float array (n,)."""
    return np.maximum(0.0, 1.0 - output_error(outputs, reference))


TOP1 = Metric("accuracy_top1", top1, labelled=True, binary=True)
AGREEMENT = Metric("agreement_top1", agreement_top1, labelled=False, binary=True)
FIDELITY = Metric("fidelity", fidelity, labelled=False, binary=False)


def mean_interval(scores: np.ndarray, *, binary: bool) -> Interval:
    """Mean of per-sample scores (n,) with its 95% confidence interval: Wilson's for 0-or-1 scores, else Student's t."""
    count, mean = len(scores), float(np.mean(scores))
    if binary:
        return wilson_interval(float(np.sum(scores)), count)
    if count < 2:
        return Interval(mean, mean, mean)
    half = float(student.ppf(0.975, count - 1) * np.std(scores, ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)


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
    """Data and metric. The splits share no sample.

    Attributes:
        name: Its name.
        metric: What is maximised.
        calibration: For NNCF's statistics.
        validation: What the search sees.
        test: Touched once, at the end.
        labels: Names of the classes, by index; empty if it has none.
        source: Where the data come from.
        train: For training supernets, None where there is nothing to train.
    """

    name: str
    metric: Metric
    calibration: Split
    validation: Split
    test: Split
    labels: tuple[str, ...]
    source: str
    train: Split | None = None

    def digests(self) -> dict[str, str]:
        """SHA-256 of every split."""
        splits = {n: getattr(self, n) for n in ("train", "calibration", "validation", "test")}
        return {n: s.digest() for n, s in splits.items() if s is not None}


TASKS: Registry[Callable[[], Task]] = Registry("data set")
