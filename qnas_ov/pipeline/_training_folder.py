"""The folder of a training: what was asked for, the checkpoint while it lasts, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import InputError, RunFolderError
from qnas_ov.core.files import write_json
from qnas_ov.families import read_json
from qnas_ov.pipeline._checkpoint import TRAINING_RECORD as NAME
from qnas_ov.train import CHECKPOINT, TEACHER

FORMAT = 1


class TrainingFolder:
    """A folder that a training writes to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stored = read_json(path / NAME)

    @property
    def result(self) -> dict[str, Any] | None:
        """What a finished training gave."""
        return None if self._stored is None else self._stored.get("result")

    def request(self, asked: Mapping[str, Any], *, resume: bool) -> dict[str, Any]:
        """What is to be trained: what was asked for, or what the folder says that is resumed.

        Raises:
            InputError: If the folder exists and is not to be resumed, or something else is asked for than it holds.
        """
        if not resume:
            if self._path.exists():
                raise InputError(f"--out '{self._path}' must not exist yet: choose a new folder, or add --resume")
            return dict(asked)
        if self._stored is None:
            if self._path.exists():
                raise InputError(f"--resume needs the folder of a training: '{self._path}' holds no {NAME}")
            return dict(asked)
        if self._stored.get("format") != FORMAT:
            raise RunFolderError(f"'{self._path / NAME}' is of another version of qnas-ov: resume with that one")
        stored: dict[str, Any] = self._stored["request"]
        for name in ("given", "settings"):
            for key, value in asked[name].items():
                if stored[name].get(key) != _as_json(value):
                    raise InputError(
                        f"a training is resumed with its own settings: {key} was {stored[name].get(key)!r} and is "
                        f"{value!r}; leave it out, or train in a new folder"
                    )
        return stored

    def begin(self, request: Mapping[str, Any], inputs: str) -> None:
        """Makes the folder, or checks that it belongs to the same inputs, given as a digest.

        Raises:
            QnasError: If it cannot be made, or the inputs changed since.
        """
        if self._stored is not None:
            if self._stored["inputs"] != inputs:
                raise RunFolderError(
                    f"the training in '{self._path}' was begun with another network or data: train in a new folder"
                )
            return
        try:
            self._path.mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"--out '{self._path}' cannot be made ({error.strerror}): choose another folder"
            ) from error
        plain = {name: {k: _as_json(v) for k, v in part.items()} for name, part in request.items()}
        self._stored = {"format": FORMAT, "request": plain, "inputs": inputs}
        write_json(self._path / NAME, self._stored)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Notes what came out and removes the checkpoint."""
        assert self._stored is not None
        write_json(self._path / NAME, {**self._stored, "result": dict(result)})
        for name in (CHECKPOINT, TEACHER):
            (self._path / name).unlink(missing_ok=True)


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
