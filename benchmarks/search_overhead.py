"""Time that proposing and fitting take in a search of ViT-B/16, over the wall time of that search.

The algorithm runs through a whole search in the joint space, with numbers of a formula in place of measurements; what
an evaluation takes is measured on a few candidates as the search makes them: build, compile, judge 500 samples, and
benchmark_app.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import Outcome, at_most, main, parser
from _latency_samples import Subject, draw, vit_b16
from _networks import images

from qnas_ov.algorithms import Result, SearchProblem, make_algorithm
from qnas_ov.core.records import resolve_objectives
from qnas_ov.ir import save_ir
from qnas_ov.measure import LatencyMeter, RunSettings, predict_outputs
from qnas_ov.pipeline._table import unit_work
from qnas_ov.predict import FeatureMap, LookUpTable, UnitDamage, UnitTimes, table_genotypes
from qnas_ov.space import Genotype
from qnas_ov.terminal import TerminalProgress

HINTS = ("bf16", "f32")
OBJECTIVES = ("accuracy", "latency", "size")
ALGORITHMS = ("qnas", "linas", "nsga2")


def run(arguments: argparse.Namespace) -> Outcome:
    evaluations, samples, measured = (60, 100, 1) if arguments.quick else (250, 500, 4)
    subject = vit_b16(HINTS)
    seconds = evaluation_seconds(subject, measured, samples)
    rows, goals, figures = [], {}, {"seconds of an evaluation": seconds}
    for name in ALGORITHMS:
        rounds, spent = propose(subject, name, evaluations, samples)
        share = spent / (spent + evaluations * seconds)
        rows.append({
            "algorithm": name, "rounds": rounds, "seconds of proposing": spent,
            "a candidate": spent / evaluations, "share of the wall time": share,
        })  # fmt: skip
        figures[f"{name}: share of the wall time"] = share
    goals["qnas: share of the wall time"] = at_most(figures["qnas: share of the wall time"], 0.05)
    title = f"{evaluations} evaluations of ViT-B/16, {samples} samples each"
    return Outcome(figures, goals, {title: rows})


def evaluation_seconds(subject: Subject, count: int, samples: int) -> float:
    """Seconds of an evaluation, the mean over candidates of several sizes."""
    pixels, progress = images(samples, seed=3), TerminalProgress()
    progress.begin("evaluating candidates", count)
    times = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {h: RunSettings(device="CPU", shapes=subject.shapes, inference_precision=h) for h in HINTS}
        reference = save_ir(subject.builder.bank.int8, folder / "reference.xml")
        meter = LatencyMeter(reference, settings[HINTS[0]], seconds=0.3)
        for genotype in draw(subject, count, seed=1):
            start = time.perf_counter()
            candidate = subject.builder.candidate(genotype)
            path = save_ir(subject.builder.build(candidate), folder / "candidate.xml")
            hint = candidate.inference_precision
            predict_outputs(path, {"pixel_values": pixels}, device="CPU", inference_precision=hint)
            meter.measure(path, settings[hint])
            times.append(time.perf_counter() - start)
            progress.step(f"{times[-1]:.1f} s")
    progress.end()
    return float(np.mean(times))


def unit_times(genotype: Genotype, subject: Subject) -> UnitTimes:
    """Milliseconds that counters might tell of the units of a network."""
    space, hint = subject.builder.space, genotype[-1]
    active = dict(zip((k.name for k in space.knobs), space.active(np.array([genotype]))[0], strict=True))
    genes = dict(zip((k.name for k in space.knobs), genotype, strict=True))
    each = {
        u.name: u.macs / 1e9 * (0.8 if genes[u.knob] == 0 else 2.0 if hint == 0 else 6.0)
        for u in unit_work(subject.builder)
        if active[u.knob]
    }
    return UnitTimes(genotype, each, 2.0)


def propose(subject: Subject, name: str, evaluations: int, samples: int) -> tuple[int, float]:
    """Rounds of a whole search, and the seconds that asking, telling and the report at its end took."""
    builder, space = subject.builder, subject.builder.space
    damage = np.random.default_rng(0).gamma(0.5, 0.01, size=(len(builder.units), 2))
    columns = [space.index(u.knob) for u in builder.units]

    hardness = np.random.default_rng(1).normal(0.0, 0.6, size=samples)

    def measure(genotype: tuple[int, ...]) -> Result:
        genes = np.array([genotype])
        costs = builder.compute_costs(genes)
        hurt = damage[(genes[0, columns] == 0) & space.active(genes)[0, columns], genes[0, -1]].sum()
        macs, int8 = float(costs["macs"][0]) / 1e9, float(costs["macs_int8"][0]) / 1e9
        margins = np.tanh(0.8 - 0.6 * float(np.exp(-macs / 5)) - float(hurt) + hardness)
        values = {
            "accuracy_top1": float((margins > 0).mean()),
            "output_error": 0.05 + 1 / (1 + macs) + float(hurt),
            "latency_ms": 2 + 0.8 * int8 + (macs - int8) * (2.0 if genes[0, -1] == 0 else 6.0),
            "size_bytes": float(costs["size_bytes"][0]),
        }
        return Result(genotype, values, margins)

    units = unit_work(builder)
    hurts = UnitDamage(
        space, units, [{u.name: float(d[h]) for u, d in zip(units, damage, strict=True)} for h in (0, 1)]
    )
    table = LookUpTable(space, units, [unit_times(g, subject) for g in table_genotypes(space)])
    features = FeatureMap(space, builder.compute_costs, units=units, damage=hurts, prior=table)
    problem = SearchProblem(
        space=space,
        objectives=resolve_objectives(OBJECTIVES, metric="accuracy_top1"),
        constraints=(),
        costs=builder.compute_costs,
        features=features,
        layout=features.layout,
    )
    algorithm = make_algorithm(name, problem, seed=0, population=50, inner_evaluations=20_000)
    progress = TerminalProgress()
    progress.begin(f"proposing with {name}", evaluations)
    found, rounds, spent = 0, 0, 0.0
    while found < evaluations:
        start = time.perf_counter()
        asked = algorithm.ask(evaluations - found)
        spent += time.perf_counter() - start
        results = [measure(g) for g in asked]
        start = time.perf_counter()
        algorithm.tell(results)
        spent += time.perf_counter() - start
        found, rounds = found + len(asked), rounds + 1
        progress.step(f"{found} proposed in {spent:.1f} s", len(asked))
    progress.end()
    start = time.perf_counter()
    algorithm.report()
    spent += time.perf_counter() - start
    return rounds, spent


if __name__ == "__main__":
    main(parser(__doc__), run)
