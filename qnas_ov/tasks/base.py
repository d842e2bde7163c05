"""A task: data in disjoint splits, and the metric that judges a network's outputs on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from qnas_ov.core.fingerprint import digest_arrays, digest_json
from qnas_ov.core.registry import Registry
from qnas_ov.tasks.metrics import Metric


class TrainData(Protocol):
    """What a supernet is trained on: samples that are read when they are asked for."""

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one sample by input name."""
        ...

    def batch(self, positions: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Samples at positions (n,): arrays by input name, and their labels if they have any."""
        ...

    def digest(self) -> str:
        """Tells other data apart."""
        ...


@dataclass(frozen=True)
class Stream:
    """Training data that are decoded batch by batch.

    Attributes:
        count: How many samples there are.
        shapes: Shape of one sample by input name.
        labels: (count,), or None.
        read: Decodes the samples at positions (n,): arrays by input name.
        identity: What tells other data apart.
    """

    count: int
    shapes: Mapping[str, tuple[int, ...]]
    labels: np.ndarray | None
    read: Callable[[np.ndarray], dict[str, np.ndarray]]
    identity: str

    def __len__(self) -> int:
        return self.count

    def batch(self, positions: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Samples at positions (n,): arrays by input name, and their labels if they have any."""
        return self.read(positions), None if self.labels is None else self.labels[positions]

    def digest(self) -> str:
        """Of the source and the labels: samples are not read for it."""
        labels = {} if self.labels is None else {"labels": self.labels}
        return digest_json([self.identity, self.count, digest_arrays(labels)])


@dataclass(frozen=True)
class Split:
    """Samples of one split.

    Attributes:
        inputs: Arrays by input name, what one inference takes on the first axis.
        labels: Their labels (n,) if they have any; scores of pairs stand twice, see `rows`.
        rows: Consecutive inputs that make one sample: 2 for pairs of sentences that are embedded one by one.
    """

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray | None = None
    rows: int = 1

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def num_samples(self) -> int:
        """How many samples there are: pairs count once."""
        return len(self) // self.rows

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one input by name."""
        return {name: array.shape[1:] for name, array in self.inputs.items()}

    def batch(self, positions: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Inputs at positions (n,), and their labels if they have any."""
        labels = None if self.labels is None else self.labels[positions]
        return {name: array[positions] for name, array in self.inputs.items()}, labels

    def thinned(self, count: int | None) -> Split:
        """At most `count` inputs, evenly spaced, since files are often sorted by class; all of them for None.

        Pairs stay together; at least one sample is kept.
        """
        if count is None or count >= len(self):
            return self
        return self._of_samples(self._spread(max(1, count // self.rows)))

    def parted(self, count: int) -> tuple[Split, ...]:
        """`count` samples, evenly spaced, and all others; the whole split where it has no more than that."""
        if count >= self.num_samples:
            return (self,)
        first = self._spread(count)
        return self._of_samples(first), self._of_samples(np.setdiff1d(np.arange(self.num_samples), first))

    def _spread(self, count: int) -> np.ndarray:
        return np.linspace(0, self.num_samples - 1, count).round().astype(np.int64)

    def _of_samples(self, samples: np.ndarray) -> Split:
        chosen = (samples[:, None] * self.rows + np.arange(self.rows)).ravel()
        inputs, labels = self.batch(chosen)
        return Split(inputs, labels, self.rows)

    @cached_property
    def _digest(self) -> str:
        labels = {} if self.labels is None else {"\0labels": self.labels}
        return digest_arrays({**self.inputs, **labels})

    def digest(self) -> str:
        """SHA-256 of the arrays and labels."""
        return self._digest


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
        notes: What was done otherwise than one might expect, each in a sentence.
    """

    name: str
    metric: Metric
    calibration: Split
    validation: Split
    test: Split
    labels: tuple[str, ...]
    source: str
    train: TrainData | None = None
    notes: tuple[str, ...] = ()

    def digests(self) -> dict[str, str]:
        """SHA-256 of every split."""
        splits = {n: getattr(self, n) for n in ("train", "calibration", "validation", "test")}
        return {n: s.digest() for n, s in splits.items() if s is not None}


TASKS: Registry[Callable[[], Task]] = Registry("data set")
