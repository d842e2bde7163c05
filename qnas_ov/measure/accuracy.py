"""Outputs of an IR under the inference precision it will be served with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino as ov

from qnas_ov.core.errors import MeasurementError


def predict_outputs(
    model: ov.Model | Path,
    inputs: Mapping[str, np.ndarray],
    *,
    device: str,
    inference_precision: str,
    batch_size: int = 64,
) -> list[np.ndarray]:
    """Runs all samples through a network.

    Args:
        model: The IR, with a dynamic batch axis unless `batch_size` is 1.
        inputs: Arrays by input name, samples on the first axis.
        device: As OpenVINO spells it.
        inference_precision: "f32" or "bf16".
        batch_size: Samples per inference; the network is compiled for this static batch, the last one is padded.

    Returns:
        Float32 array (n, ...) per output, in the network's order.

    Raises:
        MeasurementError: If the device cannot compile or run the network, or an output is not finite.
    """
    count = len(next(iter(inputs.values())))
    batch = min(batch_size, count)
    core = ov.Core()
    try:
        network = core.read_model(model) if isinstance(model, Path) else model.clone()
        network.reshape({name: ov.PartialShape([batch, *array.shape[1:]]) for name, array in inputs.items()})
        compiled = core.compile_model(
            network, device, {"INFERENCE_PRECISION_HINT": inference_precision, "PERFORMANCE_HINT": "LATENCY"}
        )
        request = compiled.create_infer_request()
        parts: list[list[np.ndarray]] = [[] for _ in compiled.outputs]
        for start in range(0, count, batch):
            part = {name: array[start : start + batch] for name, array in inputs.items()}
            missing = batch - len(next(iter(part.values())))
            if missing:
                part = {n: np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) for n, a in part.items()}
            outputs = request.infer(part, share_inputs=True)
            for i, found in enumerate(parts):
                found.append(np.array(outputs[i][: batch - missing], dtype=np.float32))
    except RuntimeError as error:
        raise MeasurementError(f"the network does not run on {device}: {str(error).strip().splitlines()[0]}") from error
    result = [np.concatenate(found) for found in parts]
    if not all(np.isfinite(array).all() for array in result):
        raise MeasurementError(f"the network gives outputs that are not finite under {inference_precision}")
    return result
