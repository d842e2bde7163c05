"""Time to build a candidate of ViT-B/16: cut from the bank, against a fresh conversion and `nncf.quantize`."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
from _common import Outcome, at_least, at_most, main, parser
from _networks import cut_torch, images, ratio, samples, vit_b16

from qnas_ov.families import Supernet
from qnas_ov.ir import FLOAT, Candidate, CandidateBuilder, Scheme, export_supernet, load_or_build_bank
from qnas_ov.terminal import TerminalProgress

NUM_SAMPLES, REPEATS = 16, 3  # our build takes a twentieth of a second: its time is the median of three

SCHEME = Scheme(transformer=True)


def run(arguments: argparse.Namespace) -> Outcome:
    count = 2 if arguments.quick else 10
    progress = TerminalProgress()
    supernet, calibration = vit_b16(), samples(images(NUM_SAMPLES, seed=1))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        bank = load_or_build_bank(export_supernet(supernet), calibration, SCHEME, cache=Path(cache))
    bank_seconds = time.perf_counter() - start
    progress.say(f"the bank took {bank_seconds:.1f} s, once")
    builder = CandidateBuilder(bank, supernet.elastic, inference_precisions=("f32",), scheme=SCHEME)
    builder.build(builder.candidate(builder.space.sample(np.random.default_rng(9), 1)[0]))  # reads the mapped weights
    candidates = [(kind, c) for kind in ("policy", "joint") for c in draw(builder, count, joint=kind == "joint")]
    # All of ours first, as a search builds them: right after NNCF memory is cold, and a build takes twice as long.
    cut = [time_of_building(builder, candidate) for _, candidate in candidates]
    rows, differences = [], []
    progress.begin("building candidates afresh", len(candidates))
    for (kind, candidate), cut_seconds in zip(candidates, cut, strict=True):
        start = time.perf_counter()
        fresh, convert_seconds = build_afresh(supernet, builder, candidate, calibration)
        fresh_seconds = time.perf_counter() - start
        ours = builder.build(candidate)
        if kind == "policy":
            differences.append(difference(ours, fresh))
        rows.append({
            "kind": kind, "int8 units": sum(p != FLOAT for p in candidate.policy.values()),
            "ours s": cut_seconds, "fresh s": fresh_seconds, "of it convert s": convert_seconds,
            "ratio": fresh_seconds / cut_seconds,
        })  # fmt: skip
        progress.step(f"{kind}: {cut_seconds * 1e3:.1f} ms against {fresh_seconds:.1f} s")
    progress.end()

    def column(kind: str, name: str) -> list[float]:
        return [r[name] for r in rows if r["kind"] == kind]

    policy, joint = (ratio(column(k, "fresh s"), column(k, "ours s")) for k in ("policy", "joint"))
    slowest = max(column("joint", "ours s"))
    goals = {
        "policy candidates, times faster": at_least(policy, 200),
        "joint candidates, times faster": at_least(joint, 100),
        "slowest joint build in seconds": at_most(slowest, 0.10),
    }
    figures = {name: goal.value for name, goal in goals.items()} | {
        "seconds for the bank, once": bank_seconds,
        "largest difference of outputs to a fresh nncf.quantize, policy candidates": max(differences),
    }
    return Outcome(figures, goals, {f"{NUM_SAMPLES} calibration samples": rows})


def time_of_building(builder: CandidateBuilder, candidate: Candidate) -> float:
    """Seconds, the median of some builds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        builder.build(candidate)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def draw(builder: CandidateBuilder, count: int, *, joint: bool) -> list[Candidate]:
    """Random candidates; of the largest architecture unless `joint`."""
    found = []
    for genotype in builder.space.sample(np.random.default_rng(int(joint)), count):
        candidate = builder.candidate(genotype)
        if not joint:
            rng = np.random.default_rng(len(found))
            policy = {u.key: str(rng.choice(["int8", FLOAT])) for u in builder.units}
            candidate = Candidate(builder.elastic.largest(), policy, "f32")
        found.append(candidate)
    return found


def build_afresh(
    supernet: Supernet, builder: CandidateBuilder, candidate: Candidate, calibration: list[dict[str, np.ndarray]]
) -> tuple[ov.Model, float]:
    """The candidate without the bank: cut in torch, converted, quantized; and the seconds until it was converted."""
    start = time.perf_counter()
    model = export_supernet(cut_torch(supernet, candidate.architecture))
    converted = time.perf_counter() - start
    names = {n.get_friendly_name() for n in model.get_ops()}
    ignored = [n for u in builder.units if candidate.policy.get(u.key) == FLOAT for n in u.operations if n in names]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(calibration),
        subset_size=len(calibration),
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE),
        ignored_scope=nncf.IgnoredScope(names=ignored),
    )
    return quantized, converted


def difference(first: ov.Model, second: ov.Model) -> float:
    """Largest difference of the outputs for two images."""
    pixels, hint = images(2, seed=2), {"INFERENCE_PRECISION_HINT": "f32"}
    one, other = (ov.Core().compile_model(m, "CPU", hint)(pixels)[0] for m in (first, second))
    return float(np.abs(one - other).max())


if __name__ == "__main__":
    nncf.set_log_level(40)
    main(parser(__doc__), run)
