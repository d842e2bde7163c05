"""Saves IRs beside their target, then renames them into place."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import openvino as ov

from qnas_ov.core.errors import RunFolderError


def save_ir(model: ov.Model, path: Path) -> Path:
    """Saves `path` (.xml) and its .bin with full-precision constants.

    The files are renamed into place, so that an IR that is still memory-mapped is never overwritten.

    Raises:
        RunFolderError: If they cannot be written, for instance because the disk is full.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".ir-") as folder:
            part = Path(folder) / path.name
            ov.save_model(model, part, compress_to_fp16=False)
            os.replace(part.with_suffix(".bin"), path.with_suffix(".bin"))
            os.replace(part, path)
    except (OSError, RuntimeError) as error:
        told = str(error).strip().splitlines()[-1]
        reason = "the disk is full, or the files may not be written" if "iostream error" in told else told
        raise RunFolderError(f"cannot save the IR '{path}': {reason}; make room or choose another place") from error
    return path
