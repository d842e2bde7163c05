from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnas_ov.core.errors import InputError
from qnas_ov.tasks import AGREEMENT, FIDELITY, TOP1, Split, Task
from qnas_ov.tasks.samples import load_samples

SPLITS = ("calibration", "validation", "test")
IMAGE = {"image": ((1, 2, 3), "float32")}
TOKENS = {"ids": ((4,), "int64"), "mask": ((4,), "int64")}


def images(count: int = 40) -> np.ndarray:
    """Images of which each value stands once, so that a sample is known by its first: float array (count, 1, 2, 3)."""
    return np.arange(count * 6, dtype=np.float32).reshape(count, 1, 2, 3)


def tokens(count: int = 40) -> dict[str, np.ndarray]:
    ids = np.arange(count * 4).reshape(count, 4)
    return {"ids": ids, "mask": np.ones_like(ids)}


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **{name: np.asarray(array) for name, array in arrays.items()})
    return path


def load(path: Path, **changes: Any) -> Task:
    return load_samples(path, **{"inputs": IMAGE, "num_classes": 5, "seed": 0, **changes})


def positions(task: Task) -> dict[str, list[int]]:
    """Where the samples of each split stood in the file, told by the values of `images`."""
    return {n: (getattr(task, n).inputs["image"][:, 0, 0, 0] / 6).astype(int).tolist() for n in SPLITS}


def test_samples_without_labels_ask_for_agreement(tmp_path: Path) -> None:
    task = load(save(tmp_path, image=images()))
    assert (task.name, task.source, task.metric) == ("mine.npz", "samples in mine.npz", AGREEMENT)
    assert task.labels == ("0", "1", "2", "3", "4")
    assert task.train is None
    assert all(getattr(task, n).labels is None for n in SPLITS)


def test_samples_with_labels_ask_for_accuracy(tmp_path: Path) -> None:
    labels = np.arange(40, dtype=np.uint8) % 5
    task = load(save(tmp_path, image=images(), labels=labels), labels=("a", "b", "c", "d", "e"))
    assert (task.metric, task.labels) == (TOP1, ("a", "b", "c", "d", "e"))
    for name, members in positions(task).items():
        split = getattr(task, name)
        assert split.labels.dtype == np.int64
        assert split.labels.tolist() == labels[members].tolist()


def test_samples_to_train_on_stand_in_no_other_split(tmp_path: Path) -> None:
    labels, marks = np.arange(60) % 5, np.arange(60) % 3 == 1
    task = load(save(tmp_path, image=images(60), labels=labels, train=marks))
    assert isinstance(task.train, Split)
    trained = (task.train.inputs["image"][:, 0, 0, 0] / 6).astype(int)
    assert trained.tolist() == np.flatnonzero(marks).tolist()
    assert task.train.labels.tolist() == labels[marks].tolist()
    assert sorted(i for members in positions(task).values() for i in members) == np.flatnonzero(~marks).tolist()
    without = load(save(tmp_path, image=images(60), labels=labels, train=np.zeros(60, dtype=bool)))
    assert without.train is None
    assert sum(len(members) for members in positions(without).values()) == 60


def test_samples_for_a_network_without_class_scores_ask_for_fidelity(tmp_path: Path) -> None:
    task = load(save(tmp_path, image=images()), num_classes=None)
    assert (task.metric, task.labels) == (FIDELITY, ())


def test_an_input_may_be_called_labels(tmp_path: Path) -> None:
    task = load(save(tmp_path, labels=images()), inputs={"labels": IMAGE["image"]}, num_classes=None)
    assert task.test.labels is None
    assert task.test.inputs["labels"].shape == (16, 1, 2, 3)


