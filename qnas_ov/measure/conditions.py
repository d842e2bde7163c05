"""What the machine went through while something was measured: load of others, stolen time, throttling, frequency."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

BUSY, STOLEN, SLOWED = 0.05, 0.02, 0.05
"""Above these shares a run is told as disturbed: CPU time of others, time stolen by the hypervisor, lost frequency."""

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_THERMAL = "/sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
_FREQUENCY = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"


@dataclass(frozen=True)
class Conditions:
    """The machine while one run was measured. None where the system does not tell.

    Attributes:
        others: Share of the usable CPUs' time that other processes took.
        stolen: Share that the hypervisor gave to other machines.
        throttled_ms: Time for which the quotas of our cgroup and of those around it stopped us, summed.
        thermal_events: How often a core slowed down because it was hot.
        mhz: Highest frequency of a usable core, read while the reference network ran.
        load_1min: The system's load average.
    """

    others: float | None
    stolen: float | None
    throttled_ms: float | None
    thermal_events: int | None
    mhz: float | None
    load_1min: float

    def to_json(self) -> dict[str, Any]:
        """The conditions as JSON."""
        return asdict(self)

    def disturbances(self, usual_mhz: float | None) -> list[str]:
        """What may have slowed the run down, in words; none where all was well.

        Args:
            usual_mhz: The highest frequency seen on this machine, if it tells.
        """
        found = []
        if self.others is not None and self.others > BUSY:
            found.append(f"other processes took {self.others:.0%} of the CPUs")
        if self.stolen is not None and self.stolen > STOLEN:
            found.append(f"the hypervisor took {self.stolen:.0%} of the CPUs")
        if self.throttled_ms:
            found.append(f"the cgroup's CPU quota stopped the processes for {self.throttled_ms:.0f} ms")
        if self.thermal_events:
            found.append(f"cores slowed down {self.thermal_events} times because they were hot")
        if self.mhz is not None and usual_mhz is not None and self.mhz < (1.0 - SLOWED) * usual_mhz:
            found.append(f"the cores ran at {self.mhz:.0f} MHz instead of {usual_mhz:.0f}")
        return found


class Watch:
    """Notes counters of the machine when it is made, and what they say when it is read."""

    def __init__(self) -> None:
        self._start = _Counters.now()

    def read(self, mhz: float | None) -> Conditions:
        """The conditions since the watch was made, with a frequency that was read under load."""
        return self._start.until(_Counters.now(), mhz)


@dataclass(frozen=True)
class _Counters:
    clock_s: float
    busy_s: float | None
    stolen_s: float | None
    own_s: float
    throttled_ms: float | None
    thermal_events: int | None

    @staticmethod
    def now() -> _Counters:
        cpus = sorted(os.sched_getaffinity(0))
        busy, stolen = _cpu_times(cpus)
        thermal = [_integer(_THERMAL.format(c)) for c in cpus]
        return _Counters(
            clock_s=time.monotonic(),
            busy_s=busy,
            stolen_s=stolen,
            own_s=_own_seconds(),
            throttled_ms=_throttled_ms(),
            thermal_events=sum(t for t in thermal if t is not None) if any(t is not None for t in thermal) else None,
        )

    def until(self, end: _Counters, mhz: float | None) -> Conditions:
        available = max(end.clock_s - self.clock_s, 1e-9) * len(os.sched_getaffinity(0))
        busy, stolen = _difference(self.busy_s, end.busy_s), _difference(self.stolen_s, end.stolen_s)
        events = _difference(self.thermal_events, end.thermal_events)
        others = None if busy is None else min(1.0, max(0.0, busy - (end.own_s - self.own_s)) / available)
        return Conditions(
            others=others,
            stolen=None if stolen is None else min(1.0, stolen / available),
            throttled_ms=_difference(self.throttled_ms, end.throttled_ms),
            thermal_events=None if events is None else int(events),
            mhz=mhz,
            load_1min=os.getloadavg()[0],
        )


def _own_seconds() -> float:
    """CPU time of this process, its children, and theirs that have ended: benchmark_app is forked from a child."""
    own = psutil.Process()
    spent = sum(own.cpu_times()[:4])
    for child in own.children():
        with suppress(psutil.Error):
            spent += sum(child.cpu_times()[:4])
    return float(spent)


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(0.0, after - before)


def _cpu_times(cpus: Sequence[int]) -> tuple[float | None, float | None]:
    """Seconds that these CPUs were busy, and that were stolen from them, since the system started."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return None, None
    names = {f"cpu{c}" for c in cpus}
    rows = [[int(n) for n in fields[1:9]] for line in lines if (fields := line.split()) and fields[0] in names]
    if not rows or any(len(row) < 8 for row in rows):
        return None, None
    busy = sum(user + nice + system + irq + soft for user, nice, system, _, _, irq, soft, _ in rows)
    return busy * _TICK_S, sum(row[7] for row in rows) * _TICK_S


def frequency_mhz() -> float | None:
    """The highest current frequency of the usable cores; meaningful only right after they have worked."""
    found = [_integer(_FREQUENCY.format(c)) for c in os.sched_getaffinity(0)]
    known = [f / 1e3 for f in found if f is not None]
    if known:
        return max(known)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return max((float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")), default=None)


def _integer(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def cgroup_folders() -> list[Path]:
    """The folders of our cgroup (version 2) and of those around it, innermost first; empty where there are none."""
    root = Path("/sys/fs/cgroup")
    try:
        line = next(s for s in Path("/proc/self/cgroup").read_text().splitlines() if s.startswith("0::"))
    except (OSError, StopIteration):
        return []
    inner = root / line[3:].strip().lstrip("/")
    if ".." in inner.parts:  # of a namespace that lies outside ours
        inner = root
    return [f for f in (inner, *inner.parents) if f.is_relative_to(root) and f.is_dir()]


def _throttled_ms() -> float | None:
    """Milliseconds for which quotas stopped us: of our cgroup and of those around it, each of which tells its own."""
    found = []
    for folder in cgroup_folders():
        try:
            stat = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
            found.append(int(stat["throttled_usec"]) / 1e3)
        except (OSError, ValueError, KeyError):
            continue
    return sum(found) if found else None
