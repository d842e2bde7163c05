"""Several finished runs on one page: two devices, two versions, two recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qnas_ov.core.errors import InputError
from qnas_ov.core.records import Objective
from qnas_ov.pareto import hypervolume, is_nondominated, to_minimise
from qnas_ov.report._figures import RUN_COLOURS, comparison_figure
from qnas_ov.report._history import MARGIN, normalise, reference_point
from qnas_ov.report._html import render
from qnas_ov.report._run import Run
from qnas_ov.report._words import best_no_worse, label_of, number

_MACHINE = ("cpu", "device", "device_name", "flags", "cores_usable", "cores_physical", "memory_bytes", "governor",
            "cgroup_cpu_max", "inference_precisions", "system")  # fmt: skip


@dataclass(frozen=True)
class Volume:
    """How much of the objectives a run's front dominates.

    Attributes:
        share: Of the box from the best values of all fronts to the common reference point, 0 to 1.
        on_joint: Networks of its front that stay on the front of all runs together.
    """

    share: float
    on_joint: int


@dataclass(frozen=True)
class Difference:
    """Something that differs between runs: its name, and its value in each run, in their order."""

    name: str
    values: tuple[str, ...]


def check_comparable(runs: Sequence[Run]) -> None:
    """Checks that runs can stand on one page.

    Raises:
        InputError: If one is given twice or not finished, their metrics differ, or there are too many.
    """
    if len(runs) > len(RUN_COLOURS):
        raise InputError(f"a comparison takes at most {len(RUN_COLOURS)} runs: got {len(runs)}; leave some out")
    for i, run in enumerate(runs):
        for other in runs[:i]:
            if run.folder.resolve() == other.folder.resolve() or run.evaluations == other.evaluations:
                raise InputError(
                    f"a comparison needs different runs: '{other.folder}' and '{run.folder}' are the same one; "
                    "give each run once"
                )
    for run in runs:
        if not run.finished:
            raise InputError(
                f"only finished runs compare, and '{run.folder}' is not finished: continue it with "
                f"`qnas-ov search --resume --out {run.folder}`, or leave it out"
            )
        if run.metric != runs[0].metric:
            raise InputError(
                f"runs compare by one metric: '{runs[0].folder}' has {runs[0].metric}, '{run.folder}' has "
                f"{run.metric}; choose runs of the same metric"
            )


def render_comparison(
    runs: Sequence[Run], picks: Sequence[Mapping[str, str]], protocols: Sequence[Sequence[str]]
) -> str:
    """The page that compares runs.

    Args:
        runs: Finished runs of one metric, see `check_comparable`.
        picks: For each run, the candidate by rule of `qnas-ov package`.
        protocols: For each run, how its latencies came about, in sentences.
    """
    labels = name_runs(runs)
    warnings, accuracies_compare = find_warnings(runs, labels)
    objectives = shared_objectives(runs)
    volumes = compare_volumes(runs, objectives) if accuracies_compare and len(objectives) > 1 else None
    return render(
        "comparison.html",
        figures={"front": comparison_figure(dict(zip(labels, runs, strict=True)))},
        runs=list(zip(labels, runs, strict=True)),
        labels=labels,
        metric=runs[0].metric,
        warnings=warnings,
        summary=_summary(runs, labels, volumes),
        objectives=[label_of(o.column) for o in objectives],
        volumes=volumes,
        margin=MARGIN,
        choices=_choices(runs, labels, picks),
        protocols=_different(protocols, labels),
        differences={
            "Recipe": differ([r.recipe for r in runs]),
            "Machine": differ([{k: r.machine.get(k) for k in _MACHINE} for r in runs]),
            "Versions": differ([_versions(r) for r in runs]),
            "Network and data": differ([_subject(r) for r in runs]),
        },
        tables={"fronts.csv": _fronts(runs, labels)},
    )


def name_runs(runs: Sequence[Run]) -> list[str]:
    """The shortest ends of the runs' paths that tell them apart."""
    parts = [run.folder.resolve().parts for run in runs]
    for count in range(1, max(len(p) for p in parts) + 1):
        names = ["/".join(p[-count:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different folders have different paths")


def find_warnings(runs: Sequence[Run], labels: Sequence[str]) -> tuple[list[str], bool]:
    """What does not compare, in sentences, and whether accuracies do."""
    found, compare = [], True
    checks = (
        ("networks", "weights", [r.space.model.get("sha256") for r in runs]),
        ("test data", "digests", [dict(r.space.data.get("sha256", {})).get("test") for r in runs]),
    )
    for what, how, digests in checks:
        if len(set(digests)) > 1 and None not in digests:
            listed = ", ".join(f"{n} {str(d)[:8]}" for n, d in zip(labels, digests, strict=True))
            found.append(f"The {what} differ ({how}: {listed}): accuracies do not compare from run to run.")
            compare = False
        elif None in digests:
            unknown = ", ".join(n for n, d in zip(labels, digests, strict=True) if d is None)
            found.append(f"Whether the {what} are the same is not known: {unknown} did not record digests.")
    if differ([{k: r.machine.get(k) for k in _MACHINE} for r in runs]):
        found.append("The machines differ: every latency is that of its run's own machine.")
    return found, compare


def shared_objectives(runs: Sequence[Run]) -> tuple[Objective, ...]:
    """The objectives of all runs, judged on test data where the fronts have it."""
    others = [{(o.column, o.direction) for o in r.space.objectives} for r in runs]
    fronts = [r.front for r in runs if r.front is not None]
    found = []
    for o in runs[0].space.objectives:
        if all((o.column, o.direction) in known for known in others):
            test = f"test_{o.column}"
            column = test if all(test in f.columns for f in fronts) else o.column
            found.append(Objective(o.name, column, o.direction, predicted=False))
    return tuple(found)


def compare_volumes(runs: Sequence[Run], objectives: Sequence[Objective]) -> list[Volume]:
    """Hypervolume of every run's front below one reference point, and what is left of it on the joint front."""
    parts = [to_minimise(r.front.to_dict("records"), objectives) for r in runs if r.front is not None]
    together = np.concatenate(parts)
    reference = reference_point(len(objectives))
    owner = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
    joint = owner[is_nondominated(together)]
    return [
        Volume(hypervolume(normalise(points, together), reference) / float(np.prod(reference)), int((joint == i).sum()))
        for i, points in enumerate(parts)
    ]


def differ(records: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """The entries in which records differ."""
    names = list(dict.fromkeys(name for record in records for name in record))
    rows = [Difference(n, tuple(_text(r.get(n)) for r in records)) for n in names]
    return [row for row in rows if len(set(row.values)) > 1]


def _different(protocols: Sequence[Sequence[str]], labels: Sequence[str]) -> list[tuple[list[str], tuple[str, ...]]]:
    """Every protocol once, after the runs that it is of."""
    found: dict[tuple[str, ...], list[str]] = {}
    for label, sentences in zip(labels, protocols, strict=True):
        found.setdefault(tuple(sentences), []).append(label)
    return [(names, sentences) for sentences, names in found.items()]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(str(v) for v in value) or "none"
    return str(value)


def _versions(run: Run) -> dict[str, Any]:
    return {"qnas-ov": run.version, "python": run.machine["python"], **run.machine["packages"]}


def _subject(run: Run) -> dict[str, Any]:
    """What was searched and judged; of digests the beginning."""
    model, data = run.space.model, run.space.data
    splits = {f"{n} split": str(d)[:12] for n, d in dict(data.get("sha256", {})).items()}
    sizes = {f"{n} samples": c for n, c in dict(data.get("num_samples", {})).items()}
    weights = model.get("sha256")
    return {
        "network": model.get("name"),
        "weights": weights and str(weights)[:12],
        "data": data.get("name"),
        **sizes,
        **splits,
        "precision units": len(run.space.units),
        "objectives": [o.column for o in run.space.objectives],
    }


def _choices(
    runs: Sequence[Run], labels: Sequence[str], picks: Sequence[Mapping[str, str]]
) -> list[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """By rule the row of `pareto.csv` that it chooses in every run."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for label, run, chosen in zip(labels, runs, picks, strict=True):
        assert run.front is not None
        rows = {str(r["candidate"]): {str(k): v for k, v in r.items()} for r in run.front.to_dict("records")}
        for rule, name in chosen.items():
            found.setdefault(rule, []).append((label, rows[name]))
        best = best_no_worse(run)
        if best is not None:
            found.setdefault("fastest without loss against its INT8", []).append((label, rows[str(best["candidate"])]))
    return list(found.items())


def _fronts(runs: Sequence[Run], labels: Sequence[str]) -> pd.DataFrame:
    parts = [run.front.assign(run=label) for label, run in zip(labels, runs, strict=True) if run.front is not None]
    table = pd.concat(parts, ignore_index=True)
    return table[["run", *(c for c in table.columns if c != "run")]]


def _summary(runs: Sequence[Run], labels: Sequence[str], volumes: Sequence[Volume] | None) -> list[str]:
    sentences = []
    for label, run in zip(labels, runs, strict=True):
        assert run.front is not None
        front, test = run.front, f"test_{run.metric}"
        best = best_no_worse(run)
        gain = (
            "no network reaches its all-INT8 network's accuracy"
            if best is None
            else f"{best['candidate']} runs at {number(best['speedup_vs_int8'], 2)} times the speed of its all-INT8 "
            "network at no less accuracy"
        )
        sentences.append(
            f"{label} ({run.title}): {len(front)} networks from {number(front['latency_ms'].min(), 3)} to "
            f"{number(front['latency_ms'].max(), 3)} ms, test {label_of(run.metric)} up to "
            f"{number(front[test].max(), 4)}; {gain}."
        )
    if volumes is not None:
        order = sorted(zip(labels, volumes, strict=True), key=lambda pair: -pair[1].share)
        listed = ", ".join(f"{label} {volume.share:.1%}" for label, volume in order)
        sentences.append(f"Of the space below the common reference point the fronts dominate: {listed}.")
    return sentences