def test_inputs_stay_together(tmp_path: Path) -> None:
    given = tokens()
    task = load(save(tmp_path, ids=given["ids"], mask=given["ids"] + 7), inputs=TOKENS)
    for name in SPLITS:
        inputs = getattr(task, name).inputs
        assert list(inputs) == ["ids", "mask"]
        np.testing.assert_array_equal(inputs["mask"], inputs["ids"] + 7)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(20, (4, 8, 8)), (41, (8, 16, 17)), (1500, (300, 600, 600)), (1601, (300, 650, 651))],
)
@pytest.mark.parametrize("labelled", [False, True])
def test_splits_are_disjoint_complete_and_in_order(
    tmp_path: Path, count: int, sizes: tuple[int, ...], labelled: bool
) -> None:
    labels = {"labels": np.arange(count) % 5} if labelled else {}
    task = load(save(tmp_path, image=images(count), **labels))
    found = positions(task)
    calibration, *halves = (len(found[n]) for n in SPLITS)
    assert (calibration, *sorted(halves)) == sizes
    assert sorted(i for members in found.values() for i in members) == list(range(count))
    assert all(members == sorted(members) for members in found.values())
    samples = [{x.tobytes() for x in getattr(task, n).inputs["image"]} for n in SPLITS]
    assert len(set.union(*samples)) == sum(sizes)


@pytest.mark.parametrize("labelled", [False, True])
def test_the_seed_decides_the_splits(tmp_path: Path, labelled: bool) -> None:
    labels = {"labels": np.arange(40) % 5} if labelled else {}
    path = save(tmp_path, image=images(), **labels)
    assert load(path, seed=3).digests() == load(path, seed=3).digests()
    first, other = load(path, seed=3).digests(), load(path, seed=4).digests()
    assert all(first[n] != other[n] for n in SPLITS)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_has_its_share_in_every_split(tmp_path: Path, seed: int) -> None:
    labels = np.random.default_rng(9).permutation(np.repeat(np.arange(5), (150, 30, 15, 4, 1)))
    task = load(save(tmp_path, image=images(200), labels=labels), seed=seed)
    for name in SPLITS:
        counts = np.bincount(getattr(task, name).labels, minlength=5)
        shares = np.bincount(labels) * len(getattr(task, name)) / 200
        assert np.abs(counts - shares).max() <= 1


@pytest.mark.parametrize("labels", [np.arange(20), np.arange(20) // 2], ids=["singles", "pairs"])
def test_rare_classes_are_split_too(tmp_path: Path, labels: np.ndarray) -> None:
    task = load(save(tmp_path, image=images(20), labels=labels), num_classes=20)
    found = np.concatenate([getattr(task, n).labels for n in SPLITS])
    assert sorted(found) == sorted(labels)


@pytest.mark.parametrize("rare", [0, 4])
def test_the_sample_of_a_rare_class_stands_in_any_split_as_often_as_others(tmp_path: Path, rare: int) -> None:
    path = save(tmp_path, image=images(), labels=np.where(np.arange(40) == 11, rare, 2))
    tasks = [load(path, seed=seed) for seed in range(200)]
    times = [sum(rare in getattr(task, n).labels for task in tasks) for n in SPLITS]
    np.testing.assert_allclose(times, (40, 80, 80), atol=25)  # 3.5 standard deviations


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("float64", "float32"),
        ("float16", "float32"),
        ("float32", "float16"),
        (">f4", "float32"),
        ("int32", "float32"),
        ("uint8", "float32"),
        ("bool", "float32"),
        ("int64", "int32"),
        ("uint64", "int64"),
        ("bool", "int64"),
        ("int64", "uint8"),
        ("int64", "bool"),
    ],
)
def test_arrays_become_contiguous_ones_of_the_inputs_type(tmp_path: Path, given: str, wanted: str) -> None:
    values = np.asfortranarray(np.arange(80).reshape(20, 4) % 2)
    task = load(save(tmp_path, x=values.astype(given)), inputs={"x": ((4,), wanted)})
    for name in SPLITS:
        found = getattr(task, name).inputs["x"]
        assert (found.dtype, found.dtype.isnative) == (np.dtype(wanted), True)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, np.tile([0, 1, 0, 1], (len(found), 1)))


