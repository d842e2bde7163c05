"""Training a supernet: a registered model, or any checkpoint of a known family."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from qnas_ov.core.errors import InputError
from qnas_ov.core.files import write_json
from qnas_ov.core.fingerprint import digest_json
from qnas_ov.core.progress import Progress, Silent
from qnas_ov.deploy import read_companions
from qnas_ov.families import CONFIG_KEY, FAMILIES, WEIGHTS_NAME, Family, Supernet, read_json
from qnas_ov.measure import inference_precisions
from qnas_ov.pipeline._checkpoint import CheckpointSource
from qnas_ov.pipeline._data import load_task
from qnas_ov.pipeline._models import check_revision, find_source
from qnas_ov.pipeline._setup import norm_samples
from qnas_ov.pipeline._training_folder import TrainingFolder
from qnas_ov.recipe import build_recipe
from qnas_ov.space import Space
from qnas_ov.tasks import Split, Task
from qnas_ov.train import (
    AccuracyJudge,
    ElasticControl,
    Judge,
    Runtime,
    SimilarityJudge,
    Trainer,
    TrainProgress,
    TrainSettings,
    check_memory,
    choose_device,
    estimate_bytes,
    free_bytes,
    helps_bf16,
    score_subnetwork,
)

FROM_SCRATCH: Mapping[str, Any] = {
    "cycles": 2, "epochs": 60, "learning_rate": 1e-3, "num_random": 2, "teacher": False, "order": False
}  # fmt: skip
"""What differs from the defaults where weights are random: there is no teacher, nothing to order, much to learn."""

_JUDGED = 20


@dataclass(frozen=True)
class TrainResult:
    """Scores of the trained supernet on the validation split.

    Attributes:
        folder: Where the weights stand.
        registered: Where a shipped model's own weights stand; None for other models.
        score: What is scored: "accuracy", or the cosine to the embeddings before.
        largest: Of the largest network.
        smallest: Of the smallest.
        random_mean: Mean of 20 random subnetworks.
        command: Searches it on the same data.
    """

    folder: Path
    registered: Path | None
    score: str
    largest: float
    smallest: float
    random_mean: float
    command: str

    def to_json(self) -> dict[str, Any]:
        """The result as JSON."""
        registered = None if self.registered is None else str(self.registered)
        return {**asdict(self), "folder": str(self.folder), "registered": registered}


@dataclass(frozen=True)
class TrainOptions:
    """How a training is run.

    Attributes:
        init: Folder with weights to start from. None starts from the model's own, and for a model that is shipped as a
            supernet from random ones.
        from_scratch: Whether to start from random weights; then a folder need not hold any.
        device: "auto", "cpu", "cuda" or "xpu".
        bf16: Whether to use bf16 autocast; None where it helps.
        checkpoint_seconds: Least time between two checkpoints.
    """

    init: Path | None = None
    from_scratch: bool = False
    device: str = "auto"
    bf16: bool | None = None
    checkpoint_seconds: float = 30.0


@dataclass(frozen=True)
class _Start:
    """What is trained, on what, and how."""

    source: CheckpointSource
    family: Family
    supernet: Supernet
    task: Task
    settings: TrainSettings
    trained: bool


def split_settings(stated: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The names of `Recipe`, which say what is trained on what, and the others, which say how."""
    how = {name for name in stated if name in TrainSettings.__dataclass_fields__}
    return {k: v for k, v in stated.items() if k not in how}, {k: v for k, v in stated.items() if k in how}


