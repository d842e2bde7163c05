"""The pages of a run and of a sensitivity analysis."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from qnas_ov.journal import evaluations_frame
from qnas_ov.report._figures import (
    Figure,
    front_figure,
    genes_figure,
    predictor_figure,
    progress_figure,
    sensitivity_figure,
    unfinished_figure,
)
from qnas_ov.report._history import measured_front, trace_search
from qnas_ov.report._html import render
from qnas_ov.report._picture import Block, Thumbnail, count_precisions, draw_network, draw_thumbnail
from qnas_ov.report._run import Run
from qnas_ov.report._words import best_no_worse, label_of, number, summarise

MOST_DRAWN = 60
"""Networks that an unfinished run's page draws."""


@dataclass(frozen=True)
class Details:
    """What the page tells of one network.

    Attributes:
        anchor: Its id on the page.
        name: Its id in the run.
        row: Its row in `pareto.csv` or `baselines.csv`, or its values in the journal.
        tags: What singles it out.
        blocks: Its picture, () for a baseline.
        thumbnail: The same small, None for a baseline.
        policy: Its policy in numbers.
        depths: Depth knobs: name, value, and that of the unsearched network.
        fallbacks: Units that ran in another precision: unit, asked for, ran in, why.
        hint: Its inference precision.
        found: Number of the evaluation that found it, 0 for a baseline, None if it is not known.
        command: What packages it, None if it cannot be packaged.
    """

    anchor: str
    name: str
    row: Mapping[str, Any]
    tags: tuple[str, ...]
    blocks: tuple[Block, ...]
    thumbnail: Thumbnail | None
    policy: str
    depths: tuple[tuple[str, int, int], ...]
    fallbacks: tuple[tuple[str, str, str, str], ...]
    hint: str | None
    found: int | None
    command: str | None


def render_run(run: Run, picks: Mapping[str, str], protocol: Sequence[str]) -> str:
    """The page of a run folder.

    Args:
        run: The run.
        picks: Candidate by rule of `qnas-ov package`; empty if the run is not finished.
        protocol: How the latencies of the front come about, in sentences.
    """
    return _render_finished(run, picks, protocol) if run.finished else _render_unfinished(run, protocol)


def _render_finished(run: Run, picks: Mapping[str, str], protocol: Sequence[str]) -> str:
    assert run.front is not None
    assert run.baselines is not None
    names = [str(n) for n in run.front["candidate"]]
    rows = {str(r["candidate"]): r for r in _rows(run.front)}
    details = [_details(run, n, rows[n], f"network-{i}", _tags(run, n, picks)) for i, n in enumerate(names, 1)]
    bases = [_baseline(r, f"baseline-{i}") for i, r in enumerate(_rows(run.baselines), 1)]
    anchors = {d.name: d.anchor for d in (*bases, *details)}
    shown = picks.get("knee", names[0])
    hover = {d.name: _hover(d, run.metric) for d in details}
    figures = {"front": front_figure(run, hover, anchors, shown)}
    return render(
        "run.html",
        figures=figures | _common_figures(run),
        run=run,
        test=f"test_{run.metric}",
        summary=summarise(run, picks),
        tiles=_tiles(run),
        details=details,
        baselines=bases,
        selected=anchors[shown],
        tables={"pareto.csv": run.front, "baselines.csv": run.baselines, "evaluations.csv": _evaluations(run)},
        command="qnas-ov search --recipe recipe.yaml --out NEW_FOLDER",
        history=trace_search(run),
        protocol=protocol,
    )


def _render_unfinished(run: Run, protocol: Sequence[str]) -> str:
    current = measured_front(run)
    values = {e.candidate: dict(e.values) for e in run.measured}
    drawn = current[:MOST_DRAWN]
    details = [_details(run, n, values[n], f"network-{i}", ()) for i, n in enumerate(drawn, 1)]
    figures = {"front": unfinished_figure(run, current)} if run.measured or run.measured_baselines else {}
    return render(
        "unfinished.html",
        figures=figures | _common_figures(run),
        run=run,
        current=current,
        details=details,
        baselines=run.measured_baselines,
        tables={"evaluations.csv": _evaluations(run)} if run.evaluations else {},
        command=f"qnas-ov search --resume --out {shlex.quote(str(run.folder))}",
        history=trace_search(run),
        protocol=protocol,
    )


