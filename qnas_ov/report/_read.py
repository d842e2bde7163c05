"""Reads a run folder; what is missing or damaged is named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qnas_ov.core.errors import InputError, RunFolderError
from qnas_ov.core.records import Evaluation, Objective
from qnas_ov.journal import Recorded, read_journal
from qnas_ov.recipe import read_recipe_file
from qnas_ov.report._run import Limit, NetworkRecord, PredictorRecord, Run, SearchSpace, Unit

RECIPE, JOURNAL, SPACE, MACHINE = "recipe.yaml", "evaluations.sqlite", "space.json", "machine.json"
FRONT, BASELINES, PREDICTORS = "pareto.csv", "baselines.csv", "predictors.json"

_COSTS = ("latency_ms", "latency_ms_low", "latency_ms_high", "latency_rounds", "size_bytes", "macs", "params")
_GAINS = (
    "speedup_vs_int8", "speedup_vs_f32", "size_ratio_vs_int8", "test_delta_vs_int8", "test_p_vs_int8",
    "test_delta_vs_f32", "test_p_vs_f32",
)  # fmt: skip


def read_run(folder: Path) -> Run:
    """Reads what a search left or is leaving in its folder. It is finished if it has a `pareto.csv`.

    Raises:
        InputError: If it is no run folder.
        RunFolderError: If a file of it is missing or damaged; the message names it.
    """
    if not (folder / RECIPE).is_file():
        found = "does not exist" if not folder.exists() else f"holds no {RECIPE}"
        raise InputError(f"'{folder}' is no run folder, it {found}: give the --out of a search")
    if not (folder / JOURNAL).exists() and not (folder / SPACE).exists():
        raise RunFolderError(f"the run in '{folder}' has measured nothing yet: continue it with --resume")
    journal = read_journal(folder / JOURNAL)
    space = _read_space(folder / SPACE)
    with _naming(folder / JOURNAL):
        _check_values(journal.evaluations, space)
        limits = tuple(
            Limit(r["option"], r["column"], float(r["limit"]), bool(r["at_least"]))
            for r in journal.meta.get("constraints", [])
        )
        version = dict(journal.meta.get("inputs", {})).get("the version of qnas-ov")
        stopped = None if journal.meta.get("stopped") is None else str(journal.meta["stopped"])
    finished = (folder / FRONT).exists()
    front = _read_table(folder / FRONT, "candidate", space.metric) if finished else None
    networks = _of_journal(folder / JOURNAL, journal) if front is None else _of_manifests(folder, front)
    return Run(
        folder=folder,
        recipe=_read_recipe(folder / RECIPE),
        machine=_read_machine(folder / MACHINE),
        space=space,
        evaluations=journal.evaluations,
        limits=limits,
        version=version,
        front=front,
        baselines=_read_table(folder / BASELINES, "baseline", space.metric) if finished else None,
        predictors=_read_predictors(folder / PREDICTORS) if finished else (),
        networks=networks,
        stopped=stopped,
    )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside is told as a fault of this file."""
    try:
        yield
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing: restore it from a copy of the run") from error
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror or error}; check its rights") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise RunFolderError(f"{path} is damaged ({reason}): restore it from a copy of the run") from error


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"it must hold an object, it holds {type(content).__name__}")
    return content


def _read_recipe(path: Path) -> dict[str, Any]:
    with _naming(path):
        return read_recipe_file(path)


def _read_machine(path: Path) -> dict[str, Any]:
    with _naming(path):
        machine = _read_json(path)
        needed = {name: str(machine[name]) for name in ("cpu", "device", "cores_usable", "python")}
        return {
            "governor": None,
            "load_1min": None,
            "inference_precisions": [],
            **machine,
            **needed,
            "flags": [str(f) for f in machine["flags"]],
            "packages": dict(machine["packages"]),
        }


