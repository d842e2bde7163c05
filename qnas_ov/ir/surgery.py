"""Cuts subnetworks out of an OpenVINO graph: drop blocks, revert precision units, slice channels.

All functions change the given model in place; give them a clone, which shares its constants with the original.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import openvino as ov
from openvino.op import Constant

from qnas_ov.core.errors import GraphError
from qnas_ov.families import Architecture
from qnas_ov.ir.channels import ChannelPlan, Cut
from qnas_ov.ir.graph import constant_leaves, inside, is_constant_input, served_module


def drop_blocks(model: ov.Model, runs: Iterable[Sequence[str]]) -> None:
    """Removes runs of consecutive residual blocks, given by module path: a run's output becomes its input.

    Raises:
        GraphError: If a run is not in the graph or does not map one tensor to one of the same shape.
    """
    remaining = model.get_ordered_ops()
    for run in runs:
        if run:
            _bridge(remaining, run)


def _bridge(ops: list[ov.Node], run: Sequence[str]) -> None:
    """Lets the readers of a run of blocks read what the run reads."""
    entries, exits = _boundary(ops, run)
    name = f"block '{run[0]}'" if len(run) == 1 else f"the blocks '{run[0]}' to '{run[-1]}'"
    left = {_output_key(port.get_source_output()) for port in exits}
    if len(left) != 1:
        raise GraphError(f"{name} must leave the graph one output: it leaves {len(left)}")
    shape = exits[0].get_partial_shape()
    fitting = [output for output in entries if output.get_partial_shape() == shape]
    if len(fitting) != 1:
        raise GraphError(f"{name} must take one tensor of shape {shape}: it takes {len(fitting)}")
    quantizers = [p.get_node() for p in fitting[0].get_target_inputs() if _is_quantizer(p.get_node())]
    inside_run = [node for node in quantizers if _lies_in(served_module(node), run)]
    for port in exits:
        reader = port.get_node()
        port.replace_source_output(fitting[0])
        if _is_quantizer(reader) and inside_run:
            _copy_range(inside_run[0], reader)


def _copy_range(donor: ov.Node, quantizer: ov.Node) -> None:
    """A quantizer that reads another tensor from now on takes the range that was collected on that one."""
    for index in range(1, 5):
        if donor.input(index).get_partial_shape() == quantizer.input(index).get_partial_shape():
            quantizer.input(index).replace_source_output(donor.input_value(index))


def _boundary(ops: list[ov.Node], run: Sequence[str]) -> tuple[list[ov.Output], list[ov.Input]]:
    """The outputs that enter a run of blocks, and the inputs outside of it that read what it leaves."""
    members = [n for n in ops if _lies_in(served_module(n), run)]
    names = {n.get_friendly_name() for n in members}
    entries: dict[tuple[str, int], ov.Output] = {}
    exits: list[ov.Input] = []
    for node in members:
        if node.get_type_name() == "Constant":
            continue  # the range of a quantizer bears the name of what it quantizes
        for output in node.outputs():
            exits += [p for p in output.get_target_inputs() if p.get_node().get_friendly_name() not in names]
        for port in node.inputs():
            source = port.get_source_output()
            if source.get_node().get_friendly_name() not in names and not is_constant_input(port):
                entries[_output_key(source)] = source
    return list(entries.values()), exits


def _lies_in(path: str | None, run: Sequence[str]) -> bool:
    return path is not None and any(inside(path, block) for block in run)


def _is_quantizer(node: ov.Node) -> bool:
    return bool(node.get_type_name() == "FakeQuantize")


def _output_key(output: ov.Output) -> tuple[str, int]:
    return output.get_node().get_friendly_name(), output.get_index()


def remove_quantizers(nodes: Mapping[str, ov.Node], names: Iterable[str]) -> None:
    """Removes activation quantizers (FakeQuantize) by friendly name; names that are not there are passed over."""
    for name in names:
        node = nodes.get(name)
        if node is not None:
            node.output(0).replace(node.input_value(0))


def restore_constants(
    nodes: Mapping[str, ov.Node], donors: Mapping[str, ov.Node], places: Iterable[tuple[str, int]]
) -> None:
    """Feeds inputs, given by (friendly name, port), from the constant that the same input has among `donors`.

    Args:
        nodes: Operations of the model that is changed.
        donors: Operations of a clone of the float network that nobody else uses; its constants move over.
        places: The inputs; operations that are not there are passed over.
    """
    for name, port in places:
        node = nodes.get(name)
        if node is not None:
            node.input(port).replace_source_output(donors[name].input_value(port))


def slice_channels(nodes: Mapping[str, ov.Node], plan: ChannelPlan, architecture: Architecture) -> None:
    """Keeps the first groups of every width knob; knobs that are not named stay whole."""
    for knob, cuts in plan.cuts.items():
        kept = architecture.get(knob)
        if kept is None:
            continue
        for cut in cuts:
            node = nodes.get(cut.node)
            if node is not None:
                _apply_cut(node.input(cut.port), cut, kept)


def _apply_cut(port: ov.Input, cut: Cut, kept: int) -> None:
    if cut.reshape_index is not None:
        constant = port.get_source_output().get_node()
        pattern = np.array(constant.data)
        pattern.reshape(-1)[cut.reshape_index] = kept * cut.per_group
        replace_constant(port, constant, ov.Tensor(pattern))
        return
    length = kept * cut.per_group
    for reader, constant in constant_leaves(port):
        shape = constant.get_output_shape(0)
        if len(shape) < -cut.axis or shape[cut.axis] <= length or shape[cut.axis] == 1:
            continue  # a scale or range that all channels share
        replace_constant(reader, constant, _leading(constant, cut.axis, length))


_SHARED: dict[int, ov.Node] = {}
"""Constants whose memory candidates share, by address: a tensor view does not keep its constant alive."""


def _leading(constant: ov.Node, axis: int, length: int) -> ov.Tensor:
    """The first `length` entries of a constant along an axis counted from the end.

    Leading rows are shared with the bank, not copied: that halves the time of a cut. Copies live in OpenVINO's memory,
    not in NumPy's: OpenVINO frees it in threads of its own, where Python's objects must not be touched.
    """
    whole = constant.get_tensor_view()
    ends = list(whole.shape)
    ends[axis] = length
    if math.prod(ends[:axis]) == 1:
        _SHARED.setdefault(whole.data.__array_interface__["data"][0], constant)
        return ov.Tensor(whole, ov.Coordinate([0] * len(ends)), ov.Coordinate(ends))
    copy = ov.Tensor(whole.element_type, ov.Shape(ends))
    copy.data[...] = whole.data[tuple(slice(end) for end in ends)]
    return copy


def replace_constant(port: ov.Input, old: ov.Node, values: ov.Tensor) -> None:
    """Feeds an input from a new constant that takes the name of the old one, and OpenVINO's memory as it is."""
    new = Constant(values, shared_memory=True)
    new.set_friendly_name(old.get_friendly_name())
    port.replace_source_output(new.output(0))