def _common_figures(run: Run) -> dict[str, Figure]:
    history = trace_search(run)
    found = {"progress": progress_figure(history)} if history is not None else {}
    if any(p.genes for p in run.predictors):
        found["genes"] = genes_figure(run.predictors)
    return found | {f"predictor-{i}": predictor_figure(p) for i, p in enumerate(run.predictors, 1)}


def _evaluations(run: Run) -> pd.DataFrame:
    return evaluations_frame(run.evaluations)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _details(run: Run, name: str, row: Mapping[str, Any], anchor: str, tags: Sequence[str]) -> Details:
    network = run.networks[name]
    blocks = draw_network(run.space, network)
    full = run.space.largest
    policy = network.policy
    command = f"qnas-ov package {shlex.quote(str(run.folder))} --select {shlex.quote(name)} --format ovms"
    return Details(
        anchor=anchor,
        name=name,
        row=row,
        tags=tuple(tags),
        blocks=blocks,
        thumbnail=draw_thumbnail(blocks),
        policy=count_precisions(network),
        depths=tuple((k, v, full[k]) for k, v in network.architecture.items() if k.split(".")[-1] == "depth"),
        fallbacks=tuple((u, policy.get(u, "–"), network.realised.get(u, "–"), w) for u, w in network.why.items()),
        hint=network.inference_precision,
        found=run.found_at(name),
        command=command if run.finished else None,
    )


def _baseline(row: Mapping[str, Any], anchor: str) -> Details:
    return Details(
        anchor=anchor,
        name=str(row["baseline"]),
        row=row,
        tags=(),
        blocks=(),
        thumbnail=None,
        policy="",
        depths=(),
        fallbacks=(),
        hint=None,
        found=None,
        command=None,
    )


def _tags(run: Run, name: str, picks: Mapping[str, str]) -> list[str]:
    best = best_no_worse(run)
    safe = ["fastest without loss against INT8"] if best is not None and str(best["candidate"]) == name else []
    return [rule for rule, chosen in picks.items() if chosen == name] + safe


def _hover(details: Details, metric: str) -> str:
    row, test = details.row, f"test_{metric}"
    depth = ", ".join(f"{name} {value} of {full}" for name, value, full in details.depths)
    lines = [
        details.name,
        f"{number(row[test], 4)} ({number(row[f'{test}_ci95_low'], 3)} to {number(row[f'{test}_ci95_high'], 3)})",
        f"{number(row['latency_ms'], 3)} ms, {number(row['speedup_vs_int8'], 2)} times the speed of all-INT8",
        f"{number(row['size_bytes'] / 1e6, 2)} MB",
        f"{details.policy}; {details.hint} hint",
        *([depth] if depth else []),
    ]
    return "\n".join(lines)


def _tiles(run: Run) -> list[tuple[str, str]]:
    """The figures to see first: (figure, what it is)."""
    assert run.front is not None
    front, test = run.front, f"test_{run.metric}"
    best = best_no_worse(run)
    found = []
    if best is not None:
        found.append((f"{number(best['speedup_vs_int8'], 2)}×", "the speed of all-INT8 at no less accuracy"))
    return [
        *found,
        (f"{number(front['latency_ms'].min(), 3)} ms", "the fastest network"),
        (number(front[test].max(), 4), f"highest test {label_of(run.metric)}"),
        (f"{number(front['size_bytes'].min() / 1e6, 2)} MB", "the smallest network"),
        (str(len(front)), f"on the front, of {len(run.searched)} measured"),
    ]


def render_sensitivity(result: Mapping[str, Any], table: pd.DataFrame) -> str:
    """The page of a sensitivity analysis.

    Args:
        result: The content of `sensitivity.json`.
        table: The content of `sensitivity.csv`.
    """
    savings = "saving_ms" in table.columns
    figures = {"error": sensitivity_figure(table, "output_error", "output error of this unit alone in INT8")}
    if savings:
        figures["saving"] = sensitivity_figure(table, "saving_ms", "latency that INT8 saves (ms)")
    return render(
        "sensitivity.html",
        figures=figures,
        result=result,
        rows=_rows(table),
        savings=savings,
        tables={"sensitivity.csv": table},
    )
