"""Candidates of networks of real size, measured by benchmark_app once and kept in a file, for studies of predictors."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from _common import require_cpu
from _networks import VIT_B16, images, vit

from qnas_ov.families import FAMILIES
from qnas_ov.ir import CandidateBuilder, Scheme, export_supernet, load_or_build_bank, open_network, save_ir
from qnas_ov.measure import LatencyMeter, RunSettings, describe_machine
from qnas_ov.space import Genotype

HINTS = ("bf16", "f32")
BERT_BASE = {
    "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_size": 768,
    "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "vocab_size": 30522,
    "max_position_embeddings": 512, "type_vocab_size": 2, "num_labels": 2,
}  # fmt: skip
TOKENS = 128


@dataclass(frozen=True)
class Subject:
    """A network with its space.

    Attributes:
        name: What it is called.
        builder: Cuts its candidates.
        shapes: Static shape by input.
    """

    name: str
    builder: CandidateBuilder
    shapes: dict[str, list[int]]


def vit_b16(hints: tuple[str, ...]) -> Subject:
    """ViT-B/16, joint space of SimQ-NAS, random weights."""
    supernet = vit(VIT_B16)
    calibration = [{"pixel_values": x[None]} for x in images(8, seed=1)]
    scheme = Scheme(transformer=True)
    bank = load_or_build_bank(export_supernet(supernet), calibration, scheme, cache=_cache())
    builder = CandidateBuilder(bank, supernet.elastic, inference_precisions=hints, scheme=scheme)
    return Subject("ViT-B/16", builder, {"pixel_values": [1, 3, 224, 224]})


def bert_base(hints: tuple[str, ...]) -> Subject:
    """BERT-base at 128 tokens, joint space of SimQ-NAS, random weights."""
    supernet = FAMILIES.get("bert").build(dict(BERT_BASE), seed=0)
    rng = np.random.default_rng(1)
    calibration = [
        {
            "input_ids": rng.integers(1000, 30000, (1, TOKENS)),
            "attention_mask": np.ones((1, TOKENS), dtype=np.int64),
            "token_type_ids": np.zeros((1, TOKENS), dtype=np.int64),
        }
        for _ in range(8)
    ]
    scheme = Scheme(transformer=True)
    bank = load_or_build_bank(export_supernet(supernet), calibration, scheme, cache=_cache())
    builder = CandidateBuilder(bank, supernet.elastic, inference_precisions=hints, scheme=scheme)
    return Subject("BERT-base", builder, {name: [1, TOKENS] for name in calibration[0]})


def resnet50(hints: tuple[str, ...]) -> Subject:
    """ResNet-50 with random weights; its quantization policy only."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    from qnas_ov.pipeline._source import NO_ELASTIC

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        ResNetForImageClassification(ResNetConfig(num_labels=1000)).eval().save_pretrained(folder)
        opened = open_network(Path(folder), {"pixel_values": (1, 3, 224, 224)})
        calibration = [{"pixel_values": x[None]} for x in images(8, seed=1)]
        scheme = Scheme(transformer=opened.transformer)
        bank = load_or_build_bank(opened.model, calibration, scheme, cache=_cache())
    builder = CandidateBuilder(bank, NO_ELASTIC, inference_precisions=hints, scheme=scheme)
    return Subject("ResNet-50", builder, {"pixel_values": [1, 3, 224, 224]})


SUBJECTS: dict[str, Callable[[tuple[str, ...]], Subject]] = {"vit": vit_b16, "bert": bert_base, "resnet": resnet50}


def _cache() -> Path:
    return Path(platformdirs.user_cache_dir("qnas-ov")) / "banks"


def draw(subject: Subject, count: int, *, seed: int) -> list[Genotype]:
    """Different candidates as a search draws its first ones: a third even, the rest gene by gene."""
    rng, space = np.random.default_rng(seed), subject.builder.space
    found: dict[Genotype, None] = {}
    for number in range(100 * count):
        row = space.sample_even(rng, 1)[0] if number % 3 == 0 else space.sample(rng, 1)[0]
        found.setdefault(tuple(int(g) for g in row))
        if len(found) == count:
            break
    return list(found)


class Samples:
    """Latencies of candidates in milliseconds, kept in a JSON file: what stands there is not measured again."""

    def __init__(
        self, path: Path, subject: Subject, *, seconds: float, settings: dict[str, object] | None = None
    ) -> None:
        self._path, self._subject, self._seconds = path, subject, seconds
        self._settings = settings or {}
        known = {"runs": {}, "anchor_ms": None}
        if path.exists():
            known = json.loads(path.read_text())
            require_cpu(known["cpu"], path)
        self.runs: dict[str, list[dict[str, float]]] = known["runs"]
        self.anchor_ms: float | None = known["anchor_ms"]
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self._meter: LatencyMeter | None = None
        self._cpu = describe_machine("CPU")["cpu"]

    def settings(self, hint: str) -> RunSettings:
        return RunSettings(device="CPU", shapes=self._subject.shapes, inference_precision=hint, **self._settings)  # type: ignore[arg-type]

    @property
    def meter(self) -> LatencyMeter:
        if self._meter is None:
            reference = save_ir(self._subject.builder.bank.int8, Path(self._folder.name) / "reference.xml")
            self._meter = LatencyMeter(
                reference, self.settings(HINTS[0]), seconds=self._seconds, anchor_ms=self.anchor_ms
            )
            self.anchor_ms = self._meter.anchor_ms
        return self._meter

    def measure(
        self,
        genotypes: Iterable[Genotype],
        *,
        times: int = 1,
        until: float = float("inf"),
        tell: Callable[[str], None] = lambda text: None,
    ) -> int:
        """Measures those that have fewer than `times` runs, until the clock says stop; returns how many are left."""
        wanted = [g for g in genotypes if len(self.runs.get(key(g), [])) < times]
        for number, genotype in enumerate(wanted):
            if time.monotonic() > until:
                return len(wanted) - number
            candidate = self._subject.builder.candidate(genotype)
            path = save_ir(self._subject.builder.build(candidate), Path(self._folder.name) / "candidate.xml")
            found = self.meter.measure(path, self.settings(candidate.inference_precision))
            self.runs.setdefault(key(genotype), []).append(
                {"latency_ms": found.latency_ms, "raw_ms": found.run.latency_ms, "gauge_ms": found.gauge_ms,
                 "gauge_change": found.gauge_change, "attempts": found.attempts}
            )  # fmt: skip
            known = {"runs": self.runs, "anchor_ms": self.anchor_ms, "cpu": self._cpu}
            self._path.write_text(json.dumps(known))
            tell(f"{number + 1} of {len(wanted)}: {found.latency_ms:.3f} ms, {len(found.disturbances)} disturbances")
        return 0


def key(genotype: Genotype) -> str:
    """A genotype as the key of a JSON object."""
    return " ".join(str(g) for g in genotype)
