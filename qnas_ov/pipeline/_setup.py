"""From settings to what a search works on; every error of the settings is found here, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from qnas_ov.core.errors import InputError
from qnas_ov.core.progress import Progress, Silent
from qnas_ov.core.records import Objective, resolve_objectives
from qnas_ov.families import MODELS
from qnas_ov.ir import Bank, CandidateBuilder, NormEstimator, Sample, Scheme, load_or_build_bank, load_or_collect_ranges
from qnas_ov.measure import check_device, inference_precisions, multiplies_int8_exactly
from qnas_ov.pipeline._data import load_task
from qnas_ov.pipeline._models import check_revision, find_source, is_path, model_defaults
from qnas_ov.pipeline._module import MODULE_PREFIX
from qnas_ov.pipeline._source import Source, SourceNetwork
from qnas_ov.recipe import Recipe, build_recipe, parse_shapes
from qnas_ov.tasks import Split, Task

LABEL_FREE_OBJECTIVES = ("error", "latency", "size")
"""Without labels the distance to the float network ranks candidates far better than agreement on few samples does."""


_NORM_BYTES, _LEAST_NORM_SAMPLES = 20_000_000, 16


@dataclass(frozen=True)
class Setup:
    """A checked request.

    Attributes:
        recipe: The resolved settings.
        source: The network.
        task: Its data and metric.
        objectives: What to optimise.
        precisions: Inference precisions that the search may use, cheapest first.
        baseline_precisions: All that the device has; baselines are measured in each.
    """

    recipe: Recipe
    source: Source
    task: Task
    objectives: tuple[Objective, ...]
    precisions: tuple[str, ...]
    baseline_precisions: tuple[str, ...]


def resolve(
    given: Mapping[str, Any],
    *,
    origin: str = "the settings",
    source: Source | None = None,
    progress: Progress | None = None,
) -> Setup:
    """Resolves explicit settings over the model's defaults and checks all of them; fetches the model if need be.

    Args:
        given: The settings.
        origin: What they are called in an error.
        source: The network that `model` names, where it cannot be found by name: a module given from Python.
        progress: Where to tell that something is fetched.

    Raises:
        QnasError: If something does not exist or does not fit.
    """
    recipe = build_recipe(_with_defaults(given, model_defaults(given.get("model"))), origin=origin)
    source = source or find_source(recipe)
    device = check_device(recipe.device)
    available = inference_precisions(device)
    if recipe.inference_precision not in ("auto", *available):
        raise InputError(
            f"inference precision '{recipe.inference_precision}' is not computed in hardware by {device} here: "
            f"choose auto or {' or '.join(available)}"
        )
    precisions = available if recipe.inference_precision == "auto" else (recipe.inference_precision,)
    commit = source.fetch(progress or Silent())
    check_revision(recipe, commit)
    task, recipe = load_task(source, recipe)
    recipe = canonical_recipe(recipe).model_copy(update={"revision": commit})
    if recipe.data is None:
        recipe = recipe.model_copy(update={"dataset": task.name})
    if not task.metric.labelled and "objectives" not in given:
        recipe = recipe.model_copy(update={"objectives": LABEL_FREE_OBJECTIVES})
    objectives = resolve_objectives(recipe.objectives, metric=task.metric.column)
    return Setup(recipe, source, task, objectives, precisions, available)


def canonical_recipe(recipe: Recipe) -> Recipe:
    """The recipe with the device as OpenVINO spells it and paths that hold in every folder."""
    update: dict[str, Any] = {"device": check_device(recipe.device)}
    if recipe.model not in MODELS and not recipe.model.startswith(MODULE_PREFIX) and is_path(recipe.model):
        update["model"] = str(Path(recipe.model).resolve())
    if recipe.data is not None:
        update["data"] = str(Path(recipe.data).resolve())
    if recipe.warm_from is not None:
        update["warm_from"] = str(Path(recipe.warm_from).resolve())
    return recipe.model_copy(update=update)


def _with_defaults(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    settings = {**defaults, **given}
    if "evaluations" in given and "population" not in given and isinstance(given["evaluations"], int):
        # A small budget shrinks the default population with it, so that some rounds are left to learn from.
        full = Recipe.model_fields["population"].default
        settings["population"] = max(4, min(int(defaults.get("population", full)), given["evaluations"] // 3))
    return settings


@dataclass(frozen=True)
class Network:
    """The network a search cuts candidates from."""

    source: SourceNetwork
    bank: Bank
    builder: CandidateBuilder
    calibration: tuple[Sample, ...]
    scheme: Scheme

    @property
    def largest(self) -> dict[str, int]:
        """The unsearched architecture; empty where only the policy is searched."""
        return self.source.elastic.largest()


def prepare_network(setup: Setup, progress: Progress) -> Network:
    """Loads the network as IR, and collects NNCF's statistics once (or takes them from the cache)."""
    recipe = setup.recipe
    if setup.source.order_channels(setup.task.calibration.inputs):
        progress.say("heads, neurons and channels are in order of their importance for the calibration samples")
    source = setup.source.open(parse_shapes(recipe.shape))
    progress.say(f"{setup.source.name} is in OpenVINO IR")
    samples = calibration_samples(setup.task)
    scheme = Scheme(transformer=source.transformer, half_range=not multiplies_int8_exactly())
    bank = load_or_build_bank(source.model, samples, scheme, cache=bank_cache())
    norms = _norm_estimator(setup, source, bank)
    ranges = load_or_collect_ranges(bank, source.elastic, samples, scheme, cache=bank_cache(), norms=norms)
    builder = CandidateBuilder(
        bank,
        source.elastic,
        inference_precisions=setup.precisions,
        scheme=scheme,
        precisions=recipe.precisions,
        merge_blocks=recipe.merge_units == "block",
        norms=norms,
        ranges=ranges,
    )
    origin = "collected NNCF statistics" if bank.collected else "took NNCF statistics from the cache"
    progress.say(
        f"{origin} on {len(samples)} samples: {len(bank.units)} precision units, "
        f"10^{builder.space.log10_size():.0f} candidates"
    )
    network = Network(source, bank, builder, samples, scheme)
    for note in (*setup.task.notes, *describe_limits(network)):
        progress.say(note)
    return network


