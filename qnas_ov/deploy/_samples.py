"""Samples that travel with a package, and what its network answered: `samples.npz`."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qnas_ov.core.errors import PackageError

SAMPLES = "samples.npz"

_INPUT, _OUTPUTS, _TARGET = "input.", "outputs", "target"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same arrays give the same bytes at any time


@dataclass(frozen=True)
class Samples:
    """Recorded samples.

    Attributes:
        inputs: Arrays (n, ...) by input name.
        outputs: What the packaged network gave as its first output, (n, ...).
        target: What the metric compares outputs with: labels (n,), or the float network's outputs (n, ...).
    """

    inputs: Mapping[str, np.ndarray]
    outputs: np.ndarray
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.outputs)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All arrays by the names they have in the file."""
        inputs = {_INPUT + name: array for name, array in self.inputs.items()}
        return {**inputs, _OUTPUTS: self.outputs, _TARGET: self.target}


def write_samples(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as an uncompressed .npz whose bytes depend on nothing else."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


def read_samples(path: Path) -> Samples:
    """Reads what `write_samples` wrote.

    Raises:
        PackageError: If the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        inputs = {name.removeprefix(_INPUT): array for name, array in arrays.items() if name.startswith(_INPUT)}
        samples = Samples(inputs, arrays[_OUTPUTS], arrays[_TARGET])
        counts = {len(a) for a in arrays.values()}
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise PackageError(f"'{path}' is damaged ({error}): copy or make the package again") from error
    if len(counts) != 1 or 0 in counts or not inputs:
        raise PackageError(f"'{path}' is damaged: its arrays must hold equally many samples; make the package again")
    return samples
