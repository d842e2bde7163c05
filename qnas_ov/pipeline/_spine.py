"""The spine: a search from settings to packages, one call per stage."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from qnas_ov.algorithms import Constraint, Result, SearchAlgorithm, SearchProblem, make_algorithm
from qnas_ov.core.files import write_json
from qnas_ov.core.fingerprint import digest_json
from qnas_ov.core.progress import Progress, Silent
from qnas_ov.core.records import COST_OBJECTIVES, ERROR_OBJECTIVE, Evaluation
from qnas_ov.journal import read_journal
from qnas_ov.measure import LatencyDatabase, closing_database, describe_machine
from qnas_ov.pipeline._damage import recall_or_measure_damage
from qnas_ov.pipeline._evaluate import BEATEN_BY, MARGINS, Evaluator, Recorder
from qnas_ov.pipeline._outputs import (
    SearchResult,
    check_same_inputs,
    check_same_machine,
    load_result,
    space_record,
    write_run,
)
from qnas_ov.pipeline._race import Race
from qnas_ov.pipeline._run_folder import RunFolder, check_resumable, stored_recipe
from qnas_ov.pipeline._setup import Network, Setup, check_size_limit, prepare_network, resolve
from qnas_ov.pipeline._source import Source
from qnas_ov.pipeline._stop import StopRules
from qnas_ov.pipeline._table import recall_or_measure_table, unit_work
from qnas_ov.pipeline._tables import baselines_table, choose_front, front_table
from qnas_ov.pipeline._timing import tell_disturbances, told_source
from qnas_ov.pipeline._verify import Verified, Verifier
from qnas_ov.pipeline._warm import digest_of_run, judged_of_run, mean_prior, prior_of_run
from qnas_ov.predict import Damage, FeatureMap, Prior

FINISHED = "finished"
COST_COLUMNS = {o.column for o in COST_OBJECTIVES}


def run_search(
    given: Mapping[str, Any],
    *,
    out: Path,
    resume: bool = False,
    progress: Progress | None = None,
    origin: str = "the settings",
    source: Source | None = None,
    latency_db: str | None = None,
) -> SearchResult:
    """Searches, verifies and packages.

    Args:
        given: The settings that were given explicitly, by the names of `Recipe`.
        out: The run folder.
        resume: Continue the run that `out` holds; nothing is measured twice.
        progress: Where to tell what happens.
        origin: What the settings are called in an error.
        source: The network, where `model` cannot be found by its name: a module given from Python.
        latency_db: Path of the database of latencies, "none", or None for the user's own.

    Raises:
        QnasError: If the input does not fit, or no candidate meets the constraints.
    """
    progress = progress or Silent()
    try:
        with closing_database(latency_db) as database:
            return _run_search(
                given, out=out, resume=resume, progress=progress, origin=origin, source=source, database=database
            )
    finally:
        progress.end()


def _run_search(
    given: Mapping[str, Any],
    *,
    out: Path,
    resume: bool,
    progress: Progress,
    origin: str,
    source: Source | None,
    database: LatencyDatabase | None,
) -> SearchResult:
    stored = stored_recipe(out)
    check_resumable(out, stored, given, resume=resume)
    settings = given if stored is None else stored.model_dump()
    setup = resolve(settings, origin=origin, source=source, progress=progress)
    network = prepare_network(setup, progress)
    check_size_limit(setup, network)
    warm, warm_digest = None, None
    if setup.recipe.warm_from is not None and not is_finished(out):
        warm = prior_of_run(Path(setup.recipe.warm_from), network.builder, progress)
        warm_digest = digest_of_run(Path(setup.recipe.warm_from))
    machine = describe_machine(setup.recipe.device)
    with RunFolder(out, setup.recipe) as folder:
        check_same_machine(folder.path, machine)
        if folder.journal.meta(FINISHED):
            progress.say(f"the run in {out} is finished: nothing was measured")
            return load_result(out)
        inputs = run_inputs(setup, network, warm_digest)
        check_same_inputs(folder, inputs)
        write_json(out / "space.json", space_record(setup, network))
        recorder = Recorder(folder.journal, digest_json(inputs))
        evaluator = Evaluator(setup, network, recorder, folder.work, database=database)
        start = time.monotonic()
        baselines = measure_baselines(evaluator, progress)
        constraints = make_constraints(setup, baselines)
        folder.journal.set_meta("constraints", [asdict(c) for c in constraints])
        rules = StopRules(setup.recipe, setup.objectives, constraints, folder.journal)
        wanted = {o.column for o in setup.objectives} | {c.column for c in constraints}
        prior = known_latencies(setup, network, evaluator, folder, progress, wanted, warm)
        damage = known_damage(setup, network, evaluator, folder, progress, wanted)
        rules.prepared(time.monotonic() - start)
        problem = make_problem(setup, network, constraints, prior, damage)
        algorithm = make_algorithm(
            setup.recipe.algorithm,
            problem,
            seed=setup.recipe.seed,
            population=setup.recipe.population,
            inner_evaluations=setup.recipe.inner_evaluations,
        )
        race = Race(setup.objectives, constraints, setup.task.metric)
        searched = search_loop(setup, algorithm, evaluator, race, baselines, rules, progress)
        front = choose_front(searched, setup.objectives, constraints, setup.recipe.front_size)
        verifier = Verifier(setup, network, evaluator, recorder, folder.work)
        verified_baselines, verified = verify(evaluator, verifier, baselines, front, progress)
        table = front_table(verified, verified_baselines, setup.objectives, constraints, metric=setup.task.metric)
        write_run(
            folder,
            setup=setup,
            network=network,
            machine=machine,
            front=table,
            baselines=baselines_table(verified_baselines),
            verified=[*verified, *verified_baselines],
            predictors=algorithm.report(),
        )
        folder.journal.set_meta(FINISHED, True)
        folder.clear_work()
        if recorder.reused:
            progress.say(f"{recorder.reused} measurements were taken from the journal of the interrupted run")
        tell_disturbances(folder.journal.evaluations(), progress)
        if database is not None and evaluator.from_database:
            progress.say(f"{evaluator.from_database} latencies were taken from the database {database.path}")
    return load_result(out)


def is_finished(out: Path) -> bool:
    """Whether a folder holds a run that has ended."""
    journal = out / "evaluations.sqlite"
    return journal.is_file() and bool(read_journal(journal).meta.get(FINISHED))


def run_inputs(setup: Setup, network: Network, warm: str | None = None) -> dict[str, str]:
    """What all evaluations of a run have in common, as digests by name; `warm` is that of the run it begins with."""
    return {
        **({} if warm is None else {"the run of --warm-from": warm}),
        "the weights, calibration samples or NNCF": network.bank.digest,
        "the data": digest_json(setup.task.digests()),
        "the metric": digest_json([setup.task.metric.column, setup.task.metric.identity]),
        "the search space": digest_json(network.builder.space.to_json()),
        "the settings": digest_json(setup.recipe.model_dump(mode="json")),
        "the version of qnas-ov": version("qnas-ov"),
    }


def measure_baselines(evaluator: Evaluator, progress: Progress) -> dict[str, Evaluation]:
    """Measures the unsearched network in every precision."""
    baselines = evaluator.baselines()
    progress.begin("measuring the unsearched network", len(baselines))
    measured = {}
    for baseline in baselines:
        measured[baseline.name] = evaluator.measure_baseline(baseline)
        progress.step(describe(measured[baseline.name]))
    progress.end()
    return measured


def make_constraints(setup: Setup, baselines: Mapping[str, Evaluation]) -> tuple[Constraint, ...]:
    """The limits of the recipe as bounds on columns; a drop is against the float baseline under f32."""
    recipe, metric = setup.recipe, setup.task.metric.column
    found = []
    if recipe.max_drop is not None:
        limit = baselines["float-f32"].values[metric] - recipe.max_drop
        found.append(Constraint("--max-drop", metric, limit, at_least=True))
    if recipe.max_error is not None:
        found.append(Constraint("--max-error", ERROR_OBJECTIVE.column, recipe.max_error, at_least=False))
    if recipe.max_latency_ms is not None:
        found.append(Constraint("--max-latency-ms", "latency_ms", recipe.max_latency_ms, at_least=False))
    if recipe.max_size_mb is not None:
        found.append(Constraint("--max-size-mb", "size_bytes", recipe.max_size_mb * 1e6, at_least=False))
    return tuple(found)


def known_latencies(
    setup: Setup,
    network: Network,
    evaluator: Evaluator,
    folder: RunFolder,
    progress: Progress,
    wanted: set[str],
    warm: Prior | None,
) -> Prior | None:
    """What latency is predicted from at first: the look-up table of what units take, and an earlier run.

    None where latency is not among the wanted columns, or the device has no counters and there is no such run.
    """
    if setup.recipe.algorithm != "qnas" or "latency_ms" not in wanted:
        return None
    progress.say("measuring what the units of the network take, for predictions of latency")
    table = recall_or_measure_table(
        network.builder, evaluator.profile, folder=folder.work, journal=folder.journal, progress=progress
    )
    return mean_prior(warm, table)


def known_damage(
    setup: Setup,
    network: Network,
    evaluator: Evaluator,
    folder: RunFolder,
    progress: Progress,
    wanted: set[str],
) -> Damage | None:
    """What is known of how candidates will be judged: what INT8 costs each unit alone, what an earlier run tells.

    None where neither the metric nor the distance to the float network is among the wanted columns.
    """
    recipe, judged = setup.recipe, (setup.task.metric.column, ERROR_OBJECTIVE.column)
    if recipe.algorithm != "qnas" or not set(judged) & wanted:
        return None
    parts: list[Damage | None] = [recall_or_measure_damage(setup, network, evaluator.scorer, folder.journal, progress)]
    if recipe.warm_from is not None:
        parts.append(judged_of_run(Path(recipe.warm_from), network.builder, judged, progress))
    known = [part for part in parts if part is not None]
    return (lambda genotypes: np.column_stack([part(genotypes) for part in known])) if known else None


def make_problem(
    setup: Setup,
    network: Network,
    constraints: tuple[Constraint, ...],
    prior: Prior | None,
    damage: Damage | None,
) -> SearchProblem:
    """What the search is told: no torch, no OpenVINO."""
    costs = network.builder.compute_costs
    features = FeatureMap(network.builder.space, costs, units=unit_work(network.builder), damage=damage, prior=prior)
    return SearchProblem(
        space=network.builder.space,
        objectives=setup.objectives,
        constraints=constraints,
        costs=costs,
        features=features,
        layout=features.layout,
    )


def search_loop(
    setup: Setup,
    algorithm: SearchAlgorithm,
    evaluator: Evaluator,
    race: Race,
    baselines: Mapping[str, Evaluation],
    rules: StopRules,
    progress: Progress,
) -> list[Evaluation]:
    """Asks, measures, tells, until a stop rule holds or nothing new is proposed."""
    algorithm.tell([as_result(b) for b in baselines.values() if b.genotype])
    recipe = setup.recipe
    progress.begin(f"searching with {recipe.algorithm}", recipe.evaluations)
    searched: list[Evaluation] = []
    while (reason := rules.reason(searched)) is None:
        batch = algorithm.ask(recipe.evaluations - len(searched))
        if not batch:
            reason = f"the space has no further candidates: {len(searched)} were measured"
            break
        measured = []
        for genotype in batch:
            measured.append(evaluator.measure(genotype, race))
            if not measured[-1].ok:
                progress.say(describe(measured[-1]))
            progress.step(describe(measured[-1]))
            if rules.out_of_time(measured[-1]):
                break
        algorithm.tell([as_result(e) for e in measured])
        searched += measured
    progress.end()
    rules.record(reason)
    beaten = sum(BEATEN_BY in e.details for e in searched)
    if beaten:
        progress.say(
            f"{beaten} of {len(searched)} candidates were judged on {recipe.first_samples} validation samples alone: "
            "others had beaten them by then"
        )
    if len(searched) < recipe.evaluations:
        progress.say(f"the search ended: {reason}")
    return searched


def as_result(evaluation: Evaluation) -> Result:
    """An evaluation as the search is told it."""
    margins = evaluation.details.get(MARGINS)
    return Result(
        evaluation.genotype,
        evaluation.values if evaluation.ok else None,
        None if margins is None else np.array(margins),
    )


def verify(
    evaluator: Evaluator,
    verifier: Verifier,
    baselines: Mapping[str, Evaluation],
    front: Sequence[Evaluation],
    progress: Progress,
) -> tuple[list[Verified], list[Verified]]:
    """Recalibrates the front and verifies it together with the baselines; returns (baselines, front)."""
    finalists = [verifier.baseline_finalist(b, baselines[b.name]) for b in evaluator.baselines()]
    progress.begin("calibrating the front on its own graphs", len(front))
    for evaluation in front:
        finalists.append(verifier.candidate_finalist(evaluation))
        progress.step(evaluation.candidate)
    progress.end()
    verified = verifier.verify(finalists, progress)
    names = set(baselines)
    return [v for v in verified if v.finalist.name in names], [v for v in verified if v.finalist.name not in names]


def describe(evaluation: Evaluation) -> str:
    """An evaluation in a line."""
    if not evaluation.ok:
        return f"{evaluation.candidate} failed: {evaluation.reason}"
    accuracy = next(v for k, v in evaluation.values.items() if k not in COST_COLUMNS)
    latency, size = evaluation.values["latency_ms"], evaluation.values["size_bytes"] / 1e6
    return f"{evaluation.candidate}: {accuracy:.4f}, {latency:.3f} ms, {size:.2f} MB{told_source(evaluation)}"
