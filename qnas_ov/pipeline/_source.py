"""Where a network comes from: a registered model with elastic dimensions, or the user's own file or folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import openvino as ov

from qnas_ov.core.errors import InputError, UnknownNameError
from qnas_ov.families import FAMILIES, MODELS, Architecture, Elastic, InputSpec, ModelEntry
from qnas_ov.ir import OpenedNetwork, export_supernet, open_network

NO_ELASTIC = Elastic((), ())
"""Of a network that is searched for its policy only."""

_BATCH = 64


@dataclass(frozen=True)
class SourceNetwork:
    """A network as it is before anything is searched.

    Attributes:
        model: Its FP32 IR.
        elastic: Its elastic dimensions, perhaps none.
        inputs: Its inputs.
        num_classes: Classes that its first output scores, or None.
        labels: Their names, perhaps none.
        transformer: Whether NNCF's scheme for transformers fits it.
        batch_size: Most samples that one inference can take.
        preprocessor: What `preprocessor_config.json` of a package holds, or None.
    """

    model: ov.Model
    elastic: Elastic
    inputs: tuple[InputSpec, ...]
    num_classes: int | None
    labels: tuple[str, ...]
    transformer: bool
    batch_size: int
    preprocessor: dict[str, Any] | None

    @property
    def shapes(self) -> dict[str, list[int]]:
        """Static shape by input name, for a batch of 1."""
        return {i.name: [1, *i.shape] for i in self.inputs}


class Source(Protocol):
    """A network that can be searched, before it is loaded."""

    name: str
    origin: str
    license: str

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Settings that differ from the recipe's own defaults."""
        ...

    @property
    def dataset(self) -> str | None:
        """Name of its own data set, if it has one."""
        ...

    def open(self, shapes: Mapping[str, tuple[int, ...]]) -> SourceNetwork:
        """Loads it; a second call gives the same network."""
        ...

    def package_config(self, architecture: Architecture) -> tuple[dict[str, Any] | None, str | None]:
        """Content of a package's `config.json`, if it has one, and a note for its manifest."""
        ...


class RegisteredSource:
    """A model of the registry: an elastic supernet."""

    def __init__(self, entry: ModelEntry) -> None:
        self.name, self.origin, self.license = entry.name, entry.source, entry.license
        self._entry = entry
        self._family = FAMILIES.get(entry.family)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Settings that differ from the recipe's own defaults."""
        return self._entry.defaults

    @property
    def dataset(self) -> str | None:
        """Name of its own data set."""
        return self._entry.task

    @cached_property
    def _supernet(self) -> Any:
        return self._family.load(self._entry.folder)

    @cached_property
    def _network(self) -> SourceNetwork:
        supernet = self._supernet
        model = export_supernet(supernet)
        return SourceNetwork(
            model=model,
            elastic=supernet.elastic,
            inputs=supernet.inputs,
            num_classes=int(model.output(0).get_partial_shape()[-1].get_length()),
            labels=(),
            transformer=supernet.transformer,
            batch_size=_BATCH,
            preprocessor=supernet.preprocessor,
        )

    def open(self, shapes: Mapping[str, tuple[int, ...]]) -> SourceNetwork:
        """Loads the supernet and exports it.

        Raises:
            InputError: If shapes are given: a supernet has its own.
        """
        if shapes:
            raise InputError(f"--shape is for networks with dynamic axes: '{self.name}' has none; leave it out")
        return self._network

    def package_config(self, architecture: Architecture) -> tuple[dict[str, Any] | None, str | None]:
        """The configuration of a subnetwork, and a note where its class cannot express it."""
        return self._family.subnetwork_config(self._supernet.config, architecture)


class FileSource:
    """The user's own network: an OpenVINO IR, an ONNX file, or a Hugging Face folder. Only its policy is searched."""

    dataset = None

    def __init__(self, path: Path) -> None:
        self.name = path.stem if path.suffix else path.name
        self.origin, self.license = f"file {path.name}", "that of the file"
        self._path = path
        self._opened: tuple[Mapping[str, tuple[int, ...]], OpenedNetwork] | None = None

    @property
    def defaults(self) -> Mapping[str, Any]:
        """None: the recipe's own defaults fit."""
        return {}

    def open(self, shapes: Mapping[str, tuple[int, ...]]) -> SourceNetwork:
        """Reads the file.

        Raises:
            InputError: If it is damaged, foreign, quantized, or has dynamic axes that `shapes` leaves open.
        """
        if self._opened is None or self._opened[0] != shapes:
            self._opened = (dict(shapes), open_network(self._path, shapes))
        opened = self._opened[1]
        return SourceNetwork(
            model=opened.model,
            elastic=NO_ELASTIC,
            inputs=opened.inputs,
            num_classes=opened.num_classes,
            labels=opened.labels,
            transformer=opened.transformer,
            batch_size=_BATCH if opened.dynamic_batch else 1,
            preprocessor=opened.preprocessor,
        )

    def package_config(self, architecture: Architecture) -> tuple[dict[str, Any] | None, str | None]:
        """The configuration of a Hugging Face folder; files have none."""
        return (None if self._opened is None else self._opened[1].config), None


def find_source(model: str) -> Source:
    """The source of that name or path.

    Raises:
        UnknownNameError: If it is neither a registered model nor a path.
    """
    if model in MODELS:
        return RegisteredSource(MODELS.get(model))
    if is_path(model):
        return FileSource(Path(model))
    try:
        MODELS.get(model)
    except UnknownNameError as error:
        raise UnknownNameError(f"{error}, or give a path: an .xml, an .onnx or a Hugging Face folder") from error
    raise AssertionError("a registered model is found above")


def is_path(model: str) -> bool:
    """Whether `--model` names a file or folder rather than a registered model."""
    return Path(model).suffix in (".xml", ".onnx") or "/" in model or Path(model).exists()
