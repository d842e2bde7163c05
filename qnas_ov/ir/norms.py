"""Batch normalisations of subnetworks, whose statistics are those of the largest network until they are estimated.

In the IR they are fused into convolutions, so that the correction is one factor and one shift per channel: with u what
a convolution puts out before its bias, a subnetwork's normalisation is

    rate * (u - mean(u)) + shift,    rate = 1 / sqrt(var(u) / scale**2 + eps / (variance + eps))

where scale, shift, variance and eps are the normalisation's own. mean(u) and var(u) come from one pass of the float
subnetwork over calibration samples, in which every normalisation already works with the statistics of that pass: what
PyTorch does in training mode, and what OFA does before it judges a subnetwork (arXiv 1908.09791). Nothing is converted
or calibrated: INT8 weights stay as they are, their scales take the factor.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from qnas_ov.core.errors import GraphError
from qnas_ov.families import Architecture, BatchNorm, Elastic
from qnas_ov.ir.graph import is_constant_input, module_path, nodes_by_name
from qnas_ov.ir.surgery import replace_constant

_KEPT = 256
_TINY = 1e-12


@dataclass(frozen=True)
class _Correction:
    """By channel: what the convolution's weights are multiplied by, and its new bias."""

    rate: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class _Place:
    """A normalisation in the graph: its convolution, the addition of its bias, and the bias of the largest network."""

    norm: BatchNorm
    convolution: str
    addition: str
    port: int
    bias: np.ndarray
    knob: str | None


