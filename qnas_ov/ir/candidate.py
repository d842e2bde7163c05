"""From a genotype to its IR, by surgery on the bank: a clone, some slices, some reverts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import openvino as ov

from qnas_ov.families import Architecture, Elastic
from qnas_ov.ir.calibrate import Bank, Ranges, Sample, Scheme, build_bank_once
from qnas_ov.ir.channels import plan_channels
from qnas_ov.ir.cost import CostModel, build_cost_model
from qnas_ov.ir.graph import inside, module_path, nodes_by_name, of_one_sample
from qnas_ov.ir.norms import NormEstimator
from qnas_ov.ir.sandwich import with_ranges
from qnas_ov.ir.surgery import drop_blocks, remove_quantizers, restore_constants, slice_channels
from qnas_ov.ir.units import FLOAT, INT8, W8, PrecisionUnit, merge_by_block
from qnas_ov.space import Activation, Knob, KnobKind, Space

INFERENCE_PRECISION = "inference_precision"


@dataclass(frozen=True)
class Candidate:
    """A genotype in words.

    Attributes:
        architecture: Values of the active depth and width knobs.
        policy: "int8", "w8" or "float" for every active precision unit, by key.
        inference_precision: The runtime hint, "f32" or "bf16".
    """

    architecture: dict[str, int]
    policy: dict[str, str]
    inference_precision: str

    def to_json(self) -> dict[str, Any]:
        """The candidate as JSON."""
        return {
            "architecture": self.architecture,
            "policy": self.policy,
            "inference_precision": self.inference_precision,
        }


def revert_units(
    nodes: Mapping[str, ov.Node], bank: Bank, units: Sequence[PrecisionUnit], policy: Mapping[str, str]
) -> None:
    """Takes units out of INT8 in a clone of a bank's INT8 network; units that the policy leaves out stay.

    Args:
        nodes: Operations of the clone by friendly name.
        bank: The bank.
        units: Its units.
        policy: Precision by unit key. "w8" keeps INT8 weights, as NNCF's `RestoreMode.ONLY_ACTIVATIONS` does.
    """
    reverted = [u for u in units if policy.get(u.key, INT8) != INT8]
    if not reverted:
        return
    donors = nodes_by_name(bank.smoothed.clone())
    for unit in reverted:
        remove_quantizers(nodes, unit.quantizers)
        weights = unit.weights if policy[unit.key] == FLOAT else ()
        restore_constants(nodes, donors, (*weights, *unit.biases))


class CandidateBuilder:
    """Builds the IR of every candidate of a joint space."""

    def __init__(
        self,
        bank: Bank,
        elastic: Elastic,
        *,
        inference_precisions: Sequence[str],
        scheme: Scheme,
        precisions: Sequence[str] = (INT8, FLOAT),
        merge_blocks: bool = False,
        norms: NormEstimator | None = None,
        ranges: Ranges | None = None,
    ) -> None:
        """Plans where candidates are cut.

        Args:
            bank: What they are cut from.
            elastic: The elastic dimensions.
            inference_precisions: Hints to choose from.
            scheme: As for the bank.
            precisions: What a unit may run in.
            merge_blocks: Whether units of one logical block share their precision.
            norms: What estimates batch normalisations of subnetworks; None if there are none.
            ranges: Activation ranges of subnetworks, by `load_or_collect_ranges`; None takes those of the largest.
        """
        self.bank = bank
        self.elastic = elastic
        self.units = merge_by_block(bank.units) if merge_blocks else bank.units
        self._scheme = scheme
        self._norms = norms
        self._shared = with_ranges(bank.int8, ranges) if ranges else bank.int8
        self._largest = elastic.largest()
        self._plan = plan_channels(bank.int8, elastic)
        self._source_plan = plan_channels(bank.source, elastic)
        choices = {u.key: u.choices(precisions) for u in self.units}
        self.space = Space(
            [
                *elastic.knobs(),
                *(Knob(u.knob, KnobKind.PRECISION, choices[u.key], self._unit_activation(u)) for u in self.units),
                Knob(INFERENCE_PRECISION, KnobKind.INFERENCE_PRECISION, tuple(inference_precisions)),
            ]
        )
        self.costs: CostModel = build_cost_model(
            source=bank.source,
            smoothed=bank.smoothed,
            int8=bank.int8,
            units=self.units,
            plan=self._plan,
            elastic=elastic,
            space=self.space,
        )

    def _unit_activation(self, unit: PrecisionUnit) -> Activation | None:
        """A unit exists while any of its operations does; one that several depth knobs could end always counts."""
        found = [self.elastic.activation_of(module_path(name) or "") for name in unit.operations]
        present = [a for a in found if a is not None]
        if len(present) < len(found) or len({a.knob for a in present}) > 1:
            return None
        return min(present, key=lambda a: a.at_least)

    def deciding(self, unit: PrecisionUnit, architecture: Architecture) -> tuple[str, ...]:
        """Those of a unit's deciding operations that a subnetwork has: a unit may reach over blocks that it skips."""
        skipped = self.elastic.skipped_blocks(architecture)
        paths = {name: module_path(name) for name in unit.deciding}
        return tuple(name for name, path in paths.items() if not any(inside(path, block) for block in skipped))

    def widths_of(self, unit: PrecisionUnit) -> tuple[str, ...]:
        """The width knobs that scale a unit's work."""
        return tuple(sorted({k for name in unit.operations for k, _ in self._plan.scaled_by.get(name, ())}))

    @cached_property
    def elements(self) -> dict[str, int]:
        """Numbers that each unit hands on to the next, by key: the outputs of its last operation, of one sample."""
        outputs = {n.get_friendly_name(): n.output(0) for n in of_one_sample(self.bank.int8).get_ops()}
        return {u.key: int(np.prod(outputs[u.deciding[-1]].get_shape())) for u in self.units}

    def candidate(self, genotype: Sequence[int]) -> Candidate:
        """The genotype in words."""
        values = self.space.decode(genotype)
        policy = {u.key: str(values[u.knob]) for u in self.units if u.knob in values}
        names = {k.name for k in self.elastic.knobs()}
        return Candidate(
            architecture={k: int(v) for k, v in values.items() if k in names},
            policy=policy,
            inference_precision=str(values[INFERENCE_PRECISION]),
        )

    def genotype(
        self,
        *,
        architecture: Architecture,
        inference_precision: str,
        precision: str | None = None,
        policy: Mapping[str, str] | None = None,
    ) -> tuple[int, ...]:
        """The genotype of an architecture and a policy.

        Args:
            architecture: Values of its width and depth knobs.
            inference_precision: The hint.
            precision: Of all units that `policy` leaves out; None takes the cheapest that each unit may run in. A unit
                without weights runs in float where this is "w8".
            policy: Precision by unit key.
        """
        values: dict[str, int | str] = {**architecture, INFERENCE_PRECISION: inference_precision}
        for unit in self.units:
            choices = self.space.knobs[self.space.index(unit.knob)].choices
            wanted = (policy or {}).get(unit.key, precision)
            if wanted is None:
                wanted = str(choices[0])
            values[unit.knob] = FLOAT if wanted == W8 and not unit.weights else wanted
        return self.space.encode(values)

    def build(self, candidate: Candidate) -> ov.Model:
        """Cuts the candidate's IR out of the bank; tens of milliseconds, nothing is calibrated.

        Batch normalisations need a pass over calibration samples more, once for each architecture.
        """
        return self.build_policy(candidate.architecture, candidate.policy)

    def build_policy(self, architecture: Architecture, policy: Mapping[str, str]) -> ov.Model:
        """Cuts an IR out of the bank; units that `policy` leaves out are INT8."""
        model = (self.bank.int8 if dict(architecture) == self._largest else self._shared).clone()
        drop_blocks(model, self.elastic.skipped_runs(architecture))
        nodes = nodes_by_name(model)
        revert_units(nodes, self.bank, self.units, policy)
        slice_channels(nodes, self._plan, architecture)
        model.validate_nodes_and_infer_types()
        self._correct_norms(model, architecture)
        return model

    def build_float(self, architecture: Architecture) -> ov.Model:
        """Cuts a subnetwork out of the exported network: plain FP32, no quantizers, no SmoothQuant."""
        model = self._cut_source(architecture)
        self._correct_norms(model, architecture)
        return model

    def _correct_norms(self, model: ov.Model, architecture: Architecture) -> None:
        if self._norms is not None:
            self._norms.correct(model, architecture, cut_source=lambda: self._cut_source(architecture))

    def _cut_source(self, architecture: Architecture) -> ov.Model:
        model = self.bank.source.clone()
        drop_blocks(model, self.elastic.skipped_runs(architecture))
        slice_channels(nodes_by_name(model), self._source_plan, architecture)
        model.validate_nodes_and_infer_types()
        return model

    def recalibrate(self, candidate: Candidate, samples: Sequence[Sample]) -> ov.Model:
        """Calibrates the candidate on its own graph; for the winners, before they are packaged.

        The unsearched architecture's own graph is the one that the bank was calibrated on.
        """
        if set(candidate.policy.values()) == {FLOAT}:
            return self.build_float(candidate.architecture)
        if candidate.architecture == self._largest:
            return self.build(candidate)
        model = self.build_float(candidate.architecture)
        bank = build_bank_once(model, samples, self._scheme)
        wanted = {name: candidate.policy.get(u.key) for u in self.units for name in u.operations}
        policy = {u.key: wanted[u.operations[0]] or FLOAT for u in bank.units}
        model = bank.int8.clone()
        revert_units(nodes_by_name(model), bank, bank.units, policy)
        model.validate_nodes_and_infer_types()
        return model

    def compute_costs(self, genotypes: np.ndarray) -> dict[str, np.ndarray]:
        """Exact costs of genotypes (n, num_knobs) by column name; see `CostModel`."""
        return self.costs(np.asarray(genotypes, dtype=np.int64).reshape(-1, len(self.space)))
