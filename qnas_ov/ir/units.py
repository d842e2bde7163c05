"""Precision units: the operations that must share a precision because they share quantizers.

A unit is keyed by its logical block, not by a node's name, so that it means the same in every subnetwork.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from qnas_ov.ir.graph import module_path

INT8 = "int8"
W8 = "w8"
FLOAT = "float"
PRECISIONS = (INT8, W8, FLOAT)
"""What a unit can run in, cheapest first: INT8, INT8 weights with floating-point activations, floating point."""


@dataclass(frozen=True)
class PrecisionUnit:
    """Operations that switch between INT8 and floating point together.

    Attributes:
        key: Unique name by logical block, for instance "layer.3.attention.attention.query+key+value".
        operations: Friendly names of the operations.
        quantizers: Friendly names of the activation quantizers that exist only for them.
        weights: (operation, port) of the weights that INT8 stores as integers.
        biases: (operation, port) of the biases that bias correction changed.
        params: Numbers in those weights.
        macs: Multiply-accumulates of its operations on one sample.
        blocks: Logical block of every operation, for instance "layer.3".
        computing: Those of its operations that multiply; the others (additions, pooling) only read INT8.
    """

    key: str
    operations: tuple[str, ...]
    quantizers: tuple[str, ...]
    weights: tuple[tuple[str, int], ...] = ()
    biases: tuple[tuple[str, int], ...] = ()
    params: int = 0
    macs: int = 0
    blocks: tuple[str, ...] = ()
    computing: tuple[str, ...] = ()

    @property
    def knob(self) -> str:
        """Name of the knob that chooses its precision."""
        return f"precision.{self.key}"

    @property
    def deciding(self) -> tuple[str, ...]:
        """The operations whose kernels decide in what precision the unit runs: those that multiply, if any do."""
        return self.computing or self.operations

    def choices(self, allowed: Sequence[str]) -> tuple[str, ...]:
        """The precisions among `allowed` that differ for this unit, cheapest first; without weights, w8 is float."""
        kept = [p for p in PRECISIONS if p in allowed]
        if not self.weights and W8 in kept:
            kept = [p for p in PRECISIONS if p in {FLOAT if k == W8 else k for k in kept}]
        return tuple(kept)

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
            record["params"],
            record["macs"],
            tuple(record["blocks"]),
            tuple(record["computing"]),
        )


@dataclass
class RawUnit:
    """A group of quantizers as NNCF finds it, before it has a key."""

    operations: list[str]
    quantizers: list[str]
    places: list[str]  # by operation: its name, or the name of what it feeds where it was named by a number
    weights: list[tuple[str, int]] = field(default_factory=list)
    biases: list[tuple[str, int]] = field(default_factory=list)
    params: int = 0
    macs: int = 0
    computing: list[str] = field(default_factory=list)


def name_units(raw: Sequence[RawUnit]) -> tuple[PrecisionUnit, ...]:
    """Gives every group its key: the common module path of its operations and what differs, without shared prefixes."""
    labels = [[_label(name) for name in sorted(unit.places)] for unit in raw]
    prefix = _common_prefix([label for group in labels for label in group if "." in label])
    keys = [_join([label.removeprefix(prefix) for label in group]) for group in labels]
    if len(set(keys)) != len(keys):
        keys = [f"{key}#{i}" for i, key in enumerate(keys)]
    return tuple(
        PrecisionUnit(
            key,
            tuple(unit.operations),
            tuple(unit.quantizers),
            tuple(unit.weights),
            tuple(unit.biases),
            unit.params,
            unit.macs,
            tuple(logical_block(_label(name).removeprefix(prefix)) for name in unit.places),
            tuple(unit.computing),
        )
        for key, unit in zip(keys, raw, strict=True)
    )


def merge_by_block(units: Sequence[PrecisionUnit]) -> tuple[PrecisionUnit, ...]:
    """One unit per logical block; units that reach into several blocks, and those in none, stay as they are."""
    groups: dict[str, list[PrecisionUnit]] = {}
    for unit in units:
        blocks = set(unit.blocks)
        name = blocks.pop() if len(blocks) == 1 else ""
        groups.setdefault(name or unit.key, []).append(unit)
    return tuple(_merged(name, group) if len(group) > 1 else group[0] for name, group in groups.items())


def _merged(key: str, units: Sequence[PrecisionUnit]) -> PrecisionUnit:
    return PrecisionUnit(
        key,
        tuple(n for u in units for n in u.operations),
        tuple(n for u in units for n in u.quantizers),
        tuple(w for u in units for w in u.weights),
        tuple(b for u in units for b in u.biases),
        sum(u.params for u in units),
        sum(u.macs for u in units),
        tuple(b for u in units for b in u.blocks),
        tuple(n for u in units for n in u.computing),
    )


def logical_block(label: str) -> str:
    """The part of a module path that names its block, or "" if it lies in none.

    A block is a numbered module ("layer.3", "encoder_layer_3"), or a numbered one within a numbered stage
    ("stages.2.layers.5"); numbers further down count the layers of the block.
    """
    parts = label.split("/", 1)[0].split(".")
    numbered = [i for i, part in enumerate(parts) if re.fullmatch(r"(.*_)?\d+", part)]
    if not numbered:
        return ""
    inner = [i for i in numbered[1:2] if _is_stage(parts, numbered[0]) and i - numbered[0] == 2]
    return ".".join(parts[: (inner or numbered)[0] + 1])


def _is_stage(parts: Sequence[str], index: int) -> bool:
    """Whether the number at `index` counts stages: it stands under a name for stages, and blocks are numbered below."""
    return index > 0 and parts[index - 1] in ("stages", "layers") and parts[index + 1] in ("layers", "blocks")


def _label(name: str) -> str:
    """Module path of a linear or convolution layer; with the operation's type where the module holds several."""
    path = module_path(name)
    if path is None:
        return _onnx_label(name)
    operation = name.split("/", 1)[1]
    if "aten::linear" in operation or "aten::_convolution" in operation:
        return path
    return f"{path}/{operation.split('/')[-1]}"


def _onnx_label(name: str) -> str:
    """The scope in a name as torch's ONNX exporter writes it ("/layer.0/query/MatMul"), else the name itself."""
    if not name.startswith("/") or name.count("/") < 2:
        return name
    scope, operation = name[1:].rsplit("/", 1)
    return f"{scope.replace('/', '.')}/{operation}"


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
