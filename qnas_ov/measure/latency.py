"""The measuring protocol: how a latency comes about that can be repeated.

1. **What runs.** The real benchmark_app, one process per run, with a static shape, a hint, the inference precision, and
   streams and threads pinned (or left to the hint, and recorded). Processes are forked from one in which Python and the
   tool are loaded and no device is. A warm-up inference is not counted, and the first process of a session is
   discarded. A run's figure is the median of its inferences.
2. **Drift.** A reference network stands compiled in this process and is inferred in turn with the measured one, in
   blocks: an inference that counts in no figure, since it finds the other network in the caches, and some 10 ms of
   others. benchmark_app's process pauses meanwhile, and times its own inferences one by one. The quotient of
   neighbouring blocks does not depend on the speed of the machine, which on a shared one changes within a second; a
   latency is the median quotient times the anchor: the reference's latency when the session began, as if the machine
   had kept that speed. A run goes on until there are eight quotients, so that one disturbed block does not decide.
3. **Several requests at once** leave no place in between. There the reference is read before and after the run, and the
   figure is scaled by it; where the two readings differ by more than 10%, no scaling mends it: in a search the run is
   repeated once, and the steadier counts.
4. **What is reported** takes at least three processes per network, interleaved: one of each network, then again one of
   each, so that a slow minute meets all alike. The figure is the median of the runs' medians, with an interval by order
   statistics (`estimate.estimate_median`). With a precision asked for, a network is finished when its interval has a
   coverage of 95% and is narrow enough; else it goes on, up to a number of processes and a limit of time.
5. **Below 1 ms** the two decimals of the report are too few: the console's microseconds are taken, or where it prints
   none, total time over iterations.
6. **Disturbances** are told: load of other processes, time stolen by a hypervisor, throttling by a cgroup or by heat, a
   fall of the frequency, and runs that fall out of line.

A search gives each candidate one process, and slow ones fewer inferences: it needs many rough figures. The winners are
measured by the whole protocol, in which a process ends after a minute of inferences, if eight blocks are done.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import MeasurementError, ReferenceMeasurementError
from qnas_ov.core.fingerprint import digest_json
from qnas_ov.measure.benchmark_app import LONGEST_MS, MEDIAN, LatencyRun, run_benchmark_app
from qnas_ov.measure.conditions import Conditions, Watch, frequency_mhz
from qnas_ov.measure.database import SEARCH, KeptRun, LatencyDatabase, RunKey
from qnas_ov.measure.device import describe_machine, machine_digest, package_versions
from qnas_ov.measure.estimate import COVERAGE, estimate_median
from qnas_ov.measure.graph_digest import digest_graph
from qnas_ov.measure.profile import Profile, profile_network
from qnas_ov.measure.reference import Gauge
from qnas_ov.measure.settings import RunSettings

# A run counts at once if the reference before and after it differs by no more than this; else it is repeated.
_STEADY = 0.10
_ATTEMPTS = 2
# Changes where runs beside a reference come out otherwise, so that a database does not mix them with those of before.
_PROTOCOL = 4


@dataclass(frozen=True)
class Latency:
    """One run with the drift of the machine divided out.

    Attributes:
        latency_ms: The run's latency, scaled to the speed of the machine when the anchor was set.
        throughput_per_s: Samples per second, scaled likewise.
        run: What benchmark_app reported.
        gauge_ms: Latency of the reference network around the run: the mean of before and after.
        gauge_change: By how much these two differ, relative to the smaller one.
        attempts: Runs it took until the machine was steady; the steadiest one counts.
        conditions: The machine meanwhile.
        disturbances: What may have slowed it down, in words.
        measured_at: When it was taken from the database: the time of the measurement, in UTC; None if it is new.
    """

    latency_ms: float
    throughput_per_s: float
    run: LatencyRun
    gauge_ms: float
    gauge_change: float
    attempts: int
    conditions: Conditions
    disturbances: tuple[str, ...]
    measured_at: str | None

    @property
    def resolution_ms(self) -> float:
        """Half of the last digit of `latency_ms`."""
        return self.run.resolution_ms * self.latency_ms / self.run.latency_ms

    def to_json(self) -> dict[str, Any]:
        """The latency as JSON."""
        return {**asdict(self), "disturbances": list(self.disturbances)}


class LatencyMeter:
    """Measures networks with benchmark_app, between two readings of a reference network.

    The first benchmark_app process is discarded, and readings after it set the anchor.
    """

    def __init__(
        self,
        reference: Path,
        settings: RunSettings,
        *,
        seconds: float,
        anchor_ms: float | None = None,
        database: LatencyDatabase | None = None,
    ) -> None:
        """Measures the reference.

        Args:
            reference: The .xml of the reference network.
            settings: How it is run.
            seconds: Measuring time of one process on the reference; it decides the iterations of every run. In a
                search slower networks get no more time, but eight blocks at least.
            anchor_ms: Latency of the reference at the speed that latencies are to stand for; as it is now if left out.
            database: Where runs are looked up and kept; None measures everything.

        Raises:
            ReferenceMeasurementError: If the reference cannot be measured.
        """
        self.iterations = 20
        self.from_database = 0
        self._database = database
        self._digests: dict[tuple[Path, int, int], str] = {}
        self._versions = package_versions()
        self._usual_mhz: float | None = None
        with nullcontext() if database is None else database.claim():
            self._gauge, self._reading_ms = self._read_reference(reference, settings)
        self._limit_ms = seconds * 1e3
        self.iterations = int(min(2000, max(20, seconds * 1e3 / self._reading_ms)))
        self.anchor_ms = anchor_ms if anchor_ms is not None else self._reading_ms
        if database is not None:
            machine = describe_machine(settings.device)
            self._machine = machine_digest(machine)
            database.add_machine(self._machine, machine)
            self._reference = digest_json(
                {"network": digest_graph(reference), "settings": settings.to_json(), "protocol": _PROTOCOL}
            )

    def _read_reference(self, reference: Path, settings: RunSettings) -> tuple[Gauge, float]:
        """Discards a process, and reads the reference: what reads it further, and its latency in milliseconds."""
        try:
            run_benchmark_app(reference, settings, iterations=self.iterations, limit_ms=LONGEST_MS)  # discarded
            gauge = Gauge(reference, settings)
        except (MeasurementError, RuntimeError) as error:
            raise ReferenceMeasurementError(
                f"the reference network could not be measured ({str(error).strip().splitlines()[0]}): run again with "
                "--resume"
            ) from error
        return gauge, statistics.median(gauge.read() for _ in range(5))

    def measure(
        self,
        model: Path,
        settings: RunSettings,
        *,
        purpose: str = SEARCH,
        attempts: int = _ATTEMPTS,
        percentile: int = MEDIAN,
        iterations: int | None = None,
        position: int = 0,
    ) -> Latency:
        """Measures one IR in a benchmark_app process, or takes such a run from the database.

        Args:
            model: The .xml.
            settings: How it is run.
            purpose: `database.SEARCH` or `database.REPORT`.
            attempts: Most processes to run while the machine changes its speed.
            percentile: Which percentile of the inferences' latencies.
            iterations: How many inferences; the meter's own number if left out. Fewer, but eight blocks at least, where
                they take too long; a percentile needs them all.
            position: Which of several runs of this network this is, from 0.

        Raises:
            MeasurementError: If benchmark_app gives no number.
        """
        count = iterations or self.iterations
        if settings.hint == "throughput":
            count = max(count, 8 * len(os.sched_getaffinity(0)))  # some for every request in flight
        limit_ms = self._limit(settings, purpose, percentile)
        if self._database is None:
            kept, tries = self._steadiest(model, settings, count, percentile, attempts, limit_ms)
            return self._scale(kept, tries)
        key = self.key(model, settings)
        with self._database.claim():
            found = self._database.find(
                key,
                purpose=purpose,
                percentile=percentile,
                iterations=count,
                reading_ms=self._reading_ms,
                position=position,
            )
            if found is not None:
                self.from_database += 1
                return self._scale(found, 0)
            kept, tries = self._steadiest(model, settings, count, percentile, attempts, limit_ms)
            self._database.add(key, kept, purpose=purpose, iterations=count, versions=self._versions)
        return self._scale(kept, tries)

    def _limit(self, settings: RunSettings, purpose: str, percentile: int) -> float:
        """Milliseconds after which a run begins no further inference."""
        if percentile != MEDIAN:
            return math.inf
        if purpose == SEARCH and settings.hint == "latency":
            return self._limit_ms
        return max(LONGEST_MS, self._limit_ms)

    def profile(self, model: Path, settings: RunSettings, *, iterations: int = 20) -> Profile:
        """Where the time of an IR goes, by performance counters in a process of its own, or from the database.

        Raises:
            MeasurementError: If benchmark_app gives no counters.
        """
        if self._database is None:
            return profile_network(model, settings, iterations=iterations)
        key = self.key(model, settings)
        with self._database.claim():
            kept = self._database.profile(key)
            if kept is not None:
                return Profile.from_json(kept)
            found = profile_network(model, settings, iterations=iterations)
            self._database.add_profile(key, found.to_json())
        return found

    def key(self, model: Path, settings: RunSettings) -> RunKey:
        """What runs of a network are kept under in the database."""
        assert self._database is not None
        state = model.stat()
        place = model, state.st_mtime_ns, state.st_size
        if place not in self._digests:
            self._digests[place] = digest_graph(model)
        return RunKey(self._digests[place], settings, self._machine, self._reference)

    def _steadiest(
        self, model: Path, settings: RunSettings, iterations: int, percentile: int, attempts: int, limit_ms: float
    ) -> tuple[KeptRun, int]:
        """Runs benchmark_app until the machine is steady: the steadiest run, and how many it took."""
        tried: list[KeptRun] = []
        while len(tried) < attempts and (not tried or _change(tried[-1]) > _STEADY):
            # Only of synchronous requests can a reference run in between.
            reference = self._gauge if settings.hint == "latency" else None
            watch, before = Watch(), 0.0 if reference else self._gauge.read()
            run = run_benchmark_app(
                model, settings, iterations=iterations, percentile=percentile, reference=reference, limit_ms=limit_ms
            )
            after, mhz = 0.0 if run.beside_ms else self._gauge.read(), frequency_mhz()
            if run.beside_ms is not None and run.relative is not None:
                before = after = run.latency_ms / run.relative if percentile == MEDIAN else run.beside_ms
            tried.append(KeptRun(run, before or after, after, watch.read(mhz)))
        return min(tried, key=_change), len(tried)

    def _scale(self, kept: KeptRun, tries: int) -> Latency:
        mhz = kept.conditions.mhz
        if mhz is not None:
            self._usual_mhz = max(mhz, self._usual_mhz or 0.0)
        gauge_ms = (kept.gauge_before_ms + kept.gauge_after_ms) / 2.0
        return Latency(
            latency_ms=kept.run.latency_ms * self.anchor_ms / gauge_ms,
            throughput_per_s=kept.run.throughput_per_s * gauge_ms / self.anchor_ms,
            run=kept.run,
            gauge_ms=gauge_ms,
            gauge_change=_change(kept),
            attempts=tries,
            conditions=kept.conditions,
            disturbances=tuple(kept.conditions.disturbances(self._usual_mhz)),
            measured_at=kept.measured_at or None,
        )


def _change(kept: KeptRun) -> float:
    low, high = sorted((kept.gauge_before_ms, kept.gauge_after_ms))
    return high / low - 1.0


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """How many processes each network of a report gets.

    Attributes:
        minimum: Processes that every network gets, whatever the time.
        maximum: Most processes of a network.
        precision: Half the width of the interval, relative to the median, that ends a network early; None gives every
            network the minimum.
        time_limit_s: After this no network gets more than the minimum; None for no limit.
    """

    minimum: int = 3
    maximum: int = 15
    precision: float | None = None
    time_limit_s: float | None = None

    def unfinished(self, found: Mapping[str, Sequence[float]], spent_s: float) -> list[str]:
        """The networks that the next round measures, in order.

        Args:
            found: Latencies so far, by network.
            spent_s: Seconds since the first round began.
        """
        return [name for name, values in found.items() if not self._finished(values, spent_s)]

    def _finished(self, values: Sequence[float], spent_s: float) -> bool:
        if len(values) < self.minimum:
            return False
        late = self.time_limit_s is not None and spent_s > self.time_limit_s
        if self.precision is None or late or len(values) >= self.maximum:
            return True
        estimate = estimate_median(values)
        return estimate.coverage >= COVERAGE and estimate.precision <= self.precision


def describe_protocol(plan: RoundPlan, *, iterations: int | None) -> list[str]:
    """The protocol in sentences, as a report gives it beside its figures.

    Args:
        plan: How many processes each network gets.
        iterations: Inferences per process; None if nothing could be measured.
    """
    count = f"{iterations} inferences" if iterations is not None else "a number of inferences"
    slow = f", fewer of networks for which they take over {LONGEST_MS / 1e3:.0f} s"
    more = ""
    if plan.precision is not None:
        limit = "" if plan.time_limit_s is None else f", or {plan.time_limit_s:g} seconds have passed"
        more = (
            f" Processes are added, up to {plan.maximum}, until half the interval is within {plan.precision:.1%} of "
            f"the median with a coverage of 95%{limit}."
        )
    return [
        "OpenVINO's benchmark_app, one process per run: static shapes, the performance hint and the inference "
        "precision pinned, one inference to warm up that does not count, then "
        f"{count}{slow}; the first process is discarded.",
        f"At least {plan.minimum} processes per network, interleaved with those of the others; the figure is the "
        f"median of their medians, the interval is by order statistics, and its coverage stands beside it.{more}",
        "A reference network is inferred in turn with the measured one, in blocks of an inference that counts in no "
        "figure and 10 ms of others, and latencies are the quotients of neighbouring blocks, at least eight, at "
        "the machine's typical speed meanwhile: the drift of the machine cancels. "
        "Of throughput the reference is timed before and after a process instead.",
        "Below 1 ms the microseconds that benchmark_app prints are taken, or total time over iterations.",
        "Percentiles come from a process of their own, and are left out where it would take too long. Memory is the "
        "growth of the process's peak after Python and OpenVINO were loaded.",
    ]
