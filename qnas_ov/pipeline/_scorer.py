"""Judges networks on the samples of a search: the metric, and the distance to the float network's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov

from qnas_ov.core.errors import MeasurementError
from qnas_ov.measure import Inference
from qnas_ov.pipeline._setup import Network, Setup
from qnas_ov.tasks import Split, output_error


@dataclass(frozen=True)
class Scores:
    """Results of a network on some samples.

    Attributes:
        value: The metric.
        error: Distance to the float network per sample, (n,).
        evidence: What intervals and paired tests of the metric are made of, see `Metric.evidence`.
        num_samples: How many samples these are; pairs count once.
        margins: How clear each answer is, see `Metric.margins`; gives None where the metric has none.
    """

    value: float
    error: np.ndarray
    evidence: Callable[[], np.ndarray]
    num_samples: int
    margins: Callable[[], np.ndarray | None]


class Scorer:
    """Judges IRs under the inference precision they will be served with."""

    def __init__(self, setup: Setup, network: Network) -> None:
        self._setup = setup
        self._network = network
        self._references: dict[str, list[np.ndarray]] = {}

    def score(self, model: Path | ov.Model, splits: Sequence[Split], inference_precision: str) -> list[Scores]:
        """Scores of an IR on every split; the network is compiled once for all of them."""
        inference = self._compile(model, splits, inference_precision)
        return [self._judge([split], [inference.run(split.inputs)]) for split in splits]

    def score_while(
        self,
        model: Path | ov.Model,
        parts: Sequence[Split],
        inference_precision: str,
        promising: Callable[[Scores], bool],
    ) -> Scores:
        """Scores of an IR on parts of a split together, as many of them as are `promising` by those before.

        A metric need not be defined on a part, which may lack a class: then the next one follows.
        """
        inference = self._compile(model, parts, inference_precision)
        outputs: list[list[np.ndarray]] = []
        for number, part in enumerate(parts[:-1], 1):
            outputs.append(inference.run(part.inputs))
            try:
                scores = self._judge(parts[:number], outputs)
                if not promising(scores):
                    return scores
            except MeasurementError:
                continue
        return self._judge(parts, [*outputs, inference.run(parts[-1].inputs)])

    def _compile(self, model: Path | ov.Model, splits: Sequence[Split], precision: str) -> Inference:
        return Inference(
            model,
            splits[0].shapes,
            device=self._setup.recipe.device,
            inference_precision=precision,
            batch_size=min(self._network.source.batch_size, max(map(len, splits))),
        )

    def _judge(self, splits: Sequence[Split], outputs: Sequence[list[np.ndarray]]) -> Scores:
        """Scores on splits as if they were one."""
        metric = self._setup.task.metric
        found = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
        ideal = [np.concatenate(parts) for parts in zip(*map(self._reference, splits), strict=True)]
        labels = [split.labels for split in splits if split.labels is not None]
        wanted = np.concatenate(labels) if metric.labelled and labels else ideal[0]
        errors = [output_error(mine, other) for mine, other in zip(found, ideal, strict=True)]
        return Scores(
            value=metric.value(found[0], wanted),
            error=np.mean(errors, axis=0),
            evidence=lambda: metric.evidence(found[0], wanted),
            num_samples=sum(split.num_samples for split in splits),
            margins=lambda: metric.margins(found[0], wanted),
        )

    def _reference(self, split: Split) -> list[np.ndarray]:
        """Outputs of the unsearched float network under f32."""
        key = split.digest()
        if key not in self._references:
            inference = self._compile(self._network.bank.source, [split], "f32")
            self._references[key] = inference.run(split.inputs)
        return self._references[key]