def _read_space(path: Path) -> SearchSpace:
    with _naming(path):
        record = _read_json(path)
        knobs = {k["name"]: k for k in record["knobs"]}
        return SearchSpace(
            metric=str(record["metric"]),
            objectives=tuple(
                Objective(o.get("name", o["column"]), o["column"], o["direction"], predicted=False)
                for o in record["objectives"]
            ),
            largest={n: int(k["choices"][-1]) for n, k in knobs.items() if k["kind"] in ("depth", "width")},
            units=tuple(
                Unit(str(u["key"]), tuple(map(str, u.get("blocks", ()))), tuple(map(str, u.get("widths", ()))))
                for u in record["units"]
            ),
            log10_candidates=float(record["log10_candidates"]),
            model=_named(record.get("model"), {"sha256": None}),
            data=_named(record.get("data"), {"sha256": {}, "num_samples": {}}),
            notes=tuple(map(str, record.get("notes", ()))),
        )


def _named(record: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded of a network or of data; nothing where an earlier version recorded nothing."""
    return (
        {} if record is None else {**defaults, **record, "name": str(record["name"]), "source": str(record["source"])}
    )


def _check_values(evaluations: tuple[Evaluation, ...], space: SearchSpace) -> None:
    """Every measured candidate has the columns that pages show."""
    needed = {space.metric, "latency_ms", "size_bytes", *(o.column for o in space.objectives)}
    for e in evaluations:
        if e.ok and e.stage in ("search", "baseline") and not needed <= set(e.values):
            raise ValueError(f"{e.candidate} has no {', '.join(sorted(needed - set(e.values)))}")


def _read_table(path: Path, name: str, metric: str) -> pd.DataFrame:
    with _naming(path):
        table = pd.read_csv(path, dtype={name: str})
        judged = [f"{m}{end}" for m in (metric, f"test_{metric}") for end in ("", "_ci95_low", "_ci95_high")]
        for column in (*judged, *_COSTS, *(_GAINS if name == "candidate" else ())):
            if not np.isfinite(pd.to_numeric(table[column]).to_numpy(dtype=np.float64)).all():
                raise ValueError(f"column {column} must hold numbers")
        if table[name].isna().any() or table[name].duplicated().any() or table.empty:
            raise ValueError(f"column {name} must name every row once")
        return table


def _read_predictors(path: Path) -> tuple[PredictorRecord, ...]:
    with _naming(path):
        return tuple(_predictor(str(column), record) for column, record in _read_json(path).items())


def _predictor(column: str, record: Mapping[str, Any]) -> PredictorRecord:
    points, scores, ahead = record["points"], record["cross_validated"], record["before_measuring"]
    return PredictorRecord(
        column=column,
        model=str(record["model"]),
        num_training=int(record["num_training"]),
        tau=float(scores["kendall_tau"]),
        mape=float(scores["mape"]),
        left_out=tuple(
            (float(m), float(p)) for m, p in zip(points["measured"], points["cross_validated"], strict=True)
        ),
        ahead=tuple((float(p["measured"]), float(p["predicted"])) for p in points["before_measuring"]),
        ahead_tau=None if ahead is None else float(ahead["kendall_tau"]),
        genes={str(name): float(value) for name, value in record.get("genes", {}).items()},
    )


def _of_manifests(folder: Path, front: pd.DataFrame) -> dict[str, NetworkRecord]:
    return {str(name): _of_manifest(folder / "deploy" / str(name) / "manifest.json") for name in front["candidate"]}


def _of_manifest(path: Path) -> NetworkRecord:
    with _naming(path):
        record = _read_json(path)
        units = dict(record["units"])
        return NetworkRecord(
            architecture={k: int(v) for k, v in record["architecture"].items()},
            policy=dict(record["policy"]),
            inference_precision=str(record["inference_precision"]),
            realised={k: str(u["realised"]) for k, u in units.items()},
            why={k: str(u["why"]) for k, u in units.items() if "why" in u},
        )


def _of_journal(path: Path, journal: Recorded) -> dict[str, NetworkRecord]:
    with _naming(path):
        return {
            e.candidate: NetworkRecord(
                {k: int(v) for k, v in e.details["architecture"].items()},
                dict(e.details["policy"]),
                str(e.details["inference_precision"]),
            )
            for e in journal.evaluations
            if e.stage == "search" and e.ok
        }
