"""A knob is one searchable dimension of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class KnobKind(str, Enum):
    """What a knob chooses."""

    DEPTH = "depth"
    WIDTH = "width"
    PRECISION = "precision"
    INFERENCE_PRECISION = "inference_precision"


@dataclass(frozen=True)
class Activation:
    """A knob takes part only while the depth knob `knob` has at least the value `at_least`."""

    knob: str
    at_least: int


@dataclass(frozen=True)
class Knob:
    """One searchable dimension.

    Attributes:
        name: Unique name, keyed by logical block, for instance "layer.3.heads" or "layer.3.ffn_out".
        kind: What it chooses.
        choices: Allowed values in ascending order of cost; a gene is an index into them.
        active_if: Condition under which it takes part, or None if it always does.
    """

    name: str
    kind: KnobKind
    choices: tuple[int | str, ...]
    active_if: Activation | None = None

    def __post_init__(self) -> None:
        if not self.choices or len(set(self.choices)) != len(self.choices):
            raise ValueError(f"knob '{self.name}' needs distinct choices: got {self.choices}")

    def to_json(self) -> dict[str, Any]:
        """The knob as it stands in `space.json`."""
        record: dict[str, Any] = {"name": self.name, "kind": self.kind.value, "choices": list(self.choices)}
        if self.active_if is not None:
            record["active_if"] = {"knob": self.active_if.knob, "at_least": self.active_if.at_least}
        return record

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Knob:
        """The knob that `to_json` wrote."""
        active = record.get("active_if")
        return Knob(
            record["name"],
            KnobKind(record["kind"]),
            tuple(record["choices"]),
            None if active is None else Activation(active["knob"], active["at_least"]),
        )
