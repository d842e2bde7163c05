"""A user's samples in an .npz file, split into calibration, validation and test."""

from __future__ import annotations

import difflib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qnas_ov.core.errors import InputError
from qnas_ov.tasks.base import Split, Task
from qnas_ov.tasks.metrics import AGREEMENT, FIDELITY, TOP1
from qnas_ov.tasks.splits import LEAST, divide

_LABELS, _TRAIN = "labels", "train"
_DAMAGED = (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)

# Kind of an input's type -> kinds of arrays that become it without losing what they say.
_ACCEPTED = {"f": "fiub", "i": "iub", "u": "iub", "b": "iub"}


def load_samples(
    path: Path,
    *,
    inputs: Mapping[str, tuple[tuple[int, ...], str]],
    num_classes: int | None,
    labels: tuple[str, ...] = (),
    seed: int,
) -> Task:
    """Loads samples for a network, and draws three disjoint splits of them.

    The file holds an array (n, *shape) for every input, and may hold the class of every sample as the integer array
    `labels` (n,), unless that is the name of an input. So may it hold `train` (n,), true for the samples to train on.
    Of the others, calibration gets 20% but at most 300 samples, validation and test half of the rest each, every class
    with its share in each of them. Samples are told apart by their position in the file: copies of a sample count as
    several.

    Args:
        path: A file as `numpy.savez` writes it.
        inputs: Shape without the batch axis and NumPy type name of every input of the network, by name.
        num_classes: How many class scores the network's first output holds, None if it holds none.
        labels: Names of the classes, by index; their numbers if left out.
        seed: Decides which sample stands in which split.

    Returns:
        A task, with training data if the file marks some. It asks for accuracy where there are labels, for the top-1
        class of the float network where there are only class scores, and else for the float network's outputs.

    Raises:
        InputError: The file cannot be read, or its arrays do not fit the network.
    """
    assert inputs, "a network has at least one input"
    arrays = _read_arrays(path, tuple(inputs))
    samples = {name: _as_input(path, name, arrays[name], *inputs[name]) for name in inputs}
    count = _count_samples(path, samples)
    classes = arrays[_LABELS] if _LABELS in arrays and _LABELS not in inputs else None
    if classes is not None:
        classes = _as_labels(path, classes, count, num_classes)
    training = np.zeros(count, dtype=bool)
    if _TRAIN in arrays and _TRAIN not in inputs:
        unlabelled = classes is None and num_classes is not None
        training = _as_training(path, arrays[_TRAIN], count, unlabelled=unlabelled)
    others = np.flatnonzero(~training)
    strata = np.zeros(len(others)) if classes is None else classes[others]
    indices = divide(strata, np.random.default_rng(seed), train=False)
    splits = {name: _take(samples, classes, others[members]) for name, members in indices.items()}
    scores = FIDELITY if num_classes is None else AGREEMENT
    return Task(
        name=path.name,
        metric=scores if classes is None else TOP1,
        labels=labels or tuple(str(i) for i in range(num_classes or 0)),
        source=f"samples in {path.name}",
        calibration=splits["calibration"],
        validation=splits["validation"],
        test=splits["test"],
        train=_take(samples, classes, np.flatnonzero(training)) if training.any() else None,
    )


