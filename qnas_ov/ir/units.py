"""Precision units: the operations that must share a precision because they share quantizers.

A unit is keyed by its logical block, not by a node's name, so that it means the same in every subnetwork.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from qnas_ov.ir.graph import module_path

INT8 = "int8"
FLOAT = "float"


@dataclass(frozen=True)
class PrecisionUnit:
    """Operations that switch between INT8 and floating point together.

    Attributes:
        key: Unique name by logical block, for instance "layer.3.attention.attention.query+key+value".
        operations: Friendly names of the operations.
        quantizers: Friendly names of the activation quantizers that exist only for them.
        weights: (operation, port) of the weights that INT8 stores as integers.
        biases: (operation, port) of the biases that bias correction changed.
    """

    key: str
    operations: tuple[str, ...]
    quantizers: tuple[str, ...]
    weights: tuple[tuple[str, int], ...] = ()
    biases: tuple[tuple[str, int], ...] = ()

    @property
    def knob(self) -> str:
        """Name of the knob that chooses its precision."""
        return f"precision.{self.key}"

    def to_json(self) -> dict[str, Any]:
        """The unit as JSON."""
        return asdict(self)

    @staticmethod
    def from_json(record: dict[str, Any]) -> PrecisionUnit:
        """The unit that `to_json` wrote."""
        return PrecisionUnit(
            record["key"],
            tuple(record["operations"]),
            tuple(record["quantizers"]),
            tuple((n, p) for n, p in record["weights"]),
            tuple((n, p) for n, p in record["biases"]),
        )


@dataclass
class RawUnit:
    """A group of quantizers as NNCF finds it, before it has a key."""

    operations: list[str]
    quantizers: list[str]
    weights: list[tuple[str, int]] = field(default_factory=list)
    biases: list[tuple[str, int]] = field(default_factory=list)


def name_units(raw: Sequence[RawUnit]) -> tuple[PrecisionUnit, ...]:
    """Gives every group its key: the common module path of its operations and what differs, without shared prefixes."""
    labels = [[_label(name) for name in sorted(unit.operations)] for unit in raw]
    prefix = _common_prefix([label for group in labels for label in group if "." in label])
    units = []
    for unit, group in zip(raw, labels, strict=True):
        key = _join([label.removeprefix(prefix) for label in group])
        units.append(
            PrecisionUnit(key, tuple(unit.operations), tuple(unit.quantizers), tuple(unit.weights), tuple(unit.biases))
        )
    if len({u.key for u in units}) != len(units):
        units = [
            PrecisionUnit(f"{u.key}#{i}", u.operations, u.quantizers, u.weights, u.biases) for i, u in enumerate(units)
        ]
    return tuple(units)


def _label(name: str) -> str:
    """Module path of a linear or convolution layer; with the operation's type where the module holds several."""
    path = module_path(name)
    if path is None:
        return name
    operation = name.split("/", 1)[1]
    if "aten::linear" in operation or "aten::_convolution" in operation:
        return path
    return f"{path}/{operation.split('/')[-1]}"


def _common_prefix(labels: list[str]) -> str:
    """The longest run of whole path components that two thirds of the labels begin with."""
    prefix = ""
    while labels:
        heads = [label[len(prefix) :].split(".", 1)[0] for label in labels if "." in label[len(prefix) :]]
        head = max(set(heads), key=heads.count, default="")
        if not head or head.isdigit() or heads.count(head) * 3 < len(labels) * 2:
            return prefix
        if _next_is_index(labels, f"{prefix}{head}."):
            return prefix
        labels = [label for label in labels if label.startswith(f"{prefix}{head}.")]
        prefix = f"{prefix}{head}."
    return prefix


def _next_is_index(labels: list[str], prefix: str) -> bool:
    return any(label.startswith(prefix) and label[len(prefix) :].split(".", 1)[0].isdigit() for label in labels)


def _join(labels: list[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    first, last = min(labels), max(labels)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    common = first[: max(first.rfind(".", 0, same), first.rfind("/", 0, same)) + 1]
    return common + "+".join(label[len(common) :] for label in labels)
