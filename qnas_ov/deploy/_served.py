"""What a server's configuration is written from, and the rules that all servers share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qnas_ov.core.errors import InputError, PackageError
from qnas_ov.deploy._networks import Tensors

LABELS = "labels.txt"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"[1-9][0-9]*")


@dataclass(frozen=True)
class Served:
    """A network as a server will run it.

    Attributes:
        name: Its name on the server.
        tensors: Its inputs and outputs.
        device: The device it was measured on.
        inference_precision: The hint it was measured under.
        minimum_openvino: The oldest OpenVINO that is sure to read it, for instance "2026.4".
        labels: Names of the classes, by index; empty if it has none.
    """

    name: str
    tensors: Tensors
    device: str
    inference_precision: str
    minimum_openvino: str
    labels: tuple[str, ...]

    @property
    def classifies(self) -> bool:
        """Whether the first output scores the labels."""
        return bool(self.labels) and self.tensors.outputs[0].dims[-1:] == (len(self.labels),)


def check_name(name: str) -> str:
    """A model's name on a server, which is also a folder.

    Raises:
        InputError: If a server or a file system may refuse it.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--name must be letters, digits, '_', '-' and '.', beginning with a letter or digit: '{name}' is not"
        )
    return name


def name_from(text: str) -> str:
    """A name for a server that is close to `text`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.") or "model"


def check_versions(folder: Path) -> list[Path]:
    """The version folders of a model, which may hold no other folder.

    Raises:
        PackageError: If there is none, or one is no integer from 1 on: servers skip or refuse it.
    """
    versions = sorted(p for p in folder.iterdir() if p.is_dir())
    for version in versions:
        if not _VERSION.fullmatch(version.name):
            raise PackageError(f"'{version}' must be a version: an integer from 1 on, without leading zeros")
    if not versions:
        raise PackageError(f"'{folder}' must hold a version folder, for instance '1', and holds none")
    return versions