def _norm_estimator(setup: Setup, source: SourceNetwork, bank: Bank) -> NormEstimator | None:
    if not source.norms:
        return None
    return NormEstimator(bank.source, source.elastic, source.norms, norm_samples(setup.task.calibration).inputs)


def describe_limits(network: Network) -> list[str]:
    """What was done otherwise than one might expect, each in a sentence."""
    found, searched = len(network.bank.units), len(network.builder.units)
    notes = {
        f"{found} precision units are merged by block into {searched}.": found != searched,
        "The graph works for a batch of 1 only: samples are judged one at a time.": network.source.batch_size == 1,
        "This CPU has neither VNNI nor AMX: INT8 weights use half their range, so that no sum overflows.": (
            network.scheme.half_range
        ),
    }
    return [*network.source.notes, *(note for note, holds in notes.items() if holds)]


def check_size_limit(setup: Setup, network: Network) -> None:
    """Refuses a size limit below the smallest candidate before anything is measured.

    Raises:
        InputError: With the smallest size there is.
    """
    limit = setup.recipe.max_size_mb
    if limit is None:
        return
    smallest = network.builder.genotype(
        architecture=network.source.elastic.smallest(), inference_precision=setup.precisions[0]
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


def norm_samples(split: Split) -> Split:
    """So many of a split that means over all their pixels or tokens are sure, and one pass over them needs little."""
    each = sum(array[0].nbytes for array in split.inputs.values())
    return split.thinned(max(_LEAST_NORM_SAMPLES, _NORM_BYTES // each))


def bank_cache() -> Path:
    """Folder in the user's cache where banks are kept."""
    return Path(platformdirs.user_cache_dir("qnas-ov")) / "banks"