def test_an_input_may_be_one_number_per_sample(tmp_path: Path) -> None:
    task = load(save(tmp_path, x=np.arange(20.0)), inputs={"x": ((), "float32")})
    assert task.test.inputs["x"].shape == (8,)


def changed(sample: int, value: float, dtype: str = "float32") -> np.ndarray:
    """Images with one value of one sample changed."""
    array = images().astype(dtype)
    array[sample, 0, 1, 2] = value
    return array


def labels_with(sample: int, value: int) -> np.ndarray:
    labels = np.zeros(40, dtype=np.int64)
    labels[sample] = value
    return labels


BAD_ARRAYS: dict[str, tuple[dict[str, Any], Mapping[str, Any], list[str]]] = {
    "nothing": ({}, {}, ["'image' is missing", "holds nothing"]),
    "missing": ({"ids": tokens()["ids"]}, {"inputs": TOKENS}, ["'mask' is missing", "holds ids", "add"]),
    "unknown": ({"image": images(), "weights": images()}, {}, ["'weights'", "no input", "one of image, labels, train"]),
    "misspelt": ({"imgae": images()}, {}, ["'imgae'", "no input", "did you mean 'image'?"]),
    "misspelt labels": ({"image": images(), "label": [0]}, {}, ["'label'", "did you mean 'labels'?"]),
    "unnamed": ({"arr_0": images()}, {}, ["'arr_0'", "rename it"]),
    "shape": ({"image": images().reshape(40, 2, 3, 1)}, {}, ["'image'", "(n, 1, 2, 3)", "got (40, 2, 3, 1)"]),
    "no batch axis": ({"image": images()[0]}, {}, ["(n, 1, 2, 3)", "got (1, 2, 3)", "first axis"]),
    "number": ({"x": 1.0}, {"inputs": {"x": ((), "float32")}}, ["'x'", "(n,)", "got ()"]),
    "empty": ({"image": images(0)}, {}, ["'image'", "at least 20", "is empty"]),
    "too few": ({"image": images(19)}, {}, ["at least 20", "'image' has 19", "add at least 1 more"]),
    "unequal": (
        {"ids": tokens(40)["ids"], "mask": tokens(39)["mask"]},
        {"inputs": TOKENS},
        ["equally many", "'ids' has 40", "'mask' has 39"],
    ),
    "float to integer": (
        {"ids": tokens()["ids"] / 2, "mask": tokens()["mask"]},
        {"inputs": TOKENS},
        ["'ids'", "int64", "got float64", "convert"],
    ),
    "text": ({"image": images().astype(str)}, {}, ["'image'", "float32", "got <U"]),
    "complex": ({"image": images().astype(complex)}, {}, ["'image'", "float32", "got complex128"]),
    "objects": ({"image": images().astype(object)}, {}, ["'image'", "Python objects"]),
    "nan": ({"image": changed(7, np.nan)}, {}, ["'image'", "finite", "sample 7 ", "holds nan"]),
    "infinity": ({"image": changed(39, -np.inf)}, {}, ["'image'", "finite", "sample 39 ", "holds -inf"]),
    "too large for the float": (
        {"image": changed(3, 1e39, "float64")},
        {},
        ["'image'", "fit the type float32", "sample 3 ", "1e+39"],
    ),
    "integer too large for the float": (
        {"image": changed(3, 70000, "int64")},
        {"inputs": {"image": ((1, 2, 3), "float16")}},
        ["'image'", "fit the type float16", "sample 3 ", "70000"],
    ),
    "too large for the integer": (
        {"image": changed(3, 2**31, "int64")},
        {"inputs": {"image": ((1, 2, 3), "int32")}},
        ["'image'", "fit the type int32", "-2147483648 to 2147483647", "sample 3 ", "holds 2147483648"],
    ),
    "negative for the unsigned": (
        {"image": changed(4, -1, "int8")},
        {"inputs": {"image": ((1, 2, 3), "uint64")}},
        ["'image'", "fit the type uint64", "sample 4 ", "holds -1"],
    ),
    "labels for no classes": (
        {"image": images(), "labels": labels_with(0, 0)},
        {"num_classes": None},
        ["'labels'", "no class scores", "remove"],
    ),
    "float labels": ({"image": images(), "labels": np.zeros(40)}, {}, ["'labels'", "integers", "got float64"]),
    "text labels": ({"image": images(), "labels": ["cat"] * 40}, {}, ["'labels'", "integers", "got <U3"]),
    "too few labels": ({"image": images(), "labels": [0] * 39}, {}, ["'labels'", "(40,)", "got (39,)"]),
    "one-hot labels": ({"image": images(), "labels": [[0, 1]] * 40}, {}, ["'labels'", "(40,)", "got (40, 2)"]),
    "one class": ({"image": images(), "labels": np.full(40, 2)}, {}, ["'labels'", "two classes", "all are 2"]),
    "large label": ({"image": images(), "labels": labels_with(6, 5)}, {}, ["'labels'", "0 to 4", "sample 6 ", "has 5"]),
    "train as numbers": (
        {"image": images(), "labels": labels_with(0, 1), "train": np.arange(15)},
        {},
        ["'train'", "must be bool", "(40,)", "got int64", "(15,)"],
    ),
    "train of other length": (
        {"image": images(), "labels": labels_with(0, 1), "train": np.ones(39, dtype=bool)},
        {},
        ["'train'", "(40,)", "(39,)"],
    ),
    "train without labels": (
        {"image": images(), "train": np.arange(40) < 15},
        {},
        ["'train'", "need 'labels'"],
    ),
    "too much to train on": (
        {"image": images(), "labels": labels_with(0, 1), "train": np.arange(40) < 21},
        {},
        ["'train'", "at least 20", "it leaves 19 of 40", "mark fewer"],
    ),
    "negative label": ({"image": images(), "labels": labels_with(6, -1)}, {}, ["0 to 4", "sample 6 ", "has -1"]),
}


