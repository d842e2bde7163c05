"""How a network is run: everything that decides its latency beside the network, the machine and the versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qnas_ov.core.errors import unknown_name

HINTS = ("latency", "throughput")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What is pinned in every measurement.

    Attributes:
        device: As OpenVINO spells it.
        shapes: Static shape by input name; the first axis is the batch.
        inference_precision: What floating-point operations run in: "f32", "bf16" or "f16".
        hint: "latency" (one synchronous request) or "throughput" (as many requests as the device likes, at once).
        streams: Inferences that run at the same time; None leaves them to the hint, which the run then records.
        threads: Threads of the CPU; None leaves them to the hint.
        batch: Samples in an inference.
    """

    device: str
    shapes: Mapping[str, Sequence[int]]
    inference_precision: str
    hint: str = "latency"
    streams: int | None = None
    threads: int | None = None
    batch: int = 1

    def __post_init__(self) -> None:
        if self.hint not in HINTS:
            raise unknown_name("performance hint", self.hint, HINTS)

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON: equal settings give equal JSON."""
        return {
            "device": self.device,
            "shapes": {name: list(self.shapes[name]) for name in sorted(self.shapes)},
            "inference_precision": self.inference_precision,
            "hint": self.hint,
            "streams": self.streams,
            "threads": self.threads,
            "batch": self.batch,
        }

    def describe(self) -> str:
        """The settings in a few words."""
        pinned = [f"{n} {w}" for n, w in ((self.streams, "streams"), (self.threads, "threads")) if n is not None]
        return ", ".join([self.device, f"{self.hint} hint", f"batch {self.batch}", self.inference_precision, *pinned])
