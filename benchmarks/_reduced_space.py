"""A reduced joint space of digits-vit, measured whole: what a search finds in it can be replayed without measuring.

Layers share their choices: of heads all, of neurons the first four and the last four, of precisions all units that do
the same. Every network of it is one of the full space.
"""

from __future__ import annotations

import csv
import json
import os
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _common import require_cpu
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict

from qnas_ov.algorithms import Result, SearchProblem
from qnas_ov.core.progress import Silent
from qnas_ov.core.records import COST_OBJECTIVES, ERROR_OBJECTIVE, metric_objective
from qnas_ov.ir import save_ir
from qnas_ov.journal import Journal
from qnas_ov.measure import LatencyMeter, RunSettings, describe_machine
from qnas_ov.pareto import is_nondominated, to_minimise
from qnas_ov.pipeline._damage import DAMAGE, recall_or_measure_damage
from qnas_ov.pipeline._scorer import Scorer
from qnas_ov.pipeline._setup import Network, Setup, prepare_network, resolve
from qnas_ov.pipeline._table import measure_table, unit_work
from qnas_ov.predict import FeatureMap, LookUpTable, UnitDamage, UnitTimes, UnitUse
from qnas_ov.space import Activation, Genotype, Knob, KnobKind, Space

TABLE = Path(__file__).parent / "tables" / "digits_vit.csv"
HINTS = ("bf16", "f32")
_LAYERS, _EARLY = 8, 4
_PRECISIONS = ("int8", "float")
_SECONDS = 0.1
_RUNS, _LAYERS_AGAIN, _FAR = 3, 3, 0.1

PROBLEMS = (("accuracy", "latency", "size"), ("accuracy", "latency"), ("error", "latency"))
"""What is searched for: first what a search is for by default."""

OBJECTIVES = {o.name: o for o in (metric_objective("accuracy_top1"), ERROR_OBJECTIVE, *COST_OBJECTIVES)}


def reduced_space() -> Space:
    """4,032 canonical genotypes."""
    late = Activation("depth", _EARLY + 1)
    return Space(
        [
            Knob("depth", KnobKind.DEPTH, (2, 4, 6, 8)),
            Knob("heads", KnobKind.WIDTH, (1, 2, 4)),
            Knob("ffn.early", KnobKind.WIDTH, (128, 256, 512)),
            Knob("ffn.late", KnobKind.WIDTH, (128, 256, 512), late),
            Knob("projections", KnobKind.PRECISION, _PRECISIONS),
            Knob("attention", KnobKind.PRECISION, _PRECISIONS),
            Knob("neurons.early", KnobKind.PRECISION, _PRECISIONS),
            Knob("neurons.late", KnobKind.PRECISION, _PRECISIONS, late),
            Knob("outer", KnobKind.PRECISION, _PRECISIONS),
            Knob("inference_precision", KnobKind.INFERENCE_PRECISION, HINTS),
        ]
    )


@dataclass(frozen=True)
class DigitsVit:
    """The network, and how genotypes of the reduced space are ones of the full space."""

    setup: Setup
    network: Network

    @staticmethod
    def load() -> DigitsVit:
        """Loads the network and its statistics."""
        setup = resolve({"model": "digits-vit", "objectives": ("accuracy", "latency")})
        if setup.precisions != HINTS:
            raise SystemExit(f"this needs a CPU with {' and '.join(HINTS)}: here are {', '.join(setup.precisions)}")
        return DigitsVit(setup, prepare_network(setup, Silent()))

    @cached_property
    def _groups(self) -> dict[str, str]:
        """The reduced knob that decides each knob of the full space."""
        found = {"depth": "depth", "inference_precision": "inference_precision"}
        for knob in self.network.builder.space.knobs:
            layer = re.search(r"layer\.(\d+)\.", knob.name)
            part = "early" if layer is None or int(layer[1]) < _EARLY else "late"
            if knob.kind is KnobKind.WIDTH:
                found[knob.name] = "heads" if knob.name.endswith("heads") else f"ffn.{part}"
            elif knob.kind is KnobKind.PRECISION:
                found[knob.name] = _group_of_unit(knob.name, part)
        return found

    @cached_property
    def scorer(self) -> Scorer:
        """Judges networks on the validation split."""
        return Scorer(self.setup, self.network)

    def full(self, genotypes: np.ndarray) -> np.ndarray:
        """Genotypes of the full space for those of the reduced one (n, num_knobs)."""
        small, large = reduced_space(), self.network.builder.space
        columns = []
        for knob in large.knobs:
            owner = small.knobs[small.index(self._groups[knob.name])]
            index = np.array([knob.choices.index(choice) for choice in owner.choices])
            columns.append(index[genotypes[:, small.index(owner.name)]])
        return large.canonical_array(np.stack(columns, axis=1))


