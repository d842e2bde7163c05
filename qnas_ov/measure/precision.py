"""The precision that each operation really runs in, read from the compiled network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import openvino as ov

_INT8 = {"i8", "u8"}
_INFO = ("layerType", "originalLayersNames", "runtimePrecision")
# Kernels that compute; others (constants, reorders, reshapes, fused elementwise) say nothing about a layer's precision.
_COMPUTE = {
    "Convolution",
    "GroupConvolution",
    "FullyConnected",
    "MatMul",
    "MHA",
    "ScaledDotProductAttention",
    "RNNSeq",
    "LSTMCell",
    "Deconvolution",
}


@dataclass(frozen=True)
class RealisedPrecisions:
    """The precisions that a compiled network runs in.

    Attributes:
        kernels: For every layer (an operation's name up to its last "/", since a multiplication and its bias fuse), the
            precisions of its computing kernels.
        fused: For every operation inside a compiled subgraph (float attention runs as one), that subgraph's precision.
    """

    kernels: Mapping[str, set[str]]
    fused: Mapping[str, set[str]]

    def of(self, operations: Iterable[str]) -> str:
        """The realised precision of the operations of a unit.

        Returns:
            "int8" if every operation has a kernel that computes in INT8 (attention multiplies twice, and quantization
            covers the first product only); else the kernels' precisions, such as "bf16", "f32" or "f32+int8"; "unknown"
            where the compiled network names no kernel of an operation.
        """
        kinds = [self.kernels.get(_layer(n)) or self.fused.get(n) or {"unknown"} for n in operations]
        if all(kind & _INT8 for kind in kinds):
            return "int8"
        return "+".join(sorted({"int8" if p in _INT8 else p for kind in kinds for p in kind}))


def realised_precisions(
    model: Path, *, device: str, inference_precision: str, shapes: Mapping[str, Sequence[int]]
) -> RealisedPrecisions:
    """Compiles an IR for static shapes and reads `runtimePrecision` of its kernels."""
    core = ov.Core()
    network = core.read_model(model)
    network.reshape({name: ov.PartialShape(list(shape)) for name, shape in shapes.items()})
    compiled = core.compile_model(network, device, {"INFERENCE_PRECISION_HINT": inference_precision})
    kernels: dict[str, set[str]] = defaultdict(set)
    fused: dict[str, set[str]] = defaultdict(set)
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = {k: str(v.astype(str)) for k, v in node.get_rt_info().items() if k in _INFO}
        for name in info.get("originalLayersNames", "").split(","):
            if info.get("layerType") in _COMPUTE:
                layer = _layer(name)
                # The compiler may name a kernel by what it put below an operation: MatMul/DequantizationMultiply.
                for place in (layer, _layer(layer)):
                    kernels[place].add(info["runtimePrecision"])
            elif info.get("layerType") == "Subgraph":
                fused[name].add(info["runtimePrecision"])
    return RealisedPrecisions(dict(kernels), dict(fused))


def _layer(name: str) -> str:
    return name.rsplit("/", 1)[0] if "/" in name else name
