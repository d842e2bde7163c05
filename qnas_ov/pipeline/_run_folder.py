"""The folder of a run: who may write in it, what stands in it, how it is continued."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import InputError, RunFolderError
from qnas_ov.core.files import check_place, write_text
from qnas_ov.journal import Journal
from qnas_ov.pipeline._setup import canonical_recipe
from qnas_ov.recipe import Recipe, build_recipe, read_recipe_file

_RECIPE = "recipe.yaml"
_JOURNAL = "evaluations.sqlite"


def stored_recipe(folder: Path) -> Recipe | None:
    """The recipe of the run that `folder` holds, or None if it holds none.

    Raises:
        InputError: If the folder is a file, holds other things, or cannot be made.
    """
    if not folder.exists():
        check_place(folder)
        return None
    if not folder.is_dir():
        raise InputError(f"--out '{folder}' must be a folder: it is a file; choose another name")
    if (folder / _RECIPE).exists():
        return build_recipe(read_recipe_file(folder / _RECIPE), origin=str(folder / _RECIPE))
    if (folder / _JOURNAL).exists():
        raise RunFolderError(f"'{folder}' holds a journal but no {_RECIPE}: restore that file, or choose another --out")
    others = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    if others:
        raise InputError(f"--out '{folder}' must be empty or hold a run: it holds {others[0]}; choose another folder")
    return None


def check_resumable(folder: Path, stored: Recipe | None, given: Mapping[str, Any], *, resume: bool) -> None:
    """Checks that a run may begin or continue in `folder`.

    Args:
        folder: The run folder.
        stored: The recipe it holds, if any.
        given: The settings that the user gave explicitly.
        resume: Whether the user asked to continue.

    Raises:
        RunFolderError: If it holds a run and `resume` is not set, or the other way round, or a setting differs.
        QnasError: If a setting does not exist or does not fit.
    """
    if stored is None:
        if resume:
            raise RunFolderError(
                f"'{folder}' holds no run to resume: check the name, or leave --resume out to start one"
            )
        return
    if not resume:
        raise RunFolderError(
            f"'{folder}' holds a run already: add --resume to continue it, or choose another --out for a new one"
        )
    asked = build_recipe({**stored.model_dump(), **given})
    canonical = canonical_recipe(asked)
    if canonical.dataset is None:
        canonical = canonical.model_copy(update={"dataset": stored.dataset})
    differing = stored.differences(canonical)
    if differing:
        listed = ", ".join(f"{name} (the run has {mine}, given {theirs})" for name, (mine, theirs) in differing.items())
        raise RunFolderError(
            f"--resume must keep the settings '{folder}' was started with: {listed}; "
            "leave these out, or choose another --out"
        )


class RunFolder:
    """An open run folder, locked against a second process."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        """Creates or opens the folder.

        Raises:
            RunFolderError: If another process works in it, or it cannot be written.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(
                f"cannot write in '{path}': {error.strerror or error}; choose another --out"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise RunFolderError(
                f"another process is working in '{path}': wait for it, or choose another --out"
            ) from error
        try:
            if not (path / _RECIPE).exists():
                write_text(path / _RECIPE, recipe.to_yaml())
            self.work = path / ".work"
            self.work.mkdir(exist_ok=True)
            self._check_journal()
            self.journal = Journal(path / _JOURNAL)
        except BaseException:
            os.close(self._lock)
            raise

    def _check_journal(self) -> None:
        """A run that has begun to measure has a journal; an empty one in its place would measure everything again."""
        journal = self.path / _JOURNAL
        if (self.path / "machine.json").exists() and not (journal.exists() and journal.stat().st_size):
            raise RunFolderError(
                f"the journal {journal} is missing or empty: restore it from a copy, or start again with another --out"
            )

    def close(self) -> None:
        """Closes the journal and lets others in."""
        self.journal.close()
        os.close(self._lock)

    def clear_work(self) -> None:
        """Removes the temporary IRs."""
        shutil.rmtree(self.work, ignore_errors=True)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