def _read_arrays(path: Path, inputs: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Reads the arrays of a file that must hold `inputs`, and may hold labels and a mark for training, but no other."""
    with _open_archive(path) as archive:
        _check_names(path, archive.files, inputs)
        return {name: _read_array(path, archive, name) for name in archive.files}


def _open_archive(path: Path) -> Any:
    rule = f"the samples '{path}' must be an .npz file"
    remedy = "save the arrays by input name with numpy.savez"
    try:
        archive = np.load(path, allow_pickle=False)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot read the samples '{path}': {reason}; give the path of an .npz file") from error
    except _DAMAGED as error:
        raise InputError(f"{rule}: this is another kind of file, or cut short; {remedy}") from error
    if isinstance(archive, np.ndarray):
        raise InputError(f"{rule}: this is an .npy file, whose one array has no name; {remedy}")
    foreign = [name for name in archive.zip.namelist() if not name.endswith(".npy")]
    if foreign:
        archive.close()
        raise InputError(f"{rule}: this is an archive of other things, such as '{foreign[0]}'; {remedy}")
    return archive


def _check_names(path: Path, given: list[str], inputs: tuple[str, ...]) -> None:
    known = list(dict.fromkeys([*inputs, _LABELS, _TRAIN]))
    unknown = [name for name in given if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise InputError(
            f"array '{unknown[0]}' in the samples '{path}' is no input of the network: "
            f"rename it to one of {', '.join(known)}, or leave it out{hint}"
        )
    missing = [name for name in inputs if name not in given]
    if missing:
        raise InputError(
            f"the samples '{path}' must hold an array for every input of the network: input '{missing[0]}' is missing, "
            f"the file holds {', '.join(given) or 'nothing'}; add the array '{missing[0]}'"
        )


def _read_array(path: Path, archive: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(archive[name])
    except _DAMAGED as error:
        pickled = "allow_pickle" in str(error)
        reason = "it holds Python objects" if pickled else "the file is damaged or cut short"
        raise InputError(
            f"array '{name}' in the samples '{path}' must hold plain numbers: {reason}; "
            "save numeric arrays with numpy.savez"
        ) from error


def _as_input(path: Path, name: str, array: np.ndarray, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Converts an array (n, *shape) to the type of the input it is for, or says why it cannot."""
    where = f"input '{name}' in the samples '{path}'"
    if array.ndim == 0 or array.shape[1:] != tuple(shape):
        expected = f"({', '.join(['n', *map(str, shape)])}{'' if shape else ','})"
        raise InputError(
            f"{where} must have the shape {expected}: got {array.shape}; put the samples on the first axis, "
            "and preprocess them as the network expects"
        )
    if len(array) == 0:
        raise InputError(f"{where} must hold at least {LEAST} samples: it is empty; add samples")
    target = np.dtype(dtype)
    if array.dtype.kind not in _ACCEPTED.get(target.kind, ""):
        raise InputError(f"{where} must be of type {dtype}: got {array.dtype}; convert the array before you save it")
    return _as_floats(where, array, target) if target.kind == "f" else _as_integers(where, array, target)


def _as_floats(where: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):  # told apart below, with the sample named
        converted = np.ascontiguousarray(array, dtype=dtype)
    wrong = ~np.isfinite(converted)
    if wrong.any():
        sample = _first_sample(wrong)
        value = array[sample][wrong[sample]].flat[0]
        rule = f"fit the type {dtype}" if np.isfinite(value) else "be finite"
        raise InputError(f"{where} must {rule}: sample {sample} (from 0) holds {value}; mend or remove that sample")
    return converted


def _as_integers(where: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if not np.can_cast(array.dtype, dtype):
        low, high = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
        wrong = (array < low) | (array > high)
        if wrong.any():
            sample = _first_sample(wrong)
            value = array[sample][wrong[sample]].flat[0]
            raise InputError(
                f"{where} must fit the type {dtype}, {low} to {high}: sample {sample} (from 0) holds {value}; "
                "mend or remove that sample"
            )
    return np.ascontiguousarray(array, dtype=dtype)


def _first_sample(wrong: np.ndarray) -> int:
    """Index of the first sample of which anything is true, in a bool array (n, ...)."""
    return int(wrong.reshape(len(wrong), -1).any(axis=1).argmax())


def _count_samples(path: Path, samples: Mapping[str, np.ndarray]) -> int:
    first, count = next((name, len(array)) for name, array in samples.items())
    for name, array in samples.items():
        if len(array) != count:
            raise InputError(
                f"all inputs in the samples '{path}' must have equally many samples: '{first}' has {count} and "
                f"'{name}' has {len(array)}; save the same samples for each"
            )
    if count < LEAST:
        raise InputError(
            f"the samples '{path}' must be at least {LEAST}, for three splits: input '{first}' has {count}; "
            f"add at least {LEAST - count} more"
        )
    return count


def _as_labels(path: Path, labels: np.ndarray, count: int, num_classes: int | None) -> np.ndarray:
    """Checks the classes of `count` samples, and returns them as an int64 array (count,)."""
    where = f"'{_LABELS}' in the samples '{path}'"
    if num_classes is None:
        raise InputError(
            f"{where} must be left out for this network: its first output holds no class scores to compare them with; "
            "remove that array"
        )
    if labels.dtype.kind not in "iu":
        raise InputError(f"{where} must be integers: got {labels.dtype}; save the index of each sample's class")
    if labels.shape != (count,):
        raise InputError(
            f"{where} must have the shape ({count},), one for each sample: got {labels.shape}; "
            "save the index of each sample's class"
        )
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        sample = _first_sample(wrong)
        raise InputError(
            f"{where} must be 0 to {num_classes - 1}: sample {sample} (from 0) has {labels[sample]}; "
            "number the classes as the network does"
        )
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"{where} must be of at least two classes: all are {labels[0]}; add samples of another class, or leave "
            "that array out to compare networks with the float network"
        )
    return labels.astype(np.int64)


def _as_training(path: Path, marks: np.ndarray, count: int, *, unlabelled: bool) -> np.ndarray:
    """Checks which of `count` samples are for training: bool array (count,)."""
    where = f"'{_TRAIN}' in the samples '{path}'"
    if marks.dtype.kind != "b" or marks.shape != (count,):
        raise InputError(
            f"{where} must be bool of the shape ({count},), true for the samples to train on: got {marks.dtype} of the "
            f"shape {marks.shape}; convert it, or leave it out"
        )
    if marks.any() and unlabelled:
        raise InputError(f"{where} marks samples to train on, and those need '{_LABELS}': add them, or leave it out")
    if count - int(marks.sum()) < LEAST:
        raise InputError(
            f"{where} must leave at least {LEAST} samples for calibration, validation and test: it leaves "
            f"{count - int(marks.sum())} of {count}; mark fewer"
        )
    return marks


def _take(samples: Mapping[str, np.ndarray], labels: np.ndarray | None, members: np.ndarray) -> Split:
    return Split({name: array[members] for name, array in samples.items()}, None if labels is None else labels[members])
