"""The end of a search: the front is recalibrated, judged on data that the search never saw, and measured again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qnas_ov.core.fingerprint import digest_file
from qnas_ov.core.progress import Progress
from qnas_ov.core.records import ERROR_OBJECTIVE, Evaluation
from qnas_ov.ir import INT8, Candidate, save_ir
from qnas_ov.measure import measure_size, realised_precisions
from qnas_ov.pipeline._evaluate import Baseline, Evaluator, Recorder
from qnas_ov.pipeline._setup import Network, Setup
from qnas_ov.pipeline._timing import RoundTimer, summarise_rounds, tell_failure
from qnas_ov.space import Genotype


@dataclass(frozen=True)
class Finalist:
    """A network of the final verification: a baseline, or a front candidate on its own calibration.

    Attributes:
        name: Its id.
        inference_precision: Its hint.
        path: Its saved IR.
        genotype: Its genotype, () for baselines outside the space.
        candidate: Its architecture and policy, None for baselines outside the space.
        costs: MACs and parameters.
        weights: SHA-256 of its .bin: results of other weights do not count for it.
        baseline: Whether it is the unsearched network.
    """

    name: str
    inference_precision: str
    path: Path
    genotype: Genotype
    candidate: Candidate | None
    costs: dict[str, float]
    weights: str
    baseline: bool


@dataclass(frozen=True)
class Verified:
    """What the verification measured of a finalist.

    Attributes:
        finalist: The network.
        values: Its row in the tables.
        rounds: Latency, and other measured costs, by column: one value per round.
        evidence: What paired tests on test data are made of, see `Metric.evidence`.
        realised: Precision that each unit really ran in; empty for baselines outside the space.
        fallbacks: Why, for units that ran in another precision than asked for.
    """

    finalist: Finalist
    values: dict[str, float]
    rounds: Mapping[str, tuple[float, ...]]
    evidence: np.ndarray
    realised: dict[str, str]
    fallbacks: dict[str, str]


class Verifier:
    """Verifies finalists; every measurement goes through the recorder, so that a resumed run repeats none."""

    def __init__(self, setup: Setup, network: Network, evaluator: Evaluator, recorder: Recorder, work: Path) -> None:
        self._setup = setup
        self._network = network
        self._evaluator = evaluator
        self._recorder = recorder
        self._work = work

    def baseline_finalist(self, baseline: Baseline, measured: Evaluation) -> Finalist:
        """A baseline as it is; calibrating it afresh would give the same network."""
        path = save_ir(baseline.model, self._work / f"{baseline.name}.xml")
        return Finalist(
            name=baseline.name,
            inference_precision=baseline.inference_precision,
            path=path,
            genotype=baseline.genotype,
            candidate=self._network.builder.candidate(baseline.genotype) if baseline.genotype else None,
            costs=_costs(measured),
            weights=digest_file(path.with_suffix(".bin")),
            baseline=True,
        )

    def candidate_finalist(self, measured: Evaluation) -> Finalist:
        """A front candidate, calibrated afresh on its own graph."""
        candidate = self._network.builder.candidate(measured.genotype)
        path = self._work / f"{measured.candidate}-final.xml"
        model = self._network.builder.recalibrate(candidate, self._network.calibration)
        model.set_rt_info(json.dumps(candidate.to_json(), sort_keys=True), ["qnas_ov", "candidate"])
        save_ir(model, path)
        return Finalist(
            name=measured.candidate,
            inference_precision=candidate.inference_precision,
            path=path,
            genotype=measured.genotype,
            candidate=candidate,
            costs=_costs(measured),
            weights=digest_file(path.with_suffix(".bin")),
            baseline=False,
        )

    def verify(self, finalists: Sequence[Finalist], progress: Progress) -> list[Verified]:
        """Judges all finalists on validation and test data, then measures latency in interleaved rounds.

        A candidate of which a measurement fails is left out and the failure told; it stands in the journal.
        """
        progress.begin("verifying on test data", len(finalists))
        judged = {}
        for f in finalists:
            judged[f.name] = self._judge(f)
            tell_failure(judged[f.name], progress)
            progress.step(f"{f.name} judged on test data")
        progress.end()
        rounds = RoundTimer(self._setup, self._evaluator, self._recorder).time(finalists, progress)
        return [
            self._summarise(f, judged[f.name], rounds[f.name])
            for f in finalists
            if judged[f.name].ok and rounds.get(f.name)
        ]

    def _judge(self, finalist: Finalist) -> Evaluation:
        column = self._setup.task.metric.column

        def measure() -> tuple[dict[str, float], dict[str, Any]]:
            task = self._setup.task
            splits = (task.validation, task.test)
            validation, test = self._evaluator.scorer.score(finalist.path, splits, finalist.inference_precision)
            error = ERROR_OBJECTIVE.column
            values = {
                column: validation.value,
                f"test_{column}": test.value,
                error: float(validation.error.mean()),
                f"test_{error}": float(test.error.mean()),
                "size_bytes": float(measure_size(finalist.path)["size_bytes"]),
            }
            evidence = {"validation": validation.evidence().tolist(), "test": test.evidence().tolist()}
            return values, {"evidence": evidence, **self._realised(finalist)}

        return self._recorder.once(
            "final",
            {"network": finalist.name, "weights": finalist.weights},
            candidate=finalist.name,
            genotype=finalist.genotype,
            measure=measure,
            required=finalist.baseline,
        )

    def _realised(self, finalist: Finalist) -> dict[str, dict[str, str]]:
        """The precision of every unit, and why it is not the one asked for where it is not."""
        realised: dict[str, str] = {}
        fallbacks: dict[str, str] = {}
        if finalist.candidate is not None:
            found = realised_precisions(
                finalist.path,
                device=self._setup.recipe.device,
                inference_precision=finalist.inference_precision,
                shapes=self._network.source.shapes,
            )
            builder = self._network.builder
            units = {u.key: u for u in builder.units}
            for key, wanted in finalist.candidate.policy.items():
                operations = builder.deciding(units[key], finalist.candidate.architecture)
                realised[key] = found.of(operations)
                if realised[key] != (INT8 if wanted == INT8 else finalist.inference_precision):
                    fallbacks[key] = found.explain(operations)
        return {"realised": realised, "fallbacks": fallbacks}

    def _summarise(self, finalist: Finalist, judged: Evaluation, rounds: Mapping[str, tuple[float, ...]]) -> Verified:
        metric, error = self._setup.task.metric, ERROR_OBJECTIVE.column
        column, evidence = metric.column, {n: np.asarray(e) for n, e in judged.details["evidence"].items()}
        validation = metric.interval(judged.values[column], evidence["validation"])
        test = metric.interval(judged.values[f"test_{column}"], evidence["test"])
        values = {
            column: validation.value,
            f"{column}_ci95_low": validation.low,
            f"{column}_ci95_high": validation.high,
            f"test_{column}": test.value,
            f"test_{column}_ci95_low": test.low,
            f"test_{column}_ci95_high": test.high,
            error: judged.values[error],
            f"test_{error}": judged.values[f"test_{error}"],
            **summarise_rounds(rounds),
            "size_bytes": judged.values["size_bytes"],
            **finalist.costs,
        }
        details = judged.details
        return Verified(
            finalist, values, rounds, evidence["test"], dict(details["realised"]), dict(details["fallbacks"])
        )


def _costs(measured: Evaluation) -> dict[str, float]:
    return {name: measured.values[name] for name in ("macs", "params")}
