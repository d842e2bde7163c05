"""Serves an OpenVINO IR in MLServer, by KServe's v2 protocol.

Packages carry a copy of this file, so it imports nothing of qnas-ov: a server needs `mlserver`, `openvino` and `numpy`,
and `openvino-tokenizers` for a network that takes text.
"""

from __future__ import annotations

import asyncio
import importlib

import numpy as np
import openvino as ov
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput
from mlserver.utils import get_model_uri


class OpenVINORuntime(MLModel):
    """One compiled network. `parameters.extra` of the settings names the `device` and its `config`."""

    async def load(self) -> bool:
        """Compiles the network."""
        if any(tensor.datatype == "BYTES" for tensor in self.inputs or []):
            importlib.import_module("openvino_tokenizers")  # from now on OpenVINO knows its operations
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
        inputs = {i.name: self._decoded(i) for i in payload.inputs}
        results = self._request.infer(self._checked(inputs))
        outputs = [NumpyCodec.encode_output(p.any_name, results[i]) for i, p in enumerate(self._network.outputs)]
        return InferenceResponse(model_name=self.name, model_version=self.version, id=payload.id, outputs=outputs)

    def _decoded(self, tensor: RequestInput) -> np.ndarray:
        if tensor.datatype == "BYTES":
            return np.array(self.decode(tensor, default_codec=StringCodec), dtype=np.str_)
        return np.asarray(self.decode(tensor, default_codec=NumpyCodec))

    def _checked(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        wanted = {p.any_name: p for p in self._network.inputs}
        if set(inputs) != set(wanted):
            raise InferenceError(f"the inputs must be {sorted(wanted)}, found {sorted(inputs)}")
        checked = {}
        for name, array in inputs.items():
            kind, shape = wanted[name].element_type, wanted[name].partial_shape
            if not shape.compatible(ov.PartialShape(list(array.shape))):
                raise InferenceError(f"the shape of '{name}' must be {shape}, found {list(array.shape)}")
            if kind == ov.Type.string:
                if array.dtype.kind != "U":
                    raise InferenceError(f"'{name}' must be BYTES, found {array.dtype}")
                checked[name] = array
                continue
            dtype = np.dtype(kind.to_dtype())
            if not np.can_cast(array.dtype, dtype, casting="same_kind"):
                raise InferenceError(f"'{name}' must be {dtype}, found {array.dtype}")
            checked[name] = array.astype(dtype)
        return checked
