"""The records that travel along the spine: objectives, measurements, evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qnas_ov.core.errors import InputError, unknown_name

Direction = Literal["max", "min"]
Status = Literal["ok", "failed"]


@dataclass(frozen=True)
class Objective:
    """One quantity the search optimises.

    Attributes:
        name: The name on the command line, for instance "latency".
        column: The name with its unit, as it stands in tables, for instance "latency_ms".
        direction: Whether more ("max") or less ("min") of it is better.
        predicted: True if it is expensive to measure, so that the search predicts it; False if it is computed exactly.
    """

    name: str
    column: str
    direction: Direction
    predicted: bool


def metric_objective(metric: str) -> Objective:
    """The objective "accuracy" in the metric of a task, for instance the column `accuracy_top1`."""
    return Objective("accuracy", metric, "max", predicted=True)


ERROR_OBJECTIVE = Objective("error", "output_error", "min", predicted=True)
"""Distance of a network's outputs to those of the unsearched float network: sees what labels cannot."""

COST_OBJECTIVES: tuple[Objective, ...] = (
    Objective("latency", "latency_ms", "min", predicted=True),
    Objective("throughput", "throughput_per_s", "max", predicted=True),
    Objective("memory_bytes", "memory_bytes", "min", predicted=True),
    Objective("size", "size_bytes", "min", predicted=False),
    Objective("macs", "macs", "min", predicted=False),
    Objective("params", "params", "min", predicted=False),
)


def resolve_objectives(names: tuple[str, ...], *, metric: str) -> tuple[Objective, ...]:
    """Turns the names of the command line into objectives, in the order given.

    Raises:
        UnknownNameError: If a name is not an objective.
        InputError: If a name is given twice or there is none.
    """
    known = {o.name: o for o in (metric_objective(metric), ERROR_OBJECTIVE, *COST_OBJECTIVES)}
    for name in names:
        if name not in known:
            raise unknown_name("objective", name, known)
    if len(set(names)) != len(names):
        raise InputError(f"objectives must differ: got {', '.join(names)}; give each one once")
    if not names:
        raise InputError(
            f"a search needs an objective: got none; add --objective with one of {', '.join(sorted(known))}"
        )
    return tuple(known[name] for name in names)


@dataclass(frozen=True)
class Interval:
    """A value with its 95% confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """One measured (or failed) candidate, as the journal keeps it.

    Attributes:
        key: Digest of everything that determines the result; equal keys are never measured twice.
        stage: "search", "baseline" or "final".
        candidate: Short readable id, unique in a run, for instance "c017".
        genotype: Canonical genotype; empty for baselines that are not in the space.
        status: "ok", or "failed" with `reason`.
        values: Measured quantities by column name; empty if failed.
        details: What else was recorded (intervals, raw latencies, drift, times).
        reason: Why it failed.
    """

    key: str
    stage: str
    candidate: str
    genotype: tuple[int, ...]
    status: Status
    values: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.status == "ok":
            bad = [name for name, value in self.values.items() if not math.isfinite(value)]
            if bad or not self.values:
                raise ValueError(f"an evaluation with status ok needs finite values: {bad or 'none given'}")
        elif not self.reason or self.values:
            raise ValueError("a failed evaluation has a reason and no values")

    @property
    def ok(self) -> bool:
        """Whether it was measured."""
        return self.status == "ok"
