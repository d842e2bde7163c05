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
from qnas_ov.ir.graph import (
    constant_leaves,
    is_constant_input,
    module_path,
    node_macs,
    nodes_by_name,
    of_one_sample,
    served_module,
)
from qnas_ov.ir.units import FLOAT, INT8, PRECISIONS, W8, PrecisionUnit
from qnas_ov.space import KnobKind, Space


@dataclass(frozen=True)
class _Term:
    """Amounts that scale together: with the widths of `knobs`, while the block of `path` is kept.

    `unit` says whose precision chooses among the amounts; None where it does not matter.
    """

    knobs: tuple[tuple[str, int], ...]
    depth: tuple[str, int] | None
    unit: str | None
    kind: str


_Terms = dict[_Term, dict[str, float]]


class CostModel:
    """Weight bytes, MACs and parameters of every candidate of a space."""

    def __init__(self, terms: Mapping[_Term, Mapping[str, float]], space: Space) -> None:
        self._space = space
        self._terms = {
            term: np.array([amounts[str(c)] for c in _choices(space, term.unit)]) for term, amounts in terms.items()
        }

    def __call__(self, genotypes: np.ndarray) -> dict[str, np.ndarray]:
        """Costs of canonical genotypes.

        Args:
            genotypes: Int array (n, num_knobs).

        Returns:
            Float arrays (n,): `size_bytes` (constants of the saved IR), `macs` and `params` (of one sample), and
            `macs_int8`, the part of the MACs that runs in INT8.
        """
        values = {
            knob.name: np.asarray(knob.choices, dtype=np.float64)[genotypes[:, i]]
            for i, knob in enumerate(self._space.knobs)
            if knob.kind in (KnobKind.DEPTH, KnobKind.WIDTH)
        }
        totals = {k: np.zeros(len(genotypes)) for k in ("size_bytes", "macs", "params", "macs_int8")}
        for term, amounts in self._terms.items():
            scale = np.ones(len(genotypes))
            for knob_name, full in term.knobs:
                scale = scale * values[knob_name] / full
            if term.depth is not None:
                scale = scale * (values[term.depth[0]] >= term.depth[1])
            chosen = amounts[0] if term.unit is None else amounts[genotypes[:, self._space.index(term.unit)]]
            totals[term.kind] += scale * chosen
        return totals


def _choices(space: Space, unit: str | None) -> tuple[int | str, ...]:
    return (FLOAT,) if unit is None else space.knobs[space.index(unit)].choices


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
    terms: _Terms = defaultdict(lambda: dict.fromkeys(PRECISIONS, 0.0))
    factory = _TermFactory(elastic, plan, int8)
    _add_size(terms, factory, smoothed, int8, units)
    _add_macs(terms, factory, int8, units)
    _add_params(terms, factory, source)
    return CostModel(terms, space)


class _TermFactory:
    """Finds the knobs and the depth condition of a node."""

    def __init__(self, elastic: Elastic, plan: ChannelPlan, int8: ov.Model) -> None:
        self._paths = {node.get_friendly_name(): served_module(node) for node in int8.get_ops()}
        self.full = {g.knob: g.num_groups for g in elastic.widths}
        self._elastic = elastic
        self._scaled_by = plan.scaled_by
        self._cuts: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
        for cuts in plan.cuts.values():
            for cut in cuts:
                if cut.reshape_index is None:
                    self._cuts[cut.node, cut.port].append((cut.knob, cut.axis))

    def term(self, name: str, knobs: tuple[str, ...], unit: str | None, kind: str) -> _Term:
        path = self._paths.get(name, module_path(name))
        active = self._elastic.activation_of(path) if path else None
        depth = (active.knob, active.at_least) if active else None
        return _Term(tuple((k, self.full[k]) for k in sorted(knobs)), depth, unit, kind)

    def cutting_knobs(self, name: str, port: int, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Knobs that shorten a constant of this shape behind this input."""
        cuts = self._cuts.get((name, port), [])
        return tuple(k for k, axis in cuts if len(shape) >= -axis and shape[axis] > 1)

    def scaling_knobs(self, name: str) -> tuple[str, ...]:
        return tuple(knob for knob, _ in self._scaled_by.get(name, ()))


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
    terms: _Terms,
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
        # A float unit loses this constant: its INT8 weights and ranges go, and its float weights come (below).
        if unit is None:
            stays: tuple[str, ...] = PRECISIONS
        else:
            stays = (INT8, W8) if (name, port) in weight_unit else (INT8,)
        for precision in stays:
            terms[factory.term(name, knobs, unit, "size_bytes")][precision] += constant.data.nbytes
    nodes = nodes_by_name(smoothed)
    for (name, port), unit in weight_unit.items():
        for _, constant in constant_leaves(nodes[name].input(port)):
            knobs = factory.cutting_knobs(name, port, tuple(constant.get_output_shape(0)))
            terms[factory.term(name, knobs, unit, "size_bytes")][FLOAT] += constant.data.nbytes


def _add_macs(terms: _Terms, factory: _TermFactory, int8: ov.Model, units: tuple[PrecisionUnit, ...]) -> None:
    unit_of = {name: u.knob for u in units for name in u.operations}
    for node in of_one_sample(int8).get_ordered_ops():
        macs = float(node_macs(node))
        if macs:
            name = node.get_friendly_name()
            knobs = factory.scaling_knobs(name)
            terms[factory.term(name, knobs, None, "macs")][FLOAT] += macs
            if name in unit_of:
                terms[factory.term(name, knobs, unit_of[name], "macs_int8")][INT8] += macs


def _add_params(terms: _Terms, factory: _TermFactory, source: ov.Model) -> None:
    for name, port, constant in _leaves(source):
        if constant.get_output_element_type(0).is_real() and len(constant.get_output_shape(0)) > 0:
            knobs = factory.cutting_knobs(name, port, tuple(constant.get_output_shape(0)))
            terms[factory.term(name, knobs, None, "params")][FLOAT] += constant.data.size
