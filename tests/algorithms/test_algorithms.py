"""One contract for every algorithm, on a cheap problem whose front is known."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from qnas_ov.algorithms import ALGORITHMS, Constraint, Result, SearchProblem, make_algorithm
from qnas_ov.algorithms._pruning import find_useless, prune
from qnas_ov.algorithms._pymoo import GeneMutation, GenotypeProblem, evolve, make_nsga2
from qnas_ov.core.errors import InputError, UnknownNameError
from qnas_ov.core.records import Objective
from qnas_ov.pareto import hypervolume, to_minimise
from qnas_ov.predict import FeatureLayout
from qnas_ov.space import Activation, Genotype, Knob, KnobKind, Space

LAYERS = 6
SPACE = Space(
    [
        Knob("depth", KnobKind.DEPTH, (2, 4, 6)),
        *(Knob(f"w{i}", KnobKind.WIDTH, (1, 2, 3, 4), Activation("depth", i + 1)) for i in range(LAYERS)),
        *(Knob(f"p{i}", KnobKind.PRECISION, ("int8", "float"), Activation("depth", i + 1)) for i in range(LAYERS)),
        Knob("inference_precision", KnobKind.INFERENCE_PRECISION, ("bf16", "f32")),
    ]
)
OBJECTIVES = (
    Objective("accuracy", "accuracy", "max", predicted=True),
    Objective("latency", "latency_ms", "min", predicted=True),
    Objective("size", "size_bytes", "min", predicted=False),
)


def costs(genotypes: np.ndarray) -> dict[str, np.ndarray]:
    active = SPACE.active(genotypes)
    width = (genotypes[:, 1 : 1 + LAYERS] + 1) * active[:, 1 : 1 + LAYERS]
    real = genotypes[:, 1 + LAYERS : 1 + 2 * LAYERS] * active[:, 1 + LAYERS : 1 + 2 * LAYERS]
    size = (width * (1 + 3 * real)).sum(axis=1).astype(float)
    return {"size_bytes": size, "macs": width.sum(axis=1).astype(float), "macs_int8": (width * (1 - real)).sum(axis=1)}


def measure(genotype: Genotype) -> dict[str, float]:
    g = np.array([genotype])
    c = costs(g)
    width, int8 = float(c["macs"][0]), float(c["macs_int8"][0])
    sensitive = 0.03 * (genotype[7] == 0)  # the first layer does not like INT8
    return {
        "accuracy": 1 - 0.4 * np.exp(-width / 6) - sensitive - 0.001 * int8 / max(width, 1),
        "latency_ms": 0.2 + 0.05 * int8 + 0.12 * (width - int8) * (1.3 if genotype[-1] else 1.0),
        "size_bytes": float(c["size_bytes"][0]),
    }


def genes_only(space: Space) -> FeatureLayout:
    return FeatureLayout(num_genes=int(space.num_choices.sum()))


def problem(*constraints: Constraint) -> SearchProblem:
    def features(genotypes: np.ndarray) -> np.ndarray:
        return np.column_stack([SPACE.one_hot(genotypes), *costs(genotypes).values()])

    return SearchProblem(SPACE, OBJECTIVES, constraints, costs, features, genes_only(SPACE))


def run(
    name: str,
    count: int,
    *,
    seed: int = 0,
    fail_every: int = 0,
    constraints: tuple[Constraint, ...] = (),
    objectives: tuple[Objective, ...] = OBJECTIVES,
):
    asked = replace(problem(*constraints), objectives=objectives)
    algorithm = make_algorithm(name, asked, seed=seed, population=12, inner_evaluations=600)
    found: list[tuple[Genotype, dict[str, float] | None]] = []
    while len(found) < count:
        batch = algorithm.ask(count - len(found))
        if not batch:
            break
        results = []
        for genotype in batch:
            failed = fail_every and (len(found) + len(results)) % fail_every == 0
            results.append((genotype, None if failed else measure(genotype)))
        algorithm.tell([Result(g, v) for g, v in results])
        found += results
    return found, algorithm


def volume(found) -> float:
    points = to_minimise([v for _, v in found if v], OBJECTIVES)
    return hypervolume(points, np.array([0.0, 4.0, 100.0]))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_proposals_are_canonical_and_never_repeat(name: str) -> None:
    budget = 20 if name == "qnas" else 48
    found, _ = run(name, budget)
    genotypes = [g for g, _ in found]
    assert len(genotypes) == len(set(genotypes)) == budget
    assert all(SPACE.canonical(g) == g for g in genotypes)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_same_seed_gives_the_same_search(name: str) -> None:
    first, second, other = (run(name, 16, seed=s)[0] for s in (3, 3, 4))
    assert first == second
    assert first != other


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_same_seed_gives_the_same_search_in_another_process(name: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(__file__.rsplit('/', 1)[0])!r})\n"
        f"from test_algorithms import run\nprint([g for g, _ in run({name!r}, 16)[0]])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONHASHSEED": "123", "PATH": ""})  # fmt: skip
    assert done.stdout.strip() == str([g for g, _ in run(name, 16)[0]])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_failed_measurements_do_not_stop_the_search(name: str) -> None:
    found, _ = run(name, 24, fail_every=4)
    assert sum(v is None for _, v in found) == 6


@pytest.mark.parametrize("name", ALGORITHMS)
def test_known_results_are_not_asked_again(name: str) -> None:
    algorithm = make_algorithm(name, problem(), seed=0, population=12, inner_evaluations=600)
    first = make_algorithm(name, problem(), seed=0, population=12, inner_evaluations=600).ask(6)
    algorithm.tell([Result(g, measure(g)) for g in first])
    assert first
    assert not {g for _ in range(3) for g in algorithm.ask(6)} & set(first)


def test_qnas_beats_linas_and_linas_random_search() -> None:
    volumes = {name: [volume(run(name, 40, seed=s)[0]) for s in range(3)] for name in ("qnas", "linas", "random")}
    assert np.median(volumes["qnas"]) > np.median(volumes["linas"]) > np.median(volumes["random"])
    assert min(volumes["qnas"]) > max(volumes["random"])


@pytest.mark.parametrize("name", [n for n in ALGORITHMS if n not in ("random", "ctaea", "cmaes")])
def test_constraints_steer_the_search(name: str) -> None:
    """Against the same search without the limit.

    C-TAEA keeps an archive that ignores limits; CMA-ES goes to fast networks anyway.
    """
    limit = Constraint("--max-latency-ms", "latency_ms", 0.7, at_least=False)
    budget = 40 if name == "qnas" else 84

    def near(*constraints: Constraint) -> float:
        """The best networks lie at the limit, so that some are a little beyond; the first round knows nothing."""
        found, _ = run(name, budget, constraints=constraints)
        return float(np.mean([v["latency_ms"] <= 1.15 * limit.limit for _, v in found[12:] if v]))

    assert near(limit) > 1.3 * near()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_objective_or_two(name: str, count: int) -> None:
    chosen = OBJECTIVES[1 : 1 + count]
    if count == 1 and name in ("age", "ctaea", "moead", "unsga3"):
        with pytest.raises(InputError, match=f"'{name}' needs at least two objectives: got one"):
            run(name, 4, objectives=chosen)
        return
    budget = 24 if name == "qnas" else 72
    found, _ = run(name, budget, objectives=chosen)
    assert len({g for g, _ in found}) == budget
    drawn = [measure(tuple(map(int, g)))["latency_ms"] for g in SPACE.sample(np.random.default_rng(0), 72)]
    if name != "random":
        assert min(v["latency_ms"] for _, v in found if v) <= min(drawn)


def test_qnas_tells_which_genes_matter() -> None:
    _, algorithm = run("qnas", 40)
    genes = algorithm.report()["latency_ms"]["genes"]
    assert max(genes, key=genes.get) == "depth"
    assert genes["inference_precision"] > 0.01


@pytest.mark.parametrize("name", ["qnas", "linas"])
def test_predictions_made_before_measuring_are_reported(name: str) -> None:
    _, algorithm = run(name, 40)
    record = algorithm.report()
    assert set(record) == {"accuracy", "latency_ms"}  # size is computed, not predicted
    latency = record["latency_ms"]
    assert latency["num_training"] == 40
    first = 12 if name == "linas" else 8
    assert len(latency["points"]["before_measuring"]) == latency["before_measuring"]["num_samples"] == 40 - first
    assert latency["cross_validated"]["kendall_tau"] > 0.8


def test_mutation_really_changes_every_offspring() -> None:
    """The fault of DyNAS-T under pymoo >= 0.6: 0.7% of offspring changed. Here: all, in genes that matter."""
    rng = np.random.default_rng(0)
    parents = SPACE.sample(rng, 500)
    children = SPACE.canonical_array(GeneMutation(SPACE)._do(None, parents.copy(), random_state=rng))
    changed = (children != parents).any(axis=1)
    assert changed.mean() == 1.0
    assert 1.5 < (children != parents).sum(axis=1).mean() < 4.0
    assert ((children >= 0) & (children < SPACE.num_choices)).all()


def test_offspring_of_nsga2_differ_from_their_parents() -> None:
    def evaluate(genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = [measure(tuple(g)) for g in genotypes]
        return to_minimise(values, OBJECTIVES), np.zeros((len(genotypes), 0))

    start = SPACE.sample(np.random.default_rng(1), 40)
    algorithm = make_nsga2(SPACE, population=40, start=start)
    algorithm.setup(
        GenotypeProblem(SPACE, num_objectives=3, num_constraints=0, evaluate=evaluate), seed=1, verbose=False
    )
    algorithm.next()
    offspring = {tuple(int(v) for v in x) for x in algorithm.ask().get("X")}
    assert len(offspring) >= 38
    assert not offspring & {tuple(int(v) for v in x) for x in start}


def test_the_number_of_inner_evaluations_is_kept() -> None:
    seen = []

    def evaluate(genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append(len(genotypes))
        return costs(genotypes)["macs"][:, None] * np.array([[1.0, -1.0]]), np.zeros((len(genotypes), 0))

    start = SPACE.sample(np.random.default_rng(0), 20)
    evolve(SPACE, evaluate, num_objectives=2, num_constraints=0, start=start, evaluations=400, seed=0)
    assert 380 <= sum(seen) <= 420


@pytest.mark.parametrize("num_knobs", [2, 3])
def test_an_exhausted_space_ends_the_search(num_knobs: int) -> None:
    """With three knobs LINAS has measured enough to fit predictors when nothing is left."""
    small = Space([Knob(name, KnobKind.WIDTH, (1, 2)) for name in "abc"[:num_knobs]])

    def features(genotypes: np.ndarray) -> np.ndarray:
        assert genotypes.ndim == 2
        return small.one_hot(genotypes)

    tiny = SearchProblem(small, OBJECTIVES[:2], (), lambda g: {"macs": g.sum(1)}, features, genes_only(small))
    for name in ALGORITHMS:
        algorithm = make_algorithm(name, tiny, seed=0, population=4, inner_evaluations=100)
        asked: list[Genotype] = []
        for _ in range(30):
            batch = algorithm.ask(3)
            algorithm.tell([Result(g, {"accuracy": g[0] + 0.1 * g[1], "latency_ms": 1.0 + sum(g)}) for g in batch])
            asked += batch
        assert sorted(asked) == sorted(itertools.product((0, 1), repeat=num_knobs)), name


def test_an_unknown_algorithm_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown algorithm 'lynas': .*did you mean 'linas'"):
        make_algorithm("lynas", problem(), seed=0, population=4, inner_evaluations=100)


def test_precisions_without_gain_are_not_searched_unless_size_counts() -> None:
    """A device on which INT8 is slower in the odd layers under bf16."""
    weights = np.array([1.0 if i % 2 == 0 else -1.0 for i in range(LAYERS)])

    def features(genotypes: np.ndarray) -> np.ndarray:
        int8 = (genotypes[:, 7 : 7 + LAYERS] == 0) & SPACE.active(genotypes)[:, 7 : 7 + LAYERS]
        gain = (int8 * np.where(genotypes[:, -1:] == 0, weights, 1.0)).sum(axis=1)
        return np.column_stack([SPACE.one_hot(genotypes), *costs(genotypes).values(), 10.0 - gain])

    layout = replace(genes_only(SPACE), prior=True)
    asked = replace(problem(), features=features, layout=layout, objectives=OBJECTIVES[:2])
    found = find_useless(asked)
    assert {(u.knob, u.choice, u.hint) for u in found} == {(7 + i, 0, 0) for i in range(1, LAYERS, 2)}
    assert find_useless(replace(asked, objectives=OBJECTIVES)) == []
    pruned = prune(SPACE, found, SPACE.sample(np.random.default_rng(0), 200))
    assert (pruned == SPACE.canonical_array(pruned)).all()
    algorithm = make_algorithm("qnas", asked, seed=0, population=12, inner_evaluations=600)
    for _ in range(4):
        batch = algorithm.ask(6)
        for genotype in batch:
            active = SPACE.active(np.array([genotype]))[0]
            assert genotype[-1] == 1 or all(genotype[7 + i] or not active[7 + i] for i in range(1, LAYERS, 2))
        algorithm.tell([Result(g, measure(g)) for g in batch])


def test_qnas_predicts_accuracy_from_margins_where_it_is_told_them() -> None:
    """Some candidates are judged on half of the samples, as multi-fidelity does."""
    hardness = np.random.default_rng(0).normal(0.0, 0.3, 60)

    def search(told: bool) -> tuple[list[Genotype], dict[str, object]]:
        algorithm = make_algorithm("qnas", problem(), seed=0, population=12, inner_evaluations=600)
        asked: list[Genotype] = []
        while len(asked) < 24:
            batch = algorithm.ask(24 - len(asked))
            asked += batch
            results = []
            for genotype in batch:
                values = measure(genotype)
                margins = np.tanh(values["accuracy"] - 0.6 + hardness)[: 30 if genotype[0] == 0 else 60]
                values["accuracy"] = float((margins > 0).mean())
                results.append(Result(genotype, values, margins if told else None))
            algorithm.tell(results)
        return asked, algorithm.report()

    (first, report), (again, _), (other, without) = search(True), search(True), search(False)
    assert first == again != other
    assert report["accuracy"]["model"] == "gaussian process of margins"
    assert "margins" not in without["accuracy"]["model"]
