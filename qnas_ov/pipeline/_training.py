"""Training a registered model's supernet from its configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from qnas_ov.core.errors import InputError
from qnas_ov.core.files import write_json
from qnas_ov.core.progress import Progress, Silent
from qnas_ov.families import FAMILIES, MODELS
from qnas_ov.space import Space
from qnas_ov.tasks import TASKS
from qnas_ov.train import ElasticControl, TrainProgress, TrainSettings, evaluate_top1, train_supernet


@dataclass(frozen=True)
class TrainResult:
    """Accuracies on the validation split of the trained supernet.

    Attributes:
        folder: Where the weights stand.
        registered: Where the registered model's own weights stand.
        largest: Of the largest network.
        smallest: Of the smallest.
        random_mean: Mean of 20 random subnetworks.
    """

    folder: Path
    registered: Path
    largest: float
    smallest: float
    random_mean: float


def run_training(
    model: str,
    *,
    out: Path,
    settings: TrainSettings,
    init: Path | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Trains a registered model's supernet and saves it as a Hugging Face folder.

    The weights are stored in half precision; accuracies are of the stored weights.

    Args:
        model: Its name.
        out: New folder for the weights.
        settings: How to train.
        init: Folder with weights to start from; None starts from random ones.
        progress: Where to tell what happens.

    Raises:
        QnasError: If the model is unknown, `out` exists, or the weights in `init` do not fit.
    """
    progress = progress or Silent()
    entry = MODELS.get(model)
    if out.exists():
        raise InputError(f"--out '{out}' must not exist yet: choose a new folder")
    task = TASKS.get(entry.task)()
    if task.train is None:
        raise InputError(f"'{entry.task}' has no training split: choose a model whose data set has one")
    config = json.loads((entry.folder / "config.json").read_text())
    family = FAMILIES.get(entry.family)
    supernet = family.build(config, seed=settings.seed) if init is None else family.load(init)
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"--out '{out}' cannot be made ({error.strerror}): choose another folder") from error
    progress.begin(f"training {model}", settings.cycles * settings.epochs)

    def tell(state: TrainProgress) -> None:
        progress.step(f"epoch {state.epoch} loss {state.loss:.3f}")

    try:
        train_supernet(supernet, task.train, settings, trained=init is not None, on_epoch=tell)
    except BaseException:
        out.rmdir()
        raise
    finally:
        progress.end()
    weights = {name: tensor.to(torch.float16).contiguous() for name, tensor in supernet.model.state_dict().items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    write_json(out / "config.json", config)
    processor = entry.folder / "preprocessor_config.json"
    if processor.exists():
        write_json(out / "preprocessor_config.json", json.loads(processor.read_text()))
    stored = family.load(out)
    control, space = ElasticControl(stored), Space(stored.elastic.knobs())
    largest = evaluate_top1(stored, task.validation)
    with control.subnetwork(stored.elastic.smallest()):
        smallest = evaluate_top1(stored, task.validation)
    scores = []
    for genotype in space.sample(np.random.default_rng(settings.seed), 20):
        with control.subnetwork({k: int(v) for k, v in space.decode(genotype).items()}):
            scores.append(evaluate_top1(stored, task.validation))
    return TrainResult(out, entry.folder, largest, smallest, float(np.mean(scores)))
