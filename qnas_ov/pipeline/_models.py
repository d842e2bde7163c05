"""From what the user calls a model to where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import InputError, UnknownNameError
from qnas_ov.core.hub import is_cached, is_hub_id
from qnas_ov.families import FAMILIES, MODELS, WEIGHTS_NAME, ModelEntry, Weights
from qnas_ov.pipeline._checkpoint import CheckpointSource, Repository
from qnas_ov.pipeline._file import FileSource
from qnas_ov.pipeline._module import MODULE_PREFIX
from qnas_ov.pipeline._source import Source
from qnas_ov.recipe import Recipe

_FILES = (".xml", ".onnx")


def find_source(recipe: Recipe) -> Source:
    """The source of the recipe's model: a registered name, a path, or an id of the Hugging Face hub.

    A folder that exists is taken as such, although its name may read like an id.

    Raises:
        UnknownNameError: If it is none of these.
        InputError: If there is no such file or folder, it was a torch module, or its weights are pickles.
    """
    model = recipe.model
    if model.startswith(MODULE_PREFIX):
        raise InputError(
            f"the model '{model}' was a torch module that was given from Python and cannot be loaded again: call "
            "qnas_ov.search with the same module (and resume=True to continue its run)"
        )
    if model not in MODELS and is_path(model):
        path = Path(model)
        if not path.exists():
            raise InputError(
                f"cannot open '{model}': there is no such file or folder; give an .xml, an .onnx, a Hugging Face "
                "folder, an id of the Hugging Face hub (owner/name), or a name of `qnas-ov models`"
            )
        return _checkpoint(recipe, path.name, path) if path.is_dir() else FileSource(path)
    if model not in MODELS and is_hub_id(model):
        return _checkpoint(recipe, model.split("/")[1], Repository(model, recipe.revision))
    try:
        entry = MODELS.get(model)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"{error}; a path (an .xml, an .onnx, a Hugging Face folder) or an id of the Hugging Face hub, owner/name, "
            "will do as well"
        ) from error
    return _checkpoint(recipe, entry.name, _place(entry.weights, recipe.revision), entry)


def _checkpoint(recipe: Recipe, name: str, place: Path | Repository, entry: ModelEntry | None = None) -> Source:
    return CheckpointSource(
        name=name,
        given=recipe.model,
        place=place,
        entry=entry,
        policy_only=recipe.policy_only,
        trust_remote_code=recipe.trust_remote_code,
    )


def _place(weights: Weights, revision: str | None) -> Path | Repository:
    if weights.folder is not None:
        return weights.folder
    assert weights.hub_id is not None
    return Repository(weights.hub_id, revision or weights.revision)


def check_revision(recipe: Recipe, commit: str | None) -> None:
    """Refuses a revision of what has none; `commit` is what the source was fetched at.

    Raises:
        InputError: If the recipe names a revision and nothing was fetched.
    """
    if commit is None and recipe.revision is not None:
        raise InputError(f"--revision is for models of the Hugging Face hub: '{recipe.model}' is here; leave it out")


def is_path(model: str) -> bool:
    """Whether `--model` names a file or folder rather than a registered model or an id of the hub."""
    if Path(model).suffix in _FILES or Path(model).exists():
        return True
    return "/" in model and not is_hub_id(model)


def model_defaults(model: object) -> Mapping[str, Any]:
    """Settings of a registered model that differ from the recipe's own defaults."""
    return MODELS.get(model).defaults if isinstance(model, str) and model in MODELS else {}


def list_models() -> list[dict[str, Any]]:
    """The registered models, as rows of a table; sizes in bytes, `cached` if nothing has to be fetched."""
    return [_row(MODELS.get(name)) for name in MODELS]


def _row(entry: ModelEntry) -> dict[str, Any]:
    weights = entry.weights
    cached = weights.hub_id is None or is_cached(weights.hub_id, revision=weights.revision, file=WEIGHTS_NAME)
    return {
        "name": entry.name,
        "family": entry.family,
        "searches": "architecture and policy" if entry.family in FAMILIES else "policy",
        "task": entry.task,
        "dataset": entry.data.name,
        "source": entry.source,
        "hub_id": weights.hub_id,
        "revision": weights.revision,
        "parameters": entry.parameters,
        "download_bytes": 0 if weights.hub_id is None else weights.size_bytes,
        "license": weights.license,
        "cached": cached,
    }
