"""The plots, as plotly.js reads them: a list of traces and a layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from qnas_ov.report._history import History
from qnas_ov.report._run import PredictorRecord, Run
from qnas_ov.report._words import label_of, number

Figure = dict[str, Any]

INK, SOFT, GRID = "#1c2733", "#5c6b7a", "#e4e9ee"
BLUE, ORANGE, GREY = "#0b6e99", "#b8480c", "#b4c0ca"
RUN_COLOURS = ("#0b6e99", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#5c6b7a", "#7a3fa0")
RUN_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "x", "star", "hexagon")


def _figure(data: list[dict[str, Any]], x: str, y: str, height: int = 420, **layout: Any) -> Figure:
    named = [trace for trace in data if "name" in trace and trace.get("showlegend", True)]
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    axis = {"gridcolor": GRID, "zeroline": False, "automargin": True, "ticks": "outside", "tickcolor": GRID}
    return {
        "data": data,
        "layout": {
            "height": height,
            "margin": {"l": 56, "r": 12, "t": 12, "b": 48},
            "font": {"family": "system-ui, sans-serif", "color": INK, "size": 13},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": GRID, "font": {"color": INK}, "align": "left"},
            **({"legend": legend} if len(named) > 1 else {"showlegend": False}),
            "xaxis": {**axis, "title": {"text": escape(x), "standoff": 8}},
            "yaxis": {**axis, "title": {"text": escape(y), "standoff": 8}},
            **layout,
        },
    }


def _points(x: Sequence[float], y: Sequence[float], name: str, marker: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "x": list(x), "y": list(y), "name": escape(name), "marker": marker,
        "hovertemplate": "%{text}<extra></extra>", **more,
    }  # fmt: skip


def front_figure(run: Run, hover: Mapping[str, str], anchors: Mapping[str, str], selected: str) -> Figure:
    """Accuracy over latency: the front and the baselines on test data; what the search saw lies behind them.

    Args:
        run: A finished run.
        hover: What a network of the front shows, by name; escaped here.
        anchors: Id of the details of every network and baseline on the page.
        selected: The network whose details the page shows at first.
    """
    assert run.front is not None
    assert run.baselines is not None
    test = f"test_{run.metric}"
    front, baselines = run.front, run.baselines
    names = [str(n) for n in front["candidate"]]
    first = front.iloc[names.index(selected)]
    data = [
        _seen(run),
        _step(front["latency_ms"].tolist(), front[test].tolist()),
        *(_unsearched(baselines, kind, test, anchors) for kind in ("float", "INT8")),
        _points(
            front["latency_ms"], front[test], "verified front",
            {"color": BLUE, "size": 11, "line": {"color": "#ffffff", "width": 1}}, error_y=_bars(front, test),
            text=[_lines(hover[n]) for n in names], customdata=[anchors[n] for n in names],
        ),
        {
            "type": "scatter", "mode": "markers", "x": [first["latency_ms"]], "y": [first[test]], "name": "selected",
            "hoverinfo": "skip", "showlegend": False,
            "marker": {"color": "rgba(0,0,0,0)", "size": 19, "line": {"color": INK, "width": 2}},
        },
    ]  # fmt: skip
    figure = _figure(data, "latency by benchmark_app (ms)", label_of(run.metric), 460)
    shown = pd.concat([front, baselines])
    low, high = shown[f"{test}_ci95_low"].min(), shown[f"{test}_ci95_high"].max()
    pad = 0.06 * (high - low) or 0.01
    figure["layout"]["yaxis"]["range"] = [low - pad, high + pad]
    figure["layout"]["xaxis"]["range"] = [0, 1.05 * shown["latency_ms"].max()]
    return figure


def _unsearched(baselines: pd.DataFrame, kind: str, test: str, anchors: Mapping[str, str]) -> dict[str, Any]:
    """The unsearched network: hollow in float, filled in INT8."""
    rows = baselines[baselines["baseline"].str.startswith(kind.lower())]
    symbol = "diamond" if kind == "INT8" else "diamond-open"
    return _points(
        rows["latency_ms"], rows[test], f"unsearched, {kind}", {"color": ORANGE, "size": 11, "symbol": symbol},
        error_y=_bars(rows, test), text=[_lines(_numbers(str(r["baseline"]), r, test)) for _, r in rows.iterrows()],
        customdata=[anchors[str(n)] for n in rows["baseline"]],
    )  # fmt: skip


def _seen(run: Run) -> dict[str, Any]:
    measured = run.measured
    return _points(
        [e.values["latency_ms"] for e in measured],
        [e.values[run.metric] for e in measured],
        "seen in the search",
        {"color": GREY, "size": 6},
        text=[_lines(f"{e.candidate}\n{_seen_numbers(e.values, run.metric)}") for e in measured],
    )


def _seen_numbers(values: Mapping[str, float], metric: str) -> str:
    return f"{number(values[metric], 4)} on validation data\n{number(values['latency_ms'], 3)} ms"


def _step(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """A stair along the points that no faster one equals."""
    stair: list[tuple[float, float]] = []
    for latency, value in sorted(zip(x, y, strict=True), key=lambda p: (p[0], -p[1])):
        if not stair or value > stair[-1][1]:
            stair.append((latency, value))
    return {
        "type": "scatter", "mode": "lines", "x": [p[0] for p in stair], "y": [p[1] for p in stair],
        "line": {"color": BLUE, "width": 1.2, "shape": "hv", "dash": "dot"}, "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip


def _bars(frame: pd.DataFrame, column: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": (frame[f"{column}_ci95_high"] - frame[column]).tolist(),
        "arrayminus": (frame[column] - frame[f"{column}_ci95_low"]).tolist(),
        "color": "rgba(92,107,122,0.35)",
        "thickness": 1,
        "width": 2,
    }


def _lines(text: str) -> str:
    """Lines of plain text as plotly.js shows them; what looks like markup is shown as it is."""
    head, *rest = escape(text).split("\n")
    return "<br>".join([f"<b>{head}</b>", *rest])


def _numbers(name: str, row: pd.Series, test: str) -> str:
    low, high = number(row[f"{test}_ci95_low"], 3), number(row[f"{test}_ci95_high"], 3)
    return (
        f"{name}\n{number(row[test], 4)} ({low} to {high})"
        f"\n{number(row['latency_ms'], 3)} ms, {number(row['size_bytes'] / 1e6, 2)} MB"
    )


def unfinished_figure(run: Run, current: Sequence[str]) -> Figure:
    """What an unfinished run has measured, all on validation data."""
    values = {e.candidate: e.values for e in run.measured}
    best, bases = set(current), run.measured_baselines
    others = [n for n in values if n not in best]

    def points(names: Sequence[str], name: str, marker: dict[str, Any]) -> dict[str, Any]:
        return _points(
            [values[n]["latency_ms"] for n in names], [values[n][run.metric] for n in names], name, marker,
            text=[_lines(f"{n}\n{_seen_numbers(values[n], run.metric)}") for n in names],
        )  # fmt: skip

    ring = {"color": "#ffffff", "size": 10, "line": {"color": BLUE, "width": 2}}
    data = [
        points(others, "measured", {"color": GREY, "size": 7}),
        points(current, "best so far, not verified", ring),
        _points(
            [b.values["latency_ms"] for b in bases], [b.values[run.metric] for b in bases], "unsearched network",
            {"color": ORANGE, "size": 11, "symbol": "diamond"},
            text=[_lines(f"{b.candidate}\n{_seen_numbers(b.values, run.metric)}") for b in bases],
        ),
    ]  # fmt: skip
    return _figure(data, "latency by benchmark_app (ms)", f"{label_of(run.metric)} on validation data")


def progress_figure(history: History) -> Figure:
    """The hypervolume over the number of evaluations, with the networks of the front where they were found."""
    shares = history.shares
    data = [
        {
            "type": "scatter", "mode": "lines", "x": list(range(len(shares))), "y": list(shares),
            "line": {"color": BLUE, "width": 2, "shape": "hv"}, "name": "hypervolume",
            "hovertemplate": "after %{x} evaluations: %{y:.1%}<extra></extra>",
        },
    ]  # fmt: skip
    if history.found:
        names = sorted(history.found, key=lambda n: history.found[n])
        data.append(
            _points(
                [history.found[n] for n in names], [shares[history.found[n]] for n in names], "found, on the front now",
                {"color": "#ffffff", "size": 10, "line": {"color": BLUE, "width": 2}},
                text=[_lines(f"{n}\nevaluation {history.found[n]}") for n in names],
            )
        )  # fmt: skip
    figure = _figure(data, "evaluations", "share of the final hypervolume", 320)
    figure["layout"]["yaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    return figure


def predictor_figure(record: PredictorRecord) -> Figure:
    """Predicted over measured values, of samples that the predictor had not seen."""
    values = [v for pair in record.left_out for v in pair]
    ends = [min(values), max(values)]
    text = f"measured %{{x:.4g}}<br>predicted %{{y:.4g}}<extra>{escape(record.column)}</extra>"

    def points(pairs: Sequence[tuple[float, float]], name: str, marker: dict[str, Any]) -> dict[str, Any]:
        return _points([m for m, _ in pairs], [p for _, p in pairs], name, marker) | {"hovertemplate": text}

    data = [
        {
            "type": "scatter", "mode": "lines", "x": ends, "y": ends, "line": {"color": GREY, "width": 1},
            "hoverinfo": "skip", "showlegend": False,
        },
        points(record.left_out, "left out in cross-validation", {"color": BLUE, "size": 7, "opacity": 0.8}),
    ]  # fmt: skip
    if record.ahead:
        data.append(
            points(record.ahead, "predicted, then measured", {"color": ORANGE, "size": 7, "symbol": "x-thin-open"})
        )
    return _figure(data, f"measured {label_of(record.column)}", f"predicted {label_of(record.column)}", 340)


def genes_figure(records: Sequence[PredictorRecord], count: int = 20) -> Figure:
    """How far the choices of each knob move what is predicted, of the knobs that matter most to any of the columns."""
    told = [r for r in records if r.genes]
    names = list(dict.fromkeys(name for r in told for name in r.genes))
    scale = {r.column: max(r.genes.values()) or 1.0 for r in told}
    first = sorted(names, key=lambda n: -max(r.genes.get(n, 0.0) / scale[r.column] for r in told))[:count]
    data = [
        {
            "type": "bar", "orientation": "h", "name": escape(label_of(r.column)), "marker": {"color": colour},
            "x": [100 * r.genes.get(n, 0.0) for n in first], "y": [escape(n) for n in first],
            "hovertemplate": f"%{{y}}: %{{x:.3g}}%<extra>{escape(r.column)}</extra>",
        }
        for r, colour in zip(told, RUN_COLOURS, strict=False)
    ]  # fmt: skip
    figure = _figure(data, "largest change of the prediction (% of its mean)", "", 130 + 16 * len(first) * len(told))
    figure["layout"]["yaxis"] |= {"autorange": "reversed", "dtick": 1, "tickfont": {"size": 10}, "gridcolor": "#ffffff"}
    return figure


def comparison_figure(runs: Mapping[str, Run]) -> Figure:
    """The fronts of several runs over one another, on test data; baselines are hollow."""
    data: list[dict[str, Any]] = []
    for i, (label, run) in enumerate(runs.items()):
        assert run.front is not None
        assert run.baselines is not None
        test, colour, symbol = f"test_{run.metric}", RUN_COLOURS[i], RUN_SYMBOLS[i]
        for frame, name, shown in ((run.baselines, "baseline", False), (run.front, "candidate", True)):
            marker = {"color": colour, "size": 10, "symbol": symbol if shown else f"{symbol}-open"}
            data.append(
                _points(
                    frame["latency_ms"], frame[test], label, marker, showlegend=shown, legendgroup=str(i),
                    error_y=_bars(frame, test) if shown else {"type": "data", "array": []},
                    text=[_lines(f"{label}: {_numbers(str(r[name]), r, test)}") for _, r in frame.iterrows()],
                )
            )  # fmt: skip
        stair = _step(run.front["latency_ms"].tolist(), run.front[test].tolist())
        data.append(stair | {"line": {**stair["line"], "color": colour}, "legendgroup": str(i)})
    metric = next(iter(runs.values())).metric
    figure = _figure(data, "latency by benchmark_app (ms)", f"{label_of(metric)} on test data", 460)
    figure["layout"]["xaxis"]["rangemode"] = "tozero"
    return figure


def sensitivity_figure(table: pd.DataFrame, column: str, title: str) -> Figure:
    """A bar per precision unit, worst first, with its interval where the table has one."""
    bar: dict[str, Any] = {
        "type": "bar", "orientation": "h", "x": table[column].tolist(), "y": [escape(str(u)) for u in table["unit"]],
        "marker": {"color": BLUE}, "hovertemplate": "%{y}: %{x:.4g}<extra></extra>",
    }  # fmt: skip
    if f"{column}_ci95_low" in table.columns:
        bar["error_x"] = _bars(table, column)
    figure = _figure([bar], title, "", 90 + 20 * len(table))
    figure["layout"]["yaxis"] |= {"autorange": "reversed", "dtick": 1, "tickfont": {"size": 10}, "gridcolor": "#ffffff"}
    return figure


def timing_figure(rows: Sequence[tuple[str, float, float, float]], title: str) -> Figure:
    """A bar per network, in the order given, with its interval: (name, value, low, high), names escaped."""
    data = {
        "type": "bar", "orientation": "h", "x": [r[1] for r in rows], "y": [r[0] for r in rows],
        "marker": {"color": BLUE}, "hovertemplate": "%{y}: %{x:.4g}<extra></extra>",
        "error_x": {
            "type": "data", "symmetric": False, "array": [r[3] - r[1] for r in rows],
            "arrayminus": [r[1] - r[2] for r in rows], "color": INK, "thickness": 1, "width": 3,
        },
    }  # fmt: skip
    return _listing([data], title, len(rows))


def shares_figure(rows: Sequence[tuple[str, Mapping[str, float]]], colours: Mapping[str, str]) -> Figure:
    """One stacked bar per network: shares of its time, by name; names escaped."""
    kinds = list(dict.fromkeys(kind for _, shares in rows for kind in shares))
    greys = [GREY, "#7f8c98", "#d6dde3"]
    data = [
        {
            "type": "bar", "orientation": "h", "name": escape(kind), "y": [name for name, _ in rows],
            "x": [shares.get(kind, 0.0) for _, shares in rows],
            "marker": {"color": colours.get(kind) or greys[number % len(greys)]},
            "hovertemplate": "%{x:.1%}",
        }
        for number, kind in enumerate(kinds)
    ]  # fmt: skip
    figure = _listing(data, "share of the kernels' time", len(rows))
    figure["layout"] |= {"barmode": "stack"}
    figure["layout"]["margin"]["t"] = 40
    figure["layout"]["xaxis"]["tickformat"] = ".0%"
    return figure


def _listing(data: list[dict[str, Any]], title: str, count: int) -> Figure:
    figure = _figure(data, title, "", 110 + 26 * count)
    figure["layout"]["yaxis"] |= {"autorange": "reversed", "dtick": 1, "tickfont": {"size": 11}, "gridcolor": "#ffffff"}
    return figure
