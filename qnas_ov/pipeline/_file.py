"""The user's own network in a file: an OpenVINO IR or an ONNX file. Only its policy is searched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qnas_ov.core.progress import Progress
from qnas_ov.families import Architecture
from qnas_ov.ir import open_network
from qnas_ov.pipeline._source import POLICY_ONLY, SourceNetwork, fixed_network


class FileSource:
    """A file, or a path where there should be one."""

    data = None
    license = "that of the file"

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.origin = f"file {path.name}"
        self.folder = path.parent
        self._path = path
        self._opened: tuple[Mapping[str, tuple[int, ...]], SourceNetwork] | None = None

    def fetch(self, progress: Progress) -> None:
        """Does nothing: the file is here."""

    def open(self, shapes: Mapping[str, tuple[int, ...]]) -> SourceNetwork:
        """Reads the file.

        Raises:
            InputError: If it is missing, damaged, foreign, quantized, or has dynamic axes that `shapes` leaves open.
        """
        if self._opened is None or self._opened[0] != shapes:
            self._opened = (dict(shapes), fixed_network(open_network(self._path, shapes), (POLICY_ONLY,), self.folder))
        return self._opened[1]

    def order_channels(self, inputs: Mapping[str, np.ndarray]) -> bool:
        """Does nothing: no dimension is elastic."""
        return False

    def package_config(self, architecture: Architecture) -> tuple[dict[str, Any] | None, str | None]:
        """None: a file has no configuration."""
        return None, None
