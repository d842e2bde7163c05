"""Saves IRs so that a reader never sees half of one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openvino as ov


def save_ir(model: ov.Model, path: Path) -> Path:
    """Saves `path` (.xml) and its .bin with full-precision constants.

    The files are written beside `path` and renamed: an IR that is still memory-mapped is never overwritten.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".ir-") as folder:
        part = Path(folder) / path.name
        ov.save_model(model, part, compress_to_fp16=False)
        os.replace(part.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(part, path)
    return path


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yields a temporary folder that becomes `target` if the block succeeds, and vanishes if it fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield part
        part.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
