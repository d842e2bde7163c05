"""From settings to what a search works on; every error of the settings is found here, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from qnas_ov.core.errors import InputError
from qnas_ov.core.progress import Progress
from qnas_ov.core.records import Objective, resolve_objectives
from qnas_ov.families import FAMILIES, MODELS, Family, ModelEntry, Supernet
from qnas_ov.ir import INT8, Bank, CandidateBuilder, Sample, export_supernet, load_or_build_bank
from qnas_ov.measure import check_device, inference_precisions
from qnas_ov.recipe import Recipe, build_recipe
from qnas_ov.tasks import TASKS, Task


@dataclass(frozen=True)
class Setup:
    """A checked request.

    Attributes:
        recipe: The resolved settings.
        entry: The model.
        family: Its family.
        task: Its data and metric.
        objectives: What to optimise.
        precisions: Inference precisions that the search may use, cheapest first.
        baseline_precisions: All that the device has; baselines are measured in each.
    """

    recipe: Recipe
    entry: ModelEntry
    family: Family
    task: Task
    objectives: tuple[Objective, ...]
    precisions: tuple[str, ...]
    baseline_precisions: tuple[str, ...]


def resolve(given: Mapping[str, Any], *, origin: str = "the settings") -> Setup:
    """Resolves explicit settings over the model's defaults and checks all of them.

    Raises:
        QnasError: If something does not exist or does not fit.
    """
    recipe = build_recipe(given, origin=origin) if "model" not in given else _with_defaults(given, origin)
    entry = MODELS.get(recipe.model)
    device = check_device(recipe.device)
    available = inference_precisions(device)
    if recipe.inference_precision not in ("auto", *available):
        raise InputError(
            f"inference precision '{recipe.inference_precision}' is not computed in hardware by {device} here: "
            f"choose auto or {' or '.join(available)}"
        )
    precisions = available if recipe.inference_precision == "auto" else (recipe.inference_precision,)
    task = TASKS.get(recipe.dataset or entry.task)()
    recipe = recipe.model_copy(update={"device": device, "dataset": task.name})
    objectives = resolve_objectives(recipe.objectives, metric=task.metric.column)
    return Setup(recipe, entry, FAMILIES.get(entry.family), task, objectives, precisions, available)


def _with_defaults(given: Mapping[str, Any], origin: str) -> Recipe:
    defaults: Mapping[str, Any] = MODELS.get(given["model"]).defaults if isinstance(given["model"], str) else {}
    settings = {**defaults, **given}
    if "evaluations" in given and "population" not in given and isinstance(given["evaluations"], int):
        # A small budget shrinks the default population with it, so that some rounds are left to learn from.
        full = Recipe.model_fields["population"].default
        settings["population"] = max(4, min(int(defaults.get("population", full)), given["evaluations"] // 3))
    return build_recipe(settings, origin=origin)


@dataclass(frozen=True)
class Network:
    """The network a search cuts candidates from."""

    supernet: Supernet
    bank: Bank
    builder: CandidateBuilder
    calibration: tuple[Sample, ...]
    shapes: dict[str, list[int]]


def prepare_network(setup: Setup, progress: Progress) -> Network:
    """Loads the supernet, exports it, and collects NNCF's statistics once (or takes them from the cache)."""
    supernet = setup.family.load(setup.entry.folder)
    model = export_supernet(supernet)
    progress.say(f"exported {setup.entry.name} to OpenVINO IR")
    samples = calibration_samples(setup.task)
    bank = load_or_build_bank(model, samples, transformer=supernet.transformer, cache=bank_cache())
    builder = CandidateBuilder(
        bank, supernet.elastic, inference_precisions=setup.precisions, transformer=supernet.transformer
    )
    origin = "collected NNCF statistics" if bank.collected else "took NNCF statistics from the cache"
    progress.say(
        f"{origin} on {len(samples)} samples: {len(bank.units)} precision units, "
        f"10^{builder.space.log10_size():.0f} candidates"
    )
    shapes = {s.name: [1, *s.shape] for s in supernet.inputs}
    return Network(supernet, bank, builder, samples, shapes)


def check_size_limit(setup: Setup, network: Network) -> None:
    """Refuses a size limit below the smallest candidate before anything is measured.

    Raises:
        InputError: With the smallest size there is.
    """
    limit = setup.recipe.max_size_mb
    if limit is None:
        return
    smallest = network.builder.genotype(
        architecture=network.supernet.elastic.smallest(), precision=INT8, inference_precision=setup.precisions[0]
    )
    size = float(network.builder.compute_costs(np.array([smallest]))["size_bytes"][0]) / 1e6
    if size > limit:
        raise InputError(
            f"no candidate meets --max-size-mb {limit:g}: the smallest one has {size:.3f} MB; "
            "raise the limit to at least that"
        )


def calibration_samples(task: Task) -> tuple[Sample, ...]:
    """The calibration split, one sample per item with a batch axis of 1."""
    split = task.calibration
    return tuple({name: array[i : i + 1] for name, array in split.inputs.items()} for i in range(len(split)))


def bank_cache() -> Path:
    """Folder in the user's cache where banks are kept."""
    return Path(platformdirs.user_cache_dir("qnas-ov")) / "banks"


def list_models() -> list[dict[str, str]]:
    """The registered models, as rows of a table."""
    entries = [MODELS.get(name) for name in MODELS]
    return [
        {"name": e.name, "family": e.family, "task": e.task, "license": e.license, "source": e.source} for e in entries
    ]
