"""Training a supernet: a registered model, or any checkpoint of a known family."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from qnas_ov.core.errors import InputError
from qnas_ov.core.files import write_json
from qnas_ov.core.progress import Progress, Silent
from qnas_ov.families import CONFIG_KEY, FAMILIES, Family, Supernet, read_config, read_json
from qnas_ov.pipeline._checkpoint import CheckpointSource
from qnas_ov.pipeline._data import load_task
from qnas_ov.pipeline._models import check_revision, find_source
from qnas_ov.recipe import build_recipe
from qnas_ov.space import Space
from qnas_ov.tasks import Task
from qnas_ov.train import ElasticControl, TrainProgress, TrainSettings, evaluate_top1, train_supernet


@dataclass(frozen=True)
class TrainResult:
    """Accuracies on the validation split of the trained supernet.

    Attributes:
        folder: Where the weights stand.
        registered: Where a shipped model's own weights stand; None for other models.
        largest: Of the largest network.
        smallest: Of the smallest.
        random_mean: Mean of 20 random subnetworks.
    """

    folder: Path
    registered: Path | None
    largest: float
    smallest: float
    random_mean: float


def run_training(
    model: str,
    *,
    out: Path,
    settings: TrainSettings,
    init: Path | None = None,
    dataset: str | None = None,
    revision: str | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Trains a supernet and saves it as a Hugging Face folder that `qnas-ov search --model` takes.

    The weights are stored in half precision; accuracies are of the stored weights.

    Args:
        model: Name of a registered model, Hugging Face folder, or id of the Hugging Face hub.
        out: New folder for the weights.
        settings: How to train.
        init: Folder with weights to start from. None starts from the model's own, and for a model that is shipped as
            a supernet from random ones.
        dataset: Data to train on; None is a registered model's own.
        revision: Branch, tag or commit of a model on the hub.
        progress: Where to tell what happens.

    Raises:
        QnasError: If the model is unknown or of no family, the data do not fit it, `out` exists, or the weights in
            `init` do not fit.
    """
    progress = progress or Silent()
    if out.exists():
        raise InputError(f"--out '{out}' must not exist yet: choose a new folder")
    source, family, task = _resolve(model, dataset, revision, progress)
    if init is not None:
        supernet = family.load(init)
    elif source.shipped:
        supernet = family.build(read_config(source.folder), seed=settings.seed)
    else:
        supernet = source.supernet
    _check_data(supernet, task, model if init is None else str(init))
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"--out '{out}' cannot be made ({error.strerror}): choose another folder") from error
    progress.begin(f"training {model}", settings.cycles * settings.epochs)

    def tell(state: TrainProgress) -> None:
        progress.step(f"epoch {state.epoch} loss {state.loss:.3f}")

    trained = init is not None or not source.shipped
    assert task.train is not None
    try:
        train_supernet(supernet, task.train, settings, trained=trained, on_epoch=tell)
    except BaseException:
        out.rmdir()
        raise
    finally:
        progress.end()
    _save(supernet, out, read_json(source.folder / "preprocessor_config.json"))
    return _judge(family.load(out), task, out, source.folder if source.shipped else None, settings.seed)


def _resolve(
    model: str, dataset: str | None, revision: str | None, progress: Progress
) -> tuple[CheckpointSource, Family, Task]:
    """What is trained, how it is loaded, and its data."""
    recipe = build_recipe({"model": model, "dataset": dataset, "revision": revision})
    source = find_source(recipe)
    check_revision(recipe, source.fetch(progress))
    if not isinstance(source, CheckpointSource) or source.family is None:
        raise InputError(
            f"'{model}' cannot be trained: training needs a Hugging Face checkpoint of a known family "
            f"({', '.join(FAMILIES)}); search its INT8/float policy with `qnas-ov search --model {model}`"
        )
    if dataset is None and source.data is None:
        raise InputError(f"'{model}' has no data set of its own to train on: add --dataset")
    task, _ = load_task(source, recipe)
    if task.train is None:
        raise InputError(f"'{task.name}' has no training split: choose a data set that has one")
    return source, source.family, task


def _check_data(supernet: Supernet, task: Task, model: str) -> None:
    assert task.train is not None
    wanted = {i.name: i.shape for i in supernet.inputs}
    found = {name: array.shape[1:] for name, array in task.train.inputs.items()}
    if found != wanted:
        raise InputError(
            f"the data set '{task.name}' must hold what '{model}' reads, {wanted}: it holds {found}; choose another"
        )
    if supernet.num_classes != len(task.labels):
        raise InputError(
            f"the data set '{task.name}' must have the classes of '{model}', {supernet.num_classes}: it has "
            f"{len(task.labels)}; choose another"
        )


def _save(supernet: Supernet, out: Path, preprocessor: dict[str, Any] | None) -> None:
    weights = {name: tensor.to(torch.float16).contiguous() for name, tensor in supernet.model.state_dict().items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    trained = {**supernet.config.get(CONFIG_KEY, {}), "ordered": True}
    write_json(out / "config.json", {**supernet.config, CONFIG_KEY: trained})
    if preprocessor is not None:
        write_json(out / "preprocessor_config.json", preprocessor)


def _judge(stored: Supernet, task: Task, out: Path, registered: Path | None, seed: int) -> TrainResult:
    control, space = ElasticControl(stored), Space(stored.elastic.knobs())
    largest = evaluate_top1(stored, task.validation)
    with control.subnetwork(stored.elastic.smallest()):
        smallest = evaluate_top1(stored, task.validation)
    scores = []
    for genotype in space.sample(np.random.default_rng(seed), 20):
        with control.subnetwork({k: int(v) for k, v in space.decode(genotype).items()}):
            scores.append(evaluate_top1(stored, task.validation))
    return TrainResult(out, registered, largest, smallest, float(np.mean(scores)))
