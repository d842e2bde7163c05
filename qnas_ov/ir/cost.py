"""Exact costs of any candidate, computed from its genotype alone: weight bytes, MACs, parameters.

The terms are read off the bank's graphs once; a genotype then only multiplies and adds. Nothing is predicted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import openvino as ov

from qnas_ov.families import Elastic
from qnas_ov.ir.channels import ChannelPlan
from qnas_ov.ir.graph import constant_leaves, is_constant_input, module_path, nodes_by_name
from qnas_ov.ir.units import FLOAT, INT8, PrecisionUnit
from qnas_ov.space import Space

_MAC_TYPES = {"MatMul", "Convolution", "GroupConvolution", "ScaledDotProductAttention"}


@dataclass(frozen=True)
class _Term:
    """Amounts that scale together: with the widths of `knobs`, while the block of `path` is kept.

    `unit` says whose precision chooses between `int8` and `real`; None where both are the same.
    """

    knobs: tuple[tuple[str, int], ...]
    depth: tuple[str, int] | None
    unit: str | None
    kind: str


class CostModel:
    """Weight bytes, MACs and parameters of every candidate of a space."""

    def __init__(self, terms: Mapping[_Term, tuple[float, float]], space: Space) -> None:
        self._space = space
        self._terms = dict(terms)

    def __call__(self, genotypes: np.ndarray) -> dict[str, np.ndarray]:
        """Costs of canonical genotypes.

        Args:
            genotypes: Int array (n, num_knobs).

        Returns:
            Float arrays (n,): `size_bytes` (constants of the saved IR), `macs` and `params` (of one sample), and
            `macs_int8`, the part of the MACs that runs in INT8.
        """
        values = {}
        for i, knob in enumerate(self._space.knobs):
            if all(isinstance(c, int) for c in knob.choices):
                values[knob.name] = np.asarray(knob.choices, dtype=np.float64)[genotypes[:, i]]
            elif knob.choices in ((INT8, FLOAT), (INT8,), (FLOAT,)):
                values[knob.name] = np.asarray([c == INT8 for c in knob.choices], dtype=np.float64)[genotypes[:, i]]
        totals = {k: np.zeros(len(genotypes)) for k in ("size_bytes", "macs", "params", "macs_int8")}
        for term, (int8, real) in self._terms.items():
            scale = np.ones(len(genotypes))
            for knob_name, full in term.knobs:
                scale = scale * values[knob_name] / full
            if term.depth is not None:
                scale = scale * (values[term.depth[0]] >= term.depth[1])
            share = values[term.unit] if term.unit is not None else 0.0
            totals[term.kind] += scale * (share * int8 + (1.0 - share) * real)
        return totals


def build_cost_model(
    *,
    source: ov.Model,
    smoothed: ov.Model,
    int8: ov.Model,
    units: tuple[PrecisionUnit, ...],
    plan: ChannelPlan,
    elastic: Elastic,
    space: Space,
) -> CostModel:
    """Reads the terms off the bank's graphs.

    Args:
        source: The exported network: its parameters are counted.
        smoothed: The float network: bytes of units in floating point.
        int8: The INT8 network: bytes of units in INT8, MACs of every operation.
        units: The precision units.
        plan: Where width knobs cut the INT8 network.
        elastic: The elastic dimensions.
        space: The space whose genotypes will be asked for.
    """
    terms: dict[_Term, list[float]] = defaultdict(lambda: [0.0, 0.0])
    factory = _TermFactory(elastic, plan)
    _add_size(terms, factory, smoothed, int8, units)
    _add_macs(terms, factory, int8, units)
    _add_params(terms, factory, source)
    return CostModel({t: (a, b) for t, (a, b) in terms.items()}, space)


class _TermFactory:
    """Finds the knobs and the depth condition of a node."""

    def __init__(self, elastic: Elastic, plan: ChannelPlan) -> None:
        self.full = {g.knob: g.num_groups for g in elastic.widths}
        self._elastic = elastic
        self._scaled_by = plan.scaled_by
        self._cuts: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
        for cuts in plan.cuts.values():
            for cut in cuts:
                if cut.reshape_index is None:
                    self._cuts[cut.node, cut.port].append((cut.knob, cut.axis))

    def term(self, name: str, knobs: tuple[str, ...], unit: str | None, kind: str) -> _Term:
        path = module_path(name)
        active = self._elastic.activation_of(path) if path else None
        depth = (active.knob, active.at_least) if active else None
        return _Term(tuple((k, self.full[k]) for k in sorted(knobs)), depth, unit, kind)

    def cutting_knobs(self, name: str, port: int, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Knobs that shorten a constant of this shape behind this input."""
        cuts = self._cuts.get((name, port), [])
        return tuple(k for k, axis in cuts if len(shape) >= -axis and shape[axis] > 1)

    def scaling_knobs(self, name: str) -> tuple[str, ...]:
        return tuple(self._scaled_by.get(name, ()))


