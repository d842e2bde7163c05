"""Files and folders that are whole or not there."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import InputError, RunFolderError


def write_text(path: Path, text: str) -> None:
    """Writes a file beside its target and renames it into place.

    Raises:
        RunFolderError: If it cannot be written, for instance because the disk is full.
    """
    part = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}-", delete=False
        ) as stream:
            part = Path(stream.name)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.chmod(0o644)
        os.replace(part, path)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        raise RunFolderError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another --out"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def check_place(out: Path) -> None:
    """Checks that a new file or folder can be made, before any work is done for it.

    Raises:
        InputError: If a part of its path is a file, or may not be written in.
    """
    above = next(path for path in out.absolute().parents if path.exists())
    if not above.is_dir():
        raise InputError(f"--out '{out}' must lie in a folder: '{above}' is a file; choose another place")
    if not os.access(above, os.W_OK):
        raise InputError(f"--out '{out}' must lie where you may write: '{above}' is not yours; choose another place")


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yields a temporary folder that becomes `target` if the block succeeds, and vanishes if it fails.

    What a killed process left is removed when the same target is written again; until then it is a hidden folder.

    Raises:
        RunFolderError: If something cannot be written, for instance because the disk is full.
    """
    part, lock = None, None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        lock = _lock(part)
        yield part
        part.chmod(0o755)
        if target.exists():
            _replace(target, part)
        else:
            os.replace(part, target)
    except OSError as error:
        raise RunFolderError(
            f"cannot write '{target}': {error.strerror or error}; make room or choose another place"
        ) from error
    except RunFolderError as error:  # of a file in it, by a name that nobody has seen
        raise RunFolderError(str(error).replace(str(part), str(target))) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _replace(target: Path, part: Path) -> None:
    """Puts `part` where another folder is, of which nothing half-deleted is ever seen."""
    old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    os.replace(target, old)
    try:
        os.replace(part, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _lock(folder: Path) -> int | None:
    """Locks a folder until the descriptor is closed or the process ends; None if another process has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_leftovers(target: Path) -> None:
    """Removes temporary folders of `target` that no process works on."""
    for left in target.parent.glob(f".{glob.escape(target.name)}-????????"):
        if left.is_dir() and (lock := _lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
