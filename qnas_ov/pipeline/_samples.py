"""Test samples that travel with a package, so that its accuracy can be repeated where it is served."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from qnas_ov.core.errors import PackageError
from qnas_ov.deploy import SAMPLES, Samples
from qnas_ov.measure import predict_outputs
from qnas_ov.pipeline._setup import Network, Setup
from qnas_ov.pipeline._verify import Finalist
from qnas_ov.tasks import FIDELITY, Metric, metric_of_column

MAX_SAMPLES = 64
MAX_BYTES = 16_000_000


def find_metric(column: str) -> Metric:
    """The metric of that column.

    Raises:
        PackageError: If there is none: the package is of another version.
    """
    metric = metric_of_column(column)
    if metric is None:
        raise PackageError(f"the package records {column}, which this version does not know: use the one that made it")
    return metric


def rescore(record: Mapping[str, Any], samples: Samples) -> float:
    """The metric that a record of samples names, on other samples."""
    return find_metric(str(record["metric"])).value(samples.outputs, samples.target)


class SampleRecorder:
    """Runs networks on at most 64 test samples, and at most 16 MB of them, evenly spaced over the split."""

    def __init__(self, setup: Setup, network: Network) -> None:
        self._setup = setup
        self._network = network
        test = setup.task.test
        size = sum(array[0].nbytes for array in test.inputs.values())
        self._split = test.thinned(max(1, min(MAX_SAMPLES, MAX_BYTES // max(1, size))))

    def record(self, finalist: Finalist) -> tuple[Samples, dict[str, Any]]:
        """What a network gives under its inference precision, and the record of it for the manifest.

        Raises:
            MeasurementError: If it does not run.
        """
        metric, outputs = self._setup.task.metric, self._first_output(finalist.path, finalist.inference_precision)
        target = self._target
        if metric.identity:  # a package must not name code to run: what can be repeated are the network's outputs
            metric, target = FIDELITY, outputs
        samples = Samples(self._split.inputs, outputs, target)
        record = {
            "file": SAMPLES,
            "count": len(samples),
            "split": "test",
            "metric": metric.column,
            "value": metric.value(outputs, target),
        }
        return samples, record

    @cached_property
    def _target(self) -> np.ndarray:
        if self._setup.task.metric.labelled and self._split.labels is not None:
            return self._split.labels
        return self._first_output(self._network.bank.source, "f32")

    def _first_output(self, model: Any, inference_precision: str) -> np.ndarray:
        outputs = predict_outputs(
            model,
            self._split.inputs,
            device=self._setup.recipe.device,
            inference_precision=inference_precision,
            batch_size=self._network.source.batch_size,
        )
        return outputs[0]
