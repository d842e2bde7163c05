"""Time to evaluate a candidate of ViT-B/16 on 1,000 samples, over the inference of those samples alone: the floor."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import openvino as ov
from _common import Outcome, at_most, main, parser
from _networks import images, samples, vit_b16

from qnas_ov.ir import Candidate, CandidateBuilder, Scheme, export_supernet, load_or_build_bank
from qnas_ov.measure import predict_outputs
from qnas_ov.terminal import TerminalProgress

SCHEME = Scheme(transformer=True)


def run(arguments: argparse.Namespace) -> Outcome:
    count, num_candidates = (250, 2) if arguments.quick else (1000, 2)
    progress, pixels = TerminalProgress(), images(count, seed=3)
    supernet = vit_b16()
    with tempfile.TemporaryDirectory() as cache:
        bank = load_or_build_bank(export_supernet(supernet), samples(images(8, seed=1)), SCHEME, cache=Path(cache))
    builder = CandidateBuilder(bank, supernet.elastic, inference_precisions=("f32",), scheme=SCHEME)
    rows = []
    progress.begin("evaluating candidates", 2 * num_candidates)
    for genotype in builder.space.sample(np.random.default_rng(0), num_candidates):
        candidate = builder.candidate(genotype)
        floor, setting = fastest(builder.build(candidate), pixels)
        progress.step(f"inference alone {floor:.2f} s with {setting}")
        row = evaluate(builder, candidate, pixels)
        rows.append({**row, "inference alone s": floor, "by": setting, "ratio": row["whole s"] / floor})
        progress.step(f"evaluated in {row['whole s']:.2f} s")
    progress.end()
    value = float(np.median([r["ratio"] for r in rows]))
    name = "time of an evaluation over the inference alone"
    return Outcome({name: value}, {name: at_most(value, 1.25)}, {f"{count} samples": rows})


def evaluate(builder: CandidateBuilder, candidate: Candidate, pixels: np.ndarray) -> dict[str, float]:
    """Build, compile and judge, as the search does."""
    start = time.perf_counter()
    model = builder.build(candidate)
    built = time.perf_counter()
    outputs = predict_outputs(
        model, {"pixel_values": pixels}, device="CPU", inference_precision=candidate.inference_precision
    )
    outputs[0].argmax(axis=1)
    end = time.perf_counter()
    return {"build s": built - start, "compile and infer s": end - built, "whole s": end - start}


def fastest(model: ov.Model, pixels: np.ndarray) -> tuple[float, str]:
    """Seconds that the inferences take under the fastest setting found on a part of the samples, and that setting."""
    settings = [(hint, batch) for hint in ("LATENCY", "THROUGHPUT") for batch in (1, 4, 16)]
    part = pixels[: max(32, len(pixels) // 10) // 16 * 16]
    hint, batch = min(settings, key=lambda s: infer_seconds(model, part, *s))
    whole = pixels[: len(pixels) // batch * batch]
    return infer_seconds(model, whole, hint, batch) * len(pixels) / len(whole), f"{hint.lower()} hint, batch {batch}"


def infer_seconds(model: ov.Model, pixels: np.ndarray, hint: str, batch: int) -> float:
    """Seconds of the inferences, without compiling, with as many requests at once as the device likes."""
    network = model.clone()
    network.reshape([batch, *pixels.shape[1:]])
    compiled = ov.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": hint})
    queue = ov.AsyncInferQueue(compiled)
    queue.start_async({0: pixels[:batch]})
    queue.wait_all()
    start = time.perf_counter()
    for i in range(0, len(pixels), batch):
        queue.start_async({0: pixels[i : i + batch]}, share_inputs=True)
    queue.wait_all()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(parser(__doc__), run)
