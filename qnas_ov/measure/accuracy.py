"""Outputs of an IR under the inference precision it will be served with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openvino as ov

from qnas_ov.core.errors import MeasurementError


class Inference:
    """A network compiled once, for samples that come in parts."""

    def __init__(
        self,
        model: ov.Model | Path,
        shapes: Mapping[str, Sequence[int]],
        *,
        device: str,
        inference_precision: str,
        batch_size: int = 64,
    ) -> None:
        """Compiles a network.

        Args:
            model: The IR, with a dynamic batch axis unless `batch_size` is 1.
            shapes: Shape of one sample by input name.
            device: As OpenVINO spells it.
            inference_precision: "f32" or "bf16".
            batch_size: Samples per inference; the network is compiled for this static batch, the last one is padded.

        Raises:
            MeasurementError: If the device cannot compile the network.
        """
        self._batch = batch_size
        self._device = device
        self._precision = inference_precision
        core = ov.Core()
        try:
            network = core.read_model(model) if isinstance(model, Path) else model.clone()
            network.reshape({name: ov.PartialShape([batch_size, *shape]) for name, shape in shapes.items()})
            self._compiled = core.compile_model(
                network, device, {"INFERENCE_PRECISION_HINT": inference_precision, "PERFORMANCE_HINT": "LATENCY"}
            )
            self._request = self._compiled.create_infer_request()
        except RuntimeError as error:
            raise self._failure(error) from error

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs for arrays by input name, samples on the first axis: float32 (n, ...) each, in the network's order.

        Raises:
            MeasurementError: If the network does not run, or an output is not finite.
        """
        batch, count = self._batch, len(next(iter(inputs.values())))
        parts: list[list[np.ndarray]] = [[] for _ in self._compiled.outputs]
        for start in range(0, count, batch):
            part = {name: array[start : start + batch] for name, array in inputs.items()}
            missing = batch - len(next(iter(part.values())))
            if missing:
                part = {n: np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) for n, a in part.items()}
            try:
                outputs = self._request.infer(part, share_inputs=True)
            except RuntimeError as error:
                raise self._failure(error) from error
            for i, found in enumerate(parts):
                found.append(np.array(outputs[i][: batch - missing], dtype=np.float32))
        result = [np.concatenate(found) for found in parts]
        if not all(np.isfinite(array).all() for array in result):
            raise MeasurementError(f"the network gives outputs that are not finite under {self._precision}")
        return result

    def _failure(self, error: RuntimeError) -> MeasurementError:
        return MeasurementError(f"the network does not run on {self._device}: {str(error).strip().splitlines()[0]}")


def predict_outputs(
    model: ov.Model | Path,
    inputs: Mapping[str, np.ndarray],
    *,
    device: str,
    inference_precision: str,
    batch_size: int = 64,
) -> list[np.ndarray]:
    """Runs all samples through a network; arguments and result are those of `Inference` and its `run`.

    Raises:
        MeasurementError: If the device cannot compile or run the network, or an output is not finite.
    """
    inference = Inference(
        model,
        {name: array.shape[1:] for name, array in inputs.items()},
        device=device,
        inference_precision=inference_precision,
        batch_size=min(batch_size, len(next(iter(inputs.values())))),
    )
    return inference.run(inputs)
