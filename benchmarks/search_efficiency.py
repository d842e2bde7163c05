"""How many measurements algorithms need, on a space that was measured whole: the true front is known.

The reduced space of digits-vit stands in `benchmarks/tables/digits_vit.csv`, the margins of answers in the file of that
name that ends in .npz; `--measure MINUTES` judges and measures what is missing, 0 only judges. Every algorithm searches
the space with many seeds, its measurements taken from the table. The hypervolume is that of what was measured so far,
in units of the true front's ranges, up to a tenth of a range beyond its worst values, as a share of the true front's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _common import Goal, Outcome, at_least, at_most, main, parser
from _ingredients import (
    JUDGED,
    TIMED,
    FreezingSearch,
    KnowingSearch,
    StatisticsSearch,
    with_float_accuracies,
)
from _reduced_space import PROBLEMS, TABLE, DigitsVit, Replay, Table, judge, measure, measure_damage
from threadpoolctl import threadpool_limits

from qnas_ov.algorithms import ALGORITHMS, QnasSearch, QnasSettings, SearchAlgorithm, make_algorithm
from qnas_ov.pareto import hypervolume, is_nondominated, to_minimise

MAIN = ("qnas", "linas", "nsga2", "random")
SHARES = (0.90, 0.95, 0.99)
ABLATED = SHARES[:2]
ABLATED_BUDGET, ABLATED_SEEDS = 150, 10
"""How far the ablation goes, and with how many of the seeds."""

BUDGETS = {"qnas": 200, "linas": 800, "random": 4032}
OTHERS = 1500
ABLATIONS = {
    "everything": {},
    "without the table of unit times": {"use_prior": False},
    "without the margins of answers": {"use_margins": False},
    "without margins and the distance to float outputs": {"use_margins": False, "use_fidelity": False},
    "without the damage of units": {"use_damage": False},
    "without the relevance of sorts of genes": {"use_sorts": False},
    "means alone, no drawn function": {"explore": 0},
    "drawn functions alone": {"explore": 4},
    "without computed costs": {"use_summary": False},
    "rounds of 1, means alone": {"batch": 1, "explore": 0},
    "rounds of 16, four by drawn functions": {"batch": 16, "explore": 4},
    "rounds that are not diverse": {"diverse": False},
    "three random ones as the first round": {"first": 0},
}
PRUNING = {"everything": {}, "without pruning INT8 that gains nothing": {"use_pruning": False}}
"""Of problems where size is no matter: in others nothing is pruned."""

TRIED = (
    "genes frozen that move nothing",
    "computed costs to predict accuracy",
    "accuracies of all float architectures known",
)
"""Published ingredients that are no part of qnas."""

KNOWING = {"who knows accuracies": JUDGED, "who knows latencies": TIMED, "who knows both": JUDGED + TIMED}
"""What remains to be searched where predictions are perfect."""

_replay: Replay | None = None


def run(arguments: argparse.Namespace) -> Outcome:
    global _replay
    threadpool_limits(1)  # matrices are small, and searches run side by side
    table = Table(arguments.table)
    digits = DigitsVit.load()
    if arguments.measure is not None:
        judge(table, digits, jobs=arguments.jobs)
        measure_damage(table, digits)
        if arguments.measure > 0:
            left = measure(table, digits, minutes=arguments.measure)
            print(f"{left} are still to be measured")
        return Outcome({}, {}, {}, table.notes.get("machine"))
    left = np.union1d(table.missing, table.unjudged)
    if len(left):
        raise SystemExit(f"{len(left)} candidates of {table.path} are not measured: give --measure MINUTES")
    seeds = range(3 if arguments.quick else arguments.seeds)
    tables: dict[str, list[dict[str, Any]]] = {}
    figures: dict[str, float] = {}
    goals: dict[str, Goal] = {}
    chosen = arguments.algorithms.split(",") if arguments.algorithms else []
    for objectives in PROBLEMS:
        title, first = ", ".join(objectives), objectives == PROBLEMS[0]
        _replay = Replay(table, digits, objectives=objectives)
        names = chosen or list(ALGORITHMS if first else MAIN)
        curves = {n: run_all(partial(search, name=n), seeds, arguments.jobs, f"{title}: {n}") for n in names}
        tables[f"{title}: evaluations to a share of the true hypervolume"] = [
            *(row_of(n, c) for n, c in curves.items()),
            row_of("who knows the front, greedily", [greedy(_replay)]),
        ]
        tables[f"{title}: hypervolume at equal evaluations, median"] = volumes = over_evaluations(curves)
        if "random" in curves:
            tables[f"{title}: gain over random at equal evaluations"] = [
                {k: v if k == "evaluations" else v - row["random"] for k, v in row.items()} for row in volumes
            ]
        medians = {name: float(np.median(reached(found, 0.95))) for name, found in curves.items()}
        figures |= {f"{title}: {name}, evaluations to 95%": min(m, 1e9) for name, m in medians.items()}
        if not chosen:
            goals |= goals_of(title, medians)
        if not chosen and not arguments.quick and objectives != PROBLEMS[-1]:
            found = ablation(seeds[:ABLATED_SEEDS], arguments.jobs, whole=first)
            tables[f"{title}: what each ingredient of qnas brings, {ABLATED_SEEDS} seeds"] = found
        if first and arguments.figure is not None:
            draw(curves, arguments.figure)
    return Outcome(figures, goals, tables, table.notes["machine"])


def goals_of(title: str, medians: dict[str, float]) -> dict[str, Goal]:
    """What the algorithms should need, relative to each other."""

    def over(one: str, other: str) -> float:
        return min(medians[one] / medians[other], 1e9)

    return {
        f"{title}: qnas over linas, evaluations to 95%": at_most(over("qnas", "linas"), 0.25),
        f"{title}: qnas over random, evaluations to 95%": at_most(over("qnas", "random"), 0.1),
        f"{title}: nsga2 over linas, evaluations to 95%": at_least(over("nsga2", "linas"), 1.0),
    }


def ablation(seeds: Iterable[int], jobs: int, *, whole: bool) -> list[dict[str, Any]]:
    """qnas without each of its ingredients, with some that it lacks, and with what it cannot know.

    Where it is not the whole table: qnas with and without pruning, and what it cannot know.
    """
    changed = [(n, partial(ablated, changes=c)) for n, c in (ABLATIONS if whole else PRUNING).items()]
    added = [(f"with {name}", partial(extended, name=name)) for name in (TRIED if whole else ())]
    knowing = [(f"qnas {name}", partial(informed, known=known)) for name, known in KNOWING.items()]
    return [row_of(name, run_all(one, seeds, jobs, name), ABLATED) for name, one in (*changed, *added, *knowing)]


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
    search = QnasSearch(_replay.problem, rng=np.random.default_rng(seed), settings=settings)
    return curve(search, ABLATED_BUDGET, until=ABLATED[-1])


def extended(seed: int, *, name: str) -> list[float]:
    assert _replay is not None
    problem, kind = _replay.problem, QnasSearch
    if name == TRIED[0]:
        kind = FreezingSearch
    elif name == TRIED[1]:
        kind = StatisticsSearch
    else:
        problem = with_float_accuracies(problem, _replay)
    search = kind(problem, rng=np.random.default_rng(seed), settings=QnasSettings())
    return curve(search, ABLATED_BUDGET, until=ABLATED[-1])


def informed(seed: int, *, known: tuple[str, ...]) -> list[float]:
    assert _replay is not None
    search = KnowingSearch(
        _replay.problem, rng=np.random.default_rng(seed), settings=QnasSettings(), replay=_replay, known=known
    )
    return curve(search, ABLATED_BUDGET, until=ABLATED[-1])


def curve(algorithm: SearchAlgorithm, budget: int, *, until: float = 0.999) -> list[float]:
    """The share of the true hypervolume after each evaluation; it ends where it has reached `until`."""
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
        algorithm.tell([_replay.result(g) for g in asked])
        if shares[-1] >= until:
            break
    return shares


def greedy(replay: Replay) -> list[float]:
    """The share of the true hypervolume where each candidate is the best next one by what was measured: the floor."""
    scaled, reference, whole = true_front(replay)
    left = scaled[is_nondominated(scaled)]
    front = np.zeros((0, scaled.shape[1]))
    shares: list[float] = []
    while len(left) and (not shares or shares[-1] < SHARES[-1]):
        volumes = [hypervolume(np.concatenate([front, left[i : i + 1]]), reference) for i in range(len(left))]
        best = int(np.argmax(volumes))
        front, left = np.concatenate([front, left[best : best + 1]]), np.delete(left, best, axis=0)
        shares.append(volumes[best] / whole)
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


def row_of(name: str, found: list[list[float]], shares: Sequence[float] = SHARES) -> dict[str, Any]:
    """Medians and quartiles."""
    row: dict[str, Any] = {"algorithm": name}
    for share in shares:
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

    matplotlib.use("svg")
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
    axes.legend(fontsize=8, ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    options = parser(__doc__ or "")
    options.add_argument("--table", type=Path, default=TABLE, help="the measured space")
    options.add_argument("--measure", type=float, metavar="MINUTES", help="measure what is missing, for so long")
    options.add_argument("--seeds", type=int, default=20, help="searches of each algorithm")
    options.add_argument("--jobs", type=int, default=2, help="processes")
    options.add_argument("--algorithms", default="", help="some of them, separated by commas, without ablation")
    options.add_argument("--figure", type=Path, help="draw the hypervolume over evaluations")
    main(options, run)
