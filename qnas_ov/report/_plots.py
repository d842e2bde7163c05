"""The plots of a report, by plotly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

INK, GRID = "#1c2733", "#e4e9ee"
FRONT, SEEN, BASE = "#0b6e99", "#b9c6d1", "#c2410c"
PRECISION_COLOURS = {"int8": "#0b6e99", "w8": "#7fb7a3", "float": "#f2b134", "absent": "#f3f5f7"}


def _layout(figure: go.Figure, x: str, y: str, height: int = 440) -> go.Figure:
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        font={"family": "system-ui, sans-serif", "color": INK, "size": 13},
        legend={"orientation": "h", "y": 1.08},
        xaxis={"title": x, "gridcolor": GRID},
        yaxis={"title": y, "gridcolor": GRID},
    )
    return figure


def front_plot(evaluations: pd.DataFrame, front: pd.DataFrame, baselines: pd.DataFrame, metric: str) -> go.Figure:
    """Accuracy over latency: the front and the baselines on test data, before what the search saw."""
    figure = go.Figure()
    seen = evaluations[(evaluations["stage"] == "search") & (evaluations["status"] == "ok")]
    test = f"test_{metric}"
    figure.add_scatter(
        x=seen["latency_ms"], y=seen[metric], mode="markers", name="measured in the search (validation)",
        marker={"color": SEEN, "size": 6}, text=seen["candidate"],
        hovertemplate="%{text}<br>%{x:.3f} ms, %{y:.4f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=front["latency_ms"], y=front[test], mode="lines+markers", name="verified front (test)",
        line={"color": FRONT, "width": 1.5, "dash": "dot"}, marker={"color": FRONT, "size": 10},
        error_y=_bars(front, test), text=[_hover(r, test) for _, r in front.iterrows()],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=baselines["latency_ms"], y=baselines[test], mode="markers+text", name="unsearched network (test)",
        marker={"color": BASE, "size": 12, "symbol": "diamond"}, text=baselines["baseline"],
        textposition="top center", error_y=_bars(baselines, test),
        hovertemplate="%{text}<br>%{x:.3f} ms, %{y:.4f}<extra></extra>",
    )  # fmt: skip
    return _layout(figure, "latency by benchmark_app (ms)", metric)


def _bars(frame: pd.DataFrame, column: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": frame[f"{column}_ci95_high"] - frame[column],
        "arrayminus": frame[column] - frame[f"{column}_ci95_low"],
        "color": "rgba(120,130,140,0.35)",
        "thickness": 1,
        "width": 2,
    }


def _hover(row: pd.Series, metric: str) -> str:
    return (
        f"<b>{row['candidate']}</b><br>{row['latency_ms']:.3f} ms, {row[metric]:.4f} on test<br>"
        f"{row['size_bytes'] / 1e6:.2f} MB, {row['speedup_vs_int8']:.2f}x the all-INT8 network"
    )


def predictor_plot(column: str, record: Mapping[str, Any]) -> go.Figure:
    """Predicted over measured values, of samples that the predictor had not seen."""
    figure, points = go.Figure(), record["points"]
    values = [*points["measured"], *points["cross_validated"]]
    low, high = min(values), max(values)
    figure.add_scatter(x=[low, high], y=[low, high], mode="lines", line={"color": GRID}, showlegend=False)
    figure.add_scatter(
        x=points["measured"], y=points["cross_validated"], mode="markers", name="left out in cross-validation",
        marker={"color": FRONT, "size": 7, "opacity": 0.8},
    )  # fmt: skip
    ahead = points["before_measuring"]
    figure.add_scatter(
        x=[p["measured"] for p in ahead], y=[p["predicted"] for p in ahead], mode="markers",
        name="predicted before it was measured", marker={"color": BASE, "size": 7, "symbol": "x"},
    )  # fmt: skip
    return _layout(figure, f"measured {column}", f"predicted {column}", height=380)


def policy_plot(candidates: Sequence[str], policies: Sequence[Mapping[str, str]], units: Sequence[str]) -> go.Figure:
    """The precision of every unit of every front candidate: one row a candidate, one column a unit."""
    codes = {name: i for i, name in enumerate(PRECISION_COLOURS)}
    grid = [[codes[p.get(u, "absent")] for u in units] for p in policies]
    text = [[p.get(u, "block left out") for u in units] for p in policies]
    colours = list(PRECISION_COLOURS.values())
    count = len(colours)
    scale = [[(i + end) / count, c] for i, c in enumerate(colours) for end in (0, 1)]
    figure = go.Figure(
        go.Heatmap(
            z=grid, x=list(units), y=list(candidates), text=text, zmin=-0.5, zmax=count - 0.5, xgap=2, ygap=2,
            colorscale=scale, showscale=False, hovertemplate="%{y} %{x}: %{text}<extra></extra>",
        )
    )  # fmt: skip
    return _rows(figure, len(candidates), labels=230)


def width_plot(
    candidates: Sequence[str], architectures: Sequence[Mapping[str, int]], largest: Mapping[str, int]
) -> go.Figure:
    """How much of every width each front candidate keeps, in percent of the unsearched network."""
    knobs = [k for k in largest if "." in k]
    grid = [[100.0 * a[k] / largest[k] if k in a else None for k in knobs] for a in architectures]
    text = [[f"{a[k]} of {largest[k]}" if k in a else "block left out" for k in knobs] for a in architectures]
    figure = go.Figure(
        go.Heatmap(
            z=grid, x=knobs, y=list(candidates), text=text, zmin=0, zmax=100, xgap=2, ygap=2, colorscale="Teal",
            colorbar={"title": "% kept", "thickness": 12}, hovertemplate="%{y} %{x}: %{text}<extra></extra>",
        )
    )  # fmt: skip
    return _rows(figure, len(candidates), labels=90)


def _rows(figure: go.Figure, count: int, *, labels: int) -> go.Figure:
    """Lays out a picture of one row per candidate, with `labels` pixels for the names of the columns."""
    figure = _layout(figure, "", "", height=60 + labels + 26 * count)
    figure.update_layout(margin={"b": labels})
    figure.update_xaxes(tickangle=-60, tickfont={"size": 9}, automargin=False)
    figure.update_yaxes(autorange="reversed", dtick=1)
    return figure


def sensitivity_plot(table: pd.DataFrame, column: str, title: str) -> go.Figure:
    """A bar per precision unit, worst first, with its interval where the table has one."""
    bars = None
    if f"{column}_ci95_low" in table.columns:
        bars = {
            "type": "data",
            "symmetric": False,
            "array": table[f"{column}_ci95_high"] - table[column],
            "arrayminus": table[column] - table[f"{column}_ci95_low"],
            "color": GRID,
        }
    figure = go.Figure()
    figure.add_bar(x=table[column], y=table["unit"], orientation="h", marker={"color": FRONT}, error_x=bars)
    figure = _layout(figure, title, "", height=90 + 20 * len(table))
    figure.update_yaxes(autorange="reversed", dtick=1, tickfont={"size": 10}, automargin=True)
    return figure
