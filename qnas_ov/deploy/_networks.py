"""The IR inside a package: its inputs and outputs as a server sees them, and its batch axis."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov

from qnas_ov.core.errors import PackageError, RunFolderError


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        name: The name that OpenVINO gives it first.
        dtype: Element type as OpenVINO spells it, for instance "f32".
        dims: Its shape, -1 where an axis is dynamic.
        bounded: Whether a dynamic axis has an upper bound.
    """

    name: str
    dtype: str
    dims: tuple[int, ...]
    bounded: bool = False


@dataclass(frozen=True)
class Tensors:
    """Inputs and outputs of a network, in its order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def batch(self) -> int | None:
        """Samples that one inference takes, None if that is free."""
        return None if any(t.dims[:1] == (-1,) for t in self.inputs) else 1


def read_tensors(path: Path) -> Tensors:
    """Reads the inputs and outputs of an IR.

    Raises:
        PackageError: If OpenVINO cannot read it, or one of them has no name.
    """
    model = _read(path)
    return Tensors(tuple(_tensor(p, path) for p in model.inputs), tuple(_tensor(p, path) for p in model.outputs))


def place_network(source: Path, target: Path, *, static: bool) -> None:
    """Puts an IR into a package: byte by byte, unless its batch axis must change.

    Args:
        source: Its .xml.
        target: The new .xml; the .bin gets the same stem.
        static: Whether dynamic batch axes become 1.

    Raises:
        PackageError: If OpenVINO cannot read it, or it does not work for a batch of 1.
        RunFolderError: If it cannot be saved.
    """
    model = _read(source)
    fixed = {p: ov.PartialShape([1, *list(p.partial_shape)[1:]]) for p in model.inputs if static and _free_batch(p)}
    if not fixed:
        shutil.copyfile(source, target)
        shutil.copyfile(source.with_suffix(".bin"), target.with_suffix(".bin"))
        return
    try:
        model.reshape(fixed)
    except RuntimeError as error:
        raise PackageError(
            f"'{source}' does not work for a batch of 1 ({_reason(error)}): leave the batch dynamic"
        ) from error
    try:
        ov.save_model(model, target, compress_to_fp16=False)
    except RuntimeError as error:
        raise RunFolderError(f"cannot save the IR '{target}': {_reason(error)}; make room") from error


def _read(path: Path) -> ov.Model:
    try:
        return ov.Core().read_model(path)
    except RuntimeError as error:
        raise PackageError(f"OpenVINO cannot read '{path}' ({_reason(error)}): make the package again") from error


def _tensor(port: Any, path: Path) -> Tensor:
    if not port.get_names():
        raise PackageError(f"an input or output of '{path}' has no name: servers need one; make the package again")
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        raise PackageError(f"'{port.any_name}' of '{path}' has no fixed number of axes: servers need one")
    dims = tuple(-1 if d.is_dynamic else int(d.get_length()) for d in shape)
    bounded = any(d.is_dynamic and int(d.get_max_length()) != -1 for d in shape)
    return Tensor(str(port.any_name), str(port.element_type.get_type_name()), dims, bounded)


def _free_batch(port: Any) -> bool:
    shape = port.partial_shape
    return bool(shape.rank.is_static and len(shape) > 0 and shape[0].is_dynamic)


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
