"""The precision that each operation really runs in, read from the compiled network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import openvino as ov

_INT8 = {"i8", "u8"}


def realised_precisions(
    model: Path, *, device: str, inference_precision: str, shapes: Mapping[str, Sequence[int]]
) -> dict[str, str]:
    """`runtimePrecision` of every operation of an IR by friendly name; fused operations share their kernel's."""
    core = ov.Core()
    network = core.read_model(model)
    network.reshape({name: ov.PartialShape(list(shape)) for name, shape in shapes.items()})
    compiled = core.compile_model(network, device, {"INFERENCE_PRECISION_HINT": inference_precision})
    found: dict[str, str] = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        precision = str(info["runtimePrecision"].astype(str)) if "runtimePrecision" in info else ""
        names = info["originalLayersNames"].astype(str) if "originalLayersNames" in info else ""
        for name in names.split(","):
            found[name] = precision
    return found


def unit_precision(realised: Mapping[str, str], operations: Iterable[str]) -> str:
    """The realised precision of a unit: "int8" if all its kernels run in INT8, else their names, such as "f32".

    Operations that the compiler fused away under another name count as "unknown".
    """
    kinds = {realised.get(name, "unknown") for name in operations}
    if kinds <= _INT8:
        return "int8"
    return "+".join(sorted("int8" if k in _INT8 else k for k in kinds))