def _group_of_unit(name: str, part: str) -> str:
    """Which reduced knob decides a precision unit: units of the same kind go together."""
    kind = re.sub(r"^precision\.layer\.\d+\.", "", name)
    if kind == name:
        return "outer"
    if kind.startswith(("intermediate", "output")):
        return f"neurons.{part}"
    return "attention" if kind.endswith("ScaledDotProductAttention") else "projections"


class Table:
    """The measured space: rows in the order of `Space.everything`. A latency is the median of its runs.

    Beside it, the margins of answers in 127ths, as int8 (num_candidates, num_samples), none of them 0.
    """

    columns = ("accuracy_top1", ERROR_OBJECTIVE.column, "latency_ms", "size_bytes")
    latency = columns.index("latency_ms")

    def __init__(self, path: Path = TABLE) -> None:
        self.path = path
        self.space = reduced_space()
        self.genotypes = self.space.everything()
        self.values = np.full((len(self.genotypes), len(self.columns)), np.nan)
        self.runs: list[list[float]] = [[] for _ in self.genotypes]
        if path.exists():
            with path.open() as file:
                for record in csv.DictReader(file):
                    row = self.row(tuple(int(g) for g in record["genotype"]))
                    self.values[row] = [float(record[c] or "nan") for c in self.columns]
                    self.runs[row] = [float(run) for run in record["runs_ms"].split()]
        margins = path.with_suffix(".npz")
        self.margins: np.ndarray | None = np.load(margins)["margins"] if margins.exists() else None
        notes = path.with_suffix(".json")
        self.notes: dict[str, Any] = json.loads(notes.read_text()) if notes.exists() else {}

    def add_run(self, row: int, latency_ms: float) -> None:
        """Takes another run of a candidate."""
        self.runs[row].append(latency_ms)
        self.values[row, self.latency] = np.median(self.runs[row])

    @cached_property
    def _rows(self) -> dict[Genotype, int]:
        return {tuple(int(v) for v in g): i for i, g in enumerate(self.genotypes)}

    def row(self, genotype: Genotype) -> int:
        """The number of the row of a canonical genotype."""
        return self._rows[genotype]

    def rows(self, genotypes: np.ndarray) -> np.ndarray:
        """The numbers of the rows of canonical genotypes (n, num_knobs): (n,)."""
        keys = np.ravel_multi_index(tuple(genotypes.T), tuple(self.space.num_choices))
        return self._numbers[keys]

    @cached_property
    def _numbers(self) -> np.ndarray:
        numbers = np.full(int(np.prod(self.space.num_choices)), -1)
        numbers[np.ravel_multi_index(tuple(self.genotypes.T), tuple(self.space.num_choices))] = np.arange(
            len(self.genotypes)
        )
        return numbers

    @property
    def unjudged(self) -> np.ndarray:
        """Numbers of the rows whose margins are not known."""
        return (
            np.arange(len(self.genotypes)) if self.margins is None else np.flatnonzero((self.margins == 0).any(axis=1))
        )

    @property
    def missing(self) -> np.ndarray:
        """Numbers of the rows that were not measured."""
        return np.flatnonzero(np.isnan(self.values).any(axis=1))

    def write(self) -> None:
        """Writes what is measured."""

        def told(value: float, form: str) -> str:
            return "" if np.isnan(value) else format(value, form)

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.with_suffix(".json").write_text(json.dumps(self.notes, indent=1) + "\n")
        if self.margins is not None:
            np.savez_compressed(self.path.with_suffix(".npz"), margins=self.margins)
        with self.path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["genotype", *self.columns, "runs_ms"])
            for genotype, values, runs in zip(self.genotypes, self.values, self.runs, strict=True):
                figures = [told(v, form) for v, form in zip(values, (".5f", ".5g", ".5g", ".0f"), strict=True)]
                writer.writerow(["".join(map(str, genotype)), *figures, " ".join(f"{run:.5g}" for run in runs)])


