"""From a genotype to its IR, by surgery on the bank: a clone, some slices, some reverts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov

from qnas_ov.families import Architecture, Elastic
from qnas_ov.ir.calibrate import Bank, Sample, quantize_afresh
from qnas_ov.ir.channels import plan_channels
from qnas_ov.ir.cost import CostModel, build_cost_model
from qnas_ov.ir.graph import module_path, nodes_by_name
from qnas_ov.ir.surgery import drop_blocks, remove_quantizers, restore_constants, slice_channels
from qnas_ov.ir.units import FLOAT, INT8, PrecisionUnit
from qnas_ov.space import Activation, Knob, KnobKind, Space

INFERENCE_PRECISION = "inference_precision"


@dataclass(frozen=True)
class Candidate:
    """A genotype in words.

    Attributes:
        architecture: Values of the active depth and width knobs.
        policy: "int8" or "float" for every active precision unit, by key.
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


class CandidateBuilder:
    """Builds the IR of every candidate of a joint space."""

    def __init__(self, bank: Bank, elastic: Elastic, *, inference_precisions: Sequence[str], transformer: bool) -> None:
        self.bank = bank
        self.elastic = elastic
        self._transformer = transformer
        self._plan = plan_channels(bank.int8, elastic)
        self._source_plan = plan_channels(bank.source, elastic)
        self.space = Space(
            [
                *elastic.knobs(),
                *(Knob(u.knob, KnobKind.PRECISION, (INT8, FLOAT), self._unit_activation(u)) for u in bank.units),
                Knob(INFERENCE_PRECISION, KnobKind.INFERENCE_PRECISION, tuple(inference_precisions)),
            ]
        )
        self.costs: CostModel = build_cost_model(
            source=bank.source,
            smoothed=bank.smoothed,
            int8=bank.int8,
            units=bank.units,
            plan=self._plan,
            elastic=elastic,
            space=self.space,
        )

    def _unit_activation(self, unit: PrecisionUnit) -> Activation | None:
        """A unit exists while any of its operations does."""
        found = [self.elastic.activation_of(module_path(name) or "") for name in unit.operations]
        present = [a for a in found if a is not None]
        if len(present) < len(found):
            return None
        return min(present, key=lambda a: a.at_least)

    def candidate(self, genotype: Sequence[int]) -> Candidate:
        """The genotype in words."""
        values = self.space.decode(genotype)
        policy = {u.key: str(values[u.knob]) for u in self.bank.units if u.knob in values}
        names = {k.name for k in self.elastic.knobs()}
        return Candidate(
            architecture={k: int(v) for k, v in values.items() if k in names},
            policy=policy,
            inference_precision=str(values[INFERENCE_PRECISION]),
        )

    def genotype(self, *, architecture: Architecture, precision: str, inference_precision: str) -> tuple[int, ...]:
        """The genotype with one precision for all units, for baselines."""
        return self.space.encode(
            {
                **architecture,
                **{u.knob: precision for u in self.bank.units},
                INFERENCE_PRECISION: inference_precision,
            }
        )

    def build(self, candidate: Candidate) -> ov.Model:
        """Cuts the candidate's IR out of the bank; tens of milliseconds, nothing is calibrated."""
        model = self.bank.int8.clone()
        drop_blocks(model, self.elastic.skipped_blocks(candidate.architecture))
        nodes = nodes_by_name(model)
        reverted = [u for u in self.bank.units if candidate.policy.get(u.key) == FLOAT]
        if reverted:
            donors = nodes_by_name(self.bank.smoothed.clone())
            for unit in reverted:
                remove_quantizers(nodes, unit.quantizers)
                restore_constants(nodes, donors, (*unit.weights, *unit.biases))
        slice_channels(nodes, self._plan, candidate.architecture)
        model.validate_nodes_and_infer_types()
        return model

    def build_float(self, architecture: Architecture) -> ov.Model:
        """Cuts a subnetwork out of the exported network: plain FP32, no quantizers, no SmoothQuant."""
        model = self.bank.source.clone()
        drop_blocks(model, self.elastic.skipped_blocks(architecture))
        slice_channels(nodes_by_name(model), self._source_plan, architecture)
        model.validate_nodes_and_infer_types()
        return model

    def recalibrate(self, candidate: Candidate, samples: Sequence[Sample]) -> ov.Model:
        """Calibrates the candidate on its own graph with `nncf.quantize`; for the winners, before they are packaged."""
        model = self.build_float(candidate.architecture)
        present = nodes_by_name(model)
        ignored = [
            name
            for unit in self.bank.units
            if candidate.policy.get(unit.key) == FLOAT
            for name in unit.operations
            if name in present
        ]
        if INT8 not in candidate.policy.values():
            return model
        return quantize_afresh(model, samples, transformer=self._transformer, ignored=ignored)

    def compute_costs(self, genotypes: np.ndarray) -> dict[str, np.ndarray]:
        """Exact costs of genotypes (n, num_knobs) by column name; see `CostModel`."""
        return self.costs(np.asarray(genotypes, dtype=np.int64).reshape(-1, len(self.space)))
