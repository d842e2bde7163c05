"""A package: the IR under the names that optimum-intel loads, its configuration, and a manifest with digests."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qnas_ov.core.files import atomic_folder, write_json
from qnas_ov.core.fingerprint import digest_file

MANIFEST_FORMAT = 1


def write_package(
    target: Path,
    *,
    model: Path,
    config: Mapping[str, Any] | None,
    preprocessor: Mapping[str, Any] | None,
    manifest: Mapping[str, Any],
) -> Path:
    """Writes a package folder, whole or not at all.

    Args:
        target: The folder; one that is there is replaced.
        model: The .xml of the IR, its .bin beside it.
        config: Content of `config.json`, or None.
        preprocessor: Content of `preprocessor_config.json`, or None.
        manifest: Content of `manifest.json`, to which this adds its format and the SHA-256 of every other file.

    Raises:
        RunFolderError: If it cannot be written, for instance because the disk is full.
    """
    with atomic_folder(target) as part:
        shutil.copyfile(model, part / "openvino_model.xml")
        shutil.copyfile(model.with_suffix(".bin"), part / "openvino_model.bin")
        if config is not None:
            write_json(part / "config.json", config)
        if preprocessor is not None:
            write_json(part / "preprocessor_config.json", preprocessor)
        files = {p.name: digest_file(p) for p in sorted(part.iterdir())}
        write_json(part / "manifest.json", {"format": MANIFEST_FORMAT, **manifest, "files": files})
    return target