def _leaves(model: ov.Model) -> list[tuple[str, int, ov.Node]]:
    """Every Constant once: the operation and port that take it, perhaps through a scale, and the node."""
    found, seen = [], set()
    for node in model.get_ordered_ops():
        if all(is_constant_input(p) for p in node.inputs()):
            continue  # inside a constant subgraph, or an input of the network: reached from its reader
        for port in node.inputs():
            if is_constant_input(port):
                for _, constant in constant_leaves(port):
                    if constant.get_friendly_name() not in seen:
                        seen.add(constant.get_friendly_name())
                        found.append((node.get_friendly_name(), port.get_index(), constant))
    return found


def _add_size(
    terms: dict[_Term, list[float]],
    factory: _TermFactory,
    smoothed: ov.Model,
    int8: ov.Model,
    units: tuple[PrecisionUnit, ...],
) -> None:
    weight_unit = {place: u.knob for u in units for place in u.weights}
    range_unit = {name: u.knob for u in units for name in u.quantizers}
    for name, port, constant in _leaves(int8):
        unit = weight_unit.get((name, port)) or range_unit.get(name)
        knobs = factory.cutting_knobs(name, port, tuple(constant.get_output_shape(0)))
        # A float unit loses this constant: its INT8 weights and ranges go, or its float weights come (below).
        terms[factory.term(name, knobs, unit, "size_bytes")][0] += constant.data.nbytes
        if unit is None:
            terms[factory.term(name, knobs, None, "size_bytes")][1] += constant.data.nbytes
    nodes = nodes_by_name(smoothed)
    for (name, port), unit in weight_unit.items():
        for _, constant in constant_leaves(nodes[name].input(port)):
            knobs = factory.cutting_knobs(name, port, tuple(constant.get_output_shape(0)))
            terms[factory.term(name, knobs, unit, "size_bytes")][1] += constant.data.nbytes


def _add_macs(
    terms: dict[_Term, list[float]], factory: _TermFactory, int8: ov.Model, units: tuple[PrecisionUnit, ...]
) -> None:
    unit_of = {name: u.knob for u in units for name in u.operations}
    single = int8.clone()
    single.reshape({p: ov.PartialShape([1, *list(p.get_partial_shape())[1:]]) for p in single.inputs})
    for node in single.get_ordered_ops():
        if node.get_type_name() in _MAC_TYPES:
            macs = float(node_macs(node))
            name = node.get_friendly_name()
            knobs = factory.scaling_knobs(name)
            terms[factory.term(name, knobs, None, "macs")][1] += macs
            if name in unit_of:
                terms[factory.term(name, knobs, unit_of[name], "macs_int8")][0] += macs


def _add_params(terms: dict[_Term, list[float]], factory: _TermFactory, source: ov.Model) -> None:
    for name, port, constant in _leaves(source):
        if constant.get_output_element_type(0).is_real() and len(constant.get_output_shape(0)) > 0:
            knobs = factory.cutting_knobs(name, port, tuple(constant.get_output_shape(0)))
            terms[factory.term(name, knobs, None, "params")][1] += constant.data.size


def node_macs(node: ov.Node) -> int:
    """Multiply-accumulates of one operation of static shape; 0 for types that have none."""
    kind = node.get_type_name()
    if kind not in _MAC_TYPES:
        return 0
    output = int(np.prod(node.get_output_shape(0)))
    if kind == "MatMul":
        shape = node.get_input_shape(0)
        return output * int(shape[-2 if node.get_attributes()["transpose_a"] else -1])
    if kind == "ScaledDotProductAttention":
        query, key = node.get_input_shape(0), node.get_input_shape(1)
        return (int(np.prod(query)) + output) * int(key[-2])
    weights = node.get_input_shape(1)
    per_output = weights[1:] if kind == "Convolution" else weights[2:]
    return output * int(np.prod(per_output))


def count_macs(model: ov.Model) -> int:
    """Multiply-accumulates of one sample through a network."""
    single = model.clone()
    single.reshape({p: ov.PartialShape([1, *list(p.get_partial_shape())[1:]]) for p in single.inputs})
    return sum(node_macs(n) for n in single.get_ops())
