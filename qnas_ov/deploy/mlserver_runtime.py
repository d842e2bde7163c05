"""Serves an OpenVINO IR in MLServer, by KServe's v2 protocol.

Packages carry a copy of this file, so it imports nothing of qnas-ov: a server needs `mlserver`, `openvino` and `numpy`.
"""

from __future__ import annotations

import asyncio

import numpy as np
import openvino as ov
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class OpenVINORuntime(MLModel):
    """One compiled network. `parameters.extra` of the settings names the `device` and its `config`."""

    async def load(self) -> bool:
        """Compiles the network."""
        path = await get_model_uri(self._settings)
        extra = self._settings.parameters.extra or {}
        self._network = await asyncio.to_thread(
            ov.Core().compile_model, path, extra.get("device", "CPU"), extra.get("config", {})
        )
        self._request = self._network.create_infer_request()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Runs one request, whose inputs must have the network's names, shapes and kinds of type.

        Raises:
            InferenceError: If they do not; the client gets it as a bad request.
        """
        inputs = {i.name: self.decode(i, default_codec=NumpyCodec) for i in payload.inputs}
        results = self._request.infer(self._checked(inputs))
        outputs = [NumpyCodec.encode_output(p.any_name, results[i]) for i, p in enumerate(self._network.outputs)]
        return InferenceResponse(model_name=self.name, model_version=self.version, id=payload.id, outputs=outputs)

    def _checked(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        wanted = {p.any_name: p for p in self._network.inputs}
        if set(inputs) != set(wanted):
            raise InferenceError(f"the inputs must be {sorted(wanted)}, found {sorted(inputs)}")
        checked = {}
        for name, array in inputs.items():
            dtype, shape = wanted[name].element_type.to_dtype(), wanted[name].partial_shape
            if not shape.compatible(ov.PartialShape(list(array.shape))):
                raise InferenceError(f"the shape of '{name}' must be {shape}, found {list(array.shape)}")
            if not np.can_cast(array.dtype, dtype, casting="same_kind"):
                raise InferenceError(f"'{name}' must be {dtype}, found {array.dtype}")
            checked[name] = array.astype(dtype)
        return checked
