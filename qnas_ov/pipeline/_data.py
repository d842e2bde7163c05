"""The data that a network is measured on: registered sets, the user's files, data sets of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from qnas_ov.core.errors import InputError, UnknownNameError
from qnas_ov.families import DefaultData
from qnas_ov.pipeline._loading import SPLIT_SEED, Loader
from qnas_ov.pipeline._metric import check_metric, ignores_labels, pick_metric
from qnas_ov.pipeline._source import Source
from qnas_ov.recipe import Recipe, parse_shapes
from qnas_ov.tasks import TASKS, DataSource, Situation, Task, load_samples, open_data, open_hub


def load_task(source: Source, recipe: Recipe, *, train: bool = False) -> tuple[Task, Recipe]:
    """The data: the user's own, a registered data set, or one of the hub.

    Args:
        source: The network.
        recipe: What names the data.
        train: Whether what is kept for training is asked for.

    Returns:
        The task, and the recipe with the shape that the data ask for where the network leaves axes open.

    Raises:
        QnasError: If there are none, or they do not fit the network.
    """
    check_metric(recipe.metric)
    if recipe.data is not None and recipe.dataset is not None:
        raise InputError("--data and --dataset exclude each other: give one of them")
    if recipe.data is not None and Path(recipe.data).suffix != ".npz":
        data = open_data(Path(recipe.data), text_columns=recipe.text_column, label_column=recipe.label_column)
        return Loader(source, recipe, data, train=train).load()
    chosen = None if recipe.data is not None else _choose(source, recipe)
    name = None if chosen is None else chosen.name
    if chosen is not None and name not in TASKS:
        return Loader(source, recipe, _open_named(_whole(chosen) if train else chosen, recipe), train=train).load()
    if recipe.text_column or recipe.label_column or recipe.truncate:
        raise InputError("--text-column, --label-column and --truncate are for tables of texts: leave them out")
    if name is not None:
        return _judged(_check_fits(TASKS.get(name)(), source, recipe), source, recipe), recipe
    if recipe.data is None:
        raise InputError(f"'{source.name}' needs samples: add --data with a file or folder, or --dataset")
    return _judged(_load_arrays(source, recipe, Path(recipe.data)), source, recipe), recipe


def _choose(source: Source, recipe: Recipe) -> DefaultData | None:
    """The data set that is named, read as the model's own if it is that one; else the model's own."""
    own = source.data
    if recipe.dataset is None or (own is not None and own.name == recipe.dataset):
        return own
    return DefaultData(recipe.dataset)


def _whole(chosen: DefaultData) -> DefaultData:
    """All parts of a model's own data set: what it is measured on is held out by the data set itself."""
    return replace(chosen, split=None)


def _open_named(chosen: DefaultData, recipe: Recipe) -> DataSource:
    name = chosen.name
    if "/" not in name:
        try:
            TASKS.get(name)
        except UnknownNameError as error:
            raise UnknownNameError(
                f"{error}; an id of the hub (owner/name) will do as well, or a path with --data"
            ) from error
    elif Path(name).exists():
        raise InputError(f"--dataset takes a name or an id of the hub, and '{name}' is a path: give it with --data")
    return open_hub(
        name,
        text_columns=recipe.text_column,
        label_column=recipe.label_column,
        revision=chosen.revision,
        split=chosen.split,
        classes=chosen.classes,
    )


def _check_fits(task: Task, source: Source, recipe: Recipe) -> Task:
    """Checks that a registered data set holds what the network reads, and has its classes."""
    network = source.open(parse_shapes(recipe.shape))
    wanted = {i.name: tuple(i.shape) for i in network.inputs}
    found = {name: array.shape[1:] for name, array in task.test.inputs.items()}
    remedy = "give other data with --data or --dataset"
    if found != wanted:
        raise InputError(
            f"the data set '{task.name}' must hold what '{source.name}' reads, {_describe(wanted)}: it holds "
            f"{_describe(found)}; {remedy}"
        )
    if task.metric.labelled and network.num_classes != len(task.labels) and not ignores_labels(recipe.metric):
        scored = "scores none" if network.num_classes is None else f"scores {network.num_classes}"
        raise InputError(
            f"the data set '{task.name}' must have the classes of '{source.name}': it has {len(task.labels)} and the "
            f"network {scored}; {remedy}, or choose a --metric that needs no labels (agreement, cosine, fidelity)"
        )
    return task


def _describe(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"'{name}' {list(shape)}" for name, shape in shapes.items())


def _load_arrays(source: Source, recipe: Recipe, path: Path) -> Task:
    network = source.open(parse_shapes(recipe.shape))
    return load_samples(
        path,
        inputs={i.name: (i.shape, i.dtype) for i in network.inputs},
        num_classes=network.num_classes,
        labels=network.labels,
        seed=SPLIT_SEED,
    )


def _judged(task: Task, source: Source, recipe: Recipe) -> Task:
    """A task of arrays, judged as the recipe says, on as many samples as it says."""
    thinned = {name: getattr(task, name).thinned(recipe.max_samples) for name in ("validation", "test")}
    notes = tuple(
        f"{len(split)} of {len(getattr(task, name))} {name} samples are used (--max-samples)."
        for name, split in thinned.items()
        if len(split) < len(getattr(task, name))
    )
    task = replace(task, **thinned, notes=(*task.notes, *notes))
    if recipe.metric is None:
        return task
    network = source.open(parse_shapes(recipe.shape))
    labels = "classes" if task.validation.labels is not None and not ignores_labels(recipe.metric) else None
    situation = Situation(task.name, labels, network.num_classes)
    return replace(task, metric=pick_metric(recipe, situation, network, task.validation))
