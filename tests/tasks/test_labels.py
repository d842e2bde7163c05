from __future__ import annotations

from collections.abc import Sequence

import pytest

from qnas_ov.core.errors import InputError
from qnas_ov.tasks import DataSource, MatchedLabels, Records, match_labels

IMAGENET = ("tench, Tinca tinca", "crane", "English springer, English springer spaniel", "crane, lift")


def source(*labels: str, names: tuple[str, ...] = ()) -> DataSource:
    records = Records(len(labels), lambda i: i, lambda i: f"row {i + 1} of 'mine'", labels)
    return DataSource("mine", "made here", "texts", {"all": records}, names)


def match(
    labels: Sequence[str], known: Sequence[str], num_classes: int | None = None, **names: tuple[str, ...]
) -> MatchedLabels:
    return match_labels(source(*labels, **names), known, num_classes or len(known))


@pytest.mark.parametrize(
    ("labels", "known", "indices"),
    [
        (["cat", "dog", "cat"], ("dog", "cat"), [1, 0, 1]),
        (["Negative", "POSITIVE"], ("NEGATIVE", "positive"), [0, 1]),
        (["police_van", "cash-machine"], ("cash machine", "police van"), [1, 0]),
        (["tench", "English springer"], IMAGENET, [0, 2]),
        (["crane", "tench, Tinca tinca"], IMAGENET, [1, 0]),
        (["2", "0"], IMAGENET, [2, 0]),
        (["1.0", "0.0"], ("no", "yes"), [1, 0]),
        (["7", "9"], ("9", "7"), [1, 0]),
        (["1", "0"], ("LABEL_0", "LABEL_1"), [1, 0]),
    ],
)
def test_labels_are_names_or_numbers(labels: list[str], known: tuple[str, ...], indices: list[int]) -> None:
    matched = match(labels, known)
    assert matched.indices["all"].tolist() == indices
    assert matched.notes == ()
    if known[0] != "LABEL_0":
        assert matched.names == known


def test_numbers_without_names() -> None:
    assert match(["4", "0"], (), 5).names == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize("known", [(), ("LABEL_0", "LABEL_1", "LABEL_2")])
def test_a_network_that_names_no_classes_takes_those_of_the_data(known: tuple[str, ...]) -> None:
    guessed = match(["b", "c", "a"], known, 3)
    assert (guessed.indices["all"].tolist(), guessed.names) == ([1, 2, 0], ("a", "b", "c"))
    assert "alphabetical order" in guessed.notes[0]
    stated = match(["b", "c", "a"], known, 3, names=("c", "b", "a"))
    assert (stated.indices["all"].tolist(), stated.names, stated.notes) == ([1, 0, 2], ("c", "b", "a"), ())


@pytest.mark.parametrize(
    ("labels", "known", "num_classes", "words"),
    [
        (["cat", "cat"], ("cat", "dog"), 2, ["at least two classes", "'cat' only"]),
        (
            ["cat", "cow", "dgo"],
            ("cat", "dog"),
            2,
            ["row 2 of 'mine' has 'cow'", "1 more", "'dgo'", "knows 'cat', 'dog'"],
        ),
        (["cat", "dgo"], ("cat", "dog"), 2, ["row 2 of 'mine' has 'dgo'", "did you mean 'dog'?"]),
        (["0", "2"], ("cat", "dog"), 2, ["0 to 1 ('cat', 'dog')", "row 2 of 'mine' has 2"]),
        (["0", "-3"], (), 5, ["0 to 4", "row 2 of 'mine' has -3"]),
        (["Crane", "tench"], ("crane", "tench", "CRANE"), 3, ["'Crane'", "0 (crane) and 2 (CRANE)", "number"]),
        (["crane bird", "x"], ("y", "z"), 2, ["'crane bird'", "knows 'y', 'z'"]),
        (["a", "b", "c"], (), 5, ["3 classes", "scores 5", "0 to 4", "id2label"]),
        (["a", "b", "c"], ("LABEL_0", "LABEL_1"), 2, ["3 classes", "scores 2"]),
    ],
)
def test_labels_that_the_network_does_not_know(
    labels: list[str], known: tuple[str, ...], num_classes: int, words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        match(labels, known, num_classes)
    assert [w for w in words if w not in str(caught.value)] == [], caught.value
    assert "\n" not in str(caught.value)