_digits: DigitsVit | None = None


def _load() -> None:
    global _digits
    _digits = DigitsVit.load()


def judge(table: Table, digits: DigitsVit, *, jobs: int) -> None:
    """Accuracy, distance to the float outputs, size and margins of all, in so many processes: no time is taken."""
    full, samples = digits.full(table.genotypes), digits.setup.task.validation.num_samples
    if table.margins is None:
        table.margins = np.zeros((len(full), samples), dtype=np.int8)
    left = table.unjudged
    if not len(left):
        return
    cpu = table.notes.setdefault("judged_on", describe_machine("CPU")["cpu"])
    require_cpu(cpu, table.path)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_load) as pool:
        found = pool.map(_judge_one, full[left].tolist(), chunksize=16)
        for number, (row, (values, margins)) in enumerate(zip(left, found, strict=True), 1):
            table.values[row, [0, 1, 3]] = values
            table.margins[row] = np.where(margins > 0, 1, -1) * np.maximum(np.rint(127 * np.abs(margins)), 1)
            if number % 400 == 0 or number == len(left):
                table.write()
                print(f"judged {number} of {len(left)}", flush=True)


def _judge_one(genotype: list[int]) -> tuple[tuple[float, float, float], np.ndarray]:
    assert _digits is not None
    candidate = _digits.network.builder.candidate(tuple(genotype))
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        path = save_ir(_digits.network.builder.build(candidate), Path(folder) / "candidate.xml")
        split = _digits.setup.task.validation
        (scores,) = _digits.scorer.score(path, [split], candidate.inference_precision)
        margins = scores.margins()
        assert margins is not None
        return (scores.value, float(scores.error.mean()), float(path.with_suffix(".bin").stat().st_size)), margins


def _memory() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def measure_damage(table: Table, digits: DigitsVit) -> None:
    """What INT8 costs each unit alone, for the notes: no time is taken."""
    if DAMAGE in table.notes:
        return
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite")
        recall_or_measure_damage(digits.setup, digits.network, digits.scorer, journal, Silent())
        table.notes[DAMAGE] = [{u: float(f"{v:.4g}") for u, v in found.items()} for found in journal.meta(DAMAGE)]
    table.write()


def doubtful(table: Table, digits: DigitsVit) -> np.ndarray:
    """Rows with fewer than `_RUNS` runs whose latency decides much, or is far from what the others predict: (n,).

    The true fronts are of the best of thousands of noisy figures, so that what stands on the first layers of any
    problem must be known better than the rest.
    """
    layers = np.concatenate([front_layers(table, names, _LAYERS_AGAIN) for names in PROBLEMS])
    few = np.array([len(runs) < _RUNS for runs in table.runs])
    known = np.log(table.values[:, table.latency])
    use = UnitUse(digits.network.builder.space, unit_work(digits.network.builder))(digits.full(table.genotypes))
    model = HistGradientBoostingRegressor(loss="absolute_error", max_iter=300, learning_rate=0.1)
    features = np.column_stack([use, table.genotypes])
    predicted = cross_val_predict(model, features, known, cv=KFold(5, shuffle=True, random_state=0))
    far = np.abs(known - predicted) > _FAR
    return np.flatnonzero(few & (far | np.isin(np.arange(len(known)), layers)))


