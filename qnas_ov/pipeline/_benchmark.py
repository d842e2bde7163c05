"""`qnas-ov benchmark`: latency, throughput, memory and kernels of any IRs, by the whole measuring protocol."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qnas_ov.core.errors import InputError, MeasurementError, ReferenceMeasurementError
from qnas_ov.core.files import atomic_folder, write_json, write_text
from qnas_ov.core.progress import Progress, Silent
from qnas_ov.measure import (
    MEDIAN,
    REPORT,
    Latency,
    LatencyDatabase,
    LatencyMeter,
    RoundPlan,
    closing_database,
)
from qnas_ov.pipeline._benchmark_cases import Case, Request, find_networks, make_cases
from qnas_ov.pipeline._benchmark_results import Timed, make_document, operations_table, results_table
from qnas_ov.report import render_benchmark

# A percentile for which the inferences of a process would take longer is left out.
_PERCENTILE_MS = 300e3


@dataclass(frozen=True)
class Benchmark:
    """A finished benchmark.

    Attributes:
        folder: Where its files stand.
        document: The content of `benchmark.json`.
    """

    folder: Path
    document: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One record per network and setting; failed ones have a `reason` and no figures."""
        return list(self.document["results"])

    def table(self) -> pd.DataFrame:
        """The results as a table, see `benchmark.csv`."""
        return results_table(self.rows)


def run_benchmark(
    paths: Sequence[Path],
    request: Request,
    *,
    out: Path,
    plan: RoundPlan | None = None,
    seconds: float = 0.5,
    percentiles: Sequence[int] = (90,),
    reference: str | None = None,
    profile: bool = True,
    latency_db: str | None = None,
    progress: Progress | None = None,
) -> Benchmark:
    """Measures networks and writes `benchmark.csv`, `operations.csv`, `benchmark.json` and `benchmark.html`.

    Args:
        paths: IRs, packages and run folders.
        request: Under which settings, see `check_request`.
        out: New folder for the files.
        plan: How many processes each gets; three if left out.
        seconds: Measuring time of one process on the reference.
        percentiles: Further percentiles; each takes a process of its own per network and setting, and is left out of
            networks for which it would take over five minutes, or fails.
        reference: Name of the network that speed-ups are against; the first one if left out.
        profile: Whether to look where the time goes.
        latency_db: Path of the database of latencies, "none", or None for the user's own.
        progress: Where to tell what happens.

    Raises:
        QnasError: If the input does not fit; a network that cannot be measured is a failed record instead.
    """
    progress, plan = progress or Silent(), plan or RoundPlan()
    for percentile in percentiles:
        if not 1 <= percentile <= 100:
            raise InputError(f"--percentile must be 1 to 100: got {percentile}")
    if out.exists():
        raise InputError(f"--out '{out}' exists already: choose a new folder")
    networks = find_networks(paths)
    names = [n.name for n in networks]
    if reference is not None and reference not in names:
        raise InputError(f"--reference must be one of {', '.join(names)}: got '{reference}'")
    timed = [Timed(c, problem=c.problem) for c in make_cases(networks, request)]
    with closing_database(latency_db) as database:
        try:
            meter = _meter(timed, reference or names[0], seconds=seconds, database=database, progress=progress)
            if meter is not None:
                _measure(timed, meter, plan, percentiles, progress)
                if profile:
                    _profile(timed, meter, progress)
        finally:
            progress.end()
    document = make_document(
        timed, meter, request.device, plan, reference=reference or names[0], percentiles=percentiles
    )
    _write(out, document)
    return Benchmark(out, document)


def _meter(
    timed: Sequence[Timed], reference: str, *, seconds: float, database: LatencyDatabase | None, progress: Progress
) -> LatencyMeter | None:
    """The meter on the reference network, or on the first other one that runs; None if none does."""
    able = [t for t in timed if t.problem is None]
    for one in sorted(able, key=lambda t: t.case.network.name != reference):
        try:
            return LatencyMeter(one.case.network.path, one.case.settings, seconds=seconds, database=database)
        except ReferenceMeasurementError as error:
            _fail(one, str(error.__cause__ or error), progress)
    return None


