"""The precision that each operation really runs in, read from the compiled network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import openvino as ov

INT8 = {"i8", "u8"}
_FLOATS = {"f32", "bf16", "f16"}
_WEIGHTED = {"MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData"}
_INFO = ("layerType", "originalLayersNames", "runtimePrecision")
# Where float attention and chains of elementwise operations end up.
_FUSING = {"Subgraph"}
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
class Kernel:
    """One kernel of a compiled network: its name, its type, and the precision it computes in."""

    name: str
    kind: str
    precision: str


@dataclass(frozen=True)
class RealisedPrecisions:
    """The precisions that a compiled network runs in.

    Attributes:
        layers: For every layer (an operation's name up to its last "/", since a multiplication and its bias fuse), its
            computing kernels.
        operations: For every operation, the kernels that it became part of, whatever they do.
    """

    layers: Mapping[str, list[Kernel]]
    operations: Mapping[str, list[Kernel]]

    def of(self, operations: Iterable[str]) -> str:
        """The realised precision of the operations of a unit.

        Returns:
            "int8" if every operation has a kernel that computes in INT8 (attention multiplies twice, and quantization
            covers the first product only); else the kernels' precisions, such as "bf16", "f32" or "f32+int8"; "unknown"
            where the compiled network names no kernel of an operation.
        """
        kinds = [{k.precision for k in self._kernels(n)} or {"unknown"} for n in operations]
        if all(kind & INT8 for kind in kinds):
            return "int8"
        return "+".join(sorted({"int8" if p in INT8 else p for kind in kinds for p in kind}))

    def explain(self, operations: Iterable[str]) -> str:
        """Which kernels the operations became part of, in words."""
        return "; ".join(self._explain(name) for name in operations)

    def _explain(self, name: str) -> str:
        found = {f"'{k.name}' ({k.kind} in {k.precision})" for k in self._kernels(name)}
        if not found:
            return f"no kernel of the compiled network names '{name}': it was folded into another operation"
        return f"'{name}' is computed by {' and '.join(sorted(found))}"

    def _kernels(self, name: str) -> list[Kernel]:
        found = self.layers.get(_layer(name))
        if found:
            return found
        inside = self.operations.get(name, [])
        return [k for k in inside if k.kind in _FUSING] or inside


def realised_precisions(
    model: Path, *, device: str, inference_precision: str, shapes: Mapping[str, Sequence[int]]
) -> RealisedPrecisions:
    """Compiles an IR for static shapes and reads `runtimePrecision` of its kernels."""
    core = ov.Core()
    network = core.read_model(model)
    network.reshape({name: ov.PartialShape(list(shape)) for name, shape in shapes.items()})
    compiled = core.compile_model(network, device, {"INFERENCE_PRECISION_HINT": inference_precision})
    layers: dict[str, list[Kernel]] = defaultdict(list)
    operations: dict[str, list[Kernel]] = defaultdict(list)
    computing: dict[Kernel, set[str]] = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = {k: str(v.astype(str)) for k, v in node.get_rt_info().items() if k in _INFO}
        kernel = Kernel(node.get_friendly_name(), info.get("layerType", ""), _precision(node, info))
        for name in info.get("originalLayersNames", "").split(","):
            operations[name].append(kernel)
            if kernel.kind in _COMPUTE:
                layer = _layer(name)
                # The compiler may name a kernel by what it put below an operation: MatMul/DequantizationMultiply.
                for place in (layer, _layer(layer)):
                    layers[place].append(kernel)
                    computing.setdefault(kernel, set()).add(place)
    _pair_nameless(network, computing, layers)
    return RealisedPrecisions(dict(layers), dict(operations))


def _precision(node: ov.Node, info: Mapping[str, str]) -> str:
    types = [port.get_element_type().to_string() for port in node.input_values()]
    return kernel_precision(info.get("layerType", ""), info.get("runtimePrecision", ""), types)


def kernel_precision(kind: str, reported: str, inputs: Sequence[str]) -> str:
    """What a kernel computes in.

    A subgraph reports the type of one of its inputs, which for attention may be a boolean mask (u8): it computes in
    INT8 if two of its inputs are INT8, as both factors of a product are, or its only one.

    Args:
        kind: The type of the kernel.
        reported: Its `runtimePrecision`.
        inputs: Types of its inputs.
    """
    if kind not in _FUSING or reported not in INT8:
        return reported
    if sum(t in INT8 for t in inputs) >= min(2, len(inputs)):
        return reported
    return next((t for t in inputs if t not in INT8 and t in _FLOATS), "unknown")


def _pair_nameless(network: ov.Model, computing: Mapping[Kernel, set[str]], layers: dict[str, list[Kernel]]) -> None:
    """Finds the kernels of operations that the compiler renamed ("Multiply_50119").

    Both graphs are in topological order, so that what is left on either side pairs up in order, where equally many of a
    kind are left.
    """
    wanted = [
        (_layer(n.get_friendly_name()), "Convolution" if "Convolution" in n.get_type_name() else "MatMul")
        for n in network.get_ordered_ops()
        if n.get_type_name() in _WEIGHTED
    ]
    claimed = {layer for layer, _ in wanted}
    for kind in ("Convolution", "MatMul"):
        lost = [layer for layer, k in wanted if k == kind and layer not in layers]
        nameless = [
            k
            for k, places in computing.items()
            if ("Conv" in k.kind) == (kind == "Convolution") and not places & claimed
        ]
        if len(lost) == len(nameless):
            for layer, kernel in zip(lost, nameless, strict=True):
                layers[layer].append(kernel)


def _layer(name: str) -> str:
    return name.rsplit("/", 1)[0] if "/" in name else name