def front_layers(table: Table, objectives: tuple[str, ...], count: int) -> np.ndarray:
    """Rows of the front, of what is the front without it, and so on."""
    values = [dict(zip(Table.columns, row, strict=True)) for row in table.values.tolist()]
    points = to_minimise(values, [OBJECTIVES[name] for name in objectives])
    left = np.arange(len(points))
    found = []
    for _ in range(count):
        good = is_nondominated(points[left])
        found.append(left[good])
        left = left[~good]
    return np.concatenate(found)


def measure(table: Table, digits: DigitsVit, *, minutes: float) -> int:
    """Latencies for so many minutes: of what has none, in a random order, then again of what is `doubtful`.

    Returns:
        How many are left.
    """
    if "machine" in table.notes:
        require_cpu(table.notes["machine"]["cpu"], table.path)
    end = time.monotonic() + 60 * minutes
    builder, shapes = digits.network.builder, digits.network.source.shapes
    full = digits.full(table.genotypes)

    def settings(hint: str) -> RunSettings:
        return RunSettings(device="CPU", shapes=shapes, inference_precision=hint)

    with tempfile.TemporaryDirectory(dir=_memory()) as name:
        folder = Path(name)
        meter = LatencyMeter(
            save_ir(digits.network.bank.int8, folder / "reference.xml"),
            settings(HINTS[0]),
            seconds=_SECONDS,
            anchor_ms=table.notes.get("anchor_ms"),
        )
        if "units" not in table.notes:
            _, times = measure_table(builder, lambda path, hint: meter.profile(path, settings(hint)), folder)
            table.notes |= {
                "command": "python benchmarks/search_efficiency.py --measure MINUTES",
                "anchor_ms": meter.anchor_ms,
                "units": [t.to_json() for t in times],
                "machine": describe_machine("CPU"),
            }
        order = np.random.default_rng(0).permutation(len(table.genotypes))
        left = [int(row) for row in order if not table.runs[row]]
        while time.monotonic() < end:
            left = left or list(np.random.default_rng(0).permutation(doubtful(table, digits)))
            if not left:
                break
            print(f"{len(left)} are to be measured", flush=True)
            for number in range(1, len(left) + 1):
                if time.monotonic() > end:
                    break
                row = left.pop(0)
                candidate = builder.candidate(tuple(int(g) for g in full[row]))
                path = save_ir(builder.build(candidate), folder / "candidate.xml")
                table.add_run(row, meter.measure(path, settings(candidate.inference_precision)).latency_ms)
                if number % 100 == 0:
                    table.write()
                    print(f"measured {number}", flush=True)
    table.write()
    return len(left) or len(doubtful(table, digits))


class Replay:
    """The search problem of the measured space, and what stands in the table for a genotype."""

    def __init__(self, table: Table, digits: DigitsVit, *, objectives: tuple[str, ...]) -> None:
        self.table = table
        builder = digits.network.builder
        full = digits.full(table.genotypes)
        units = unit_work(builder)
        self.prior = LookUpTable(builder.space, units, [UnitTimes.from_json(t) for t in table.notes["units"]])
        features = FeatureMap(
            builder.space,
            builder.compute_costs,
            units=units,
            damage=UnitDamage(builder.space, units, table.notes[DAMAGE]),
            prior=self.prior,
        )
        large, layout = features(full), features.layout
        genes = table.space.one_hot(table.genotypes)
        self._features = np.column_stack([large[:, : layout.damage.stop], genes, large[:, -1:]])
        self._costs = builder.compute_costs(full)
        self.problem = SearchProblem(
            space=table.space,
            objectives=tuple(OBJECTIVES[name] for name in objectives),
            constraints=(),
            costs=lambda genotypes: {c: v[table.rows(genotypes)] for c, v in self._costs.items()},
            features=lambda genotypes: self._features[table.rows(genotypes)],
            layout=replace(layout, num_genes=genes.shape[1]),
        )

    def values(self, genotype: Genotype) -> dict[str, float]:
        """What was measured."""
        return dict(zip(Table.columns, self.table.values[self.table.row(genotype)].tolist(), strict=True))

    def result(self, genotype: Genotype) -> Result:
        """What a search is told."""
        assert self.table.margins is not None
        return Result(genotype, self.values(genotype), self.table.margins[self.table.row(genotype)] / 127)
