"""The manifest of a package: what it is, and the SHA-256 of every other file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import PackageError
from qnas_ov.core.fingerprint import digest_file

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1


def digest_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but its manifest, by path relative to the folder, sorted."""
    return {name: digest_file(folder / name) for name in _files(folder)}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads a package's manifest and checks every file against it.

    Raises:
        PackageError: If the manifest cannot be read, or a file is missing, changed or unlisted; the message names it.
    """
    manifest = _read(folder)
    listed = manifest["files"]
    found = set(_files(folder))
    for name in sorted({*listed, *found}):
        if name not in found:
            raise PackageError(f"'{name}' of the package '{folder}' is missing: copy or make the package again")
        if name not in listed:
            raise PackageError(f"'{name}' in '{folder}' is not in its manifest: take it out, or make the package again")
        if digest_file(folder / name) != listed[name]:
            raise PackageError(
                f"'{name}' in '{folder}' does not have the SHA-256 that the manifest gives: it was changed or damaged; "
                "copy or make the package again"
            )
    return manifest


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise PackageError(f"'{folder}' is no package: it must hold {MANIFEST}; give a folder of `qnas-ov package`")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PackageError(f"'{path}' is damaged ({error}): copy or make the package again") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise PackageError(f"'{path}' is damaged: it must list 'files'; copy or make the package again")
    if manifest.get("format") != MANIFEST_FORMAT:
        raise PackageError(
            f"'{path}' has format {manifest.get('format')!r}, this version reads {MANIFEST_FORMAT}: use the qnas-ov "
            "that made it"
        )
    return manifest


def _files(folder: Path) -> list[str]:
    paths = (p.relative_to(folder) for p in folder.rglob("*") if not p.is_dir() or p.is_symlink())
    return sorted(p.as_posix() for p in paths if p.as_posix() != MANIFEST)