class NormEstimator:
    """Estimates the normalisations of subnetworks and writes them into their IRs."""

    def __init__(
        self,
        source: ov.Model,
        elastic: Elastic,
        norms: Sequence[BatchNorm],
        inputs: Mapping[str, np.ndarray],
    ) -> None:
        """Finds the normalisations.

        Args:
            source: The exported FP32 network.
            elastic: Its elastic dimensions.
            norms: Its batch normalisations.
            inputs: Samples that statistics are collected on, by input name; all of them are one batch.

        Raises:
            GraphError: If a normalisation is not in the graph, or has neither mean nor shift, so that it left no bias.
        """
        knob_of = {path: group.knob for group in elastic.widths for path in group.norms}
        by_module = {
            module_path(node.get_friendly_name()): node
            for node in source.get_ops()
            if node.get_type_name() == "Convolution"
        }
        self._places = [_find_place(norm, by_module.get(norm.convolution), knob_of.get(norm.path)) for norm in norms]
        self._inputs = dict(inputs)
        self._largest = elastic.largest()
        self._known: OrderedDict[tuple[tuple[str, int], ...], dict[str, _Correction]] = OrderedDict()

    def correct(self, model: ov.Model, architecture: Architecture, *, cut_source: Callable[[], ov.Model]) -> None:
        """Gives a cut IR the normalisations of its subnetwork; the largest network keeps its own.

        Args:
            model: Cut from any network of the bank; changed in place.
            architecture: The subnetwork.
            cut_source: Makes the same cut of the exported FP32 network, for a subnetwork that was not met lately.
        """
        key = tuple(sorted(architecture.items()))
        if dict(architecture) == self._largest:
            return
        if key not in self._known:
            self._known[key] = self._estimate(cut_source(), architecture)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        nodes = nodes_by_name(model)
        for place in self._places:
            correction = self._known[key].get(place.norm.path)
            if correction is not None:
                _apply(nodes, place, correction)

    def _estimate(self, source: ov.Model, architecture: Architecture) -> dict[str, _Correction]:
        """Runs the subnetwork once, every normalisation with the statistics of this pass; `source` is used up."""
        nodes = nodes_by_name(source)
        means, rates, present = [], [], []
        for place in self._places:
            addition = nodes.get(place.addition)
            if addition is None:
                continue  # in a block that is left out
            mean, rate = _normalise_by_batch(addition, place, _kept(place, architecture))
            means.append(mean)
            rates.append(rate)
            present.append(place)
        results = [ops.result(output) for output in (*means, *rates)]
        count = len(next(iter(self._inputs.values())))
        observed = ov.Model(results, source.get_parameters(), "observed")
        observed.reshape({p: ov.PartialShape([count, *list(p.get_partial_shape())[1:]]) for p in observed.inputs})
        compiled = ov.Core().compile_model(observed, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled.create_infer_request().infer(self._inputs)
        values = [np.array(found[i], dtype=np.float64).reshape(-1) for i in range(len(results))]
        corrections = {}
        for place, mean, rate in zip(present, values[: len(means)], values[len(means) :], strict=True):
            shift = place.norm.shift[: len(mean)]
            corrections[place.norm.path] = _Correction(rate, shift - rate * mean)
        return corrections


def _find_place(norm: BatchNorm, convolution: ov.Node | None, knob: str | None) -> _Place:
    if convolution is None:
        raise GraphError(f"the graph has no convolution of module '{norm.convolution}'")
    for reader in convolution.output(0).get_target_inputs():
        addition, port = reader.get_node(), 1 - reader.get_index()
        if addition.get_type_name() == "Add" and is_constant_input(addition.input(port)):
            bias = np.array(addition.input_value(port).get_node().data, dtype=np.float64).reshape(-1)
            name, above = addition.get_friendly_name(), convolution.get_friendly_name()
            return _Place(norm, above, name, port, bias, knob)
    raise GraphError(f"the normalisation '{norm.path}' has neither mean nor shift, so that no bias is left of it")


def _kept(place: _Place, architecture: Architecture) -> int:
    full = len(place.norm.scale)
    return full if place.knob is None else int(architecture.get(place.knob, full))


def _normalise_by_batch(addition: ov.Node, place: _Place, kept: int) -> tuple[ov.Output, ov.Output]:
    """Lets readers read the normalisation by statistics of the batch; returns mean and rate, (1, channels, 1, 1)."""
    norm = place.norm
    squares = np.square(norm.scale[:kept])
    floor = norm.eps / (norm.variance[:kept] + norm.eps)
    u = addition.input_value(1 - place.port)
    axes = ops.constant(np.array([0, 2, 3], dtype=np.int64))
    mean = ops.reduce_mean(u, axes, keep_dims=True)
    centred = ops.subtract(u, mean)
    variance = ops.reduce_mean(ops.multiply(centred, centred), axes, keep_dims=True)
    share = ops.divide(variance, _per_channel(np.where(squares > _TINY, squares, 1.0)))
    rate = ops.divide(_per_channel(np.ones(kept)), ops.sqrt(ops.add(share, _per_channel(floor))))
    normalised = ops.add(ops.multiply(centred, rate), _per_channel(norm.shift[:kept]))
    for reader in addition.output(0).get_target_inputs():
        reader.replace_source_output(normalised.output(0))
    return mean.output(0), rate.output(0)


def _per_channel(values: np.ndarray) -> ov.Node:
    return ops.constant(values.reshape(1, -1, 1, 1).astype(np.float32))


def _apply(nodes: Mapping[str, ov.Node], place: _Place, correction: _Correction) -> None:
    convolution, addition = nodes[place.convolution], nodes[place.addition]
    _scale_weights(convolution.input(1), correction.rate)
    port = addition.input(place.port)
    present = np.array(port.get_source_output().get_node().data)
    quantization = present.reshape(-1).astype(np.float64) - place.bias[: present.size]
    bias = correction.bias + correction.rate * quantization
    _replace(port, bias.reshape(present.shape))


def _scale_weights(port: ov.Input, rate: np.ndarray) -> None:
    """Multiplies weights by a factor per output channel; of INT8 weights, their scales."""
    node = port.get_source_output().get_node()
    kind = node.get_type_name()
    if kind == "Multiply":
        port = node.input(1)
        node = port.get_source_output().get_node()
        kind = node.get_type_name()
    if kind != "Constant":
        raise GraphError(f"weights behind '{node.get_friendly_name()}' of type {kind} cannot be scaled")
    factor = rate.reshape(-1, *[1] * (len(node.get_output_shape(0)) - 1))
    _replace(port, np.asarray(node.data, dtype=np.float64) * factor)


def _replace(port: ov.Input, values: np.ndarray) -> None:
    """In OpenVINO's own memory, which it may free in threads of its own."""
    tensor = ov.Tensor(ov.Type.f32, ov.Shape(values.shape))
    tensor.data[...] = values
    replace_constant(port, port.get_source_output().get_node(), tensor)