def run_training(
    given: Mapping[str, Any],
    *,
    out: Path,
    settings: Mapping[str, Any] | None = None,
    options: TrainOptions | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """Trains a supernet and saves it as a Hugging Face folder that `qnas-ov search --model` takes.

    Args:
        given: The model and its data, by the names of `Recipe`.
        out: New folder for the weights; while training lasts, it holds a checkpoint.
        settings: Settings that differ from the model's own, by the names of `TrainSettings`.
        options: How to run it.
        resume: Continue the training that `out` holds, with its settings; the result is the same.
        progress: Where to tell what happens.

    Raises:
        QnasError: If the model is unknown or of no family, the data or the weights do not fit it, memory does not
            suffice, `out` exists, or a loss is not finite.
    """
    progress = progress or Silent()
    folder = TrainingFolder(out)
    asked = {"given": dict(given), "settings": dict(settings or {}), "options": _plain(options or TrainOptions())}
    request = folder.request(asked, resume=resume)
    if folder.result is not None:
        progress.say(f"the training in {out} is finished: nothing was trained")
        return _result(out, folder.result, request["given"])
    options = _options(request["options"])
    start = _start(request["given"], request["settings"], options, progress)
    runtime = _runtime(start, options, out, progress)
    inputs = {"config": start.supernet.config, "data": start.task.digests(), "settings": asdict(start.settings)}
    folder.begin(request, digest_json(inputs))
    samples = norm_samples(start.task.calibration)
    judge: Judge = AccuracyJudge(start.task.validation)
    if start.supernet.num_classes is None:
        judge = SimilarityJudge(start.supernet, start.task.validation)
    assert start.task.train is not None
    trainer = Trainer(
        start.supernet,
        start.task.train,
        start.settings,
        judge=judge,
        norm_samples=samples.inputs,
        trained=start.trained,
        runtime=runtime,
    )
    progress.say(f"{len(start.task.train)} samples to train on, {trainer.total_steps} steps")
    _train(trainer, given=request["given"], progress=progress, resume=resume)
    _save(start, out)
    scores = _judge(start.family.load(out), judge, samples, start.settings.seed)
    registered = start.source.folder if start.source.shipped else None
    result = {**scores, "score": judge.name, "registered": None if registered is None else str(registered)}
    folder.finish(result)
    return _result(out, result, request["given"])


def _runtime(start: _Start, options: TrainOptions, out: Path, progress: Progress) -> Runtime:
    """Where it runs; refuses what will not fit into memory."""
    device = choose_device(options.device)
    needed = estimate_bytes(start.supernet, _first(start.task.calibration), start.settings)
    check_memory(needed, free_bytes(device), start.settings)
    autocast = options.bf16
    if autocast is None:
        count = sum(p.numel() for p in start.supernet.model.parameters())
        autocast = helps_bf16(device, count, cpu_has_bf16="bf16" in inference_precisions("CPU"))
    progress.say(
        f"training on {device.type}{' in bf16' if autocast else ''} takes about {needed / 1e9:.1f} GB of memory"
    )
    return Runtime(device, autocast, out, options.checkpoint_seconds)


def _plain(options: TrainOptions) -> dict[str, Any]:
    return {**asdict(options), "init": None if options.init is None else str(options.init.resolve())}


def _options(stored: Mapping[str, Any]) -> TrainOptions:
    init = stored["init"]
    return TrainOptions(**{**stored, "init": None if init is None else Path(init)})


def _result(out: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> TrainResult:
    registered = stored["registered"]
    return TrainResult(
        out,
        None if registered is None else Path(registered),
        stored["score"],
        stored["largest"],
        stored["smallest"],
        stored["random_mean"],
        _search_command(out, given),
    )


def _search_command(out: Path, given: Mapping[str, Any]) -> str:
    words = ["qnas-ov", "search", "--model", str(out)]
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif name not in ("model", "revision") and value not in (None, False):
            words += [w for v in (value if isinstance(value, tuple | list) else [value]) for w in (option, str(v))]
    return shlex.join(words)


def _start(given: Mapping[str, Any], changes: Mapping[str, Any], options: TrainOptions, progress: Progress) -> _Start:
    """What is trained, how it is loaded, and its data."""
    recipe = build_recipe(dict(given))
    source = find_source(recipe)
    check_revision(recipe, source.fetch(progress))
    family = None
    if isinstance(source, CheckpointSource):
        family = source.known_family if options.from_scratch else source.family
    if not isinstance(source, CheckpointSource) or family is None:
        raise InputError(
            f"'{recipe.model}' cannot be trained: training needs a Hugging Face checkpoint of a known family "
            f"({', '.join(FAMILIES)}); search its INT8/float policy with `qnas-ov search --model {recipe.model}`"
        )
    if recipe.dataset is None and recipe.data is None and source.data is None:
        raise InputError(f"'{recipe.model}' has no data set of its own to train on: add --data or --dataset")
    if options.init is not None and options.from_scratch:
        raise InputError("--init gives weights to start from and --from-scratch takes random ones: leave one out")
    random = options.from_scratch or (source.shipped and options.init is None)
    base = source.training if source.shipped else (FROM_SCRATCH if random else {})
    if random and changes.get("teacher_epochs"):
        base = {**base, "teacher": True, "order": True}
    settings = TrainSettings().with_changes({**base, **changes})
    if random:
        source.build_afresh(settings.seed)
    elif options.init is not None:
        source.take(family.load(options.init))
    task, _ = load_task(source, recipe, train=True)
    if task.train is None:
        raise InputError(
            f"'{task.name}' has no training split: choose a data set that has one; an .npz may hold 'train', an array "
            "of bool, true for the samples to train on"
        )
    _check_data(source.supernet, task, recipe.model if options.init is None else str(options.init), settings)
    return _Start(source, family, source.supernet, task, settings, trained=not random)


def _check_data(supernet: Supernet, task: Task, model: str, settings: TrainSettings) -> None:
    assert task.train is not None
    wanted = {i.name: i.shape for i in supernet.inputs}
    found = dict(task.train.shapes)
    if found != wanted:
        raise InputError(
            f"the data set '{task.name}' must hold what '{model}' reads, {wanted}: it holds {found}; choose another"
        )
    if supernet.num_classes is None:
        if supernet.output == "logits":
            raise InputError(f"training needs a network that scores classes or embeds: '{model}' gives a number")
        if settings.teacher_epochs or not settings.teacher:
            raise InputError(
                f"'{model}' embeds, so that its subnetworks learn from the network as it is: leave --teacher-epochs, "
                "--no-teacher and --from-scratch out"
            )
    elif supernet.num_classes != len(task.labels):
        raise InputError(
            f"the data set '{task.name}' must have the classes of '{model}', {supernet.num_classes}: it has "
            f"{len(task.labels)}; choose another"
        )


def _first(split: Split) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array[:1]) for name, array in split.inputs.items()}


