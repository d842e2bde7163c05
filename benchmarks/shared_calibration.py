"""Subnetworks with shared activation ranges against the same subnetworks calibrated afresh, each on its own graph.

Random architectures of the shipped digits-vit, all units in INT8 under the f32 hint. Three INT8 networks of each: cut
from the bank with ranges over a sandwich of architectures (what a search does), cut from it with the ranges of the
largest network alone, and calibrated afresh (what a search does with its winners). Accuracy is on the validation and
test images together; the output error, the distance to the subnetwork's own float outputs, sees what so few labels
cannot.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from _common import Outcome, at_most, main, parser

from qnas_ov.families import FAMILIES, MODELS
from qnas_ov.ir import INT8, CandidateBuilder, Scheme, export_supernet, load_or_build_bank, load_or_collect_ranges
from qnas_ov.measure import multiplies_int8_exactly, predict_outputs
from qnas_ov.pipeline._setup import calibration_samples
from qnas_ov.tasks import TASKS, output_error
from qnas_ov.terminal import TerminalProgress

HINT = "f32"
WAYS = ("shared", "largest alone", "afresh")


def run(arguments: argparse.Namespace) -> Outcome:
    progress = TerminalProgress()
    supernet, task = FAMILIES.get("vit").load(MODELS.get("digits-vit").weights.folder), TASKS.get("digits")()
    samples, scheme = calibration_samples(task), Scheme(transformer=True, half_range=not multiplies_int8_exactly())
    inputs = {n: np.concatenate([task.validation.inputs[n], task.test.inputs[n]]) for n in task.test.inputs}
    labels = np.concatenate([task.validation.labels, task.test.labels])
    with tempfile.TemporaryDirectory() as name:
        cache, elastic = Path(name), supernet.elastic
        bank = load_or_build_bank(export_supernet(supernet), samples, scheme, cache=cache)
        start = time.monotonic()
        ranges = load_or_collect_ranges(bank, elastic, samples, scheme, cache=cache)
        seconds = time.monotonic() - start
        builders = {
            way: CandidateBuilder(bank, elastic, inference_precisions=(HINT,), scheme=scheme, ranges=shared)
            for way, shared in (("shared", ranges), ("largest alone", None))
        }
        rows = []
        count = 30 if arguments.quick else 50
        progress.begin("comparing subnetworks", count)
        for architecture in draw(builders["shared"], count):
            rows.append(compare(builders, architecture, samples, inputs, labels))
            progress.step(f"afresh {rows[-1]['afresh']:.4f}, shared {rows[-1]['shared']:.4f}")
        progress.end()
    gap = {way: 100 * np.array([r["afresh"] - r[way] for r in rows]) for way in WAYS[:2]}
    error = {way: np.array([r[f"error {way}"] for r in rows]) for way in WAYS}
    goals = {"mean points of accuracy below calibrating afresh": at_most(float(gap["shared"].mean()), 0.2)}
    figures = {
        **{n: g.value for n, g in goals.items()},
        "subnetworks": float(len(rows)),
        "mean points either way": float(np.abs(gap["shared"]).mean()),
        "most points below": float(gap["shared"].max()),
        "mean points below, ranges of the largest alone": float(gap["largest alone"].mean()),
        "mean points either way, ranges of the largest alone": float(np.abs(gap["largest alone"]).mean()),
        **{f"mean output error, {way}": float(error[way].mean()) for way in WAYS},
        "seconds to collect the shared ranges": seconds,
    }
    return Outcome(figures, goals, {f"accuracy and output error on {len(labels)} images": rows})


def draw(builder: CandidateBuilder, count: int) -> list[dict[str, int]]:
    """Different random architectures, none of them the largest."""
    found: list[dict[str, int]] = []
    for genotype in builder.space.sample(np.random.default_rng(2026), 4 * count):
        architecture = builder.candidate(genotype).architecture
        if architecture not in found and architecture != builder.elastic.largest():
            found.append(architecture)
    return found[:count]


def compare(
    builders: dict[str, CandidateBuilder],
    architecture: dict[str, int],
    samples: Any,
    inputs: dict[str, np.ndarray],
    labels: np.ndarray,
) -> dict[str, Any]:
    shared = builders["shared"]
    candidate = shared.candidate(shared.genotype(architecture=architecture, precision=INT8, inference_precision=HINT))
    networks = {way: builder.build(candidate) for way, builder in builders.items()}
    networks["afresh"] = shared.recalibrate(candidate, samples)
    reference = outputs(shared.build_float(architecture), inputs)
    row: dict[str, Any] = {
        "depth": architecture["depth"],
        "heads": sum(v for k, v in architecture.items() if k.endswith("heads")),
        "neurons": sum(v for k, v in architecture.items() if k.endswith("ffn")),
        "float": float((reference.argmax(1) == labels).mean()),
    }
    found = {way: outputs(networks[way], inputs) for way in WAYS}
    row |= {way: float((found[way].argmax(1) == labels).mean()) for way in WAYS}
    return row | {f"error {way}": float(output_error(found[way], reference).mean()) for way in WAYS}


def outputs(model: ov.Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return predict_outputs(model, inputs, device="CPU", inference_precision=HINT)[0]


if __name__ == "__main__":
    main(parser(__doc__), run)