def assert_refused(path: Path, words: list[str], **changes: Any) -> None:
    with pytest.raises(InputError) as caught:
        load(path, **changes)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert str(path) in message
    assert "\n" not in message
    assert [w for w in words if w not in message] == [], message


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, case: str) -> None:
    arrays, changes, words = BAD_ARRAYS[case]
    assert_refused(save(tmp_path, **arrays), words, **changes)


def write_npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, images())


def write_other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"weights")


def write_cut(path: Path) -> None:
    np.savez(path, image=images())
    path.write_bytes(path.read_bytes()[:-100])


def write_damaged(path: Path) -> None:
    np.savez(path, image=images())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def write_pickle(path: Path) -> None:
    path.write_bytes(images().astype(object).dumps())


BAD_FILES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "absent": (lambda path: None, ["cannot read", "No such file", ".npz"]),
    "folder": (Path.mkdir, ["cannot read", "Is a directory", ".npz"]),
    "empty": (Path.touch, ["must be an .npz", "numpy.savez"]),
    "text": (lambda path: path.write_text("a,b\n1,2\n"), ["must be an .npz", "another kind", "numpy.savez"]),
    "pickle": (write_pickle, ["must be an .npz", "another kind"]),
    "npy": (write_npy, ["must be an .npz", "an .npy file", "no name"]),
    "other archive": (write_other_archive, ["must be an .npz", "'archive/data.pkl'"]),
    "cut short": (write_cut, ["must be an .npz", "cut short"]),
    "damaged": (write_damaged, ["'image'", "damaged"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_are_no_npz_are_refused(tmp_path: Path, case: str) -> None:
    write, words = BAD_FILES[case]
    path = tmp_path / "mine.npz"
    write(path)
    assert_refused(path, words)
