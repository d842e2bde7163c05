"""A data set as it lies on disk: samples that are read when they are asked for, and their labels as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from qnas_ov.core.errors import InputError


@dataclass(frozen=True)
class Records:
    """Samples of one part of a source.

    Attributes:
        count: How many.
        read: Reads the sample at a position: a Pillow image, or a tuple of one or two texts.
        where: Names the sample at a position in an error, for instance "row 3 of 'reviews.csv'".
        labels: The label of every sample as the source spells it, or None.
    """

    count: int
    read: Callable[[int], Any]
    where: Callable[[int], str]
    labels: tuple[str, ...] | None


@dataclass(frozen=True)
class DataSource:
    """A data set that is opened but not read.

    Attributes:
        name: What it is called.
        origin: Where it comes from, for the record.
        kind: What its samples are.
        parts: "train", "validation", "test" as the source has them, or one part of any name.
        class_names: Names of its classes in the order of its own numbering, if it states one.
        notes: What was guessed or left out, each in a sentence.
    """

    name: str
    origin: str
    kind: Literal["images", "texts"]
    parts: Mapping[str, Records]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether its samples have labels."""
        return all(part.labels is not None for part in self.parts.values())

    def labels(self) -> list[str]:
        """All labels, part after part."""
        return [label for part in self.parts.values() for label in part.labels or ()]

    def where(self, label: str) -> str:
        """Names the first sample of that label."""
        return next(p.where(p.labels.index(label)) for p in self.parts.values() if p.labels and label in p.labels)


def drop_unlabelled(parts: Mapping[str, Records]) -> tuple[dict[str, Records], tuple[str, ...]]:
    """Leaves out parts without labels where others have them, with a note for each."""
    labelled = {name: part for name, part in parts.items() if part.labels is not None}
    if not labelled or len(labelled) == len(parts):
        return dict(parts), ()
    left_out = [name for name in parts if name not in labelled]
    return labelled, tuple(f"The part '{name}' of the data has no labels and is left out." for name in left_out)


def as_numbers(labels: list[str]) -> np.ndarray | None:
    """The labels as float array (n,), or None if one of them is no number; "nan" is one."""
    try:
        return np.array([float(label) for label in labels])
    except ValueError:
        return None


def read_scores(source: DataSource) -> dict[str, np.ndarray]:
    """The labels of every part as scores: float arrays (n,).

    Raises:
        InputError: If a label is no finite number.
    """
    found = {}
    for name, part in source.parts.items():
        assert part.labels is not None
        scores = np.empty(part.count)
        for i, label in enumerate(part.labels):
            try:
                scores[i] = float(label)
            except ValueError:
                scores[i] = np.nan
            if not np.isfinite(scores[i]):
                raise InputError(f"scores must be finite numbers: {part.where(i)} has '{label}'; mend or remove it")
        found[name] = scores
    if len({value for scores in found.values() for value in scores}) < 2:
        raise InputError(f"scores must differ: all in '{source.name}' are equal; add samples with other scores")
    return found
