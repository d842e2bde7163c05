"""Follows elastic channels through an OpenVINO graph, from their producers to their consumers.

The result says which constants and reshapes must be cut for a choice of a width knob. It is found once per graph;
cutting a candidate is then a look-up. Works on float and on quantized graphs: scales, ranges and SmoothQuant
multipliers on the way are constants like any other.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import openvino as ov

from qnas_ov.core.errors import GraphError
from qnas_ov.families import ChannelGroup, Elastic
from qnas_ov.ir.graph import axis_length, inside, is_constant_input, module_path

_ELEMENTWISE = {
    "Add", "Subtract", "Multiply", "Divide", "Maximum", "Minimum", "Power", "PRelu", "FakeQuantize",
    "Relu", "Gelu", "Swish", "Sigmoid", "Tanh", "Erf", "Exp", "Clamp", "HSwish", "HSigmoid", "Elu", "SoftPlus", "Mish",
    "Convert", "Negative", "Abs", "Sqrt",
}  # fmt: skip
_WEIGHTED = {"MatMul", "Convolution", "GroupConvolution"}
_POOLING = {"MaxPool", "AvgPool"}
_REDUCING = {"ReduceMean", "ReduceMax", "ReduceSum"}


@dataclass(frozen=True)
class Cut:
    """One place to cut when `knob` keeps `k` of its groups.

    Attributes:
        node: Friendly name of the operation.
        port: Its input whose constants are cut, or whose value is changed if `reshape_index` is set.
        axis: Axis of the constant, counted from the end (-1 is the last).
        per_group: Length along the axis that one group takes.
        reshape_index: Position in a Reshape's pattern that becomes k * `per_group`, or None.
    """

    knob: str
    node: str
    port: int
    axis: int
    per_group: int
    reshape_index: int | None = None


@dataclass
class ChannelPlan:
    """Where every width knob cuts a graph.

    Attributes:
        cuts: All cuts, by knob.
        scaled_by: Knobs that scale the work of an operation, by its friendly name; a knob counts twice if it cuts what
            the operation reads and what it produces.
    """

    cuts: dict[str, list[Cut]] = field(default_factory=dict)
    scaled_by: dict[str, set[tuple[str, str]]] = field(default_factory=dict)


def plan_channels(model: ov.Model, elastic: Elastic) -> ChannelPlan:
    """Finds the cuts of every width knob of `elastic` in `model`.

    Raises:
        GraphError: If a declared producer or consumer is not in the graph, or the channels meet an operation that this
            function does not know.
    """
    plan = ChannelPlan()
    weighted: dict[str, list[ov.Node]] = {}
    for node in model.get_ordered_ops():
        path = module_path(node.get_friendly_name())
        if node.get_type_name() in _WEIGHTED and path is not None:
            weighted.setdefault(path, []).append(node)
    for group in elastic.widths:
        _Trace(group, plan, weighted).run()
    return plan


@dataclass(frozen=True)
class _Flow:
    """Channels on one output: their axis, and how much of it one group takes."""

    output: ov.Output
    axis: int
    per_group: int


class _Trace:
    """Follows one channel group."""

    def __init__(self, group: ChannelGroup, plan: ChannelPlan, weighted: dict[str, list[ov.Node]]) -> None:
        self.group = group
        self.plan = plan
        self.weighted = weighted
        self.reached: set[str] = set()
        self.seen: set[tuple[str, int]] = set()
        self.partners: list[tuple[ov.Node, ov.Output]] = []
        self.queue: deque[_Flow] = deque()

    def run(self) -> None:
        """Follows the channels from every producer until only declared consumers are left."""
        self.plan.cuts.setdefault(self.group.knob, [])
        for path in self.group.producers:
            node = self._weighted_node(path)
            self._cut_weight(node, output_side=True)
            axis = len(node.output(0).get_partial_shape()) - 1 if node.get_type_name() == "MatMul" else 1
            self._flow_on(node, axis, self.group.group_size)
        while self.queue:
            flow = self.queue.popleft()
            for port in flow.output.get_target_inputs():
                self._visit(port, flow)
        missing = set(self.group.consumers) - self.reached
        if missing:
            raise GraphError(f"channels of '{self.group.knob}' never reach {sorted(missing)} in this graph")
        for node, partner in self.partners:
            if _key(partner) not in self.seen:
                raise GraphError(
                    f"channels of '{self.group.knob}' meet those of '{partner.get_node().get_friendly_name()}' in "
                    f"'{node.get_friendly_name()}': its family must declare both as producers"
                )

    def _weighted_node(self, path: str) -> ov.Node:
        nodes = self.weighted.get(path, [])
        if len(nodes) != 1:
            raise GraphError(f"the graph has {len(nodes)} weighted operations of module '{path}': expected one")
        return nodes[0]

    def _cut(self, node: ov.Node, port: int, axis_from_end: int, per_group: int, reshape: int | None = None) -> None:
        cut = Cut(self.group.knob, node.get_friendly_name(), port, axis_from_end, per_group, reshape)
        if cut not in self.plan.cuts[self.group.knob]:
            self.plan.cuts[self.group.knob].append(cut)

    def _scale(self, node: ov.Node, side: str) -> None:
        self.plan.scaled_by.setdefault(node.get_friendly_name(), set()).add((self.group.knob, side))

    def _flow_on(self, node: ov.Node, axis: int, per_group: int) -> None:
        self._scale(node, "produces")
        for output in node.outputs():
            if _key(output) not in self.seen:
                self.seen.add(_key(output))
                self.queue.append(_Flow(output, axis, per_group))

    def _cut_weight(self, node: ov.Node, *, output_side: bool) -> None:
        if node.get_type_name() == "MatMul":
            rank = len(node.input(1).get_partial_shape())
            transposed = bool(node.get_attributes()["transpose_b"])
            axis = (
                -rank + (0 if output_side == transposed else 1)
                if rank == 2
                else (-2 if output_side == transposed else -1)
            )
        else:
            rank = len(node.input(1).get_partial_shape())
            axis = -rank + (0 if output_side else 1)
        self._cut(node, 1, axis, self.group.group_size if output_side else self._consumer_per_group(node, axis))

    def _consumer_per_group(self, node: ov.Node, axis: int) -> int:
        length = axis_length(node.input(1).get_partial_shape(), axis)
        if length is None or length % self.group.num_groups:
            raise GraphError(
                f"'{node.get_friendly_name()}' reads {length} channels: expected a multiple of {self.group.num_groups}"
            )
        return length // self.group.num_groups

    def _visit(self, port: ov.Input, flow: _Flow) -> None:
        node, kind = port.get_node(), port.get_node().get_type_name()
        if kind in _ELEMENTWISE:
            self._elementwise(node, port.get_index(), flow)
        elif kind == "Reshape":
            self._reshape(node, flow)
        elif kind == "Transpose":
            order = [int(i) for i in node.input_value(1).get_node().data]
            self._flow_on(node, order.index(flow.axis), flow.per_group)
        elif kind == "ScaledDotProductAttention":
            if flow.axis != 1:
                raise GraphError(f"'{node.get_friendly_name()}' must carry heads on axis 1: got axis {flow.axis}")
            self._flow_on(node, 1, flow.per_group)
        elif kind == "Softmax" or kind in _POOLING or (kind == "MVN" and self._is_norm(node)):
            self._flow_on(node, flow.axis, flow.per_group)
        elif kind in _REDUCING:
            self._reduce(node, flow)
        elif kind == "Concat" or kind.endswith("Split"):
            self._join_or_split(node, flow)
        elif kind == "MatMul" and not is_constant_input(node.input(1)):
            if flow.axis >= len(flow.output.get_partial_shape()) - 2:
                raise GraphError(f"'{node.get_friendly_name()}' contracts elastic channels of '{self.group.knob}'")
            self._flow_on(node, flow.axis, flow.per_group)
        elif kind in _WEIGHTED:
            self._consume(node)
        elif kind != "ShapeOf":
            raise GraphError(f"channels of '{self.group.knob}' meet '{node.get_friendly_name()}' of type {kind}")

    def _is_norm(self, node: ov.Node) -> bool:
        """Whether it is a declared LayerNorm, which works across the channels that are kept."""
        path = module_path(node.get_friendly_name())
        return any(inside(path, norm) for norm in self.group.norms)

    def _reduce(self, node: ov.Node, flow: _Flow) -> None:
        rank = len(flow.output.get_partial_shape())
        axes = {int(axis) % rank for axis in node.input_value(1).get_node().data.reshape(-1)}
        if flow.axis in axes:
            raise GraphError(f"'{node.get_friendly_name()}' reduces elastic channels of '{self.group.knob}'")
        below = 0 if node.get_attributes()["keep_dims"] else sum(axis < flow.axis for axis in axes)
        self._flow_on(node, flow.axis - below, flow.per_group)

    def _join_or_split(self, node: ov.Node, flow: _Flow) -> None:
        """Concat, Split and VariadicSplit along another axis; all parts that are joined must carry the channels."""
        joins = node.get_type_name() == "Concat"
        axis = node.get_attributes()["axis"] if joins else int(node.input_value(1).get_node().data.reshape(-1)[0])
        if axis % len(flow.output.get_partial_shape()) == flow.axis:
            raise GraphError(f"'{node.get_friendly_name()}' joins or splits channels of '{self.group.knob}'")
        if joins:
            self.partners += [(node, source) for source in node.input_values()]
        self._flow_on(node, flow.axis, flow.per_group)

    def _consume(self, node: ov.Node) -> None:
        path = module_path(node.get_friendly_name())
        if not any(inside(path, consumer) for consumer in self.group.consumers):
            raise GraphError(
                f"channels of '{self.group.knob}' are read by '{path}', which its family does not declare as a consumer"
            )
        self.reached.add(str(path))
        self._cut_weight(node, output_side=False)
        self._scale(node, "reads")

    def _elementwise(self, node: ov.Node, port: int, flow: _Flow) -> None:
        from_end = flow.axis - len(flow.output.get_partial_shape())
        for other in node.inputs():
            shape = other.get_partial_shape()
            if other.get_index() == port or len(shape) < -from_end or axis_length(shape, from_end) in (None, 1):
                continue
            if is_constant_input(other):
                self._cut(node, other.get_index(), from_end, flow.per_group)
            else:
                self.partners.append((node, other.get_source_output()))
        self._flow_on(node, flow.axis, flow.per_group)

    def _reshape(self, node: ov.Node, flow: _Flow) -> None:
        source = flow.output.get_partial_shape()
        target = _target_lengths(source, node.output(0).get_partial_shape())
        stride = _trailing(_lengths(source), flow.axis)
        span = self.group.num_groups * flow.per_group * stride
        for axis in range(len(target) - 1, -1, -1):
            below, length = _trailing(target, axis), target[axis]
            if length is not None and below * length == span and (flow.per_group * stride) % below == 0:
                per_group = flow.per_group * stride // below
                self._set_pattern(node, axis, length, per_group)
                self._flow_on(node, axis, per_group)
                return
        raise GraphError(
            f"'{node.get_friendly_name()}' reshapes channels of '{self.group.knob}' {source} -> "
            f"{node.output(0).get_partial_shape()}"
        )

    def _set_pattern(self, node: ov.Node, axis: int, length: int, per_group: int) -> None:
        pattern = node.input_value(1).get_node()
        if pattern.get_type_name() == "Constant":
            if int(pattern.data.reshape(-1)[axis]) == length:
                self._cut(node, 1, -1, per_group, reshape=axis)
            return
        if pattern.get_type_name() != "Concat":
            raise GraphError(f"'{node.get_friendly_name()}' takes its shape from a {pattern.get_type_name()}")
        position = 0
        for item in pattern.inputs():
            count = axis_length(item.get_partial_shape(), 0)
            if count is None:
                raise GraphError(f"'{node.get_friendly_name()}' takes its shape from parts of unknown length")
            if position <= axis < position + count:
                if is_constant_input(item) and not _is_inferred(item, axis - position):
                    self._cut(pattern, item.get_index(), -1, per_group, reshape=axis - position)
                return
            position += count


def _key(output: ov.Output) -> tuple[str, int]:
    return output.get_node().get_friendly_name(), output.get_index()


def _is_inferred(item: ov.Input, index: int) -> bool:
    """Whether a part of a Reshape's pattern says -1: "what is left", which needs no cut."""
    node = item.get_source_output().get_node()
    return node.get_type_name() == "Constant" and int(node.data.reshape(-1)[index]) == -1


def _lengths(shape: ov.PartialShape) -> list[int | None]:
    return [axis_length(shape, i) for i in range(len(shape))]


def _target_lengths(source: ov.PartialShape, target: ov.PartialShape) -> list[int | None]:
    """Lengths of a Reshape's result, with the one that OpenVINO cannot infer while the batch axis is dynamic."""
    before, after = _lengths(source)[1:], _lengths(target)
    unknown = [i for i in range(1, len(after)) if after[i] is None]
    if len(unknown) == 1 and None not in before and axis_length(source, 0) is None and after[0] is None:
        known = math.prod(n for n in after[1:] if n is not None)
        whole = math.prod(n for n in before if n is not None)
        if known and whole % known == 0:
            after[unknown[0]] = whole // known
    return after


def _trailing(lengths: Sequence[int | None], axis: int) -> int:
    """Product of the lengths after `axis`; 0 if one is dynamic, which matches nothing."""
    return math.prod(length or 0 for length in lengths[axis + 1 :])
