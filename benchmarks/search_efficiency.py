"""How many measurements algorithms need, on a space that was measured whole: the true front is known.

The reduced space of digits-vit stands in `benchmarks/tables/digits_vit.csv`; `--measure MINUTES` measures what is
missing of it. Every algorithm searches it with many seeds, its measurements taken from the table. The hypervolume is
that of what was measured so far, in units of the true front's ranges, up to a tenth of a range beyond its worst values,
as a share of the true front's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _common import Outcome, at_least, at_most, main, parser
from _reduced_space import TABLE, DigitsVit, Replay, Table, judge, measure

from qnas_ov.algorithms import ALGORITHMS, QnasSearch, QnasSettings, Result, SearchAlgorithm, make_algorithm
from qnas_ov.pareto import hypervolume, is_nondominated, to_minimise

OBJECTIVES = ("accuracy", "latency")
SHARES = (0.90, 0.95, 0.99)
BUDGETS = {"qnas": 250, "linas": 800, "random": 4032}
OTHERS = 1500
ABLATIONS = {
    "everything": {},
    "without the table of unit times": {"use_prior": False},
    "without the distance to float outputs": {"use_fidelity": False},
    "means alone, no drawn function": {"explore": 0},
    "drawn functions alone": {"explore": 4},
    "without computed costs": {"use_summary": False},
    "rounds of 1": {"batch": 1},
    "rounds of 16": {"batch": 16},
    "a random first round": {"first": 0},
}
_replay: Replay | None = None


def run(arguments: argparse.Namespace) -> Outcome:
    global _replay
    table = Table(arguments.table)
    digits = DigitsVit.load()
    if arguments.measure is not None:
        judge(table, digits, jobs=arguments.jobs)
        left = measure(table, digits, minutes=arguments.measure)
        print(f"{len(table.genotypes) - left} of {len(table.genotypes)} are measured")
        return Outcome({}, {}, {}, table.notes.get("machine"))
    if len(table.missing):
        raise SystemExit(f"{len(table.missing)} candidates of {table.path} are not measured: give --measure MINUTES")
    _replay = Replay(table, digits, objectives=OBJECTIVES)
    seeds = range(3 if arguments.quick else arguments.seeds)
    names = [n for n in arguments.algorithms.split(",") if n] if arguments.algorithms else list(ALGORITHMS)
    curves = {n: run_all(partial(search, name=n), seeds, arguments.jobs, n) for n in names}
    rows = [row_of(name, found) for name, found in curves.items()]
    tables: dict[str, list[dict[str, Any]]] = {"evaluations to a share of the true hypervolume": rows}
    if not arguments.quick and not arguments.algorithms:
        tables["what each ingredient of qnas brings"] = [
            row_of(name, run_all(partial(ablated, changes=changes), seeds, arguments.jobs, name))
            for name, changes in ABLATIONS.items()
        ]
    tables["hypervolume at equal evaluations, median"] = over_evaluations(curves)
    medians = {name: np.median(reached(found, 0.95)) for name, found in curves.items()}
    figures = {f"{name}: evaluations to 95%": float(min(m, 1e9)) for name, m in medians.items()}
    goals = {}
    if {"qnas", "linas", "random", "nsga2"} <= set(medians):
        goals = {
            "qnas over linas, evaluations to 95%": at_most(medians["qnas"] / medians["linas"], 0.25),
            "qnas over random, evaluations to 95%": at_most(medians["qnas"] / medians["random"], 0.1),
            "nsga2 over linas, evaluations to 95%": at_least(medians["nsga2"] / medians["linas"], 1.0),
        }
    if arguments.figure is not None:
        draw(curves, arguments.figure)
    return Outcome(figures, goals, tables, table.notes["machine"])


def run_all(one: Callable[[int], list[float]], seeds: Iterable[int], jobs: int, name: str) -> list[list[float]]:
    """Runs a search with each seed, in so many processes: its hypervolume after every evaluation."""
    start = time.monotonic()
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        found = list(pool.map(one, seeds))
    print(f"{name}: {time.monotonic() - start:.0f} s, median to 95% {np.median(reached(found, 0.95)):g}", flush=True)
    return found


def search(seed: int, *, name: str) -> list[float]:
    assert _replay is not None
    algorithm = make_algorithm(name, _replay.problem, seed=seed, population=50, inner_evaluations=20_000)
    return curve(algorithm, BUDGETS.get(name, OTHERS))


def ablated(seed: int, *, changes: dict[str, Any]) -> list[float]:
    assert _replay is not None
    settings = replace(QnasSettings(), **changes)
    return curve(QnasSearch(_replay.problem, rng=np.random.default_rng(seed), settings=settings), BUDGETS["qnas"])


def curve(algorithm: SearchAlgorithm, budget: int) -> list[float]:
    """The share of the true hypervolume after each evaluation; it ends where 99.9% are reached."""
    assert _replay is not None
    scaled, reference, whole = true_front(_replay)
    shares: list[float] = []
    front = np.zeros((0, scaled.shape[1]))
    while len(shares) < budget:
        asked = algorithm.ask(budget - len(shares))
        if not asked:
            break
        for genotype in asked:
            front = np.concatenate([front, scaled[[_replay.table.row(genotype)]]])
            front = front[is_nondominated(front)]
            shares.append(hypervolume(front, reference) / whole)
        algorithm.tell([Result(g, _replay.values(g)) for g in asked])
        if shares[-1] >= 0.999:
            break
    return shares


def true_front(replay: Replay) -> tuple[np.ndarray, np.ndarray, float]:
    """All measured points in units of the true front's ranges, the reference, and the true front's hypervolume."""
    values = [dict(zip(Table.columns, row, strict=True)) for row in replay.table.values.tolist()]
    points = to_minimise(values, replay.problem.objectives)
    front = points[is_nondominated(points)]
    low, high = front.min(axis=0), front.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    reference = np.full(points.shape[1], 1.1)
    return scaled, reference, hypervolume(scaled[is_nondominated(points)], reference)


def reached(found: list[list[float]], share: float) -> np.ndarray:
    """Evaluations to that share, by seed; infinity where the budget did not suffice."""
    return np.array([next((i + 1 for i, s in enumerate(c) if s >= share), np.inf) for c in found])


def row_of(name: str, found: list[list[float]]) -> dict[str, Any]:
    """Medians and quartiles."""
    row: dict[str, Any] = {"algorithm": name}
    for share in SHARES:
        low, middle, high = (np.percentile(reached(found, share), q, method="nearest") for q in (25, 50, 75))
        row[f"to {share:.0%}"] = _count(middle)
        row[f"quartiles {share:.0%}"] = f"{_count(low)}-{_count(high)}"
    return row


def _count(number: float) -> str:
    return f"{number:.0f}" if np.isfinite(number) else "more"


def over_evaluations(curves: dict[str, list[list[float]]]) -> list[dict[str, Any]]:
    """The median share after some numbers of evaluations."""
    rows = []
    for count in (10, 20, 30, 50, 75, 100, 150, 250, 500, 1000):
        row: dict[str, Any] = {"evaluations": count}
        for name, found in curves.items():
            longest = max(map(len, found))
            if count <= longest:
                row[name] = float(np.median([c[min(count, len(c)) - 1] for c in found]))
        rows.append(row)
    return rows


def draw(curves: dict[str, list[list[float]]], path: Path) -> None:
    """The share over evaluations: medians, and quartiles as bands."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.6))
    for name, found in curves.items():
        count = min(500, max(map(len, found)))
        padded = np.array([(c + [c[-1]] * count)[:count] for c in found])
        x = np.arange(1, count + 1)
        low, middle, high = np.percentile(padded, (25, 50, 75), axis=0)
        (line,) = axes.plot(x, middle, label=name)
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="measured candidates", ylabel="share of the true hypervolume", xscale="log", ylim=(0.5, 1.005))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    figure.tight_layout()
    figure.savefig(path, dpi=140)


if __name__ == "__main__":
    options = parser(__doc__ or "")
    options.add_argument("--table", type=Path, default=TABLE, help="the measured space")
    options.add_argument("--measure", type=float, metavar="MINUTES", help="measure what is missing, for so long")
    options.add_argument("--seeds", type=int, default=20, help="searches of each algorithm")
    options.add_argument("--jobs", type=int, default=2, help="processes")
    options.add_argument("--algorithms", default="", help="some of them, separated by commas, without ablation")
    options.add_argument("--figure", type=Path, help="draw the hypervolume over evaluations")
    main(options, run)
