"""A run as its folder tells it: what pages are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from qnas_ov.core.records import Evaluation, Objective

INT8, W8, FLOAT = "int8", "w8", "float"


@dataclass(frozen=True)
class Unit:
    """A precision unit of `space.json`.

    Attributes:
        key: Its name.
        blocks: Logical blocks of its operations, "" for those in none.
        widths: Width knobs that scale its work.
    """

    key: str
    blocks: tuple[str, ...]
    widths: tuple[str, ...]


@dataclass(frozen=True)
class SearchSpace:
    """`space.json`.

    Attributes:
        metric: Column of the accuracy on validation data.
        objectives: What was optimised, in order.
        largest: Depth and width knobs with the values of the unsearched network.
        units: Precision units in network order.
        log10_candidates: Decimal logarithm of the number of genotypes.
        model: Name, source, licence and digest of the network, as far as they are recorded.
        data: Name, source, digests and sizes of the splits, as far as they are recorded.
        notes: What was done otherwise than one might expect, in sentences.
    """

    metric: str
    objectives: tuple[Objective, ...]
    largest: Mapping[str, int]
    units: tuple[Unit, ...]
    log10_candidates: float
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class NetworkRecord:
    """A candidate's architecture and policy, and what the device made of it.

    Attributes:
        architecture: Values of its depth and width knobs.
        policy: "int8", "w8" or "float" by unit.
        inference_precision: The hint.
        realised: Precision that each unit ran in; empty where it was not looked at.
        why: Why, for units that ran in another precision than asked for.
    """

    architecture: Mapping[str, int]
    policy: Mapping[str, str]
    inference_precision: str
    realised: Mapping[str, str] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PredictorRecord:
    """A predictor of `predictors.json`.

    Attributes:
        column: What it predicts.
        model: Its kind.
        num_training: Samples it was fitted on in the end.
        tau: Kendall's tau on left-out samples.
        mape: Mean absolute error there, as a share of the measured value.
        left_out: (measured, predicted) of samples left out in cross-validation.
        ahead: (measured, predicted) of candidates predicted before they were measured.
        ahead_tau: Kendall's tau on those, None if there are none.
        genes: By knob, how far its choices move the prediction, relative to its mean; empty if it is not recorded.
    """

    column: str
    model: str
    num_training: int
    tau: float
    mape: float
    left_out: tuple[tuple[float, float], ...]
    ahead: tuple[tuple[float, float], ...]
    ahead_tau: float | None
    genes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Limit:
    """A bound that the front had to keep: the option, the column, and its largest or (`at_least`) smallest value."""

    option: str
    column: str
    value: float
    at_least: bool

    def met(self, values: Mapping[str, float]) -> bool:
        """Whether measured values keep it."""
        return values[self.column] >= self.value if self.at_least else values[self.column] <= self.value


@dataclass(frozen=True)
class Run:
    """A run folder, read.

    Attributes:
        folder: Where, as it was given.
        recipe: `recipe.yaml`.
        machine: `machine.json`.
        space: `space.json`.
        evaluations: The journal.
        limits: Bounds that the front had to keep.
        version: Version of qnas-ov that searched, None if it is not recorded.
        front: `pareto.csv`, None if the run is not finished.
        baselines: `baselines.csv`, None if the run is not finished.
        predictors: `predictors.json`.
        networks: By front candidate, from its manifest; of an unfinished run by measured candidate, from the journal.
        stopped: Why the search ended, None if it has not, or if that is not recorded.
    """

    folder: Path
    recipe: Mapping[str, Any]
    machine: Mapping[str, Any]
    space: SearchSpace
    evaluations: tuple[Evaluation, ...]
    limits: tuple[Limit, ...]
    version: str | None
    front: pd.DataFrame | None
    baselines: pd.DataFrame | None
    predictors: tuple[PredictorRecord, ...]
    networks: Mapping[str, NetworkRecord]
    stopped: str | None = None

    @property
    def finished(self) -> bool:
        """Whether it has a verified front."""
        return self.front is not None

    @property
    def metric(self) -> str:
        """Column of the accuracy on validation data."""
        return self.space.metric

    @property
    def title(self) -> str:
        """For instance "digits-vit on CPU"."""
        return f"{self.space.model.get('name') or self.recipe.get('model')} on {self.recipe.get('device', 'CPU')}"

    @cached_property
    def searched(self) -> tuple[Evaluation, ...]:
        """The candidates of the search, in the order they were measured."""
        return tuple(e for e in self.evaluations if e.stage == "search")

    @cached_property
    def measured_baselines(self) -> tuple[Evaluation, ...]:
        """The unsearched network as it was measured before the search."""
        return tuple(e for e in self.evaluations if e.stage == "baseline" and e.ok)

    @property
    def measured(self) -> tuple[Evaluation, ...]:
        """The candidates of the search that could be measured."""
        return tuple(e for e in self.searched if e.ok)

    @property
    def num_beaten(self) -> int:
        """How many candidates of the search were judged on their first samples alone."""
        return sum("beaten_by" in e.details for e in self.measured)

    @property
    def failed(self) -> tuple[Evaluation, ...]:
        """What could not be measured, of every stage."""
        return tuple(e for e in self.evaluations if not e.ok)

    @property
    def measuring_seconds(self) -> float:
        """Time that all measurements took."""
        return float(sum(e.details.get("seconds", 0.0) for e in self.evaluations))

    def found_at(self, candidate: str) -> int | None:
        """The number of the evaluation that found a candidate, from 1 on; 0 for a baseline."""
        for number, evaluation in enumerate(self.searched, 1):
            if evaluation.candidate == candidate:
                return number
        return 0 if any(e.candidate == candidate for e in self.measured_baselines) else None
