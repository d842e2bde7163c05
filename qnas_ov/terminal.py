"""What a person sees: progress with time left on a terminal, plain lines elsewhere; tables of results."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
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
    from qnas_ov.pipeline import Benchmark, PackageCheck, Packaged, SearchResult, Sensitivity, TrainResult

_PLAIN_EVERY_S = 10.0


class Interruption:
    """Ctrl-C that cannot get lost.

    Python drops what is raised inside a destructor or a callback, KeyboardInterrupt too; so it is raised at once and,
    if the work goes on nevertheless, again at its next step.
    """

    def __init__(self) -> None:
        self._asked = False

    def install(self) -> None:
        """Takes SIGINT over. For the main thread of a program, not for a library."""
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raises KeyboardInterrupt if Ctrl-C was pressed."""
        if self._asked:
            raise KeyboardInterrupt


INTERRUPTION = Interruption()


class TerminalProgress:
    """Progress on stderr: a bar where it is a terminal, else a line at most every ten seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._text, self._total, self._done, self._printed = "", 0, 0, 0.0

    def say(self, text: str) -> None:
        """One finished step, in a line."""
        self._console.print(text, soft_wrap=True)

    def begin(self, text: str, total: int) -> None:
        """Work of `total` steps begins."""
        INTERRUPTION.check()
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
        INTERRUPTION.check()
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
    counts = [c for c in ("units_int8", "units_w8", "units_float") if c != "units_w8" or front[c].any()]
    units = "/".join(c.removeprefix("units_") for c in counts)
    for name in ("network", "test", "95% interval", "latency ms", "vs int8", "vs f32", "MB", units, "hint"):
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
        policy = ["/".join(str(row[c]) for c in counts), str(row["inference_precision"])]
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


def print_sensitivity(result: Sensitivity) -> None:
    """Prints the units worst first with bars, and what to ignore."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 120
    latency = result.units[0].saving_ms is not None
    table = Table(title=f"INT8 sensitivity of {result.model}, worst unit first", title_justify="left", box=None,
                  pad_edge=False)  # fmt: skip
    for name in ("unit", "output error", "", result.metric, *(("saves ms",) if latency else ()), "params", "MACs M"):
        table.add_column(name, justify="left" if name in ("unit", "") else "right", no_wrap=name == "")
    worst = max(result.units[0].output_error, 1e-12)
    for unit in result.units:
        bar = "\u2588" * max(1, round(16 * unit.output_error / worst))
        saving = [f"{unit.saving_ms.value:+.3f}"] if unit.saving_ms is not None else []
        table.add_row(
            unit.unit, f"{unit.output_error:.5f}", bar, f"{unit.metric:.4f}", *saving, str(unit.params),
            f"{unit.macs / 1e6:.2f}",
        )  # fmt: skip
    console.print(table)
    console.print(
        f"{result.metric} on {result.num_samples} validation samples under the {result.inference_precision} hint: "
        f"float {result.all_float:.4f} ({result.reference:.4f} under f32), all units INT8 {result.all_int8:.4f} with "
        f"output error {result.all_int8_error:.4f}",
        soft_wrap=True,
    )
    policy = result.policy
    if policy is not None:
        console.print(
            f"{policy.limit}: {len(policy.float_units)} units stay in floating point; {policy.quantity} is "
            f"{policy.validation:.4f} on validation and {policy.test:.4f} on test data",
            soft_wrap=True,
        )
        console.print(policy.ignored_scope or "nothing needs to be ignored", soft_wrap=True)


