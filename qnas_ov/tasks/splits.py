"""Splits of a data set: its own where it has them, else drawn; disjoint, seeded, stratified by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qnas_ov.core.errors import InputError

MAX_CALIBRATION = 300  # NNCF's default subset_size
_SMALLEST = {"calibration": 4, "validation": 8, "test": 8}

LEAST = 20
"""Samples without labels: 4 for calibration, 8 for validation, 8 for test."""

LEAST_LABELLED = 40
"""Samples with labels, of which a share is kept for training."""

PART_NAMES = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation", "eval": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""How folders, files and columns call the parts of a data set."""


@dataclass(frozen=True)
class Members:
    """The samples of a split: the part of the source that they stand in, and their positions there, ascending."""

    part: str
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)


def draw_splits(
    name: str, parts: Mapping[str, np.ndarray], *, labelled: bool, max_samples: int, seed: int
) -> dict[str, Members]:
    """Draws calibration, validation and test, and what may be trained on, from the parts of a source.

    - A source with one part is divided, see `divide`; where there are labels, a share is kept for training.
    - `validation` and `test` are taken as they are; if there is one of them only, it is halved.
    - Calibration is drawn from `train`, or else is a fifth of `validation`; it has at most 300 samples.

    What is drawn does not depend on `max_samples`, which thins validation and test afterwards: what one run tests on,
    no other run trains on.

    Args:
        name: The source, for an error.
        parts: The classes of all samples (n,) by part, all 0 if they have none; "train", "validation", "test", or one
            part of any name.
        labelled: Whether the samples have labels.
        max_samples: Most samples of validation and of test.
        seed: Decides which sample stands in which split.

    Returns:
        Members of "calibration", "validation", "test", and of "train" if there are any.

    Raises:
        InputError: If a split would be too small.
    """
    rng = np.random.default_rng(seed)
    if len(parts) == 1:
        ((part, classes),) = parts.items()
        _check_total(name, len(classes), labelled=labelled)
        drawn = {split: Members(part, members) for split, members in divide(classes, rng, train=labelled).items()}
    else:
        drawn = _from_parts(parts, rng)
        if not labelled:
            drawn.pop("train", None)
    _check_sizes(name, parts, drawn)
    for split in ("validation", "test"):
        members = drawn[split]
        if len(members) > max_samples:
            drawn[split] = Members(members.part, _spread(parts[members.part], members.positions, max_samples, rng))
    return drawn


def divide(classes: np.ndarray, rng: np.random.Generator, *, train: bool) -> dict[str, np.ndarray]:
    """Divides samples so that every class has its share in every split, give or take one sample, however rare it is.

    The samples line up class by class, in random order within a class. With a training split, validation, test and
    calibration (at most 300) take every fifth sample each, and training the others. Without, calibration takes 20% (at
    most 300) at equal distances, and validation and test take turns with the rest. Where each begins is drawn too, so
    that the sample of a rare class may come to stand in any split. (scikit-learn's splitters refuse classes of one
    sample.)

    Args:
        classes: Class of every sample, (n,).
        rng: Decides which sample stands in which split.
        train: Whether some are for training.

    Returns:
        The indices of each split's samples, ascending.
    """
    count = len(classes)
    line = _line_up(classes, np.arange(count), rng)
    if not train:
        size = min(MAX_CALIBRATION, count // 5)
        places = (np.arange(size) * count + rng.integers(count)) // size
        rest = np.delete(line, places)
        turn = int(rng.integers(2))
        splits = {"calibration": line[places], "validation": rest[turn::2], "test": rest[1 - turn :: 2]}
        return {name: np.sort(members) for name, members in splits.items()}
    slots = (np.arange(count) + rng.integers(5)) % 5
    splits = {name: np.sort(line[slots == i]) for i, name in enumerate(("calibration", "validation", "test"))}
    splits["calibration"] = _spread(classes, splits["calibration"], MAX_CALIBRATION, rng)
    splits["train"] = np.setdiff1d(np.arange(count), np.concatenate(list(splits.values())))
    return splits


def _from_parts(parts: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, Members]:
    """What the parts of a source give."""
    pools = {part: np.arange(len(classes)) for part, classes in parts.items()}
    source = "train" if "train" in parts else "validation"
    share = len(pools[source]) // (1 if source == "train" else 5)
    calibration = _spread(parts[source], pools[source], min(MAX_CALIBRATION, share), rng)
    pools[source] = np.setdiff1d(pools[source], calibration)
    drawn = {"calibration": Members(source, calibration)}
    held_out = [part for part in ("validation", "test") if part in parts]
    if len(held_out) == 1:
        (part,) = held_out
        line, turn = _line_up(parts[part], pools[part], rng), int(rng.integers(2))
        drawn["validation"] = Members(part, np.sort(line[turn::2]))
        drawn["test"] = Members(part, np.sort(line[1 - turn :: 2]))
    else:
        drawn |= {part: Members(part, pools[part]) for part in held_out}
    if source == "train" and len(pools["train"]):
        drawn["train"] = Members("train", pools["train"])
    return drawn


def _line_up(classes: np.ndarray, pool: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The positions in `pool` class by class, in random order within a class."""
    line = rng.permutation(pool)
    return line[np.argsort(classes[line], kind="stable")]


def _spread(classes: np.ndarray, pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` of the positions in `pool`, every class with its share, give or take one; ascending."""
    if count >= len(pool):
        return pool
    line = _line_up(classes, pool, rng)
    places = (np.arange(count) * len(line) + rng.integers(len(line))) // max(1, count)
    return np.sort(line[places])


def _check_total(name: str, count: int, *, labelled: bool) -> None:
    needed = LEAST_LABELLED if labelled else LEAST
    if count < needed:
        raise InputError(
            f"the data set '{name}' must have at least {needed} samples to be split: it has {count}; add at least "
            f"{needed - count} more"
        )


def _check_sizes(name: str, parts: Mapping[str, np.ndarray], drawn: Mapping[str, Members]) -> None:
    for split, smallest in _SMALLEST.items():
        members = drawn[split]
        if len(members) < smallest:
            raise InputError(
                f"the data set '{name}' is too small: {split} needs at least {smallest} samples, and the "
                f"{len(parts[members.part])} of its part '{members.part}' leave {len(members)}; add samples there"
            )
