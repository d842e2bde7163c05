"""The report of a run as one HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from qnas_ov.report._plots import front_plot, policy_plot, predictor_plot, sensitivity_plot, width_plot


@dataclass(frozen=True)
class RunView:
    """What a report shows.

    Attributes:
        title: For instance "digits-vit on CPU".
        notes: What was done otherwise than one might expect, in sentences.
        metric: Column of the accuracy.
        command: The command that repeats the run.
        evaluations: The journal as a table.
        front: `pareto.csv`.
        baselines: `baselines.csv`.
        predictors: `predictors.json`.
        machine: `machine.json`.
        candidates: By front candidate: `architecture`, `policy`, `inference_precision`, `fallbacks`.
        largest: The unsearched architecture.
        units: Keys of the precision units in network order.
        counts: Numbers for the summary: evaluations, failures, validation and test samples.
    """

    title: str
    notes: tuple[str, ...]
    metric: str
    command: str
    evaluations: pd.DataFrame
    front: pd.DataFrame
    baselines: pd.DataFrame
    predictors: Mapping[str, Any]
    machine: Mapping[str, Any]
    candidates: Mapping[str, Mapping[str, Any]]
    largest: Mapping[str, int]
    units: tuple[str, ...]
    counts: Mapping[str, int]


def render_page(view: RunView) -> str:
    """Renders the page; plotly's script is part of it."""
    names = list(view.front["candidate"])
    policies = [view.candidates[n]["policy"] for n in names]
    architectures = [view.candidates[n]["architecture"] for n in names]
    figures = {
        "front": front_plot(view.evaluations, view.front, view.baselines, view.metric),
        "policy": policy_plot(names, policies, view.units),
    }
    if view.largest:
        figures["widths"] = width_plot(names, architectures, view.largest)
    predictors = {c: predictor_plot(c, r) for c, r in view.predictors.items()}
    return _template("run.html").render(
        view=view,
        script=_trusted(_plotly_script()),
        figures={n: _embed(f) for n, f in figures.items()},
        predictor_figures={n: _embed(f) for n, f in predictors.items()},
        front=_front_rows(view),
        baselines=view.baselines.to_dict("records"),
        summary=_summary(view),
    )


def render_sensitivity(result: Mapping[str, Any], table: pd.DataFrame) -> str:
    """Renders the page of a sensitivity analysis.

    Args:
        result: The content of `sensitivity.json`.
        table: The content of `sensitivity.csv`.
    """
    savings = "saving_ms" in table.columns
    figures = {"error": sensitivity_plot(table, "output_error", "output error of this unit alone in INT8")}
    if savings:
        figures["saving"] = sensitivity_plot(table, "saving_ms", "latency that INT8 saves (ms)")
    return _template("sensitivity.html").render(
        result=result,
        script=_trusted(_plotly_script()),
        figures={n: _embed(f) for n, f in figures.items()},
        rows=table.to_dict("records"),
        savings=savings,
    )


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string((resources.files("qnas_ov.report") / "templates" / name).read_text())


def _plotly_script() -> str:
    import plotly.offline

    return f"<script>{plotly.offline.get_plotlyjs()}</script>"


def _trusted(html: str) -> Markup:
    """Marks HTML that plotly made as safe; everything else on the page is escaped."""
    return Markup(html)  # noqa: S704


def _embed(figure: go.Figure) -> Any:
    html = figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True})
    return _trusted(html)


def _front_rows(view: RunView) -> list[dict[str, Any]]:
    rows = [{str(k): v for k, v in row.items()} for row in view.front.to_dict("records")]
    for row in rows:
        candidate = view.candidates[str(row["candidate"])]
        row["fallbacks"] = candidate["fallbacks"]
        row["architecture"] = candidate["architecture"]
    return rows


def _summary(view: RunView) -> list[str]:
    """The result in sentences: the fastest point that is no less accurate than the all-INT8 network, and the spread."""
    test = f"test_{view.metric}"
    front = view.front
    safe = front[front["test_delta_vs_int8"] >= 0]
    sentences = [
        f"{len(front)} networks stand on the verified front, from {front['latency_ms'].min():.3f} to "
        f"{front['latency_ms'].max():.3f} ms and from {front[test].min():.2%} to {front[test].max():.2%} on test data."
    ]
    if len(safe):
        best = safe.loc[safe["latency_ms"].idxmin()]
        sentences.append(
            f"{best['candidate']} is no less accurate than the all-INT8 network on test data "
            f"({best['test_delta_vs_int8']:+.2%}, p = {best['test_p_vs_int8']:.2f}), "
            f"{best['speedup_vs_int8']:.2f} times as fast and {1 / best['size_ratio_vs_int8']:.2f} times its size."
        )
    else:
        sentences.append("No network of the front reaches the accuracy of the all-INT8 network on test data.")
    return sentences
