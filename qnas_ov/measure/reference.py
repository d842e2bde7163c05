"""Networks timed inside this process: a reference that tells how fast the machine is now, and differences of two."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import openvino as ov

from qnas_ov.core.errors import MeasurementError
from qnas_ov.core.records import Interval
from qnas_ov.measure.estimate import estimate_median
from qnas_ov.measure.settings import RunSettings

_GAUGE_MS = 50.0


class Gauge:
    """A reference network, compiled once in this process, that tells in some 50 ms how fast the machine is now.

    A benchmark_app process takes ten times as long, so with it the reference could be measured only now and then, and
    the speed of a shared machine changes faster than that.
    """

    def __init__(self, reference: Path, settings: RunSettings) -> None:
        self._request = _prepared_request(ov.Core().read_model(reference), settings)
        self._count = 3
        self.read()
        self._count = int(min(200, max(5, _GAUGE_MS / self.read())))

    def read(self) -> float:
        """Median latency of the reference now, in milliseconds."""
        return statistics.median(_timed_ms(self._request) for _ in range(self._count))

    def read_block(self, milliseconds: float) -> float:
        """Median latency of the reference in inferences that take so long together, in milliseconds.

        For turns with another process: one inference, which finds that one's data in the caches, comes before them.
        """
        _timed_ms(self._request)
        found: list[float] = []
        while sum(found) < milliseconds:
            found.append(_timed_ms(self._request))
        return statistics.median(found)


def _prepared_request(model: ov.Model, settings: RunSettings) -> ov.InferRequest:
    """A request of the network, compiled for latency as benchmark_app compiles it, inputs zero; `model` is reshaped."""
    model.reshape({name: ov.PartialShape(list(shape)) for name, shape in settings.shapes.items()})
    pinned = {"NUM_STREAMS": settings.streams, "INFERENCE_NUM_THREADS": settings.threads}
    compiled = ov.Core().compile_model(
        model,
        settings.device,
        {
            "INFERENCE_PRECISION_HINT": settings.inference_precision,
            "PERFORMANCE_HINT": "LATENCY",
            **{name: str(value) for name, value in pinned.items() if value is not None},
        },
    )
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        request.get_tensor(port).data[...] = 0
    return request


def _timed_ms(request: ov.InferRequest) -> float:
    start = time.perf_counter()
    request.infer(share_inputs=True)
    return (time.perf_counter() - start) * 1e3


class LatencyDifference:
    """How much faster networks are than one reference, by inferences of both in turn inside this process.

    Between two networks that differ in one layer, separate benchmark_app runs see the machine's noise; inferences that
    alternate see both networks at the same speed of the machine.
    """

    def __init__(self, reference: ov.Model, settings: RunSettings, *, seconds: float = 0.6) -> None:
        self._settings = settings
        self._reference = _prepared_request(reference.clone(), settings)
        warm_ms = statistics.median(_timed_ms(self._reference) for _ in range(4))
        self._pairs = int(min(400, max(15, seconds * 1e3 / (2 * warm_ms))))

    def saved_by(self, model: ov.Model) -> Interval:
        """Milliseconds that an inference of `model` is shorter than one of the reference.

        Returns:
            The median over pairs of inferences, and the 95% interval of that median by order statistics.

        Raises:
            MeasurementError: If the device cannot run the network.
        """
        try:
            request = _prepared_request(model.clone(), self._settings)
            for _ in range(3):
                _timed_ms(request)
            differences = [_timed_ms(self._reference) - _timed_ms(request) for _ in range(self._pairs)]
        except RuntimeError as error:
            raise MeasurementError(f"the network does not run: {str(error).strip().splitlines()[0]}") from error
        found = estimate_median(differences)
        return Interval(found.value, found.low, found.high)
