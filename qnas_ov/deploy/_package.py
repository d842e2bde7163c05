"""A package: the IR under the names that optimum-intel loads, its configuration, and a manifest with digests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import RunFolderError
from qnas_ov.core.files import write_json
from qnas_ov.core.fingerprint import digest_file

MANIFEST_FORMAT = 1


def write_package(
    target: Path,
    *,
    model: Path,
    config: Mapping[str, Any],
    preprocessor: Mapping[str, Any] | None,
    manifest: Mapping[str, Any],
) -> Path:
    """Writes a package folder, whole or not at all.

    Args:
        target: The folder; one that is there is replaced.
        model: The .xml of the IR, its .bin beside it.
        config: Content of `config.json`.
        preprocessor: Content of `preprocessor_config.json`, or None.
        manifest: Content of `manifest.json`, to which this adds its format and the SHA-256 of every other file.

    Raises:
        RunFolderError: If it cannot be written, for instance because the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        shutil.copyfile(model, part / "openvino_model.xml")
        shutil.copyfile(model.with_suffix(".bin"), part / "openvino_model.bin")
        write_json(part / "config.json", config)
        if preprocessor is not None:
            write_json(part / "preprocessor_config.json", preprocessor)
        files = {p.name: digest_file(p) for p in sorted(part.iterdir())}
        write_json(part / "manifest.json", {"format": MANIFEST_FORMAT, **manifest, "files": files})
        part.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(part, target)
    except OSError as error:
        raise RunFolderError(
            f"cannot write the package {target}: {error.strerror or error}; make room and run again with --resume"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target
