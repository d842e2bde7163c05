"""Another run as the beginning of predictions: of another network or another machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qnas_ov.core.errors import InputError, RunFolderError
from qnas_ov.core.fingerprint import digest_json
from qnas_ov.core.progress import Progress
from qnas_ov.core.records import Evaluation
from qnas_ov.ir import CandidateBuilder
from qnas_ov.journal import read_journal
from qnas_ov.pipeline._table import unit_work
from qnas_ov.predict import Damage, FeatureMap, Prior, RelativeRidge, UnitUse, UnitWork, fit_predictor
from qnas_ov.space import Knob, KnobKind, Space

_FEWEST = 8


def prior_of_run(folder: Path, builder: CandidateBuilder, progress: Progress) -> Prior:
    """A predictor fitted on the latencies of a run, as a prior for another one.

    Of the same space all is taken over; of another one what its units take by precision and inference precision, per
    unit and per multiply-accumulate. What differs by a factor, or from unit to unit, is learnt from measurements.

    Args:
        folder: The run that latencies come from.
        builder: The space to predict in.
        progress: Where to tell what is taken over.

    Raises:
        InputError: If it is no run, has too few latencies, or has other inference precisions.
        RunFolderError: If it is damaged.
    """
    space, units, found = _read(folder)
    genotypes, latencies = np.array([e.genotype for e in found]), np.array([e.values["latency_ms"] for e in found])
    if _choices(space) != _choices(builder.space):
        raise InputError(
            f"--warm-from '{folder}' must have the same precisions and inference precisions: it has {_choices(space)}, "
            f"this search has {_choices(builder.space)}; choose another run or leave it out"
        )
    prior, told = prior_of_latencies(space, units, genotypes, latencies, builder)
    progress.say(f"predictions of latency begin with {len(latencies)} candidates of {told}{folder}")
    return prior


def digest_of_run(folder: Path) -> str:
    """What is taken over from a run, as a digest: a search that is resumed must find the same."""
    _, _, found = _read(folder)
    return digest_json([[e.genotype, sorted(e.values.items())] for e in found])


def judged_of_run(folder: Path, builder: CandidateBuilder, columns: Sequence[str], progress: Progress) -> Damage | None:
    """What a run of the same space tells of how candidates are judged: its predictions of these columns.

    Args:
        folder: The run, which `prior_of_run` has taken.
        builder: The space to predict in.
        columns: Accuracy, and the distance to the float network's outputs, as far as the run holds them.
        progress: Where to tell what is taken over.

    Returns:
        Genotypes (n, num_knobs) to float array (n, num_columns); None if the space is another one.
    """
    space, _, found = _read(folder)
    if space.to_json() != builder.space.to_json():
        return None
    known = [c for c in columns if all(c in e.values for e in found)]
    features = FeatureMap(builder.space, builder.compute_costs, units=unit_work(builder))
    rows = features(np.array([e.genotype for e in found]))
    fitted = [
        fit_predictor(rows, np.array([e.values[c] for e in found]), seed=0, layout=features.layout) for c in known
    ]
    if not fitted:
        return None
    progress.say(f"predictions of {' and '.join(known)} begin with {len(found)} candidates of {folder}")

    def predict(genotypes: np.ndarray) -> np.ndarray:
        chosen = features(genotypes)
        return np.column_stack([f.predict(chosen) for f in fitted])

    return predict


def prior_of_latencies(
    space: Space, units: Sequence[UnitWork], genotypes: np.ndarray, latencies: np.ndarray, builder: CandidateBuilder
) -> tuple[Prior, str]:
    """A predictor fitted on some candidates, as a prior for the space of `builder`.

    Args:
        space: The space of the candidates; with the precisions and inference precisions of the other one.
        units: What its units work.
        genotypes: The candidates, (n, num_knobs).
        latencies: Theirs in milliseconds, (n,).
        builder: The space to predict in.

    Returns:
        The prior, and "another network, in " where the spaces differ, for what is told.
    """
    if space.to_json() == builder.space.to_json():
        features = FeatureMap(builder.space, builder.compute_costs, units=unit_work(builder))
        fitted = fit_predictor(features(genotypes), latencies, seed=0, layout=features.layout)
        return lambda chosen: fitted.predict(features(chosen)), ""
    theirs, ours = UnitUse(space, units), UnitUse(builder.space, unit_work(builder))
    ridge = RelativeRidge().fit(theirs.shared(genotypes), latencies)
    return lambda chosen: ridge.predict(ours.shared(chosen)), "another network, in "


def mean_prior(*priors: Prior | None) -> Prior | None:
    """The geometric mean of those that there are; None if there is none. What they differ by as a factor is learnt."""
    known = [p for p in priors if p is not None]
    if not known:
        return None
    return lambda genotypes: np.exp(np.mean([np.log(np.maximum(p(genotypes), 1e-12)) for p in known], axis=0))


def _choices(space: Space) -> list[list[str]]:
    """The precisions of units, and the inference precisions."""
    precision = space.of_kind(KnobKind.PRECISION)
    units = max((space.knobs[i].choices for i in precision), key=len, default=())
    hints = [space.knobs[i].choices for i in space.of_kind(KnobKind.INFERENCE_PRECISION)]
    return [[str(c) for c in units], *([str(c) for c in h] for h in hints)]


def _read(folder: Path) -> tuple[Space, list[UnitWork], list[Evaluation]]:
    """Space, units, and the measured candidates of a run that have a latency."""
    place = folder / "space.json"
    if not place.is_file():
        raise InputError(f"--warm-from '{folder}' is no run folder, it holds no space.json: give the --out of a search")
    try:
        record = json.loads(place.read_text())
        space = Space([Knob.from_json(k) for k in record["knobs"]])
        units = [
            UnitWork(u["key"], u["knob"], float(u["macs"]), float(u["params"]), tuple(u["widths"]))
            for u in record["units"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{place} is damaged ({error}): choose another run") from error
    found = [e for e in read_journal(folder / "evaluations.sqlite").evaluations if e.stage == "search" and e.ok]
    measured = [e for e in found if "latency_ms" in e.values]
    if len(measured) < _FEWEST:
        raise InputError(
            f"--warm-from '{folder}' must hold at least {_FEWEST} latencies: it holds {len(measured)}; choose another"
        )
    return space, units, measured
