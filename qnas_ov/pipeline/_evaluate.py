"""Measures candidates, each once, and writes each into the journal the moment it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from qnas_ov.core.errors import GraphError, MeasurementError, ReferenceMeasurementError
from qnas_ov.core.fingerprint import digest_json
from qnas_ov.core.records import ERROR_OBJECTIVE, Evaluation
from qnas_ov.ir import FLOAT, INT8, save_ir
from qnas_ov.journal import Journal
from qnas_ov.measure import (
    REPORT,
    SEARCH,
    Latency,
    LatencyDatabase,
    LatencyMeter,
    Profile,
    RunSettings,
    measure_size,
)
from qnas_ov.pipeline._race import Race
from qnas_ov.pipeline._scorer import Scorer, Scores
from qnas_ov.pipeline._setup import Network, Setup
from qnas_ov.space import Genotype

ANCHOR = "latency_anchor_ms"
BEATEN_BY = "beaten_by"
MARGINS = "margins"


class Recorder:
    """Looks results up in the journal before anything is measured, and appends what is measured."""

    def __init__(self, journal: Journal, run_digest: str) -> None:
        self.journal = journal
        self._run_digest = run_digest
        self._known = {e.key: e for e in journal.evaluations()}
        self.reused = 0

    def count(self, stage: str) -> int:
        """How many evaluations of a stage are recorded."""
        return sum(e.stage == stage for e in self._known.values())

    def once(
        self,
        stage: str,
        identity: Mapping[str, Any],
        *,
        candidate: str,
        genotype: Genotype,
        measure: Callable[[], tuple[dict[str, float], dict[str, Any]]],
        required: bool = False,
    ) -> Evaluation:
        """The recorded evaluation of that identity, or a new one by `measure`, recorded as ok or as failed.

        Raises:
            ReferenceMeasurementError: If `required` is set and measuring fails; this is not recorded, so that a resumed
                run tries again.
        """
        key = digest_json({"run": self._run_digest, "stage": stage, **identity})
        if key in self._known:
            self.reused += 1
            return self._known[key]
        start = time.monotonic()
        try:
            values, details = measure()
            details["seconds"] = round(time.monotonic() - start, 3)
            evaluation = Evaluation(key, stage, candidate, genotype, "ok", values, details)
        except MeasurementError as error:
            if required:
                raise ReferenceMeasurementError(
                    f"the unsearched network could not be measured as {candidate}: {error}; run again with --resume"
                ) from error
            seconds = round(time.monotonic() - start, 3)
            evaluation = Evaluation(
                key, stage, candidate, genotype, "failed", details={"seconds": seconds}, reason=str(error)
            )
        self.journal.append(evaluation)
        self._known[key] = evaluation
        return evaluation


@dataclass(frozen=True)
class Baseline:
    """The unsearched network in one precision.

    Attributes:
        name: For instance "int8-bf16": all-INT8 under the bf16 hint.
        inference_precision: The hint.
        model: Its IR.
        genotype: Its genotype if it is a candidate of the space, else ().
    """

    name: str
    inference_precision: str
    model: ov.Model
    genotype: Genotype


class Evaluator:
    """Builds and measures candidates of one search."""

    def __init__(
        self,
        setup: Setup,
        network: Network,
        recorder: Recorder,
        work: Path,
        *,
        database: LatencyDatabase | None = None,
    ) -> None:
        self._setup = setup
        self._network = network
        self._recorder = recorder
        self._work = work
        self._database = database
        self._meter: LatencyMeter | None = None
        self._columns = {o.column for o in setup.objectives}
        validation, first = setup.task.validation, setup.recipe.first_samples
        self._parts = (validation,) if first is None else validation.parted(first)
        self.scorer = Scorer(setup, network)

    @property
    def meter(self) -> LatencyMeter:
        """The latency meter; its first use measures the reference network: the unsearched one, all INT8."""
        if self._meter is None:
            journal = self._recorder.journal
            self._meter = LatencyMeter(
                save_ir(self._network.bank.int8, self._work / "reference.xml"),
                self._run_settings(self._setup.precisions[0]),
                seconds=self._setup.recipe.latency_seconds,
                anchor_ms=journal.meta(ANCHOR),
                database=self._database,
            )
            journal.set_meta(ANCHOR, self._meter.anchor_ms)
        return self._meter

    @property
    def from_database(self) -> int:
        """How many benchmark_app runs were taken from the database of latencies."""
        return 0 if self._meter is None else self._meter.from_database

    def _run_settings(self, inference_precision: str, hint: str = "latency") -> RunSettings:
        return RunSettings(
            device=self._setup.recipe.device,
            shapes=self._network.source.shapes,
            inference_precision=inference_precision,
            hint=hint,
        )

    def measure_latency(
        self, model: Path, inference_precision: str, *, hint: str = "latency", round_number: int | None = None
    ) -> Latency:
        """Latency by one benchmark_app process.

        Args:
            model: The .xml.
            inference_precision: The hint for floating-point operations.
            hint: "latency" or "throughput".
            round_number: Which round of the final verification it is for; None for the search.
        """
        settings = self._run_settings(inference_precision, hint)
        if round_number is None:
            return self.meter.measure(model, settings, purpose=SEARCH)
        # Rounds repeat it anyway, so that no run of them needs to be repeated by itself.
        return self.meter.measure(model, settings, purpose=REPORT, attempts=1, position=round_number)

    def profile(self, model: Path, inference_precision: str) -> Profile:
        """Where the time of an .xml goes under an inference precision.

        Raises:
            MeasurementError: If the device gives no counters.
        """
        return self.meter.profile(model, self._run_settings(inference_precision))

    def measure_runtime(
        self, model: Path, inference_precision: str, *, round_number: int | None = None
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Latency, and throughput and peak memory where they are objectives; arguments are those of `measure_latency`.

        Returns:
            Values by column, and the records of the runs.

        Raises:
            MeasurementError: If benchmark_app gives no number.
        """
        latency = self.measure_latency(model, inference_precision, round_number=round_number)
        values, records = {"latency_ms": latency.latency_ms}, {"latency": latency.to_json()}
        if "memory_bytes" in self._columns:
            if latency.run.memory_bytes is None:
                raise MeasurementError("this kernel does not tell a process's peak memory")
            values["memory_bytes"] = float(latency.run.memory_bytes)
        if "throughput_per_s" in self._columns:
            found = self.measure_latency(model, inference_precision, hint="throughput", round_number=round_number)
            values["throughput_per_s"] = found.throughput_per_s
            records["throughput"] = found.to_json()
        return values, records

    def measure(self, genotype: Genotype, race: Race) -> Evaluation:
        """Measures one candidate of the search, or recalls it; the race tells whether it is worth all samples."""
        name = f"c{self._recorder.count('search') + 1:03d}"
        evaluation = self._recorder.once(
            "search",
            {"genotype": list(genotype)},
            candidate=name,
            genotype=genotype,
            measure=lambda: self._measure_candidate(genotype, name, race),
        )
        if BEATEN_BY not in evaluation.details:
            race.add(evaluation)
        return evaluation

    def _measure_candidate(self, genotype: Genotype, name: str, race: Race) -> tuple[dict[str, float], dict[str, Any]]:
        candidate = self._network.builder.candidate(genotype)
        start = time.monotonic()
        try:
            model = self._network.builder.build(candidate)
        except (GraphError, RuntimeError) as error:
            raise MeasurementError(f"the network cannot be built: {str(error).strip().splitlines()[-1]}") from error
        build_seconds = time.monotonic() - start
        values, details = self.measure_ir(
            model, name, candidate.inference_precision, computed=self.macs_and_params(genotype), race=race
        )
        return values, {**details, **candidate.to_json(), "build_seconds": round(build_seconds, 4)}

    def macs_and_params(self, genotype: Genotype) -> dict[str, float]:
        """Computed costs of a genotype."""
        costs = self._network.builder.compute_costs(np.array([genotype]))
        return {name: float(costs[name][0]) for name in ("macs", "params")}

    def measure_ir(
        self,
        model: ov.Model,
        name: str,
        inference_precision: str,
        *,
        computed: Mapping[str, float],
        race: Race | None = None,
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Latency, size and accuracy of an IR: on the validation split, or on its first part where that is enough.

        Args:
            model: The IR.
            name: What its file is called meanwhile.
            inference_precision: The hint for floating-point operations.
            computed: Its computed costs by column.
            race: Tells by the first part whether the others are worth it; without one they are.

        Returns:
            Values by column, and what else was recorded: where a part was enough, also what beat it.
        """
        beaten_by: str | None = None
        path = save_ir(model, self._work / f"{name}.xml")
        try:
            runtime, records = self.measure_runtime(path, inference_precision)
            sizes = measure_size(path)
            costs = {**runtime, "size_bytes": float(sizes["size_bytes"]), **computed}

            def promising(scores: Scores) -> bool:
                nonlocal beaten_by
                beaten_by = None if race is None else race.beaten_by(scores, costs)
                return beaten_by is None

            scores = self.scorer.score_while(path, self._parts, inference_precision, promising)
        finally:
            path.unlink(missing_ok=True)
            path.with_suffix(".bin").unlink(missing_ok=True)
        judged = {self._setup.task.metric.column: scores.value, ERROR_OBJECTIVE.column: float(scores.error.mean())}
        details = {**records, "topology_bytes": sizes["topology_bytes"], "num_samples": scores.num_samples}
        margins = scores.margins()
        if margins is not None:
            details[MARGINS] = [float(f"{m:.3g}") for m in margins]
        return {**judged, **costs}, details if beaten_by is None else {**details, BEATEN_BY: beaten_by}

    def baselines(self) -> list[Baseline]:
        """The unsearched network in floating point and all-INT8, under every inference precision of the device."""
        largest = self._network.largest
        found = []
        for precision in reversed(self._setup.baseline_precisions):
            for label, unit_precision in ((f"float-{precision}", FLOAT), (f"int8-{precision}", INT8)):
                genotype: Genotype = ()
                searched = INT8 in self._setup.recipe.precisions and precision in self._setup.precisions
                if unit_precision == INT8 and searched:
                    genotype = self._network.builder.genotype(
                        architecture=largest, precision=INT8, inference_precision=precision
                    )
                model = self._network.bank.int8 if unit_precision == INT8 else self._network.bank.source
                found.append(Baseline(label, precision, model, genotype))
        return found

    def measure_baseline(self, baseline: Baseline) -> Evaluation:
        """Measures one baseline as candidates are measured, or recalls it."""

        def measure() -> tuple[dict[str, float], dict[str, Any]]:
            whole = self._network.builder.genotype(
                architecture=self._network.largest, inference_precision=self._setup.precisions[0]
            )
            return self.measure_ir(
                baseline.model, baseline.name, baseline.inference_precision, computed=self.macs_and_params(whole)
            )

        return self._recorder.once(
            "baseline",
            {"baseline": baseline.name},
            candidate=baseline.name,
            genotype=baseline.genotype,
            measure=measure,
            required=True,
        )
