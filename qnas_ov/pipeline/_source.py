"""What a search needs of a network, wherever it comes from, and the data that it is measured on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import openvino as ov

from qnas_ov.core.progress import Progress
from qnas_ov.deploy import read_companions
from qnas_ov.families import Architecture, BatchNorm, DefaultData, Elastic, InputSpec
from qnas_ov.ir import OpenedNetwork

NO_ELASTIC = Elastic((), ())
"""Of a network that is searched for its policy only."""

POLICY_ONLY = "The network has no known elastic dimensions: only its INT8/float policy is searched."

BATCH = 64


@dataclass(frozen=True)
class SourceNetwork:
    """A network as it is before anything is searched.

    Attributes:
        export: Gives its FP32 IR; called once, when that is needed.
        elastic: Its elastic dimensions, perhaps none.
        inputs: Its inputs.
        num_classes: Classes that its first output scores, or None.
        labels: Their names, perhaps none.
        transformer: Whether NNCF's scheme for transformers fits it.
        batch_size: Most samples that one inference can take.
        preprocessor: What `preprocessor_config.json` of a package holds, or None.
        notes: What a user should know of how it was loaded, each in a sentence.
        companions: Further files for its clients, such as a tokenizer's, by name.
        norms: Its batch normalisations, whose statistics differ from subnetwork to subnetwork.
    """

    export: Callable[[], ov.Model]
    elastic: Elastic
    inputs: tuple[InputSpec, ...]
    num_classes: int | None
    labels: tuple[str, ...]
    transformer: bool
    batch_size: int
    preprocessor: dict[str, Any] | None
    notes: tuple[str, ...]
    companions: Mapping[str, bytes] = field(default_factory=dict)
    norms: tuple[BatchNorm, ...] = ()

    @cached_property
    def model(self) -> ov.Model:
        """Its FP32 IR."""
        return self.export()

    @property
    def shapes(self) -> dict[str, list[int]]:
        """Static shape by input name, for a batch of 1."""
        return {i.name: [1, *i.shape] for i in self.inputs}


def fixed_network(opened: OpenedNetwork, notes: tuple[str, ...], folder: Path | None = None) -> SourceNetwork:
    """A network whose architecture is given; `folder` may hold files for its clients."""
    return SourceNetwork(
        export=lambda: opened.model,
        elastic=NO_ELASTIC,
        inputs=opened.inputs,
        num_classes=opened.num_classes,
        labels=opened.labels,
        transformer=opened.transformer,
        batch_size=BATCH if opened.dynamic_batch else 1,
        preprocessor=opened.preprocessor,
        notes=notes,
        companions={} if folder is None else read_companions(folder),
    )


class Source(Protocol):
    """A network that can be searched, before it is loaded."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        ...

    @property
    def license(self) -> str:
        """Licence of its weights (SPDX), or "unknown"."""
        ...

    @property
    def data(self) -> DefaultData | None:
        """Its own data set, if it has one."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where the files of its processor or tokenizer lie, if anywhere; they may have to be fetched first."""
        ...

    def fetch(self, progress: Progress) -> str | None:
        """Makes its files available; returns the commit that they are of, None if they are not from the hub."""
        ...

    def open(self, shapes: Mapping[str, tuple[int, ...]]) -> SourceNetwork:
        """Loads it; a second call gives the same network."""
        ...

    def order_channels(self, inputs: Mapping[str, np.ndarray]) -> bool:
        """Puts the channels of elastic dimensions in order of importance, if their order does not count already.

        Args:
            inputs: Samples by input name.

        Returns:
            Whether it did: then what `open` gives is another network, of the same outputs.
        """
        ...

    def package_config(self, architecture: Architecture) -> tuple[dict[str, Any] | None, str | None]:
        """Content of a package's `config.json`, if it has one, and a note for its manifest."""
        ...