def _train(trainer: Trainer, *, given: Mapping[str, Any], progress: Progress, resume: bool) -> None:
    progress.begin(f"training {given['model']}", trainer.total_steps)
    told, before = "", 0

    def tell(state: TrainProgress) -> None:
        nonlocal told, before
        if state.scores is not None:
            told = ", ".join(f"{name} {score:.3f}" for name, score in state.scores.items())
        progress.step(f"loss {state.loss:.3f}{', ' + told if told else ''}", state.step - before)
        before = state.step

    try:
        trainer.run(tell, resume=resume)
    finally:
        progress.end()


def _save(start: _Start, out: Path) -> None:
    """The folder that `search` takes; weights of a shipped model are stored in half precision."""
    supernet, source = start.supernet, start.source
    half = source.shipped
    weights = {
        name: (tensor.to(torch.float16) if half and tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in supernet.model.state_dict().items()
    }
    trained = {**supernet.config.get(CONFIG_KEY, {}), "ordered": True}
    write_json(out / "config.json", {**supernet.config, CONFIG_KEY: trained})
    preprocessor = read_json(source.folder / "preprocessor_config.json") or supernet.preprocessor
    if preprocessor is not None:
        write_json(out / "preprocessor_config.json", preprocessor)
    for name, content in read_companions(source.folder).items():
        (out / name).write_bytes(content)
    part = out / f".{WEIGHTS_NAME}.part"
    save_file(weights, part, metadata={"format": "pt"})
    part.replace(out / WEIGHTS_NAME)


def _judge(stored: Supernet, judge: Judge, samples: Split, seed: int) -> dict[str, float]:
    """Scores of the weights as they are stored."""
    control, space = ElasticControl(stored), Space(stored.elastic.knobs())
    drawn = [space.decode(genotype) for genotype in space.sample(np.random.default_rng(seed), _JUDGED)]
    architectures = [
        stored.elastic.largest(),
        stored.elastic.smallest(),
        *({k: int(v) for k, v in values.items()} for values in drawn),
    ]
    scores = [score_subnetwork(stored, control, a, judge, samples.inputs) for a in architectures]
    return {"largest": scores[0], "smallest": scores[1], "random_mean": float(np.mean(scores[2:]))}
