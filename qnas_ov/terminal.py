"""What a person sees: progress with time left on a terminal, plain lines elsewhere; tables of results."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from qnas_ov.pipeline import SearchResult

_PLAIN_EVERY_S = 10.0


class TerminalProgress:
    """Progress on stderr: a bar where it is a terminal, else a line at most every ten seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._text, self._total, self._done, self._printed = "", 0, 0, 0.0

    def say(self, text: str) -> None:
        """One finished step, in a line."""
        self._console.print(text)

    def begin(self, text: str, total: int) -> None:
        """Work of `total` steps begins."""
        self.end()
        self._text, self._total, self._done, self._printed = text, total, 0, time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[latest]}", style="dim", markup=False),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(text, total=total, latest="")
        else:
            self._console.print(f"{text}: {total} steps")

    def step(self, text: str = "", count: int = 1) -> None:
        """`count` steps are done."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=count, latest=text)
        elif time.monotonic() - self._printed >= _PLAIN_EVERY_S:
            self._printed = time.monotonic()
            self._console.print(f"{self._text}: {self._done} of {self._total}; {text}", soft_wrap=True)

    def end(self) -> None:
        """The work has ended."""
        if self._bar is not None:
            self._bar.stop()
            self._console.print(f"{self._text}: {self._done} of {self._total} done")
        self._bar = self._task = None


def print_result(result: SearchResult) -> None:
    """Prints the front and the baselines, and where everything stands."""
    import pandas as pd

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 120
    front, baselines = result.front, result.baselines
    test = f"test_{result.metric}"
    table = Table(title="Pareto front, verified on test data", title_justify="left", box=None, pad_edge=False)
    for name in ("network", "test", "95% interval", "latency ms", "vs int8", "vs f32", "MB", "int8/float", "hint"):
        table.add_column(name, justify="left" if name == "network" else "right")

    def measured(row: Any) -> list[str]:
        interval = f"{row[f'{test}_ci95_low']:.3f}-{row[f'{test}_ci95_high']:.3f}"
        return [f"{row[test]:.4f}", interval, f"{row['latency_ms']:.3f}"]

    for _, row in baselines.iterrows():
        table.add_row(
            str(row["baseline"]), *measured(row), "", "", f"{row['size_bytes'] / 1e6:.2f}", "", "", style="dim"
        )
    table.add_section()
    for _, row in front.iterrows():
        gains = [f"{row['speedup_vs_int8']:.2f}x", f"{row['speedup_vs_f32']:.2f}x", f"{row['size_bytes'] / 1e6:.2f}"]
        policy = [f"{row['units_int8']}/{row['units_float']}", str(row["inference_precision"])]
        table.add_row(str(row["candidate"]), *measured(row), *gains, *policy)
    console.print(table)
    for column, record in result.predictors.items():
        scores = record["cross_validated"]
        console.print(
            f"predictor of {column}: {record['model']}, Kendall tau {scores['kendall_tau']:.3f}, "
            f"MAPE {scores['mape']:.1%} on {scores['num_samples']} samples it had not seen",
            soft_wrap=True,
        )
    evaluations = pd.read_csv(result.folder / "evaluations.csv")
    failures = int((evaluations["status"] == "failed").sum())
    if failures:
        console.print(f"{failures} measurements failed: their reasons stand in evaluations.csv")
    console.print(f"report: {result.folder / 'report.html'}", soft_wrap=True)
    console.print(f"packages: {result.folder / 'deploy'}", soft_wrap=True)


def fail(message: str) -> None:
    """Prints one error sentence to stderr."""
    print(f"Error: {message}", file=sys.stderr)
