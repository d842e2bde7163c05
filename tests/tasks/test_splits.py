from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from qnas_ov.core.errors import InputError
from qnas_ov.tasks import Members, draw_splits

SHARES = (0.5, 0.3, 0.15, 0.05)


def classes(count: int) -> np.ndarray:
    """Four classes of very different size, in random order."""
    ends = np.round(np.cumsum(SHARES) * count)
    return np.random.default_rng(1).permutation(np.searchsorted(ends, np.arange(count), side="right"))


def draw(
    parts: Mapping[str, int], *, labelled: bool = True, max_samples: int = 10_000, seed: int = 0
) -> dict[str, Members]:
    arrays = {n: classes(c) if labelled else np.zeros(c, dtype=int) for n, c in parts.items()}
    return draw_splits("mine", arrays, labelled=labelled, max_samples=max_samples, seed=seed)


def sizes(drawn: Mapping[str, Members]) -> dict[str, tuple[str, int]]:
    return {split: (m.part, len(m)) for split, m in drawn.items()}


SOURCES: dict[str, tuple[dict[str, int], bool, dict[str, tuple[str, int]]]] = {
    "one part": (
        {"all": 200}, True,
        {"calibration": ("all", 40), "validation": ("all", 40), "test": ("all", 40), "train": ("all", 80)},
    ),
    "one large part": (
        {"all": 2000}, True,
        {"calibration": ("all", 300), "validation": ("all", 400), "test": ("all", 400), "train": ("all", 900)},
    ),
    "one part without labels": (
        {"all": 200}, False, {"calibration": ("all", 40), "validation": ("all", 80), "test": ("all", 80)},
    ),
    "training data only": (
        {"train": 200}, True,
        {"calibration": ("train", 40), "validation": ("train", 40), "test": ("train", 40), "train": ("train", 80)},
    ),
    "all three": (
        {"train": 400, "validation": 60, "test": 80}, True,
        {
            "calibration": ("train", 300), "validation": ("validation", 60), "test": ("test", 80),
            "train": ("train", 100),
        },
    ),
    "all three without labels": (
        {"train": 400, "validation": 60, "test": 80}, False,
        {"calibration": ("train", 300), "validation": ("validation", 60), "test": ("test", 80)},
    ),
    "training and test": (
        {"train": 400, "test": 80}, True,
        {"calibration": ("train", 300), "validation": ("test", 40), "test": ("test", 40), "train": ("train", 100)},
    ),
    "training and validation": (
        {"train": 200, "validation": 60}, True,
        {"calibration": ("train", 200), "validation": ("validation", 30), "test": ("validation", 30)},
    ),
    "validation and test": (
        {"validation": 60, "test": 80}, True,
        {"calibration": ("validation", 12), "validation": ("validation", 48), "test": ("test", 80)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SOURCES)
def test_the_source_decides_where_splits_come_from(case: str) -> None:
    parts, labelled, wanted = SOURCES[case]
    drawn = draw(parts, labelled=labelled)
    assert sizes(drawn) == wanted
    members = [(m.part, int(i)) for m in drawn.values() for i in m.positions]
    assert len(members) == len(set(members))
    assert all((np.diff(m.positions) > 0).all() for m in drawn.values())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("parts", [{"all": 200}, {"all": 3000}, {"train": 2000, "test": 101}])
def test_every_class_has_its_share_in_every_split(parts: dict[str, int], seed: int) -> None:
    for split, members in draw(parts, seed=seed).items():
        labels = classes(parts[members.part])
        counts = np.bincount(labels[members.positions], minlength=4)
        shares = np.bincount(labels) * len(members) / len(labels)
        assert np.abs(counts - shares).max() <= 2, split


@pytest.mark.parametrize("case", SOURCES)
def test_fewer_samples_are_some_of_all_and_leave_training_alone(case: str) -> None:
    """What one run tests on, no other run trains on."""
    parts, labelled, _ = SOURCES[case]
    whole, few = draw(parts, labelled=labelled), draw(parts, labelled=labelled, max_samples=10)
    for split in ("validation", "test"):
        assert len(few[split]) == 10
        assert set(few[split].positions) < set(whole[split].positions)
    for split in ("calibration", "train"):
        if split in whole:
            assert few[split].positions.tolist() == whole[split].positions.tolist()


def test_the_seed_decides() -> None:
    one, same, other = (draw({"all": 100}, seed=s)["test"].positions.tolist() for s in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(
    ("parts", "labelled", "words"),
    [
        ({"all": 39}, True, ["'mine'", "at least 40", "has 39", "at least 1 more"]),
        ({"all": 19}, False, ["at least 20", "has 19"]),
        ({"train": 100, "test": 15}, True, ["validation needs at least 8", "15 of its part 'test' leave 7"]),
        ({"train": 3, "validation": 20, "test": 20}, True, ["calibration needs at least 4", "'train'"]),
        ({"train": 100, "validation": 7, "test": 20}, True, ["validation needs at least 8", "leave 7"]),
    ],
)
def test_too_few_samples_are_refused(parts: dict[str, int], labelled: bool, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        draw(parts, labelled=labelled)
    assert [w for w in words if w not in str(caught.value)] == [], caught.value
