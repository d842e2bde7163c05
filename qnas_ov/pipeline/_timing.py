"""Latency, throughput and memory of the finalists, in interleaved rounds: the reported part of the protocol."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qnas_ov.core.progress import Progress
from qnas_ov.core.records import Evaluation
from qnas_ov.measure import RoundPlan, estimate_median
from qnas_ov.pipeline._evaluate import Evaluator, Recorder
from qnas_ov.pipeline._setup import Setup
from qnas_ov.recipe import Recipe

if TYPE_CHECKING:
    from qnas_ov.pipeline._verify import Finalist

LATENCY, THROUGHPUT = "latency_ms", "throughput_per_s"

Rounds = Mapping[str, tuple[float, ...]]
"""Measured costs of one network by column: one value per round."""


class RoundTimer:
    """Times finalists in rounds; every run goes through the recorder, so that a resumed search repeats none."""

    def __init__(self, setup: Setup, evaluator: Evaluator, recorder: Recorder) -> None:
        self._evaluator = evaluator
        self._recorder = recorder
        self._timed = {LATENCY, *(o.column for o in setup.objectives if o.column == THROUGHPUT)}
        self._plan = final_plan(setup.recipe)

    def time(self, finalists: Sequence[Finalist], progress: Progress) -> dict[str, Rounds]:
        """Measures every finalist, in rounds until the plan is fulfilled.

        A finalist whose run fails gets no further ones; the failure is told, and what was measured before it counts.
        """
        by_name = {f.name: f for f in finalists}
        runs: dict[str, list[Evaluation]] = {f.name: [] for f in finalists}
        failed: set[str] = set()
        start, number = time.monotonic(), 0
        while names := self._wanted(runs, failed, time.monotonic() - start):
            progress.begin(f"timing, round {number + 1}", len(names))
            for name in names:
                run = self._time(by_name[name], number)
                tell_failure(run, progress)
                if run.ok:
                    runs[name].append(run)
                else:
                    failed.add(name)
                progress.step(f"{name} timed{told_source(run)}")
            number += 1
        progress.end()
        return at_typical_speed({name: found for name, found in runs.items() if found})

    def _wanted(self, runs: Mapping[str, list[Evaluation]], failed: set[str], spent_s: float) -> list[str]:
        """The finalists whose latency, or throughput where that is an objective, needs another round."""
        alive = {n: found for n, found in runs.items() if n not in failed}
        wanted: set[str] = set()
        for column in self._timed:
            values = {n: [r.values[column] for r in found] for n, found in alive.items()}
            wanted.update(self._plan.unfinished(values, spent_s))
        return [n for n in alive if n in wanted]

    def _time(self, finalist: Finalist, number: int) -> Evaluation:
        return self._recorder.once(
            "final-latency",
            {"network": finalist.name, "weights": finalist.weights, "round": number},
            candidate=finalist.name,
            genotype=finalist.genotype,
            measure=lambda: self._evaluator.measure_runtime(
                finalist.path, finalist.inference_precision, round_number=number
            ),
            required=finalist.baseline,
        )


def final_plan(recipe: Recipe) -> RoundPlan:
    """How many rounds the finalists of a search get."""
    return RoundPlan(
        minimum=recipe.final_rounds,
        maximum=max(recipe.final_rounds, recipe.latency_max_rounds),
        precision=recipe.latency_precision,
    )


def at_typical_speed(runs: Mapping[str, Sequence[Evaluation]]) -> dict[str, Rounds]:
    """Costs as at the machine's typical speed during the verification, not at that when the search began.

    Runs that were taken from the database tell nothing of the machine's speed now, unless there are no others.
    """
    records = [r.details["latency"] for found in runs.values() for r in found]
    fresh = [r for r in records if r["measured_at"] is None] or records
    if not fresh:
        return {}
    typical = statistics.median(r["gauge_ms"] for r in fresh)
    return {name: _columns(found, typical) for name, found in runs.items()}


def _columns(runs: Sequence[Evaluation], typical_ms: float) -> dict[str, tuple[float, ...]]:
    found: dict[str, list[float]] = {}
    for run in runs:
        latency = run.details["latency"]
        found.setdefault(LATENCY, []).append(latency["run"]["latency_ms"] * typical_ms / latency["gauge_ms"])
        if "throughput" in run.details:
            record = run.details["throughput"]
            value = record["run"]["throughput_per_s"] * record["gauge_ms"] / typical_ms
            found.setdefault(THROUGHPUT, []).append(value)
        if "memory_bytes" in run.values:
            found.setdefault("memory_bytes", []).append(run.values["memory_bytes"])
    return {column: tuple(values) for column, values in found.items()}


def summarise_rounds(rounds: Rounds) -> dict[str, float]:
    """The median of every column with its interval, and for latency the interval's coverage and the count."""
    values: dict[str, float] = {}
    for column, found in rounds.items():
        estimate = estimate_median(found)
        values |= {column: estimate.value, f"{column}_low": estimate.low, f"{column}_high": estimate.high}
        if column == LATENCY:
            values |= {"latency_coverage": estimate.coverage, "latency_rounds": estimate.count}
    return values


def tell_failure(evaluation: Evaluation, progress: Progress) -> None:
    """Says that a measurement failed, and why."""
    if not evaluation.ok:
        progress.say(f"{evaluation.candidate} failed and is left out: {evaluation.reason}")


def told_source(evaluation: Evaluation) -> str:
    """Says of a measured latency that it comes from the database, for the end of a line; nothing otherwise."""
    record: Mapping[str, Any] = evaluation.details.get("latency", {})
    return f" (latency from the database, measured {record['measured_at']})" if record.get("measured_at") else ""


def tell_disturbances(evaluations: Sequence[Evaluation], progress: Progress) -> None:
    """Says how many runs of benchmark_app, for latency and for throughput, something disturbed, and an instance."""
    records = [e.details[kind] for e in evaluations for kind in ("latency", "throughput") if kind in e.details]
    found = [r["disturbances"] for r in records if r.get("disturbances")]
    if found:
        progress.say(
            f"{len(found)} of {len(records)} runs of benchmark_app were disturbed, for instance: {found[0][0]}"
        )
