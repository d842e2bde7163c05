"""A recipe: all settings of a search, validated, and read from YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qnas_ov.core.errors import InputError, unknown_name

_SHAPE = re.compile(r"([^\[\],]*)\[(-?\d+(?:,-?\d+)*)\]")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)")
_SHAPES = re.compile(rf"{_SHAPE.pattern}(?:,{_SHAPE.pattern})*")


_FLOATS = (
    "max_drop", "max_error", "max_latency_ms", "max_size_mb", "latency_seconds", "latency_precision", "time_limit",
)  # fmt: skip


class Recipe(BaseModel):
    """Settings of a search. Unknown keys are refused.

    Attributes:
        model: Name of a registered model, path of an .xml, an .onnx or a Hugging Face folder, or an id of the Hugging
            Face hub; "torch:CLASS:DIGEST" stands for a module that was given from Python.
        revision: Branch, tag or commit of a model on the hub, None for the usual one; a run records the commit.
        policy_only: Whether the architecture stays as it is, although its family is known.
        trust_remote_code: Whether a checkpoint's own Python code may run.
        device: OpenVINO device to measure on.
        dataset: Registered data set, or id of one on the Hugging Face hub; None takes the model's own.
        data: Path of a file or folder of samples, instead of a data set.
        metric: Name of a metric, or "package.module:function" of a user's own; None takes what suits the data.
        text_column: Columns of a table that hold the texts, one or two; guessed if left out.
        label_column: Column that holds the labels; guessed if left out.
        max_samples: Most samples of validation and of test.
        first_samples: Validation samples that a candidate of the search is judged on first; on the others only if it
            may still reach the front. None judges all on all.
        truncate: Whether texts that are longer than the network takes are cut.
        shape: Static shapes of inputs with dynamic axes, for instance "ids[1,128],mask[1,128]", or None.
        objectives: What to optimise, in this order.
        precisions: What a precision unit may run in: at least two of "int8", "w8" (INT8 weights only) and "float".
        merge_units: "block" gives all units of a logical block one precision, "none" searches each.
        evaluations: Candidates to measure in the search.
        algorithm: Search algorithm.
        population: Candidates of a round of `linas`, and of a generation of the evolutionary algorithms.
        inner_evaluations: Predictor evaluations per round of LINAS.
        time_limit: Seconds that candidates may be measured for, or None.
        stall: The search ends where this many candidates made the hypervolume grow by less than a thousandth; None
            never.
        max_drop: Largest loss of accuracy against the unsearched network in f32 (0.01 is one point), or None.
        max_error: Largest `output_error` (distance to the outputs of the float network), or None.
        max_latency_ms: Largest latency in milliseconds, or None.
        max_size_mb: Largest .bin in units of 10^6 bytes, or None.
        inference_precision: Precision that floating-point operations run in; "auto" lets the search choose.
        front_size: Candidates of the front that are recalibrated and verified.
        latency_seconds: Measuring time of one benchmark_app process on the reference network.
        final_rounds: benchmark_app processes per network in the final verification; the fewest, if more are added.
        latency_precision: Half the width of the interval of a verified latency, and of a throughput where that is an
            objective, relative to it, down to which processes are added (0.02 is 2%); None adds none.
        latency_max_rounds: Most processes per network in the final verification.
        warm_from: Run folder whose latencies predictions begin with: of another network or machine; of the same
            space also with its accuracies.
        seed: Seed of everything random.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: str
    revision: str | None = None
    policy_only: bool = False
    trust_remote_code: bool = False
    device: str = "CPU"
    dataset: str | None = None
    data: str | None = None
    metric: str | None = None
    text_column: tuple[str, ...] = Field((), max_length=2)
    label_column: str | None = None
    max_samples: int = Field(500, ge=8)
    first_samples: int | None = Field(128, ge=16)
    truncate: bool = False
    shape: str | None = None
    objectives: tuple[str, ...] = ("accuracy", "latency", "size")
    precisions: tuple[Literal["int8", "w8", "float"], ...] = ("int8", "float")
    merge_units: Literal["none", "block"] = "none"
    evaluations: int = Field(250, ge=8)
    algorithm: Literal["qnas", "linas", "random", "nsga2", "unsga3", "age", "moead", "ctaea", "ga", "cmaes"] = "qnas"
    population: int = Field(50, ge=4)
    inner_evaluations: int = Field(20_000, ge=100)
    time_limit: float | None = Field(None, gt=0)
    stall: int | None = Field(None, ge=4)
    max_drop: float | None = Field(None, ge=0, le=1)
    max_error: float | None = Field(None, gt=0)
    max_latency_ms: float | None = Field(None, gt=0)
    max_size_mb: float | None = Field(None, gt=0)
    inference_precision: Literal["auto", "f32", "bf16"] = "auto"
    front_size: int = Field(16, ge=1)
    latency_seconds: float = Field(0.3, gt=0, le=60)
    final_rounds: int = Field(3, ge=1)
    latency_precision: float | None = Field(None, gt=0, lt=1)
    latency_max_rounds: int = Field(15, ge=1)
    warm_from: str | None = None
    seed: int = Field(0, ge=0)

    def to_yaml(self) -> str:
        """The recipe as YAML that `load_recipe` reads back to the same recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def differences(self, other: Recipe) -> dict[str, tuple[Any, Any]]:
        """Settings that differ: name -> (here, in `other`)."""
        mine, theirs = self.model_dump(), other.model_dump()
        return {k: (v, theirs[k]) for k, v in mine.items() if v != theirs[k]}


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Reads the settings of a YAML file.

    Raises:
        InputError: If it cannot be read, is no YAML, or is no mapping of settings.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"cannot read the recipe '{path}': {reason}; give the path of a YAML file") from error
    except yaml.YAMLError as error:
        raise InputError(f"the recipe '{path}' is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"the recipe '{path}' must map settings to values: got {type(content).__name__}")
    return content


def build_recipe(settings: Mapping[str, Any], *, origin: str = "the settings") -> Recipe:
    """Validates settings.

    Args:
        settings: Values by name.
        origin: What the settings are called in an error.

    Raises:
        UnknownNameError: If a setting does not exist.
        InputError: If a value has the wrong type or lies outside its range.
    """
    merged = dict(settings)
    for name in merged:
        if name not in Recipe.model_fields:
            raise unknown_name(f"setting in {origin}", str(name), Recipe.model_fields)
    if isinstance(merged.get("text_column"), str):
        merged["text_column"] = (merged["text_column"],)
    for name in ("objectives", "precisions", "text_column"):
        if isinstance(merged.get(name), list):
            merged[name] = tuple(merged[name])
    if isinstance(merged.get("text_column"), tuple) and len(merged["text_column"]) > 2:
        raise InputError(
            f"texts stand in one column, pairs of texts in two: {origin} give {len(merged['text_column'])} "
            f"({', '.join(map(str, merged['text_column']))}); leave out some of --text-column"
        )
    for name in _FLOATS:
        if isinstance(merged.get(name), int) and not isinstance(merged[name], bool):
            merged[name] = float(merged[name])
    if isinstance(merged.get("time_limit"), str):
        merged["time_limit"] = parse_duration(merged["time_limit"])
    try:
        recipe = Recipe(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise InputError(f"{origin} must name a {name}: add --{name}, or '{name}:' in the recipe") from error
        raise InputError(f"'{name}' in {origin}: {first['msg']}; got {first['input']!r}") from error
    if len(set(recipe.precisions)) < max(2, len(recipe.precisions)):
        raise InputError(
            f"precisions in {origin} must be two or three different ones of int8, w8 and float: got "
            f"{', '.join(recipe.precisions) or 'none'}; give --precision once for each"
        )
    if recipe.warm_from is not None and recipe.algorithm != "qnas":
        raise InputError(
            f"warm_from in {origin} needs the algorithm qnas, which alone predicts from an earlier run: got "
            f"{recipe.algorithm}; leave out the one or the other"
        )
    parse_shapes(recipe.shape)
    if recipe.population > recipe.evaluations:
        raise InputError(
            f"population must be at most evaluations: got {recipe.population} and {recipe.evaluations}; "
            "lower the one or raise the other"
        )
    return recipe


def parse_duration(text: str) -> float:
    """Seconds, from "90s", "30m" or "1.5h".

    Raises:
        InputError: If the text does not read like that.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise InputError(f"--time-limit must read like 90s, 30m or 1.5h: got '{text}'")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def parse_shapes(text: str | None) -> dict[str, tuple[int, ...]]:
    """Shapes by input name, from "name[1,3,224,224],other[1,16]"; a shape without name, "[1,16]", is under "".

    Raises:
        InputError: If the text does not read like that.
    """
    if text is None:
        return {}
    if not _SHAPES.fullmatch(text):
        raise InputError(f"--shape must read like 'ids[1,128],mask[1,128]' or '[1,3,224,224]': got '{text}'")
    return {name: tuple(int(n) for n in dims.split(",")) for name, dims in _SHAPE.findall(text)}
