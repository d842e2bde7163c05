"""Packages for MLServer, which speaks KServe's v2 protocol: `<name>/model-settings.json`, the IR, and its runtime."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import PackageError
from qnas_ov.core.files import write_json, write_text
from qnas_ov.deploy._networks import Tensor
from qnas_ov.deploy._served import Served

SETTINGS = "model-settings.json"
REQUIREMENTS = Path(__file__).with_name("mlserver_requirements.txt")
"""What a server needs beside OpenVINO."""

# Data types of the v2 protocol.
_TYPES = {
    "boolean": "BOOL",
    "u8": "UINT8",
    "u16": "UINT16",
    "u32": "UINT32",
    "u64": "UINT64",
    "i8": "INT8",
    "i16": "INT16",
    "i32": "INT32",
    "i64": "INT64",
    "f16": "FP16",
    "f32": "FP32",
    "f64": "FP64",
    "string": "BYTES",
}


def write_kserve(folder: Path, served: Served) -> None:
    """Writes MLServer's settings, the runtime that they name, and what to install: the server needs no qnas-ov.

    Raises:
        PackageError: If the protocol has no such type.
    """
    model = folder / served.name
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": served.inference_precision}
    shutil.copyfile(Path(__file__).with_name("mlserver_runtime.py"), model / "openvino_runtime.py")
    openvino = [f"openvino>={served.minimum_openvino}"]
    if any(t.dtype == "string" for t in served.tensors.inputs):
        openvino.append(f"openvino-tokenizers>={served.minimum_openvino}")
    write_text(model / "requirements.txt", REQUIREMENTS.read_text(encoding="utf-8") + "\n".join(openvino) + "\n")
    settings = {
        "name": served.name,
        "implementation": "openvino_runtime.OpenVINORuntime",
        "platform": "openvino",
        "inputs": _metadata(served.tensors.inputs),
        "outputs": _metadata(served.tensors.outputs),
        "parameters": {"uri": "./model.xml", "extra": {"device": served.device, "config": config}},
    }
    write_json(model / SETTINGS, settings)


def _metadata(tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
    for tensor in tensors:
        if tensor.dtype not in _TYPES:
            raise PackageError(f"the KServe v2 protocol has no type for '{tensor.name}', which is {tensor.dtype}")
    return [{"name": t.name, "datatype": _TYPES[t.dtype], "shape": list(t.dims)} for t in tensors]
