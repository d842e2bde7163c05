"""The IR inside a package: how it is read and saved, its inputs and outputs as a server sees them, its batch axis."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov

from qnas_ov.core.errors import InputError, PackageError, RunFolderError
from qnas_ov.core.optional import import_optional

_EXTENSION = b'version="extension"'  # how an .xml marks the operations of openvino-tokenizers
_NO_ROOM = "iostream error"  # all that OpenVINO says when a file cannot be written


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
        first = {t.dims[0] for t in self.inputs if t.dims}
        return None if -1 in first else max(first, default=1)


def open_core(*, tokenizer: bool) -> ov.Core:
    """An OpenVINO core.

    Args:
        tokenizer: Whether it must know the operations of openvino-tokenizers.

    Raises:
        MissingDependencyError: If that is missing.
    """
    if tokenizer:
        import_optional("openvino_tokenizers")  # from now on every core knows them
    return ov.Core()


def open_network(path: Path) -> tuple[ov.Core, ov.Model]:
    """Reads an IR, and returns the core that can compile it with it.

    Raises:
        PackageError: If OpenVINO cannot read it.
        MissingDependencyError: If it holds a tokenizer and openvino-tokenizers is missing.
    """
    try:
        core = open_core(tokenizer=_EXTENSION in path.read_bytes())
        return core, core.read_model(path)
    except (RuntimeError, OSError) as error:
        raise PackageError(f"OpenVINO cannot read '{path}' ({reason_of(error)}): make the package again") from error


def read_tensors(path: Path) -> Tensors:
    """Reads the inputs and outputs of an IR.

    Raises:
        PackageError: If OpenVINO cannot read it, or one of them has no name.
    """
    _, model = open_network(path)
    return Tensors(tuple(_tensor(p, path) for p in model.inputs), tuple(_tensor(p, path) for p in model.outputs))


def fix_batch(model: ov.Model, batch: int) -> bool:
    """Fixes the batch axis of a network where it is dynamic; says whether it was.

    Raises:
        InputError: If it is fixed already at another number, or the graph does not work with this one.
    """
    axes = {p: p.partial_shape for p in model.inputs if p.partial_shape.rank.is_static and len(p.partial_shape) > 0}
    fixed = {p: ov.PartialShape([batch, *list(shape)[1:]]) for p, shape in axes.items() if shape[0].is_dynamic}
    if not fixed:
        own = max((int(shape[0].get_length()) for shape in axes.values()), default=1)
        if own != batch:
            raise InputError(f"--batch must be {own}, the only one that this network takes: {batch} was given")
        return False
    try:
        model.reshape(fixed)
    except RuntimeError as error:
        raise InputError(
            f"the network does not work for a batch of {batch} ({reason_of(error)}): leave the batch dynamic"
        ) from error
    return True


def name_anew(model: ov.Model, *, kept: Set[str], prefix: str) -> None:
    """Gives operations names that are the same in every process: OpenVINO numbers those it names itself.

    Args:
        model: The network; it is changed.
        kept: Names that stay.
        prefix: What the new names begin with.
    """
    fresh = [node for node in model.get_ordered_ops() if node.get_friendly_name() not in kept]
    for number, node in enumerate(fresh):
        node.set_friendly_name(f"{prefix}/{node.get_type_name()}_{number}")


def save_network(model: ov.Model, path: Path) -> None:
    """Saves an IR with full-precision constants.

    Raises:
        RunFolderError: If it cannot be written, for instance because the disk is full.
    """
    try:
        ov.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        reason = reason_of(error)
        told = "the disk is full, or the files may not be written" if _NO_ROOM in reason else reason
        raise RunFolderError(f"cannot save the IR '{path.name}': {told}; make room or choose another place") from error


def reason_of(error: Exception) -> str:
    """What an error says in its last line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _tensor(port: Any, path: Path) -> Tensor:
    if not port.get_names():
        raise PackageError(f"an input or output of '{path}' has no name: servers need one; make the package again")
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        raise PackageError(f"'{port.any_name}' of '{path}' has no fixed number of axes: servers need one")
    dims = tuple(-1 if d.is_dynamic else int(d.get_length()) for d in shape)
    bounded = any(d.is_dynamic and int(d.get_max_length()) != -1 for d in shape)
    return Tensor(str(port.any_name), str(port.element_type.get_type_name()), dims, bounded)