def print_benchmark(result: Benchmark) -> None:
    """Prints a line per network and setting, where its time goes, and where the files stand."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 160
    document = result.document
    reference, percentiles = document["reference"], document["percentiles"]
    table = Table(title="Latency by benchmark_app", title_justify="left", box=None, pad_edge=False)
    for name in ("network", "hint", "batch", "run in", "median ms", "interval", *(f"p{p}" for p in percentiles),
                 "samples/s", f"vs {reference}", "compile ms", "memory MB"):  # fmt: skip
        table.add_column(name, justify="left" if name in ("network", "hint", "run in") else "right")
    for row in result.rows:
        head = [row["network"], row["hint"], str(row["batch"]), row["inference_precision"]]
        if row["status"] != "ok":
            table.add_row(*head, "failed")
            continue
        latency, memory, known = row["latency_ms"], row["memory_bytes"], row["percentiles_ms"]
        table.add_row(
            *head, f"{latency['value']:.3f}", f"{latency['low']:.3f}-{latency['high']:.3f}",
            *(f"{known[str(p)]:.3f}" if str(p) in known else "" for p in percentiles),
            f"{row['throughput_per_s']['value']:.1f}",
            "" if row["speedup"] is None else f"{row['speedup']:.2f}x", f"{row['compile_ms']:.0f}",
            "" if memory is None else f"{memory / 1e6:.1f}",
        )  # fmt: skip
    console.print(table)
    for row in result.rows:
        what = f"{row['network']} ({row['inference_precision']}, {row['hint']} hint, batch {row['batch']})"
        first = row["reason"] if row["status"] != "ok" else row["remark"]
        for told in (first, *row.get("percentiles_left_out", {}).values()):
            if told:
                console.print(f"{what}: {told}", soft_wrap=True)
    disturbed = [d for row in result.rows for d in row.get("disturbances", ())]
    if disturbed:
        console.print(f"{len(disturbed)} disturbances, for instance: {disturbed[0]}", soft_wrap=True)
    console.print(f"report: {result.folder / 'benchmark.html'}", soft_wrap=True)


def print_package(package: Packaged) -> None:
    """Prints what was packaged, where it stands, and what its server does otherwise."""
    console = Console(highlight=False, markup=False)
    values = package.measured
    shown = ((f"test_{package.metric}", "test {:.4f}"), ("latency_ms", "{:.3f} ms"))
    numbers = [text.format(values[column]) for column, text in shown if column in values]
    if "size_bytes" in values:
        numbers.append(f"{values['size_bytes'] / 1e6:.2f} MB")
    batch = "dynamic batch" if package.batch == "dynamic" else f"batch {package.batch}"
    for line in (
        f"{package.candidate}: {', '.join(numbers)}, as measured under {package.inference_precision}",
        f"package: {package.folder} ({package.format}, model '{package.name}', {batch})",
        f"it takes {', '.join(package.inputs)}",
        f"manifest: sha256 {package.manifest_sha256}",
        *(f"note: {note}" for note in package.notes),
    ):
        console.print(line, soft_wrap=True)


def print_package_check(check: PackageCheck) -> None:
    """Prints what was checked of a package."""
    console = Console(highlight=False, markup=False)
    lines = [
        f"{check.num_files} files have the SHA-256 that the manifest gives (its own: {check.manifest_sha256})",
        f"it loads on {check.device} under {check.inference_precision}",
    ]
    found = check.repeated
    if found is None:
        lines.append("it holds no recorded samples: its accuracy was not repeated")
    else:
        changed = "" if found.changed_top1 is None else f"; {found.changed_top1} get another class"
        lines.append(
            f"{found.metric} on {found.num_samples} recorded samples: {found.value:.4f}, recorded "
            f"{found.recorded:.4f}{changed}"
        )
    for line in lines:
        console.print(line, soft_wrap=True)


def print_models(rows: list[dict[str, Any]]) -> None:
    """Prints the registered models, each with where it comes from in a second line."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 120
    table = Table(box=None, pad_edge=False)
    for name in ("model", "family", "searches", "task", "data", "params", "MB", "licence", "weights"):
        table.add_column(name, justify="right" if name in ("params", "MB") else "left", no_wrap=True)
    for row in rows:
        state = "shipped" if row["hub_id"] is None else "in the cache" if row["cached"] else "to be fetched"
        size = f"{row['download_bytes'] / 1e6:.0f}" if row["download_bytes"] else ""
        table.add_row(
            row["name"], row["family"], row["searches"].replace("architecture and policy", "both"), row["task"],
            row["dataset"], f"{row['parameters'] / 1e6:.1f}M", size, row["license"], state,
        )  # fmt: skip
    console.print(table)
    for row in rows:
        place = f"; https://huggingface.co/{row['hub_id']}" if row["hub_id"] else ""
        console.print(f"{row['name']}: {row['source']}{place}", soft_wrap=True)


def fail(message: str) -> None:
    """Prints one error sentence to stderr."""
    print(f"Error: {message}", file=sys.stderr)


def print_training(result: TrainResult) -> None:
    """Prints how good the trained subnetworks are, and what to do with them."""
    console = Console(highlight=False, markup=False)
    console.print(
        f"validation {result.score}: largest {result.largest:.4f}, smallest {result.smallest:.4f}, "
        f"mean of 20 random subnetworks {result.random_mean:.4f}; weights in {result.folder}",
        soft_wrap=True,
    )
    if result.registered is not None:
        console.print(f"to use them, copy model.safetensors over the one in {result.registered}", soft_wrap=True)
    else:
        console.print(f"to search them: {result.command}", soft_wrap=True)


def print_examination(report: dict[str, Any]) -> None:
    """Prints what `doctor` found."""
    for name, value in report["facts"].items():
        print(f"{name}: {value}")
    for problem in report["problems"]:
        print(f"problem: {problem}")
    if not report["problems"]:
        print("no problems found")
