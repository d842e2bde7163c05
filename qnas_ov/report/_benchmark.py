"""The page of `qnas-ov benchmark`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from qnas_ov.report._figures import Figure, shares_figure, timing_figure
from qnas_ov.report._html import render
from qnas_ov.report._words import number

COLOURS = {"int8": "#0b6e99", "bf16": "#f0a92c", "f16": "#cc79a7", "f32": "#d55e00"}
"""Of kernels by precision, as on the pages of runs; what moves or converts data is grey."""


def render_benchmark(document: Mapping[str, Any], results: pd.DataFrame, operations: pd.DataFrame) -> str:
    """The page of a benchmark.

    Args:
        document: The content of `benchmark.json`.
        results: The content of `benchmark.csv`.
        operations: The content of `operations.csv`.
    """
    rows = list(document["results"])
    measured = [r for r in rows if r["status"] == "ok"]
    return render(
        "benchmark.html",
        figures=_figures(measured),
        document=document,
        measured=measured,
        failed=[r for r in rows if r["status"] != "ok"],
        label=_label(rows),
        title=", ".join(dict.fromkeys(r["network"] for r in rows)),
        summary=_summary(document, measured),
        tables={"benchmark.csv": results, "operations.csv": operations},
    )


def _figures(measured: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    if not measured:
        return {}
    label = _label(measured)
    names = [label(r) for r in measured]
    found = {}
    for name, column, hint, title in (
        ("latency", "latency_ms", "latency", "latency by benchmark_app (ms)"),
        ("throughput", "throughput_per_s", "throughput", "samples per second"),
    ):
        chosen = [(n, r[column]) for n, r in zip(names, measured, strict=True) if r["hint"] == hint]
        if chosen:
            found[name] = timing_figure([(escape(n), e["value"], e["low"], e["high"]) for n, e in chosen], title)
    profiled = [(n, r["profile"]["shares"]) for n, r in zip(names, measured, strict=True) if r["profile"]]
    if profiled:
        found["shares"] = shares_figure([(escape(n), shares) for n, shares in profiled], COLOURS)
    return found


def _label(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Names a row by its network and by those settings in which the rows differ."""
    differing = [
        k for k in ("inference_precision", "hint", "batch") if len({r[k] for r in rows}) > 1
    ]  # fmt: skip

    def label(row: Mapping[str, Any]) -> str:
        words = {"inference_precision": str(row["inference_precision"]), "hint": f"{row['hint']} hint",
                 "batch": f"batch {row['batch']}"}  # fmt: skip
        return ", ".join([str(row["network"]), *(words[k] for k in differing)])

    return label


def _summary(document: Mapping[str, Any], measured: Sequence[Mapping[str, Any]]) -> list[str]:
    if not measured:
        return ["No network could be measured: the reasons stand below."]
    label, sentences = _label(measured), []
    for hint in dict.fromkeys(r["hint"] for r in measured):
        rows = [r for r in measured if r["hint"] == hint]
        if hint == "throughput":
            best = max(rows, key=lambda r: r["throughput_per_s"]["value"])
            figure = f"{number(best['throughput_per_s']['value'], 1)} samples per second"
            sentence = f"Most samples per second: {label(best)} with {figure}"
        else:
            best = min(rows, key=lambda r: r["latency_ms"]["value"] / r["batch"])
            sentence = f"Fastest per sample: {label(best)} with {number(best['latency_ms']['value'], 3)} ms"
        if best["speedup"] is not None and best["network"] != document["reference"]:
            sentence += f", {number(best['speedup'], 2)} times the speed of {best['speedup_against']}"
        sentences.append(f"{sentence}.")
    disturbed = sum(bool(r["disturbances"]) for r in measured)
    if disturbed:
        sentences.append(
            f"The machine was disturbed while {disturbed} of {len(measured)} were measured: see the last column."
        )
    return sentences
