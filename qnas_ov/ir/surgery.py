"""Cuts subnetworks out of an OpenVINO graph: drop blocks, revert precision units, slice channels.

All functions change the given model in place; give them a clone, which shares its constants with the original.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import openvino as ov
from openvino.op import Constant

from qnas_ov.core.errors import GraphError
from qnas_ov.families import Architecture
from qnas_ov.ir.channels import ChannelPlan, Cut
from qnas_ov.ir.graph import constant_leaves, inside, is_constant_input, module_path


def drop_blocks(model: ov.Model, blocks: Iterable[str]) -> None:
    """Removes residual blocks, given by module path in network order: their output becomes their input.

    Raises:
        GraphError: If a block is not in the graph or does not map one tensor to one of the same shape.
    """
    remaining = model.get_ordered_ops()
    for block in reversed(list(blocks)):
        entry, exits = _block_boundary(remaining, block)
        for port in exits:
            port.replace_source_output(entry)


def _block_boundary(ops: list[ov.Node], block: str) -> tuple[ov.Output, list[ov.Input]]:
    """The output that enters a block, and the inputs outside of it that read the block's output."""
    members = [n for n in ops if inside(module_path(n.get_friendly_name()), block)]
    names = {n.get_friendly_name() for n in members}
    exits: list[ov.Input] = []
    left: dict[tuple[str, int], ov.Output] = {}
    entries: dict[tuple[str, int], ov.Output] = {}
    for node in members:
        for output in node.outputs():
            readers = [p for p in output.get_target_inputs() if p.get_node().get_friendly_name() not in names]
            if readers:
                left[(node.get_friendly_name(), output.get_index())] = output
                exits += readers
        for port in node.inputs():
            source = port.get_source_output()
            name = source.get_node().get_friendly_name()
            if name not in names and not is_constant_input(port):
                entries[(name, source.get_index())] = source
    if len(left) != 1:
        raise GraphError(f"block '{block}' must leave the graph one output: it leaves {len(left)}")
    shape = next(iter(left.values())).get_partial_shape()
    fitting = [o for o in entries.values() if o.get_partial_shape() == shape]
    if len(fitting) != 1:
        raise GraphError(f"block '{block}' must take one tensor of shape {shape}: it takes {len(fitting)}")
    return fitting[0], exits


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
        _replace(port, constant, ov.Tensor(pattern))
        return
    length = kept * cut.per_group
    for reader, constant in constant_leaves(port):
        shape = constant.get_output_shape(0)
        if len(shape) < -cut.axis or shape[cut.axis] <= length or shape[cut.axis] == 1:
            continue  # a scale or range that all channels share
        _replace(reader, constant, _leading(constant, cut.axis, length))


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


def _replace(port: ov.Input, old: ov.Node, values: ov.Tensor) -> None:
    new = Constant(values, shared_memory=True)
    new.set_friendly_name(old.get_friendly_name())
    port.replace_source_output(new.output(0))
