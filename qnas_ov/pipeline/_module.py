"""A torch module that is given from Python. Only its policy is searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from qnas_ov.core.fingerprint import digest_json
from qnas_ov.core.progress import Progress
from qnas_ov.families import Architecture
from qnas_ov.ir import ExampleInputs, digest_network, export_module, open_model
from qnas_ov.pipeline._source import POLICY_ONLY, SourceNetwork, fixed_network

MODULE_PREFIX = "torch:"


class ModuleSource:
    """A module, converted once.

    A recipe names it by its class and a digest of its graph and weights, so that a run continues only with the same
    module, and from Python only.
    """

    data = None
    folder = None
    license = "unknown"

    def __init__(self, module: torch.nn.Module, example_inputs: ExampleInputs) -> None:
        """Converts it.

        Raises:
            InputError: If it does not run on the examples, or cannot be converted.
        """
        self.name = type(module).__name__
        self.origin = f"torch module {type(module).__module__}.{type(module).__qualname__}"
        self._model = export_module(module, example_inputs)
        shapes = [str(port.get_partial_shape()) for port in self._model.inputs]
        digest = digest_json({"network": digest_network(self._model), "inputs": shapes})
        self.model = f"{MODULE_PREFIX}{self.name}:{digest}"
        self._opened: tuple[Mapping[str, tuple[int, ...]], SourceNetwork] | None = None

    def fetch(self, progress: Progress) -> None:
        """Does nothing: the module is here."""

    def open(self, shapes: Mapping[str, tuple[int, ...]]) -> SourceNetwork:
        """Brings it into the form that the search needs.

        Raises:
            InputError: If it holds what cannot be searched, or `shapes` does not fit.
        """
        if self._opened is None or self._opened[0] != shapes:
            opened = open_model(self._model.clone(), self.name, shapes)
            self._opened = (dict(shapes), fixed_network(opened, (POLICY_ONLY,)))
        return self._opened[1]

    def order_channels(self, inputs: Mapping[str, np.ndarray]) -> bool:
        """Does nothing: no dimension is elastic."""
        return False

    def package_config(self, architecture: Architecture) -> tuple[dict[str, Any] | None, str | None]:
        """None: a module has no configuration."""
        return None, None