def _measure(
    timed: Sequence[Timed], meter: LatencyMeter, plan: RoundPlan, percentiles: Sequence[int], progress: Progress
) -> None:
    """Processes in rounds, one of every case after another; then one for each further percentile."""
    start = time.monotonic()
    by_name = {str(i): t for i, t in enumerate(timed)}
    number = 0
    while wanted := plan.unfinished(_found(by_name), time.monotonic() - start):
        progress.begin(f"timing, round {number + 1}", len(wanted))
        for name in wanted:
            _try(by_name[name], lambda t: t.runs.append(_run(t, meter, position=len(t.runs))), progress)
            progress.step(_told(by_name[name]))
        number += 1
    for percentile in percentiles:
        alive = [t for t in timed if t.problem is None]
        progress.begin(f"timing percentile {percentile}", len(alive))
        for one in alive:
            _measure_percentile(one, meter, percentile, progress)
            progress.step(_told(one))
    progress.end()


def _found(by_name: dict[str, Timed]) -> dict[str, list[float]]:
    return {n: [_primary(t.case, r) for r in t.runs] for n, t in by_name.items() if t.problem is None}


def _primary(case: Case, run: Latency) -> float:
    """What decides when a case is measured well enough."""
    return run.throughput_per_s if case.settings.hint == "throughput" else run.latency_ms


def _measure_percentile(timed: Timed, meter: LatencyMeter, percentile: int, progress: Progress) -> None:
    """One process for a percentile, of a slow network with fewer inferences; or none, and why."""
    count = None
    if percentile != MEDIAN:
        each_ms = statistics.median(r.run.total_ms / r.run.iterations for r in timed.runs)
        enough, most = _enough(percentile), int(_PERCENTILE_MS / each_ms)
        if most < enough:
            why = f"it needs {enough} inferences, which would take {enough * each_ms / 1e3:.0f} s"
            _leave_out(timed, percentile, why, progress)
            return
        count = min(max(meter.iterations, enough), most)
    try:
        timed.percentiles[percentile] = _run(timed, meter, percentile=percentile, iterations=count)
    except MeasurementError as error:
        _leave_out(timed, percentile, str(error), progress)


def _leave_out(timed: Timed, percentile: int, why: str, progress: Progress) -> None:
    timed.percentiles_left_out[percentile] = f"percentile {percentile} is left out: {why}"
    progress.say(
        f"{timed.case.network.name} ({timed.case.settings.describe()}): {timed.percentiles_left_out[percentile]}"
    )


def _run(
    timed: Timed, meter: LatencyMeter, *, percentile: int = MEDIAN, iterations: int | None = None, position: int = 0
) -> Latency:
    case = timed.case
    return meter.measure(
        case.network.path,
        case.settings,
        purpose=REPORT,
        attempts=1,
        percentile=percentile,
        iterations=iterations,
        position=position,
    )


def _enough(percentile: int) -> int:
    """Inferences of which ten lie beyond the percentile."""
    return min(1000, round(10 / (1.0 - min(percentile, 99) / 100.0)))


def _try(timed: Timed, measure: Any, progress: Progress) -> None:
    try:
        measure(timed)
    except MeasurementError as error:
        _fail(timed, str(error), progress)


def _fail(timed: Timed, reason: str, progress: Progress) -> None:
    timed.problem = reason
    progress.say(f"{timed.case.network.name} failed ({timed.case.settings.describe()}): {reason}")


def _told(timed: Timed) -> str:
    last = f" {timed.runs[-1].latency_ms:.3f} ms" if timed.runs else ""
    kept = " from the database" if timed.runs and timed.runs[-1].measured_at else ""
    return f"{timed.case.network.name}, {timed.case.settings.describe()}:{last}{kept}"


def _profile(timed: Sequence[Timed], meter: LatencyMeter, progress: Progress) -> None:
    alive = [t for t in timed if t.problem is None]
    progress.begin("looking where the time goes", len(alive))
    for one in alive:
        try:
            one.profile = meter.profile(one.case.network.path, one.case.settings)
        except MeasurementError as error:
            one.profile_problem = str(error)
        progress.step(one.case.network.name)
    progress.end()


def _write(out: Path, document: dict[str, Any]) -> None:
    results, operations = results_table(document["results"]), operations_table(document["results"])
    page = render_benchmark(document, results, operations)
    with atomic_folder(out) as part:
        write_text(part / "benchmark.csv", results.to_csv(index=False))
        write_text(part / "operations.csv", operations.to_csv(index=False))
        write_json(part / "benchmark.json", document)
        write_text(part / "benchmark.html", page)
