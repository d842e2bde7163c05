"""A package: the IR under the names that optimum-intel loads, its configuration, and a manifest with digests."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qnas_ov.core.files import atomic_folder, write_json
from qnas_ov.deploy._manifest import MANIFEST, MANIFEST_FORMAT, digest_files
from qnas_ov.deploy._samples import SAMPLES, write_samples


def write_package(
    target: Path,
    *,
    model: Path,
    config: Mapping[str, Any] | None,
    preprocessor: Mapping[str, Any] | None,
    manifest: Mapping[str, Any],
    samples: Mapping[str, np.ndarray] | None = None,
    companions: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes a package folder, whole or not at all.

    Args:
        target: The folder; one that is there is replaced.
        model: The .xml of the IR, its .bin beside it.
        config: Content of `config.json`, or None.
        preprocessor: Content of `preprocessor_config.json`, or None.
        manifest: Content of `manifest.json`, to which this adds its format and the SHA-256 of every other file.
        samples: Arrays of `samples.npz`, as `Samples.to_arrays` gives them, or None.
        companions: Further files by name, as `read_companions` gives them.

    Raises:
        RunFolderError: If it cannot be written, for instance because the disk is full.
    """
    with atomic_folder(target) as part:
        shutil.copyfile(model, part / "openvino_model.xml")
        shutil.copyfile(model.with_suffix(".bin"), part / "openvino_model.bin")
        for name, content in (companions or {}).items():
            (part / name).write_bytes(content)
        if config is not None:
            write_json(part / "config.json", config)
        if preprocessor is not None:
            write_json(part / "preprocessor_config.json", preprocessor)
        if samples is not None:
            write_samples(part / SAMPLES, samples)
        write_json(part / MANIFEST, {"format": MANIFEST_FORMAT, **manifest, "files": digest_files(part)})
    return target
